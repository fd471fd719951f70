"""Tokens: the one of this machine's owner, and texts without any."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TypeVar, cast

from studio import messages

NAMES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "OAUTH_CLIENT_SECRET", "STUDIO_TOKEN")  # of variables
SHORTEST = 8  # characters of a secret that is looked for in texts: a shorter one would hit words
HIDDEN = "[secret]"
# Tokens of the Hub (access, OAuth and signed links), bearer tokens, passwords in addresses.
_SHAPES = re.compile(
    r"(?<=[?&]token=)[^\s&\"']+|\bhf_(?:oauth|jwt)_[\w.\-]+|\bhf_[A-Za-z0-9]{8,}|(?<=Bearer )[^\s\"']+"
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)")
T = TypeVar("T")


def own_token() -> str | None:
    """The Hub token of the machine's owner: HF_TOKEN, else what `hf auth login` saved.

    Only for a studio that serves its owner alone: on a Space each person's own token is used, never this one.
    """
    given = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN")
    if given:
        return given.strip()
    # As huggingface_hub finds it, whose import every request to the page would wait for.
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or os.path.join(cache, "huggingface")
    path = os.environ.get("HF_TOKEN_PATH") or os.path.join(home, "token")
    try:
        return Path(os.path.expandvars(path)).expanduser().read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError, RuntimeError):  # RuntimeError: nobody whose folder `~` would be
        return None


def redact(text: str) -> str:
    """`text` without anything that looks like a token, and without the secrets of this process's environment. A Message
    stays one."""
    return messages.changed(text, _redacted)


def _redacted(text: str) -> str:
    for name in NAMES:
        value = os.environ.get(name, "")
        if len(value) >= SHORTEST:
            text = text.replace(value, HIDDEN)
    return _SHAPES.sub(HIDDEN, text)


def redact_data(data: T) -> T:
    """JSON-like `data` with every string in it redacted; keys stay."""
    return cast("T", _redacted_data(data))


def _redacted_data(data: object) -> object:
    if isinstance(data, str):
        return redact(data)
    if isinstance(data, dict):
        return {key: _redacted_data(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_redacted_data(value) for value in data]
    return data
