"""The process that reads tables (a limited one): a Hub data set or a parquet file.

A request is one message: {hub: HubSource.wish(), token} or {parquet: path in hex, image_column, caption_column}, and
`preview` with a number of rows.
The answers are the head, the rows (each followed by `size` raw bytes of its picture), {end}; or {error} in words. It
never runs code of a data set, and opens nothing outside its repository at the one commit that it reads.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import PurePosixPath
from typing import Any

from studio import limited
from studio.datasets.imports import meanings
from studio.datasets.imports.hubsource import MOST_ROWS, HubSource
from studio.datasets.imports.sources import MAX_FILE
from studio.datasets.tabular import coded, columns, records
from studio.datasets.text import captions
from studio.limited import ipc
from studio.messages import Message

MEMORY = 6 << 30  # bytes of address space; Arrow maps far more than it uses
FILE_BYTES = 4 << 30  # the largest file it may write, into its own cache
SHOWN = 300  # characters of a value in a preview
PEEKED = 8  # rows that are looked at before the columns are chosen
MOST_WORDS = 40_000  # characters of all texts of a row that are told, beside its captions


class Stop(Exception):
    """It cannot be read; the message is a sentence for a person."""


def hub_splits(source: HubSource, token: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Facts of a Hub data set, and its splits as streams {name: IterableDataset}. Raises Stop."""
    from datasets import config as limits

    info = _repository(source, token)
    where = f"hf://datasets/{source.name}@{info['sha']}/"
    builder = _builder(source, info["sha"], token)
    for split, files in (builder.config.data_files or {}).items():
        for file in files:
            if not _inside(str(file), where):
                raise Stop(Message("{name} points outside its repository (split {split}): such data sets are not read.",
                                   name=source.name, split=split))
    streams: Any = builder.as_streaming_dataset()
    if source.split:
        if source.split not in streams:
            raise Stop(Message("There is no split {split} in {name}; there are: {names}.",
                               split=repr(source.split[:100]), name=source.name, names=", ".join(streams)))
        streams = {source.split: streams[source.split]}
    known = builder.info.splits or {}
    info["splits"] = {name: known[name].num_examples if name in known else None for name in streams}
    info["config"] = builder.config.name
    limits.STREAMING_READ_MAX_RETRIES = 5
    return info, dict(streams)


def _inside(path: str, where: str) -> bool:
    """Whether a path lies below `where` (the repository at its commit), with no way up and no other file system."""
    steps = path.removeprefix(where).replace("\\", "/").split("/")
    return path.startswith(where) and "::" not in path and not {"", ".", ".."} & set(steps)


