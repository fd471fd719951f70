"""The queue of runs and jobs: a thread of the server that starts what waits on disk, in order, one at a time.

Light jobs do not wait for the one at a time, nor do runs on rented machines: a few of each run beside it (`AT_ONCE`).
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from studio import faults, storage
from studio.config import ConfigError
from studio.launch import command, webhook
from studio.runs import Run
from studio.work import Job, Work

log = logging.getLogger(__name__)
TICK = 0.5
AT_ONCE = {"heavy": 1, "light": 2, "away": 8}
RETRY_SECONDS = (1.0, 5.0, 30.0, 60.0)
MOST_HELD = 600.0  # seconds that a job is left to its starter, whatever the clock says


def spawn(work: Work, attempt: int, token: str | None = None) -> subprocess.Popen[bytes]:
    """Start a supervisor that outlives this process. `token` reaches it by its environment, and nothing else."""
    argv = [sys.executable, "-m", "studio.launch", str(work.path), "--attempt", str(attempt)]
    with open(work.log_file, "ab") as out:
        return subprocess.Popen(argv, cwd=work.path, env=command.supervisor_environment(token),
                                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)


class Launcher:
    """Starts what waits in one home. All it must know is on disk, so a restarted server goes on where it was.

    Of several servers on one home only the one that holds `queue.lock` starts anything.
    """

    def __init__(self, home: Path):
        self.home = home
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._loop, name="queue", daemon=True)
        self._lock = storage.Lock(home / "queue.lock")
        self._locked = False
        self._settled: dict[Path, Any] = {}  # what needs nothing, with its record's stamp when that was found
        self._children: list[tuple[Work, int, subprocess.Popen[bytes]]] = []
        self._retry: dict[tuple[Path, int], tuple[int, float]] = {}  # failed starts: how many, not before when
        self._tokens: dict[str, str] = {}
        self._ended: list[Run] = []  # runs that the last look found to have ended
        self._troubles = faults.Log(log)

    def start(self) -> None:
        """Begin to look after the queue."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking after the queue; what runs lives on."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        self._lock.release()
        self._locked = False

    def wake(self) -> None:
        """Look at the queue now: something was submitted or resumed."""
        self._wake.set()

    def lend(self, work: Work, token: str | None) -> None:
        """Give a run or a job a Hub token for its next start. In memory alone: a server's restart forgets it."""
        if token:
            self._tokens[work.id] = token

    def _loop(self) -> None:
        while not self._stop.is_set():
            try:
                self.tick()
            except Exception as error:  # the thread must outlive a full disk or a damaged folder
                self._troubles.tell("the queue cannot be looked after", error)
            self._wake.wait(TICK)
            self._wake.clear()

    def tick(self) -> None:
        """Look once: start what waits and has room, as many of each lane at a time as AT_ONCE says."""
        if not self._locked:
            self._locked = self._lock.acquire()
            if not self._locked:
                return
        self._look_after_children()
        waiting, room = self._survey()
        self._tell()
        now = time.monotonic()
        for work, lane in waiting:
            attempt = work.attempts()[0]
            if room[lane] <= 0 or self._retry.get((work.path, attempt), (0, 0.0))[1] > now:
                continue
            log.info("starting %s %s, attempt %d", work.word, work.id, attempt)
            try:
                self._children.append((work, attempt, spawn(work, attempt, self._tokens.get(work.id))))
            except OSError as error:  # of this one's folder: those behind it need not wait for it
                self._later(work, attempt, str(error))
                continue
            self._tokens.pop(work.id, None)
            room[lane] -= 1

    def _tell(self) -> None:
        """Let the webhook know of runs that were found to have ended, in a thread: an address may be slow to answer."""
        ended, self._ended = self._ended, []
        owed = []
        for run in ended:
            try:
                attempt = webhook.owed(run)
            except (storage.Corrupt, OSError):  # shown as unreadable by the page
                continue
            owed += [(run, attempt)] if attempt is not None else []
        if owed:
            threading.Thread(target=_tell_each, args=(owed,), name="webhook", daemon=True).start()

    def _look_after_children(self) -> None:
        """Forget supervisors we started that have ended. One that never began is tried again, later each time."""
        children, self._children = self._children, []
        for work, attempt, process in children:
            if process.poll() is None:
                self._children.append((work, attempt, process))
                continue
            with suppress(storage.Corrupt, OSError):  # deleted, or a folder that cannot be read: its page says so
                if work.attempts()[1] < attempt and not work.supervised():
                    self._later(work, attempt, f"it ended with status {process.returncode} before it began")

    def _later(self, work: Work, attempt: int, why: str) -> None:
        """Try an attempt that could not start again, later each time."""
        count = self._retry.get((work.path, attempt), (0, 0.0))[0]
        wait = RETRY_SECONDS[min(count, len(RETRY_SECONDS) - 1)]
        self._retry[work.path, attempt] = count + 1, time.monotonic() + wait
        if (count + 1) & count == 0:  # the 1st, 2nd, 4th, 8th ... time: a disk may stay full for long
            log.error("the supervisor of %s %s did not start: %s; tried %d times, next in %.0f s", work.word, work.id,
                      why, count + 1, wait)

    def _survey(self) -> tuple[list[tuple[Work, str]], Counter[str]]:
        """What waits, in order, each with its lane; and how many more of each lane may run. Reads only what changed
        since it was settled."""
        waiting: list[tuple[float, str, Work, str]] = []
        room, known, self._settled = Counter(AT_ONCE), self._settled, {}
        started = {work.path for work, *_ in self._children}
        for work in (*Run.every(self.home), *Job.every(self.home)):
            try:
                stamp = storage.stamp(work.record_file)
                if stamp is not None and known.get(work.path) == stamp:
                    self._settled[work.path] = stamp
                    continue
                wanted, began = work.attempts()
                if work.path in started or work.alive():
                    room[work.lane] -= 1
                elif wanted > began and 0 < work.record().get("held_until", 0.0) - time.time() <= MOST_HELD:
                    continue  # its starter is at it
                elif wanted > began:
                    waiting.append((float(work.record()["rank"]), work.id, work, work.lane))
                else:
                    self._settled[work.path] = stamp
                    self._ended += [work] if isinstance(work, Run) else []
            except (storage.Corrupt, OSError, TypeError, ValueError):  # shown as unreadable by the page
                continue
        return [(work, lane) for *_, work, lane in sorted(waiting, key=lambda w: w[:2])], room


def _tell_each(owed: list[tuple[Run, int]]) -> None:
    for run, attempt in owed:
        try:
            webhook.after(run, attempt)
        except (storage.Corrupt, ConfigError, OSError):  # a damaged run, or one deleted meanwhile: the others are told
            log.exception("the webhook was not told of run %s", run.id)
