"""The queue of runs and jobs: a thread of the server that starts what waits on disk, in turn, one at a time.

Light jobs do not wait for the one at a time, nor do runs on rented machines: a few of each run beside it (`AT_ONCE`).
Turns go round between persons, and long work makes way for others (turns.py).
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from studio import storage
from studio.config import ConfigError
from studio.folders.records import WorkRecord
from studio.folders.runs import TURN, Run
from studio.folders.work import Job, Work
from studio.launch import command, controls, diagnosis, turns, warm, webhook
from studio.launch.turns import Live, Turns, Waiting
from studio.messages import Message
from studio.storage import faults

log = logging.getLogger(__name__)
TICK = 0.5
AT_ONCE = {"heavy": 1, "light": 2, "away": 8}
SEVERAL_MACHINES = diagnosis.supervisor_error(
    "several_machines", Message("A run of several machines would open a port of this server to the network."),
    Message("Branch it with compute.num_machines 1, or train it on machines of your own."))
Stamp = tuple[int, int, int] | None  # of `storage.stamp`
RETRY_SECONDS = (1.0, 5.0, 30.0, 60.0)
ASK_AGAIN = 60.0  # seconds after which work that did not make way (the disk was full) is asked once more
MAKES_WAY = ("heavy", "light")  # a rented machine is its owner's, and pausing costs: there only places are shared out
MOST_HELD = 600.0  # seconds that work is left to its starter, whatever the clock says


def spawn(work: Work, attempt: int, token: str | None = None, environment: Mapping[str, str] | None = None,
          server: warm.Server | None = None) -> warm.Process:
    """Start a supervisor that outlives this process, in a session of its own: a terminal's Ctrl-C does not reach it.

    It sees the part of this process's environment that it needs and the `token`, or `environment` in their place. A
    warm `server` that is ready starts it where there is one."""
    argv = [sys.executable, "-m", "studio.launch", str(work.path), "--attempt", str(attempt)]
    variables = environment or command.supervisor_environment(token)
    if server is not None and server.ready():
        started = server.start({"argv": argv, "environment": dict(variables), "folder": str(work.path),
                                "log": str(work.log_file)})
        if started is not None:
            return started
    with open(work.log_file, "ab") as out:
        return subprocess.Popen(argv, cwd=work.path, env=variables, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                start_new_session=True)


class Launcher:
    """Starts what waits in one home. All it must know is on disk, so a restarted server goes on where it was.

    Of several servers on one home only the one that holds `queue.lock` starts anything. `turn`: for how many seconds
    work goes on while another person's waits (None: to its end). `shared`: strangers sign in, so nobody holds more
    than half of the places of a lane.
    """

    def __init__(self, home: Path, turn: float | None = None, shared: bool = False):
        self.home, self.turn, self.shared = home, turn, shared
        self.turns = Turns(home)
        self.live: list[Live] = []  # as the last look found it
        self._asked: dict[tuple[Path, int], float] = {}  # which attempts were asked to make way, and when
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._loop, name="queue", daemon=True)
        self._lock = storage.Lock(home / "queue.lock")
        self._locked = False
        self._settled: dict[Path, Stamp] = {}  # what needs nothing, with its record's stamp when that was found
        self._children: list[tuple[Waiting, warm.Process]] = []
        self._retry: dict[tuple[Path, int], tuple[int, float]] = {}  # failed starts: how many, not before when
        self._tokens: dict[str, str] = {}
        self._standby = warm.Standby(home)
        self._ended: list[Run] = []  # runs that the last look found to have ended
        self._troubles = faults.ThrottledLog(log)

    def start(self) -> None:
        """Begin to look after the queue."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking after the queue; what runs lives on."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        self._standby.close()
        self._lock.release()
        self._locked = False

    def expect(self) -> None:
        """Somebody is here who may start something: it is to begin at once then."""
        self._standby.expect()

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
        waiting, live = self._survey()
        self.live = live
        self._tell()
        for lane, places in AT_ONCE.items():
            waiting_here = [entry for entry in waiting if entry.lane == lane]
            live_here = [entry for entry in live if entry.lane == lane]
            left = self._start_in(lane, places, live_here, waiting_here)
            if left and len(live_here) >= places and self.turn is not None and lane in MAKES_WAY:
                self._clear(left, live_here, self.turn)
        self._standby.look(training=self._is_busy(live))

    def _is_busy(self, live: list[Live]) -> bool:
        """Whether something has the cores for itself, or is about to."""
        under_way = [*live, *(entry for entry, _ in self._children)]
        return any(entry.lane == "heavy" for entry in under_way)

    def busy(self, lane: str) -> Counter[str]:
        """How much of each person's is under way in a lane, as the last look found it."""
        return Counter(entry.owner for entry in self.live if entry.lane == lane)

    def _start_in(self, lane: str, places: int, live: list[Live], waiting: list[Waiting]) -> list[Waiting]:
        """Start what has room in a lane, in turn; returns what could start and has none."""
        busy = Counter(entry.owner for entry in live)
        now = time.monotonic()
        most = max(1, places // 2) if self.shared else places
        left = []
        for entry in turns.in_turn(waiting, self.turns.last(lane), busy):
            if self._retry.get((entry.work.path, entry.attempt), (0, 0.0))[1] > now:
                continue
            if busy.total() >= places or busy[entry.owner] >= most:
                left.append(entry)
            elif self._start(entry):
                busy[entry.owner] += 1
        return left

    def _start(self, entry: Waiting) -> bool:
        """Start a supervisor; False where that failed, or where it is refused."""
        work = entry.work
        attempt = entry.attempt
        log.info("starting %s %s, attempt %d", work.word, work.id, attempt)
        try:
            if self.shared and isinstance(work, Run) and _opens_a_port(work):
                controls.cancel(work, SEVERAL_MACHINES)
                return False
            self.turns.started(entry.lane, entry.owner)
            self._children.append((entry, spawn(work, attempt, self._tokens.get(work.id), server=self._standby.server)))
        except (OSError, storage.Corrupt) as error:  # of this one's folder: those behind it need not wait for it
            self._later(work, attempt, str(error))
            return False
        self._tokens.pop(work.id, None)
        return True

    def _clear(self, waiting: list[Waiting], live: list[Live], turn: float) -> None:
        """Ask work that has had its turn to make way for others that wait."""
        now = time.monotonic()
        living = {entry.work.path for entry in self.live}
        self._asked = {key: when for key, when in self._asked.items() if key[0] in living}
        for entry in turns.making_way(waiting, live, turn, time.time()):
            work = entry.work
            try:
                key = (work.path, work.attempts()[1])
                if now - self._asked.get(key, -ASK_AGAIN) < ASK_AGAIN or not turns.can_make_way(work, turn):
                    continue
                self._asked[key] = now
                if controls.make_way(work, TURN, *turns.TOLD[work.word]):
                    log.info("%s %s makes way for others", work.word, work.id)
            except (storage.Corrupt, OSError):  # ended and deleted in this moment, or the disk takes nothing
                continue

    def _tell(self) -> None:
        """Let the webhook know of runs that were found to have ended, in a thread: an address may be slow to answer."""
        ended = self._ended
        self._ended = []
        owed = []
        for run in ended:
            try:
                attempt = webhook.owed(run)
            except (storage.Corrupt, OSError):  # shown as unreadable by the page
                continue
            if attempt is not None:
                owed.append((run, attempt))
        if owed:
            threading.Thread(target=_tell_each, args=(owed,), name="webhook", daemon=True).start()

    def _look_after_children(self) -> None:
        """Forget supervisors we started that have ended. One that never began is tried again, later each time."""
        children = self._children
        self._children = []
        for entry, process in children:
            if process.poll() is None:
                self._children.append((entry, process))
                continue
            with suppress(storage.Corrupt, OSError):  # deleted, or a folder that cannot be read: its page says so
                if entry.work.attempts()[1] < entry.attempt and not entry.work.supervised():
                    self._later(entry.work, entry.attempt,
                                f"it ended with status {process.returncode} before it began")

    def _later(self, work: Work, attempt: int, why: str) -> None:
        """Try an attempt that could not start again, later each time."""
        count = self._retry.get((work.path, attempt), (0, 0.0))[0]
        wait = RETRY_SECONDS[min(count, len(RETRY_SECONDS) - 1)]
        self._retry[work.path, attempt] = count + 1, time.monotonic() + wait
        if (count + 1) & count == 0:  # the 1st, 2nd, 4th, 8th ... time: a disk may stay full for long
            log.error("the supervisor of %s %s did not start: %s; tried %d times, next in %.0f s", work.word, work.id,
                      why, count + 1, wait)

    def _survey(self) -> tuple[list[Waiting], list[Live]]:
        """What waits and what lives, in no order. Reads only what changed since it was settled."""
        now = time.time()
        known = self._settled
        self._settled = {}
        waiting: list[Waiting] = []
        # What was started here has its place, whatever its files say at this moment.
        live = {entry.work.path: Live(entry.work, entry.owner, entry.lane, now) for entry, _ in self._children}
        for work in (*Run.every(self.home), *Job.every(self.home)):
            try:
                stamp = storage.stamp(work.record_file)
                if stamp is not None and known.get(work.path) == stamp:
                    self._settled[work.path] = stamp
                else:
                    self._look_at(work, stamp, waiting, live, now)
            except (storage.Corrupt, OSError, TypeError, ValueError):  # shown as unreadable by the page
                continue
        return waiting, list(live.values())

    def _look_at(self, work: Work, stamp: Stamp, waiting: list[Waiting], live: dict[Path, Live], now: float) -> None:
        """Add a run or a job to what waits or to what lives, or settle it. Raises Corrupt, OSError, and TypeError or
        ValueError for a damaged record."""
        record = work.record()
        process = work.process()
        asked, began = work.attempts()
        if work.path in live or work.alive():
            since = process.get("began") if asked == began else None  # None: it has not begun yet
            live[work.path] = Live(work, record["owner"], work.lane, float(since or now))
        elif asked > began:
            if not _is_left_to_starter(record, now):
                waiting.append(Waiting(work, record["owner"], float(record["rank"]), work.lane, asked))
        elif not (isinstance(work, Run) and turns.go_on(work)):
            self._settle(work, stamp)

    def _settle(self, work: Work, stamp: Stamp) -> None:
        """It has ended: it is not looked at again before its record changes."""
        self._settled[work.path] = stamp
        if isinstance(work, Run):
            self._ended.append(work)


def _is_left_to_starter(record: WorkRecord, now: float) -> bool:
    """Whether somebody else is about to start it."""
    return 0 < record.get("held_until", 0.0) - now <= MOST_HELD


def _opens_a_port(run: Run) -> bool:
    """Whether a run is of several machines: one that was asked for before strangers signed in, or by other means than
    this server's doors, which refuse it."""
    try:
        return run.config().compute.num_machines > 1
    except (ConfigError, storage.Corrupt):  # its supervisor says what is wrong with it
        return False


def _tell_each(owed: list[tuple[Run, int]]) -> None:
    for run, attempt in owed:
        try:
            webhook.after(run, attempt)
        except (storage.Corrupt, ConfigError, OSError):  # a damaged run, or one deleted meanwhile: the others are told
            log.exception("the webhook was not told of run %s", run.id)
