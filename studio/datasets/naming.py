"""Which stored pictures the rows of a data set (`rows.jsonl`) and of a run (`dataset.jsonl`) name, and so keep.

What nothing names is swept (studio/sweeping.py): whoever is about to name stored pictures holds `relying` from before
it looks for them until its rows can be seen.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from studio import storage

IMAGE = re.compile(r"[0-9a-f]{64}", re.ASCII)
EXT = re.compile(r"[a-z0-9]{1,8}", re.ASCII)
HEAD_BYTES = 128  # of a file of rows, which tell it from another


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


def is_picture(facts: dict[str, Any]) -> bool:
    """Whether these are the facts of a stored picture: {sha256, ext, width, height, changes}."""
    image, ext, changes = facts.get("sha256"), facts.get("ext"), facts.get("changes")
    return (isinstance(image, str) and IMAGE.fullmatch(image) is not None and ext in ("webp", "png", "jpg")
            and all(type(facts.get(side)) is int and facts[side] > 0 for side in ("width", "height"))
            and isinstance(changes, list) and all(isinstance(change, str) for change in changes))


class Reader:
    """What one file of rows names, read on from where it was. Where another file has taken its place (a log that was
    compacted), `anew` is true and it is read from its beginning."""

    def __init__(self, path: Path):
        self.path, self.anew = path, True
        self._stamp: tuple[int, int, int] | None = None
        self._head, self._offset = b"", 0

    def changed(self) -> bool:
        """Whether there is anything new. Costs one stat."""
        return storage.stamp(self.path) != self._stamp

    def read(self) -> Iterator[dict[str, Any]]:
        """The rows named from where the last reading ended. Raises FileNotFoundError."""
        with open(self.path, "rb") as file:
            stat, head = os.fstat(file.fileno()), file.read(HEAD_BYTES)
            self.anew = not (self._stamp and self._stamp[1] == stat.st_ino and self._offset <= stat.st_size
                             and head.startswith(self._head))  # a number is given again: the head tells as well
            self._stamp, self._head = (stat.st_mtime_ns, stat.st_ino, stat.st_size), head
            self._offset = 0 if self.anew else self._offset
            file.seek(self._offset)
            for line in file:
                self._offset += len(line) if line.endswith(b"\n") else 0
                yield from rows_named(line)


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
