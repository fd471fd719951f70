"""A Hub data set as a source: what was asked for, checked; a preview; its rows, read in a process of their own."""

from __future__ import annotations

import base64
import dataclasses
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypedDict, cast

from studio import limited, storage
from studio.datasets.imports.sources import MAX_FILE
from studio.datasets.options import InvalidOptions
from studio.datasets.pictures import workers
from studio.errors import StudioError
from studio.limited import ipc
from studio.messages import JsonObject, Message

REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,199}", re.ASCII)
MOST_ROWS = 100_000
PREVIEW_ROWS = 8
SILENCE = 180.0  # seconds that the Hub may say nothing
PREVIEW_SECONDS = 90.0


@dataclass(frozen=True)
class HubSource:
    """A data set of the Hub. Empty columns are guessed; an empty split takes all. Raises InvalidOptions, in words."""

    name: str
    config: str | None = None
    split: str | None = None
    revision: str | None = None
    data_dir: str | None = None
    data_files: tuple[str, ...] = ()
    image_column: str | None = None
    caption_column: str | None = None
    max_rows: int | None = None

    def __post_init__(self) -> None:
        if not REPO.fullmatch(self.name) or ".." in self.name or "--" in self.name:
            raise InvalidOptions(Message("{name} is no Hub data set: give its id, such as user/name.",
                                         name=repr(self.name[:200])))
        if self.revision and (not REVISION.fullmatch(self.revision) or ".." in self.revision):
            raise InvalidOptions(Message("{name} is no revision: give a branch, tag or commit, or leave it empty.",
                                         name=repr(self.revision[:200])))
        for path in (self.data_dir or "", *self.data_files):
            if _lies_outside(path):
                raise InvalidOptions(Message("{path} lies outside the data set: give a path or a pattern inside it.",
                                             path=repr(path[:200])))
        if self.max_rows is not None and not 1 <= self.max_rows <= MOST_ROWS:
            raise InvalidOptions(Message("At most {most:,} rows are read, and at least one.", most=MOST_ROWS))

    @classmethod
    def of(cls, wish: dict[str, Any]) -> HubSource:
        """From JSON-like data. Raises InvalidOptions for unknown names and wrong types."""
        names = [field.name for field in dataclasses.fields(cls)]
        kinds = dict.fromkeys(names, str) | {"max_rows": int, "data_files": list | tuple}
        wishes = {key: value for key, value in wish.items() if value not in (None, "", [])}
        if isinstance(wishes.get("data_files"), str):
            wishes["data_files"] = [wishes["data_files"]]
        for key, value in wishes.items():
            if key not in kinds:
                raise InvalidOptions(Message("A Hub source has no {name}; there are: {names}.", name=repr(key[:60]),
                                             names=", ".join(kinds)))
            if not isinstance(value, kinds[key]) or isinstance(value, bool):
                raise InvalidOptions(Message("{name} of a Hub source is of the wrong kind.", name=key))
        files = wishes.pop("data_files", ())
        if not all(isinstance(file, str) for file in files):
            raise InvalidOptions(Message("data_files of a Hub source is a list of paths or patterns."))
        if "name" not in wishes:
            raise InvalidOptions(Message("A Hub source needs its name, such as user/name."))
        return cls(data_files=tuple(files), **wishes)

    def wish(self) -> JsonObject:
        """As JSON-like data, without what is empty."""
        wish: JsonObject = {key: value for key, value in dataclasses.asdict(self).items() if value}
        if self.data_files:
            wish["data_files"] = list(self.data_files)
        return wish


def _lies_outside(path: str) -> bool:
    """Whether a path or pattern may lead out of the folder that it is meant in."""
    return path.startswith(("/", "~")) or "\\" in path or ":" in path or ".." in path.split("/")


class TableRow(TypedDict, total=False):
    """A row that was read: of a table of pictures {name, split, captions, texts} with `bytes`, or `problem`; of a table
    of file names {line, number}. `end` is behind the last."""

    name: str
    split: str
    captions: list[str]
    texts: dict[str, list[str]]  # of every column of words
    more: JsonObject  # captions.MORE_KEYS
    values: dict[str, str]  # for a preview
    several: int  # pictures in the row, of which the first was taken
    size: int  # of `bytes`, which follow the message
    bytes: bytes
    problem: str
    line: JsonObject
    number: int
    end: bool


