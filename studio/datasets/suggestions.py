"""Captions that a model suggests: they stay beside the data set until a person applies or dismisses them.

    <home>/datasets/<id>/suggestions.jsonl     {"pid", "caption", "model"}, without caption: settled; the last holds
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from studio import storage
from studio.datasets.store import Dataset


def _file(dataset: Dataset) -> Path:
    return dataset.path / "suggestions.jsonl"


def add(dataset: Dataset, lines: Iterable[dict[str, Any]]) -> None:
    """Keep suggestions {pid, caption, model}; a newer one takes the place of an older."""
    data = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
    with storage.Lock(dataset.path / "edit.lock"), open(_file(dataset), "a+b") as file:
        if file.seek(0, os.SEEK_END) and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
            file.write(b"\n")  # a line torn by a kill stays alone
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def settle(dataset: Dataset, pids: Iterable[str]) -> None:
    """Forget the suggestions of these pictures."""
    add(dataset, [{"pid": pid} for pid in pids])


def waiting(dataset: Dataset) -> dict[str, dict[str, Any]]:
    """The suggestions nobody has decided on, by picture, of pictures that are there."""
    found: dict[str, dict[str, Any]] = {}
    rows = dataset.snapshot().by_pid
    try:
        with open(_file(dataset), encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if entry["pid"] in rows:
                    found[entry["pid"]] = entry
    except FileNotFoundError:
        return {}
    return {pid: entry for pid, entry in found.items() if entry.get("caption")}
