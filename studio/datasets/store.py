"""The picture store: a data set is a folder of rows over pictures that all data sets and runs share.

    <home>/datasets/<id>/dataset.json   name, owner, created
                         rows.jsonl     log of rows and edits, folded to the present rows; only appended to, now and
                                        then written anew (compacting.py)
                         report.json    the last import's report; replacing it is what commits an import
                         report.csv     the same, file by file
                         incoming/      batches of files that wait for `commit`, each a folder with names.json
                         incoming.json  what the import under way brings in; without one, the import that was cut
                         import.lock    held while an import is under way       edit.lock   held while the log grows
    <home>/images/ab/<sha256>.<ext>     normalised pictures, named by the SHA-256 of the stored file's bytes
    <home>/cache/thumbs/ab/<sha256>.webp
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterable
from operator import itemgetter
from pathlib import Path
from typing import cast

from studio import storage
from studio.datasets import compacting
from studio.datasets.edit_log import Fold, Snapshot, SnapshotCache
from studio.datasets.imports import uploads
from studio.datasets.imports.importlock import announce, release
from studio.datasets.pictures import crops, workers
from studio.datasets.references import relying
from studio.datasets.rows import alters, frozen, picture_path, trained_on
from studio.datasets.schema import Changes, ImportReport, LogLine, Manifest, Row, RowChange
from studio.datasets.text import captions as captions_
from studio.errors import StudioError
from studio.messages import JsonObject, Message

ID = re.compile(r"[0-9a-f]{32}")
INTERRUPTED = Message("The import was interrupted before it finished; nothing of it was kept. Import the files again.")
FULL = Message("The disk became full during the import; nothing of it was kept. Free some space, then import again.")
STILL_WAIT = Message("The import was interrupted before it finished; the files that were sent still wait: import them "
                     "again.")


class NotFound(StudioError, LookupError):
    """No data set or picture of that id here."""


class ReadOnly(StudioError):
    """A change to a data set that cannot be changed; the message says what to do instead."""


class Dataset:
    """One data set. Cheap to make; files are read on demand; safe to use from several threads."""

    read_only = False

    def __init__(self, home: Path, id: str):
        self.home = home
        self.id = id
        self.path = home / "datasets" / id

    def record(self) -> Manifest:
        """dataset.json: name, owner, created. Raises NotFound for a data set that was deleted."""
        record = storage.read_json(self.path / "dataset.json")
        if not isinstance(record, dict):
            raise NotFound(Message("there is no data set {name}", name=repr(self.id)))
        return cast(Manifest, record)

    @property
    def name(self) -> str:
        return self.record()["name"]

    @property
    def owner(self) -> str:
        return self.record()["owner"]

    @property
    def created(self) -> float:
        return self.record()["created"]

    @property
    def lock_file(self) -> Path:
        """Locked for as long as an import is under way."""
        return self.path / "import.lock"

    @property
    def state(self) -> str:
        """"importing", "ready", "receiving" (files wait for `commit`), or "failed" (nothing usable, or an import that
        was interrupted)."""
        if storage.is_locked(self.lock_file):
            return "importing"
        if self.commit().get("imports"):
            return "ready"
        return "receiving" if self.incoming.is_dir() else "failed"

    @property
    def incoming(self) -> Path:
        """Where batches of files wait."""
        return self.path / "incoming"

    @property
    def task_file(self) -> Path:
        """What an import brings in: there from before its process starts until it has committed."""
        return self.path / "incoming.json"

    def batches(self) -> list[tuple[str, list[str]]]:
        """The waiting batches in the order they came: the folder's name, and the names of its files 000000, ..."""
        return uploads.waiting(self.incoming, self.commit().get("batches", []))

    def receive(self, files: list[tuple[str, Path]]) -> int:
        """Let files (relative name, path) wait for `commit`; they are moved. Returns how many wait now."""
        self._writable()
        uploads.receive(self.incoming, files)
        return sum(len(names) for _, names in self.batches())

    def drop_imported(self) -> None:
        """Remove the batches that the committed report names as imported. Call it holding the import's lock."""
        uploads.drop(self.incoming, self.commit().get("batches", []))

    def cancel(self, why: str = "") -> bool:
        """Ask an import under way to end, of which nothing is kept; False when there is none. `why` is what its report
        says then, where the studio itself asks."""
        if not storage.is_locked(self.lock_file):
            return False
        try:
            storage.write_bytes(self.path / "cancel", why.encode())
        except OSError as error:
            if error.errno not in storage.FULL:
                raise
            (self.path / "cancel").touch()  # the name says enough, and needs no room
        return True

    @property
    def count(self) -> int:
        """How many pictures there are."""
        return len(self.snapshot().rows)

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to take back."""
        return self.snapshot().undo is not None

    @property
    def last_edit(self) -> str | None:
        """What an undo would take back, as the edit was named."""
        return self.snapshot().undo

    def commit(self) -> ImportReport:
        """report.json as it is on disk; empty before the first import has ended."""
        return storage.read_json(self.path / "report.json") or {}

    def report(self) -> ImportReport:
        """The last import: seen, used, converted (numbers), skipped [{file, reason}], notes, error (None or a
        sentence), done, total; it grows while the import is under way."""
        empty: ImportReport = {"seen": 0, "used": 0, "converted": 0, "skipped": [], "notes": [], "done": 0,
                               "total": 0, "error": None}
        told = self._current_report()
        told.pop("imports", None)  # ours alone, as the next two
        told.pop("batches", None)
        told.pop("readings", None)
        return {**empty, **told}

    def _current_report(self) -> ImportReport:
        """What the import under way, the one that was cut, or else the last one tells of itself."""
        state = self.state
        if state == "importing":
            return storage.read_json(self.path / "progress.json") or {}
        # whatever was told of an import before it; one that took the lock after this look began is not cut
        if self.task_file.exists() and not storage.is_locked(self.lock_file):
            return {"error": self._why_cut()}
        report = self.commit()
        if state == "failed" and not report:
            return {"error": INTERRUPTED}
        return report

    def _why_cut(self) -> Message:
        """Why an import ended before it committed, as far as the disk tells."""
        if storage.is_full(self.path):
            return FULL
        if self.batches():
            return STILL_WAIT
        return INTERRUPTED

    def rows(self, offset: int = 0, limit: int | None = None, q: str = "") -> list[Row]:
        """Rows in order, those whose captions or name contain `q` (case ignored); each with its `pid`."""
        end = None if limit is None else offset + limit
        return [row.copy() for row in self.snapshot().search(q)[offset:end]]

    def total(self, q: str = "") -> int:
        """How many rows `rows` finds in all."""
        return len(self.snapshot().search(q))

    def row(self, pid: str) -> Row:
        """One row. `pid` is the picture's SHA-256; a second copy of the same picture has "-2" after it, and so on.
        Raises NotFound."""
        row = self.snapshot().by_pid.get(pid)
        if row is None:
            raise NotFound(Message("there is no picture {name} in this data set", name=repr(pid[:80])))
        return row.copy()

    def picture(self, pid: str) -> Path:
        """The stored picture of a row."""
        return picture_path(self.home, self.row(pid))

    def thumbnail(self, pid: str) -> Path:
        """A picture of at most 256 px; made now where it is missing. Where the disk takes none, the picture itself."""
        row = self.row(pid)
        picture = self.picture(pid)
        try:
            return workers.ensure_thumb(self.home, row, picture)
        except OSError as error:
            if error.errno not in storage.UNWRITABLE:
                raise
            return picture  # large, and right

    def fingerprint(self) -> str:
        """SHA-256 over what a run trains on: picture, captions, crop and repeats of the training rows, in order."""
        return captions_.digest(list(map(trained_on, self._training_rows())))

    def freeze(self) -> list[Row]:
        """The rows a run keeps, every picture of them in <home>/images. Raises storage.Corrupt for a lost picture."""
        rows = list(map(frozen, self.snapshot().rows))
        for row in rows:
            if not picture_path(self.home, row).is_file():
                raise storage.Corrupt(Message("the stored picture of {name} is missing; import it again",
                                              name=repr(row["name"])))
        return rows

    def set_captions(self, pid: str, captions: list[str]) -> Row:
        """Replace a picture's captions; returns the new row. Raises NotFound, ReadOnly."""
        clean = [captions_.clean(text)[0] for text in captions] or [""]
        self.row(pid)
        self.edit({pid: {"captions": clean}}, "captions")
        return self.row(pid)

    def set_crop(self, pid: str, crop: list[int] | None) -> Row:
        """Train on a square [x, y, side] of a picture, in its pixels, or on all of it (None); returns the new row.
        Raises NotFound, ReadOnly, ValueError for a square that does not lie in the picture."""
        row = self.row(pid)
        if crop is not None:
            crops.check(row, crop)
        self.edit({pid: {"crop": crop}}, "crop")
        return self.row(pid)

    def edit(self, changes: Changes, what: str) -> int:
        """Change fields of pictures (`captions`, `crop`; None takes a field away) or take pictures out (None), as one
        step of undo named `what`; returns how many pictures changed. Raises ReadOnly. Unknown ones are passed over."""
        rows = self.snapshot().by_pid
        effective: dict[str, RowChange | None] = {}
        for pid, change in changes.items():
            row = rows.get(pid)
            if row is not None and alters(change, row):
                effective[pid] = change
        if effective:
            self._append([{"op": "edit", "what": what, "changes": effective}], edit=True)
        return len(effective)

    def remove(self, pid: str) -> None:
        """Take a picture out of the data set (`undo` brings it back). Raises NotFound, ReadOnly."""
        self.row(pid)
        self.edit({pid: None}, "remove")

    def undo(self) -> bool:
        """Take the last edit back; False when there is none. Raises ReadOnly."""
        if not self.can_undo:
            return False
        self._append([{"op": "undo"}], edit=True)
        return True

    def rename(self, name: str) -> None:
        """Give the data set another name. Raises ReadOnly."""
        self._writable()
        storage.write_json(self.path / "dataset.json", {**self.record(), "name": clean_name(name)})

    def delete(self) -> None:
        """Move the data set to the trash; an import under way ends. Its pictures stay, for the runs that use them."""
        self._writable()
        release(self)
        storage.to_trash(self.path, self.home / "trash")

    def copy(self, name: str, owner: str) -> Dataset:
        """A data set of one's own with the same rows, ready to be edited."""
        with relying(self.home):
            rows = self.freeze()
            report: ImportReport = {"seen": len(rows), "used": len(rows), "converted": 0, "skipped": [],
                                    "notes": [Message("Copied from {name}.", name=self.name)], "error": None}
            return _establish(self.home, name, owner, fill=lambda copied: copied.add_rows(rows, report))

    def add_rows(self, rows: list[Row], report: ImportReport, table: bytes | None = None,
                 batches: Iterable[str] = ()) -> tuple[str, list[str]]:
        """Commit an import: the rows become visible when report.json is replaced, all of them or none, and with them
        `batches` count as imported. `table` is the report file by file. Returns the import's id and the rows' pids."""
        import_id = uuid.uuid4().hex
        imports = self.commit().get("imports", [])
        taken = self._fold().taken()
        pids = list(map(taken.next, map(itemgetter("image"), rows)))
        lines: list[LogLine] = []
        for row, pid in zip(rows, pids, strict=True):
            lines.append({"op": "add", "import": import_id, "row": {**row, "pid": pid}})
        if lines:
            self._append(lines)
            imports = [*imports, import_id]
        else:
            batches = ()  # nothing of them came in: they still wait
        if table is not None:
            storage.write_bytes(self.path / "report.csv", table)
        storage.write_json(self.path / "report.json", {**report, "imports": imports, "batches": list(batches)})
        return import_id, pids

    def suggested_prompts(self) -> list[str]:
        """At most four captions to draw samples from, spread over the training pictures."""
        return captions_.spread(row["captions"][0] for row in self._training_rows())

    def _training_rows(self) -> list[Row]:
        return [row for row in self.snapshot().rows if row["split"] == "train"]

    def _writable(self) -> None:
        if self.read_only:
            raise ReadOnly(Message("the data set {name} ships with the studio and cannot be changed: copy it first",
                                   name=repr(self.name)))

    def _append(self, lines: list[LogLine], edit: bool = False) -> None:
        self._writable()
        with storage.Lock(self.path / "edit.lock"):
            storage.append_lines(self.path / "rows.jsonl", lines)
            if edit:
                compacting.compact(self.path)

    def _fold(self) -> Fold:
        return Fold.read(self.path / "rows.jsonl", set(self.commit().get("imports", [])))

    def snapshot(self) -> Snapshot:
        """All rows at this moment, shared: read them, never change them."""
        stamp = storage.stamp(self.path / "rows.jsonl"), storage.stamp(self.path / "report.json")
        return _cache.get(str(self.path), stamp, lambda: self._fold().snapshot())


