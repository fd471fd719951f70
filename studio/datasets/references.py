"""Which stored pictures the rows of a data set (`rows.jsonl`) and of a run (`dataset.jsonl`) name, and so keep.

What nothing names is swept (studio/sweeping.py): whoever is about to name stored pictures holds `relying` from before
it looks for them until its rows can be seen.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from studio import storage

IMAGE = re.compile(r"[0-9a-f]{64}", re.ASCII)
EXT = re.compile(r"[a-z0-9]{1,8}", re.ASCII)
HEAD_BYTES = 128  # of a file of rows, which tell it from another


def rows_named(line: bytes) -> list[dict[str, str]]:
    """The picture that the line names, as [{image, ext}], if it names one: also where its import was not committed, or
    an edit took it out, since an undo may bring it back. Nothing for a torn or foreign line."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return []
    if isinstance(row, dict) and row.get("op") == "add":
        row = row.get("row")
    if not isinstance(row, dict):
        return []
    image = row.get("image")
    ext = row.get("ext")
    if not isinstance(image, str) or not isinstance(ext, str) or not IMAGE.fullmatch(image) or not EXT.fullmatch(ext):
        return []
    return [{"image": image, "ext": ext}]


def is_picture(facts: Mapping[str, object]) -> bool:
    """Whether these are the facts of a stored picture: {sha256, ext, width, height, changes}."""
    image = facts.get("sha256")
    changes = facts.get("changes")
    if not isinstance(image, str) or IMAGE.fullmatch(image) is None or facts.get("ext") not in ("webp", "png", "jpg"):
        return False
    if not _is_length(facts.get("width")) or not _is_length(facts.get("height")):
        return False
    return isinstance(changes, list) and all(isinstance(change, str) for change in changes)


def _is_length(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


class ReferenceReader:
    """What one file of rows names, read on from where it was. Where another file has taken its place (a log that was
    compacted), `anew` is true and it is read from its beginning."""

    def __init__(self, path: Path):
        self.path, self.anew = path, True
        self._stamp: tuple[int, int, int] | None = None  # time of change, inode, bytes
        self._head, self._offset = b"", 0

    def changed(self) -> bool:
        """Whether there is anything new. Costs one stat."""
        return storage.stamp(self.path) != self._stamp

    def read(self) -> Iterator[dict[str, str]]:
        """The rows named from where the last reading ended. Raises FileNotFoundError."""
        with open(self.path, "rb") as file:
            stat = os.fstat(file.fileno())
            head = file.read(HEAD_BYTES)
            self.anew = not (self._stamp and self._stamp[1] == stat.st_ino and self._offset <= stat.st_size
                             and head.startswith(self._head))  # a number is given again: the head tells as well
            self._stamp, self._head = (stat.st_mtime_ns, stat.st_ino, stat.st_size), head
            if self.anew:
                self._offset = 0
            file.seek(self._offset)
            for line in file:
                if line.endswith(b"\n"):  # a torn end is read again
                    self._offset += len(line)
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
