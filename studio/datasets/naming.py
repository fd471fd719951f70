"""Which stored pictures the rows of a data set (`rows.jsonl`) and of a run (`dataset.jsonl`) name, and so keep.

What nothing names is swept (studio/sweeping.py): whoever is about to name stored pictures holds `relying` from before
it looks for them until its rows can be seen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from studio import storage

IMAGE = re.compile(r"[0-9a-f]{64}", re.ASCII)
EXT = re.compile(r"[a-z0-9]{1,8}", re.ASCII)


def rows_named(line: bytes) -> list[dict[str, Any]]:
    """The row whose picture the line names, if it names one: also where its import was not committed, or an edit took
    it out, since an undo may bring it back. Nothing for a torn or foreign line."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return []
    row = data.get("row") if isinstance(data, dict) and data.get("op") == "add" else data
    image, ext = (row.get("image"), row.get("ext")) if isinstance(row, dict) else (None, None)
    if not isinstance(image, str) or not isinstance(ext, str) or not IMAGE.fullmatch(image) or not EXT.fullmatch(ext):
        return []
    return [{"image": image, "ext": ext}]


def lock(home: Path) -> storage.Lock:
    """Held shared by whoever relies on stored pictures that no row names yet, and alone by the sweep that removes
    some."""
    return storage.Lock(home / "cache" / "locks" / "pictures.lock")


@contextmanager
def relying(home: Path, opened: storage.Lock | None = None) -> Iterator[None]:
    """Inside, no stored picture and no base of a bundle is removed. `opened`: the lock, opened before a process was
    confined."""
    pictures = opened or lock(home)
    pictures.wait(shared=True)
    try:
        yield
    finally:
        pictures.release()
