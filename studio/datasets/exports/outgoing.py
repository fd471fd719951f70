"""A data set to take away: an imagefolder with captions and a card, as a zip that exists only while it is read.

    README.md  train/metadata.jsonl  train/000001.webp ...  validation/metadata.jsonl ...

`datasets.load_dataset("imagefolder", data_dir=...)` reads it unpacked, and an import into a studio gives the same rows.
Pictures are numbered through in their order; what a picture has beyond its captions stands in columns of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import TypedDict

from studio import storage
from studio.datasets.exports import card
from studio.datasets.schema import Row
from studio.datasets.store import Dataset
from studio.errors import StudioError
from studio.messages import Message
from studio.storage import zips

WHOLE = [0, 0, 0]  # the crop of a picture that is learned from as a whole


class EmptyDataset(StudioError):
    """A data set without a picture; the message is a sentence for a person."""


class Facts(TypedDict, total=False):
    """What a row says besides its picture: the columns of a data set that was taken away, in their order."""

    text: str
    captions: list[str]
    original_name: str
    crop: list[int]
    repeats: int


def ready(dataset: Dataset) -> Sequence[Row]:
    """The rows to take away. Raises EmptyDataset."""
    rows = dataset.snapshot().rows
    if not rows:
        raise EmptyDataset(Message("The data set {name} has no pictures to take away ({state}).",
                                   name=repr(dataset.name), state=dataset.state))
    return rows


def described(rows: Sequence[Row]) -> list[Facts]:
    """What each row says besides its picture, every row with the same columns of the same types: `text` and
    `original_name`; and where any row has several captions, a crop or repeats, `captions`, `crop`, `repeats`."""
    several = any(len(row["captions"]) > 1 for row in rows)
    cropped = any(row.get("crop") for row in rows)
    repeated = any(row.get("repeats") for row in rows)
    described_rows: list[Facts] = []
    for row in rows:
        captions = row["captions"] or [""]
        facts: Facts = {"text": captions[0]}
        if several:
            facts["captions"] = captions
        facts["original_name"] = row["name"]
        if cropped:
            facts["crop"] = row.get("crop") or WHOLE
        if repeated:
            facts["repeats"] = row.get("repeats", 1)
        described_rows.append(facts)
    return described_rows


def stored_sizes(dataset: Dataset, rows: Iterable[Row]) -> list[tuple[Path, int]]:
    """Where each row's picture lies, and its size in bytes. Raises storage.Corrupt for one that is lost."""
    places: list[tuple[Path, int]] = []
    for row in rows:
        path = dataset.picture(row["pid"])
        try:
            places.append((path, os.stat(path).st_size))
        except FileNotFoundError:
            raise storage.Corrupt(Message("the stored picture of {name} is missing; import it again",
                                          name=repr(row["name"]))) from None
    return places


def pack(dataset: Dataset) -> zips.Download:
    """The data set as a zip, open for reading; the caller closes it. Raises EmptyDataset, storage.Corrupt.

    Stored pictures never change and are never deleted, so they are opened only as they are sent."""
    rows = ready(dataset)
    names = _names(rows)
    splits = Counter(map(itemgetter("split"), rows))
    texts = {"README.md": card.imagefolder(dataset.name, splits, dataset.fingerprint()), **_metadata(rows, names)}
    contents: list[tuple[str, bytes | zips.Part]] = []
    for name, text in texts.items():
        contents.append((name, text.encode("utf-8", "replace")))
    paths: dict[str, str] = {}
    for row, name, (path, size) in zip(rows, names, stored_sizes(dataset, rows), strict=True):
        place = f"{row['split']}/{name}"
        contents.append((place, zips.ImmutableFile(path, size)))
        paths[place] = str(path)
    parts = zips.lazy_zip(contents, lambda name: _crc32(paths[name]))
    images = list(map(itemgetter("image"), rows))
    etag = hashlib.sha256(json.dumps([texts, images]).encode()).hexdigest()
    return zips.Download(f"{_plain_name(dataset.name)}.zip", "application/zip", parts, etag)


def _names(rows: Sequence[Row]) -> list[str]:
    """The pictures' names in the zip: numbered through, of one length."""
    width = max(6, len(str(len(rows))))
    return [f"{number:0{width}d}.{row['ext']}" for number, row in enumerate(rows, 1)]


def _metadata(rows: Sequence[Row], names: Sequence[str]) -> dict[str, str]:
    """The metadata.jsonl of each split, by its name in the zip."""
    lines: dict[str, list[str]] = defaultdict(list)
    for row, name, facts in zip(rows, names, described(rows), strict=True):
        lines[row["split"]].append(json.dumps({"file_name": name, **facts}, ensure_ascii=False) + "\n")
    return {f"{split}/metadata.jsonl": "".join(lines_of_split) for split, lines_of_split in lines.items()}


def write(dataset: Dataset, target: Path) -> int:
    """The data set's zip in the file `target`, whole or not at all; returns its size. Raises as `pack`, OSError."""
    with pack(dataset) as packed, storage.writing(target) as file:
        file.writelines(packed.read(0, packed.size))
    return packed.size


def _plain_name(name: str) -> str:
    """A data set's name as the name of a file on any system."""
    return re.sub(r'[\\/:*?"<>|\x00-\x1f]+', "-", name).strip(" .-")[:100] or "dataset"


@lru_cache(maxsize=1 << 17)
def _crc32(path: str) -> int:
    """The CRC-32 of a stored picture, kept: it is asked for once more at the end of a zip."""
    return zlib.crc32(Path(path).read_bytes())
