"""Captions that a model suggests: they stay beside the data set until a person applies or dismisses them.

    <home>/datasets/<id>/suggestions.jsonl     {"pid", "caption", "model"}, without caption: settled; the last holds
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypedDict

from studio import storage
from studio.datasets.store import Dataset

SMALL = 1 << 16  # bytes below which nothing is left out


class Suggestion(TypedDict, total=False):
    """A line of the file."""

    pid: str
    caption: str  # missing where it is settled
    model: str


def _file(dataset: Dataset) -> Path:
    return dataset.path / "suggestions.jsonl"


def add(dataset: Dataset, lines: Iterable[Mapping[str, object]]) -> None:
    """Keep suggestions {pid, caption, model}; a newer one takes the place of an older."""
    data = "".join(map(_as_line, lines)).encode()
    with storage.Lock(dataset.path / "edit.lock"):
        with open(_file(dataset), "a+b") as file:
            before = file.seek(0, os.SEEK_END)
            if before:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")  # a line torn by a kill stays alone
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        after = before + len(data)
        has_doubled = before.bit_length() < after.bit_length()
        if after > SMALL and has_doubled:
            _shorten(dataset)


def _shorten(dataset: Dataset) -> None:
    """Leave out what newer lines took the place of and what is settled: the file stays within about twice what waits.
    A picture that an undo may bring back keeps its suggestion."""
    storage.write_bytes(_file(dataset), "".join(map(_as_line, _unsettled(dataset).values())).encode())


def _as_line(suggestion: Mapping[str, object]) -> str:
    return json.dumps(suggestion, ensure_ascii=False) + "\n"


def _unsettled(dataset: Dataset) -> dict[str, Suggestion]:
    """The last suggestion of each picture that nobody has decided on, also of pictures that are no longer there."""
    last = {entry["pid"]: entry for entry in _lines(dataset)}
    return {pid: entry for pid, entry in last.items() if entry.get("caption")}


def _lines(dataset: Dataset) -> Iterator[Suggestion]:
    """Every line that is whole, in their order."""
    try:
        with open(_file(dataset), encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    yield json.loads(line)
                except ValueError:
                    continue
    except FileNotFoundError:
        return


def settle(dataset: Dataset, pids: Iterable[str]) -> None:
    """Forget the suggestions of these pictures."""
    add(dataset, [{"pid": pid} for pid in pids])


def waiting(dataset: Dataset) -> dict[str, Suggestion]:
    """The suggestions nobody has decided on, by picture, of pictures that are there."""
    rows = dataset.snapshot().by_pid
    return {pid: entry for pid, entry in _unsettled(dataset).items() if pid in rows}
