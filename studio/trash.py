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
from typing import Any
from urllib.parse import unquote

from studio import datasets, storage
from studio.folders.runs import Refused, Run
from studio.messages import Message

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
        return KINDS.get(self.place.parent.name, "other") if self.place else "other"

    @property
    def parent(self) -> Path | None:
        """The run that a checkpoint is of, the data set that batches were sent for; None for what stands alone."""
        if self.place is None or self.kind not in ("checkpoint", "batches"):
            return None
        return self.home / Path(*self.place.parts[:2])

    def facts(self) -> dict[str, Any]:
        """Its record, or that of what it is part of, where one is there to read."""
        folder = self.parent or self.path
        files = [folder] if folder.is_file() else [folder / name for name in RECORDS.values()]
        for file in files:
            try:
                found = storage.read_json(file) if file.is_file() else None
            except storage.Corrupt:
                continue
            if isinstance(found, dict):
                return found
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
        files = [self.path] if self.path.is_file() else [
            Path(folder, name) for folder, _, names in os.walk(self.path) for name in names]
        return sum(map(_given_back, files))


def _given_back(path: Path) -> int:
    try:
        stat = path.lstat()
    except FileNotFoundError:  # removed in this moment
        return 0
    return stat.st_size if stat.st_nlink == 1 else 0


def entries(home: Path) -> list[Entry]:
    """Everything in the trash, newest first."""
    folder = home / "trash"
    names = os.listdir(folder) if folder.is_dir() else []
    found = [entry for name in names if (entry := _entry(home, folder / name))]
    return sorted(found, key=lambda entry: (entry.deleted, entry.id), reverse=True)


def find(home: Path, entry_id: str) -> Entry | None:
    """The entry of that id."""
    known = entries(home) if ID.fullmatch(entry_id) else []
    return next((entry for entry in known if entry.id == entry_id), None)


def _entry(home: Path, path: Path) -> Entry | None:
    said = NAME.fullmatch(path.name)
    if said is None:
        return None
    seconds, name, mark, folder = said.groups()
    place = _older(path, name) if folder is None else Path(*map(unquote, folder.split("+")), name)
    return Entry(home, path, f"{seconds}-{mark}", float(seconds), name, place)


def _older(path: Path, name: str) -> Path | None:
    """Where something lay that an older studio put into the trash, by what it holds."""
    return next((Path(folder, name) for folder, record in RECORDS.items() if (path / record).is_file()), None)


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
    run = entry.kind == "checkpoint"
    lock = Run(entry.parent).lock if run else storage.Lock(entry.parent / "import.lock")
    if not lock.acquire():
        raise Refused(Message("the run is still running: stop it first")
                      if run else Message("an import is under way: wait for its end"))
    try:
        if run and storage.is_locked(Run(entry.parent).worker_lock.path):
            raise Refused(Message("the run is still running: stop it first"))
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


class Keeper:
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
        now, passed = time.time() if now is None else now, time.monotonic() if passed is None else passed
        waits = self._waits(now, passed)
        self._looked = now, passed
        storage.sweep_staging(self.trash)
        return 0 if waits else storage.empty_trash(self.trash, now)

    def _waits(self, now: float, passed: float) -> bool:
        """Whether the clock may be wrong. It is kept in a file until when, and whether that was for a `gap`: a studio
        that is seldom there meets one each time, and must empty its trash some day."""
        known = self._known()
        until, gap = known.get("until"), False
        if self._looked is None:
            looked = known.get("looked")
            gap = isinstance(looked, int | float) and abs(now - looked) > DAY
            jumped = gap and not (known.get("gap") and isinstance(until, int | float) and now >= until)
        else:
            jumped = abs((now - self._looked[0]) - (passed - self._looked[1])) > DRIFT
        if jumped:
            until = now + DAY
        elif isinstance(until, int | float) and now < until <= now + DAY:
            gap = bool(known.get("gap"))
        else:
            until = None
        storage.write_cache(self.file, {"looked": now, **({"until": until, "gap": gap} if until else {})})
        return until is not None

    def _known(self) -> dict[str, Any]:
        try:
            found = storage.read_json(self.file)
        except storage.Corrupt:
            return {}
        return found if isinstance(found, dict) else {}
