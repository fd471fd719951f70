"""Jobs under the same supervisor and queue as runs: who waits for whom, how they end, what is left on disk."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from studio import launch, storage
from studio.folders import work
from studio.launch import command, queue

from .conftest import nobody_left, wait_for


@pytest.fixture
def long(bench, monkeypatch):
    """Launchers whose supervisors do stand-in work until they are asked to end; a list of what was started."""
    started: list[str] = []

    def spawn(found, attempt, token=None, **_):
        started.append(found.id)
        return bench.supervise(found, bench.argv(found, "train"), attempt)

    monkeypatch.setattr(queue, "spawn", spawn)
    return started


def test_a_heavy_job_waits_for_the_run_and_light_ones_do_not(bench, long):
    run, heavy, light = bench.run(), bench.job(), [bench.job(light=True) for _ in range(queue.AT_ONCE["light"] + 1)]
    launcher = launch.Launcher(bench.home)
    launcher.tick()
    for found in (run, *light[:-1]):
        bench.stepping(found)
    for _ in range(3):
        launcher.tick()
    assert set(long) == {run.id, *(job.id for job in light[:-1])}
    assert bench.state(heavy) == bench.state(light[-1]) == "queued"
    launch.ask(light[0], "cancel", bench.reader)
    wait_for(lambda: launcher.tick() or bench.state(light[-1]) == "running")
    assert bench.state(heavy) == "queued"
    launch.ask(run, "stop", bench.reader)
    wait_for(lambda: launcher.tick() or bench.state(heavy) == "running")
    later = bench.run()
    launcher.close()
    again = launch.Launcher(bench.home)  # a server that was restarted
    for _ in range(3):
        again.tick()
    assert bench.state(later) == "queued", "a run does not start beside a heavy job"
    for found in (heavy, *light[1:]):
        launch.ask(found, "cancel", bench.reader)
    wait_for(lambda: again.tick() or bench.state(later) == "running")
    launch.ask(later, "cancel", bench.reader)
    wait_for(lambda: all(nobody_left(found) for found in (run, heavy, later, *light)))
    again.close()
    assert len(long) == len(set(long)), "each was started once"
    assert [bench.state(job) for job in light] == ["cancelled"] * len(light)


def test_how_a_job_died_is_said_in_its_own_words(bench):
    job = bench.job()
    found = bench.through(job, "die", str(int(signal.SIGKILL)))
    assert bench.state(job) == "failed" and found["signal"] == signal.SIGKILL
    assert found["error"]["message"].startswith("The job process was ended from outside by signal 9")
    assert "Start it again" in found["error"]["hint"] and nobody_left(job)


def test_a_job_whose_supervisor_dies_leaves_nothing_behind(bench):
    job = bench.job(light=True)
    supervisor = bench.supervise(job, bench.argv(job, "train"))
    bench.stepping(job)
    supervisor.kill()
    bench.until(job, "interrupted")
    assert not job.exit_file.exists()
    with pytest.raises(work.Refused, match="nothing to cancel"):
        launch.ask(job, "cancel", bench.reader)


def test_a_waiting_job_is_cancelled_at_once(bench, long):
    job = bench.job()
    assert launch.ask(job, "cancel", bench.reader) == "" and bench.state(job) == "cancelled"
    launcher = launch.Launcher(bench.home)
    launcher.tick()
    launcher.close()
    assert not long
    with pytest.raises(ValueError, match="there are: cancel"):
        launch.ask(job, "stop", bench.reader)


def test_a_light_job_sees_no_accelerator_and_only_the_token_lent_to_it(bench, monkeypatch):
    monkeypatch.setenv("STUDIO_TOKEN", "very secret")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    light, heavy = command.job_environment(bench.job(light=True)), command.job_environment(bench.job())
    assert light["CUDA_VISIBLE_DEVICES"] == "" and heavy.get("CUDA_VISIBLE_DEVICES") == os.environ.get(
        "CUDA_VISIBLE_DEVICES")
    assert not {"HF_TOKEN", "STUDIO_TOKEN"} & {*light, *heavy}
    monkeypatch.setenv("HF_TOKEN", "hf_lent")
    assert command.job_environment(bench.job())["HF_TOKEN"] == "hf_lent"


def test_a_real_job_through_its_real_supervisor(bench):
    job = work.submit(bench.home, "measure", {"dataset": "0" * 32}, name="nothing there", owner="ann", light=True)
    process = launch.spawn(job, 1)
    process.wait(60)
    assert process.returncode == 0 and bench.state(job) == "failed" and nobody_left(job)
    ended = json.loads(job.exit_file.read_text())
    assert ended["returncode"] == 1 and ended["error"] is None, "the job said itself how it ended"
    error = bench.reader.history(job).end["error"]
    assert error["code"] == "gone" and "0000" in error["message"] and error["hint"]
    assert "Traceback" in job.log_file.read_text()


def test_jobs_that_ended_long_ago_go_to_the_trash(bench):
    old, new, waiting = bench.job(), bench.job(), bench.job()
    for job in (old, new):
        launch.cancel(job)
    past = time.time() - (work.JOB_DAYS + 1) * 86400
    for path in (old.record_file, old.exit_file, waiting.record_file):
        os.utime(path, (past, past))
    assert [job.id for job in work.sweep_jobs(bench.home, time.time())] == [old.id]
    assert {job.id for job in work.Job.every(bench.home)} == {new.id, waiting.id}
    assert len(list((bench.home / "trash").iterdir())) == 1


def test_a_job_folder_appears_whole_or_not_at_all(bench, monkeypatch):
    with pytest.raises(ValueError, match="no kind of job"):
        work.submit(bench.home, "../runs", {}, name="", owner="", light=True)
    with pytest.raises(ValueError):
        work.submit(bench.home, "measure", {"x": float("nan")}, name="", owner="", light=True)
    monkeypatch.setattr(storage, "fsync_path", lambda path: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(OSError):
        bench.job()
    assert list((bench.home / "jobs").iterdir()) == []
