"""The trash of a home: what was deleted, whose it was, the way back, and its end after seven days.

What `storage.to_trash` put there is `<unix seconds>-<its name>-<8 hex digits>@<the folder it lay in, with + for />`; of
an older studio it has no @, and where it lay is told from what is in it.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, cast
from urllib.parse import unquote

from studio import datasets, storage
from studio.folders.runs import Refused, Run
from studio.messages import JsonObject, Message

NAME = re.compile(r"(\d{1,12})-(.+)-([0-9a-f]{8})(?:@(.*))?", re.DOTALL)
ID = re.compile(r"\d{1,12}-[0-9a-f]{8}")
DAY = 86400.0
LIFE = storage.TRASH_DAYS * DAY
DRIFT = 3600.0  # seconds that a clock may go another way than the time that passes
RECORDS = {"runs": "run.json", "datasets": "dataset.json", "jobs": "job.json"}  # by the folder that such things lie in
KINDS = {"runs": "run", "datasets": "dataset", "jobs": "job", "presets": "preset", "checkpoints": "checkpoint"}


@dataclass(frozen=True)
class Entry:
    """One thing in the trash. `place` is where it lay, inside the home; None where nobody knows."""

    home: Path
    path: Path
    id: str
    deleted: float
    name: str  # of its file or folder
    place: Path | None

    @property
    def kind(self) -> str:
        """"run", "dataset", "job", "preset", "checkpoint", "batches" (of files that waited for `commit`) or "other"."""
        if self.name == "incoming":
            return "batches"
        return "other" if self.place is None else KINDS.get(self.place.parent.name, "other")

    @property
    def parent(self) -> Path | None:
        """The run that a checkpoint is of, the data set that batches were sent for; None for what stands alone."""
        if self.place is None or self.kind not in ("checkpoint", "batches"):
            return None
        return self.home / Path(*self.place.parts[:2])

    def facts(self) -> JsonObject:
        """Its record, or that of what it is part of; {} where none is there to read."""
        folder = self.parent or self.path
        if folder.is_file():
            return _record(folder) or {}
        for name in RECORDS.values():
            record = _record(folder / name)
            if record is not None:
                return record
        return {}

    @property
    def owner(self) -> str | None:
        """Whose it was; None where nothing says so."""
        owner = self.facts().get("owner")
        return owner if isinstance(owner, str) else None

    @property
    def title(self) -> str:
        """What people called it; a checkpoint and batches go by what they are part of."""
        return str(self.facts().get("name") or "")

    @property
    def gone_at(self) -> float:
        """When it is removed, in unix seconds."""
        return self.deleted + LIFE

    def size(self) -> int:
        """Bytes that its end gives back: files that have other names as well are not among them."""
        if self.path.is_file():
            return _given_back(self.path)
        size = 0
        for folder, _, names in os.walk(self.path):
            for name in names:
                size += _given_back(Path(folder, name))
        return size


def _record(file: Path) -> JsonObject | None:
    """The JSON object in a file; None where there is none."""
    if not file.is_file():
        return None
    try:
        data = storage.read_json(file)
    except storage.Corrupt:
        return None
    return data if isinstance(data, dict) else None


def _given_back(path: Path) -> int:
    """Bytes that are free once a file is removed."""
    try:
        stat = path.lstat()
    except FileNotFoundError:  # removed in this moment
        return 0
    return stat.st_size if stat.st_nlink == 1 else 0


def entries(home: Path) -> list[Entry]:
    """Everything in the trash, newest first."""
    folder = home / "trash"
    if not folder.is_dir():
        return []
    known: list[Entry] = []
    for name in os.listdir(folder):
        entry = _entry(home, folder / name)
        if entry is not None:
            known.append(entry)
    return sorted(known, key=lambda entry: (entry.deleted, entry.id), reverse=True)


def find(home: Path, entry_id: str) -> Entry | None:
    """The entry of that id; None where there is none."""
    if not ID.fullmatch(entry_id):
        return None
    for entry in entries(home):
        if entry.id == entry_id:
            return entry
    return None


def _entry(home: Path, path: Path) -> Entry | None:
    told = NAME.fullmatch(path.name)
    if told is None:
        return None
    seconds, name, mark, folder = told.groups()
    place = _older(path, name) if folder is None else Path(*map(unquote, folder.split("+")), name)
    return Entry(home, path, f"{seconds}-{mark}", float(seconds), name, place)


def _older(path: Path, name: str) -> Path | None:
    """Where something lay that an older studio put into the trash, by what it holds."""
    for folder, record in RECORDS.items():
        if (path / record).is_file():
            return Path(folder, name)
    return None


def restore(entry: Entry) -> None:
    """Put it back where it lay. Raises Refused, saying why that cannot be."""
    if entry.place is None:
        raise Refused(Message("it is not known where this lay before it was deleted, so it cannot be put back"))
    target = entry.home / entry.place
    try:
        with datasets.relying(entry.home), _held(entry):  # what it names is not swept while it moves
            _put_back(entry, target)
    except FileNotFoundError:
        if entry.path.exists():
            raise
        raise Refused(Message("this is not in the trash any more: somebody put it back, or removed it")) from None
    _renew(entry, target)


def _put_back(entry: Entry, target: Path) -> None:
    if entry.kind == "batches" and target.exists():
        for batch in sorted(entry.path.glob("[0-9]*")):
            storage.move(batch, target / batch.name)
        storage.erase(entry.path)
    elif target.exists():
        raise Refused(Message("something else lies there now, so it cannot be put back"))
    else:
        storage.move(entry.path, target)


def _renew(entry: Entry, target: Path) -> None:
    """What is cleared away when it is old counts as new from now on."""
    now = time.time()
    path = {"job": target / "job.json", "batches": target, "dataset": target / "incoming"}.get(entry.kind)
    if path is not None and path.exists():
        os.utime(path, (now, now))


@contextmanager
def _held(entry: Entry) -> Iterator[None]:
    """Nothing works on what the entry is part of meanwhile. Raises Refused."""
    if entry.parent is None:
        yield
        return
    if not entry.parent.is_dir():
        raise Refused(Message("what this was part of is not here any more: put that back first"))
    if entry.kind != "checkpoint":
        with _locked(storage.Lock(entry.parent / "import.lock"), Message("an import is under way: wait for its end")):
            yield
        return
    run = Run(entry.parent)
    busy = Message("the run is still running: stop it first")
    with _locked(run.lock, busy):
        if storage.is_locked(run.worker_lock.path):
            raise Refused(busy)
        yield


@contextmanager
def _locked(lock: storage.Lock, busy: Message) -> Iterator[None]:
    """Hold a lock that is free. Raises Refused with `busy` where it is not."""
    if not lock.acquire():
        raise Refused(busy)
    try:
        yield
    finally:
        lock.release()


def remove(*entries: Entry) -> None:
    """Their end, now. Raises OSError for the first that cannot be removed, after all were tried."""
    errors: list[OSError] = []
    for entry in entries:
        try:
            storage.erase(entry.path)
        except OSError as error:
            errors.append(error)
    if errors:
        raise errors[0]


class _SweeperState(TypedDict, total=False):
    """What the sweeper's file holds; nothing is sure of one that was damaged."""

    looked: object  # the clock's time at the last look
    until: object  # nothing is removed before
    gap: object  # whether that is since no server looked for more than a day


