"""From the append-only log of a data set to its present rows."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class Fold:
    """The log read in order: `add` (visible once its import is committed), `edit`, `undo`.

    An edit is one step of undo, whatever it changes: `changes` has for each picture its new fields (null takes a field
    away), or null where the picture is taken out. `captions` and `remove` are edits of one picture in older logs.
    """

    def __init__(self, committed: set[str]):
        self.rows: dict[str, Row | None] = {}  # None: removed, its place kept for an undo
        self._committed = committed
        self._before: list[tuple[str, dict[str, Row | None]]] = []  # what each edit was, and the rows before it

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
            self.rows.update(self._before.pop()[1])
        elif kind == "edit":
            self._edit(entry["changes"], entry.get("what", ""))
        elif kind in ("captions", "remove"):
            self._edit({pid: {"captions": entry["captions"]} if kind == "captions" else None}, kind)

    def _edit(self, changes: dict[str, dict[str, Any] | None], what: str) -> None:
        before: dict[str, Row | None] = {}
        for pid, change in changes.items():
            row = self.rows.get(pid)
            if row is not None:
                before[pid] = row
                self.rows[pid] = change and {k: v for k, v in {**row, **change}.items() if v is not None}
        if before:
            self._before.append((what, before))

    def taken(self) -> Taken:
        """The picture ids in use, removed rows included."""
        return Taken(self.rows)

    def snapshot(self) -> Snapshot:
        """The present rows."""
        rows = [row for row in self.rows.values() if row is not None]
        return Snapshot(rows, undo=self._before[-1][0] if self._before else None)


class Taken:
    """Gives each row an id of its own: the picture's SHA-256, and for further copies of it "-2", "-3"."""

    def __init__(self, pids: dict[str, Any]):
        self._seen = Counter(pid.partition("-")[0] for pid in pids)

    def next(self, image: str) -> str:
        self._seen[image] += 1
        return image if self._seen[image] == 1 else f"{image}-{self._seen[image]}"


class Snapshot:
    """Rows at one moment; shared between threads, never changed."""

    def __init__(self, rows: list[Row], *, undo: str | None = None):
        self.rows, self.undo = rows, undo  # what an undo would take back
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


class SnapshotCache:
    """The last folded data sets, each with the stamp of the files it was read from."""

    def __init__(self, size: int = 8):
        self._lock, self._size, self._kept = threading.Lock(), size, dict[str, tuple[Any, Snapshot]]()

    def get(self, key: str, stamp: Any, make: Callable[[], Snapshot]) -> Snapshot:
        """The kept snapshot of `key` where its stamp is still `stamp`, else a new one."""
        with self._lock:
            kept = self._kept.pop(key, None)
            if kept is not None and kept[0] == stamp:
                self._kept[key] = kept
                return kept[1]
        made = make()
        with self._lock:
            self._kept[key] = (stamp, made)
            while len(self._kept) > self._size:
                self._kept.pop(next(iter(self._kept)))
        return made
