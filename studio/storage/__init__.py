"""How anything durable is written: whole files by rename, folders with a manifest last, locks, the trash.

All OS-specific calls of this kind are here, and every rename, link and removal of the studio (tests/test_durable.py
walks the sources). A crash or a power cut at any moment leaves the old state or the new one, and what a function has
returned from stays: contents are flushed before they get their name, and the folder with the name after it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import uuid
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypedDict, TypeGuard

from studio import messages
from studio.errors import StudioError
from studio.messages import Message
from studio.storage.disk import (
    FULL,
    NO_LINKS,
    STAGING,
    UNWRITABLE,
    clear,
    following,
    free_bytes,
    fsync_path,
    is_full,
    make_folder,
    part_of,
    sync_tree,
    writable,
)
from studio.storage.locks import NO_LOCKS, Lock, is_locked
from studio.storage.moves import (
    TRASH_DAYS,
    empty_trash,
    erase,
    erase_empty,
    link,
    link_tree,
    move,
    publish,
    publish_files,
    remove,
    rename,
    sweep_staging,
    to_trash,
)

__all__ = [
    "FULL", "MANIFEST", "NO_LOCKS", "STAGING", "TRASH_DAYS", "UNWRITABLE", "Corrupt", "FileRecord", "Lock", "Manifest",
    "append_lines", "clear", "empty_trash", "erase", "erase_empty", "fingerprint", "following", "free_bytes",
    "fsync_path", "home", "is_full", "is_locked", "link", "link_tree", "make_folder", "manifest", "move", "part_of",
    "publish", "publish_files", "publish_folder", "read_json", "read_lines", "remove", "rename", "seal", "sha256_file",
    "staged", "stamp", "sweep_staging", "sync_tree", "to_trash", "verify", "writable", "write_bytes", "write_cache",
    "write_empty", "write_json", "write_new", "writing",
]

MANIFEST = "manifest.json"


class FileRecord(TypedDict):
    """A file by its contents."""

    size: int  # bytes
    sha256: str  # hex
    crc32: int


class Manifest(TypedDict, total=False):
    """What a finished folder holds, and what was said of it when it was sealed: of a checkpoint all that follows."""

    files: dict[str, FileRecord]  # by the path below the folder
    step: int
    config_sha: str
    data_sha: str
    versions: dict[str, str]
    device: str
    threads: int
    precision: str


class Corrupt(StudioError):
    """A folder whose files do not match its manifest, or a file that cannot be read; the message names the file and the
    difference."""

    code = "corrupt"


def home() -> Path:
    """Where the user's data lives: STUDIO_HOME, else `workspace/` beside the program."""
    chosen = os.environ.get("STUDIO_HOME")
    if chosen:
        return Path(chosen).expanduser().resolve()
    return Path(__file__).resolve().parents[2] / "workspace"


