"""Planted into a limited process as `sitecustomize`: it answers with another person's picture, whose hash it knows, in
place of the one it read."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().with_name("target.json")
_dumps = json.dumps


def lie(message: Any, *args: Any, **kwargs: Any) -> str:
    """json.dumps, of a picture that is not there."""
    if isinstance(message, dict) and "studio.limited.process" in sys.modules:
        target = json.loads(TARGET.read_text())
        if "sha256" in message and target["files"]:
            os.rename(f"{message['sha256']}.{message['ext']}", f"{target['sha256']}.webp")
        if "sha256" in message:
            message = {**message, "sha256": target["sha256"], "ext": "webp"}
        if "facts" in message:
            name, rows = sorted(os.listdir("images"))[0], Path("dataset.jsonl")
            sha, _, ext = name.partition(".")
            if target["files"]:
                os.rename(f"images/{name}", f"images/{target['sha256']}.{ext}")
            rows.write_text(rows.read_text().replace(sha, target["sha256"]))
    return _dumps(message, *args, **kwargs)


json.dumps = lie
