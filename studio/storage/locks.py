"""Advisory locks on files, which end with their holder: who works on a folder, and whether anybody does."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)  # of a file system that has none


class Lock:
    """An advisory lock on a file, held until `release` or the death of every process that inherited it."""

    def __init__(self, path: Path):
        self.path = path
        self._handle: int | None = None

    def acquire(self, *, shared: bool = False) -> bool:
        """Take the lock, beside other shared holders if `shared`; False when somebody else holds it.

        A refusal is tried again for a tenth of a second, since `is_locked` in another process holds a lock, shared,
        for some microseconds.
        """
        handle = self._open(shared)
        if handle is None:
            return True
        try:
            for _ in range(20):
                try:
                    fcntl.flock(handle, _operation(shared) | fcntl.LOCK_NB)
                except BlockingIOError:
                    time.sleep(0.005)
                    continue
                self._handle = handle
                handle = None
                return True
            return False
        finally:
            if handle is not None:
                os.close(handle)

    def _open(self, shared: bool) -> int | None:
        """The lock's file, made where it is missing; None where a shared lock needs none: nothing changes on a disk
        that takes no file."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            if not shared or error.errno != errno.EROFS:
                raise
            return os.open(self.path, os.O_RDONLY) if self.path.exists() else None

    def wait(self, *, shared: bool = False) -> None:
        """Take the lock, beside other shared holders if `shared`, waiting for as long as it needs."""
        self.open(shared)
        if self._handle is None:
            return
        try:
            fcntl.flock(self._handle, _operation(shared))
        except OSError:
            self.release()
            raise

    def open(self, shared: bool = False) -> None:
        """Open the file, so that `wait` can take the lock later, in a process that may not open it then."""
        if self._handle is None:
            self._handle = self._open(shared)

    def fileno(self) -> int:
        """The held lock's descriptor: a child that inherits it (`pass_fds`) holds the lock too."""
        if self._handle is None:
            raise ValueError(f"{self.path.name} is not held")
        return self._handle

    def release(self) -> None:
        """Give the lock back."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> Lock:
        self.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _operation(shared: bool) -> int:
    """Which lock flock(2) is asked for."""
    return fcntl.LOCK_SH if shared else fcntl.LOCK_EX


def is_locked(path: Path, unknown: bool = False) -> bool:
    """Whether somebody holds the lock on `path` right now (a shared probe, so that two probes never collide); `unknown`
    where the file system cannot tell."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return unknown
    finally:
        os.close(handle)
    return False
