"""The process that reads tables (a limited one): a Hub data set or a parquet file.

A request is one message: {hub: HubSource.wish(), token} or {parquet: path in hex, image_column, caption_column}, and
`preview` with a number of rows.
The answers are the head, the rows (each followed by `size` raw bytes of its picture), {end}; or {error} in words. It
never runs code of a data set, and opens nothing outside its repository at the one commit that it reads.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, TypedDict, cast

from studio import limited
from studio.datasets.imports import meanings
from studio.datasets.imports.hubsource import MOST_ROWS, HubSource, TableRow
from studio.datasets.imports.sources import MAX_FILE
from studio.datasets.tabular import coded, columns, records
from studio.datasets.tabular.hubreading import HubFacts, ReadError, Repository, first_line, hub_splits
from studio.datasets.text import captions
from studio.limited import ipc
from studio.messages import JsonObject, Message

if TYPE_CHECKING:
    from datasets import IterableDataset

MEMORY = 6 << 30  # bytes of address space; Arrow maps far more than it uses
FILE_BYTES = 4 << 30  # the largest file it may write, into its own cache
SHOWN = 300  # characters of a value in a preview
PEEKED = 8  # rows that are looked at before the columns are chosen
MOST_WORDS = 40_000  # characters of all texts of a row that are told, beside its captions
KINDS = {"string": columns.TEXT, "large_string": columns.TEXT, "binary": columns.BINARY,
         "large_binary": columns.BINARY}  # by Arrow's name of the type


class Request(TypedDict, total=False):
    """What is read: a Hub data set, or a parquet file with the columns that a person named."""

    hub: JsonObject
    token: str | None
    parquet: str
    image_column: str | None
    caption_column: str | None
    preview: int


def kinds_of(features: Mapping[str, object] | None) -> dict[str, str]:
    """The kind of each column; the members of a struct as `struct.member`."""
    kinds: dict[str, str] = {}
    for name, feature in (features or {}).items():
        if isinstance(feature, dict) and not _is_picture(feature):
            for inner, kind in kinds_of(feature).items():
                kinds[f"{name}.{inner}"] = kind
        else:
            kinds[name] = _kind_of(feature)
    return kinds


def _kind_of(feature: object) -> str:
    from datasets.features import LargeList, List, Value

    if _is_picture(feature):
        return columns.PICTURE
    if isinstance(feature, Value):
        return KINDS.get(feature.dtype, feature.dtype)
    if not isinstance(feature, List | LargeList):
        return type(feature).__name__.lower()
    inner = getattr(feature, "feature", None)
    if isinstance(inner, Value) and KINDS.get(inner.dtype) == columns.TEXT:
        return columns.TEXTS
    return columns.PICTURES if _is_picture(inner) else "list"


def _is_picture(feature: object) -> bool:
    from datasets.features import Image

    return isinstance(feature, Image) or isinstance(feature, dict) and set(feature) == {"bytes", "path"}


class Table:
    """Streams of rows, and what is known of them before the first."""

    def __init__(self, request: Request):
        self.request = request
        self.facts: HubFacts = {}
        self.most = MOST_ROWS
        self.repository: Repository | None = None  # of a Hub data set
        self.image: str | None = None
        self.caption: str | None = None
        repo = ""
        image, caption = request.get("image_column"), request.get("caption_column")
        if "hub" in request:
            token = request.get("token")
            source = HubSource.of(request["hub"])
            repo = source.name
            image, caption = source.image_column, source.caption_column
            self.facts, self.streams = hub_splits(source, token)
            self.most = source.max_rows or MOST_ROWS
            self.repository = Repository(f"hf://datasets/{source.name}@{self.facts['sha']}/", token)
        else:
            self.streams = _file(os.fsdecode(bytes.fromhex(request["parquet"])))
        split, first = next(iter(self.streams.items()))
        features = first.features or first._resolve_features().features
        self._begun = {split: self._read(split, first.decode(False))}
        self.peeked = list(islice(self._begun[split], PEEKED))
        self.kinds = self._looked_at(kinds_of(features))
        self.tabular = self.repository is None and set(columns.HOLDS_PICTURES).isdisjoint(self.kinds.values())
        samples = {name: self._peeked(name) for name in self.kinds}
        self.samples = {name: _shown(values) for name, values in samples.items()}
        if self.repository is None:  # a column that a person named may be another table's
            image = image if image in self.kinds else None
            caption = caption if caption in self.kinds else None
        if not self.tabular:
            self.image, self.caption = columns.image_and_caption_columns(self.kinds, image, caption, repo, samples)

    def _peeked(self, name: str) -> list[object]:
        """The values of a column in the first rows."""
        return [_value(row, name) for row in self.peeked]

    def _looked_at(self, kinds: dict[str, str]) -> dict[str, str]:
        """The kinds, once the first rows were looked at: pictures coded as text, files named and not held, talks."""
        looked_at = dict(kinds)
        for name, kind in kinds.items():
            values = [value for value in self._peeked(name) if value not in (None, "", [])]
            if not values:
                continue
            if kind == columns.TEXT and all(map(coded.is_coded, values)):
                looked_at[name] = columns.CODED
            elif kind == columns.PICTURE and self.repository is None and all(map(_names_a_file, values)):
                looked_at[name] = columns.TEXT
            elif kind == "list" and all(map(records.texts_of, values)):
                looked_at[name] = columns.TEXTS
        return looked_at

    def head(self) -> JsonObject:
        """What `hubsource.Rows.head` says."""
        counted = filter(None, self.facts.get("splits", {}).values())
        return {"columns": self.kinds, "image": self.image, "caption": self.caption, "table": self.tabular,
                "samples": self.samples, "total": min(sum(counted), self.most), **self.facts}

    def rows(self) -> Iterator[tuple[TableRow, bytes]]:
        """Each row as a message, with its picture's bytes. Raises ReadError where the stream breaks."""
        left = min(self.most, self.request.get("preview", self.most))
        for split, stream in self.streams.items():
            if split in self._begun:
                rows = chain(self.peeked, self._begun[split])
            else:
                rows = self._read(split, stream.decode(False))
            for number, row in enumerate(rows, 1):
                if left == 0:
                    return
                left -= 1
                if self.tabular:
                    yield {"line": _plain(row), "number": number}, b""
                else:
                    yield self._row(split, number, row)

    def _read(self, split: str, stream: Iterable[JsonObject]) -> Iterator[JsonObject]:
        """The rows of a stream. Raises ReadError where it breaks."""
        try:
            yield from stream
        except MemoryError:
            raise
        except Exception as error:
            raise ReadError(Message("Reading the split {split} broke off: {why}", split=split,
                                    why=first_line(error))) from None

    def _row(self, split: str, number: int, row: JsonObject) -> tuple[TableRow, bytes]:
        """The message of a row, and its picture's bytes; none of a row whose picture is told as a problem."""
        message: TableRow = {"name": f"{split}/{number:06d}", "captions": self._texts(row, self.caption),
                             "split": self._split(split, row), "texts": self._words(row)}
        more = {key: row[key] for key in captions.MORE_KEYS if key in self.kinds and _whole(row.get(key))}
        if more:
            message["more"] = more
        if "preview" in self.request:
            message["values"] = self._shown_values(row)
        value = _value(row, self.image)
        if isinstance(value, list):
            message["several"] = len(value)
            value = next(filter(None, value), None)
        try:
            data, path = self._picture(value)
        except ReadError as problem:
            message["problem"] = str(problem)
            return message, b""
        name = PurePosixPath(path or "").name
        if name:
            message["name"] += f"-{name[-100:]}"
        message["size"] = len(data)
        return message, data

    def _split(self, split: str, row: JsonObject) -> str:
        """The split that a row says it is in, else of a Hub data set the one that it is read from."""
        said = meanings.split_of_value(row.get("split"))
        if said or self.repository is None:
            return said
        return meanings.split_of_file(split)

    def _shown_values(self, row: JsonObject) -> dict[str, str]:
        """The beginnings of a row's values, for a preview."""
        names = [name for name, kind in self.kinds.items() if kind not in columns.HOLDS_PICTURES]
        return {name: str(_value(row, name))[:SHOWN] for name in names}

    def _texts(self, row: JsonObject, name: str | None) -> list[str]:
        if not name:
            return []
        return records.texts_of(_value(row, name), joined=columns.is_tags(name)) or []

    def _words(self, row: JsonObject) -> dict[str, list[str]]:
        """The texts of every column of words, so that another can be chosen later; not the longest ones."""
        words: dict[str, list[str]] = {}
        left = MOST_WORDS
        for name, kind in self.kinds.items():
            if kind not in (columns.TEXT, columns.TEXTS):
                continue
            texts = self._texts(row, name)
            left -= sum(map(len, texts))
            if texts and left >= 0:
                words[name] = texts
        return words

    def _picture(self, value: object) -> tuple[bytes, str | None]:
        """The coded picture of a row, and the name it has there. Raises ReadError."""
        data: bytes | None = None
        path: str | None = None
        if isinstance(value, str):
            data = coded.decode(value)
        elif isinstance(value, bytes):
            data = value
        elif isinstance(value, dict):
            data = value.get("bytes")
            path = value.get("path")
        if data is None and path:
            if self.repository is None:
                raise ReadError(Message("the row names a file outside its data set"))
            data = self.repository.read(str(path))
        if not data:
            raise ReadError(Message("the row has no picture"))
        if len(data) > MAX_FILE:
            raise ReadError(Message("larger than {size} MB", size=MAX_FILE >> 20))
        return data, path


