"""Long work is a folder with a supervisor: what a run and a job have in common, and what a job is.

workspace/jobs/<id>/   job.json process.json lock worker.lock exit.json events.jsonl job.log control/ inputs/ results/
                       (who writes what: docs/run-folder.md; the folder of a run: runs.py)
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, Self, cast

from studio import PACKAGE, messages, storage
from studio.errors import Refused, StudioError
from studio.folders import requests
from studio.folders.records import ErrorRecord, ExitRecord, ProcessRecord, WorkRecord
from studio.messages import Message, word
from studio.storage.spare import Spare

ID = re.compile(r"[0-9a-f]{32}")
KIND = re.compile(r"[a-z]+(_[a-z]+)*")
JOB_DAYS = 7  # how long an ended job and its results stay
JOBS = PACKAGE / "jobs"  # one file per kind


Kind = type | UnionType  # of a field of a JSON object


class NotFound(StudioError, LookupError):
    """No work of that id here."""

    code = "not_found"


@dataclass(frozen=True)
class Work:
    """The folder of one piece of long work and the paths in it."""

    path: Path

    folder: ClassVar[str]  # its place in the home
    record_name: ClassVar[str]
    record_fields: ClassVar[dict[str, Kind]]
    worker_lock_name: ClassVar[str]
    log_name: ClassVar[str]
    word: ClassVar[str]  # what people call it
    worker: ClassVar[str]  # what people call its process
    controls: ClassVar[tuple[str, ...]]
    resumable: ClassVar[tuple[str, ...]]

    @property
    def id(self) -> str:
        """32 lowercase hex digits."""
        return self.path.name

    @property
    def home(self) -> Path:
        """The home it lies in."""
        return self.path.parent.parent

    @property
    def record_file(self) -> Path:
        return self.path / self.record_name

    @property
    def process_file(self) -> Path:
        return self.path / "process.json"

    @property
    def exit_file(self) -> Path:
        return self.path / "exit.json"

    @property
    def events_file(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def log_file(self) -> Path:
        return self.path / self.log_name

    @property
    def control(self) -> Path:
        return self.path / "control"

    @property
    def lock(self) -> storage.Lock:
        """Held by the supervisor for its whole life."""
        return storage.Lock(self.path / "lock")

    @property
    def worker_lock(self) -> storage.Lock:
        """Held by the process that does the work (a trainer's rank 0), so that a successor never starts beside it."""
        return storage.Lock(self.path / self.worker_lock_name)

    @property
    def light(self) -> bool:
        """Whether it may run beside anything else: it leaves the accelerator alone and is soon done."""
        return False

    @property
    def lane(self) -> str:
        """Beside what it may run: "light", "away" (its work is done on a rented machine), or one "heavy" at a time."""
        return "light" if self.light else "heavy"

    @property
    def told_by(self) -> tuple[Path, ...]:
        """The files that its state, its events and its record follow from."""
        return self.record_file, self.process_file, self.exit_file, self.events_file

    def change_token(self) -> str:
        """A short text that changes whenever its state, events or record may; nothing is read for it."""
        locks = (self.supervised(), storage.is_locked(self.path / self.worker_lock_name))
        return digest(locks, storage.is_full(self.home), *map(storage.stamp, self.told_by))

    def record(self) -> WorkRecord:
        """run.json or job.json: name, owner, how many attempts were asked for, and more. Raises Corrupt."""
        return cast(WorkRecord, self.facts(self.record_file, self.record_fields))

    def process(self) -> ProcessRecord:
        """process.json of the last attempt a supervisor began; {"attempt": 0} before the first. Raises Corrupt."""
        if not self.process_file.exists():
            return {"attempt": 0}
        return cast(ProcessRecord, self.facts(self.process_file, {"attempt": int}))

    def exit(self) -> ExitRecord | None:
        """exit.json of the last attempt that came to its end, if any did. Raises Corrupt."""
        if not self.exit_file.exists():
            return None
        return cast(ExitRecord, self.facts(self.exit_file, {"attempt": int}))

    def update(self, by_all_means: bool = False, **fields: object) -> None:
        """Change fields of the record; servers and shells wait for each other. `by_all_means`: where the disk is full,
        by the room that is held for the last words. Raises Corrupt, OSError."""
        write = storage.write_bytes
        if by_all_means:
            write = Spare(self.home).write
        with storage.Lock(self.path / "record.lock"):
            write(self.record_file, as_json({**self.record(), **fields}))

    def goes_on(self) -> bool:
        """Whether it goes on by itself once it has paused."""
        return False

    def ended(self) -> None:
        """An attempt has come to its end: remove what nothing has a use for now."""

    def supervised(self) -> bool:
        """Whether the supervisor lives."""
        return storage.is_locked(self.path / "lock")

    def alive(self) -> bool:
        """Whether the supervisor or the working process lives."""
        return self.supervised() or storage.is_locked(self.path / self.worker_lock_name)

    def attempts(self) -> tuple[int, int]:
        """How many attempts were asked for, and the number of the last one a supervisor began."""
        return self.record()["attempt"], self.process()["attempt"]

    def request(self, kind: str, **args: object) -> str:
        """Ask the worker for something at its next step; returns the request's id, which its `control` event bears.
        Raises ValueError for an unknown kind."""
        if kind not in self.controls:
            raise ValueError(f"unknown control {kind!r}; there are: {', '.join(self.controls)}")
        return requests.ask(self.control, kind, args, self.process()["attempt"])

    def requests(self) -> list[tuple[str, str, requests.Args, Path]]:
        """Open requests, oldest first: id, kind, args, and the file (the worker removes it once answered)."""
        return [request[:4] for request in requests.waiting(self.control, self.controls)]

    def earlier_requests(self, attempt: int, began: float) -> set[str]:
        """The ids of open requests that were meant for an attempt before this one, which began at `began`."""
        waiting = requests.waiting(self.control, self.controls)
        return {request.id for request in waiting if request.earlier_than(attempt, began)}

    def kept_requests(self) -> set[str]:
        """The ids of requests that hold, whether they were answered or not."""
        return set()

    @classmethod
    def find(cls, root: Path, id: str) -> Self:
        """The one of that id. Raises NotFound, for anything that is not an id too."""
        if not ID.fullmatch(id) or not (root / cls.folder / id / cls.record_name).is_file():
            raise NotFound(Message("there is no {what} {id}", what=word(cls.word), id=repr(id[:64])))
        return cls(root / cls.folder / id)

    @classmethod
    def every(cls, root: Path) -> list[Self]:
        """All of them, in no order; never reads inside them."""
        try:
            entries = list(os.scandir(root / cls.folder))
        except FileNotFoundError:
            return []
        return [cls(Path(entry.path)) for entry in entries if ID.fullmatch(entry.name) and entry.is_dir()]

    def facts(self, path: Path, needed: Mapping[str, Kind]) -> dict[str, Any]:
        """The JSON object in one of its files, which has the `needed` fields. Raises Corrupt."""
        data = storage.read_json(path)
        if data is None:
            raise storage.Corrupt(Message("{what} {id} has no {name}", what=word(self.word), id=self.id,
                                          name=path.name))
        if not isinstance(data, dict):
            raise storage.Corrupt(Message("{name} of {what} {id} is damaged: it is no object", name=path.name,
                                          what=word(self.word), id=self.id))
        wrong = [name for name, kind in needed.items() if not isinstance(data.get(name), kind)]
        if wrong:
            raise storage.Corrupt(Message("{name} of {what} {id} is damaged: {fields}", name=path.name,
                                          what=word(self.word), id=self.id, fields=", ".join(wrong)))
        return data


class Job(Work):
    """The folder of a job: long work that is not a run. `studio/jobs/<kind>.py` says what it does."""

    folder = "jobs"
    record_name = "job.json"
    record_fields: ClassVar[dict[str, Kind]] = {"kind": str, "args": dict, "name": str, "owner": str,
                                                "created": float | int, "attempt": int, "rank": float | int,
                                                "light": bool}
    worker_lock_name = "worker.lock"
    log_name = "job.log"
    word = "job"
    worker = "job"
    controls = ("cancel",)
    resumable = ()

    @property
    def results(self) -> Path:
        """The folder of what it makes; a file there belongs to the results once a `result` event names it."""
        return self.path / "results"

    @property
    def inputs(self) -> Path:
        """The files it was given to work on, which nothing else takes away; they go when it ends."""
        return self.path / "inputs"

    @property
    def light(self) -> bool:
        """Whether it may run beside anything else."""
        return self.record()["light"]

    def ended(self) -> None:
        """The inputs go."""
        storage.erase(self.inputs)


def _with_nothing_more(new: object) -> None:
    """What fills a new folder where nothing is to be put in."""


def submit(root: Path, kind: str, args: Mapping[str, object], *, name: str, owner: str, light: bool,
           subject: str | None = None, held: float = 0.0, fill: Callable[[Job], None] = _with_nothing_more) -> Job:
    """A new job folder under `root`/jobs, complete before it appears, waiting to be started.

    `light`: it leaves the accelerator alone and runs at once beside anything; any other waits in the queue of runs.
    `subject`: the id of the data set or run it is about, so that it can be found from there. `args` is JSON and never
    a secret. `held`: for so many seconds the queue leaves it to the caller, who starts it. `fill` puts its inputs into
    the folder before it appears. Raises ValueError for an unknown kind.
    """
    if not KIND.fullmatch(kind) or not (JOBS / f"{kind}.py").is_file():
        raise ValueError(f"there is no kind of job {kind!r}")
    job = Job(root / Job.folder / uuid.uuid4().hex)
    now = time.time()
    record = {"kind": kind, "args": args, "name": name, "owner": owner, "subject": subject, "created": now,
              "attempt": 1, "rank": now, "light": light, **left_to_starter(held, now)}

    def fill_staging(staging: Path) -> None:
        fill(Job(staging))

    establish(job.path, {job.record_name: as_json(record)}, ("control", "results"), fill_staging)
    return job


def left_to_starter(seconds: float, now: float) -> dict[str, float]:
    """What a record says where the queue leaves the next attempt to its caller for so many seconds; {} for 0."""
    return {"held_until": now + seconds} if seconds else {}


def establish(path: Path, files: Mapping[str, bytes], folders: Iterable[str],
              fill: Callable[[Path], None] = _with_nothing_more) -> None:
    """Make a folder at `path` with these files and empty folders, complete before it appears; `fill` adds more."""
    storage.make_folder(path.parent)
    staging = path.with_name(f"{storage.STAGING}{path.name}")
    staging.mkdir()
    try:
        for name, data in files.items():
            (staging / name).write_bytes(data)
        for name in folders:
            (staging / name).mkdir()
        fill(staging)
        storage.publish_folder(staging, path)
    except BaseException:
        storage.clear(staging)
        raise


def why_ended(asked: Mapping[str, object]) -> ErrorRecord | None:
    """The error that ended work bears where the studio itself asked for the end (the `args` of that request), in the
    form of any other; None where a person did."""
    if not asked.get("why"):
        return None
    return {"code": str(asked["why"]), "message": str(asked.get("message", "")), "hint": str(asked.get("hint", "")),
            "evidence": ""}


def digest(*parts: object) -> str:
    """A short text that stands for these parts."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=9).hexdigest()


def as_json(data: object) -> bytes:
    """Strict JSON, as the files of a folder hold it."""
    return json.dumps(messages.stored(data), ensure_ascii=False, allow_nan=False, indent=1).encode() + b"\n"


def discard(root: Path, work: Work) -> None:
    """Move ended work to the trash. Raises Refused while it is alive; holds its lock, so that no supervisor begins."""
    lock = work.lock
    if not lock.acquire():
        raise Refused(Message("the {what} is still running: cancel it, or wait until it has ended",
                              what=word(work.word)))
    try:
        if storage.is_locked(work.worker_lock.path):
            raise Refused(Message("a process of the {what} is still there: cancel it, or wait until it has ended",
                                  what=word(work.word)))
        storage.to_trash(work.path, root / "trash")
    finally:
        lock.release()


def sweep_unfinished(root: Path, before: float) -> None:
    """Remove the beginnings of runs and jobs that a server which died left before that moment (unix seconds)."""
    for folder in (root / "runs", root / "jobs"):
        for path in folder.glob(f"{storage.STAGING}*"):
            if path.stat().st_mtime < before:
                storage.clear(path)


def sweep_jobs(root: Path, now: float) -> list[Job]:
    """Move jobs that ended more than JOB_DAYS ago to the trash, and damaged ones as old; returns them."""
    discarded = []
    for job in Job.every(root):
        try:
            changed = [path.stat().st_mtime for path in (job.record_file, job.exit_file) if path.exists()]
            if max(changed, default=now) > now - JOB_DAYS * 86400 or _waits(job):
                continue
            discard(root, job)
        except (Refused, FileNotFoundError):
            continue
        discarded.append(job)
    return discarded


def _waits(job: Job) -> bool:
    try:
        asked, began = job.attempts()
    except storage.Corrupt:
        return False
    return asked > began
