"""From the append-only log of a data set to its present rows."""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from pathlib import Path
from typing import cast

from studio.datasets.schema import Changes, LogLine, Row, RowChange

ROW_BYTES = 1000  # what a row takes in memory, but for its texts: 620 were measured of one without edits
LEAST_BYTES = 10_000  # what a snapshot counts as, however small
MOST_BYTES = 128 << 20  # of all snapshots that are kept


def _shared(row: Row) -> Row:
    """The row with the texts that all rows have in common kept once: each line of the log brings its own."""
    shared = cast(Row, dict(zip(map(sys.intern, row), row.values(), strict=True)))
    shared["ext"] = sys.intern(row["ext"])
    shared["split"] = sys.intern(row["split"])
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

    def apply(self, entry: LogLine) -> None:
        """Take one line of the log."""
        kind = entry["op"]
        if kind == "add" and entry["import"] in self._committed:
            row = _shared(entry["row"])
            self.rows[row["pid"]] = row
        elif kind == "undo" and self._before:
            self.rows.update(self._before.pop()[1])
        elif kind == "edit":
            self._edit(entry["changes"], entry.get("what", ""))
        elif kind == "captions":
            self._edit({entry.get("pid", ""): {"captions": entry["captions"]}}, kind)
        elif kind == "remove":
            self._edit({entry.get("pid", ""): None}, kind)

    def _edit(self, changes: Changes, what: str) -> None:
        """Change the rows that are there, and remember them as they were for one step of undo."""
        before: dict[str, Row | None] = {}
        for pid, change in changes.items():
            row = self.rows.get(pid)
            if row is not None:
                before[pid] = row
                self.rows[pid] = _changed(row, change)
        if before:
            self._before.append((what, before))

    def taken(self) -> IdAllocator:
        """The picture ids in use, removed rows included."""
        return IdAllocator(self.rows)

    def steps(self) -> Iterator[tuple[LogLine, list[Row]]]:
        """The steps that an undo can take back, the last one first: each as a line of the log, with the rows that there
        were before it."""
        rows = dict(self.rows)
        for what, before in reversed(self._before):
            changes = {pid: _change(row, rows[pid]) for pid, row in before.items() if row is not None}
            rows.update(before)
            yield {"op": "edit", "what": what, "changes": changes}, _present(rows.values())

    def snapshot(self) -> Snapshot:
        """The present rows, and the name of the edit that an undo would take back."""
        return Snapshot(_present(self.rows.values()), undo=self._before[-1][0] if self._before else None)


def _present(rows: Iterable[Row | None]) -> list[Row]:
    """The rows that were not taken out."""
    return [row for row in rows if row is not None]


def _changed(row: Row, change: RowChange | None) -> Row | None:
    """The row after a change of an edit; None where it takes the picture out."""
    if change is None:
        return None
    fields = {**row, **change}
    return cast(Row, {sys.intern(key): value for key, value in fields.items() if value is not None})


def _change(before: Row, after: Row | None) -> RowChange | None:
    """What an edit says that makes `after` of `before`; None where it takes the picture out."""
    if after is None:
        return None
    fields = {**before, **after}
    return cast(RowChange, {key: after.get(key) for key in fields if before.get(key) != after.get(key)})


class IdAllocator:
    """Gives each row an id of its own: the picture's SHA-256, and for further copies of it "-2", "-3"."""

    def __init__(self, pids: Iterable[str]):
        self._seen: Counter[str] = Counter()  # the highest number: one below it may be free again
        for pid in pids:
            image, _, number = pid.partition("-")
            self._seen[image] = max(self._seen[image], int(number or 1))

    def next(self, image: str) -> str:
        """An id that no row has, for one more row of the picture `image`."""
        self._seen[image] += 1
        number = self._seen[image]
        return image if number == 1 else f"{image}-{number}"


class Snapshot:
    """Rows at one moment; shared between threads, never changed."""

    def __init__(self, rows: list[Row], *, undo: str | None = None):
        self.rows = rows
        self.undo = undo  # what an undo would take back
        self.by_pid = {row["pid"]: row for row in rows}
        text_bytes = 0
        for row in rows:
            text_bytes += sum(map(sys.getsizeof, (*row["captions"], row["name"])))
        self.bytes = max(LEAST_BYTES, ROW_BYTES * len(rows) + 2 * text_bytes)  # twice: a search keeps them once more
        self._texts: list[str] | None = None

    def search(self, q: str) -> list[Row]:
        """Rows whose captions or name contain `q`, case ignored."""
        if not q:
            return self.rows
        if self._texts is None:
            self._texts = ["\n".join([*row["captions"], row["name"]]).casefold() for row in self.rows]
        needle = q.casefold()
        return [row for row, text in zip(self.rows, self._texts, strict=True) if needle in text]


class SnapshotCache:
    """The last folded data sets, each with the stamp of the files it was read from: as many as `most` bytes hold. One
    that is larger than that is folded each time."""

    def __init__(self, most: int = MOST_BYTES):
        self._lock = threading.Lock()
        self._most = most
        self._bytes = 0  # of all snapshots that are kept
        self._snapshots: dict[str, tuple[Hashable, Snapshot]] = {}  # the last used at the end
        self._making: dict[str, threading.Lock] = {}

    def get(self, key: str, stamp: Hashable, make: Callable[[], Snapshot]) -> Snapshot:
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

    def _find(self, key: str, stamp: Hashable) -> Snapshot | None:
        """The kept snapshot of `key`, now the last used; None where there is none of this stamp."""
        entry = self._snapshots.get(key)
        if entry is None or entry[0] != stamp:
            return None
        self._snapshots[key] = self._snapshots.pop(key)
        return entry[1]

    def _keep(self, key: str, stamp: Hashable, snapshot: Snapshot) -> None:
        """Keep a snapshot in place of an older one of `key`, and drop the longest unused beyond `most` bytes."""
        if key in self._snapshots:
            _, older = self._snapshots.pop(key)
            self._bytes -= older.bytes
        if snapshot.bytes > self._most:
            return
        self._snapshots[key] = stamp, snapshot
        self._bytes += snapshot.bytes
        while self._bytes > self._most:
            _, unused = self._snapshots.pop(next(iter(self._snapshots)))
            self._bytes -= unused.bytes