def _file(path: str) -> dict[str, IterableDataset]:
    """A parquet or an Arrow file as a stream {"train": rows}. Raises ReadError."""
    import datasets

    with open(path, "rb") as file:
        kind = "parquet" if file.read(4) == b"PAR1" else "arrow"
    try:
        return {"train": datasets.load_dataset(kind, data_files=[path], split="train", streaming=True)}
    except (ValueError, OSError) as error:
        raise ReadError(Message("not a parquet file that can be read ({why})", why=first_line(error)[:200])) from None


def _value(row: JsonObject, name: str | None) -> object:
    """A column's value; of `struct.member` the member's."""
    outer, _, inner = (name or "").partition(".")
    if name in row or not inner:
        return row.get(name or "")
    value = row.get(outer)
    return value.get(inner) if isinstance(value, dict) else None


def _whole(value: object) -> bool:
    """Whether a value is a text, a whole number, or a few of them."""
    return isinstance(value, str | int) or isinstance(value, list) and all(type(part) is int for part in value[:4])


def _plain(row: JsonObject) -> JsonObject:
    """A row of a table without pictures, as JSON: what a picture's column holds is the name of its file."""
    fields = dict(row)
    for name, value in row.items():
        if isinstance(value, dict) and _names_a_file(value):
            fields[name] = value["path"]
    return {name: value for name, value in records.flat(fields) if _is_json(value)}