class TrashSweeper:
    """Removes what has lain in the trash of a home for seven days.

    The days are the clock's. Where it seems to have jumped (against the time that passed here, or by more than a day
    between two servers) nothing is removed for a day, in which it may be put right.
    """

    def __init__(self, home: Path):
        self.trash, self.file = home / "trash", home / "cache" / "trash.json"
        self._looked: tuple[float, float] | None = None  # by the clock, and by the time that passes

    def look(self, now: float | None = None, passed: float | None = None) -> int:
        """Remove what is due; returns how many entries went. `now` is the clock's time and `passed` counts seconds
        evenly. Raises OSError."""
        now = time.time() if now is None else now
        passed = time.monotonic() if passed is None else passed
        waits = self._waits(now, passed)
        self._looked = (now, passed)
        storage.sweep_staging(self.trash)
        return 0 if waits else storage.empty_trash(self.trash, now)

    def _waits(self, now: float, passed: float) -> bool:
        """Whether the clock may be wrong. It is kept in a file until when, and whether that was for a `gap`: a studio
        that is seldom there meets one each time, and must empty its trash some day."""
        known = self._known()
        gap = False
        if self._looked is None:
            gap = _is_gap(known, now)
            jumped = gap and not _has_waited(known, now)
        else:
            jumped = abs((now - self._looked[0]) - (passed - self._looked[1])) > DRIFT
        until = known.get("until")
        if jumped:
            until = now + DAY
        elif isinstance(until, int | float) and now < until <= now + DAY:
            gap = bool(known.get("gap"))
        else:
            until = None
        keep: _SweeperState = {"looked": now}
        if until:
            keep |= {"until": until, "gap": gap}
        storage.write_cache(self.file, keep)
        return until is not None

    def _known(self) -> _SweeperState:
        return cast(_SweeperState, _record(self.file) or {})


def _is_gap(known: _SweeperState, now: float) -> bool:
    """Whether the last server looked more than a day before now, or after it."""
    looked = known.get("looked")
    return isinstance(looked, int | float) and abs(now - looked) > DAY


def _has_waited(known: _SweeperState, now: float) -> bool:
    """Whether the trash has been left alone for a day because of a gap."""
    until = known.get("until")
    return bool(known.get("gap")) and isinstance(until, int | float) and now >= until
