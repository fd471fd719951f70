"""What the rest stands on: flushing, folders that stay, what a disk says when it takes nothing, and how full it is."""

from __future__ import annotations

import errno
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
STAGING = ".staging-"
MANY = 32  # files from which on one flush of the whole disk before that of each saves time
FLUSHES = 8  # at once, of many files
FULL_BELOW = 64 << 10  # bytes
FULL = (errno.ENOSPC, errno.EDQUOT)
UNWRITABLE = (*FULL, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM)  # of a disk that takes nothing (any more)
NO_LINKS = (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def fsync_path(path: Path) -> None:
    """Flush a file or a folder to the disk. Raises OSError; a file system without folder fsync is accepted."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP)):
            raise
    finally:
        os.close(handle)


def flush_many(paths: Iterable[Path], flush: Callable[[Path], T] = fsync_path) -> list[T]:
    """What `flush` returns of each path, several at once. Raises the first OSError.

    A disk empties its own memory once for all flushes that wait together, and that is nearly all that the flush of a
    file takes which was written before."""
    from concurrent.futures import ThreadPoolExecutor  # not for every decoder, which imports this and flushes nothing

    with ThreadPoolExecutor(FLUSHES) as pool:
        return list(pool.map(flush, paths))


def sync_tree(*paths: Path) -> None:
    """Flush files, and folders with everything in them."""
    files: list[Path] = []
    folders: list[Path] = []
    for path in _with_all_below(paths):
        if path.is_dir():
            folders.append(path)
        else:
            files.append(path)
    if len(files) > MANY:
        os.sync()  # writes them all at once; after it the flush of each is quick, and says whether that went well
        flush_many(files)
        files = []
    for path in sorted([*files, *folders], reverse=True):  # a folder after what is in it
        fsync_path(path)


def _with_all_below(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        yield path
        if path.is_dir():
            yield from path.rglob("*")


def make_folder(path: Path) -> None:
    """`path` as a folder, with those above it that are missing; their names are on the disk when this returns."""
    if path.is_dir():
        return
    make_folder(path.parent)
    with suppress(FileExistsError):  # somebody else is making it too
        path.mkdir()
    fsync_path(path.parent)


def part_of(path: Path) -> Path:
    """Where what will be `path` is written until it is whole."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")


def following(folder: Path) -> str:
    """A new name that sorts after every other in `folder`, whatever the clock does: 20 digits, -, 8 hex digits."""
    latest = max((name[:20] for name in os.listdir(folder) if name[:20].isdigit()), default="0")
    return f"{max(time.time_ns(), int(latest) + 1):020d}-{uuid.uuid4().hex[:8]}"


def clear(*paths: Path) -> None:
    """Remove what nobody will look for any more: what work that is over left. What the disk does not let go stays."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def free_bytes(path: Path) -> int:
    """Free bytes for this user on the disk of `path` (its nearest existing parent)."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def writable(path: Path) -> None:
    """Return if the disk of `path` is mounted to be written to. Raises OSError (EROFS)."""
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def is_full(path: Path) -> bool:
    """Whether the disk of `path` takes next to nothing from this process any more."""
    try:
        disk = os.statvfs(path)
    except OSError:  # it does not even say
        return False
    blocks = disk.f_bfree if os.geteuid() == 0 else disk.f_bavail
    return blocks * disk.f_frsize < FULL_BELOW or (disk.f_files > 0 and disk.f_favail == 0)
