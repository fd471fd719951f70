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

import json
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from studio import storage
from studio.datasets import compacting
from studio.datasets.edit_log import Fold, Snapshot, SnapshotCache
from studio.datasets.naming import relying
from studio.datasets.pictures import crops, workers
from studio.datasets.text import captions as captions_
from studio.folders.work import Refused
from studio.messages import Message

ID = re.compile(r"[0-9a-f]{32}")
ROW_KEYS = ("image", "ext", "width", "height", "captions", "split", "name", "crop", "repeats")
NOT_TOLD = ("imports", "batches", "readings")  # of report.json
INTERRUPTED = Message("The import was interrupted before it finished; nothing of it was kept. Import the files again.")
FULL = Message("The disk became full during the import; nothing of it was kept. Free some space, then import again.")
ADDING = Message("pictures are being added to this data set already: wait until that import has ended")
STILL_WAIT = Message("The import was interrupted before it finished; the files that were sent still wait: import them "
                     "again.")


class NotFound(LookupError):
    """No data set or picture of that id here."""


class ReadOnly(Exception):
    """A change to a data set that cannot be changed; the message says what to do instead."""


def picture_path(home: Path, row: dict[str, Any]) -> Path:
    """Where the stored picture of a row lies."""
    return home / "images" / row["image"][:2] / f"{row['image']}.{row['ext']}"


