"""Which data sets there are: the shipped one and those under <home>/datasets."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from studio.datasets.sample import SAMPLE, Sample
from studio.datasets.store import ID, Dataset, NotFound


def find(home: Path, id: str) -> Dataset:
    """The data set of that id. Raises NotFound, for anything that is not an id too."""
    if id == SAMPLE and Sample(home).available():
        return Sample(home)
    if not ID.fullmatch(id) or not (home / "datasets" / id / "dataset.json").is_file():
        raise NotFound(f"there is no data set {id[:64]!r}")
    return Dataset(home, id)


def every(home: Path) -> list[Dataset]:
    """All data sets: the shipped one, then the others, newest first."""
    names = os.listdir(home / "datasets") if (home / "datasets").is_dir() else []
    own = []
    for dataset in (Dataset(home, name) for name in names if ID.fullmatch(name)):
        with suppress(NotFound):  # deleted between the listing and here
            own.append((dataset.created, dataset.id, dataset))
    sample = Sample(home)
    return [*([sample] if sample.available() else []), *(dataset for *_, dataset in sorted(own, reverse=True))]
