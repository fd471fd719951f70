"""Which rows a run learns from and which it only looks at: choices that depend on the rows and a seed alone."""

from __future__ import annotations

import hashlib
from typing import Any

TRAIN, HELD = "train", "validation"
Rows = list[dict[str, Any]]


def choose(rows: Rows, seed: int, *, most: int | None = None, share: float = 0.0, held: int = 64) -> Rows:
    """The rows of a run, in their order: at most `most` of split `train`, and at most `held` that are held out.

    Held out are the rows of every other split or, where there are none, `share` of the training rows (at least one,
    and one is always left to train on). More rows asked for than there are: all of them.
    """
    train = [row for row in rows if row["split"] == TRAIN]
    rest = [row for row in rows if row["split"] != TRAIN]
    if share > 0 and not rest and len(train) > 1:
        count = min(max(1, round(share * len(train))), len(train) - 1)
        out = {id(row) for row in _some(train, count, seed, "held out")}
        rest = [row for row in train if id(row) in out]
        train = [row for row in train if id(row) not in out]
    chosen = _some(train, most, seed, "train")
    return [*chosen, *({**row, "split": HELD} for row in _some(rest, held, 0, "validation"))]


def _some(rows: Rows, most: int | None, seed: int, stream: str) -> Rows:
    """At most `most` of the rows, which ones by a hash of each, in their order."""
    if most is None or most >= len(rows):
        return rows
    places = sorted(range(len(rows)), key=lambda n: hashlib.blake2b(
        f"{seed}/{stream}/{rows[n]['image']}/{rows[n].get('name')}".encode()).digest())
    return [rows[n] for n in sorted(places[:most])]
