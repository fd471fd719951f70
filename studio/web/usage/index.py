"""All runs and jobs of a home at a glance: their records, and who waits in the queue, reading only what changed."""

from __future__ import annotations

import heapq
import threading
from pathlib import Path
from typing import Any, TypeVar

from studio import launch, storage
from studio.folders.records import WorkRecord
from studio.folders.runs import Run
from studio.folders.work import Job, Work
from studio.launch.turns import Waiting, in_turn

W = TypeVar("W", bound=Work)


class Index:
    """Remembers records by their time stamp: with a thousand runs a look costs a thousand stats and no reading."""

    def __init__(self, home: Path, launcher: launch.Launcher):
        self.home, self.launcher = home, launcher
        self._lock = threading.Lock()
        self._known: dict[Path, tuple[Any, WorkRecord]] = {}
        self._begun: dict[Path, int] = {}  # the attempt that a supervisor is known to have begun; it only grows

    def all(self) -> list[tuple[Run, WorkRecord]]:
        """Every readable run with its run.json. The dicts are shared: read them, never change them."""
        return self._all(Run)

    def jobs(self) -> list[tuple[Job, WorkRecord]]:
        """Every readable job with its job.json, shared too."""
        return self._all(Job)

    def facts(self, work: Work) -> WorkRecord:
        """The record of one, shared too. Raises Corrupt, for one that is gone too."""
        stamp = storage.stamp(work.record_file)
        seen = self._known.get(work.path)
        if seen is None or stamp is None or seen[0] != stamp:
            seen = (stamp, work.record())
            with self._lock:
                self._known[work.path] = seen
        return seen[1]

    def waits(self, work: Work) -> bool:
        """Whether it waits for its turn: more attempts are asked for than were begun, and nothing of it lives.

        Raises Corrupt."""
        wanted = self.facts(work)["attempt"]
        if wanted <= self._begun.get(work.path, 0):
            return False
        began = work.process()["attempt"]
        if began < wanted:
            return not work.alive()
        with self._lock:
            self._begun[work.path] = began
        return False

    def queued(self) -> list[Work]:
        """Waiting runs and heavy jobs of everybody, in the order they will start."""
        lanes: dict[str, list[Waiting]] = {}
        for one in self.waiting():
            if one.lane != "light":
                lanes.setdefault(one.lane, []).append(one)
        orders = [in_turn(waiting, self.launcher.turns.last(lane), self.launcher.busy(lane))
                  for lane, waiting in lanes.items()]
        return [one.work for one in heapq.merge(*orders, key=lambda one: (one.rank, one.work.id))]

    def places(self) -> dict[str, int]:
        """The place in the queue of each that waits, by id, from 1 on."""
        return {waiting.id: place for place, waiting in enumerate(self.queued(), 1)}

    def tag(self, work: Work) -> str:
        """A short text that changes whenever what is told of a run or a job does."""
        return work.pulse() + (f"-{self.places().get(work.id, 0)}" if self.waits(work) else "")

    def waiting(self) -> list[Waiting]:
        """Everybody's runs and jobs that wait for their turn, in no order."""
        found = []
        for work, facts in (*self.all(), *self.jobs()):
            try:
                if self.waits(work):
                    found.append(Waiting(work, facts["owner"], facts["rank"], lane_of(work, facts), facts["attempt"]))
            except storage.Corrupt:
                continue
        return found

    def _all(self, kind: type[W]) -> list[tuple[W, WorkRecord]]:
        listed = []
        for work in kind.every(self.home):
            try:
                listed.append((work, self.facts(work)))
            except storage.Corrupt:
                continue  # deleted in this moment, or damaged: its own page says so
        here, folder = {work.path for work, _ in listed}, self.home / kind.folder
        with self._lock:
            for path in [path for path in self._known if path.parent == folder and path not in here]:
                self._known.pop(path)
                self._begun.pop(path, None)
        return listed


def lane_of(work: Work, facts: WorkRecord) -> str:
    """Where a run or a job of this record waits; as `Work.lane`, without reading it again."""
    if facts.get("light"):
        return "light"
    return "heavy" if facts.get("backend", "local") == "local" else "away"
