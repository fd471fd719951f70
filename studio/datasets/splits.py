"""The split of a data set: which rows a run trains on and which are held out, by the rows and a seed alone."""

from __future__ import annotations

import hashlib

from studio.datasets.schema import Row

TRAIN, HELD = "train", "validation"
Rows = list[Row]


def train_and_held_out(rows: Rows, seed: int, *, most: int | None = None, share: float = 0.0, held: int = 64) -> Rows:
    """The rows of a run, in their order: at most `most` of split `train`, and at most `held` that are held out.

    Held out are the rows of every other split or, where there are none, `share` of the training rows (at least one,
    and one is always left to train on). More rows asked for than there are: all of them.
    """
    train: Rows = []
    rest: Rows = []
    for row in rows:
        if row["split"] == TRAIN:
            train.append(row)
        else:
            rest.append(row)
    if share > 0 and not rest and len(train) > 1:
        count = min(max(1, round(share * len(train))), len(train) - 1)
        rest = _some(train, count, seed, "held out")
        held_out = set(map(id, rest))
        train = [row for row in train if id(row) not in held_out]
    chosen = list(_some(train, most, seed, "train"))
    for row in _some(rest, held, 0, "validation"):
        chosen.append({**row, "split": HELD})
    return chosen


def _some(rows: Rows, most: int | None, seed: int, stream: str) -> Rows:
    """At most `most` of the rows, which ones by a hash of each, in their order."""
    if most is None or most >= len(rows):
        return rows

    def rank(place: int) -> bytes:
        row = rows[place]
        return hashlib.blake2b(f"{seed}/{stream}/{row['image']}/{row.get('name')}".encode()).digest()

    places = sorted(range(len(rows)), key=rank)
    return [rows[place] for place in sorted(places[:most])]
