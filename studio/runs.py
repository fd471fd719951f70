"""A run is a folder; this is the only file that knows its layout.

workspace/runs/<id>/   config.json dataset.jsonl run.json launch.yaml process.json lock trainer.lock exit.json
events.jsonl train.log control/ samples/ checkpoints/       (who writes what: ARCHITECTURE.md)
"""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio import config as config_
from studio import events, storage

ID = re.compile(r"[0-9a-f]{32}")
RECORD = {"name": str, "owner": str, "created": float | int, "attempt": int, "rank": float | int}
home = storage.home
BLOCK = 4 << 20  # bytes of events parsed at once: a long run must not be in memory as objects
CONTROLS = ("stop", "cancel", "pause", "save", "sample")
RESUMABLE = ("paused", "stopped", "cancelled", "interrupted", "failed")
NOT_RESUMABLE = {
    "queued": "the run is already waiting in the queue",
    "finished": "the run finished all its steps: start a new run to train further",
    "diverged": "the run diverged, so its weights lead nowhere: start a new run with a lower learning rate",
}


class NotFound(LookupError):
    """No run of that id here."""


class Refused(Exception):
    """A request that does not fit the run's state; the message says what the state is and what can be done."""


@dataclass(frozen=True)
class Run:
    """One run's folder and the paths in it."""

    path: Path

    @property
    def id(self) -> str:
        """32 lowercase hex digits."""
        return self.path.name

    @property
    def config_file(self) -> Path:
        return self.path / "config.json"

    @property
    def rows_file(self) -> Path:
        return self.path / "dataset.jsonl"

    @property
    def record_file(self) -> Path:
        return self.path / "run.json"

    @property
    def launch_file(self) -> Path:
        return self.path / "launch.yaml"

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
        return self.path / "train.log"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def control(self) -> Path:
        return self.path / "control"

    @property
    def lock(self) -> storage.Lock:
        """Held by the supervisor for the run's whole life."""
        return storage.Lock(self.path / "lock")

    @property
    def trainer_lock(self) -> storage.Lock:
        """Held by the trainer's rank 0, so that a successor never starts beside it."""
        return storage.Lock(self.path / "trainer.lock")

    def config(self) -> config_.Config:
        """The run's config. Raises ConfigError, or Corrupt for an unreadable file."""
        return config_.load(_facts(self.config_file, {}))

    def rows(self) -> list[dict[str, Any]]:
        """The frozen rows this run trains on, in order."""
        with open(self.rows_file, encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def record(self) -> dict[str, Any]:
        """run.json: name, owner, created, parent, attempt (how many were asked for), rank (place in the queue)."""
        return _facts(self.record_file, RECORD)

    def process(self) -> dict[str, Any]:
        """process.json of the last attempt a supervisor began; {"attempt": 0} before the first. Raises Corrupt."""
        return _facts(self.process_file, {"attempt": int}) if self.process_file.exists() else {"attempt": 0}

    def exit(self) -> dict[str, Any] | None:
        """exit.json of the last attempt that came to its end, if any did. Raises Corrupt."""
        return _facts(self.exit_file, {"attempt": int}) if self.exit_file.exists() else None

    def update(self, **fields: Any) -> None:
        """Change fields of run.json. The server is its only writer."""
        with _records:
            storage.write_json(self.record_file, {**self.record(), **fields})

    def supervised(self) -> bool:
        """Whether the supervisor lives."""
        return storage.is_locked(self.path / "lock")

    def alive(self) -> bool:
        """Whether the supervisor or the trainer's rank 0 lives."""
        return self.supervised() or storage.is_locked(self.path / "trainer.lock")

    def attempts(self) -> tuple[int, int]:
        """How many attempts were asked for, and the number of the last one a supervisor began."""
        return self.record()["attempt"], self.process()["attempt"]

    def valid_checkpoints(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Checkpoint folders whose manifest is readable, newest first, with their manifests (hashes not compared)."""
        found = [(int(p.name.rpartition("-")[2]), p) for p in self.checkpoints.glob("checkpoint-*")
                 if p.name.rpartition("-")[2].isdecimal()]
        for _, path in sorted(found, reverse=True):
            try:
                yield path, storage.manifest(path)
            except storage.Corrupt:
                continue

    def request(self, kind: str, **args: Any) -> str:
        """Ask the trainer for something at its next step; returns the request's id, which its `control` event bears."""
        if kind not in CONTROLS:
            raise ValueError(f"unknown control {kind!r}; there are: {', '.join(CONTROLS)}")
        self.control.mkdir(exist_ok=True)
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
        storage.write_json(self.control / f"{name}.json", {"kind": kind, "args": args})
        return name

    def requests(self) -> list[tuple[str, str, dict[str, Any], Path]]:
        """Open requests, oldest first: id, kind, args, and the file (the trainer removes it once answered)."""
        found = []
        for path in sorted(self.control.glob("*.json")) if self.control.is_dir() else []:
            try:
                data = storage.read_json(path)
            except storage.Corrupt:
                data = None
            if isinstance(data, dict) and data.get("kind") in CONTROLS:
                found.append((path.stem, data["kind"], data.get("args") or {}, path))
        return found


def create(root: Path, *, name: str, owner: str, config: config_.Config, rows: Iterable[dict[str, Any]],
           parent: dict[str, Any] | None = None, extra: dict[str, Any] | None = None) -> Run:
    """A new run folder under `root`/runs, complete before it appears, waiting in the queue.

    `config` is resolved; `rows` are the frozen rows. `extra` goes into run.json (the data set's name and fingerprint).
    """
    runs = root / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    run = Run(runs / uuid.uuid4().hex)
    staging = runs / f"{storage.STAGING}{run.id}"
    staging.mkdir()
    now = time.time()
    record = {"name": name, "owner": owner, "created": now, "parent": parent, "attempt": 1, "rank": now,
              "backend": "local", **(extra or {})}
    try:
        storage.write_json(staging / "config.json", config_.dump(config))
        lines = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
        storage.write_bytes(staging / "dataset.jsonl", lines.encode())
        storage.write_json(staging / "run.json", record)
        for folder in ("control", "samples", "checkpoints"):
            (staging / folder).mkdir()
        storage.fsync_path(staging)
        os.rename(staging, run.path)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    storage.fsync_path(runs)
    return run


def find(root: Path, run_id: str) -> Run:
    """The run of that id. Raises NotFound, for anything that is not an id too."""
    if not ID.fullmatch(run_id) or not (root / "runs" / run_id / "run.json").is_file():
        raise NotFound(f"there is no run {run_id[:64]!r}")
    return Run(root / "runs" / run_id)


def every(root: Path) -> list[Run]:
    """All runs, in no order; never reads inside them."""
    try:
        entries = list(os.scandir(root / "runs"))
    except FileNotFoundError:
        return []
    return [Run(Path(e.path)) for e in entries if ID.fullmatch(e.name) and e.is_dir()]


def delete(root: Path, run: Run) -> None:
    """Move a run to the trash. Raises Refused while it is alive; holds its lock, so that no supervisor begins now."""
    lock = run.lock
    if not lock.acquire():
        raise Refused("the run is still running: cancel it, or wait until it has ended")
    try:
        if storage.is_locked(run.trainer_lock.path):
            raise Refused("the run's training process is still there: cancel it, or wait until it has ended")
        storage.to_trash(run.path, root / "trash")
    finally:
        lock.release()


def resume(run: Run, reader: Reader) -> int:
    """Ask for another attempt, which waits in the queue; returns its number. Raises Refused, saying what can be done.

    Requests that the last attempt never answered are dropped: they were not meant for this one.
    """
    state, _ = reader.state(run)
    if state not in RESUMABLE:
        raise Refused(NOT_RESUMABLE.get(state, f"the run is {state}: stop it first, then resume it"))
    for *_, path in run.requests():
        path.unlink(missing_ok=True)
    attempt = run.attempts()[1] + 1
    run.update(attempt=attempt, rank=time.time())
    return attempt


class Reader:
    """Follows runs' event files, reading only what is new; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Path, _Followed] = {}

    def story(self, run: Run) -> events.Story:
        """The run's story up to now. It is shared: read it, never change it."""
        with self._lock:
            followed = self._known.setdefault(run.path, _Followed())
        with followed.lock:
            size = _size(run.events_file)
            if size < followed.offset:
                followed.story, followed.offset = events.Story(), 0
            while size > followed.offset:
                before = followed.offset
                new, followed.offset = events.read(run.events_file, before, BLOCK)
                for event in new:
                    followed.story.add(event)
                if followed.offset == before:
                    break  # only the beginning of a line is there
            return followed.story

    def state(self, run: Run) -> tuple[str, events.Story]:
        """The run's state, and the story it follows from."""
        alive = run.alive()  # before the story: a run that ends in between is then still read to its end
        wanted, started = run.attempts()
        exit_, story = run.exit(), self.story(run)
        return events.state_of(story, alive=alive, wanted=wanted, started=started, exit_=exit_), story

    def forget(self, run: Run) -> None:
        """Drop what is kept of a deleted run."""
        with self._lock:
            self._known.pop(run.path, None)


class _Followed:
    def __init__(self) -> None:
        self.lock, self.story, self.offset = threading.Lock(), events.Story(), 0


_records = threading.Lock()


def _facts(path: Path, needed: dict[str, Any]) -> dict[str, Any]:
    found = storage.read_json(path)
    if found is None:
        raise storage.Corrupt(f"run {path.parent.name} has no {path.name}")
    if not isinstance(found, dict):
        raise storage.Corrupt(f"{path.name} of run {path.parent.name} is damaged: it is no object")
    wrong = [name for name, kind in needed.items() if not isinstance(found.get(name), kind)]
    if wrong:
        raise storage.Corrupt(f"{path.name} of run {path.parent.name} is damaged: {', '.join(wrong)}")
    return found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
