"""Files that were sent to a data set in batches, and wait to be imported together.

    <home>/datasets/<id>/incoming/000001/   names.json  000000  000001 ...
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection
from operator import itemgetter
from pathlib import Path

from studio import storage


def waiting(incoming: Path, imported: Collection[str]) -> list[tuple[str, list[str]]]:
    """The batches in the order they came, but for those `imported`: the folder's name, and the names of its files
    000000, ..."""
    batches: list[tuple[str, list[str]]] = []
    for folder in sorted(incoming.glob("[0-9]*")):
        if folder.name in imported:
            continue
        names = storage.read_json(folder / "names.json")
        if names is not None:
            batches.append((folder.name, names))
    return batches


def receive(incoming: Path, files: list[tuple[str, Path]]) -> None:
    """Move files (relative name, path) into a batch of their own, which appears whole or not at all."""
    staging = incoming.parent / f"{storage.STAGING}{uuid.uuid4().hex}"
    staging.mkdir()
    try:
        for number, (_, path) in enumerate(files):
            storage.rename(path, staging / f"{number:06d}")
        names = list(map(itemgetter(0), files))
        (staging / "names.json").write_text(json.dumps(names), encoding="utf-8")
        storage.make_folder(incoming)
        storage.publish_folder(staging, incoming / storage.following(incoming))
    except BaseException:
        storage.clear(staging)
        raise


def drop(incoming: Path, imported: Collection[str]) -> None:
    """Remove the batches that were imported, and the folder once nothing waits in it."""
    for batch in imported:
        storage.erase(incoming / batch)
    if imported:
        storage.sweep_staging(incoming)
        storage.erase_empty(incoming)
