"""The pictures and archives of the tests, generated: good ones, odd ones, broken ones, hostile ones."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

from PIL import Image, ImageCms

RED, SIZE = (200, 30, 60), (96, 80)


def picture(colour: Any = RED, size: tuple[int, int] = SIZE, mode: str = "RGB") -> Image.Image:
    """A plain picture with one darker corner, so that turning it shows."""
    image = Image.new(mode, size, colour)
    if mode == "RGB":
        image.paste((0, 0, 0), (0, 0, 24, 24))
    return image


def saved(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *, bits: int = 1, colour: int = 0, rows: bytes | None = None,
        extra: bytes = b"") -> bytes:
    """A PNG written by hand: `rows` raw scan lines with filter bytes, black where none are given."""
    channels = {0: 1, 2: 3}[colour]
    if rows is None:
        line = b"\0" * (1 + (width * bits * channels + 7) // 8)
        packer, data = zlib.compressobj(9), b""
        for _ in range(height):
            data += packer.compress(line)
        data += packer.flush()
    else:
        data = zlib.compress(rows)
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def bad_crc(data: bytes) -> bytes:
    """The same PNG with a wrong checksum on its pixels."""
    at = data.index(b"IDAT")
    end = at + 4 + struct.unpack(">I", data[at - 4 : at])[0]
    return data[:end] + b"\0\0\0\0" + data[end + 4 :]


def bad_pixels(data: bytes) -> bytes:
    """The same PNG with its compressed pixels overwritten and the checksum made to fit."""
    at = data.index(b"IDAT")
    length = struct.unpack(">I", data[at - 4 : at])[0]
    broken = data[at + 4 : at + 4 + length // 2] + b"\xff" * (length - length // 2)
    return data[: at - 4] + chunk(b"IDAT", broken) + data[at + 8 + length :]


def _profile(kind: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile (ICC.1:2001, written by hand); `kind` is its class, colour space and connection space."""
    table, body, at = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data
    head = bytearray(128)
    head[8:12], head[12:24], head[36:40] = b"\x02\x40\0\0", kind, b"acsp"
    head[68:80] = b"".join(struct.pack(">i", round(v * 65536)) for v in (0.9642, 1.0, 0.8249))
    head[0:4] = struct.pack(">I", at + len(body))
    return bytes(head) + table + body


def cmyk_profile() -> bytes:
    """A press that prints with black ink alone, whatever the other inks are: easily told from a guess."""
    line = bytes(range(256))
    unit = b"".join(struct.pack(">i", 65536 * (n % 4 == 0)) for n in range(9))
    lab = bytes([255, 128, 128, 0, 128, 128]) * 8  # no black, all black; the last channel varies fastest
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + unit + line * 4 + lab + line * 3
    return _profile(b"prtrCMYKLab ", {b"A2B0": table})


def p3_profile() -> bytes:
    """A Display-P3-like matrix profile with gamma 2.2."""

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(v * 65536)) for v in values)

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0"
    tags = {b"rXYZ": xyz(0.5151, 0.2412, -0.0011), b"gXYZ": xyz(0.2919, 0.6922, 0.0419),
            b"bXYZ": xyz(0.1572, 0.0666, 0.7841), b"wtpt": xyz(0.9642, 1.0, 0.8249),
            b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    return _profile(b"mntrRGB XYZ ", tags)


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def animated(format: str, **options: Any) -> bytes:
    """A blue frame, then a green one."""
    return saved(picture((0, 0, 255)), format, save_all=True, append_images=[picture((0, 255, 0))], **options)


def see_through() -> bytes:
    """A palette picture whose first colour, red, is transparent."""
    image = Image.new("P", (80, 80), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    return saved(image, "PNG", transparency=0)


def exif(orientation: int | None = None, author: str | None = None) -> bytes:
    tags = Image.Exif()
    if orientation is not None:
        tags[0x0112] = orientation
    if author is not None:
        tags[0x013B] = author
    return tags.tobytes()


def oriented(orientation: int) -> bytes:
    """A picture that shows its dark corner top left only when turned as its EXIF says."""
    undo = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_270}
    image = picture()
    return saved(image.transpose(undo[orientation]), "PNG", exif=exif(orientation))


def zipped(path: Path, files: dict[str, bytes] | list[tuple[Any, bytes]], method: int = zipfile.ZIP_DEFLATED) -> Path:
    """A zip of names (or ZipInfos) and contents."""
    with zipfile.ZipFile(path, "w", method) as out:
        for name, data in files.items() if isinstance(files, dict) else files:
            out.writestr(name, data)
    return path
