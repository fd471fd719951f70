"""Captions that a model suggests: they stay beside the data set until a person applies or dismisses them.

    <home>/datasets/<id>/suggestions.jsonl     {"pid", "caption", "model"}, without caption: settled; the last holds
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from studio import storage
from studio.datasets.store import Dataset

SMALL = 1 << 16  # bytes below which nothing is left out


def _file(dataset: Dataset) -> Path:
    return dataset.path / "suggestions.jsonl"


def add(dataset: Dataset, lines: Iterable[dict[str, Any]]) -> None:
    """Keep suggestions {pid, caption, model}; a newer one takes the place of an older."""
    data = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
    with storage.Lock(dataset.path / "edit.lock"):
        with open(_file(dataset), "a+b") as file:
            before = file.seek(0, os.SEEK_END)
            if before and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
                file.write(b"\n")  # a line torn by a kill stays alone
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if before + len(data) > SMALL and before.bit_length() < (before + len(data)).bit_length():  # it has doubled
            _shorten(dataset)


def _shorten(dataset: Dataset) -> None:
    """Leave out what newer lines took the place of and what is settled: the file stays within about twice what waits.
    A picture that an undo may bring back keeps its suggestion."""
    last = {entry["pid"]: entry for entry in _lines(dataset)}
    kept = [json.dumps(entry, ensure_ascii=False) + "\n" for entry in last.values() if entry.get("caption")]
    storage.write_bytes(_file(dataset), "".join(kept).encode())


def _lines(dataset: Dataset) -> Iterator[dict[str, Any]]:
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


def waiting(dataset: Dataset) -> dict[str, dict[str, Any]]:
    """The suggestions nobody has decided on, by picture, of pictures that are there."""
    rows = dataset.snapshot().by_pid
    found = {entry["pid"]: entry for entry in _lines(dataset) if entry["pid"] in rows}
    return {pid: entry for pid, entry in found.items() if entry.get("caption")}
