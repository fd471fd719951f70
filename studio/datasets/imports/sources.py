"""What a person brought, as a flat list of entries: loose files, and the entries of zips and tars (never unpacked to
their names). Every entry is one file seen; an archive counts as its entries, one that cannot be opened as one file."""

from __future__ import annotations

import os
import re
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import filterfalse
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

from studio.errors import StudioError
from studio.messages import Message
from studio.storage import zips

MAX_ENTRIES = 100_000
MAX_TOTAL = 10 << 30  # bytes unpacked, all archives together
MAX_FILE = 64 << 20
MAX_RATIO = 200  # unpacked to packed, for archives that unpack to more than MAX_FILE, and files to more than MAX_FLAT
LONGEST_NAME = 500  # characters of a name that are shown and kept
MAX_FLAT = 8 << 20  # bytes; a picture of one colour packs as well as a bomb does
SYSTEM_FILE = Message("a system file, ignored")
SYSTEM = {"thumbs.db", "desktop.ini", "__macosx", "@eadir"}
BIDI = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


class ImportRejected(StudioError):
    """An archive or an import that is not taken; the message is the reason a person reads."""


class Part(NamedTuple):
    """A file stored as it is inside another one: `size` bytes from `offset` of `path`."""

    path: Path
    offset: int
    size: int


class Annotations(NamedTuple):
    """What a row of a table said of its picture: captions, the split it is in, more (captions.MORE_KEYS), and the texts
    of all its columns of words."""

    captions: list[str]
    split: str
    more: Mapping[str, object]
    texts: dict[str, list[str]]


@dataclass(eq=False)
class Entry:
    """One file seen. `name` is its relative path; `source` 0 for loose files, n for the n-th archive, `origin` its
    name.

    Its content is one of: `path`, `archive` with `info` (a zip), `part` (a tar), `data` (a row of a table)."""

    name: str
    source: int = 0
    size: int = 0
    problem: str = ""
    path: Path | None = None
    archive: zipfile.ZipFile | None = None
    info: zipfile.ZipInfo | None = None
    part: Part | None = None
    data: bytes | None = None
    given: Annotations | None = None
    origin: str = ""

    @property
    def shown(self) -> str:
        """The name with control and direction-changing characters as codes, safe to show and to store; of one that is
        too long its end."""
        name = self.name if len(self.name) <= LONGEST_NAME else f"…{self.name[-LONGEST_NAME:]}"
        text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        return "".join(map(_safe, text))

    @property
    def key(self) -> str:
        """The name as it is compared (composed Unicode: Macs decompose)."""
        return unicodedata.normalize("NFC", self.name)

    @property
    def suffix(self) -> str:
        """The lower-case ending with its dot."""
        return PurePosixPath(self.name).suffix.lower()

    def on_disk(self, spool: Path) -> Path:
        """A path to the content; an archive's entry is written to `spool`. Raises ImportRejected."""
        if self.path is not None:
            return self.path
        with open(spool, "wb") as out:
            self._unpack(out)
        return spool

    def read(self) -> bytes:
        """The content of a small file. Raises ImportRejected."""
        if self.path is not None:
            return self.path.read_bytes()
        out = _Buffer()
        self._unpack(out)
        return bytes(out)

    def _unpack(self, out: _Target) -> None:
        """Write the content into `out`. Raises ImportRejected."""
        if self.data is not None:
            out.write(self.data)
        elif self.part is not None:
            with open(self.part.path, "rb") as file:
                file.seek(self.part.offset)
                out.write(file.read(self.part.size))
        else:
            self._unpack_zip(out)

    def _unpack_zip(self, out: _Target) -> None:
        assert self.archive and self.info
        try:
            with self.archive.open(self.info) as file:
                taken = 0
                while block := file.read(1 << 18):
                    taken += len(block)
                    if taken > MAX_FILE:
                        raise ImportRejected(Message("unpacks to more than {size} MB", size=MAX_FILE >> 20))
                    out.write(block)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error) as error:
            raise ImportRejected(Message("damaged in the zip ({why})", why=error)) from None


