"""All runs of a home at a glance: what run.json says, and who waits in the queue, reading only what changed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from studio import runs, storage


class Index:
    """Remembers run.json by its time stamp: with a thousand runs a look costs a thousand stats and no reading."""

    def __init__(self, home: Path):
        self.home = home
        self._lock = threading.Lock()
        self._known: dict[Path, tuple[int, dict[str, Any]]] = {}
        self._begun: dict[Path, int] = {}  # the attempt that a supervisor is known to have begun; it only grows

    def all(self) -> list[tuple[runs.Run, dict[str, Any]]]:
        """Every readable run with its run.json. The dicts are shared: read them, never change them."""
        found: dict[Path, tuple[int, dict[str, Any]]] = {}
        listed = []
        for run in runs.every(self.home):
            try:
                stamp = run.record_file.stat().st_mtime_ns
                known = self._known.get(run.path)
                entry = known if known and known[0] == stamp else (stamp, run.record())
            except (FileNotFoundError, storage.Corrupt):
                continue  # deleted in this moment, or damaged: its own page says so
            found[run.path] = entry
            listed.append((run, entry[1]))
        with self._lock:
            self._known = found
            self._begun = {path: n for path, n in self._begun.items() if path in found}
        return listed

    def queued(self) -> list[runs.Run]:
        """Waiting runs of everybody, in the order they will start."""
        waiting = []
        for run, facts in self.all():
            if facts["attempt"] <= self._begun.get(run.path, 0):
                continue
            try:
                began = run.process()["attempt"]
            except storage.Corrupt:
                continue
            if began >= facts["attempt"]:
                with self._lock:
                    self._begun[run.path] = began
            elif not run.alive():
                waiting.append((facts.get("rank", 0.0), run.id, run))
        return [run for *_, run in sorted(waiting, key=lambda entry: entry[:2])]