class Dataset:
    """One data set. Cheap to make; files are read on demand; safe to use from several threads."""

    read_only = False

    def __init__(self, home: Path, id: str):
        self.home, self.id, self.path = home, id, home / "datasets" / id

    def record(self) -> dict[str, Any]:
        """dataset.json: name, owner, created. Raises NotFound for a data set that was deleted."""
        found = storage.read_json(self.path / "dataset.json")
        if not isinstance(found, dict):
            raise NotFound(Message("there is no data set {name}", name=repr(self.id)))
        return found

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
        folders = sorted(self.incoming.glob("[0-9]*"))
        imported = self.commit().get("batches", [])
        found = [(folder.name, storage.read_json(folder / "names.json")) for folder in folders
                 if folder.name not in imported]
        return [(name, names) for name, names in found if names is not None]

    def receive(self, files: list[tuple[str, Path]]) -> int:
        """Let files (relative name, path) wait for `commit`; they are moved. Returns how many wait now."""
        self._writable()
        staging = self.path / f"{storage.STAGING}{uuid.uuid4().hex}"
        staging.mkdir()
        try:
            for number, (_, path) in enumerate(files):
                storage.rename(path, staging / f"{number:06d}")
            (staging / "names.json").write_text(json.dumps([name for name, _ in files]), encoding="utf-8")
            storage.make_folder(self.incoming)
            storage.publish_folder(staging, self.incoming / storage.following(self.incoming))
        except BaseException:
            storage.clear(staging)
            raise
        return sum(len(names) for _, names in self.batches())

    def drop_imported(self) -> None:
        """Remove the batches that the committed report names as imported. Call it holding the import's lock."""
        imported = self.commit().get("batches", [])
        for batch in imported:
            storage.erase(self.incoming / batch)
        if imported:
            storage.sweep_staging(self.incoming)
            storage.erase_empty(self.incoming)

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

    def commit(self) -> dict[str, Any]:
        """report.json as it is on disk; empty before the first import has ended."""
        return storage.read_json(self.path / "report.json") or {}

    def report(self) -> dict[str, Any]:
        """The last import: seen, used, converted (numbers), skipped [{file, reason}], notes, error (None or a
        sentence), done, total; it grows while the import is under way."""
        state = self.state
        found = (storage.read_json(self.path / "progress.json") or {}) if state == "importing" else self.commit()
        # whatever was told of an import before it; one that took the lock after this look began is not cut
        if state != "importing" and self.task_file.exists() and not storage.is_locked(self.lock_file):
            found = {"error": FULL if storage.is_full(self.path) else STILL_WAIT if self.batches() else INTERRUPTED}
        error = INTERRUPTED if state == "failed" and not found else None
        empty = {"seen": 0, "used": 0, "converted": 0, "skipped": [], "notes": [], "done": 0, "total": 0}
        return {**empty, "error": error, **{k: v for k, v in found.items() if k not in NOT_TOLD}}

    def rows(self, offset: int = 0, limit: int | None = None, q: str = "") -> list[dict[str, Any]]:
        """Rows in order, those whose captions or name contain `q` (case ignored); each with its `pid`."""
        found = self.snapshot().search(q)
        return [dict(row) for row in found[offset : None if limit is None else offset + limit]]

    def total(self, q: str = "") -> int:
        """How many rows `rows` finds in all."""
        return len(self.snapshot().search(q))

    def row(self, pid: str) -> dict[str, Any]:
        """One row. `pid` is the picture's SHA-256; a second copy of the same picture has "-2" after it, and so on.
        Raises NotFound."""
        found = self.snapshot().by_pid.get(pid)
        if found is None:
            raise NotFound(Message("there is no picture {name} in this data set", name=repr(pid[:80])))
        return dict(found)

    def picture(self, pid: str) -> Path:
        """The stored picture of a row."""
        return picture_path(self.home, self.row(pid))

    def thumbnail(self, pid: str) -> Path:
        """A picture of at most 256 px; made now where it is missing. Where the disk takes none, the picture itself."""
        row, picture = self.row(pid), self.picture(pid)
        try:
            return workers.ensure_thumb(self.home, row, picture)
        except OSError as error:
            if error.errno not in storage.UNWRITABLE:
                raise
            return picture  # large, and right

    def fingerprint(self) -> str:
        """SHA-256 over what a run trains on: picture, captions, crop and repeats of the training rows, in order."""
        keys = ("image", "captions", "crop", "repeats", "split")
        train = [[row.get(k) for k in keys] for row in self.snapshot().rows if row["split"] == "train"]
        return captions_.digest(train)

    def freeze(self) -> list[dict[str, Any]]:
        """The rows a run keeps, every picture of them in <home>/images. Raises storage.Corrupt for a lost picture."""
        rows = [{k: row[k] for k in ROW_KEYS if k in row} for row in self.snapshot().rows]
        for row in rows:
            if not picture_path(self.home, row).is_file():
                raise storage.Corrupt(Message("the stored picture of {name} is missing; import it again",
                                              name=repr(row["name"])))
        return rows

    def set_captions(self, pid: str, captions: list[str]) -> dict[str, Any]:
        """Replace a picture's captions; returns the new row. Raises NotFound, ReadOnly."""
        clean = [captions_.clean(text)[0] for text in captions] or [""]
        self.row(pid)
        self.edit({pid: {"captions": clean}}, "captions")
        return self.row(pid)

    def set_crop(self, pid: str, crop: list[int] | None) -> dict[str, Any]:
        """Train on a square [x, y, side] of a picture, in its pixels, or on all of it (None); returns the new row.
        Raises NotFound, ReadOnly, ValueError for a square that does not lie in the picture."""
        row = self.row(pid)
        if crop is not None:
            crops.check(row, crop)
        self.edit({pid: {"crop": crop}}, "crop")
        return self.row(pid)

    def edit(self, changes: Mapping[str, dict[str, Any] | None], what: str) -> int:
        """Change fields of pictures (`captions`, `crop`; None takes a field away) or take pictures out (None), as one
        step of undo named `what`; returns how many pictures changed. Raises ReadOnly. Unknown ones are passed over."""
        rows, real = self.snapshot().by_pid, {}
        for pid, change in changes.items():
            row = rows.get(pid)
            if row is not None and (change is None or any(row.get(k) != v for k, v in change.items())):
                real[pid] = change
        if real:
            self._append([{"op": "edit", "what": what, "changes": real}], edit=True)
        return len(real)

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
            report = {"seen": len(rows), "used": len(rows), "converted": 0, "skipped": [],
                      "notes": [Message("Copied from {name}.", name=self.name)], "error": None}
            return _establish(self.home, name, owner, fill=lambda made: made.add_rows(rows, report))

    def add_rows(self, rows: list[dict[str, Any]], report: dict[str, Any], table: bytes | None = None,
                 batches: Iterable[str] = ()) -> tuple[str, list[str]]:
        """Commit an import: the rows become visible when report.json is replaced, all of them or none, and with them
        `batches` count as imported. `table` is the report file by file. Returns the import's id and the rows' pids."""
        before, batch = self.commit().get("imports", []), uuid.uuid4().hex
        taken = self._fold().taken()
        lines = [{"op": "add", "import": batch, "row": {**row, "pid": taken.next(row["image"])}} for row in rows]
        if lines:
            self._append(lines)
        if table is not None:
            storage.write_bytes(self.path / "report.csv", table)
        storage.write_json(self.path / "report.json", {**report, "imports": before + [batch] if rows else before,
                                                       "batches": list(batches) if rows else []})
        return batch, [line["row"]["pid"] for line in lines]

    def suggested_prompts(self) -> list[str]:
        """At most four captions to draw samples from, spread over the training pictures."""
        return captions_.spread([row["captions"][0] for row in self.snapshot().rows if row["split"] == "train"])

    def _writable(self) -> None:
        if self.read_only:
            raise ReadOnly(Message("the data set {name} ships with the studio and cannot be changed: copy it first",
                                   name=repr(self.name)))

    def _append(self, lines: list[dict[str, Any]], edit: bool = False) -> None:
        self._writable()
        with storage.Lock(self.path / "edit.lock"):
            storage.append_lines(self.path / "rows.jsonl", lines)
            if edit:
                compacting.compact(self.path)

    def _fold(self) -> Fold:
        return Fold.read(self.path / "rows.jsonl", set(self.commit().get("imports", [])))

    def snapshot(self) -> Snapshot:
        """All rows at this moment, shared: read them, never change them."""
        stamp = tuple(storage.stamp(self.path / name) for name in ("rows.jsonl", "report.json"))
        return _cache.get(str(self.path), stamp, lambda: self._fold().snapshot())


