"""The decoding process (a limited one): one hostile or broken picture costs only itself.

A request names a picture file; the answer names the normalised copy and its thumbnail, written into its folder.
Normalised: sRGB, 8 bits, upright, without alpha, first frame, without metadata. Clean JPEG and WebP files keep their
coded pixels; the rest becomes lossless WebP. The hash is the SHA-256 of the normalised file's bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from studio import limited
from studio.datasets.pictures import kinds, pixels
from studio.datasets.pictures.workers import THUMB
from studio.errors import StudioError
from studio.messages import JsonObject, Message

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "HEIF")  # JPEG includes MPO; HEIF comes by pi-heif
MEMORY = 1 << 30  # bytes of address space
SECONDS = 20  # of processor time a picture
FILE_BYTES = 1 << 30  # the largest file it may write
MAX_PIXELS = 64_000_000
MIN_SIDE = 64
MAX_ASPECT = 10
# The formats whose coded pixels can be taken as they are: what strips a file of its metadata, and its ending.
STRIPPED = {"JPEG": (pixels.bare_jpeg, "jpg"), "MPO": (pixels.bare_jpeg, "jpg"), "WEBP": (pixels.bare_webp, "webp")}
WEBP_MOST = 16_000_000  # pixels; beyond, PNG needs a fraction of WebP's memory


class UnusablePicture(StudioError):
    """A picture that cannot be used; the message is the reason a person reads. `kind` is what the file is instead."""

    def __init__(self, reason: str, kind: str = ""):
        super().__init__(reason)
        self.kind = kind


@dataclass
class NormalizedPicture:
    """A normalised picture: the file's bytes, what it shows, and what was changed."""

    data: bytes
    ext: str
    image: Image.Image
    changes: list[str] = field(default_factory=list)


def normalise(path: Path, background: str = pixels.WHITE) -> NormalizedPicture:
    """The normalised copy of the picture in `path`, what is transparent laid on `background` (#rrggbb). Raises
    UnusablePicture, with the reason in words."""
    try:
        with open(path, "rb") as file, _opened(file) as image:
            check_size(*image.size)
            kind = image.format or ""
            if kind == "PNG":
                _verify(file)
            image.load()
            return _normal(path, image, kind, background)
    except UnidentifiedImageError:
        raise UnusablePicture(*_unidentified(path)) from None
    except (UnusablePicture, SystemExit, KeyboardInterrupt):
        raise
    except MemoryError:
        raise UnusablePicture(Message("decoding it needs more than {size} MB of memory", size=MEMORY >> 20)) from None
    except Exception as error:
        raise UnusablePicture(_reason(error)) from None


def _reason(error: Exception) -> Message:
    """Why a decoder failed, in words."""
    if isinstance(error, OSError) and error.errno:
        return Message("cannot be read ({why})", why=error.strerror)
    if isinstance(error, ValueError) and "MAX_TEXT" in str(error):  # Pillow's limits for what PNG chunks hold
        return Message("a text or colour profile in it unpacks to more than is read, as a bomb does")
    return Message("damaged or incomplete picture ({why})", why=str(error)[:120] or type(error).__name__)


def _opened(file: BinaryIO | Path) -> Image.Image:
    """The picture in an open file or of a path, its header read; of the formats that are read here alone."""
    Image.init()
    return Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN])


def _unidentified(path: Path) -> tuple[str, str]:
    """Why a file is no picture to read here, and what it is instead, where that can be told."""
    with open(path, "rb") as file:
        head = file.read(kinds.HEAD)
    if not head:
        return Message("the file is empty"), ""
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG", b"GIF8")) or head[8:12] == b"WEBP":
        return Message("damaged or incomplete picture (its header cannot be read)"), ""
    reason = Message("not a picture in a format that is read here (JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF, HEIC)")
    return reason, kinds.of_content(head)


