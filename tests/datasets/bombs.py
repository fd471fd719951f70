"""Small files that unpack to very much: zips written by hand, and PNGs with a bomb in one of their chunks."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import NamedTuple

from . import bad

MIB = 1 << 20
GIB = 1 << 30


class Packed(NamedTuple):
    """An entry of a zip as it is written: its deflated bytes, and what its headers claim."""

    name: str
    data: bytes
    size: int
    crc: int = 0
    method: int = zlib.DEFLATED


def deflated(size: int, fill: bytes = b"\0", noise: bytes = b"") -> bytes:
    """`size` bytes (whole MiB) of one value, deflated, every MiB with `noise` before it. One MiB is packed and
    repeated: a full flush forgets what came before."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(noise + fill * (MIB - len(noise))) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * (size // MIB) + b"\3\0"


def inflated(size: int, fill: bytes = b"\0") -> bytes:
    """The same with the head and the checksum of zlib, as PNG has it."""
    sum_ = 1
    for _ in range(size // MIB):
        sum_ = zlib.adler32(fill * MIB, sum_)
    return b"\x78\xda" + deflated(size, fill) + struct.pack(">I", sum_)


def zip_of(path: Path, entries: list[Packed], overlapping: bool = False) -> Path:
    """A zip of the entries; `overlapping` lets every one of them point at the first one's bytes."""
    body, directory = b"", b""
    for number, entry in enumerate(entries):
        at = 0 if overlapping else len(body)
        name = entry.name.encode()
        facts = struct.pack("<HHHHHIIIH", 20, 0x800, entry.method, 0, 33, entry.crc, len(entry.data), entry.size,
                            len(name))
        if not (overlapping and number):
            body += b"PK\3\4" + facts + b"\0\0" + name + entry.data
        directory += b"PK\1\2\x14\0" + facts + bytes(12) + struct.pack("<I", at) + name
    count = len(entries)
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(body), 0)
    path.write_bytes(body + directory + end)
    return path


def stored(name: str, data: bytes) -> Packed:
    """An entry that keeps its bytes and does not lie."""
    return Packed(name, data, len(data), zlib.crc32(data), 0)


def png_with(kind: bytes, size: int) -> bytes:
    """A good PNG but for a chunk whose text or profile inflates to `size` bytes."""
    bomb = inflated(size, b"0")
    data = {b"zTXt": b"Comment\0\0" + bomb, b"iTXt": b"Comment\0\1\0\0\0" + bomb, b"iCCP": b"icc\0\0" + bomb}[kind]
    return bad.png(80, 80, extra=bad.chunk(kind, data))


def png_of_many_texts(number: int, size: int) -> bytes:
    """A PNG whose every text is small enough, and all together are not."""
    packed = zlib.compress(b"0" * size)
    return bad.png(80, 80, extra=b"".join(bad.chunk(b"zTXt", b"t%d\0\0" % n + packed) for n in range(number)))


def png_of_too_many_rows(size: int) -> bytes:
    """A PNG of 80 x 80 whose pixels inflate to `size` bytes."""
    data = bad.png(80, 80)
    at = data.index(b"IDAT") - 4
    return data[:at] + bad.chunk(b"IDAT", inflated(size)) + bad.chunk(b"IEND", b"")
