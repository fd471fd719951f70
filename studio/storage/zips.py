"""Files that exist only while they are read: bytes and slices of open files, one after the other; stored zips of them.

A stored zip's size and every one of its bytes follow from the members' names, sizes and CRC-32, so that a part of it
can be sent without building it. Format: APPNOTE.TXT 6.3 of PKWARE.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, Protocol

BLOCK = 1 << 20
LIMIT = 0xFFFFFFFF  # sizes and offsets from here on need zip64
COUNT_LIMIT = 0xFFFF
EPOCH = 1 << 5 | 1  # 1980-01-01 as DOS writes it: the same members give the same bytes on every day
UTF8 = 1 << 11


class Member(NamedTuple):
    """A file of a zip: its name there (with /), size in bytes, and CRC-32 (None when only sizes matter)."""

    name: str
    size: int
    crc32: int | None


def stored_zip(members: Sequence[Member], limit: int = LIMIT) -> list[bytes | int]:
    """The zip as a list: bytes as they are, and for each member's contents its index in `members`."""
    parts: list[bytes | int] = []
    entries: list[bytes] = []
    offset = 0
    for index, member in enumerate(members):
        head = _local(member, limit)
        entries.append(_central(member, offset, limit))
        parts += [head, index]
        offset += len(head) + member.size
    central = b"".join(entries)
    return [*parts, central + _end(len(members), len(central), offset, limit)]


def lazy_zip(contents: Sequence[tuple[str, bytes | Part]], crc32: Callable[[str], int]) -> list[bytes | Part]:
    """A stored zip of names and contents as parts of a `SplicedFile`, which reads no content before it is sent:
    `crc32` is asked for a member's, by its name, when its part of the zip is read."""
    members: list[Member] = []
    for name, content in contents:
        known = zlib.crc32(content) if isinstance(content, bytes) else None
        members.append(Member(name, _length(content), known))

    def summed(member: Member) -> Member:
        return member if member.crc32 is not None else member._replace(crc32=crc32(member.name))

    def head(member: Member) -> bytes:
        return _local(summed(member), LIMIT)

    def directory() -> bytes:
        return _directory(list(map(summed, members)))

    parts: list[bytes | Part] = []
    for member, (_, content) in zip(members, contents, strict=True):
        parts += [LazyBytes(len(_local(member, LIMIT)), partial(head, member)), content]
    return [*parts, LazyBytes(len(_directory(members)), directory)]


def listed_files(path: Path) -> int | None:
    """How many files a zip lists, told by its end record alone, before its directory is read into memory; a directory
    that is larger than so many need counts as more. None without an end record: no zip, or an incomplete one."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        file.seek(max(0, size - 65_557))  # the record and its longest comment
        tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or at + 22 > len(tail):
        return None
    count, directory = struct.unpack("<HI", tail[at + 10 : at + 16])
    far = tail.rfind(b"PK\6\6", 0, at)
    if far >= 0 and far + 56 <= len(tail) and 0xFFFF in (count, directory & 0xFFFF):
        count, directory = struct.unpack("<QQ", tail[far + 32 : far + 48])
    return max(count, directory // 400)


def stored_size(members: Sequence[Member]) -> int:
    """Bytes of the zip of these members."""
    headers = sum(len(part) for part in stored_zip(members) if isinstance(part, bytes))
    return headers + sum(member.size for member in members)


def _directory(members: Sequence[Member]) -> bytes:
    """What follows the members: the last part of the zip."""
    last = stored_zip(members)[-1]
    assert isinstance(last, bytes)
    return last


def _local(member: Member, limit: int) -> bytes:
    """The header before a member's contents."""
    name = member.name.encode()
    size = member.size
    version = 20
    extra = b""
    if size >= limit:
        extra = struct.pack("<HHQQ", 1, 16, size, size)
        size = LIMIT
        version = 45
    return struct.pack("<4sHHHHHLLLHH", b"PK\3\4", version, UTF8, 0, 0, EPOCH, member.crc32 or 0, size, size,
                       len(name), len(extra)) + name + extra


def _central(member: Member, offset: int, limit: int) -> bytes:
    """A member's entry in the directory."""
    name = member.name.encode()
    size = member.size
    large: list[int] = []  # what has no room in 32 bits
    if size >= limit:
        large += [size, size]
        size = LIMIT
    if offset >= limit:
        large.append(offset)
        offset = LIMIT
    version = 20
    extra = b""
    if large:
        version = 45
        extra = struct.pack(f"<HH{len(large)}Q", 1, 8 * len(large), *large)
    return struct.pack("<4sHHHHHHLLLHHHHHLL", b"PK\1\2", 3 << 8 | version, version, UTF8, 0, 0, EPOCH,
                       member.crc32 or 0, size, size, len(name), len(extra), 0, 0, 0, 0o100644 << 16,
                       offset) + name + extra