def check_size(width: int, height: int) -> None:
    """Refuse by the header alone, before a pixel is decoded. Raises UnusablePicture."""
    if width * height > MAX_PIXELS:
        megapixels = width * height / 1e6
        raise UnusablePicture(Message("{width} x {height} is {size:.0f} MP; at most {most:.0f} MP are read",
                                      width=width, height=height, size=megapixels, most=MAX_PIXELS / 1e6))
    if min(width, height) < MIN_SIDE:
        raise UnusablePicture(Message("{width} x {height} is smaller than {least} px on one side", width=width,
                                      height=height, least=MIN_SIDE))
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise UnusablePicture(Message("{width} x {height} is longer than {most} times its width", width=width,
                                      height=height, most=MAX_ASPECT))


def _verify(file: BinaryIO) -> None:
    """Compare a PNG's checksums, which decoding alone does not."""
    place = file.tell()
    file.seek(0)
    Image.open(io.BytesIO(file.read()), formats=("PNG",)).verify()
    file.seek(place)


def _normal(path: Path, image: Image.Image, kind: str, background: str) -> NormalizedPicture:
    """The picture upright, in sRGB and without alpha: the coded pixels of the file where they are so already."""
    changes: list[str] = []
    upright = pixels.upright(image, changes)
    result = pixels.to_srgb(upright, changes, background)
    if pixels.has_metadata(image):
        changes.append(Message("metadata removed"))
    same = image.mode == "RGB" and set(changes) <= {"metadata removed"}
    strip, ext = STRIPPED.get(kind, (None, ""))
    if same and strip is not None:
        bare = strip(path.read_bytes())
        if bare is not None:
            return NormalizedPicture(bare, ext, result, changes)
    return NormalizedPicture(*_encode(result), result, changes)


def _encode(image: Image.Image) -> tuple[bytes, str]:
    out = io.BytesIO()
    if image.width * image.height > WEBP_MOST or max(image.size) > 16_383:
        image.save(out, "PNG", compress_level=1)
        return out.getvalue(), "png"
    image.save(out, "WEBP", lossless=True, method=0, quality=0)
    return out.getvalue(), "webp"


def thumbnail(image: Image.Image) -> bytes:
    """A WebP of at most 256 px. A larger `image` is shrunk in place: a copy of it would need its memory once more."""
    small = image.copy() if max(image.size) <= THUMB else image
    small.thumbnail((THUMB, THUMB), Image.Resampling.BILINEAR, reducing_gap=1.0)
    out = io.BytesIO()
    small.convert("RGB").save(out, "WEBP", quality=80, method=0)
    return out.getvalue()


def answer(request: JsonObject, folder: Path) -> JsonObject:
    """Normalise one picture into `folder`: {sha256, ext, width, height, changes} or {problem}. With "thumb", only a
    thumbnail of a stored picture is written under that name: {} or {problem}."""
    path = Path(os.fsdecode(bytes.fromhex(str(request["path"]))))
    thumb = request.get("thumb")
    try:
        if thumb:
            with _opened(path) as image:
                check_size(*image.size)
                (folder / str(thumb)).write_bytes(thumbnail(image))
            return {}
        normal = normalise(path, str(request.get("background", pixels.WHITE)))
        sha256 = hashlib.sha256(normal.data).hexdigest()
        width, height = normal.image.size
        (folder / f"{sha256}.{normal.ext}").write_bytes(normal.data)
        (folder / f"{sha256}.thumb").write_bytes(thumbnail(normal.image))
        return {"sha256": sha256, "ext": normal.ext, "width": width, "height": height, "changes": normal.changes}
    except UnusablePicture as problem:
        return {"problem": str(problem), "kind": problem.kind}
    except OSError as error:
        return {"problem": str(error), "errno": error.errno}
    except MemoryError:
        return {"problem": Message("decoding it needs more than {size} MB of memory", size=MEMORY >> 20)}


def _add_heif() -> None:
    """HEIC and HEIF by libheif's decoder, where its package has a wheel for this system; one thread a picture."""
    with contextlib.suppress(ImportError):
        import pi_heif

        pi_heif.options.DECODE_THREADS = 1
        pi_heif.register_heif_opener()


def main() -> None:
    """Serve requests until stdin ends."""
    Image.MAX_IMAGE_PIXELS = None  # check_size is stricter, and decides by the header
    Image.init()
    _add_heif()
    limited.serve(answer, memory=MEMORY, seconds=SECONDS, file_bytes=FILE_BYTES)


if __name__ == "__main__":
    main()
