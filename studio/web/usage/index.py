"""All runs and jobs of a home at a glance: their records, and who waits in the queue, reading only what changed."""

from __future__ import annotations

import heapq
import threading
from operator import attrgetter
from pathlib import Path
from typing import Any, TypedDict, TypeVar, cast

from studio import launch, storage
from studio.folders.runs import Run
from studio.folders.work import Job, Work
from studio.launch.turns import Waiting, in_turn

W = TypeVar("W", bound=Work)


class Record(TypedDict, total=False):
    """What the services read of run.json or job.json."""

    name: str
    owner: str
    created: float  # unix seconds
    attempt: int  # how many were asked for
    rank: float  # its place in the queue, the lowest first
    backend: str  # of a run
    kind: str  # of a job, as all below
    args: dict[str, Any]
    subject: str | None  # the id of the data set or run that it is about
    light: bool


class Index:
    """Remembers records by their time stamp: with a thousand runs a look costs a thousand stats and no reading."""

    def __init__(self, home: Path, launcher: launch.Launcher):
        self.home = home
        self.launcher = launcher
        self._lock = threading.Lock()
        self._known: dict[Path, tuple[object, Record]] = {}  # by the work's folder: the record's stamp, the record
        self._begun: dict[Path, int] = {}  # the attempt that a supervisor is known to have begun; it only grows

    def all(self) -> list[tuple[Run, Record]]:
        """Every readable run with its run.json. The dicts are shared: read them, never change them."""
        return self._all(Run)

    def jobs(self) -> list[tuple[Job, Record]]:
        """Every readable job with its job.json, shared too."""
        return self._all(Job)

    def facts(self, work: Work) -> Record:
        """The record of one, shared too. Raises Corrupt, for one that is gone too."""
        stamp = storage.stamp(work.record_file)
        known_stamp, record = self._known.get(work.path, (None, None))
        if record is None or stamp is None or known_stamp != stamp:
            record = cast(Record, work.record())
            with self._lock:
                self._known[work.path] = stamp, record
        return record

    def waits(self, work: Work) -> bool:
        """Whether it waits for its turn: more attempts are asked for than were begun, and nothing of it lives.

        Raises Corrupt."""
        asked_for = self.facts(work)["attempt"]
        if asked_for <= self._begun.get(work.path, 0):
            return False
        began = work.process()["attempt"]
        if began < asked_for:
            return not work.alive()
        with self._lock:
            self._begun[work.path] = began
        return False

    def queued(self) -> list[Work]:
        """Waiting runs and heavy jobs of everybody, in the order they will start."""
        lanes: dict[str, list[Waiting]] = {}
        for waiting in self.waiting():
            if waiting.lane != "light":
                lanes.setdefault(waiting.lane, []).append(waiting)
        orders = []
        for lane, waits in lanes.items():
            orders.append(in_turn(waits, self.launcher.turns.last(lane), self.launcher.busy(lane)))
        return list(map(attrgetter("work"), heapq.merge(*orders, key=attrgetter("rank", "work.id"))))

    def places(self) -> dict[str, int]:
        """The place in the queue of each that waits, by id, from 1 on."""
        return {waiting.id: place for place, waiting in enumerate(self.queued(), 1)}

    def tag(self, work: Work) -> str:
        """A short text that changes whenever what is told of a run or a job does."""
        change_token = work.change_token()
        if self.waits(work):
            return f"{change_token}-{self.places().get(work.id, 0)}"
        return change_token

    def waiting(self) -> list[Waiting]:
        """Everybody's runs and jobs that wait for their turn, in no order."""
        waiting = []
        for work, facts in (*self.all(), *self.jobs()):
            try:
                if self.waits(work):
                    waiting.append(Waiting(work, facts["owner"], facts["rank"], lane_of(work, facts), facts["attempt"]))
            except storage.Corrupt:
                continue
        return waiting

    def _all(self, kind: type[W]) -> list[tuple[W, Record]]:
        listed = []
        here = set()
        for work in kind.every(self.home):
            try:
                listed.append((work, self.facts(work)))
                here.add(work.path)
            except storage.Corrupt:
                continue  # deleted in this moment, or damaged: its own page says so
        self._forget_gone(self.home / kind.folder, here)
        return listed

    def _forget_gone(self, folder: Path, here: set[Path]) -> None:
        """Drop what is known of work in `folder` that is not `here` any more."""
        with self._lock:
            for path in list(self._known):
                if path.parent == folder and path not in here:
                    self._known.pop(path)
                    self._begun.pop(path, None)


def lane_of(work: Work, facts: Record) -> str:
    """Where a run or a job of this record waits; as `Work.lane`, without reading it again."""
    if facts.get("light"):
        return "light"
    if facts.get("backend", "local") == "local":
        return "heavy"
    return "away"
