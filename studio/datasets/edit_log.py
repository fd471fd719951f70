"""From the append-only log of a data set to its present rows."""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]
ROW_BYTES = 1000  # what a row takes in memory, but for its texts: 620 were measured of one without edits
LEAST_BYTES = 10_000  # what a snapshot counts as, however small
MOST_BYTES = 128 << 20  # of all snapshots that are kept


def _shared(row: Row) -> Row:
    """The row with the texts that all rows have in common kept once: each line of the log brings its own."""
    shared = {sys.intern(key): value for key, value in row.items()}
    for key in ("ext", "split"):
        shared[key] = sys.intern(row[key])
    if row["pid"] == row["image"]:
        shared["pid"] = row["image"]
    return shared


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
            row = _shared(entry["row"])
            self.rows[row["pid"]] = row
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
                self.rows[pid] = change if change is None else {
                    sys.intern(k): v for k, v in {**row, **change}.items() if v is not None}
        if before:
            self._before.append((what, before))

    def taken(self) -> Taken:
        """The picture ids in use, removed rows included."""
        return Taken(self.rows)

    def steps(self) -> Iterator[tuple[dict[str, Any], list[Row]]]:
        """The steps that an undo can take back, the last one first: each as a line of the log, with the rows that there
        were before it."""
        rows = dict(self.rows)
        for what, before in reversed(self._before):
            changes = {pid: _change(row, rows[pid]) for pid, row in before.items() if row is not None}
            rows.update(before)
            yield {"op": "edit", "what": what, "changes": changes}, [row for row in rows.values() if row is not None]

    def snapshot(self) -> Snapshot:
        """The present rows."""
        rows = [row for row in self.rows.values() if row is not None]
        return Snapshot(rows, undo=self._before[-1][0] if self._before else None)


def _change(before: Row, after: Row | None) -> dict[str, Any] | None:
    """What an edit says that makes one of the other."""
    if after is None:
        return None
    return {key: after.get(key) for key in {**before, **after} if before.get(key) != after.get(key)}


class Taken:
    """Gives each row an id of its own: the picture's SHA-256, and for further copies of it "-2", "-3"."""

    def __init__(self, pids: dict[str, Any]):
        self._seen: Counter[str] = Counter()  # the highest number: one below it may be free again
        for image, _, number in (pid.partition("-") for pid in pids):
            self._seen[image] = max(self._seen[image], int(number or 1))

    def next(self, image: str) -> str:
        self._seen[image] += 1
        return image if self._seen[image] == 1 else f"{image}-{self._seen[image]}"


class Snapshot:
    """Rows at one moment; shared between threads, never changed."""

    def __init__(self, rows: list[Row], *, undo: str | None = None):
        self.rows, self.undo = rows, undo  # what an undo would take back
        self.by_pid = {row["pid"]: row for row in rows}
        texts = sum(sys.getsizeof(text) for row in rows for text in (*row["captions"], row["name"]))
        self.bytes = max(LEAST_BYTES, ROW_BYTES * len(rows) + 2 * texts)  # twice: a search keeps them once more
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
    """The last folded data sets, each with the stamp of the files it was read from: as many as `most` bytes hold. One
    that is larger than that is folded each time."""

    def __init__(self, most: int = MOST_BYTES):
        self._lock, self._most, self._bytes = threading.Lock(), most, 0
        self._snapshots = dict[str, tuple[Any, Snapshot]]()
        self._making = dict[str, threading.Lock]()

    def get(self, key: str, stamp: Any, make: Callable[[], Snapshot]) -> Snapshot:
        """The kept snapshot of `key` where its stamp is still `stamp`, else a new one. Of several who ask at once one
        makes it."""
        with self._lock:
            known = self._find(key, stamp)
            if known is not None:
                return known
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                known = self._find(key, stamp)
            snapshot = known or make()
            with self._lock:
                self._making.pop(key, None)
                if known is None:
                    self._keep(key, stamp, snapshot)
        return snapshot

    def _find(self, key: str, stamp: Any) -> Snapshot | None:
        known = self._snapshots.get(key)
        if known is None or known[0] != stamp:
            return None
        self._snapshots[key] = self._snapshots.pop(key)  # now the last used
        return known[1]

    def _keep(self, key: str, stamp: Any, snapshot: Snapshot) -> None:
        before = self._snapshots.pop(key, None)
        self._bytes -= before[1].bytes if before else 0
        if snapshot.bytes > self._most:
            return
        self._snapshots[key] = stamp, snapshot
        self._bytes += snapshot.bytes
        while self._bytes > self._most:
            self._bytes -= self._snapshots.pop(next(iter(self._snapshots)))[1].bytes
