"""What a disk refuses, in words: full, failing, read-only, without locks. Every door says it so.

An error of the disk arrives as OSError, from torch as RuntimeError, from safetensors as SafetensorError, and from a
copied folder as shutil.Error with the errors of its files as text.
"""

from __future__ import annotations

import errno
import logging
import re
import time
from typing import NamedTuple

from studio import storage
from studio.messages import Message


class Fault(NamedTuple):
    """A stable code, a sentence that names the disk, and what puts it right."""

    code: str
    message: str
    hint: str


FULL = Fault("disk_full", Message("The disk of the studio is full."),
             Message("Free some space: empty the trash, or remove other things from the disk."))
QUOTA = Fault("disk_full", Message("The disk quota of the studio is used up."),
              Message("Free some space: empty the trash, or ask for a larger quota."))
FAILING = Fault("disk_failing", Message("The disk of the studio reports an error of its own (input/output error)."),
                Message("Copy the studio's home to another disk while it can be read, and look at the system's log."))
READ_ONLY = Fault("disk_read_only", Message("The disk of the studio is read-only."),
                  Message("Mount it so that it can be written to, or start the studio with another STUDIO_HOME."))
FORBIDDEN = Fault("disk_forbidden", Message("The user that the studio runs as may not read or write a file."),
                  Message("Give this user the rights to STUDIO_HOME with all that is in it, or set another one."))
NO_LOCKS = Fault("no_locks", Message("The file system of the studio's home has no file locks."),
                 Message("Put STUDIO_HOME on a local disk, or turn the locks of the network's file system on."))
APART = Fault("disk_apart", Message("Two folders of the studio's home lie on different disks."),
              Message("Put the whole STUDIO_HOME on one disk."))
TOO_LARGE = Fault("disk_limit", Message("A file would become larger than this system lets the studio write."),
                  Message("Raise the limit (`ulimit -f`), or put STUDIO_HOME on another disk."))
TOO_MANY = Fault("too_many_files", Message("The studio has too many files open."),
                 Message("Raise the limit (`ulimit -n 65536`), then start it again."))
KNOWN = {
    errno.ENOSPC: FULL, errno.EDQUOT: QUOTA, errno.EROFS: READ_ONLY, errno.EACCES: FORBIDDEN, errno.EPERM: FORBIDDEN,
    errno.EXDEV: APART, errno.EFBIG: TOO_LARGE, errno.EMFILE: TOO_MANY, errno.ENFILE: TOO_MANY,
    **dict.fromkeys((errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE), FAILING),
    **dict.fromkeys(storage.NO_LOCKS, NO_LOCKS),
}
HOUR = 3600.0
_NUMBER = re.compile(r"\[Errno (\d{1,4})\]|\(os error (\d{1,4})\)")
_WORDS = {"No space left": errno.ENOSPC, "unexpected pos": errno.ENOSPC, "quota exceeded": errno.EDQUOT,
          "Read-only file system": errno.EROFS, "Input/output error": errno.EIO}  # the second is torch's


def of(error: BaseException | None) -> Fault | None:
    """What the disk refused, where that is what `error` (or what it was raised from) tells."""
    if error is None:
        return None
    return KNOWN.get(_errno(error) or 0) or of(error.__cause__)


def told(text: str) -> Fault | None:
    """What the disk refused, by the words of an error that another process met."""
    return KNOWN.get(_of_text(text) or 0)


class ThrottledLog:
    """A log in which the same trouble stands once an hour, however often it comes back: it must not grow by itself."""

    def __init__(self, log: logging.Logger):
        self.log = log
        self._told: dict[str, float] = {}  # when, by the words

    def tell(self, what: str, error: BaseException) -> None:
        """Say that `what` failed; what the disk refuses without a trace, which would say no more."""
        fault = of(error)
        words = f"{what}: ({plain(error)})"
        trace: BaseException | None = error
        if fault:
            words = f"{what}: {fault.message} ({plain(error)})"
            trace = None
        now = time.monotonic()
        if now - self._told.get(words, -HOUR) < HOUR:
            return
        self._told = {known: when for known, when in self._told.items() if now - when < HOUR}
        self._told[words] = now
        self.log.error("%s", words, exc_info=trace)


def plain(error: BaseException) -> str:
    """The error in a library's own words, without the path of a file: it may be told to anybody."""
    text = str(error)
    if isinstance(error, OSError) and error.errno:
        text = f"[Errno {error.errno}] {error.strerror}"
    return f"{type(error).__name__}: {text[:300]}"


def in_shell(error: BaseException) -> str:
    """The error for somebody at a shell of this machine: what the disk refused, and where."""
    fault = of(error)
    return str(error) if fault is None else f"{fault.message} {fault.hint} ({error})"


def _errno(error: BaseException) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    return _of_text(str(error)) if isinstance(error, Exception) else None


def _of_text(text: str) -> int | None:
    """The number that a text tells of an error, else that of the first words in it that are known."""
    numbered = _NUMBER.search(text)
    if numbered:
        return int(numbered[1] or numbered[2])
    for words, number in _WORDS.items():
        if words in text:
            return number
    return None
