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
        self._known: dict[type[Work], dict[Path, tuple[int, dict[str, Any]]]] = {}
        self._begun: dict[Path, int] = {}  # the attempt that a supervisor is known to have begun; it only grows

    def all(self) -> list[tuple[Run, dict[str, Any]]]:
        """Every readable run with its run.json. The dicts are shared: read them, never change them."""
        return self._all(Run)

    def jobs(self) -> list[tuple[Job, dict[str, Any]]]:
        """Every readable job with its job.json, shared too."""
        return self._all(Job)

    def queued(self) -> list[Work]:
        """Waiting runs and heavy jobs of everybody, in the order they will start."""
        waiting = []
        for work, facts in (*self.all(), *self.jobs()):
            if facts.get("light") or facts["attempt"] <= self._begun.get(work.path, 0):
                continue
            try:
                began = work.process()["attempt"]
            except storage.Corrupt:
                continue
            if began >= facts["attempt"]:
                with self._lock:
                    self._begun[work.path] = began
            elif not work.alive():
                waiting.append((facts["rank"], work.id, work))
        return [work for *_, work in sorted(waiting, key=lambda entry: entry[:2])]

    def _all(self, kind: type[W]) -> list[tuple[W, dict[str, Any]]]:
        known, found = self._known.get(kind, {}), {}
        listed = []
        for work in kind.every(self.home):
            try:
                stamp = work.record_file.stat().st_mtime_ns
                seen = known.get(work.path)
                entry = seen if seen and seen[0] == stamp else (stamp, work.record())
            except (FileNotFoundError, storage.Corrupt):
                continue  # deleted in this moment, or damaged: its own page says so
            found[work.path] = entry
            listed.append((work, entry[1]))
        with self._lock:
            self._known[kind] = found
            here = {path for each in self._known.values() for path in each}
            self._begun = {path: n for path, n in self._begun.items() if path in here}
        return listed