class UnreadableTable(StudioError):
    """A table that cannot be read; the message is a sentence for a person."""


class Rows:
    """The rows of a table while a limited process reads them: `head` first, then one by one. Close it.

    Its files lie in a folder of their own in `place` until then. `read` is the parquet file, where it is one.
    `head`: {columns: {name: kind}, image, caption, samples, total, splits, configs, sha, private, gated}."""

    def __init__(self, place: Path, wish: Mapping[str, object], token: str | None = None, read: Sequence[Path] = ()):
        self.folder = place / f"{storage.STAGING}{uuid.uuid4().hex}"
        self.folder.mkdir(parents=True)
        self._limited = limited.LimitedProcess("studio.datasets.tabular.tablereading", self.folder, read,
                                               network="hub" in wish, settings=_settings(self.folder))
        try:
            self._process = self._limited.started()
            assert self._process.stdin and self._process.stdout
            ipc.send(self._process.stdin, {**wish, "token": token})
            self.head = self._next(self._process.stdout) or {}
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[TableRow]:
        assert self._process.stdout
        row = self._next(self._process.stdout)
        while row and "end" not in row:
            yield cast("TableRow", row)
            row = self._next(self._process.stdout)

    def _next(self, stream: IO[bytes]) -> dict[str, Any] | None:
        """The next message. Raises UnreadableTable: what it says went wrong, silence, or its death."""
        watch = threading.Timer(SILENCE, self._process.kill)
        watch.start()
        data = b""
        try:
            message = ipc.receive(stream)
            size = (message or {}).get("size", 0)
            if isinstance(size, int) and 0 <= size <= MAX_FILE:
                data = stream.read(size)
        finally:
            watch.cancel()
        if message is None or len(data) != size:
            silent = watch.finished.is_set() and self._process.wait() == -9
            why = Message("nothing came any more") if silent else Message("damaged")
            raise UnreadableTable(Message("Reading it broke off ({why}): check the network and try again.", why=why))
        if "error" in message:
            raise UnreadableTable(message["error"])
        if "size" in message:
            message["bytes"] = data
        return message

    def close(self) -> None:
        """End the process and remove what it left."""
        self._limited.close()
        storage.clear(self.folder)

    def __enter__(self) -> Rows:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def preview(home: Path, source: HubSource, token: str | None = None) -> dict[str, Any]:
    """What is there before anything large is fetched: the head of `Rows`, and `rows`: the first few, each {captions,
    values, thumb (a data: address, or None), problem (or None)}. Raises UnreadableTable."""
    began = time.monotonic()
    with Rows(home / "cache", {"hub": source.wish(), "preview": PREVIEW_ROWS}, token) as table:
        decoder = workers.Worker(table.folder)
        shown: list[JsonObject] = []
        try:
            for row in table:
                thumb, problem = _thumb(decoder, table.folder, row)
                shown.append({"captions": row.get("captions", []), "values": row.get("values", {}), "thumb": thumb,
                              "problem": problem})
                if time.monotonic() - began > PREVIEW_SECONDS:
                    break
        finally:
            decoder.close()
        return {**table.head, "rows": shown}


def _thumb(decoder: workers.Worker, folder: Path, row: TableRow) -> tuple[str | None, str | None]:
    """The picture of a row as a data: address, and why there is none."""
    if "bytes" not in row:
        return None, row.get("problem")
    (folder / "spool").write_bytes(row["bytes"])
    problem = decoder.thumbnail(folder / "spool", "thumb").get("problem")
    if problem:
        return None, problem
    return "data:image/webp;base64," + base64.b64encode((folder / "thumb").read_bytes()).decode(), None


def _settings(folder: Path) -> dict[str, str]:
    """No saved token, no torch, and no cache but its own, which goes when it ends."""
    return {"HF_HOME": str(folder / "hub"), "HF_HUB_DISABLE_TELEMETRY": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1", "USE_TORCH": "0", "USE_TF": "0", "USE_JAX": "0"}
