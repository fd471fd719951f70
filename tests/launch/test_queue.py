"""The queue on disk: order, exactly one start, restarts, two servers; and what may be asked in which state."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time

import psutil
import pytest

from studio import launch, storage
from studio.folders import runs
from studio.launch import queue


@pytest.fixture
def spawned(bench, monkeypatch):
    """Launchers that start real supervisors with the stand-in trainer; a list of what was started."""
    started: list[str] = []

    def spawn(run, attempt, token=None, **_):
        started.append(run.id)
        return bench.supervise(run, bench.argv(run, "finish"), attempt)

    monkeypatch.setattr(queue, "spawn", spawn)
    return started


def finished(bench, made):
    return lambda: all(bench.state(run) == "finished" for run in made)


def wait_for(what, seconds=60.0):
    last = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < last, "too late"
        time.sleep(0.05)


def attempts_made(run):
    return run.log_file.read_text().count("trainer in mode")


def test_waiting_runs_start_in_order_across_a_restart(bench, spawned):
    made = [bench.run(f"run {i}") for i in range(3)]
    made[2].update(rank=1.0)
    first = launch.Launcher(bench.home)
    first.start()
    wait_for(lambda: bench.state(made[2]) == "finished")
    first.close()
    second = launch.Launcher(bench.home)
    second.start()
    wait_for(finished(bench, made))
    second.close()
    assert spawned == [made[2].id, made[0].id, made[1].id]
    assert [attempts_made(run) for run in made] == [1, 1, 1]


def test_of_two_launchers_one_starts_runs_and_the_other_takes_over(bench, spawned):
    one, two = launch.Launcher(bench.home), launch.Launcher(bench.home)
    one.start()
    wait_for(lambda: storage.is_locked(bench.home / "queue.lock"))
    two.start()
    made = [bench.run() for _ in range(2)]
    wait_for(finished(bench, made))
    assert len(spawned) == 2
    one.close()
    later = bench.run()
    wait_for(finished(bench, [later]))
    two.close()
    assert [attempts_made(run) for run in [*made, later]] == [1, 1, 1]


def test_no_zombie_stays_and_a_live_run_holds_the_queue(bench, spawned):
    others = {p.pid for p in psutil.Process().children()}
    busy, waiting = bench.run(), bench.run()
    bench.supervise(busy, bench.argv(busy, "train"))
    bench.stepping(busy)
    launcher = launch.Launcher(bench.home)
    for _ in range(3):
        launcher.tick()
    assert not spawned and bench.state(waiting) == "queued"
    launch.ask(busy, "stop", bench.reader)
    bench.until(busy, "stopped")
    wait_for(lambda: launcher.tick() or bench.state(waiting) == "finished")
    wait_for(lambda: launcher.tick() or not waiting.alive())
    bench.started[0][1].wait(30)
    # A supervisor lets go of its run before its process has ended: only then would a look leave a zombie behind.
    wait_for(lambda: launcher.tick() or not {p.pid for p in psutil.Process().children()} - others)
    launcher.close()


def test_a_supervisor_that_cannot_begin_is_not_started_in_a_loop(bench, monkeypatch):
    starts: list[float] = []

    def spawn(run, attempt, token=None, **_):
        starts.append(time.monotonic())
        return bench.supervise(run, [], attempt=99)  # refuses: nobody asked for that attempt

    monkeypatch.setattr(queue, "spawn", spawn)
    bench.run()
    launcher = launch.Launcher(bench.home)
    last = time.monotonic() + 4
    while time.monotonic() < last:
        launcher.tick()
        time.sleep(0.05)
    launcher.close()
    assert 1 <= len(starts) <= 3


def test_a_run_whose_log_cannot_be_opened_does_not_hold_up_the_others(bench, spawned, monkeypatch):
    bad, good = bench.run(), bench.run()
    bad.log_file.mkdir()
    stand_in = queue.spawn
    monkeypatch.setattr(queue, "spawn", lambda run, *args, **_: (launch.spawn if run == bad else stand_in)(run, *args))
    launcher = launch.Launcher(bench.home)
    launcher.start()
    try:
        wait_for(finished(bench, [good]))
    finally:
        launcher.close()
    assert bench.state(bad) == "queued" and spawned == [good.id]


def test_a_thousand_settled_runs_cost_nothing(bench, spawned):
    pattern = bench.run()
    storage.write_json(pattern.process_file, {"attempt": 1})
    for i in range(1000):
        shutil.copytree(pattern.path, pattern.path.with_name(f"{i:032x}"))
    launcher = launch.Launcher(bench.home)
    launcher.tick()
    reads: list[str] = []
    original = storage.read_json
    try:
        storage.read_json = lambda path: reads.append(str(path)) or original(path)  # counts; still reads
        began = time.process_time()
        launcher.tick()
        spent = time.process_time() - began
    finally:
        storage.read_json = original
    launcher.close()
    print(f"a tick over 1,001 settled runs: {spent * 1000:.1f} ms")
    assert not reads and not spawned


def test_a_damaged_run_does_not_hold_up_the_others(bench, spawned):
    bad, good = bench.run(), bench.run()
    bad.record_file.write_text("{")
    launcher = launch.Launcher(bench.home)
    wait_for(lambda: launcher.tick() or bench.state(good) == "finished")
    launcher.close()


def test_the_spawned_supervisor_is_detached_and_has_no_foreign_secret(bench, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_serversecret")
    monkeypatch.setenv("STUDIO_TOKEN", "very secret")
    assert "HF_TOKEN" not in queue.command.environment() and "STUDIO_TOKEN" not in queue.command.environment()
    assert queue.command.environment("hf_lent")["HF_TOKEN"] == "hf_lent"
    run = bench.run()
    run.config_file.write_text("{")  # so that it ends at once
    process = launch.spawn(run, 1)
    assert os.getsid(process.pid) == process.pid
    process.wait(60)
    assert json.loads(run.exit_file.read_text())["error"]["code"] == "supervisor_failed"
    assert process.args[0] == sys.executable and "hf_" not in " ".join(process.args)


def test_cancelling_in_the_queue_starts_nothing(bench, spawned):
    run = bench.run()
    assert launch.ask(run, "cancel", bench.reader) == ""
    assert bench.state(run) == "cancelled"
    launcher = launch.Launcher(bench.home)
    launcher.tick()
    launcher.close()
    assert not spawned
    with pytest.raises(runs.Refused, match="cancelled"):
        launch.ask(run, "cancel", bench.reader)
    assert launch.resume(run, bench.reader) == 2 and bench.state(run) == "queued"


def test_stopping_twice_is_one_request_and_late_ones_are_refused(bench):
    run = bench.run()
    with pytest.raises(runs.Refused, match="not started"):
        launch.ask(run, "stop", bench.reader)
    bench.supervise(run, bench.argv(run, "deaf"))
    bench.stepping(run)
    first = launch.ask(run, "stop", bench.reader)
    assert launch.ask(run, "stop", bench.reader) == first and len(run.requests()) == 1
    with pytest.raises(runs.Refused, match="stop it first"):
        launch.resume(run, bench.reader)
    for process in launch.processes.marked(run.path):
        process.kill()
    bench.until(run, "failed")
    for kind in runs.CONTROLS:
        with pytest.raises(runs.Refused, match="resume it"):
            launch.ask(run, kind, bench.reader)
    launch.resume(run, bench.reader)
    assert not run.requests(), "the unanswered stop is not meant for the next attempt"


@pytest.mark.parametrize("state", ["queued", "starting", "running", "stopping", "finished", "diverged",
                                   *runs.RESUMABLE])
def test_what_is_offered_is_allowed(state):
    offered = launch.actions(state)
    assert ("resume" in offered) == (state in runs.RESUMABLE)
    assert set(offered) <= {*runs.CONTROLS, "resume"}
    assert bool(offered) == (state != "diverged")


def test_an_unknown_control_is_an_error(bench):
    with pytest.raises(ValueError, match="explode"):
        launch.ask(bench.run(), "explode", bench.reader)
