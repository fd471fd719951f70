"""Which picture a position of the run is, and everything random about it: pure functions of (seed, epoch, position)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

T = TypeVar("T")
Size = tuple[int, int]  # width, height in pixels
CENTRE = (0.5, 0.5)


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
    crop: tuple[float, float]  # place of a crop as fractions of the free room, top and left; CENTRE is the middle
    size: Size  # what the model sees of it, in pixels


@dataclass(frozen=True)
class Draws:
    """Turns (epoch, position) into samples; `rows` are repeated as their `repeats` say.

    `size_of` gives a row's size in pixels, its bucket. Random crops lie anywhere, or with `crop_variants` in one of so
    many places of each picture. `caption_dropout` is the share of samples whose caption is `empty_text`.
    """

    rows: list[dict[str, Any]]
    seed: int
    empty_text: str
    size_of: Callable[[dict[str, Any]], Size]
    flips: bool = False
    random_crops: bool = False
    crop_variants: int = 0
    caption_dropout: float = 0.0
    sizes: list[Size] = field(init=False)

    def __post_init__(self) -> None:
        repeated = [row for row in self.rows for _ in range(int(row.get("repeats", 1)))]
        object.__setattr__(self, "rows", repeated)
        object.__setattr__(self, "sizes", [self.size_of(row) for row in repeated])

    def epoch(self, epoch: int) -> list[int]:
        """The order of the rows in that epoch: a keyed permutation."""
        return self._permutation(len(self.rows), "order", epoch)

    def sample(self, row: dict[str, Any], epoch: int, position: int) -> Sample:
        """The sample at that position, which holds `row`."""
        captions = row.get("captions") or [self.empty_text]
        caption = captions[int(self._u("caption", epoch, position) * len(captions))]
        if self.caption_dropout and self._u("caption-dropout", epoch, position) < self.caption_dropout:
            caption = self.empty_text
        flip = self.flips and self._u("flip", epoch, position) < 0.5
        crop = CENTRE
        if self.random_crops and self.crop_variants:
            crop = _place(row, int(self._u("crop-variant", epoch, position) * self.crop_variants))
        elif self.random_crops:
            crop = (self._u("crop-top", epoch, position), self._u("crop-left", epoch, position))
        return Sample(row, epoch, position, caption, flip, crop, self.size_of(row))

    def variants(self) -> list[Sample]:
        """Every way in which a picture may be seen, once; not to be asked where crops lie anywhere."""
        flips = (False, True) if self.flips else (False,)
        count = self.crop_variants if self.random_crops else 0
        return [Sample(row, 0, 0, "", flip, crop, self.size_of(row)) for row in self.rows for flip in flips
                for crop in ([_place(row, n) for n in range(count)] if count else [CENTRE])]

    def captions(self) -> list[str]:
        """Every caption that may be drawn, once."""
        found = {caption for row in self.rows for caption in row.get("captions") or [self.empty_text]}
        return sorted(found | ({self.empty_text} if self.caption_dropout else set()))

    def windows(self, size: int, first: int) -> Iterator[tuple[int, list[Sample]]]:
        """(update number, its samples) for ever, from update `first` (counted from 0) on.

        An epoch is cut into windows of `size` positions; its last may be short.
        """
        per_epoch = -(-len(self.rows) // size)
        update = first
        while True:
            epoch, index = divmod(update, per_epoch)
            order = self.epoch(epoch)
            for positions in self._cut(order, epoch, size)[index:]:
                yield update, [self.sample(self.rows[order[p]], epoch, p) for p in positions]
                update += 1

    def _cut(self, order: list[int], epoch: int, size: int) -> list[list[int]]:
        """The epoch's positions in windows of one bucket each, in a keyed order.

        What is left of each bucket is pooled, bucket by bucket, and cut too; a short window comes last.
        """
        groups: dict[Size, list[int]] = {}
        for position, index in enumerate(order):
            groups.setdefault(self.sizes[index], []).append(position)
        if len(groups) == 1:
            return _cut(range(len(order)), size)
        rest = [p for group in groups.values() for p in group[len(group) // size * size :]]
        windows = [w for group in groups.values() for w in _cut(group, size) if len(w) == size] + _cut(rest, size)
        short = windows[-1:] if len(windows[-1]) < size else []
        full = windows[: len(windows) - len(short)]
        return [full[n] for n in self._permutation(len(full), "windows", epoch)] + short

    def _permutation(self, count: int, stream: str, epoch: int) -> list[int]:
        return torch.randperm(count, generator=torch.Generator().manual_seed(key(self.seed, stream, epoch, 0))).tolist()

    def _u(self, stream: str, epoch: int, position: int) -> float:
        return uniform(self.seed, stream, epoch, position)


def share(window: list[Sample], batch: int, rank: int, ranks: int) -> list[list[Sample]]:
    """The micro-batches of one rank: each of one bucket and at most `batch` samples, dealt to the ranks in turn.

    Every rank gets the same number of micro-batches; a rank's last one may be empty.
    """
    groups: dict[Size, list[Sample]] = {}
    for sample in window:
        groups.setdefault(sample.size, []).append(sample)
    batches = [b for group in groups.values() for b in _cut(group, batch)]
    return [batches[n] if n < len(batches) else [] for n in range(rank, -(-len(batches) // ranks) * ranks, ranks)]


def _cut(values: Sequence[T], size: int) -> list[list[T]]:
    return [list(values[start : start + size]) for start in range(0, len(values), size)]


def _place(row: dict[str, Any], variant: int) -> tuple[float, float]:
    """Where a picture's crop number `variant` lies: the same in every run, so that all share the cached encoding."""
    return uniform(0, f"crop-top/{row['image']}", variant, 0), uniform(0, f"crop-left/{row['image']}", variant, 0)