def _safe(character: str) -> str:
    """A control or direction-changing character as its code, any other as it is."""
    hidden = unicodedata.category(character) == "Cc" or character in BIDI
    return f"\\u{ord(character):04x}" if hidden else character


class _Target(Protocol):
    """What a content is written into."""

    def write(self, block: bytes, /) -> object: ...


class _Buffer(bytearray):
    def write(self, block: bytes, /) -> None:
        self.extend(block)


def entries(files: Iterable[tuple[str, Path]]) -> list[Entry]:
    """Every file seen, in order; what cannot be taken bears its `problem`. Archives stay open for reading."""
    seen: list[Entry] = []
    left = MAX_TOTAL  # bytes that archives may still unpack to
    archives = 0
    for name, path in files:
        loose = _loose(name, path)
        if loose.problem or loose.suffix not in ARCHIVES:
            seen.append(loose)
            continue
        archives += 1
        try:
            inside = ARCHIVES[loose.suffix](path, archives, left)
        except ImportRejected as refusal:
            loose.problem = str(refusal)
            inside = [loose]
        for entry in inside:
            entry.origin = name
            if entry.archive or entry.part:
                left -= entry.size
        seen += inside
    return seen


def walk(path: Path) -> Iterator[tuple[str, Path]]:
    """A file by its name, or every file below a folder by its relative path, in order; links are not followed."""
    if not path.is_dir():
        yield path.name, path
        return
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            full = Path(folder) / name
            yield full.relative_to(path).as_posix(), full


def within(path: Path, roots: Iterable[Path]) -> bool:
    """Whether a path, every link in it followed, lies in one of the folders (or is one)."""
    real = path.resolve()
    return any(map(real.is_relative_to, map(Path.resolve, roots)))


