"""Whose token: a person's own, or the machine owner's where the machine is theirs alone; and no token in any text."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from studio import events

SECRETS = ("HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "OAUTH_CLIENT_SECRET", "STUDIO_TOKEN")
HIDDEN = "[secret]"
_LINKS = re.compile(r"(?<=[?&]token=)[^\s&\"']+|\bhf_(?:oauth|jwt)_[\w.\-]+")


def own_token() -> str | None:
    """The token of the machine's owner: HF_TOKEN, else what `hf auth login` saved.

    Only for a studio that serves its owner alone: on a Space each person's own token is used, never this one.
    """
    given = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN")
    if given:
        return given.strip()
    home = os.environ.get("HF_HOME") or Path("~/.cache/huggingface").expanduser()
    path = Path(os.environ.get("HF_TOKEN_PATH") or Path(home) / "token")
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def redact(text: str) -> str:
    """`text` without anything that looks like a token, and without the secrets of this server's environment."""
    for name in SECRETS:
        value = os.environ.get(name)
        if value and len(value) >= 8:
            text = text.replace(value, HIDDEN)
    return events.redact(_LINKS.sub(HIDDEN, text))


def redact_data(data: Any) -> Any:
    """JSON-like `data` with every string in it redacted; keys stay."""
    if isinstance(data, str):
        return redact(data)
    if isinstance(data, dict):
        return {key: redact_data(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [redact_data(value) for value in data]
    return data
