"""Aspect-ratio buckets: the size in pixels at which a picture is trained. Pure arithmetic, without torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

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
        return _bucket(self, *((crop[2], crop[2]) if crop else (width, height)))

    def of(self, row: dict[str, Any]) -> Size:
        """The bucket of a data set's row."""
        return self.size(row["width"], row["height"], row.get("crop"))

    def count(self, rows: Iterable[dict[str, Any]]) -> dict[Size, int]:
        """How many pictures each bucket gets, fullest first."""
        return dict(Counter(self.of(row) for row in rows).most_common())


@lru_cache(maxsize=256)
def _ladder(resolution: int, step: int, most_aspect: float) -> list[Size]:
    found: dict[Size, None] = {}
    for long, short in RATIOS:
        if long / short <= most_aspect:
            side = resolution / math.sqrt(long / short)
            small, large = (max(step, round(s / step) * step) for s in (side, side * long / short))
            found.update({(large, small): None, (small, large): None})
    return list(found)


@lru_cache(maxsize=1 << 16)
def _bucket(buckets: Buckets, width: int, height: int) -> Size:
    aspect, size = math.log(width / height), (buckets.step, buckets.step)
    for resolution in range(buckets.resolution, 0, -buckets.step):
        ladder = _ladder(resolution, buckets.step, buckets.most_aspect)
        size = min(ladder, key=lambda s: abs(aspect - math.log(s[0] / s[1])))
        if buckets.upscale or (size[0] <= width and size[1] <= height):
            break
    return size
