"""Follows the events of runs and jobs as they grow: their history up to now, and their state."""

from __future__ import annotations

import threading
from pathlib import Path

from studio.folders import events
from studio.folders.work import Work

BLOCK = 1 << 20  # bytes of events parsed at once: a long run must not be in memory as objects


class EventReader:
    """Follows event files, reading only what is new; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Path, _FollowedFile] = {}

    def history(self, work: Work) -> events.RunHistory:
        """The history of all events up to now. It is shared: read it, never change it."""
        with self._lock:
            followed = self._known.setdefault(work.path, _FollowedFile())
        with followed.lock:
            size = _size(work.events_file)
            if size < followed.offset:
                followed.history = events.RunHistory()
                followed.offset = 0
            while size > followed.offset:
                before = followed.offset
                new, followed.offset = events.read(work.events_file, before, BLOCK)
                for event in new:
                    followed.history.add(event)
                if followed.offset == before:
                    break  # only the beginning of a line is there
            return followed.history

    def state(self, work: Work) -> tuple[str, events.RunHistory]:
        """The state (one of `events.STATES`), and the history it follows from. Raises Corrupt."""
        alive = work.alive()  # before the history: work that ends in between is then still read to its end
        asked, started = work.attempts()
        exit_ = work.exit()
        history = self.history(work)
        state = events.state_of(history, alive=alive, wanted=asked, started=started, exit_=exit_)
        if state == "paused" and work.goes_on():
            state = "queued"
        return state, history

    def forget(self, work: Work) -> None:
        """Drop what is kept of a folder that is gone."""
        with self._lock:
            self._known.pop(work.path, None)


class _FollowedFile:
    """One file of events: what it told up to `offset`."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.history = events.RunHistory()
        self.offset = 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
