"""Names given and taken: a finished file or folder appears, moves, is linked or removed, durably or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from studio.storage.disk import MANY, NO_LINKS, STAGING, clear, flush_many, fsync_path, make_folder, part_of, sync_tree

TRASH_DAYS = 7


def publish(part: Path, path: Path) -> None:
    """Let the finished file `part`, of any folder or disk, take the place of `path`. Where it raises, `path` is as it
    was."""
    fsync_path(part)
    with _put_back(path):
        rename(part, path)
        fsync_path(path.parent)


@contextmanager
def _put_back(path: Path) -> Iterator[None]:
    """A file that the block replaced before it failed has its old contents again: what raised was not done."""
    try:
        before = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        before = None
    try:
        yield
    except OSError:
        with suppress(OSError):  # a disk that fails may not take this either: the first error is the one to tell
            if before is None:
                path.unlink(missing_ok=True)
            elif not os.path.samestat(os.fstat(before), path.stat()):
                _copy_open(before, path)
        raise
    finally:
        if before is not None:
            os.close(before)


def _copy_open(handle: int, path: Path) -> None:
    """Let a copy of an open file take the place of `path`."""
    part = part_of(path)
    mode = stat.S_IMODE(os.fstat(handle).st_mode)
    copy = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(handle, "rb", closefd=False) as source, open(copy, "wb") as file:
        shutil.copyfileobj(source, file)
    os.replace(part, path)


def publish_files(pairs: Iterable[tuple[Path, Path]]) -> None:
    """`publish` for many finished files (part, path) that are named by their content, in few flushes. A whole one that
    is there already stays."""
    new: list[tuple[Path, Path]] = []
    there: list[Path] = []
    for part, path in pairs:
        if path.exists() and path.stat().st_size == part.stat().st_size:
            there.append(path)
        else:
            new.append((part, path))
    parts = [part for part, _ in new]
    paths = [path for _, path in new]
    if len(parts) + len(there) > MANY:
        os.sync()
        flush_many(parts)
    else:
        for part in parts:
            fsync_path(part)
    for folder in sorted({path.parent for path in paths}):
        folder.mkdir(parents=True, exist_ok=True)
    for part, path in new:
        rename(part, path)
    folders: set[Path] = set()
    for path in [*there, *paths]:
        folders.update(path.parents[:3])  # `mkdir` may have made two of them
    _flush_all([*there, *sorted(folders)])  # `there`: whoever made it may have been cut before it was flushed


def _flush_all(paths: Iterable[Path]) -> None:
    """Flush each; a process that may write to them and not read them flushes the disk instead."""
    if not all(flush_many(paths, _could_flush)):
        os.sync()


def _could_flush(path: Path) -> bool:
    try:
        fsync_path(path)
    except PermissionError:
        return False
    return True


def link(source: Path, target: Path) -> None:
    """The file `source` under one more name: the same file where the disk has links, else a copy. Not flushed."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        shutil.copy2(source, target)


def link_tree(source: Path, target: Path) -> None:
    """`link` for every file of a folder; `target` is made. Not flushed. Raises FileNotFoundError for what goes away
    meanwhile."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.is_dir():
            link_tree(path, target / path.name)
        else:
            link(path, target / path.name)


def move(source: Path, target: Path) -> None:
    """Move a file or folder to a name that is free, perhaps on another disk; durable, and where it raises, not done."""
    make_folder(target.parent)
    rename(source, target)
    try:
        fsync_path(target.parent)  # first: where a rename is two changes it may be seen twice, not never
        fsync_path(source.parent)
    except OSError:
        with suppress(OSError):
            rename(target, source)
        raise


def rename(source: Path, target: Path) -> None:
    """A rename, not flushed; to another disk a copy that is whole before it has its name."""
    try:
        os.replace(source, target)
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    copy = target.with_name(f"{STAGING}{target.name}-{uuid.uuid4().hex}")
    try:
        if source.is_dir():
            shutil.copytree(source, copy, symlinks=True)
        else:
            shutil.copy2(source, copy)
        sync_tree(copy)
        os.replace(copy, target)
        fsync_path(target.parent)
    except BaseException:
        clear(copy)
        raise
    erase(source)


def erase(path: Path) -> None:
    """Remove a file or folder that may be there; it is never half there under its name. What the disk does not let go
    then lies under a staging name, which `sweep_staging` removes."""
    gone = path.with_name(f"{STAGING}{path.name}-{uuid.uuid4().hex}")
    try:
        os.rename(path, gone)
    except FileNotFoundError:
        return
    fsync_path(path.parent)
    clear(gone)


def erase_empty(path: Path) -> None:
    """Remove a folder with nothing in it; where something appears meanwhile it stays."""
    try:
        path.rmdir()
    except OSError:  # something is in it, or it is gone
        return
    fsync_path(path.parent)


def remove(path: Path) -> None:
    """Remove a file that may be there, durably."""
    try:
        path.unlink()
    except FileNotFoundError:
        return
    fsync_path(path.parent)


def sweep_staging(folder: Path) -> None:
    """Remove what an interrupted `staged` or `erase` left in `folder`. Call only as the folder's single writer."""
    left = list(folder.glob(f"{STAGING}*"))
    if left:
        fsync_path(folder)  # an `erase` may have been cut before its rename was on the disk
    clear(*left)


def to_trash(path: Path, trash: Path) -> Path:
    """Move a file or folder of the home into its `trash`, where it stays for seven days; returns its place there.

    Its name there says when it went and, behind the @, which folder it lay in (`studio.trash` reads it), so that
    nothing has to be written."""
    inside: tuple[str, ...] = ()
    if path.is_relative_to(trash.parent):
        inside = path.parent.relative_to(trash.parent).parts
    origin = "+".join(quote(part, safe="") for part in inside)
    target = trash / f"{int(time.time())}-{path.name}-{uuid.uuid4().hex[:8]}@{origin}"
    move(path, target)
    return target


def empty_trash(trash: Path, now: float | None = None) -> int:
    """Remove what lies in `trash` for more than seven days; returns how many entries went. Raises OSError for the first
    that cannot be removed, after all were tried."""
    limit = (time.time() if now is None else now) - TRASH_DAYS * 86400
    removed = 0
    errors: list[OSError] = []
    for path in list(trash.glob("*-*")):
        deleted = path.name.partition("-")[0]  # when, in unix seconds
        if not deleted.isdigit() or int(deleted) >= limit:
            continue
        try:
            erase(path)
            removed += 1
        except OSError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return removed
