"""What normalising does to a picture: upright, sRGB, 8 bits, without alpha; and files stripped of their metadata."""

from __future__ import annotations

import io
import itertools
import math
from functools import lru_cache

from PIL import Image, ImageCms, ImageOps

from studio.messages import Message

SRGB = ImageCms.createProfile("sRGB")
ORIENTATION = 0x0112
WHITE = "#ffffff"
TRANSPARENT = ("RGBA", "LA", "PA", "La", "RGBa")


def upright(image: Image.Image, changes: list[str]) -> Image.Image:
    """The picture turned as its EXIF orientation says; unreadable EXIF is dropped. First frame of an animation."""
    if getattr(image, "is_animated", False) and image.format not in ("MPO", "HEIF"):
        changes.append(Message("first frame of several taken"))
        image.seek(0)
        image.load()
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except Exception:
        return image
    if orientation not in range(2, 9):
        return image
    changes.append(Message("turned upright by its EXIF orientation"))
    return ImageOps.exif_transpose(image)


def to_srgb(image: Image.Image, changes: list[str], background: str = WHITE) -> Image.Image:
    """8-bit sRGB without alpha, which is laid on `background` (#rrggbb). Says in `changes` what was done."""
    icc = image.info.get("icc_profile")
    image = _eight_bits(image, changes)
    if image.mode in TRANSPARENT or "transparency" in image.info:
        return _flatten(image, icc, changes, background)
    if icc:
        return _apply_profile(image, icc, changes)
    return _plain(image, changes)


def _eight_bits(image: Image.Image, changes: list[str]) -> Image.Image:
    """Scale 16-bit and floating point grey to 8 bits; a plain convert would clip it to white or black."""
    if image.mode.startswith("I;16"):
        changes.append(Message("16-bit grey scaled to 8 bits"))
        return image.convert("I").point([round(level / 257) for level in range(65536)], "L")
    if image.mode not in ("I", "F"):
        return image
    low, high = _range(image)
    changes.append(Message("wide grey range scaled to 8 bits"))
    scale = 255 / (high - low or 1)
    return image.convert("F").point(lambda level: level * scale - low * scale).convert("L")


def _range(image: Image.Image) -> tuple[float, float]:
    """What is black and what is white in a picture of wide grey: 0 to 1 or 0 to 65535 where its values lie in that,
    else its least and its greatest value. Raises ValueError for values that are not finite."""
    low, high = map(float, image.getextrema())  # type: ignore[arg-type]
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("its pixels are not finite numbers")
    usual_high = {"F": 1.0, "I": 65535.0}[image.mode]
    if low >= 0 and high <= usual_high:
        return 0.0, usual_high
    return low, high


def _flatten(image: Image.Image, icc: bytes | None, changes: list[str], background: str) -> Image.Image:
    """Composite on one colour."""
    full = image.convert("RGBA")
    alpha = full.getchannel("A")
    colour = full.convert("RGB")
    del full
    if icc:
        colour = _apply_profile(colour, icc, changes)
    if alpha.getextrema() == (255, 255):
        return colour
    if background == WHITE:
        changes.append(Message("transparency laid on white"))
    else:
        changes.append(Message("transparency laid on {colour}", colour=background))
    result = Image.new("RGB", colour.size, background)
    result.paste(colour, mask=alpha)
    return result


def _plain(image: Image.Image, changes: list[str]) -> Image.Image:
    if image.mode == "RGB":
        return image
    grey = Message("grey converted to RGB")
    names = {"CMYK": Message("CMYK without a colour profile converted to RGB"),
             "P": Message("palette converted to RGB"), "L": grey, "1": grey}
    changes.append(names.get(image.mode, Message("converted to RGB")))
    return image.convert("RGB")


def _apply_profile(image: Image.Image, icc: bytes, changes: list[str]) -> Image.Image:
    """Into sRGB by the embedded profile; a profile that is broken or fits another kind of picture is left out."""
    if image.mode in ("P", "1"):
        image = _plain(image, changes)
    try:
        if image.mode == "RGB" and _is_srgb(icc):
            return image
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        result = ImageCms.profileToProfile(image, source, SRGB, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        changes.append(Message("unreadable colour profile left out"))
        return _plain(image, changes)
    changes.append(Message("colour profile converted to sRGB"))
    return result or image


@lru_cache(maxsize=16)
def _is_srgb(icc: bytes) -> bool:
    """Whether a profile moves no colour by more than 2 levels."""
    levels = range(0, 256, 51)
    grid = Image.new("RGB", (36, 6))
    grid.putdata(list(itertools.product(levels, repeat=3)))
    source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    moved = ImageCms.profileToProfile(grid, source, SRGB, outputMode="RGB")
    return moved is not None and all(abs(a - b) <= 2 for a, b in zip(grid.tobytes(), moved.tobytes(), strict=True))


def has_metadata(image: Image.Image) -> bool:
    """Whether the file carries EXIF, XMP, a comment or text."""
    named = ("exif", "xmp", "comment", "photoshop")
    return any(map(image.info.get, named)) or bool(getattr(image, "text", None))


def bare_jpeg(data: bytes) -> bytes | None:
    """The same coded pixels without metadata: every APPn but JFIF's and Adobe's, comments, and what follows the end
    are left out. None where the file is not laid out as a JPEG."""
    if not data.startswith(b"\xff\xd8"):
        return None
    out = [b"\xff\xd8"]
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == 0xD9:
            return b"".join([*out, b"\xff\xd9"])
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if not (0xE1 <= marker <= 0xED or marker in (0xEF, 0xFE)):
            out.append(data[at:end])
        at = end
        if marker == 0xDA:
            stop = _end_of_scan(data, at)
            out.append(data[at:stop])
            at = stop
    return b"".join([*out, b"\xff\xd9"]) if data[at : at + 2] == b"\xff\xd9" else None


def _end_of_scan(data: bytes, at: int) -> int:
    """Where the next marker begins that is neither a stuffed byte nor a restart."""
    while (at := data.find(b"\xff", at)) >= 0 and at + 1 < len(data):
        if data[at + 1] == 0 or 0xD0 <= data[at + 1] <= 0xD7:
            at += 2
        else:
            return at
    return len(data)


def bare_webp(data: bytes) -> bytes | None:
    """A WebP file of one chunk of pixels as it is; None for the extended layout (alpha, animation, metadata)."""
    whole = len(data) >= 16 and int.from_bytes(data[4:8], "little") + 8 == len(data)
    return data if whole and data[:4] == b"RIFF" and data[12:16] in (b"VP8 ", b"VP8L") else None
