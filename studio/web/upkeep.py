"""What the server does by itself: holds people to the room they have, empties the trash, sweeps what is left over."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from studio import datasets, launch, runs, storage, work
from studio.launch import turns
from studio.web import uploads
from studio.web.quotas import gb
from studio.web.service import Studio
from studio.web.sessions import Store

log = logging.getLogger("studio.web")
HOUR, DAY = 3600.0, 86400.0
WATCH_SECONDS = 5.0
SWEEP_DELAY = 120.0  # seconds, so that a start is over before the disk is read
ASK_AGAIN = 60.0  # seconds after which work that did not end is asked once more
MOST_JOBS = 200  # ended ones of a person that are kept, where strangers sign in
MOST_DISCARDED = 1000  # a person's entries of the trash, where strangers sign in


async def watch(studio: Studio) -> None:
    """Every few seconds: who stores more than they may has their live work ended, and their trash emptied."""
    watcher = Watcher(studio)
    while studio.settings.limits is not None:
        await _guarded(watcher.look)
        await asyncio.sleep(WATCH_SECONDS)


async def janitor(studio: Studio, sessions: Store | None) -> None:
    """Every hour: empty the trash of old things, sweep what broken uploads left, batches that nobody committed, jobs
    long ended, and sessions whose time is up; once a day, and after something left the trash, what nothing names."""
    while True:
        emptied = await _guarded(tidy, studio)
        if sessions is not None:
            await _guarded(sessions.sweep)
        await asyncio.sleep(SWEEP_DELAY)
        if emptied or time.time() - _last_sweep(studio.home) >= DAY:
            await _sweep(studio)
        await asyncio.sleep(HOUR - SWEEP_DELAY)


async def _guarded(action: Callable[..., int | None], *args: Any) -> int | None:
    """Do something in a thread; a full disk or a damaged folder costs this time only."""
    try:
        return await asyncio.to_thread(action, *args)
    except (OSError, storage.Corrupt, datasets.NotFound):
        log.exception("%s failed; it is tried again", getattr(action, "__name__", action))
        return None


def tidy(studio: Studio) -> int:
    """Empty the trash of what is old, and sweep what is left over in places of its own; how much left the trash."""
    home, now = studio.home, time.time()
    emptied = storage.empty_trash(home / "trash")
    uploads.sweep(home, now - DAY)
    datasets.sweep(home, now - DAY)
    for job in work.sweep_jobs(home, now):
        studio.reader.forget(job)
    return emptied


def _last_sweep(home: Path) -> float:
    stamp = storage.stamp(home / "cache" / "swept")
    return stamp[0] / 1e9 if stamp else 0.0


async def _sweep(studio: Studio) -> None:
    """studio/sweeping.py in a process of its own: it reads every row there is."""
    argv = [sys.executable, "-m", "studio.sweeping", str(studio.home)]
    limit = studio.settings.hub_cache_bytes
    if studio.settings.public:
        argv += ["--hub-cache", str(limit) if limit is not None else "default"]
    process = await asyncio.create_subprocess_exec(*argv, env=launch.environment(), stdin=asyncio.subprocess.DEVNULL,
                                                   stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    try:
        out, errors = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    level = logging.INFO if process.returncode == 0 else logging.ERROR
    log.log(level, "swept: %s%s", out.decode().strip(), errors.decode().strip())


class Watcher:
    """Holds people to their quota while work of theirs grows."""

    def __init__(self, studio: Studio):
        self.studio = studio
        self._asked: dict[Path, float] = {}

    def look(self) -> None:
        """End what grows of those who are over, and remove what their trash has no room for."""
        studio, limits = self.studio, self.studio.settings.limits
        if limits is None:
            return
        importing = [(path, owner) for path, owner in studio.stored.datasets()
                     if storage.is_locked(path / "import.lock")]
        live = [one for one in studio.launcher.live if one.owner]
        for owner in {*(owner for _, owner in importing), *(one.owner for one in live)}:
            used = studio.stored.of(owner, WATCH_SECONDS / 2).bytes
            if used > limits.bytes:
                self._end(owner, used, limits.bytes, live, importing)
        self._empty_trash(limits.bytes)
        self._discard_jobs()

    def _end(self, owner: str, used: int, limit: int, live: list[turns.Live],
             importing: list[tuple[Path, str]]) -> None:
        message = f"Your things take {gb(used)}, and you may keep {gb(limit)} here."
        hint = "Delete runs or data sets that you do not need any more, then go on."
        now = time.monotonic()
        for one in live:
            if one.owner == owner and now - self._asked.get(one.work.path, -ASK_AGAIN) >= ASK_AGAIN:
                self._asked[one.work.path] = now
                launch.make_way(one.work, runs.QUOTA, message, hint)
        for path, whose in importing:
            if whose == owner:
                datasets.Dataset(self.studio.home, path.name).cancel(
                    f"{message} Nothing of this import was kept: delete something, then import it again.")

    def _empty_trash(self, limit: int) -> None:
        """What people deleted goes before its seven days where their things need the room; the oldest first."""
        entries: dict[str, list[Path]] = {}
        for one in self.studio.stored.trash():
            entries.setdefault(one.owner, []).append(one.path)
        for owner, paths in entries.items():
            too_many = paths[: max(0, len(paths) - MOST_DISCARDED)]
            over = [one.path for one in self.studio.stored.over(owner, limit)] if owner else []
            if storage.erase(dict.fromkeys([*too_many, *over])):
                log.info("the trash of one person was emptied of its oldest: it had no room")
                self.studio.stored.forget(owner)

    def _discard_jobs(self) -> None:
        """The oldest ended jobs of who has very many go to the trash."""
        studio = self.studio
        by_owner: dict[str, list[tuple[float, work.Job]]] = {}
        for job, facts in studio.index.jobs():
            by_owner.setdefault(facts["owner"], []).append((facts["created"], job))
        for jobs in by_owner.values():
            ordered = sorted(jobs, key=lambda entry: entry[0])
            for _, job in ordered[: max(0, len(jobs) - MOST_JOBS)]:
                if studio.index.waits(job):
                    continue
                try:
                    work.discard(studio.home, job)
                except (work.Refused, FileNotFoundError):
                    continue
                studio.reader.forget(job)
