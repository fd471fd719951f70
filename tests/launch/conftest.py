"""Runs made cheaply, and supervisors as real processes, so that killing one is killing one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from studio import config, storage
from studio.folders import runs, work
from studio.launch import processes as tree

from ..measured import facts, know

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CODE = ("import sys; from pathlib import Path; from studio.launch import supervise, work_in; "
        "print(supervise(work_in(Path(sys.argv[1])), int(sys.argv[2]), sys.argv[3:]))")


def wait_for(what: Callable[[], Any], seconds: float = 90.0) -> Any:
    """The first true value of `what`."""
    last = time.monotonic() + seconds
    while time.monotonic() < last:
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run."""
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


class Bench:
    """Makes runs in one home, supervises them, and knows what is left of them."""

    def __init__(self, home: Path):
        self.home, self.reader, self.started = home, runs.EventReader(), []

    def run(self, name: str = "a run", owner: str = "") -> runs.Run:
        """A queued run without pictures."""
        return runs.create(self.home, name=name, owner=owner, config=config.load({}), rows=[])

    def job(self, light: bool = False, owner: str = "") -> work.Job:
        """A waiting job, which a stand-in does."""
        return work.submit(self.home, "measure", {"dataset": "sample"}, name="a job", owner=owner, light=light)

    def argv(self, run: work.Work, mode: str, *more: str) -> list[str]:
        """The command of the stand-in trainer."""
        return [sys.executable, str(HERE / "trainer.py"), str(run.path), mode, *more]

    def supervise(self, run: work.Work, argv: list[str], attempt: int = 1) -> subprocess.Popen[str]:
        """A supervisor in a session of its own; it prints whether the attempt was its own."""
        process = subprocess.Popen([sys.executable, "-c", CODE, str(run.path), str(attempt), *argv], cwd=ROOT,
                                   stdout=subprocess.PIPE, text=True, start_new_session=True,
                                   env={**os.environ, "PYTHONPATH": str(ROOT)})
        self.started.append((run, process))
        return process

    def through(self, run: work.Work, mode: str, *more: str) -> dict[str, Any]:
        """exit.json of an attempt lived through."""
        self.supervise(run, self.argv(run, mode, *more)).wait(60)
        return json.loads(run.exit_file.read_text())

    def state(self, run: work.Work) -> str:
        """The run's state."""
        return self.reader.state(run)[0]

    def until(self, run: work.Work, *states: str) -> str:
        """Wait for one of the states."""
        return wait_for(lambda: (found := self.state(run)) in states and found)

    def stepping(self, run: work.Work) -> None:
        """Wait until the run has made some steps."""
        wait_for(lambda: self.reader.history(run).step >= 3)


@pytest.fixture(scope="session")
def facts_of_machine() -> Path:
    """machine.json, for homes beside a test's own."""
    return facts()


@pytest.fixture
def home(home: Path) -> Path:
    """A home that knows this machine."""
    return know(home)


@pytest.fixture
def bench(home: Path) -> Iterator[Bench]:
    made = Bench(home)
    yield made
    for run, process in made.started:
        left = tree.marked(run.path)
        for process_left in left:
            process_left.kill()
        psutil.wait_procs(left, 20)
        if process.poll() is None:
            process.kill()
        process.communicate()
    assert all(not p.is_running() for run, _ in made.started for p in tree.marked(run.path))


def nobody_left(run: work.Work) -> bool:
    """No process of the run, and no lock held."""
    return not tree.marked(run.path) and not storage.is_locked(run.lock.path) and not run.alive()


def processes(run: work.Work) -> list[psutil.Process]:
    """Every process of the run."""
    return tree.marked(run.path)
