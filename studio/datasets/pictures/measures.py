"""What is measured once per picture and kept: a perceptual hash and colours for finding copies, and how blurred it is.

    <home>/cache/measures/<data set>.jsonl     append-only lines {"image": sha256, "dhash": 16 hex digits,
                                               "colours": 96 hex digits, "blur": 0...1}
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypedDict, cast

import numpy as np
from PIL import Image

from studio import storage

SIDE = 512  # pixels, the shorter side at which blur is measured: more is lost at training resolution anyway
TAPS = 9  # pixels of the box filter a picture is blurred with again
MOST_READ = 8  # files whose measures stay in memory
CELLS = 4  # the colours of a picture are those of CELLS x CELLS parts of it


class Measures(TypedDict, total=False):
    """What is known of a picture."""

    image: str  # its SHA-256, in a line of the file
    dhash: str  # 16 hex digits
    colours: str  # 96 hex digits
    blur: float  # 0 (sharp) to 1


def of(path: Path) -> Measures:
    """{dhash, colours, blur} of a stored picture. Raises OSError for an unreadable one."""
    with Image.open(path) as opened:
        opened.draft("RGB", (SIDE, SIDE))
        picture = opened.convert("RGB")
    grey = picture.convert("L")
    return {"dhash": f"{dhash(grey):016x}", "colours": colours(picture).hex(), "blur": round(blur(_small(grey)), 4)}


def dhash(grey: Image.Image) -> int:
    """The 64-bit difference hash: bit by bit whether a cell of an 8 x 9 thumbnail is brighter than its left neighbour.

    N. Krawetz, "Kind of Like That" (2013). Resizing, compression and small changes of colour move few bits."""
    cells = np.asarray(grey.resize((9, 8), Image.Resampling.LANCZOS), dtype=np.int16)
    bits = (cells[:, 1:] > cells[:, :-1]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def colours(picture: Image.Image) -> bytes:
    """The mean red, green and blue of each of CELLS x CELLS parts."""
    return picture.resize((CELLS, CELLS), Image.Resampling.BOX).tobytes()


def blur(grey: Image.Image) -> float:
    """How blurred a grey picture is, from 0 (sharp) to 1: what of the differences between neighbours a second blur
    leaves, in the direction where that is more.

    F. Crete et al., "The blur effect" (2007). Unlike the variance of the Laplacian it does not depend on contrast: over
    the shipped sample that variance spans 52 to 2,200 for sharp pictures, so that no threshold fits all."""
    pixels = np.asarray(grey, dtype=np.float32)
    return max(_blur_along(pixels), _blur_along(np.ascontiguousarray(pixels.T)))


def _blur_along(pixels: np.ndarray) -> float:
    """The blur effect along the rows of (h, w)."""
    padded = np.pad(pixels, ((0, 0), (TAPS // 2 + 1, TAPS // 2)), mode="edge")
    sums = np.cumsum(padded, axis=1, dtype=np.float64)
    blurred = (sums[:, TAPS:] - sums[:, :-TAPS]) / TAPS
    sharp = np.abs(np.diff(pixels, axis=1))
    total = float(sharp.sum())
    lost = float(np.maximum(sharp - np.abs(np.diff(blurred, axis=1)), 0).sum())
    return 1.0 if total == 0 else (total - lost) / total


def _small(grey: Image.Image) -> Image.Image:
    scale = SIDE / min(grey.size)
    if scale >= 1:
        return grey
    return grey.resize((round(grey.width * scale), round(grey.height * scale)), Image.Resampling.BOX)


def file_of(home: Path, dataset_id: str) -> Path:
    """Where a data set's measures are kept."""
    return home / "cache" / "measures" / f"{dataset_id}.jsonl"


def add(home: Path, dataset_id: str, measures: Iterable[Mapping[str, object]]) -> None:
    """Keep more measures; each has `image` too."""
    path = file_of(home, dataset_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    storage.append_lines(path, measures)


def known(home: Path, dataset_id: str) -> Mapping[str, Measures]:
    """What is kept of a data set's pictures, by their SHA-256. It is shared: read it, never change it."""
    path = file_of(home, dataset_id)
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return _NONE
    with _lock:
        known_size, by_image = _read.get(path, (None, {}))
    if known_size == size:
        return by_image
    by_image = {line["image"]: line for line in _lines(path)}
    with _lock:
        _read[path] = size, by_image
        while len(_read) > MOST_READ:
            _read.pop(next(iter(_read)))
    return by_image


def _lines(path: Path) -> Iterable[Measures]:
    """The lines of the file; one that is torn, or without colours (of an older studio), has to be measured again."""
    for line in storage.read_lines(path):
        if {"image", "dhash", "colours", "blur"} <= line.keys():
            yield cast(Measures, line)


_NONE: Mapping[str, Measures] = {}  # one for all: whoever keeps what follows from it asks whether it is the same
_lock = threading.Lock()
_read: dict[Path, tuple[int, dict[str, Measures]]] = {}  # what was read of each file, and how large it was then
