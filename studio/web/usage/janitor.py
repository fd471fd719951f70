"""What is cleared away every hour: old trash, what broken uploads left, batches that nobody committed, ended jobs
and sessions; and once a day what nothing names any more."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from studio import datasets, launch, storage, trash
from studio.folders import work
from studio.storage import faults
from studio.storage.spare import Spare
from studio.web.http import uploads
from studio.web.middleware.sessions import Store
from studio.web.services.service import Studio

T = TypeVar("T")
HOUR, DAY = 3600.0, 86400.0
SWEEP_DELAY = 120.0  # seconds, so that a start is over before the disk is read
log = logging.getLogger("studio.web")


async def look_after(studio: Studio, sessions: Store | None) -> None:
    """Every hour: `Janitor.come_by`; once a day, and after it emptied the trash of old things, what nothing names is
    swept."""
    janitor = Janitor(studio, sessions)
    while True:
        emptied = await asyncio.to_thread(janitor.come_by)
        await asyncio.sleep(SWEEP_DELAY)
        try:
            if emptied or time.time() - _last_sweep(studio.home) >= DAY:
                await _sweep(studio)
        except Exception as error:  # no process, or no file, can be opened just now
            janitor.troubles.tell("sweeping what nothing names failed", error)
        await asyncio.sleep(HOUR - SWEEP_DELAY)


def _last_sweep(home: Path) -> float:
    """When it was swept last, in unix seconds; 0.0 for never."""
    stamp = storage.stamp(home / "cache" / "swept")
    if stamp is None:
        return 0.0
    return stamp[0] / 1e9


async def _sweep(studio: Studio) -> None:
    """studio/sweeping.py in a process of its own: it reads every row there is."""
    argv = [sys.executable, "-m", "studio.sweeping", str(studio.home)]
    if studio.settings.public:
        argv += ["--hub-cache", _hub_cache(studio.settings.hub_cache_bytes)]
    process = await asyncio.create_subprocess_exec(*argv, env=launch.environment(), stdin=asyncio.subprocess.DEVNULL,
                                                   stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    try:
        out, errors = await process.communicate()
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    level = logging.ERROR
    if process.returncode == 0:
        level = logging.INFO
    log.log(level, "swept: %s%s", out.decode().strip(), errors.decode().strip())


def _hub_cache(limit: int | None) -> str:
    """The limit in bytes as the command line has it."""
    if limit is None:
        return "default"
    return str(limit)


class Janitor:
    """Comes by for one studio; what fails is tried again the next time, and keeps nothing else from being done."""

    def __init__(self, studio: Studio, sessions: Store | None = None):
        self.studio = studio
        self.home = studio.home
        self.sessions = sessions
        self.sweeper = trash.TrashSweeper(studio.home)
        self.spare = Spare(studio.home)
        self.troubles = faults.ThrottledLog(log)

    def come_by(self) -> int:
        """Do all of it once; returns how many things left the trash."""
        day_ago = time.time() - DAY
        if self.sessions is not None:
            self._try("sweeping sessions", self.sessions.sweep)
        emptied = self._try("emptying the trash of old things", self.sweeper.look) or 0
        self._try("sweeping uploads", partial(uploads.sweep, self.home, day_ago))
        self._try("sweeping data sets", partial(datasets.sweep, self.home, day_ago))
        self._try("sweeping jobs", self._jobs)
        self._try("sweeping what was never finished", partial(work.sweep_unfinished, self.home, day_ago))
        self._try("holding room on the disk", self.spare.fill)
        return emptied

    def _jobs(self) -> None:
        for job in work.sweep_jobs(self.home, time.time()):
            self.studio.reader.forget(job)

    def _try(self, what: str, step: Callable[[], T]) -> T | None:
        """What the step returns; None, and a line in the log, where it fails."""
        try:
            return step()
        except Exception as error:  # this must outlive whatever it finds
            self.troubles.tell(f"{what} failed", error)
            return None