_cache = SnapshotCache()


def begin(home: Path, name: str, owner: str, source: JsonObject | None = None) -> Dataset:
    """A new, empty data set in state "importing", until `add` has ended (or this process has). `source` is kept as
    where its pictures come from."""
    locks: list[storage.Lock] = []

    def hold(dataset: Dataset) -> None:
        lock = storage.Lock(dataset.lock_file)
        locks.append(lock)
        lock.wait()

    try:
        dataset = _establish(home, name, owner, source, hold)
    except BaseException:
        for lock in locks:
            lock.release()
        raise
    announce(dataset, locks[0])
    return dataset


def draft(home: Path, name: str, owner: str) -> Dataset:
    """A new, empty data set in state "receiving": files come in batches, then `commit`."""
    return _establish(home, name, owner, fill=lambda dataset: dataset.incoming.mkdir())


def _establish(home: Path, name: str, owner: str, source: JsonObject | None = None,
               fill: Callable[[Dataset], object] | None = None) -> Dataset:
    """A new data set, complete before it appears: `fill` is given it at the place where it is staged."""
    dataset = Dataset(home, uuid.uuid4().hex)
    staged = Dataset(home, "")
    staged.path = dataset.path.with_name(f"{storage.STAGING}{dataset.id}")
    storage.make_folder(staged.path.parent)
    staged.path.mkdir()
    try:
        record: Manifest = {"name": clean_name(name), "owner": owner, "created": time.time()}
        if source:
            record["source"] = source
        storage.write_json(staged.path / "dataset.json", record)
        if fill is not None:
            fill(staged)
        storage.publish_folder(staged.path, dataset.path)
    except BaseException:
        storage.clear(staged.path)
        raise
    return dataset


def clean_name(name: str) -> str:
    """A data set's name as one line of at most 200 characters."""
    return captions_.clean(name)[0][:200] or "Pictures"
