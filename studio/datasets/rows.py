"""One row of a data set: where its picture lies, what is trained on, what a run keeps, what an edit changes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from studio.datasets.schema import Row, RowChange

KEYS = ("image", "ext", "width", "height", "captions", "split", "name", "crop", "repeats")  # of a run's dataset.jsonl
TRAINED_ON = ("image", "captions", "crop", "repeats", "split")  # what a fingerprint is made of


def picture_path(home: Path, row: Mapping[str, object]) -> Path:
    """Where the stored picture of a row, or of anything else with its `image` and `ext`, lies."""
    image = str(row["image"])
    return home / "images" / image[:2] / f"{image}.{row['ext']}"


def frozen(row: Row) -> Row:
    """The row as a run keeps it: KEYS, in their order."""
    return cast(Row, {key: row.get(key) for key in KEYS if key in row})


def trained_on(row: Row) -> list[object]:
    """The values of TRAINED_ON, None for what the row does not have."""
    return [row.get(key) for key in TRAINED_ON]


def alters(change: RowChange | None, row: Row) -> bool:
    """Whether a change makes the row another; None, which takes it out, does."""
    return change is None or any(row.get(key) != value for key, value in change.items())
