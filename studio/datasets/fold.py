"""From the append-only log of a data set to its present rows."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class Fold:
    """The log read in order: `add` (visible once its import is committed), `captions`, `remove`, `undo`."""

    def __init__(self, committed: set[str]):
        self.rows: dict[str, Row | None] = {}  # None: removed, its place kept for an undo
        self._committed = committed
        self._before: list[tuple[str, Row | None]] = []

    @classmethod
    def read(cls, path: Path, committed: set[str]) -> Fold:
        """Fold the log in `path`; a missing file is an empty log and a torn line is passed over."""
        fold = cls(committed)
        if not path.exists():
            return fold
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue  # only a crash in the middle of a write leaves such a line: it was never acknowledged
                fold.apply(entry)
        return fold

    def apply(self, entry: dict[str, Any]) -> None:
        """Take one line of the log."""
        kind, pid = entry["op"], entry.get("pid", "")
        if kind == "add" and entry["import"] in self._committed:
            self.rows[entry["row"]["pid"]] = entry["row"]
        elif kind == "undo" and self._before:
            pid, row = self._before.pop()
            self.rows[pid] = row
        elif kind in ("captions", "remove") and self.rows.get(pid) is not None:
            row = self.rows[pid]
            self._before.append((pid, row))
            self.rows[pid] = {**(row or {}), "captions": entry["captions"]} if kind == "captions" else None

    def taken(self) -> Taken:
        """The picture ids in use, removed rows included."""
        return Taken(self.rows)

    def snapshot(self) -> Snapshot:
        """The present rows."""
        return Snapshot([row for row in self.rows.values() if row is not None], undoable=bool(self._before))


class Taken:
    """Gives each row an id of its own: the picture's SHA-256, and for further copies of it "-2", "-3"."""

    def __init__(self, pids: dict[str, Any]):
        self._seen = Counter(pid.partition("-")[0] for pid in pids)

    def next(self, image: str) -> str:
        self._seen[image] += 1
        return image if self._seen[image] == 1 else f"{image}-{self._seen[image]}"


class Snapshot:
    """Rows at one moment; shared between threads, never changed."""

    def __init__(self, rows: list[Row], *, undoable: bool = False):
        self.rows, self.undoable = rows, undoable
        self.by_pid = {row["pid"]: row for row in rows}
        self._texts: list[str] | None = None

    def search(self, q: str) -> list[Row]:
        """Rows whose captions or name contain `q`, case ignored."""
        if not q:
            return self.rows
        if self._texts is None:
            self._texts = ["\n".join([*row["captions"], row["name"]]).casefold() for row in self.rows]
        wanted = q.casefold()
        return [row for row, text in zip(self.rows, self._texts, strict=True) if wanted in text]
