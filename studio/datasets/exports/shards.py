"""A data set as parquet files as the Hub has them: the stored pictures' bytes with their captions, a file at a time.

Each file has the schema that `datasets.load_dataset` reads, pictures included, and is deleted by whoever took it.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from studio.datasets.exports.outgoing import Facts, described, ready, stored_sizes
from studio.datasets.schema import Row
from studio.datasets.store import Dataset

if TYPE_CHECKING:
    from pyarrow import Schema

SHARD = 128 << 20  # bytes of pictures in a file
GROUP, GROUP_BYTES = 100, 32 << 20  # of a row group: what a preview of the first rows has to fetch


class Piece(NamedTuple):
    """A row, what it says besides its picture, where that lies, and its bytes."""

    row: Row
    facts: Facts
    path: Path
    size: int


@dataclass(frozen=True)
class Shard:
    """One file to be: its name in the repository, and the rows in it."""

    name: str
    pieces: Sequence[Piece]

    @property
    def size(self) -> int:
        """Bytes of its pictures."""
        return sum(piece.size for piece in self.pieces)

    def write(self, folder: Path) -> Path:
        """The file, written below `folder`. Raises storage.Corrupt, OSError."""
        from pyarrow import RecordBatch
        from pyarrow.parquet import ParquetWriter

        target = folder / self.name
        target.parent.mkdir(parents=True, exist_ok=True)
        schema = _schema(self.pieces[0].facts)
        # Pictures are compressed already; chunks cut by content let the Hub store again only what changed.
        with ParquetWriter(target, schema, compression="none", use_content_defined_chunking=True) as writer:
            for group in _cut(self.pieces, GROUP_BYTES, GROUP):
                writer.write_batch(RecordBatch.from_pylist(list(map(_cells, group)), schema))
        return target


def shards(dataset: Dataset, most: int = SHARD) -> list[Shard]:
    """The whole data set, split by split in the rows' order. Raises EmptyDataset, storage.Corrupt."""
    rows = ready(dataset)
    pieces_of: dict[str, list[Piece]] = defaultdict(list)  # by split
    for row, facts, (path, size) in zip(rows, described(rows), stored_sizes(dataset, rows), strict=True):
        pieces_of[row["split"]].append(Piece(row, facts, path, size))
    files: list[Shard] = []
    for split, pieces in pieces_of.items():
        parts = list(_cut(pieces, most))
        for number, part in enumerate(parts):
            files.append(Shard(f"data/{split}-{number:05d}-of-{len(parts):05d}.parquet", part))
    return files


def _cut(pieces: Sequence[Piece], most: int, count: int | None = None) -> Iterator[Sequence[Piece]]:
    """The pieces in order, in parts of at most `most` bytes and `count` pieces; one alone may be larger."""
    part: list[Piece] = []
    part_bytes = 0
    for piece in pieces:
        if part and (part_bytes + piece.size > most or len(part) == count):
            yield part
            part = []
            part_bytes = 0
        part.append(piece)
        part_bytes += piece.size
    if part:
        yield part


def _cells(piece: Piece) -> dict[str, object]:
    """A row of the table: the picture's bytes with a name of its own, and what is said of it."""
    name = f"{piece.row['image'][:16]}.{piece.row['ext']}"
    return {"image": {"bytes": piece.path.read_bytes(), "path": name}, **piece.facts}


def _schema(facts: Facts) -> Schema:
    """The columns as Arrow has them, with what tells `datasets` that `image` is one."""
    os.environ.setdefault("USE_TORCH", "0")  # read when it is imported: nothing here needs torch
    from datasets import Features, Image, List, Value

    kinds = {"text": Value("string"), "captions": List(Value("string")), "original_name": Value("string"),
             "crop": List(Value("int64")), "repeats": Value("int64")}
    return Features({"image": Image(), **{name: kinds[name] for name in facts}}).arrow_schema
