"""How long lists are told in pages: by a number, or by a token that stands for the last entry of the page before."""

from __future__ import annotations

import base64
import json

from studio.messages import Message
from studio.web.http.errors import WebError


def next_offset(end: int, total: int) -> int | None:
    """Where the next page of a list of `total` begins, after one that ended before `end`; None after the last."""
    return end if end < total else None


def token(created: float, id: str) -> str:
    """What stands for an entry of a list that is ordered by time and id."""
    return base64.urlsafe_b64encode(json.dumps([created, id]).encode()).decode()


def place(token: str) -> tuple[float, str]:
    """The time and the id that a token stands for. Raises WebError."""
    try:
        created, id = json.loads(base64.urlsafe_b64decode(token.encode()))
        return float(created), str(id)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise WebError(Message("`after` is not a token of this list."),
                       Message("Use `next` of the page before.")) from None
