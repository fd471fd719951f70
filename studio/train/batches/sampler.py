"""Which picture a position of the run is, and everything random about it: pure functions of (seed, epoch, position)."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from studio.folders.records import Row

T = TypeVar("T")
Size = tuple[int, int]  # width, height in pixels
Place = tuple[float, float]  # of a crop, as fractions of the free room: top, left
CENTRE: Place = (0.5, 0.5)


def stream_seed(seed: int, stream: str, epoch: int, position: int) -> int:
    """A 63-bit number from a real hash of its arguments; the source of every random draw of a run."""
    text = f"{seed}/{stream}/{epoch}/{position}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def uniform(seed: int, stream: str, epoch: int, position: int) -> float:
    """A number in [0, 1) with 53 random bits."""
    return (stream_seed(seed, stream, epoch, position) >> 10) / 2**53


def normal(shape: tuple[int, ...], seed: int, stream: str, epoch: int, position: int) -> torch.Tensor:
    """Standard normal fp32 numbers, drawn on the CPU from a generator of their own."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(stream_seed(seed, stream, epoch, position)))


@dataclass(frozen=True)
class Sample:
    """One position of an epoch: its row and the draws that shape its input."""

    row: Row
    epoch: int
    position: int
    caption: str
    flip: bool
    crop: Place
    size: Size  # what the model sees of it, in pixels


