"""Runs of several processes, here and on two machines: whichever dies, all are gone with the cause, and it goes on."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psutil
import pytest

from studio import bundle, datasets, launch, prepare, storage
from studio.folders import events, runs
from studio.launch import processes as tree
from studio.system import machine

from ..measured import know
from .conftest import alive, wait_for

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "studio" / "assets" / "sample" / "images"
CONFIG: dict[str, Any] = {
    "data": {"resolution": 32}, "train": {"max_steps": 4000, "batch_size": 1, "seed": 3, "mixed_precision": "no"},
    "sample": {"prompts": []}, "checkpoint": {"every_steps": 4}}
until = partial(wait_for, seconds=150.0)
pytestmark = pytest.mark.skipif(machine.cores() < 2, reason="two processes need two cores")


@pytest.fixture
def made(home: Path) -> Any:
    """made(section={...}) -> a queued run of the embedded base on five pictures."""
    pictures = datasets.begin(home, "five", "local")
    datasets.add(pictures, [(path.name, path) for path in sorted(PICTURES.glob("*.webp"))[:5]])

    def make(**changes: dict[str, Any]) -> runs.Run:
        config = {**CONFIG, "data": {**CONFIG["data"], "dataset": pictures.id}}
        for section, values in changes.items():
            config[section] = {**config.get(section, {}), **values}
        return prepare.submit(home, name="many", owner="local", config=config)

    return make


class RunHistory:
    """A run's state, followed."""

    def __init__(self, run: runs.Run):
        self.run, self.reader = run, runs.EventReader()

    def stepping(self, attempt: int) -> list[psutil.Process]:
        """Every process of the run, once this attempt has made steps of its own and one can go on from there."""

        def there() -> bool:
            told = events.read(self.run.events_file)[0]
            begun = [n for n, event in enumerate(told) if event["kind"] == "attempt"]
            made = [e for e in told[begun[-1]:] if e["kind"] == "step"] if len(begun) == attempt else []
            return len(made) > 1 and any(self.run.valid_checkpoints())

        until(there)
        return tree.marked(self.run.path)

    def over(self, processes: list[psutil.Process], since: float) -> str:
        """The state that the run ends in, with no process left; it has 15 seconds from `since`."""
        state = until(lambda: (s := self.reader.state(self.run)[0]) not in events.ACTIVE and not alive(processes) and s)
        print(f"{state}, and nothing left, after {time.monotonic() - since:.1f} s")
        assert time.monotonic() - since < 15
        return state


def reachable(processes: list[psutil.Process]) -> list[str]:
    """The addresses, other than loopback, on which these processes can be reached."""
    found = [c.laddr for p in processes for c in p.net_connections("inet")
             if c.status == psutil.CONN_LISTEN or c.type == socket.SOCK_DGRAM]
    return [f"{address.ip}:{address.port}" for address in found if not ip_address(address.ip).is_loopback]


def rank(processes: list[psutil.Process], number: int) -> psutil.Process:
    """The process of that rank."""
    return next(p for p in processes if tree._is_worker(p) and p.environ()["RANK"] == str(number))


def test_whichever_rank_dies_the_run_fails_with_the_cause_and_goes_on(made: Any) -> None:
    run = made(compute={"num_processes": 2})
    history, supervisor = RunHistory(run), launch.spawn(run, 1)
    for attempt, victim in ((1, 1), (2, 0)):
        processes = history.stepping(attempt)
        assert len([p for p in processes if tree._is_worker(p)]) == 2
        assert not reachable(processes), "a stranger could join the run"
        rank(processes, victim).kill()
        assert history.over(processes, time.monotonic()) == "failed"
        found = storage.read_json(run.exit_file)
        assert found["signal"] == signal.SIGKILL and found["error"]["code"] == "killed", found
        assert "Resume continues from checkpoint-" in found["error"]["hint"]
        supervisor.wait(30)
        assert launch.resume(run, history.reader) == attempt + 1
        supervisor = launch.spawn(run, attempt + 1)
    processes = history.stepping(3)
    launch.ask(run, "pause", history.reader)
    until(lambda: history.reader.state(run)[0] == "paused" and not alive(processes))
    told = [e["exact"] for e in events.read(run.events_file)[0] if e["kind"] == "resumed"]
    assert told == [True, True]


def test_when_the_supervisor_dies_all_ranks_leave(made: Any) -> None:
    run = made(compute={"num_processes": 2, "deepspeed_stage": 3})
    history, supervisor = RunHistory(run), launch.spawn(run, 1)
    processes = history.stepping(1)
    assert not reachable(processes)
    supervisor.kill()
    supervisor.wait()
    assert history.over(processes, time.monotonic()) == "interrupted"
    supervisor = launch.spawn(run, launch.resume(run, history.reader))
    processes = history.stepping(2)
    launch.ask(run, "pause", history.reader)
    until(lambda: history.reader.state(run)[0] == "paused" and not alive(processes))
    supervisor.wait(30)
    assert history.reader.history(run).resumes[-1]["exact"]


