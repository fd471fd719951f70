"""The queue of runs: a thread of the server that starts what waits on disk, in order, one at a time."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from pathlib import Path

from studio import runs, storage
from studio.launch import command
from studio.runs import Run

log = logging.getLogger(__name__)
TICK = 0.5
RETRY_SECONDS = (1.0, 5.0, 30.0, 60.0)


def spawn(run: Run, attempt: int, token: str | None = None) -> subprocess.Popen[bytes]:
    """Start a supervisor that outlives this process. `token` reaches it by its environment, and nothing else."""
    argv = [sys.executable, "-m", "studio.launch", str(run.path), "--attempt", str(attempt)]
    with open(run.log_file, "ab") as out:
        return subprocess.Popen(argv, cwd=run.path, env=command.environment(token), stdin=subprocess.DEVNULL,
                                stdout=out, stderr=out, start_new_session=True)


class Launcher:
    """Starts queued runs of one home. All it must know is on disk, so a restarted server goes on where it was.

    Of several servers on one home only the one that holds `queue.lock` starts runs.
    """

    def __init__(self, home: Path):
        self.home = home
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._loop, name="queue", daemon=True)
        self._lock = storage.Lock(home / "queue.lock")
        self._locked = False
        self._settled: dict[Path, int] = {}  # runs that need nothing, with run.json's mtime when that was found
        self._child: tuple[Run, int, subprocess.Popen[bytes]] | None = None
        self._retry: dict[tuple[Path, int], tuple[int, float]] = {}  # failed starts: how many, not before when
        self._tokens: dict[str, str] = {}

    def start(self) -> None:
        """Begin to look after the queue."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking after the queue; running runs live on."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        self._lock.release()
        self._locked = False

    def wake(self) -> None:
        """Look at the queue now: a run was submitted or resumed."""
        self._wake.set()

    def lend(self, run: Run, token: str | None) -> None:
        """Give a run a Hub token for its next start. It is kept in memory alone, so a server's restart forgets it."""
        if token:
            self._tokens[run.id] = token

    def _loop(self) -> None:
        while not self._stop.is_set():
            try:
                self.tick()
            except Exception:  # the thread must outlive a full disk or a damaged folder; the trace goes to the log
                log.exception("the queue could not be looked after")
            self._wake.wait(TICK)
            self._wake.clear()

    def tick(self) -> None:
        """Look once: start the next waiting run if nothing is running."""
        if not self._locked:
            self._locked = self._lock.acquire()
            if not self._locked:
                return
        if self._child_lives():
            return
        waiting, busy = self._survey()
        now = time.monotonic()
        for run in [] if busy else waiting:
            attempt = run.attempts()[0]
            if self._retry.get((run.path, attempt), (0, 0.0))[1] <= now:
                log.info("starting run %s, attempt %d", run.id, attempt)
                try:
                    self._child = run, attempt, spawn(run, attempt, self._tokens.get(run.id))
                except OSError as error:  # of this run's folder: those behind it need not wait for it
                    self._later(run, attempt, str(error))
                    continue
                self._tokens.pop(run.id, None)
                return

    def _child_lives(self) -> bool:
        """Whether the supervisor we started lives. One that ended without beginning is tried again, later each time."""
        if self._child is None:
            return False
        run, attempt, process = self._child
        if process.poll() is None:
            return True
        self._child = None
        if run.record_file.is_file() and run.attempts()[1] < attempt and not run.supervised():
            self._later(run, attempt, f"it ended with status {process.returncode} before it began")
        return False

    def _later(self, run: Run, attempt: int, why: str) -> None:
        """Try an attempt that could not start again, later each time."""
        count = self._retry.get((run.path, attempt), (0, 0.0))[0]
        wait = RETRY_SECONDS[min(count, len(RETRY_SECONDS) - 1)]
        self._retry[run.path, attempt] = count + 1, time.monotonic() + wait
        log.error("the supervisor of run %s did not start: %s; next try in %.0f s", run.id, why, wait)

    def _survey(self) -> tuple[list[Run], bool]:
        """The waiting runs in order, and whether one is alive. Reads only runs that changed since they were settled."""
        waiting: list[tuple[float, str, Run]] = []
        busy, known, self._settled = False, self._settled, {}
        for run in runs.every(self.home):
            try:
                stamp = run.record_file.stat().st_mtime_ns
                if known.get(run.path) == stamp:
                    self._settled[run.path] = stamp
                    continue
                wanted, began = run.attempts()
                if run.alive():
                    busy = True
                elif wanted > began:
                    waiting.append((float(run.record().get("rank", 0.0)), run.id, run))
                else:
                    self._settled[run.path] = stamp
            except (storage.Corrupt, FileNotFoundError, TypeError, ValueError):  # shown as unreadable by the page
                continue
        return [run for *_, run in sorted(waiting, key=lambda w: w[:2])], busy
