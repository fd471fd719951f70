"""Which picture a position of the run is, and everything random about it: pure functions of (seed, epoch, position)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

RESAMPLING = {name: getattr(Image.Resampling, name.upper())
              for name in ("lanczos", "bicubic", "bilinear", "box", "hamming", "nearest")}


def key(seed: int, stream: str, epoch: int, position: int) -> int:
    """A 63-bit number from a real hash of its arguments; the source of every random draw of a run."""
    text = f"{seed}/{stream}/{epoch}/{position}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def uniform(seed: int, stream: str, epoch: int, position: int) -> float:
    """A number in [0, 1) with 53 random bits."""
    return (key(seed, stream, epoch, position) >> 10) / 2**53


def normal(shape: tuple[int, ...], seed: int, stream: str, epoch: int, position: int) -> torch.Tensor:
    """Standard normal fp32 numbers, drawn on the CPU from a generator of their own."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(key(seed, stream, epoch, position)))


@dataclass(frozen=True)
class Sample:
    """One position of an epoch: its row and the draws that shape its input."""

    row: dict[str, Any]
    epoch: int
    position: int
    caption: str
    flip: bool
    crop: tuple[float, float]  # place of a random crop as fractions of the free room, top and left; (.5, .5) = centre


@dataclass(frozen=True)
class Draws:
    """Turns (epoch, position) into samples; `rows` are repeated as their `repeats` say."""

    rows: list[dict[str, Any]]
    seed: int
    flips: bool
    random_crops: bool
    empty_text: str

    def __post_init__(self) -> None:
        repeated = [row for row in self.rows for _ in range(int(row.get("repeats", 1)))]
        object.__setattr__(self, "rows", repeated)

    def epoch(self, epoch: int) -> list[int]:
        """The order of the rows in that epoch: a keyed permutation."""
        generator = torch.Generator().manual_seed(key(self.seed, "order", epoch, 0))
        return torch.randperm(len(self.rows), generator=generator).tolist()

    def sample(self, row: dict[str, Any], epoch: int, position: int) -> Sample:
        """The sample at that position, which holds `row`."""
        captions = row.get("captions") or [self.empty_text]
        caption = captions[int(self._u("caption", epoch, position) * len(captions))]
        flip = self.flips and self._u("flip", epoch, position) < 0.5
        crop = (0.5, 0.5)
        if self.random_crops:
            crop = (self._u("crop-top", epoch, position), self._u("crop-left", epoch, position))
        return Sample(row, epoch, position, caption, flip, crop)

    def windows(self, size: int, first: int) -> Iterator[tuple[int, list[Sample]]]:
        """(update number, its samples) for ever, from update `first` (counted from 0) on.

        An epoch is cut into windows of `size` positions; its last may be short.
        """
        per_epoch = -(-len(self.rows) // size)
        update = first
        while True:
            epoch, index = divmod(update, per_epoch)
            order = self.epoch(epoch)
            for start in range(index * size, len(order), size):
                positions = range(start, min(start + size, len(order)))
                yield update, [self.sample(self.rows[order[p]], epoch, p) for p in positions]
                update += 1

    def _u(self, stream: str, epoch: int, position: int) -> float:
        return uniform(self.seed, stream, epoch, position)


def share(window: list[Sample], batch: int, rank: int, ranks: int) -> list[list[Sample]]:
    """The micro-batches of one rank: micro-batch m takes window places (m*ranks + rank)*batch ... +batch.

    Every rank gets the same number of micro-batches; in a short window a rank's last ones may be empty.
    """
    count = -(-len(window) // (batch * ranks))
    return [window[(m * ranks + rank) * batch : (m * ranks + rank + 1) * batch] for m in range(count)]


@dataclass(frozen=True)
class Framing:
    """How a picture becomes the square the model sees."""

    resolution: int
    interpolation: str

    def pixels(self, path: Path, sample: Sample) -> torch.Tensor:
        """The picture as (1, 3, resolution, resolution) in [-1, 1]: the shorter side is resized, the rest cropped.

        Same geometry as torchvision's Resize and CenterCrop. Raises OSError for an unreadable picture.
        """
        side = self.resolution
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        if crop := sample.row.get("crop"):
            x, y, length = crop
            image = image.crop((x, y, x + length, y + length))
        width, height = self._size(*image.size)
        image = image.resize((width, height), RESAMPLING[self.interpolation])
        top, left = (round((room - side) * part) for room, part in zip((height, width), sample.crop, strict=True))
        image = image.crop((left, top, left + side, top + side))
        array = np.asarray(image, dtype=np.float32)
        if sample.flip:
            array = array[:, ::-1]
        return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1))[None]).div_(127.5).sub_(1.0)

    def facts(self, sample: Sample) -> dict[str, Any]:
        """What a family may condition on: original size (h, w), crop (top, left), target size (h, w), in pixels."""
        row, side = sample.row, self.resolution
        original = (row["crop"][2], row["crop"][2]) if row.get("crop") else (row["height"], row["width"])
        width, height = self._size(original[1], original[0])
        top, left = (round((room - side) * part) for room, part in zip((height, width), sample.crop, strict=True))
        return {"original_size": original, "crop": (top, left), "target_size": (side, side)}

    def _size(self, width: int, height: int) -> tuple[int, int]:
        side = self.resolution
        short, long = min(width, height), int(side * max(width, height) / min(width, height))
        return (side, long) if short == width else (long, side)