@pytest.mark.parametrize("stage", [0, 3])
def test_a_supervisor_that_is_told_to_end_takes_all_ranks_along(made: Any, stage: int) -> None:
    """SIGTERM, as from a machine that shuts down: nobody left, saved where the seconds allow it, resumed exactly."""
    asked = {"train": {"max_steps": 16}, "compute": {"num_processes": 2, "deepspeed_stage": stage}}
    run, whole = made(**asked), made(**asked)
    history, supervisor = RunHistory(run), launch.spawn(run, 1)
    processes = history.stepping(1)
    supervisor.terminate()
    state = history.over(processes, time.monotonic())
    supervisor.wait(30)
    told, newest = history.reader.history(run), next(run.valid_checkpoints())[0].name
    assert not tree.marked(run.path) and state in ("paused", "interrupted")  # the latter: a step took too long
    assert state == "interrupted" or told.warnings[-1]["code"] == "terminated" and newest in told.warnings[-1][
        "message"].replace("step ", "checkpoint-")
    launch.spawn(run, launch.resume(run, history.reader)).wait(250)
    launch.spawn(whole, 1).wait(250)
    first, second = (history.reader.history(one) for one in (whole, run))
    assert first.end and second.end and first.end["result"] == second.end["result"] == "finished"
    assert second.resumes[-1]["exact"] and second.curve.loss == first.curve.loss


def test_a_stopped_rank_does_not_hold_the_others_up_for_ever(made: Any) -> None:
    """One is gone, and the other neither hears SIGTERM nor notices: the supervisor ends it."""
    run = made(compute={"num_processes": 2})
    history, supervisor = RunHistory(run), launch.spawn(run, 1)
    processes = history.stepping(1)
    rank(processes, 0).suspend()
    rank(processes, 1).kill()
    assert history.over(processes, time.monotonic()) == "failed"
    assert storage.read_json(run.exit_file)["error"]["code"] in ("killed", "lost_process")
    supervisor.wait(30)


@pytest.mark.parametrize(("stage", "compute"), [(2, {}), (3, {"offload_param_device": "cpu"})])
def test_recomputed_and_refined_the_base_learns_the_same(made: Any, stage: int, compute: dict[str, Any]) -> None:
    """Gradient checkpointing runs forward again in the backward pass, DREAM once more before: each gathers weights."""
    recipe = {"train": {"max_steps": 3, "gradient_checkpointing": True}, "objective": {"dream": True}}
    two = made(**recipe, compute={"num_processes": 2, "deepspeed_stage": stage, **compute})
    one = made(**{**recipe, "train": {**recipe["train"], "batch_size": 2}})
    reader = runs.EventReader()
    for run in (two, one):
        launch.spawn(run, 1).wait(250)
        assert reader.state(run)[0] == "finished", run.log_file.read_text()[-3000:]
    first, second = (reader.history(run).curve.loss for run in (one, two))
    assert len(first) == 3 and list(second) == pytest.approx(list(first), abs=1e-5)


def free_port() -> int:
    """A TCP port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def other_machine(tmp: Path, run: runs.Run) -> subprocess.Popen[str]:
    """The second machine: a home of its own, and nothing of the first but the bundle."""
    packed, home = tmp / "run.zip", tmp / "other"
    bundle.write(run, packed, start=True)
    know(home)
    know(home / "machines")
    return subprocess.Popen([sys.executable, "-m", "studio.remote.elsewhere", str(packed), "--machine-rank", "1"],
                            cwd=ROOT, env={**os.environ, "STUDIO_HOME": str(home)}, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)


def two_machines(made: Any, stage: int, **train: Any) -> runs.Run:
    """A run of two machines with one process each."""
    return made(train=train, compute={"num_processes": 2, "num_machines": 2, "main_address": "127.0.0.1",
                                      "main_port": free_port(), "deepspeed_stage": stage})


@pytest.mark.parametrize("stage", [0, 3])
def test_two_machines_train_what_one_does(made: Any, tmp_path: Path, stage: int) -> None:
    two = two_machines(made, stage, max_steps=6)
    other, supervisor = other_machine(tmp_path, two), launch.spawn(two, 1)
    printed, _ = other.communicate(timeout=200)
    supervisor.wait(60)
    assert other.returncode == 0, printed
    reader = runs.EventReader()
    assert reader.state(two)[0] == "finished", two.log_file.read_text()[-3000:]
    (there,) = (tmp_path / "other" / "machines" / "runs").iterdir()
    assert (there / "train.log").is_file() and not any((there / "checkpoints").iterdir())
    assert not (there / "samples").exists() or not any((there / "samples").iterdir())
    assert not (there / "events.jsonl").exists() or not (there / "events.jsonl").read_text()
    one = made(train={"max_steps": 6, "batch_size": 2})
    launch.spawn(one, 1).wait(200)
    first, second = (reader.history(run).curve.loss for run in (one, two))
    assert len(first) == 6 and list(second) == pytest.approx(list(first), abs=1e-5)


def test_a_dead_machine_ends_the_run_on_the_other(made: Any, tmp_path: Path) -> None:
    run = two_machines(made, 0)
    other, supervisor = other_machine(tmp_path, run), launch.spawn(run, 1)
    history = RunHistory(run)
    processes = history.stepping(1)
    for process in [*psutil.Process(other.pid).children(recursive=True), psutil.Process(other.pid)]:
        process.kill()
    assert history.over(processes, time.monotonic()) == "failed"
    error = json.loads(run.exit_file.read_text())["error"]
    assert error["code"] == "lost_process" and "another machine" in error["message"], error
    supervisor.wait(30)
    other.communicate()