_cache = SnapshotCache()
_held: dict[Path, storage.Lock] = {}  # imports begun here and not yet handed to their process


def begin(home: Path, name: str, owner: str, source: dict[str, Any] | None = None) -> Dataset:
    """A new, empty data set in state "importing", until `add` has ended (or this process has). `source` is kept as
    where its pictures come from."""
    locks: list[storage.Lock] = []

    def hold(made: Dataset) -> None:
        locks.append(storage.Lock(made.lock_file))
        locks[0].wait()

    try:
        dataset = _establish(home, name, owner, source, hold)
    except BaseException:
        for lock in locks:
            lock.release()
        raise
    _held[dataset.path] = locks[0]
    return dataset


def draft(home: Path, name: str, owner: str) -> Dataset:
    """A new, empty data set in state "receiving": files come in batches, then `commit`."""
    return _establish(home, name, owner, fill=lambda made: made.incoming.mkdir())


def _establish(home: Path, name: str, owner: str, source: dict[str, Any] | None = None,
               fill: Callable[[Dataset], object] = lambda made: None) -> Dataset:
    """A new data set, complete before it appears: `fill` is given it at the place where it is made."""
    dataset, made = Dataset(home, uuid.uuid4().hex), Dataset(home, "")
    made.path = dataset.path.with_name(f"{storage.STAGING}{dataset.id}")
    storage.make_folder(made.path.parent)
    made.path.mkdir()
    try:
        record = {"name": clean_name(name), "owner": owner, "created": time.time()}
        storage.write_json(made.path / "dataset.json", {**record, "source": source} if source else record)
        fill(made)
        storage.publish_folder(made.path, dataset.path)
    except BaseException:
        storage.clear(made.path)
        raise
    return dataset


def take_lock(dataset: Dataset) -> storage.Lock:
    """The import's lock, from `begin` or taken now. Raises Refused when another import holds it."""
    lock = _held.pop(dataset.path, None)
    if lock is None:
        lock = storage.Lock(dataset.lock_file)
        if not lock.acquire():
            raise Refused(ADDING)
    return lock


def release(dataset: Dataset) -> None:
    """Give up an import that `begin` announced."""
    lock = _held.pop(dataset.path, None)
    if lock is not None:
        lock.release()


def clean_name(name: str) -> str:
    """A data set's name as one line of at most 200 characters."""
    return captions_.clean(name)[0][:200] or "Pictures"
