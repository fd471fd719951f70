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
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from studio import storage
from studio.datasets.exports import card
from studio.datasets.store import Dataset
from studio.messages import Message
from studio.storage import zips

Row = dict[str, Any]
WHOLE = [0, 0, 0]  # the crop of a picture that is learned from as a whole


class Nothing(Exception):
    """A data set without a picture; the message is a sentence for a person."""


def ready(dataset: Dataset) -> Sequence[Row]:
    """The rows to take away. Raises Nothing."""
    rows = dataset.snapshot().rows
    if not rows:
        raise Nothing(Message("The data set {name} has no pictures to take away ({state}).", name=repr(dataset.name),
                              state=dataset.state))
    return rows


def described(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What each row says besides its picture, every row with the same columns of the same types: `text` and
    `original_name`; and where any row has several captions, a crop or repeats, `captions`, `crop`, `repeats`."""
    several, cropped, repeated = (any(test(row) for row in rows) for test in (
        lambda row: len(row["captions"]) > 1, lambda row: row.get("crop"), lambda row: row.get("repeats")))
    return [{"text": row["captions"][0] if row["captions"] else "",
             **({"captions": row["captions"] or [""]} if several else {}), "original_name": row["name"],
             **({"crop": row.get("crop") or WHOLE} if cropped else {}),
             **({"repeats": row.get("repeats", 1)} if repeated else {})} for row in rows]


def stored_sizes(dataset: Dataset, rows: Iterable[Row]) -> list[tuple[Path, int]]:
    """Where each row's picture lies, and its size in bytes. Raises storage.Corrupt for one that is lost."""
    found = []
    for row in rows:
        path = dataset.picture(row["pid"])
        try:
            found.append((path, os.stat(path).st_size))
        except FileNotFoundError:
            raise storage.Corrupt(Message("the stored picture of {name} is missing; import it again",
                                          name=repr(row["name"]))) from None
    return found


def pack(dataset: Dataset) -> zips.Download:
    """The data set as a zip, open for reading; the caller closes it. Raises Nothing, storage.Corrupt.

    Stored pictures never change and are never deleted, so they are opened only as they are sent."""
    rows = ready(dataset)
    width = max(6, len(str(len(rows))))
    names = [f"{number:0{width}d}.{row['ext']}" for number, row in enumerate(rows, 1)]
    splits = Counter(row["split"] for row in rows)
    lines: dict[str, list[str]] = {split: [] for split in splits}
    for row, name, facts in zip(rows, names, described(rows), strict=True):
        lines[row["split"]].append(json.dumps({"file_name": name, **facts}, ensure_ascii=False))
    texts = {"README.md": card.imagefolder(dataset.name, splits, dataset.fingerprint()),
             **{f"{split}/metadata.jsonl": "\n".join([*found, ""]) for split, found in lines.items()}}
    contents: list[tuple[str, bytes | zips.Part]] = [(name, text.encode("utf-8", "replace"))
                                                     for name, text in texts.items()]
    paths = {}
    for row, name, (path, size) in zip(rows, names, stored_sizes(dataset, rows), strict=True):
        contents.append((f"{row['split']}/{name}", zips.Stored(path, size)))
        paths[f"{row['split']}/{name}"] = str(path)
    parts = zips.later_zip(contents, lambda name: _crc32(paths[name]))
    etag = hashlib.sha256(json.dumps([texts, [row["image"] for row in rows]]).encode()).hexdigest()
    return zips.Download(f"{_plain_name(dataset.name)}.zip", "application/zip", parts, etag)


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
