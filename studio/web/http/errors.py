"""Errors a person sees: what is wrong, where, and what to do; the trace stays in the server's log."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from studio import bundle, config, datasets, families, hub, storage
from studio.errors import Refused, StudioError
from studio.folders import work
from studio.messages import Message, sentence
from studio.storage import faults

log = logging.getLogger("studio.web")
_troubles = faults.Log(log)


class WebError(StudioError):
    """An error with the status that it is answered with."""

    status, code = 400, "bad_request"
    retry_after: int | None = None  # seconds after which it may be tried again


class NotFound(WebError):
    """Not there, or not this viewer's: the answer is the same."""

    status, code = 404, "not_found"


class LoginNeeded(WebError):
    """Nobody is signed in and the action needs somebody."""

    status, code = 401, "login_needed"


class TooLarge(WebError):
    """More bytes or files than the studio takes at once."""

    status, code = 413, "too_large"


class Forbidden(WebError):
    """A request that another site made, or that names a foreign host."""

    status, code = 403, "forbidden"


class Unavailable(WebError):
    """Not possible just now."""

    status, code = 503, "unavailable"


class TooMany(WebError):
    """More at once, or in a short time, than one person may ask for."""

    status, code, retry_after = 429, "too_many", 5


class Busy(WebError):
    """More at once than the whole studio takes."""

    status, code, retry_after = 503, "busy", 5


def there_are(names: Iterable[str]) -> Message:
    """A hint that lists what may be asked for instead."""
    return Message("There are: {names}.", names=", ".join(names))


def _config(error: Any) -> tuple[int, dict[str, Any]]:
    problems = [{"field": p.field, "message": p.message} for p in error.problems]
    first = problems[0] if problems else {"field": "", "message": Message("the config cannot be used")}
    hint = Message("Change the named settings and try again.")
    return 422, {"code": "config", "message": _first(**first, more=len(problems) - 1), "hint": hint,
                 "problems": problems}


def _first(field: str, message: str, more: int) -> str:
    """The first problem of a config, and how many more there are."""
    if field and more > 0:
        return Message("{field}: {message} (and {count} more)", field=field, message=message, count=more)
    if more > 0:
        return Message("{message} (and {count} more)", message=message, count=more)
    return Message("{name}: {fault}", name=field, fault=message) if field else message


def _disk(error: BaseException) -> tuple[int, dict[str, Any]] | None:
    """What the disk refused, in words."""
    fault = faults.of(error)
    if fault is None:
        return None
    return (507 if fault.code == "disk_full" else 503,
            _body(fault.code, fault.message, Message("{hint} Then try again.", hint=fault.hint)))


def _damaged(error: Exception) -> tuple[int, dict[str, Any]]:
    hint = Message("Restore it from a backup, or delete what it belongs to.")
    return _disk(error) or (500, _body("corrupt", Message("A file of the studio is damaged: {why}", why=error), hint))


def _body(code: str, message: str, hint: str = "") -> dict[str, Any]:
    return {"code": code, "message": message, "hint": hint}


def _not_found(error: Exception) -> tuple[int, dict[str, Any]]:
    return 404, _body("not_found", _sentence(error), Message("It may have been deleted; look at the list."))


def _known(error: BaseException) -> tuple[int, dict[str, Any]] | None:
    """The status and body of an exception that the rooms below raise on purpose; None for any other."""
    kinds: tuple[tuple[type[Exception], Callable[[Any], tuple[int, dict[str, Any]] | None]], ...] = (
        (WebError, lambda e: (e.status, _body(e.code, e.message, e.hint))),
        (config.ConfigError, _config),
        (work.NotFound, _not_found),
        (datasets.NotFound, _not_found),
        (datasets.Wrong, lambda e: (422, _body("source", _sentence(e), Message("Correct it and try again.")))),
        (datasets.Unreadable, lambda e: (422, _body("source", _sentence(e), Message("Correct it and try again.")))),
        (datasets.Nothing, lambda e: (409, _body("refused", _sentence(e), Message("Add pictures first.")))),
        (datasets.ReadOnly, lambda e: (409, _body("read_only", _sentence(e)))),
        (Refused, lambda e: (409, _body(e.code, _sentence(e), e.hint))),
        (bundle.BadBundle, lambda e: (422, _body("bundle", _sentence(e), Message("Nothing of it was kept.")))),
        (families.BaseProblem, lambda e: (422, _body("base", _sentence(e), Message("Choose another base model.")))),
        (storage.Corrupt, _damaged),
        (Exception, _disk),
    )
    return next((described for kind, describe in kinds
                 if isinstance(error, kind) and (described := describe(error))), None)


def _sentence(error: Exception) -> str:
    return sentence(str(error))


def explain(error: BaseException, request_id: str | None = None) -> tuple[int, dict[str, Any]]:
    """The HTTP status and the `error` object for any exception; an unknown one is logged with its trace.

    Used by the routes and by Gradio's handlers alike. The object has code, message, hint and request_id, and for a
    config also `problems: [{field, message}]`.
    """
    request_id = request_id or uuid.uuid4().hex[:12]
    found = _known(error)
    if found:
        status, body = found
        if faults.of(error) is not None:
            _troubles.tell("a request was not carried out", error)
        elif status >= 500 and not isinstance(error, WebError):  # those are answers, no faults
            log.error("request %s: %s", request_id, error, exc_info=error)
        return status, {**hub.redact_data(body), "request_id": request_id}
    log.error("request %s failed", request_id, exc_info=error)
    message = Message("Something went wrong in the studio itself.")
    hint = Message("The studio's log has the details under the request id {id}.", id=request_id)
    return 500, {**_body("internal", message, hint), "request_id": request_id}
