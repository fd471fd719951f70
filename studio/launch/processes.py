"""The processes of a run or a job: known by ancestry and a mark in their environment, and ended without a remainder."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

MARK = "STUDIO_RUN_FOLDER"  # in the environment of every process of a run's tree, and of no other
TRAINER, JOB = "studio.train.loop", "studio.jobs"  # the programs that work, as `python -m` names them
_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Make this process the parent of every orphan below it (Linux only; elsewhere the mark alone finds them)."""
    if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def mark(folder: Path) -> dict[str, str]:
    """The environment variable that marks a process as one of the run in `folder`."""
    return {MARK: str(folder)}


def marked(folder: Path) -> list[psutil.Process]:
    """Every process of the run in `folder`, whoever its parent is by now."""
    processes = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == str(folder):
                processes.append(process)
        except psutil.Error:  # gone, a zombie, or another user's: not ours to end
            continue
    return processes


def members(folder: Path) -> list[psutil.Process]:
    """Every living process of the run: this process's descendants and the marked ones."""
    by_pid = {process.pid: process for process in [*marked(folder), *psutil.Process().children(recursive=True)]}
    return list(filter(lives, by_pid.values()))


def ranks(folder: Path) -> list[psutil.Process]:
    """The working processes proper (of a run, one per rank): neither accelerate's launcher nor loader workers or other
    helpers."""
    workers = list(filter(_is_worker, members(folder)))
    pids = {process.pid for process in workers}
    return [process for process in workers if _parent(process) not in pids]


class RankGroup:
    """The ranks of a run on this machine: they wait for each other, so when one is gone the others cannot go on."""

    def __init__(self, folder: Path, size: int):
        self.folder, self.size = folder, size
        self.seen: list[psutil.Process] = []
        self.since: float | None = None

    def broken(self) -> float:
        """For how many seconds some of them have been gone and others not; 0 before all were there."""
        if self.size == 1:
            return 0.0
        if len(self.seen) < self.size:
            self.seen = ranks(self.folder)
            return 0.0
        living = sum(map(lives, self.seen))
        if living in (0, self.size):
            return 0.0
        self.since = self.since or time.monotonic()
        return time.monotonic() - self.since


def lives(process: psutil.Process) -> bool:
    """Whether it has not ended; neither a zombie lives, nor whoever got its number."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end(processes: Iterable[psutil.Process], grace: float) -> list[psutil.Process]:
    """Terminate the processes, and kill those still there after `grace` seconds (0: kill at once).

    Returns what no signal could end.
    """
    left = list(processes)
    if grace:
        _signal(left, signal.SIGTERM)
        _signal(left, signal.SIGCONT)  # a stopped process takes SIGTERM only when it runs again
        _, left = psutil.wait_procs(left, timeout=grace)
    _signal(left, signal.SIGKILL)
    _, left = psutil.wait_procs(left, timeout=5)
    return list(filter(lives, left))


def end_all(folder: Path, grace: float, deadline: float = 20.0, but: int | None = None) -> list[psutil.Process]:
    """End every process of the run, those too that are born meanwhile; returns what is left after `deadline` s.

    `but` is the process that is about to begin."""
    last = time.monotonic() + deadline
    left = _members_but(but, folder)
    while left and time.monotonic() < last:
        end(left, grace)
        grace = 0.0
        left = _members_but(but, folder)
    reap(but)
    return left


def _members_but(but: int | None, folder: Path) -> list[psutil.Process]:
    return [process for process in members(folder) if process.pid != but]


def reap(but: int | None = None) -> None:
    """Take the exit status of orphans that this process has inherited, so that no zombie stays."""
    for child in psutil.Process().children():
        try:
            if child.pid != but and child.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(child.pid, os.WNOHANG)
        except (psutil.NoSuchProcess, ChildProcessError):
            continue


def send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Send one signal to each process that is still there."""
    _signal(processes, number)


def _signal(processes: Iterable[psutil.Process], number: int) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def _is_worker(process: psutil.Process) -> bool:
    try:
        argv = process.cmdline()
    except psutil.Error:
        return False
    launcher = any("accelerate" in word or "torch.distributed" in word for word in argv)
    return bool({TRAINER, JOB} & set(argv)) and not launcher


def _parent(process: psutil.Process) -> int:
    try:
        return process.ppid()
    except psutil.NoSuchProcess:
        return 0