def _is_json(value: object) -> bool:
    if isinstance(value, list):
        return not any(isinstance(part, bytes) for part in value)
    return isinstance(value, str | int | float | None)


def _names_a_file(value: object) -> bool:
    """Whether a value of a picture's column names a file and does not hold it."""
    if not isinstance(value, dict) or value.keys() != {"bytes", "path"}:
        return False
    return value["bytes"] is None and bool(value["path"])


def _shown(values: Sequence[object]) -> str:
    """A value of a column for a person to tell it by."""
    for value in values:
        if isinstance(value, str | int | float | list) and value not in ("", []):
            return captions.clean(str(value))[0][:80]
    return ""


def main() -> None:
    """Answer one request."""
    _, requests, answers = limited.enter(memory=MEMORY, file_bytes=FILE_BYTES)
    request = cast("Request", ipc.receive(requests) or {})
    try:
        table = Table(request)
        ipc.send(answers, table.head())
        for message, data in table.rows():
            ipc.send(answers, {**message})
            answers.write(data)
        ipc.send(answers, {"end": True})
    except (ReadError, columns.InvalidColumns) as problem:
        ipc.send(answers, {"error": str(problem)})
    except MemoryError:
        ipc.send(answers, {"error": f"Reading it needs more than {MEMORY >> 30} GB of memory."})
    except ConnectionError as error:
        ipc.send(answers, {"error": f"The Hub cannot be reached: check the network and try again ({error})."})
    except Exception as error:
        ipc.send(answers, {"error": Message("It cannot be read ({kind}: {why}).", kind=type(error).__name__,
                                            why=first_line(error))})
    answers.flush()
    os._exit(0)  # threads of a broken stream may never end


if __name__ == "__main__":
    main()