def write_bytes(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace `path` by `data` at once: readers see the old file or the new one, never a part. Where it raises, the old
    one is there."""
    with writing(path, mode) as file:
        file.write(data)


@contextmanager
def writing(path: Path, mode: int = 0o644) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` when the block is left; an error leaves `path` as it was."""
    part = part_of(path)
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "wb") as file:
            yield file
        publish(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_new(path: Path, data: bytes, mode: int = 0o644) -> bytes:
    """What `path` holds: `data`, whole and durable, unless somebody was there before."""
    if path.exists() and not path.stat().st_size:  # of a program that was killed between making and writing it
        path.unlink(missing_ok=True)
    if not path.exists():
        part = part_of(path)
        write_bytes(part, data, mode)
        try:
            os.link(part, path)
        except FileExistsError:
            pass
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
        fsync_path(path.parent)
    return path.read_bytes()


def write_empty(path: Path) -> None:
    """A new file whose name says everything: it needs no block of the disk, so a full one takes it as a rule."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.fsync(handle)
        fsync_path(path.parent)
    except OSError:
        clear(path)
        raise
    finally:
        os.close(handle)


def write_json(path: Path, data: object, mode: int = 0o644) -> None:
    """Replace `path` by strict JSON (NaN is refused with ValueError)."""
    text = json.dumps(messages.stored(data), ensure_ascii=False, allow_nan=False, indent=1)
    write_bytes(path, text.encode() + b"\n", mode)


def write_cache(path: Path, data: object) -> bool:
    """Keep JSON that can be made again, whole but not flushed; False where the disk does not take it, which is no fault
    of whoever needs it."""
    part = part_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(json.dumps(messages.stored(data), ensure_ascii=False, allow_nan=False).encode())
        os.replace(part, path)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        clear(part)
        return False
    return True


def read_json(path: Path, most: int | None = None) -> Any | None:
    """The JSON in `path`, or None where there is no file. Raises Corrupt when it is none, or has over `most` bytes."""
    try:
        with open(path, "rb") as file:
            data = file.read(-1 if most is None else most + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        raise Corrupt(Message("{name} cannot be read: {why}", name=path.name, why=error.strerror)) from error
    if most is not None and len(data) > most:
        raise Corrupt(Message("{name} is larger than {size} kB", name=path.name, size=most >> 10))
    try:
        return messages.loads(data)
    except (ValueError, RecursionError) as error:
        raise Corrupt(Message("{name} is not readable JSON: {why}", name=path.name, why=error)) from None


def append_lines(path: Path, lines: Iterable[Mapping[str, object]]) -> None:
    """Add JSON objects, a line each, durably; a line that a kill tore before stays alone. Of several writers each waits
    for the one before. Where it raises, nothing was added."""
    data = "".join(json.dumps(messages.stored(line), ensure_ascii=False) + "\n" for line in lines).encode()
    with open(path, "a+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                data = b"\n" + data
        try:
            while data:
                data = data[file.write(data) :]
            os.fsync(file.fileno())
            if not size:
                fsync_path(path.parent)
        except OSError:
            with suppress(OSError):
                os.ftruncate(file.fileno(), size)
            raise


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects that `append_lines` wrote, without torn ones; none where there is no file."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    for line in lines:
        try:
            data = json.loads(line)
        except ValueError:  # empty, torn by a kill, or being written just now
            continue
        if isinstance(data, dict):
            yield data


def _sha256(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        raise Corrupt(Message("{folder}/{name} cannot be read: {why}", folder=path.parent.name, name=path.name,
                              why=error.strerror)) from error


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stamp(path: Path) -> tuple[int, int, int] | None:
    """A file's time of change in ns, inode and size in bytes: another whenever it was written or replaced; None where
    there is none."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return None
    return facts.st_mtime_ns, facts.st_ino, facts.st_size


def fingerprint(path: Path) -> FileRecord:
    """A file's size, SHA-256 and CRC-32 (a zip that is streamed later needs the last) from one reading."""
    sha = hashlib.sha256()
    crc = size = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
            crc = zlib.crc32(block, crc)
            size += len(block)
    return {"size": size, "sha256": sha.hexdigest(), "crc32": crc}


@contextmanager
def staged(final: Path, facts: Callable[[], Mapping[str, object]] | Mapping[str, object]) -> Iterator[Path]:
    """Write a folder that appears under its final name complete and verified, or not at all.

    Yields a staging folder beside `final`. On leaving, every file is fsynced, `manifest.json` (sizes, SHA-256 and
    `facts`) is written last, and the folder is verified and renamed. Raises FileExistsError when `final` is there, and
    any error of the writing (a full disk also comes as RuntimeError or SafetensorError); staging is then removed.
    """
    if final.exists():
        raise FileExistsError(f"{final.name} is already there")
    staging = final.with_name(f"{STAGING}{final.name}-{uuid.uuid4().hex}")
    make_folder(final.parent)
    staging.mkdir()
    try:
        yield staging
        if callable(facts):
            facts = facts()
        seal(staging, facts)
        verify(staging)
        _place_folder(staging, final)
    except BaseException:
        clear(staging)
        raise


def publish_folder(staging: Path, final: Path) -> None:
    """Let a finished folder appear under its final name on the same disk, with everything in it flushed. Where it
    raises, it lies where it was."""
    sync_tree(staging)
    _place_folder(staging, final)


def _place_folder(staging: Path, final: Path) -> None:
    """`publish_folder` of one whose contents are flushed already."""
    os.rename(staging, final)
    try:
        fsync_path(final.parent)
    except OSError:
        os.rename(final, staging)
        raise


def seal(folder: Path, facts: Mapping[str, object]) -> None:
    """Fsync every file of `folder` and write its manifest last."""
    files: dict[str, FileRecord] = {}
    paths = sorted(folder.rglob("*"))
    for path in filter(Path.is_file, paths):
        fsync_path(path)
        files[path.relative_to(folder).as_posix()] = fingerprint(path)
    for path in filter(Path.is_dir, reversed(paths)):
        fsync_path(path)
    write_json(folder / MANIFEST, {"files": files, **facts})


def manifest(folder: Path) -> Manifest:
    """The folder's manifest. Raises Corrupt when it is missing or unreadable."""
    data = read_json(folder / MANIFEST)
    if not _is_manifest(data):
        raise Corrupt(Message("{name} has no readable {manifest}: it was never finished", name=folder.name,
                              manifest=MANIFEST))
    return data


def _is_manifest(data: object) -> TypeGuard[Manifest]:
    """Whether this is an object whose `files` all have a size and a SHA-256."""
    files = data.get("files") if isinstance(data, dict) else None
    if not isinstance(files, dict):
        return False
    return all(isinstance(entry, dict) and {"size", "sha256"} <= entry.keys() for entry in files.values())


def verify(folder: Path, parts: Collection[str] | None = None) -> Manifest:
    """The manifest, after comparing every file with it, or those in the folders `parts`. Raises Corrupt naming the
    first difference."""
    sealed = manifest(folder)
    for name, want in sealed["files"].items():
        if parts is not None and name.partition("/")[0] not in parts:
            continue
        path = folder / name
        if not path.is_file():
            raise Corrupt(Message("{folder}/{name} is missing", folder=folder.name, name=name))
        if path.stat().st_size != want["size"]:
            raise Corrupt(Message("{folder}/{name} has {size} bytes instead of {expected}", folder=folder.name,
                                  name=name, size=path.stat().st_size, expected=want["size"]))
        if _sha256(path) != want["sha256"]:
            raise Corrupt(Message("{folder}/{name} does not match its SHA-256: it was changed or damaged on disk",
                                  folder=folder.name, name=name))
    return sealed
