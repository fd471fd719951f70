"""All runs and jobs of a home at a glance: their records, and who waits in the queue, reading only what changed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, TypeVar

from studio import storage
from studio.runs import Run
from studio.work import Job, Work

W = TypeVar("W", bound=Work)


class Index:
    """Remembers records by their time stamp: with a thousand runs a look costs a thousand stats and no reading."""

    def __init__(self, home: Path):
        self.home = home
        self._lock = threading.Lock()
        self._known: dict[Path, tuple[Any, dict[str, Any]]] = {}
        self._begun: dict[Path, int] = {}  # the attempt that a supervisor is known to have begun; it only grows

    def all(self) -> list[tuple[Run, dict[str, Any]]]:
        """Every readable run with its run.json. The dicts are shared: read them, never change them."""
        return self._all(Run)

    def jobs(self) -> list[tuple[Job, dict[str, Any]]]:
        """Every readable job with its job.json, shared too."""
        return self._all(Job)

    def facts(self, work: Work) -> dict[str, Any]:
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
        waiting = []
        for work, facts in (*self.all(), *self.jobs()):
            try:
                if not facts.get("light") and self.waits(work):
                    waiting.append((facts["rank"], work.id, work))
            except storage.Corrupt:
                continue
        return [work for *_, work in sorted(waiting, key=lambda entry: entry[:2])]

    def _all(self, kind: type[W]) -> list[tuple[W, dict[str, Any]]]:
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
