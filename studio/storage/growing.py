"""A file that one process adds to for long: nothing is lost while the disk takes nothing, and room for more is held."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

from studio.storage.disk import UNWRITABLE, fsync_path

WAITING_BYTES = 16 << 20  # what waits for a disk that takes it, at most
AHEAD_BYTES = 1 << 20  # the room that is held behind the end
_KEEP_SIZE = 1  # of fallocate(2)


class GrowingFile:
    """Whole lines, added in order. A line that a killed predecessor left torn is closed before the next one.

    What the disk does not take waits in memory for the next try. On Linux a full disk goes on taking lines for a while:
    blocks behind the file's end are its own from the beginning.
    """

    def __init__(self, path: Path):
        self.path = path
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._end = self._flushed = os.fstat(self._handle).st_size
        self._torn = self._end > 0 and os.pread(self._handle, 1, self._end - 1) != b"\n"
        if not self._end:
            fsync_path(path.parent)
        self._waiting = b""
        self._doubtful = False  # a flush failed: the kernel tells so once, and forgets what it did not write
        self._held = 0  # up to where there is room
        self._hold()

    def write(self, data: bytes) -> None:
        """Add `data`, or let it wait. Raises OSError for what is no fault of the disk, or where too much waits: the
        lines that wait are lost then."""
        self._waiting += data
        try:
            self._write()
        except OSError as error:
            if error.errno not in UNWRITABLE or len(self._waiting) > WAITING_BYTES:
                self._waiting = b""
                self._torn = True
                raise

    def flush(self) -> None:
        """Everything so far onto the disk. Raises OSError; a later call tries all of it again."""
        self._write()
        if self._doubtful:
            again = os.pread(self._handle, self._end - self._flushed, self._flushed)
            with open(self.path, "r+b", buffering=0) as file:  # one that appends writes nowhere else
                os.pwrite(file.fileno(), again, self._flushed)
        self._doubtful = True
        os.fsync(self._handle)
        self._doubtful = False
        self._flushed = self._end

    def close(self) -> None:
        """Flush, give the room back that is left, and close. Raises OSError where something still waits."""
        try:
            self.flush()
            if self._held > self._end:  # the file's own length: what somebody else added to it stays
                os.ftruncate(self._handle, os.fstat(self._handle).st_size)
        finally:
            os.close(self._handle)

    def _write(self) -> None:
        if self._torn and self._waiting:  # a line that nobody will finish
            self._waiting = b"\n" + self._waiting
            self._torn = False
        while self._waiting:
            written = os.write(self._handle, self._waiting)
            self._waiting = self._waiting[written:]
            self._end += written
        self._hold()

    def _hold(self) -> None:
        """Let half of the room, at least, lie behind the end, where the disk has it."""
        if _fallocate is None or self._held - self._end >= AHEAD_BYTES // 2:
            return
        if _fallocate(self._handle, _KEEP_SIZE, self._end, AHEAD_BYTES) == 0:
            self._held = self._end + AHEAD_BYTES


def _find_fallocate() -> Callable[[int, int, int, int], int] | None:
    """The C library's function (of Linux), which Python's `posix_fallocate` is not: that one makes the file longer."""
    fallocate = getattr(ctypes.CDLL(None), "fallocate", None)
    if fallocate is not None:
        fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return fallocate


_fallocate = _find_fallocate()
