"""Which data sets there are: the shipped one and those under <home>/datasets; and what nobody came back for."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from studio import storage
from studio.datasets.sample import SAMPLE, Sample
from studio.datasets.store import ID, Dataset, NotFound
from studio.messages import Message


def find(home: Path, id: str) -> Dataset:
    """The data set of that id. Raises NotFound, for anything that is not an id too."""
    if id == SAMPLE and Sample(home).available():
        return Sample(home)
    if not ID.fullmatch(id) or not (home / "datasets" / id / "dataset.json").is_file():
        raise NotFound(Message("there is no data set {name}", name=repr(id[:64])))
    return Dataset(home, id)


def every(home: Path) -> list[Dataset]:
    """All data sets: the shipped one, then the others, newest first."""
    with_age: list[tuple[float, str, Dataset]] = []
    if (home / "datasets").is_dir():
        for name in filter(ID.fullmatch, os.listdir(home / "datasets")):
            dataset = Dataset(home, name)
            with suppress(NotFound):  # deleted between the listing and here
                with_age.append((dataset.created, dataset.id, dataset))
    newest_first = [dataset for *_, dataset in sorted(with_age, reverse=True)]
    sample = Sample(home)
    return [sample, *newest_first] if sample.available() else newest_first


def sweep(home: Path, keep_newer_than: float) -> int:
    """Move files that were sent in batches and never committed to the trash, once their last batch is older than a
    moment (unix seconds); a data set that has nothing else goes with them. Returns how many data sets were swept."""
    swept = 0
    for path in (home / "datasets").glob(f"{storage.STAGING}*"):
        if path.stat().st_mtime < keep_newer_than:
            storage.clear(path)  # of a server that died while it began a data set
    for dataset in every(home):
        with suppress(FileNotFoundError, NotFound):  # committed or deleted in this moment
            swept += not dataset.read_only and _sweep(dataset, keep_newer_than)
    return swept


def _sweep(dataset: Dataset, keep_newer_than: float) -> bool:
    """Move what waits in a data set to the trash, if it is old and no import is under way. Returns True when moved."""
    if max(dataset.created, dataset.incoming.stat().st_mtime) >= keep_newer_than:
        return False
    lock = storage.Lock(dataset.lock_file)
    if not lock.acquire():
        return False
    try:
        dataset.drop_imported()
        if not dataset.incoming.is_dir():
            return False
        if dataset.commit().get("imports"):
            storage.to_trash(dataset.incoming, dataset.home / "trash")
        else:
            dataset.delete()
    finally:
        lock.release()
    return True