def _repository(source: HubSource, token: str | None) -> dict[str, Any]:
    """Its commit and whether it is private or gated. Raises Stop: not there, no access, a loading script."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        found = HfApi(token=token or False).dataset_info(source.name, revision=source.revision)
    except GatedRepoError:
        raise Stop(_gated(source)) from None
    except RepositoryNotFoundError:
        raise Stop(Message("There is no data set {name} on the Hub, or it is private: check the name, and give a token "
                           "that may read it.", name=source.name)) from None
    except RevisionNotFoundError:
        raise Stop(Message("{name} has no revision {revision}: give a branch, tag or commit of it.", name=source.name,
                           revision=repr(source.revision))) from None
    names = [entry.rfilename for entry in found.siblings or []]
    script = f"{source.name.rpartition('/')[2]}.py"
    if script in names:
        raise Stop(Message("{name} is made by a loading script ({script}), which is never run here: choose a data set "
                           "of parquet files or pictures; the Hub has a parquet copy of many under the revision "
                           "refs/convert/parquet.", name=source.name, script=script))
    return {"sha": found.sha, "private": bool(found.private), "gated": bool(found.gated)}


def _gated(source: HubSource) -> str:
    return Message("{name} is gated: accept its terms at {page}, and give a token of that account.", name=source.name,
                   page=f"https://huggingface.co/datasets/{source.name}")


def _builder(source: HubSource, sha: str, token: str | None) -> Any:
    """The builder of its present files. Raises Stop."""
    import datasets
    from datasets.exceptions import DatasetNotFoundError

    try:
        return datasets.load_dataset_builder(
            source.name, source.config, revision=sha, data_dir=source.data_dir,
            data_files=list(source.data_files) or None, token=token or False)
    except DatasetNotFoundError as error:
        raise Stop(_gated(source) if "gated" in str(error) else f"{source.name}: {error}") from None
    except (ValueError, RuntimeError, FileNotFoundError, TypeError) as error:
        place = " ".join([*source.data_files, source.data_dir or ""]).strip()
        raise Stop(Message("{name} (of {place}) cannot be read: {why}", name=source.name, place=place,
                           why=_first_line(error)) if place else
                   Message("{name} cannot be read: {why}", name=source.name, why=_first_line(error))) from None


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:400] or type(error).__name__


def kinds_of(features: Any) -> dict[str, str]:
    """The kind of each column; the members of a struct as `struct.member`."""
    import datasets
    from datasets.features import List, Value

    found: dict[str, str] = {}
    for name, feature in (features or {}).items():
        if _is_picture(feature):
            found[name] = columns.PICTURE
        elif isinstance(feature, Value):
            kind = {"string": columns.TEXT, "large_string": columns.TEXT, "binary": columns.BINARY,
                    "large_binary": columns.BINARY}
            found[name] = kind.get(feature.dtype, feature.dtype)
        elif isinstance(feature, List | datasets.features.LargeList):
            inner = getattr(feature, "feature", None)
            text = isinstance(inner, Value) and inner.dtype in ("string", "large_string")
            found[name] = columns.TEXTS if text else columns.PICTURES if _is_picture(inner) else "list"
        elif isinstance(feature, dict):
            found |= {f"{name}.{inner}": kind for inner, kind in kinds_of(feature).items()}
        else:
            found[name] = type(feature).__name__.lower()
    return found


def _is_picture(feature: Any) -> bool:
    from datasets.features import Image

    return isinstance(feature, Image) or isinstance(feature, dict) and set(feature) == {"bytes", "path"}


class Table:
    """Streams of rows, and what is known of them before the first."""

    def __init__(self, request: dict[str, Any]):
        self.request, self.token = request, request.get("token")
        self.most = MOST_ROWS
        self.repository: Repository | None = None
        image, caption = request.get("image_column"), request.get("caption_column")
        if "hub" in request:
            source = HubSource.of(request["hub"])
            self.facts, self.streams = hub_splits(source, self.token)
            self.most = source.max_rows or MOST_ROWS
            self.repository = Repository(f"hf://datasets/{source.name}@{self.facts['sha']}/", self.token)
            image, caption = source.image_column, source.caption_column
        else:
            self.facts, self.streams = _file(os.fsdecode(bytes.fromhex(request["parquet"])))
        split, first = next(iter(self.streams.items()))
        features = first.features or first._resolve_features().features
        self._begun = {split: self._read(split, first.decode(False))}
        self.peeked = list(islice(self._begun[split], PEEKED))
        self.kinds = self._looked_at(kinds_of(features))
        samples = {name: [_value(row, name) for row in self.peeked] for name in self.kinds}
        self.tabular = "hub" not in request and not any(kind in columns.HOLDS_PICTURES for kind in self.kinds.values())
        if "hub" not in request:  # a column that a person named may be another table's
            image, caption = (name if name in self.kinds else None for name in (image, caption))
        repo = request["hub"]["name"] if "hub" in request else ""
        self.image, self.caption = (
            (None, None) if self.tabular else columns.choose(self.kinds, image, caption, repo, samples))
        self.samples = {name: _shown(values) for name, values in samples.items()}

    def _looked_at(self, kinds: dict[str, str]) -> dict[str, str]:
        """The kinds, once the first rows were looked at: pictures coded as text, files named and not held, talks."""
        found = dict(kinds)
        for name, kind in kinds.items():
            values = [value for row in self.peeked if (value := _value(row, name)) not in (None, "", [])]
            if not values:
                continue
            if kind == columns.TEXT and all(isinstance(v, str) and coded.is_picture(v) for v in values):
                found[name] = columns.CODED
            elif kind == columns.PICTURE and self.repository is None and all(_names_a_file(v) for v in values):
                found[name] = columns.TEXT
            elif kind == "list" and all(records.texts_of(value) for value in values):
                found[name] = columns.TEXTS
        return found

    def head(self) -> dict[str, Any]:
        """What `hubsource.Rows.head` says."""
        known = [number for number in self.facts.get("splits", {}).values() if number]
        return {"columns": self.kinds, "image": self.image, "caption": self.caption, "table": self.tabular,
                "samples": self.samples, "total": min(sum(known), self.most) if known else 0, **self.facts}

    def rows(self) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Each row as a message, with its picture's bytes. Raises Stop where the stream breaks."""
        left = min(self.most, self.request.get("preview", self.most))
        for split, stream in self.streams.items():
            begun = self._begun.get(split)
            rows = self._read(split, stream.decode(False)) if begun is None else chain(self.peeked, begun)
            for number, row in enumerate(rows, 1):
                if left == 0:
                    return
                left -= 1
                if self.tabular:
                    yield {"line": _plain(row), "number": number}, b""
                else:
                    yield self._row(split, number, row)

    def _read(self, split: str, stream: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        try:
            yield from stream
        except MemoryError:
            raise
        except Exception as error:
            raise Stop(Message("Reading the split {split} broke off: {why}", split=split,
                               why=_first_line(error))) from None

    def _row(self, split: str, number: int, row: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        assert self.image
        message: dict[str, Any] = {"name": f"{split}/{number:06d}", "captions": self._texts(row, self.caption),
                                   "split": meanings.split_of_value(row.get("split")) or (
                                       meanings.split_of_file(split) if "hub" in self.request else ""),
                                   "texts": self._words(row)}
        more = {key: row[key] for key in captions.MORE_KEYS if key in self.kinds and _whole(row.get(key))}
        if more:
            message["more"] = more
        if "preview" in self.request:
            message["values"] = {name: str(_value(row, name))[:SHOWN] for name, kind in self.kinds.items()
                                 if kind not in columns.HOLDS_PICTURES}
        try:
            value = _value(row, self.image)
            if isinstance(value, list):
                message["several"] = len(value)
                value = next((one for one in value if one), None)
            data, path = self._picture(value)
        except Stop as problem:
            return {**message, "problem": str(problem)}, b""
        name = PurePosixPath(path or "").name
        message["name"] = f"{message['name']}{'-' if name else ''}{name[-100:]}"
        return {**message, "size": len(data)}, data

    def _texts(self, row: dict[str, Any], name: str | None) -> list[str]:
        return records.texts_of(_value(row, name), joined=columns.is_tags(name)) or [] if name else []

    def _words(self, row: dict[str, Any]) -> dict[str, list[str]]:
        """The texts of every column of words, so that another can be chosen later; not the longest ones."""
        left, found = MOST_WORDS, {}
        for name, kind in self.kinds.items():
            texts = self._texts(row, name) if kind in (columns.TEXT, columns.TEXTS) else []
            left -= sum(map(len, texts))
            if texts and left >= 0:
                found[name] = texts
        return found

    def _picture(self, value: Any) -> tuple[bytes, str | None]:
        """The coded picture of a row, and the name it has there. Raises Stop."""
        if isinstance(value, str):
            value = {"bytes": coded.decode(value)}
        if isinstance(value, bytes):
            value = {"bytes": value}
        if not isinstance(value, dict):
            raise Stop(Message("the row has no picture"))
        data, path = value.get("bytes"), value.get("path")
        if data is None and path:
            if self.repository is None:
                raise Stop(Message("the row names a file outside its data set"))
            data = self.repository.read(str(path))
        if not data:
            raise Stop(Message("the row has no picture"))
        if len(data) > MAX_FILE:
            raise Stop(Message("larger than {size} MB", size=MAX_FILE >> 20))
        return data, path


class Repository:
    """The files of a Hub data set at one commit, by the paths that its rows give."""

    def __init__(self, where: str, token: str | None):
        from huggingface_hub import HfFileSystem

        self.where, self._files = where, HfFileSystem(token=token or False)

    def read(self, path: str) -> bytes:
        """The bytes of a file of it, or of `zip://name::` in a zip of it. Raises Stop, for any other place too."""
        inner, archive = path.split("::") if path.count("::") == 1 and path.startswith("zip://") else ("", path)
        if not _inside(archive, self.where):
            raise Stop(Message("the row names a file outside its data set"))
        try:
            with ExitStack() as opened:
                file: Any = opened.enter_context(self._files.open(archive.removeprefix("hf://"), "rb"))
                if inner:
                    unpacked = opened.enter_context(zipfile.ZipFile(file))
                    file = opened.enter_context(unpacked.open(inner.removeprefix("zip://")))
                return file.read(MAX_FILE + 1)
        except MemoryError:
            raise
        except Exception as error:  # of the Hub's client or of a zip, of many kinds: it costs this row alone
            raise Stop(Message("cannot be fetched ({why})", why=_first_line(error)[:200])) from None


def _file(path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A parquet or an Arrow file as a stream. Raises Stop."""
    import datasets

    with open(path, "rb") as file:
        kind = "parquet" if file.read(4) == b"PAR1" else "arrow"
    try:
        return {}, {"train": datasets.load_dataset(kind, data_files=[path], split="train", streaming=True)}
    except (ValueError, OSError) as error:
        raise Stop(Message("not a parquet file that can be read ({why})", why=_first_line(error)[:200])) from None


def _value(row: dict[str, Any], name: str | None) -> Any:
    """A column's value; of `struct.member` the member's."""
    outer, _, inner = (name or "").partition(".")
    if name in row or not inner:
        return row.get(name or "")
    value = row.get(outer)
    return value.get(inner) if isinstance(value, dict) else None


def _whole(value: Any) -> bool:
    """Whether a value is a text, a whole number, or a few of them."""
    return isinstance(value, str | int) or isinstance(value, list) and all(type(part) is int for part in value[:4])


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a table without pictures, as JSON: what a picture's column holds is the name of its file."""
    found = {name: value["path"] if _names_a_file(value) else value for name, value in row.items()}
    return {name: value for name, value in records.flat(found) if isinstance(value, str | int | float | None | list)
            and not (isinstance(value, list) and any(isinstance(part, bytes) for part in value))}


def _names_a_file(value: Any) -> bool:
    """Whether a value of a picture's column names a file and does not hold it."""
    return isinstance(value, dict) and value.keys() == {"bytes", "path"} and value["bytes"] is None and bool(
        value["path"])


def _shown(values: list[Any]) -> str:
    fit = (value for value in values if isinstance(value, str | int | float | list) and value not in ("", []))
    return captions.clean(str(next(fit, "")))[0][:80]


def main() -> None:
    """Answer one request."""
    _, requests, answers = limited.enter(memory=MEMORY, file_bytes=FILE_BYTES)
    request = ipc.receive(requests) or {}
    try:
        table = Table(request)
        ipc.send(answers, table.head())
        for message, data in table.rows():
            ipc.send(answers, message)
            answers.write(data)
        ipc.send(answers, {"end": True})
    except (Stop, columns.Unfit) as problem:
        ipc.send(answers, {"error": str(problem)})
    except MemoryError:
        ipc.send(answers, {"error": f"Reading it needs more than {MEMORY >> 30} GB of memory."})
    except ConnectionError as error:
        ipc.send(answers, {"error": f"The Hub cannot be reached: check the network and try again ({error})."})
    except Exception as error:
        ipc.send(answers, {"error": Message("It cannot be read ({kind}: {why}).", kind=type(error).__name__,
                                              why=_first_line(error))})
    answers.flush()
    os._exit(0)  # threads of a broken stream may never end


if __name__ == "__main__":
    main()
