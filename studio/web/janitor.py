"""What is cleared away every hour: old trash, what broken uploads left, batches that nobody committed, ended jobs
and sessions."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from studio import datasets, faults, trash, work
from studio.storage.spare import Spare
from studio.web import uploads
from studio.web.service import Studio
from studio.web.sessions import Store

DAY = 24 * 3600
log = logging.getLogger("studio.web")


class Janitor:
    """Comes by for one studio; what fails is tried again the next time, and keeps nothing else from being done."""

    def __init__(self, studio: Studio, sessions: Store | None = None):
        self.studio, self.home, self.sessions = studio, studio.home, sessions
        self.keeper, self.spare, self.troubles = trash.Keeper(studio.home), Spare(studio.home), faults.Log(log)

    def come_by(self) -> None:
        """Do all of it once."""
        day_ago = time.time() - DAY
        if self.sessions is not None:
            self._try("sweeping sessions", self.sessions.sweep)
        self._try("emptying the trash of old things", self.keeper.look)
        self._try("sweeping uploads", lambda: uploads.sweep(self.home, day_ago))
        self._try("sweeping data sets", lambda: datasets.sweep(self.home, day_ago))
        self._try("sweeping jobs", self._jobs)
        self._try("sweeping what was never finished", lambda: work.sweep_unfinished(self.home, day_ago))
        self._try("holding room on the disk", self.spare.fill)

    def _jobs(self) -> None:
        for job in work.sweep_jobs(self.home, time.time()):
            self.studio.reader.forget(job)

    def _try(self, what: str, step: Callable[[], object]) -> None:
        try:
            step()
        except OSError as error:
            self.troubles.tell(f"{what} failed", error)