@dataclass(frozen=True)
class Framing:
    """How a picture becomes the rectangle the model sees."""

    interpolation: str

    def pixels(self, path: Path, sample: Sample) -> torch.Tensor:
        """The picture as (1, 3, height, width) in [-1, 1]: resized to cover the sample's size, the rest cropped.

        For a square the same geometry as torchvision's Resize and CenterCrop. Raises OSError for an unreadable picture.
        """
        # Imported here: it takes a second, and a run whose pictures are all cached needs none of it.
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms.v2 import functional

        width, height = sample.size
        with Image.open(path) as opened:
            image: Any = opened.convert("RGB")
        if crop := sample.row.get("crop"):
            x, y, length = crop
            image = functional.crop(image, y, x, length, length)
        covering = _covering(image.size, sample.size)
        image = functional.resize(image, list(covering[::-1]), InterpolationMode[self.interpolation.upper()])
        image = functional.crop(image, *_offsets(covering, sample), height, width)
        if sample.flip:
            image = functional.horizontal_flip(image)
        array = np.asarray(image, dtype=np.float32)
        # Not torchvision's own normalising, which differs in the last bit.
        return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1))[None]).div_(127.5).sub_(1.0)

    @staticmethod
    def facts(sample: Sample) -> dict[str, Any]:
        """What a family may condition on: original size (h, w), crop (top, left), target size (h, w), in pixels; of a
        mirrored picture, from the mirrored one's left."""
        row, (width, height) = sample.row, sample.size
        original = (row["crop"][2], row["crop"][2]) if row.get("crop") else (row["height"], row["width"])
        covering = _covering(original[::-1], sample.size)
        top, left = _offsets(covering, sample)
        crop = (top, covering[0] - width - left if sample.flip else left)
        return {"original_size": original, "crop": crop, "target_size": (height, width)}


def box(sample: Sample) -> list[float]:
    """What of the stored picture a sample shows: [x, y, width, height] in its pixels."""
    row, (width, height) = sample.row, sample.size
    x, y, *_ = crop = row.get("crop") or (0, 0)
    whole = (crop[2], crop[2]) if len(crop) == 3 else (row["width"], row["height"])
    covering = _covering(whole, sample.size)
    top, left = _offsets(covering, sample)
    across, down = whole[0] / covering[0], whole[1] / covering[1]
    return [round(v, 2) for v in (x + left * across, y + top * down, width * across, height * down)]


def _covering(picture: Size, size: Size) -> Size:
    """The smallest size of the picture's proportions that covers `size`; the fitting side is exact."""
    (width, height), (wide, high) = picture, size
    if width * high <= height * wide:
        return wide, max(high, int(wide * height / width))
    return max(wide, int(high * width / height)), high


def _offsets(covering: Size, sample: Sample) -> tuple[int, int]:
    """Top and left of the crop."""
    (width, height), (wide, high), (top, left) = covering, sample.size, sample.crop
    return round((height - high) * top), round((width - wide) * left)
