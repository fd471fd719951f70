"""Holds people to the room they have, while their work grows and their trash fills."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from operator import itemgetter
from pathlib import Path

from studio import datasets, launch, storage
from studio.folders import runs, work
from studio.launch import turns
from studio.messages import Message
from studio.storage import faults
from studio.web.services.service import Studio
from studio.web.usage.quotas import gb
from studio.web.usage.stored import TrashedEntry

log = logging.getLogger("studio.web")
WATCH_SECONDS = 5.0
ASK_AGAIN = 60.0  # seconds after which work that did not end is asked once more
MOST_JOBS = 200  # ended ones of a person that are kept, where strangers sign in
MOST_DISCARDED = 1000  # a person's entries of the trash, where strangers sign in


async def watch(studio: Studio) -> None:
    """Every few seconds: who stores more than they may has their live work ended, and their trash emptied."""
    watcher = Watcher(studio)
    while studio.settings.limits is not None:
        await asyncio.to_thread(watcher.look)
        await asyncio.sleep(WATCH_SECONDS)


class Watcher:
    """Holds people to their quota while work of theirs grows. What fails (a full disk, a damaged folder) is tried again
    the next time, and keeps nothing else from being done."""

    def __init__(self, studio: Studio):
        self.studio = studio
        self._troubles = faults.ThrottledLog(log)
        self._asked: dict[Path, float] = {}  # by the work's folder: when it was last asked to end (monotonic seconds)

    def look(self) -> None:
        """End what grows of those who are over, and remove what their trash has no room for."""
        limits = self.studio.settings.limits
        if limits is None:
            return
        self._try("ending what grows", lambda: self._end_what_grows(limits.bytes))
        self._try("emptying the trash of who has no room", lambda: self._empty_trash(limits.bytes))
        self._try("discarding jobs of who has very many", self._discard_jobs)

    def _try(self, what: str, step: Callable[[], object]) -> None:
        try:
            step()
        except Exception as error:  # this must outlive whatever it finds
            self._troubles.tell(f"{what} failed", error)

    def _end_what_grows(self, limit: int) -> None:
        studio = self.studio
        importing: dict[str, list[Path]] = {}  # the data sets of each owner into which an import goes on
        for path, owner in studio.stored.datasets():
            if storage.is_locked(path / "import.lock"):
                importing.setdefault(owner, []).append(path)
        live: dict[str, list[turns.Live]] = {}
        for running in studio.launcher.live:
            if running.owner:
                live.setdefault(running.owner, []).append(running)
        for owner in importing.keys() | live.keys():
            self._try("ending what grows", partial(
                self._end_if_over, owner, limit, live.get(owner, []), importing.get(owner, [])))

    def _end_if_over(self, owner: str, limit: int, live: list[turns.Live], importing: list[Path]) -> None:
        """Ask the live work of `owner` to make way and end their imports, where their things take more than `limit`
        bytes."""
        used = self.studio.stored.of(owner, WATCH_SECONDS / 2).bytes
        if used <= limit:
            return
        message = Message("Your things take {used}, and you may keep {limit} here.", used=gb(used), limit=gb(limit))
        hint = Message("Delete runs or data sets that you do not need any more, then go on.")
        now = time.monotonic()
        for running in live:
            if now - self._asked.get(running.work.path, -ASK_AGAIN) >= ASK_AGAIN:
                self._asked[running.work.path] = now
                self._try("asking work to make way",
                          partial(launch.make_way, running.work, runs.QUOTA, message, hint))
        why = Message("Your things take {used}, and you may keep {limit} here. Nothing of this import was kept: delete "
                      "something, then import it again.", used=gb(used), limit=gb(limit))
        for path in importing:
            dataset = datasets.Dataset(self.studio.home, path.name)
            self._try("ending an import", partial(dataset.cancel, why))

    def _empty_trash(self, limit: int) -> None:
        """What people deleted goes before its seven days where their things need the room; the oldest first."""
        entries: dict[str, list[TrashedEntry]] = {}
        for entry in self.studio.stored.trash():
            entries.setdefault(entry.owner, []).append(entry)
        for owner, theirs in entries.items():
            self._try("emptying the trash of who has no room", partial(self._empty_trash_of, owner, theirs, limit))

    def _empty_trash_of(self, owner: str, entries: list[TrashedEntry], limit: int) -> None:
        """Remove for good those of `entries`, the oldest first, that are too many or have no room within `limit`
        bytes."""
        gone = entries[: max(0, len(entries) - MOST_DISCARDED)]
        if owner:
            gone = gone + self.studio.stored.over(owner, entries, limit)
        for path in dict.fromkeys(entry.path for entry in gone):
            self._try("removing something from the trash", partial(storage.erase, path))
        if gone:
            log.info("the trash of one person was emptied of its oldest: it had no room")
            self.studio.stored.forget(owner)

    def _discard_jobs(self) -> None:
        """The oldest ended jobs of who has very many go to the trash."""
        studio = self.studio
        by_owner: dict[str, list[tuple[float, work.Job]]] = {}
        for job, facts in studio.index.jobs():
            by_owner.setdefault(facts["owner"], []).append((facts["created"], job))
        for jobs in by_owner.values():
            oldest_first = sorted(jobs, key=itemgetter(0))
            for _, job in oldest_first[: max(0, len(jobs) - MOST_JOBS)]:
                if not studio.index.waits(job):
                    self._try("discarding a job", partial(self._discard, job))

    def _discard(self, job: work.Job) -> None:
        with suppress(work.Refused, FileNotFoundError):  # it lives, or was deleted in this moment
            work.discard(self.studio.home, job)
            self.studio.reader.forget(job)
