"""A Hub data set as a source: what was asked for, checked; a preview; its rows, read in a process of their own."""

from __future__ import annotations

import base64
import dataclasses
import re
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from studio import limited, storage
from studio.datasets.imports.sources import MAX_FILE
from studio.datasets.options import Wrong
from studio.datasets.pictures import workers
from studio.limited import ipc
from studio.messages import Message

REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,199}", re.ASCII)
MOST_ROWS = 100_000
PREVIEW_ROWS = 8
SILENCE = 180.0  # seconds that the Hub may say nothing
PREVIEW_SECONDS = 90.0


@dataclass(frozen=True)
class HubSource:
    """A data set of the Hub. Empty columns are guessed; an empty split takes all. Raises Wrong, in words."""

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
            raise Wrong(Message("{name} is no Hub data set: give its id, such as user/name.",
                                name=repr(self.name[:200])))
        if self.revision and (not REVISION.fullmatch(self.revision) or ".." in self.revision):
            raise Wrong(Message("{name} is no revision: give a branch, tag or commit, or leave it empty.",
                                name=repr(self.revision[:200])))
        for path in (self.data_dir or "", *self.data_files):
            if path.startswith(("/", "~")) or "\\" in path or ":" in path or ".." in path.split("/"):
                raise Wrong(Message("{path} lies outside the data set: give a path or a pattern inside it.",
                                    path=repr(path[:200])))
        if self.max_rows is not None and not 1 <= self.max_rows <= MOST_ROWS:
            raise Wrong(Message("At most {most:,} rows are read, and at least one.", most=MOST_ROWS))

    @classmethod
    def of(cls, wish: dict[str, Any]) -> HubSource:
        """From JSON-like data. Raises Wrong for unknown names and wrong types."""
        kinds = {field.name: str for field in dataclasses.fields(cls)} | {"max_rows": int, "data_files": list | tuple}
        given = {key: value for key, value in wish.items() if value not in (None, "", [])}
        for key, value in given.items():
            if key not in kinds:
                raise Wrong(Message("A Hub source has no {name}; there are: {names}.", name=repr(key[:60]),
                                    names=", ".join(kinds)))
            if key == "data_files" and isinstance(value, str):
                given[key] = value = [value]
            if not isinstance(value, kinds[key]) or isinstance(value, bool):
                raise Wrong(Message("{name} of a Hub source is of the wrong kind.", name=key))
        files = given.pop("data_files", ())
        if not all(isinstance(file, str) for file in files):
            raise Wrong(Message("data_files of a Hub source is a list of paths or patterns."))
        if "name" not in given:
            raise Wrong(Message("A Hub source needs its name, such as user/name."))
        return cls(data_files=tuple(files), **given)

    def wish(self) -> dict[str, Any]:
        """As JSON-like data, without what is empty."""
        found = {key: value for key, value in dataclasses.asdict(self).items() if value}
        return {**found, **({"data_files": list(self.data_files)} if self.data_files else {})}


class Unreadable(Exception):
    """A table that cannot be read; the message is a sentence for a person."""


class Rows:
    """The rows of a table while a limited process reads them: `head` first, then one by one. Close it.

    Its files lie in a folder of their own in `place` until then. `read` is the parquet file, where it is one.
    `head`: {columns: {name: kind}, image, caption, samples, total, splits, configs, sha, private, gated}; a row: {name,
    split, captions, texts, bytes}, or {name, problem}, or for a table of file names {line: {...}}."""

    def __init__(self, place: Path, wish: dict[str, Any], token: str | None = None, read: Sequence[Path] = ()):
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

    def __iter__(self) -> Iterator[dict[str, Any]]:
        assert self._process.stdout
        while (row := self._next(self._process.stdout)) and "end" not in row:
            yield row

    def _next(self, stream: IO[bytes]) -> dict[str, Any] | None:
        """The next message. Raises Unreadable: what it says went wrong, silence, or its death."""
        watch = threading.Timer(SILENCE, self._process.kill)
        watch.start()
        try:
            found = ipc.receive(stream)
            size = found.get("size", 0) if found else 0
            data = stream.read(size) if isinstance(size, int) and 0 <= size <= MAX_FILE else b""
        finally:
            watch.cancel()
        if found is None or len(data) != size:
            silent = watch.finished.is_set() and self._process.wait() == -9
            why = Message("nothing came any more") if silent else Message("damaged")
            raise Unreadable(Message("Reading it broke off ({why}): check the network and try again.", why=why))
        if "error" in found:
            raise Unreadable(found["error"])
        return {**found, "bytes": data} if "size" in found else found

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
    values, thumb (a data: address, or None), problem (or None)}. Raises Unreadable."""
    began = time.monotonic()
    with Rows(home / "cache", {"hub": source.wish(), "preview": PREVIEW_ROWS}, token) as table:
        decoder, found = workers.Worker(table.folder), []
        try:
            for row in table:
                thumb, problem = _thumb(decoder, table.folder, row)
                found.append({"captions": row.get("captions", []), "values": row.get("values", {}), "thumb": thumb,
                              "problem": problem})
                if time.monotonic() - began > PREVIEW_SECONDS:
                    break
        finally:
            decoder.close()
        return {**table.head, "rows": found}


def _thumb(decoder: workers.Worker, folder: Path, row: dict[str, Any]) -> tuple[str | None, str | None]:
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
