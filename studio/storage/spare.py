"""Room on the disk that is held for one small file, so that it can be written when the disk is full."""

from __future__ import annotations

import os
from pathlib import Path

from studio.storage import write_bytes
from studio.storage.disk import FULL, clear, fsync_path

SIZE = 64 << 10  # bytes


class Spare:
    """Room for the file `target`, as a file beside it that takes its name when there is no other."""

    def __init__(self, target: Path):
        self.target, self.path = target, target.with_name(f".{target.name}.spare")

    def hold(self) -> bool:
        """Take the room; False where the disk does not give it any more."""
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            try:
                os.write(handle, bytes(SIZE))
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            clear(self.path)
            if error.errno not in FULL:
                raise
            return False
        return True

    def write(self, data: bytes) -> None:
        """Replace the target, by the room that is held where the disk has no other; it is given back then. Raises
        OSError where there is none at all."""
        try:
            write_bytes(self.target, data)
        except OSError as error:
            if error.errno not in FULL or len(data) > SIZE or not self.path.exists():
                raise
            self._write_into(data)
        finally:
            clear(self.path)

    def _write_into(self, data: bytes) -> None:
        try:
            self._overwrite(data)
        except OSError as error:
            if error.errno not in FULL:
                raise
            clear(self.path)  # of a disk that writes nothing in place: what it gives back may be enough
            write_bytes(self.target, data)

    def _overwrite(self, data: bytes) -> None:
        """The data in the blocks of the spare file, which then takes the target's name."""
        handle = os.open(self.path, os.O_WRONLY)
        try:
            os.pwrite(handle, data, 0)
            os.ftruncate(handle, len(data))
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(self.path, self.target)
        fsync_path(self.target.parent)
