"""How near sample pictures come to the training pictures: the nearest one, how far it is, whether it looks like a copy.

    <home>/cache/likeness/<run>.jsonl    append-only lines {"file", "place" (among the training rows), "distance",
                                         "bits", "usual", "copy"}, one for each sample file
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import TypedDict, cast

import numpy as np
from PIL import Image, ImageOps

from studio import storage
from studio.datasets.health import NEAR
from studio.datasets.pictures import measures

SIDE = 64  # pixels at which pictures are compared: more of a picture is its details alone
THUMB = 32
BLOCK = 2048  # thumbnails that are floats at once
ASKED = 512  # training pictures that are enough to say how far they lie apart
COPY = 0.5  # of the usual distance; see `Thumbnails.nearest`


class Likeness(TypedDict, total=False):
    """The training picture that a sample comes nearest to; see `Thumbnails.nearest`."""

    file: str  # of the sample, in a line of the file
    place: int  # among the training rows
    distance: float
    bits: int
    usual: float | None
    copy: bool


@dataclass
class Thumbnails:
    """The training pictures as they are compared: thumbnails (n, values) of bytes and hashes (n,)."""

    thumbs: np.ndarray
    hashes: np.ndarray
    usual: float | None = field(init=False)  # the median distance from a training picture to the next one

    def __post_init__(self) -> None:
        if len(self.thumbs) < 2:
            self.usual = None
            return
        asked = np.unique(np.linspace(0, len(self.thumbs) - 1, min(ASKED, len(self.thumbs))).astype(int))
        distances = self._distances(self.thumbs[asked])
        distances[np.arange(len(asked)), asked] = np.inf  # from itself
        self.usual = round(float(np.median(distances.min(axis=1))), 2)

    def nearest(self, sample: Image.Image, *, mirrored: bool) -> Likeness:
        """{place, distance, bits, usual, copy} of the training picture that `sample` comes nearest to.

        `distance` is the RMS difference of thumbnails, 0 to 255, and `bits` of 64 differ in the hash. A `copy` has a
        hash as near as copies in a data set have, and is at most COPY as far as training pictures usually are from
        their own nearest. (In a run that knew 4 pictures by heart that was 11 to 27 against 70; without, never below
        31 against 51.) With `mirrored` the sample's mirror image counts too."""
        square = sample.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        ways = [square, ImageOps.mirror(square)] if mirrored else [square]
        return min(map(self._nearest, ways), key=itemgetter("distance"))

    def _nearest(self, square: Image.Image) -> Likeness:
        sample = load_thumbnails([square])
        distances = self._distances(sample.thumbs)[0]
        place = int(distances.argmin())
        distance = round(float(distances[place]), 2)
        bits = int(np.bitwise_count(self.hashes[place] ^ sample.hashes[0]))
        near = self.usual is None or distance <= COPY * self.usual
        return {"place": place, "distance": distance, "bits": bits, "usual": self.usual, "copy": bits <= NEAR and near}

    def _distances(self, thumbs: np.ndarray) -> np.ndarray:
        """From each of `thumbs` (k, values) to each training picture: (k, n)."""
        samples = thumbs.astype(np.float32)
        blocks = []
        for start in range(0, len(self.thumbs), BLOCK):
            block = self.thumbs[start : start + BLOCK].astype(np.float32)
            squares = (samples**2).sum(1)[:, None] + (block**2).sum(1)[None] - 2 * samples @ block.T
            blocks.append(np.sqrt(np.maximum(squares, 0) / samples.shape[1]))
        return np.concatenate(blocks, axis=1)


def load_thumbnails(pictures: Iterable[Image.Image]) -> Thumbnails:
    """Measure pictures, each a square of SIDE pixels."""
    thumbs: list[np.ndarray] = []
    hashes: list[int] = []
    for picture in pictures:
        thumbs.append(np.asarray(picture.resize((THUMB, THUMB), Image.Resampling.BOX)).ravel())
        hashes.append(measures.dhash(picture.convert("L")))
    return Thumbnails(np.array(thumbs), np.array(hashes, np.uint64))


def file_of(home: Path, run_id: str) -> Path:
    """Where the measures of a run's samples are kept."""
    return home / "cache" / "likeness" / f"{run_id}.jsonl"


def add(home: Path, run_id: str, measured: Iterable[Mapping[str, object]]) -> None:
    """Keep more of them; each has `file` too."""
    path = file_of(home, run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    storage.append_lines(path, measured)


def known(home: Path, run_id: str) -> dict[str, Likeness]:
    """What is measured, by the sample's file."""
    return {line["file"]: cast(Likeness, line) for line in storage.read_lines(file_of(home, run_id))}