@dataclass(frozen=True)
class DeterministicSampler:
    """Turns (epoch, position) into samples; `rows` are repeated as their `repeats` say.

    `size_of` gives a row's size in pixels, its bucket. Random crops lie anywhere, or with `crop_variants` in one of so
    many places of each picture. `caption_dropout` is the share of samples whose caption is `empty_text`.
    """

    rows: list[Row]
    seed: int
    empty_text: str
    size_of: Callable[[Row], Size]
    flips: bool = False
    random_crops: bool = False
    crop_variants: int = 0
    caption_dropout: float = 0.0
    sizes: list[Size] = field(init=False)

    def __post_init__(self) -> None:
        repeated: list[Row] = []
        for row in self.rows:
            repeated.extend([row] * int(row.get("repeats", 1)))
        object.__setattr__(self, "rows", repeated)
        object.__setattr__(self, "sizes", list(map(self.size_of, repeated)))

    def epoch(self, epoch: int) -> list[int]:
        """The order of the rows in that epoch: a keyed permutation."""
        return self._permutation(len(self.rows), "order", epoch)

    def sample(self, row: Row, epoch: int, position: int) -> Sample:
        """The sample at that position, which holds `row`."""
        captions = self.captions_of(row)
        caption = captions[int(self._uniform("caption", epoch, position) * len(captions))]
        if self.caption_dropout and self._uniform("caption-dropout", epoch, position) < self.caption_dropout:
            caption = self.empty_text
        flip = self.flips and self._uniform("flip", epoch, position) < 0.5
        crop = CENTRE
        if self.random_crops and self.crop_variants:
            crop = _place(row, int(self._uniform("crop-variant", epoch, position) * self.crop_variants))
        elif self.random_crops:
            crop = (self._uniform("crop-top", epoch, position), self._uniform("crop-left", epoch, position))
        return Sample(row, epoch, position, caption, flip, crop, self.size_of(row))

    def variants(self) -> list[Sample]:
        """Every way in which a picture may be seen, once; not to be asked where crops lie anywhere."""
        flips = (False, True) if self.flips else (False,)
        variants = []
        for row in self.rows:
            for flip, crop in itertools.product(flips, self._crops(row)):
                variants.append(Sample(row, 0, 0, "", flip, crop, self.size_of(row)))
        return variants

    def captions(self) -> list[str]:
        """Every caption that may be drawn, once."""
        captions = set(itertools.chain.from_iterable(map(self.captions_of, self.rows)))
        if self.caption_dropout:
            captions.add(self.empty_text)
        return sorted(captions)

    def captions_of(self, row: Row) -> list[str]:
        """The captions of one picture, of which an epoch draws one."""
        return row.get("captions") or [self.empty_text]

    def updates_per_epoch(self, size: int) -> int:
        """How many global batches of `size` samples an epoch has; the last may be short."""
        return -(-len(self.rows) // size)

    def global_batches(self, size: int, first: int) -> Iterator[tuple[int, list[Sample]]]:
        """(update number, its samples) for ever, from update `first` (counted from 0) on.

        A global batch is the `size` samples of one update, over all ranks and accumulated micro-batches; the last of an
        epoch may be short.
        """
        update = first
        while True:
            epoch, index = divmod(update, self.updates_per_epoch(size))
            order = self.epoch(epoch)
            for positions in self._positions(order, epoch, size)[index:]:
                yield update, [self.sample(self.rows[order[position]], epoch, position) for position in positions]
                update += 1

    def _positions(self, order: list[int], epoch: int, size: int) -> list[list[int]]:
        """The positions of the epoch's global batches, each of one bucket, in a keyed order.

        What is left of each bucket is pooled, bucket by bucket, and cut too; a short one comes last.
        """
        buckets: dict[Size, list[int]] = {}
        for position, index in enumerate(order):
            buckets.setdefault(self.sizes[index], []).append(position)
        if len(buckets) == 1:
            return _chunks(range(len(order)), size)
        batches: list[list[int]] = []
        rest: list[int] = []
        for positions in buckets.values():
            whole = len(positions) // size * size
            batches.extend(_chunks(positions[:whole], size))
            rest.extend(positions[whole:])
        batches.extend(_chunks(rest, size))
        short: list[list[int]] = []
        if len(batches[-1]) < size:
            short.append(batches.pop())
        return [batches[n] for n in self._permutation(len(batches), "windows", epoch)] + short

    def _crops(self, row: Row) -> list[Place]:
        """Where a picture's crops may lie."""
        if self.random_crops and self.crop_variants:
            return [_place(row, variant) for variant in range(self.crop_variants)]
        return [CENTRE]

    def _permutation(self, count: int, stream: str, epoch: int) -> list[int]:
        return torch.randperm(count, generator=torch.Generator().manual_seed(stream_seed(self.seed, stream, epoch,
                                                                                         0))).tolist()

    def _uniform(self, stream: str, epoch: int, position: int) -> float:
        return uniform(self.seed, stream, epoch, position)


def split_microbatches(global_batch: list[Sample], batch_size: int, rank: int, world_size: int) -> list[list[Sample]]:
    """The micro-batches of one rank: each of one bucket and at most `batch_size` samples, dealt to the ranks in turn.

    Every rank gets the same number of micro-batches; a rank's last one may be empty.
    """
    buckets: dict[Size, list[Sample]] = {}
    for sample in global_batch:
        buckets.setdefault(sample.size, []).append(sample)
    batches: list[list[Sample]] = []
    for samples in buckets.values():
        batches.extend(_chunks(samples, batch_size))
    while len(batches) % world_size:
        batches.append([])
    return batches[rank::world_size]


def _chunks(values: Sequence[T], size: int) -> list[list[T]]:
    return [list(values[start : start + size]) for start in range(0, len(values), size)]


def _place(row: Row, variant: int) -> Place:
    """Where a picture's crop number `variant` lies: the same in every run, so that all share the cached encoding."""
    return uniform(0, f"crop-top/{row['image']}", variant, 0), uniform(0, f"crop-left/{row['image']}", variant, 0)


@dataclass(frozen=True)
class ImageTransform:
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
        if sample.row.get("crop"):
            x, y, length = sample.row["crop"]
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
    def facts(sample: Sample) -> dict[str, tuple[int, int]]:
        """What a family may condition on, in pixels: `original_size` and `target_size` (height, width) and `crop` (top,
        left), of a mirrored picture from the mirrored one's left."""
        _, _, chosen = _chosen(sample.row)
        width, height = sample.size
        covering = _covering(chosen, sample.size)
        top, left = _offsets(covering, sample)
        if sample.flip:
            left = covering[0] - width - left
        return {"original_size": (chosen[1], chosen[0]), "crop": (top, left), "target_size": (height, width)}


def box(sample: Sample) -> list[float]:
    """What of the stored picture a sample shows: [x, y, width, height] in its pixels."""
    x, y, chosen = _chosen(sample.row)
    width, height = sample.size
    covering = _covering(chosen, sample.size)
    top, left = _offsets(covering, sample)
    across = chosen[0] / covering[0]
    down = chosen[1] / covering[1]
    return [round(v, 2) for v in (x + left * across, y + top * down, width * across, height * down)]


def _chosen(row: Row) -> tuple[int, int, Size]:
    """The square of a stored picture that a person chose, or all of it: x, y, size."""
    if row.get("crop"):
        x, y, length = row["crop"]
        return x, y, (length, length)
    return 0, 0, (row["width"], row["height"])


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
