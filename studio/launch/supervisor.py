"""One attempt of a run or a job from start to end: owns its lock, runs the process that does the work (a trainer, a
job), leaves no process and no doubt behind.

    python -m studio.launch FOLDER --attempt N
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import psutil

from studio import config as config_
from studio import storage
from studio.errors import StudioError
from studio.folders import events
from studio.folders import work as work_
from studio.folders.records import ErrorRecord, Event, ExitRecord, ProcessRecord
from studio.folders.runs import Run
from studio.folders.work import Job, NotFound, Work, as_json
from studio.launch import command, diagnosis, warm
from studio.launch import processes as tree
from studio.messages import Message, word
from studio.storage import faults
from studio.storage.spare import Spare

TICK = 0.2
LOG_LIMIT = 20 << 20  # bytes; one older part of the same size is kept
LOCK_PATIENCE = 15.0  # seconds for the trainer of an earlier attempt to leave
CANCEL_PATIENCE = 15.0  # seconds a trainer has to honour a cancel
DOWNLOAD_PATIENCE = 10.0  # seconds that a pause waits for a download; there is nothing to save yet
AWAY_PATIENCE = 90.0  # the same for a job elsewhere: the line to it may be slow
STOP_PATIENCE = 9.0  # seconds after SIGTERM; Docker kills after 10
LOST_PATIENCE = 5.0  # seconds that a run's processes have to leave by themselves when one of them is gone
END_GRACE = 2.0  # seconds between SIGTERM and SIGKILL for what a trainer leaves behind


class CannotStart(StudioError):
    """The attempt cannot begin."""


def work_in(path: Path) -> Work:
    """The run or the job whose folder this is. Raises NotFound."""
    for kind in (Run, Job):
        if (path / kind.record_name).is_file():
            return kind(path)
    raise NotFound(Message("{path} is no folder of a run or a job: it has no run.json or job.json", path=path))


def supervise(run: Work, attempt: int, argv: list[str] | None = None, worker: warm.Worker | None = None) -> bool:
    """Live through one attempt; False when it is not ours: another supervisor was first, or nobody asked for it.

    `argv` replaces the command that does the work; `worker` has its imports already, and does it where it can.
    Afterwards exit.json says how it ended and no process of it is left.
    Raises OSError where the attempt cannot even be recorded as begun: it then waits as before.
    """
    lock = run.lock
    if not lock.acquire():
        return False
    try:
        asked, began = run.attempts()
        if not began < attempt <= asked:
            return False
        ours = _Attempt(run, attempt, argv, worker)
        ours.record()
        ours.live()
        return True
    finally:
        lock.release()


class _Attempt:
    """What one attempt knows while it lives."""

    def __init__(self, run: Work, number: int, argv: list[str] | None, worker: warm.Worker | None):
        self.run, self.number = run, number
        self.worker = worker  # waits to begin
        self.replaced = argv  # the command in place of the run's own
        self.told_to_end: float | None = None  # when SIGTERM came, monotonic
        self.passed_on = False  # whether the trainer was told too
        self.cancel_seen: float | None = None
        self.result: str | None = None
        self.process: warm.Process | None = None
        self.ranks = 1  # processes of the run on this machine
        self.away = False  # whether it trains on a rented machine, and the process here only watches
        self.lost = False  # whether the others had to be ended because one was gone
        self.spare = Spare(run.home)
        self.troubles = set[str]()  # what was said of a disk that did not answer
        self.ooms = diagnosis.oom_kills()
        self.first_event = _size(run.events_file)
        self.log_start = _size(run.log_file)

    def live(self) -> None:
        """Start, watch, clear up, and write exit.json last."""
        tree.adopt_orphans()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        error: ErrorRecord | None = None
        try:
            self._clear_the_way()
            self._start()
            self._watch()
        except CannotStart as problem:
            error = diagnosis.supervisor_error(problem.code, problem.message, problem.hint)
        except (OSError, storage.Corrupt, config_.ConfigError) as problem:
            error = diagnosis.of_disk(self.run, faults.of(problem), str(problem)) or diagnosis.supervisor_error(
                "supervisor_failed",
                Message("The {what} could not be looked after: {why}", what=word(self.run.worker), why=problem),
                Message("Put it right, then {what}.", what=diagnosis.again(self.run)))
        finally:
            grace = 0.0 if self.result else END_GRACE
            left = tree.end_all(self.run.path, grace)
            self._write_exit(error, left)

    def _on_signal(self, *_: object) -> None:
        self.told_to_end = self.told_to_end or time.monotonic()

    def record(self) -> None:
        """The attempt has begun: process.json says so. What a cut cancel in the queue left to tell of it goes first."""
        self.spare.fill()
        argv: list[str] = []
        with suppress(storage.Corrupt, config_.ConfigError):  # `live` meets it again, and says so
            argv = self.replaced or command.argv(self.run)
            exit_ = self.run.exit()
            if exit_ is not None and exit_["attempt"] == self.number:
                storage.remove(self.run.exit_file)
        me = psutil.Process()
        begun: ProcessRecord = {"attempt": self.number, "pid": me.pid, "start_time": me.create_time(),
                                "boot_id": _boot_id(), "argv": argv, "began": time.time()}
        self.spare.write(self.run.process_file, as_json(begun))

    def _clear_the_way(self) -> None:
        """Wait for the trainer of an earlier attempt to leave; end what it left. Raises CannotStart."""
        path = self.run.worker_lock.path
        last = time.monotonic() + LOCK_PATIENCE
        while storage.is_locked(path) and time.monotonic() < last and self.told_to_end is None:
            time.sleep(TICK / 2)
        left = tree.end_all(self.run.path, END_GRACE, but=self.worker.pid if self.worker else None)
        if left or storage.is_locked(path):
            raise CannotStart(Message("A process of an earlier attempt is still there (process {pids}) and could not "
                                      "be ended.", pids=_pids(left) or "unknown"),
                              Message("End that process or restart the machine, then {what}.",
                                      what=diagnosis.again(self.run)), "leftover_trainer")

    def _start(self) -> None:
        argv, environment = self._command()
        if self._cancel_waits():
            self.result = "cancelled"
            return
        with open(self.run.log_file, "ab") as log:
            stamp = datetime.now().astimezone().isoformat(timespec="seconds")
            log.write(f"--- attempt {self.number}, {stamp} ---\n".encode())
            log.flush()
            self.log_start = log.tell()
            request: warm.Request = {"argv": argv, "environment": environment, "folder": str(self.run.path),
                                      "log": str(self.run.log_file)}
            self.process = self._prepared(request)
            if self.process is None:
                self.process = subprocess.Popen(argv, cwd=self.run.path, env=environment, stdin=subprocess.DEVNULL,
                                                stdout=log, stderr=log)
        _offer_to_oom_killer(self.process.pid)

    def _prepared(self, request: warm.Request) -> warm.Worker | None:
        """What waits with its imports done, as it begins this work; None where there is none, or none that can."""
        if self.worker is None:
            return None
        if self._is_prepared_for() and self.worker.begin(request):
            return self.worker
        self.worker.end()
        return None

    def _is_prepared_for(self) -> bool:
        """Whether what waits has imported what this work needs."""
        if isinstance(self.run, Run):
            return self.ranks == 1 and not self.away
        return self.run.record()["kind"] in warm.JOBS

    def _command(self) -> tuple[list[str], dict[str, str]]:
        if not isinstance(self.run, Run):
            return self.replaced or command.argv(self.run), command.job_environment(self.run)
        config = self.run.config()
        if config.compute.backend != "local" and not self.replaced:
            self.away = True
            return command.argv(self.run), command.watcher_environment(self.run)
        if self.replaced:
            return self.replaced, command.trainer_environment(self.run, config, 0)
        gpus = command.gpus(self.run)
        self.ranks = config_.local_processes(config.compute)
        argv = command.write(self.run, config, gpus)
        return argv, command.trainer_environment(self.run, config, gpus)

    def _watch(self) -> None:
        """Wait for the trainer to end, passing on what it is told and ending it when it does not obey."""
        party = tree.RankGroup(self.run.path, self.ranks)
        while self.process is not None and self.process.poll() is None:
            time.sleep(TICK)
            if self._overstayed(self.process):
                self.result = "interrupted"
                return
            try:
                cap_log(self.run.log_file)
                self.result = self._due_ending()
            except OSError as error:  # a disk that does not answer is no reason to end what trains
                self._trouble(error)
            if self.result is not None:
                return
            if party.broken() > LOST_PATIENCE:
                self.lost = True
                return

    def _due_ending(self) -> str | None:
        """How the attempt ends now, where somebody has waited long enough for its end."""
        if self._cancel_is_due():
            return "interrupted" if self.away else "cancelled"  # what is rented may still be there
        if self._pause_is_due():
            return "paused"
        return None

    def _overstayed(self, process: warm.Process) -> bool:
        """Pass SIGTERM on, once; whether the trainer has not left in the time that it has after it."""
        if self.told_to_end is None:
            return False
        if not self.passed_on:
            tree.send(tree.ranks(self.run.path) or [psutil.Process(process.pid)], signal.SIGTERM)
            self.passed_on = True
        return time.monotonic() - self.told_to_end > STOP_PATIENCE

    def _trouble(self, error: OSError) -> None:
        """Say it in the log, each kind once."""
        text = faults.plain(error)
        if text not in self.troubles:
            self.troubles.add(text)
            _say(f"the supervisor met an error of the disk: {text}")

    def _cancel_waits(self) -> bool:
        return any(kind == "cancel" for _, kind, *_ in self.run.requests())

    def _cancel_is_due(self) -> bool:
        """Whether a cancel is overdue; before rank 0 holds its lock there is nobody to ask, so it is due at once."""
        if self.cancel_seen is None and self._cancel_waits():
            self.cancel_seen = time.monotonic()
        if self.cancel_seen is None:
            return False
        patience = 1.0
        if storage.is_locked(self.run.worker_lock.path):
            patience = AWAY_PATIENCE if self.away else CANCEL_PATIENCE
        return time.monotonic() - self.cancel_seen > patience

    def _pause_is_due(self) -> bool:
        """Whether a pause has waited long enough for the base's download, during which a trainer hears nothing."""
        asked = self._pause_asked()
        if asked is None or time.time() - asked < DOWNLOAD_PATIENCE:
            return False
        phase = None
        for event in self._events(1 << 16):
            if event["kind"] == "phase":
                phase = event["phase"]
        return phase == "downloading"

    def _pause_asked(self) -> float | None:
        """When the oldest open pause was asked for, in unix seconds."""
        for id_, kind, *_ in self.run.requests():
            if kind == "pause" and id_[:20].isdigit():
                return int(id_[:20]) / 1e9
        return None

    def _write_exit(self, error: ErrorRecord | None, left: list[psutil.Process]) -> None:
        """The last word on the attempt; `left` are processes of it that no signal could end."""
        returncode = self.process.returncode if self.process else None
        evidence = diagnosis.tail(self.run.log_file, self.log_start)
        number = diagnosis.signal_of(int(self.lost) if returncode is None else returncode, evidence)
        oom = diagnosis.oom_kills() > self.ooms
        began, ended = self._told()
        if ended:
            self.result = None
        elif error is None and self.result is None:
            status = 1 if self.lost else returncode or 0
            error = diagnosis.error(self.run, returncode=status, number=number, oom=oom, began=began, evidence=evidence,
                                    lost=self.lost)
        error = self._clear_answered(error)
        if left:
            error = diagnosis.supervisor_error(
                "leftover", Message("Processes of this {what} could not be ended: {pids}", what=word(self.run.word),
                                    pids=_pids(left)),
                Message("Restart the machine."), evidence)
        exit_: ExitRecord = {"attempt": self.number, "returncode": returncode, "signal": number, "oom_kill": oom,
                             "result": self.result, "error": error, "ended": time.time()}
        try:
            self.spare.write(self.run.exit_file, as_json(exit_))
            self.run.ended()
        except OSError as problem:
            self._trouble(problem)

    def _clear_answered(self, error: ErrorRecord | None) -> ErrorRecord | None:
        """Remove the requests for the ending that was carried out here. Returns the `error`, or where there is none the
        reason that came with a cancel."""
        if self.result not in ("cancelled", "paused"):
            return error
        ending = "cancel" if self.result == "cancelled" else "pause"
        for _, kind, args, path in self.run.requests():
            if kind != ending:
                continue
            if kind == "cancel" and not error:
                error = work_.why_ended(args)
            storage.clear(path)
        return error

    def _told(self) -> tuple[bool, bool]:
        """Whether the trainer wrote any event in this attempt, and whether it wrote its `end`."""
        written = self._events(1 << 18)
        return bool(written), any(event["kind"] == "end" for event in written)

    def _events(self, most: int) -> list[Event]:
        """The events of this attempt in the last `most` bytes of the file."""
        size = _size(self.run.events_file)
        return events.read(self.run.events_file, max(self.first_event, size - most))[0]


def cap_log(path: Path, limit: int = LOG_LIMIT) -> None:
    """When the log is larger than `limit` bytes, move what it holds to `<name>.1`, replacing the part before.

    The tree keeps the file open for appending, so the content is copied and the file emptied: what is written in
    between is lost, and on a full disk the older part is.
    """
    if _size(path) <= limit:
        return
    older = path.with_name(path.name + ".1")
    try:
        shutil.copyfile(path, older)
    except OSError as error:
        storage.clear(older)
        _say(f"the full log could not be kept: {faults.plain(error)}")
    os.truncate(path, 0)


def _pids(processes: Iterable[psutil.Process]) -> str:
    return ", ".join(str(process.pid) for process in processes)


def _say(text: str) -> None:
    """A line for the log, where the disk takes it."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _offer_to_oom_killer(pid: int) -> None:
    """Let the kernel's OOM killer prefer the trainer to the server; its children inherit it."""
    path = Path(f"/proc/{pid}/oom_score_adj")
    try:
        path.write_text(str(min(1000, int(path.read_text()) + 500)))
    except FileNotFoundError:  # not Linux, or the trainer has ended already
        return


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except FileNotFoundError:
        return str(int(psutil.boot_time()))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
