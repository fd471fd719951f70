"""What a person who waits is told: the phase, since when by which clock, how long it usually takes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from studio import storage
from studio.folders import runs, work
from studio.folders.runs import Run

from ..fakes.phases import began, phase, say, step, supervised, waiting_run
from .conftest import Server, make_run, start, until


def earlier_run(home: Path, starting: float, loading: float, first: float) -> Run:
    """A finished run whose phases took so many seconds; the model was loaded before and after the caching."""
    run = waiting_run(home)
    began(run, 1000.0)
    at = 1000.0 + starting
    say(run, at, "attempt", attempt=1, total_steps=1)
    phase(run, at, "loading")
    phase(run, at + loading / 2, "caching", 1, 2)
    phase(run, at + loading / 2 + 30, "loading")
    phase(run, at + loading + 30, "training", 0, 1)
    step(run, at + loading + 30 + first)
    say(run, at + 900, "end", result="finished", step=1, error=None)
    storage.write_json(run.exit_file, {"attempt": 1, "returncode": 0, "signal": None, "oom_kill": False, "error": None,
                                       "ended": 1.0})
    return run


def shown(api: httpx.Client, run: Run) -> tuple[str, float | None]:
    """The phase that the record and the poll tell alike, and since when."""
    record, poll = api.get(f"/api/runs/{run.id}").json(), api.get(f"/api/runs/{run.id}/events").json()
    for name in ("phase", "phase_began", "phase_usual_seconds", "phase_done", "phase_total"):
        assert record[name] == poll[name], name
    return record["phase"], record["phase_began"]


def test_each_phase_says_since_when(server: Server, api: httpx.Client) -> None:
    run = waiting_run(server.home)
    asked = run.record()["created"]
    assert shown(api, run) == ("waiting", asked)
    with supervised(run):
        assert shown(api, run) == ("starting", asked), "its supervisor has begun, and wrote nothing yet"
        began(run, asked + 1)
        assert shown(api, run) == ("starting", asked + 1)
        say(run, asked + 4, "attempt", attempt=1, total_steps=1)
        assert shown(api, run) == ("starting", asked + 1), "nothing is loaded yet"
        phase(run, asked + 5, "loading")
        assert shown(api, run) == ("loading", asked + 5)
        for done in range(1, 4):
            phase(run, asked + 7 + done, "caching", done, 3)
        assert shown(api, run) == ("caching", asked + 8)
        phase(run, asked + 12, "loading")
        assert shown(api, run) == ("loading", asked + 12)
        phase(run, asked + 13, "training", 0, 1)
        assert shown(api, run) == ("first_step", asked + 13)
        step(run, asked + 15)
        assert shown(api, run) == ("training", asked + 13)
        say(run, asked + 16, "end", result="stopped", step=1, error=None)
    record = api.get(f"/api/runs/{run.id}").json()
    assert (record["phase"], record["phase_began"]) == ("stopped", None)
    run.update(attempt=2, rank=asked + 20, held_until=time.time() + 600)
    assert shown(api, run) == ("waiting", asked + 20)
    with supervised(run):
        began(run, asked + 21, 2)
        assert shown(api, run) == ("starting", asked + 21), "not the last attempt's phase"
        say(run, asked + 22, "attempt", attempt=2, total_steps=2)
        phase(run, asked + 23, "training", 1, 2)
        assert shown(api, run) == ("first_step", asked + 23), "of this attempt"
        step(run, asked + 24, 2)
        assert shown(api, run)[0] == "training"


def test_nothing_is_new_while_the_seconds_pass(server: Server, api: httpx.Client) -> None:
    """What counts is the start; the answers stay the same, and each bears the clock that the start is told by."""
    run = waiting_run(server.home)
    with supervised(run):
        began(run, time.time())
        url = f"/api/runs/{run.id}/events?since=0"
        first = api.get(url)
        time.sleep(1.1)
        again = api.get(url, headers={"if-none-match": first.headers["etag"]})
        assert again.status_code == 304
        passed = float(again.headers["x-studio-time"]) - float(first.headers["x-studio-time"])
        assert 1 < passed < 30 and abs(float(again.headers["x-studio-time"]) - time.time()) < 10
        listed = api.get("/api/runs").headers["etag"]
        assert api.get("/api/runs", headers={"if-none-match": listed}).status_code == 304


def test_what_is_usual_comes_from_the_owners_own_runs_like_it(server: Server, api: httpx.Client) -> None:
    home = server.home
    for earlier in runs.every(home):
        storage.clear(earlier.path)
    for took in (2.0, 4.0, 6.0):
        earlier_run(home, took, took / 2, took * 2)
    other = earlier_run(home, 100.0, 100.0, 100.0)
    other.update(owner="somebody else")
    broken = earlier_run(home, 100.0, 100.0, 100.0)
    broken.process_file.write_text("{")
    lora = waiting_run(home, model={"method": "lora"})
    run = waiting_run(home)
    with supervised(run), supervised(lora):
        began(run, 5000.0)
        began(lora, 5000.0)
        assert api.get(f"/api/runs/{run.id}").json()["phase_usual_seconds"] == 4
        assert api.get(f"/api/runs/{lora.id}").json()["phase_usual_seconds"] != 4, "another recipe"
        say(run, 5004.0, "attempt", attempt=1, total_steps=1)
        phase(run, 5004.0, "loading")
        assert api.get(f"/api/runs/{run.id}").json()["phase_usual_seconds"] == 2
        phase(run, 5005.5, "caching", 1, 2)
        assert api.get(f"/api/runs/{run.id}").json()["phase_usual_seconds"] is None, "it counts what is done"
        phase(run, 5006.0, "loading")
        assert api.get(f"/api/runs/{run.id}").json()["phase_usual_seconds"] == 0.5, "a part of it was done before"
        phase(run, 5007.0, "training", 0, 1)
        assert api.get(f"/api/runs/{run.id}").json()["phase_usual_seconds"] == 8
        step(run, 5008.0)
        assert api.get(f"/api/runs/{run.id}").json()["phase_usual_seconds"] is None


def test_a_first_visitor_is_told_what_is_usual_too(tmp_path: Path) -> None:
    """By the figures of the shipped base, once the machine was measured."""
    one = start(tmp_path / "home", tmp_path)
    try:
        api = one.client()
        assert api.get("/api/machine").json()["speed"] or api.get("/api/machine").json()["gpus"]
        run = waiting_run(one.home)
        with supervised(run):
            began(run, 5000.0)
            usual = api.get(f"/api/runs/{run.id}").json()["phase_usual_seconds"]
            assert usual is None if api.get("/api/machine").json()["gpus"] else usual > 0.1
    finally:
        one.stop()


@pytest.mark.parametrize("lost", ["process.json", "began"])
def test_an_older_home_shows_its_phase_without_a_start(server: Server, api: httpx.Client, lost: str) -> None:
    run = make_run(server.home, steps=2)
    run.update(attempt=2, held_until=time.time() + 600)
    with supervised(run):
        began(run, time.time(), 2)
        if lost == "began":
            storage.write_json(run.process_file, {"attempt": 2})
            assert shown(api, run) == ("starting", None)
        else:
            run.process_file.unlink()
            assert shown(api, run)[0] == "starting"


def test_a_job_waits_for_its_process_too(server: Server, api: httpx.Client) -> None:
    job = work.submit(server.home, "see", {}, name="See", owner="local", light=True, held=600)
    asked = job.record()["created"]
    assert [api.get(f"/api/jobs/{job.id}").json()[name] for name in ("phase", "phase_began")] == ["waiting", asked]
    with supervised(job):
        began(job, asked + 1)
        record = api.get(f"/api/jobs/{job.id}").json()
        assert (record["phase"], record["phase_began"]) == ("starting", asked + 1)
        say(job, asked + 3, "attempt", attempt=1)
        phase(job, asked + 3, "loading")
        polled = api.get(f"/api/jobs/{job.id}/events").json()
        assert (polled["phase"], polled["phase_began"]) == ("loading", asked + 3)
        phase(job, asked + 5, "training", 0, 3)
        assert api.get(f"/api/jobs/{job.id}").json()["phase"] == "training", "a job has no steps"


def test_a_real_job_tells_its_phases_and_the_next_one_what_is_usual(server: Server, api: httpx.Client) -> None:
    picture = api.get("/api/datasets/sample/images?limit=1").json()["items"][0]["id"]
    seen: list[dict[str, Any]] = []

    def look() -> dict[str, Any]:
        job = api.post(f"/api/datasets/sample/images/{picture}/see", json={"base": "embedded", "resolution": 64}).json()

        def over() -> bool:
            record = api.get(f"/api/jobs/{job['id']}").json()
            seen.append(record)
            return record["state"] == "finished"

        until(over, 120)
        return seen[-1]

    began_at = time.time()
    last = look()
    live = [record for record in seen if record["state"] in ("queued", "starting", "running")]
    assert {"starting"} <= {record["phase"] for record in live}
    assert all(began_at - 1 < record["phase_began"] < time.time() for record in live)
    assert last["phase_began"] is None
    seen.clear()
    look()
    usual = {record["phase"]: record["phase_usual_seconds"] for record in seen}
    assert usual["starting"] and usual["starting"] > 0
