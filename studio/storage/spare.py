"""Room on the disk that a home holds, so that the little which must be said can be written when the disk is full.

    <home>/spare/0 ... 7     files of 64 kB; what must be written goes into the blocks of one, which then takes its name
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from studio.storage import write_bytes
from studio.storage.disk import FULL, UNWRITABLE, clear, free_bytes, fsync_path, make_folder

COUNT, SIZE = 8, 64 << 10
LEAST_FREE = 16 << 20  # bytes that stay free when room is taken


class Spare:
    """The room that one home holds."""

    def __init__(self, home: Path):
        self.home, self.folder = home, home / "spare"

    def fill(self) -> None:
        """Take what is missing, where the disk has it to give."""
        missing = [name for name in map(str, range(COUNT)) if not (self.folder / name).exists()]
        if not missing or free_bytes(self.home) < LEAST_FREE:
            return
        try:
            make_folder(self.folder)
            for name in missing:
                write_bytes(self.folder / name, bytes(SIZE))
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise

    def write(self, path: Path, data: bytes) -> None:
        """Replace `path`, by the room that is held where the disk has no other. Raises OSError where there is none."""
        try:
            write_bytes(path, data)
        except OSError as error:
            if error.errno not in FULL or len(data) > SIZE:
                raise
            taken = self._take()
            if taken is None:
                raise
            try:
                self._write_into(taken, path, data)
            finally:
                clear(taken)

    def _take(self) -> Path | None:
        """One of the files, now under a name that nobody else takes."""
        taken = self.folder / f".{uuid.uuid4().hex}"
        for name in map(str, range(COUNT)):
            try:
                os.rename(self.folder / name, taken)
                return taken
            except FileNotFoundError:  # used up, or taken by somebody else
                continue
        return None

    def _write_into(self, taken: Path, path: Path, data: bytes) -> None:
        try:
            _overwrite(taken, data)
        except OSError as error:
            if error.errno not in FULL:
                raise
            clear(taken)  # of a disk that writes nothing in place: what it gives back may be enough
            write_bytes(path, data)
            return
        os.replace(taken, path)
        fsync_path(path.parent)


def _overwrite(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(handle, data, 0)
        os.ftruncate(handle, len(data))
        os.fsync(handle)
    finally:
        os.close(handle)
