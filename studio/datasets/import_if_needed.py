"""What a config calls its data set, brought here first: a Hub id, or a folder of this machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

from studio.config import Data
from studio.datasets import library
from studio.datasets.imports import importing
from studio.datasets.imports.hubsource import REPO, HubSource, Rows
from studio.datasets.imports.sources import walk
from studio.datasets.options import Options
from studio.datasets.schema import ImportReport
from studio.datasets.store import Dataset, NotFound, begin
from studio.datasets.text import captions
from studio.messages import JsonObject, Message


def ensure(home: Path, data: Data, owner: str, token: str | None,
           progress: importing.Progress | None = None) -> tuple[str, ImportReport | None]:
    """The id of the data set that `data` means, and the report of its import, or None where none was needed.

    A data set that is here is taken as it is; so is one that was imported from the same place by the same wishes and
    has not changed there since (a Hub data set's commit, a folder's names, sizes and times). A name that is neither is
    returned as it stands. Raises InvalidOptions, UnreadableTable."""
    name = data.dataset
    if name == "sample" and data.data_dir:
        name = data.data_dir
    elif _is_here(home, name):
        return name, None
    folder = Path(name).expanduser()
    if folder.is_dir() and "/" in name:
        return _folder(home, folder, data, owner, progress)
    if REPO.fullmatch(name):
        return _of_hub(home, name, data, owner, token, progress)
    return name, None


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


def _folder(home: Path, folder: Path, data: Data, owner: str,
            progress: importing.Progress | None) -> tuple[str, ImportReport | None]:
    """`ensure` for a folder of this machine."""
    files = list(walk(folder.absolute()))
    facts = [(file, path.lstat().st_size, path.lstat().st_mtime_ns) for file, path in files]
    source: JsonObject = {"kind": "folder", "path": str(folder.absolute()), "stamp": captions.digest(facts)}
    if data.image_column:
        source["image_column"] = data.image_column
    if data.caption_column:
        source["caption_column"] = data.caption_column
    options = Options(image_column=data.image_column or None, caption_column=data.caption_column or None)
    bring = partial(importing.add, files=files, progress=progress, options=options)
    return _brought(home, owner, folder.name, source, bring)


def _of_hub(home: Path, name: str, data: Data, owner: str, token: str | None,
            progress: importing.Progress | None) -> tuple[str, ImportReport | None]:
    """`ensure` for a data set of the Hub, at the commit that it has now. Raises InvalidOptions, UnreadableTable."""
    source = HubSource.of({
        "name": name, "config": data.config_name, "max_rows": data.max_rows, "revision": data.revision,
        "split": data.split, "data_dir": data.data_dir, "data_files": data.data_files,
        "image_column": data.image_column, "caption_column": data.caption_column})
    with Rows(home / "cache", {"hub": source.wish(), "preview": 0}, token) as table:
        pinned = dataclasses.replace(source, revision=table.head["sha"])
    bring = partial(importing.add_hub, source=pinned, token=token, progress=progress)
    return _brought(home, owner, name, {"kind": "hub", **pinned.wish()}, bring)


def _brought(home: Path, owner: str, name: str, source: JsonObject,
             bring: Callable[[Dataset], ImportReport]) -> tuple[str, ImportReport | None]:
    """The data set of that person that came from this source, or that has the same pictures as what `bring` imports
    into a new one, or this new one with its report."""
    for known in library.every(home):
        if known.owner == owner and known.record().get("source") == source and known.state == "ready":
            return known.id, None
    imported = begin(home, name, owner, source)
    report = bring(imported)
    if report["error"] is None:
        equal = _equal(home, owner, imported)
        if equal is not None:
            imported.delete()
            return equal.id, None
    return imported.id, report


def _equal(home: Path, owner: str, dataset: Dataset) -> Dataset | None:
    """Another data set of that person with the very same pictures and captions."""
    mark = dataset.fingerprint()
    for known in library.every(home):
        if known.owner != owner or known.id == dataset.id or known.state != "ready":
            continue
        if known.count == dataset.count and known.fingerprint() == mark:
            return known
    return None
