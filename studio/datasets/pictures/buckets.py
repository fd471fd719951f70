"""Aspect-ratio buckets: the size in pixels at which a picture is trained. Pure arithmetic, without torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from studio.datasets.schema import Row

Size = tuple[int, int]  # width, height
STEP = 64  # where a base suggests no other
# Long side by short side; up to 2:1 the ladder of diffusers' `generate_aspect_ratio_buckets`.
RATIOS = ((1, 1), (5, 4), (4, 3), (3, 2), (16, 9), (2, 1), (5, 2), (3, 1), (4, 1))


@dataclass(frozen=True)
class Buckets:
    """Sizes of about `resolution`² pixels whose sides are multiples of `step`, at most `most_aspect` long by short.

    Without `upscale`, a picture that is smaller than its bucket takes one of a smaller ladder instead.
    """

    resolution: int
    step: int = STEP
    most_aspect: float = 2.0
    upscale: bool = True

    def sizes(self) -> list[Size]:
        """The buckets, squarest first, each lying before its standing twin."""
        return _ladder(self.resolution, self.step, self.most_aspect)

    def size(self, width: int, height: int, crop: Sequence[int] | None = None) -> Size:
        """The bucket of a picture of `width` x `height`, or of its square `crop` [x, y, side]."""
        if crop:
            width = height = crop[2]
        return _bucket(self, width, height)

    def of(self, row: Row) -> Size:
        """The bucket of a data set's row."""
        return self.size(row["width"], row["height"], row.get("crop"))

    def count(self, rows: Iterable[Row]) -> dict[Size, int]:
        """How many pictures each bucket gets, fullest first."""
        return dict(Counter(map(self.of, rows)).most_common())


@lru_cache(maxsize=256)
def _ladder(resolution: int, step: int, most_aspect: float) -> list[Size]:
    """The sizes of about `resolution`² pixels, each once, the squarest first."""
    sizes: list[Size] = []
    for long, short in RATIOS:
        if long / short <= most_aspect:
            side = resolution / math.sqrt(long / short)
            small = _rounded(side, step)
            large = _rounded(side * long / short, step)
            sizes += [(large, small), (small, large)]
    return list(dict.fromkeys(sizes))


def _rounded(side: float, step: int) -> int:
    """The multiple of `step` nearest to a side, at least one."""
    return max(step, round(side / step) * step)


@lru_cache(maxsize=1 << 16)
def _bucket(buckets: Buckets, width: int, height: int) -> Size:
    """The size nearest in aspect; without upscaling, of the largest ladder whose size fits into the picture."""
    aspect = math.log(width / height)
    size = (buckets.step, buckets.step)
    for resolution in range(buckets.resolution, 0, -buckets.step):
        ladder = _ladder(resolution, buckets.step, buckets.most_aspect)
        size = min(ladder, key=lambda size: abs(aspect - math.log(size[0] / size[1])))
        if buckets.upscale or (size[0] <= width and size[1] <= height):
            break
    return size
