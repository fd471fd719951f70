"""What a config calls its data set, brought here first: a Hub id, or a folder of this machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from studio.config import Data
from studio.datasets import library
from studio.datasets.imports import importing
from studio.datasets.imports.hubsource import REPO, HubSource, Rows
from studio.datasets.imports.sources import walk
from studio.datasets.options import Options
from studio.datasets.store import Dataset, NotFound, begin
from studio.datasets.text import captions
from studio.messages import Message


def ensure(home: Path, data: Data, owner: str, token: str | None,
           progress: importing.Progress | None = None) -> tuple[str, dict[str, Any] | None]:
    """The id of the data set that `data` means, and the report of its import, or None where none was needed.

    A data set that is here is taken as it is; so is one that was imported from the same place by the same wishes and
    has not changed there since (a Hub data set's commit, a folder's names, sizes and times). A name that is neither is
    returned as it stands. Raises Wrong, Unreadable."""
    name = data.data_dir if data.dataset == "sample" and data.data_dir else data.dataset
    if name == data.dataset and _is_here(home, name):
        return name, None
    folder = Path(name).expanduser()
    if folder.is_dir() and "/" in name:
        files = list(walk(folder.absolute()))
        facts = [(file, path.lstat().st_size, path.lstat().st_mtime_ns) for file, path in files]
        columns = {name: value for name in ("image_column", "caption_column") if (value := getattr(data, name))}
        source = {"kind": "folder", "path": str(folder.absolute()), "stamp": captions.digest(facts), **columns}
        return _brought(home, owner, folder.name, source,
                        lambda made: importing.add(made, files, progress, Options(**columns)))
    if not REPO.fullmatch(name):
        return name, None
    wish = HubSource.of({"name": name, "config": data.config_name, "max_rows": data.max_rows, **{
        key: getattr(data, key) for key in ("revision", "split", "data_dir", "data_files", "image_column",
                                            "caption_column")}})
    with Rows(home / "cache", {"hub": wish.wish(), "preview": 0}, token) as table:
        commit = table.head["sha"]
    pinned = dataclasses.replace(wish, revision=commit)
    return _brought(home, owner, name, {"kind": "hub", **pinned.wish()},
                    lambda made: importing.add_hub(made, pinned, token, progress))


def advice(name: str) -> str:
    """What to do about a name that is no data set here."""
    if not REPO.fullmatch(name):
        return Message("choose one of the list, or bring pictures in first")
    return Message("one of the Hub is imported before a run learns from it: on the page Datasets, by `POST "
                   "/api/datasets`, or by `python -m studio.datasets import hub:{name}` (`python -m studio.train` does "
                   "so by itself)", name=name)


def _is_here(home: Path, name: str) -> bool:
    try:
        library.find(home, name)
    except NotFound:
        return False
    return True


def _brought(home: Path, owner: str, name: str, source: dict[str, Any],
             bring: Callable[[Dataset], dict[str, Any]]) -> tuple[str, dict[str, Any] | None]:
    for known in library.every(home):
        if known.owner == owner and known.record().get("source") == source and known.state == "ready":
            return known.id, None
    made = begin(home, name, owner, source)
    report = bring(made)
    if report["error"] is None and (equal := _equal(home, owner, made)):
        made.delete()
        return equal.id, None
    return made.id, report


def _equal(home: Path, owner: str, made: Dataset) -> Dataset | None:
    """Another data set of that person with the very same pictures and captions."""
    mark = made.fingerprint()
    return next((known for known in library.every(home) if known.owner == owner and known.id != made.id
                 and known.state == "ready" and known.count == made.count and known.fingerprint() == mark), None)