def _loose(name: str, path: Path) -> Entry:
    """A loose file, under its relative name without ways up."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    entry = Entry("/".join(parts) or "unnamed", path=path)
    try:
        status = path.lstat()
    except OSError as error:
        entry.problem = Message("cannot be read ({why})", why=error.strerror)
        return entry
    entry.size = status.st_size
    if not stat.S_ISREG(status.st_mode):
        entry.problem = Message("not a regular file")
    elif _is_system(parts):
        entry.problem = SYSTEM_FILE
    elif status.st_size > MAX_FILE and entry.suffix not in (*ARCHIVES, ".parquet"):
        entry.problem = Message("larger than {size} MB", size=MAX_FILE >> 20)
    return entry


def _archive(path: Path, source: int, left: int) -> list[Entry]:
    """The entries of a zip, whose directory alone is read; `left` bytes may still be unpacked. Raises
    ImportRejected."""
    _check_directory(path)
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error, EOFError) as error:
        raise ImportRejected(Message("not a zip, or a damaged or incomplete one ({why})", why=error)) from None
    infos = list(filterfalse(zipfile.ZipInfo.is_dir, archive.infolist()))
    unpacked = 0
    packed = 0
    for info in infos:
        unpacked += info.file_size
        packed += info.compress_size
    packed = min(path.stat().st_size, packed)  # entries may claim the same bytes
    if not infos:
        raise ImportRejected(Message("the zip is empty"))
    if unpacked > left:
        raise ImportRejected(Message("the zip unpacks to {size:.1f} GB; at most {most} GB are taken at once",
                                     size=unpacked / 1e9, most=MAX_TOTAL >> 30))
    if unpacked > MAX_FILE and unpacked > MAX_RATIO * max(packed, 1):
        raise ImportRejected(Message("the zip unpacks to more than {times} times its size, as a zip bomb does",
                                     times=MAX_RATIO))
    return [_inside(archive, info, source) for info in infos]


def _tar(path: Path, source: int, left: int) -> list[Entry]:
    """The entries of a tar as WebDataset makes them (not compressed): read in place, links and devices left out."""
    inside: list[Entry] = []
    total = 0
    try:
        with tarfile.open(path, "r:") as archive:
            for info in archive:
                if info.isdir():
                    continue
                entry = _in_tar(info, path, source)
                inside.append(entry)
                if entry.part:
                    total += info.size
                if len(inside) > MAX_ENTRIES:
                    raise ImportRejected(Message("the tar lists more than {most:,} files; no more are taken at once",
                                                 most=MAX_ENTRIES))
                if total > left:
                    raise ImportRejected(Message("the tar holds more than the {most} GB that are taken at once",
                                                 most=MAX_TOTAL >> 30))
    except (tarfile.TarError, OSError, ValueError, EOFError, MemoryError, RecursionError) as error:
        why = Message("not a tar, or a damaged, compressed or incomplete one ({why})", why=error)
        raise ImportRejected(why) from None
    if not inside:
        raise ImportRejected(Message("the tar is empty"))
    return inside


def _in_tar(info: tarfile.TarInfo, path: Path, source: int) -> Entry:
    entry = Entry(info.name.removeprefix("./"), source, info.size)
    parts = entry.name.split("/")
    if not info.isreg() or info.issparse():
        entry.problem = Message("a link or device, not a file")
    else:
        entry.problem = _problem(entry, parts)
    if not entry.problem:
        entry.part = Part(path, info.offset_data, info.size)
    return entry


def _problem(entry: Entry, parts: Sequence[str]) -> str:
    """Why an archive's entry cannot be taken, judged by its name and size; "" for one that can."""
    if entry.name.startswith("/") or re.match(r"[A-Za-z]:", entry.name) or ".." in parts:
        return Message("its name points outside the archive")
    if _is_system(parts):
        return SYSTEM_FILE
    if entry.size > MAX_FILE:
        return Message("larger than {size} MB", size=MAX_FILE >> 20)
    if entry.suffix in ARCHIVES:
        return Message("a {kind} inside an archive: unpack it first", kind=entry.suffix[1:])
    return ""


def _check_directory(path: Path) -> None:
    """Refuse by the end record, before the directory is read into memory. Raises ImportRejected."""
    count = zips.listed_files(path)
    if count is None:
        raise ImportRejected(Message("not a zip, or an incomplete one (its directory is missing)"))
    if count > MAX_ENTRIES:
        raise ImportRejected(Message("the zip lists {count:,} files; at most {most:,} are taken at once", count=count,
                                     most=MAX_ENTRIES))


def _inside(archive: zipfile.ZipFile, info: zipfile.ZipInfo, source: int) -> Entry:
    name = _decoded(info).replace("\\", "/")
    entry = Entry(name, source, info.file_size, archive=archive, info=info)
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        entry.problem = Message("a link or device, not a file")
    elif info.flag_bits & 0x1:
        entry.problem = Message("password protected: make a zip without a password")
    elif info.file_size > MAX_FLAT and info.file_size > MAX_RATIO * max(info.compress_size, 1):
        entry.problem = Message("unpacks to more than {times} times its size, as a zip bomb does", times=MAX_RATIO)
    else:
        entry.problem = _problem(entry, name.split("/"))
    return entry


def _decoded(info: zipfile.ZipInfo) -> str:
    """The name; where it is not marked as UTF-8 it may be nevertheless, else it is cp437 (what zipfile assumes)."""
    if info.flag_bits & 0x800:
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


def _is_system(parts: Sequence[str]) -> bool:
    """Whether a name leads through a folder, or to a file, that a system made for itself."""
    return any(map(_is_of_a_system, parts))


def _is_of_a_system(part: str) -> bool:
    return part.lower() in SYSTEM or (part.startswith(".") and len(part) > 1)


ARCHIVES = {".zip": _archive, ".tar": _tar}
