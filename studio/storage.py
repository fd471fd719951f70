"""How anything durable is written: whole files by rename, folders with a manifest last, locks, the trash.

All OS-specific calls of this kind are here. A crash or a power cut at any moment leaves the old state or the new one.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
import uuid
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
STAGING = ".staging-"
TRASH_DAYS = 7
PART_OF = "-of-"  # in the name of an entry of the trash: before the id of what it was a part of


class Corrupt(Exception):
    """A folder whose files do not match its manifest; the message names the file and the difference."""


def home() -> Path:
    """Where the user's data lives: STUDIO_HOME, else `workspace/` beside the program."""
    given = os.environ.get("STUDIO_HOME")
    return Path(given).expanduser().resolve() if given else Path(__file__).resolve().parent.parent / "workspace"


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


def write_bytes(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace `path` by `data` at once: readers see the old file or the new one, never a part."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    fsync_path(path.parent)


def write_json(path: Path, data: Any, mode: int = 0o644) -> None:
    """Replace `path` by strict JSON (NaN is refused with ValueError)."""
    write_bytes(path, json.dumps(data, ensure_ascii=False, allow_nan=False, indent=1).encode() + b"\n", mode)


def read_json(path: Path, most: int | None = None) -> Any | None:
    """The JSON in `path`, or None where there is no file. Raises Corrupt when it is none, or has over `most` bytes."""
    try:
        with open(path, "rb") as file:
            data = file.read() if most is None else file.read(most + 1)
    except FileNotFoundError:
        return None
    if most is not None and len(data) > most:
        raise Corrupt(f"{path.name} is larger than {most >> 10} kB")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Corrupt(f"{path.name} is not readable JSON: {error}") from None


def append_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Add JSON objects, a line each, durably; a line that a kill tore before stays alone. One writer at a time."""
    with open(path, "a+b") as file:
        if file.seek(0, os.SEEK_END) and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
            file.write(b"\n")
        file.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode())
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects that `append_lines` wrote, without torn ones; none where there is no file."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    for line in lines:
        try:
            found = json.loads(line)
        except ValueError:  # empty, torn by a kill, or being written just now
            continue
        if isinstance(found, dict):
            yield found


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stamp(path: Path) -> tuple[int, int, int] | None:
    """What is another whenever a file was written or replaced: its time, number and size; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def fingerprint(path: Path) -> dict[str, Any]:
    """A file's size, SHA-256 and CRC-32 (a zip that is streamed later needs the last) from one reading."""
    sha, crc, size = hashlib.sha256(), 0, 0
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
            crc = zlib.crc32(block, crc)
            size += len(block)
    return {"size": size, "sha256": sha.hexdigest(), "crc32": crc}


@contextmanager
def staged(final: Path, facts: Callable[[], dict[str, Any]] | dict[str, Any]) -> Iterator[Path]:
    """Write a folder that appears under its final name complete and verified, or not at all.

    Yields a staging folder beside `final`. On leaving, every file is fsynced, `manifest.json` (sizes, SHA-256 and
    `facts`) is written last, and the folder is verified and renamed. Raises FileExistsError when `final` is there, and
    any error of the writing (a full disk also comes as RuntimeError or SafetensorError); staging is then removed.
    """
    if final.exists():
        raise FileExistsError(f"{final.name} is already there")
    staging = final.with_name(f"{STAGING}{final.name}-{uuid.uuid4().hex}")
    staging.mkdir(parents=True)
    try:
        yield staging
        seal(staging, facts() if callable(facts) else facts)
        verify(staging)
        os.rename(staging, final)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    fsync_path(final.parent)


def seal(folder: Path, facts: dict[str, Any]) -> None:
    """Fsync every file of `folder` and write its manifest last."""
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        fsync_path(path)
        files[path.relative_to(folder).as_posix()] = fingerprint(path)
    for path in sorted((p for p in folder.rglob("*") if p.is_dir()), reverse=True):
        fsync_path(path)
    write_json(folder / MANIFEST, {"files": files, **facts})


def manifest(folder: Path) -> dict[str, Any]:
    """The folder's manifest. Raises Corrupt when it is missing or unreadable."""
    found = read_json(folder / MANIFEST)
    files = found.get("files") if isinstance(found, dict) else None
    entries = files.values() if isinstance(files, dict) else [None]
    if not isinstance(found, dict) or not all(isinstance(e, dict) and {"size", "sha256"} <= e.keys() for e in entries):
        raise Corrupt(f"{folder.name} has no readable {MANIFEST}: it was never finished")
    return found


def verify(folder: Path, parts: Collection[str] | None = None) -> dict[str, Any]:
    """The manifest, after comparing every file with it, or those in the folders `parts`. Raises Corrupt naming the
    first difference."""
    found = manifest(folder)
    for name, want in found["files"].items():
        if parts is not None and name.partition("/")[0] not in parts:
            continue
        path = folder / name
        if not path.is_file():
            raise Corrupt(f"{folder.name}/{name} is missing")
        if path.stat().st_size != want["size"]:
            raise Corrupt(f"{folder.name}/{name} has {path.stat().st_size} bytes instead of {want['size']}")
        if sha256_file(path) != want["sha256"]:
            raise Corrupt(f"{folder.name}/{name} does not match its SHA-256: it was changed or damaged on disk")
    return found


def sweep_staging(folder: Path) -> None:
    """Remove what an interrupted `staged` left in `folder`. Call only as the folder's single writer."""
    for path in folder.glob(f"{STAGING}*"):
        shutil.rmtree(path, ignore_errors=True)


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
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        for _ in range(20):
            try:
                fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.005)
                continue
            self._handle = handle
            return True
        os.close(handle)
        return False

    def wait(self, *, shared: bool = False) -> None:
        """Take the lock, beside other shared holders if `shared`, waiting for as long as it needs."""
        self.open()
        assert self._handle is not None
        fcntl.flock(self._handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)

    def open(self) -> None:
        """Open the file, so that `wait` can take the lock later, in a process that may not open it then."""
        if self._handle is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)

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


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock on `path` right now (a shared probe, so that two probes never collide)."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def free_bytes(path: Path) -> int:
    """Free bytes for this user on the disk of `path` (its nearest existing parent)."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def to_trash(path: Path, trash: Path, part_of: str = "") -> Path:
    """Move a file or folder into `trash`, where it stays for seven days at most; returns its place there. `part_of`:
    the id of the run or the data set that it was a part of."""
    trash.mkdir(parents=True, exist_ok=True)
    whole = f"{PART_OF}{part_of}" if part_of else ""
    target = trash / f"{int(time.time())}-{path.name}{whole}-{uuid.uuid4().hex[:8]}"
    os.rename(path, target)
    return target


def empty_trash(trash: Path, now: float | None = None) -> int:
    """Remove what lies in `trash` for more than seven days; returns how many entries went."""
    limit = (time.time() if now is None else now) - TRASH_DAYS * 86400
    old = [p for p in trash.glob("*-*") if p.name.split("-")[0].isdigit() and int(p.name.split("-")[0]) < limit]
    return erase(old)


def erase(paths: Iterable[Path]) -> int:
    """Remove files and folders for good; returns how many there were."""
    count = 0
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        count += 1
    return count