def _end(count: int, size: int, offset: int, limit: int) -> bytes:
    """What follows a directory of `count` members and `size` bytes at `offset`."""
    zip64 = b""
    if count >= COUNT_LIMIT or size >= limit or offset >= limit:
        zip64 = struct.pack("<4sQHHLLQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, offset)
        zip64 += struct.pack("<4sLQL", b"PK\6\7", 0, offset + size, 1)
        count = min(count, COUNT_LIMIT)
        size = min(size, LIMIT)
        offset = LIMIT
    return zip64 + struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, count, count, size, offset, 0)


class Part(Protocol):
    """Bytes that are read when they are sent."""

    @property
    def size(self) -> int:
        """How many."""
        ...

    def read(self, start: int, count: int) -> bytes:
        """At most `count` bytes from `start` on; none when the file was cut short."""
        ...


@dataclass(frozen=True)
class Slice:
    """`size` bytes of an open file, from `offset` on."""

    handle: int
    size: int
    offset: int = 0

    def read(self, start: int, count: int) -> bytes:
        """At most `count` bytes from `start` on."""
        return os.pread(self.handle, min(count, self.size - start), self.offset + start)


class LazyBytes:
    """Bytes of a known number that are made when they are first read."""

    def __init__(self, size: int, make: Callable[[], bytes]):
        self.size, self._make = size, make

    def read(self, start: int, count: int) -> bytes:
        """At most `count` bytes from `start` on."""
        return self._data[start : start + count]

    @cached_property
    def _data(self) -> bytes:
        return self._make()


@dataclass(frozen=True)
class ImmutableFile:
    """A file that never changes, opened for each block: thousands of them need no handles."""

    path: Path
    size: int

    def read(self, start: int, count: int) -> bytes:
        """At most `count` bytes from `start` on. Raises OSError when the file is gone."""
        with open(self.path, "rb", buffering=0) as file:
            return os.pread(file.fileno(), count, start)


class SplicedFile:
    """Bytes and parts of open files, read as one file from any place."""

    def __init__(self, parts: Sequence[bytes | Part]):
        self._parts = [part for part in parts if _length(part)]
        self._ends = list(accumulate(map(_length, self._parts)))
        self.size = self._ends[-1] if self._ends else 0

    def digest(self) -> str:
        """A hash of what is not in files (for a zip: every name, size and CRC-32), in hex."""
        digest = hashlib.sha256()
        for part in self._parts:
            if isinstance(part, bytes):
                digest.update(part)
        return digest.hexdigest()

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        """Bytes [start, stop) in blocks of at most 1 MiB. Raises OSError when a file was cut short under us."""
        stop = min(stop, self.size)
        while start < stop:
            index = bisect_right(self._ends, start)
            part = self._parts[index]
            end = self._ends[index]
            inside = start - (end - _length(part))  # the place in that part
            count = min(BLOCK, stop - start, end - start)
            block = _block(part, inside, count)
            if not block:
                raise OSError("a file became shorter while it was being sent")
            yield block
            start += len(block)


def _length(part: bytes | Part) -> int:
    """Bytes."""
    return len(part) if isinstance(part, bytes) else part.size


def _block(part: bytes | Part, start: int, count: int) -> bytes:
    """At most `count` bytes from `start` on; none when a file was cut short."""
    return part[start : start + count] if isinstance(part, bytes) else part.read(start, count)


class Download:
    """An open download; its bytes stay the same until `close`, whatever is deleted meanwhile."""

    def __init__(self, filename: str, media_type: str, parts: Sequence[bytes | Part], etag: str | None,
                 holds: ExitStack | None = None):
        self._bytes = SplicedFile(parts)
        self._holds = holds or ExitStack()
        self.filename, self.media_type = filename, media_type
        self.size = self._bytes.size
        self.etag = f'"{etag or self._bytes.digest()}"'

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        """Bytes [start, stop) in blocks of at most 1 MiB."""
        return self._bytes.read(start, stop)

    def close(self) -> None:
        """Close the files and give free what was held."""
        self._holds.close()

    def __enter__(self) -> Download:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
