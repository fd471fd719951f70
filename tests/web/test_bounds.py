"""Settings that harm the others on a server where strangers sign in: refused at every door, fine for one owner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from studio import bundle, config, launch, storage
from studio.folders import runs
from studio.launch import processes

from .conftest import ROWS, Space, make_run, until

OWNER = "hf-id-of-bob"
MACHINES = {"compute": {"num_machines": 2, "num_processes": 2, "main_address": "10.0.0.1", "main_port": 29555}}


def faults(answer: httpx.Response) -> dict[str, str]:
    """The problems of a refused config by their settings."""
    assert answer.status_code == 422, (answer.status_code, answer.text)
    return {one["field"]: one["message"] for one in answer.json()["error"]["problems"]}


def test_several_machines_are_refused_at_every_door(space: Space, tmp_path: Path) -> None:
    bob, home = space.sign_in("bob"), space.server.home
    many = {"config": MACHINES}
    for answer in (bob.post("/api/runs", json={"name": "x", **many}), bob.post("/api/runs/probe", json=many)):
        assert "open a port of this server" in faults(answer)["compute.num_machines"], answer.url
    checked = bob.post("/api/runs/check", json=many).json()["problems"]
    assert "compute.num_machines" in {one["field"] for one in checked}
    assert bob.post("/api/presets", json={"name": "my cluster", **many}).status_code == 201, "a preset may hold them"
    run = make_run(home, owner=OWNER, steps=3)
    with storage.staged(run.checkpoints / "checkpoint-2", {"step": 2}) as folder:
        (folder / "unet").mkdir()
        (folder / "unet" / "w").touch()
    branched = bob.post(f"/api/runs/{run.id}/branch", json={"config": {**MACHINES, "train": {"max_steps": 9}}})
    assert "compute.num_machines" in faults(branched)
    # Of a home where they were allowed, and of a bundle that was packed there:
    theirs = older(home, run)
    theirs.update(attempt=1)
    launch.cancel(theirs)
    assert "open a port" in faults(bob.post(f"/api/runs/{theirs.id}/resume"))["compute.num_machines"]
    assert "compute.num_machines" in faults(bob.post(
        f"/api/runs/{theirs.id}/edit", json={"config": {"train": {"max_steps": 20}}, "resume": True}))
    assert not theirs.edits()


def older(home: Path, like: runs.Run) -> runs.Run:
    """A run of several machines, as an older studio took it."""
    settings = config.load(config.merge(config.dump(like.created_config()), MACHINES))
    return runs.create(home, name="older", owner=OWNER, config=settings, rows=ROWS,
                       extra={"dataset": {"id": "sample", "name": "Sample", "fingerprint": "f", "count": 1}})


def test_one_that_waits_in_an_older_home_is_told_why_it_does_not_begin(space: Space) -> None:
    bob = space.sign_in("bob")
    run = older(space.server.home, make_run(space.server.home, owner=OWNER, steps=1))
    told = until(lambda: (one := bob.get(f"/api/runs/{run.id}").json())["state"] == "failed" and one, 60)
    assert told["error"]["code"] == "several_machines" and "num_machines 1" in told["error"]["hint"]
    assert not processes.marked(run.path) and not run.log_file.exists()


def test_a_bundle_of_several_machines_is_refused(space: Space, tmp_path: Path) -> None:
    bob = space.sign_in("bob")
    sent = bob.post("/api/runs", json={"name": "to travel", "config": {"train": {"max_steps": 2}}}).json()
    run = runs.find(space.server.home, sent["id"])
    bob.post(f"/api/runs/{run.id}/cancel")
    until(lambda: bob.get(f"/api/runs/{run.id}").json()["state"] in ("cancelled", "finished"), 60)
    settings = config.merge(json.loads(run.config_file.read_text()), MACHINES)
    storage.write_json(run.config_file, settings)
    bundle.write(run, tmp_path / "run.zip", start=True)
    before = {one["id"] for one in bob.get("/api/runs").json()["items"]}
    answer = bob.post("/api/runs/import", files=[("files", ("run.zip", (tmp_path / "run.zip").read_bytes()))])
    assert "open a port of this server" in faults(answer)["compute.num_machines"]
    assert {one["id"] for one in bob.get("/api/runs").json()["items"]} == before


@pytest.mark.parametrize("asked, field, words", [
    ({"compute": {"num_threads": 1024}}, "compute.num_threads", "cores of this machine, which others use too"),
    ({"compute": {"num_workers": 64}}, "compute.num_workers", "cores of this machine"),
    ({"compute": {"thread_wait": "spin"}}, "compute.thread_wait", "set `sleep`"),
    ({"track": {"report_to": ["wandb"]}}, "track.report_to", "account of whoever runs this server"),
    ({"track": {"report_to": ["trackio"]}}, "track.report_to", "opens a port"),
    ({"train": {"batch_size": 4096}, "data": {"resolution": 4096}}, "train.batch_size", "of memory"),
    ({"train": {"max_steps": 10_000_000}, "sample": {"every_steps": 1}}, "sample.every_steps", "sample pictures"),
    ({"data": {"resolution": 4096, "center_crop": False, "crop_variants": 64}}, "data.resolution", "the cache"),
    ({"checkpoint": {"keep": 1000}}, "checkpoint.keep", "of the 10.0 GB that you may keep here"),
])
def test_what_would_harm_the_others_is_refused(space: Space, asked: dict[str, Any], field: str, words: str) -> None:
    bob = space.sign_in("bob")
    assert words in faults(bob.post("/api/runs", json={"name": "x", "config": asked}))[field]
    problems = bob.post("/api/runs/check", json={"config": asked}, headers={"accept-language": "ja"}).json()["problems"]
    told = next(one["message"] for one in problems if one["field"] == field)
    assert not any(word in told for word in ("which others", "of memory", "opens a port")), told
    anonymous = space.server.client().post("/api/runs/check", json={"config": asked}).json()["problems"]
    assert field in {one["field"] for one in anonymous} or field == "checkpoint.keep"


def test_a_live_runs_pictures_and_requests_are_bounded_too(space: Space) -> None:
    bob = space.sign_in("bob")
    run = make_run(space.server.home, owner=OWNER, steps=3)
    settings = config.merge(json.loads(run.config_file.read_text()), {"sample": {"prompts": ["a", "b"]}})
    storage.write_json(run.config_file, settings)
    often = {"config": {"sample": {"every_steps": 1}, "train": {"max_steps": 100_000}}}
    assert "sample.every_steps" in faults(bob.post(f"/api/runs/{run.id}/edit", json=often))
    assert not run.edits()
    small = {"data": {"resolution": 32}, "train": {"max_steps": 100_000, "batch_size": 1}, "sample": {"prompts": []}}
    sent = bob.post("/api/runs", json={"name": "live", "config": small}).json()
    live = runs.find(space.server.home, sent["id"])
    until(lambda: bob.get(f"/api/runs/{live.id}").json()["step"] > 0, 120)
    for process in processes.marked(live.path):
        process.suspend()
    try:
        answers = [bob.post(f"/api/runs/{live.id}/sample", json={"prompt": f"a {n}"}) for n in range(21)]
    finally:
        for process in processes.marked(live.path):
            process.resume()
    assert [answer.status_code for answer in answers] == [200] * 20 + [429]
    assert "20 requests wait" in answers[-1].json()["error"]["message"]
    bob.post(f"/api/runs/{live.id}/cancel")
    until(lambda: bob.get(f"/api/runs/{live.id}").json()["state"] == "cancelled", 120)


def test_a_run_is_not_changed_without_end(space: Space) -> None:
    bob = space.sign_in("bob")
    run = make_run(space.server.home, owner=OWNER, steps=3)
    answers = [bob.post(f"/api/runs/{run.id}/edit", json={"config": {"train": {"max_steps": 100 + n}}})
               for n in range(101)]
    assert [answer.status_code for answer in answers] == [200] * 100 + [429]
    assert "changed 100 times" in answers[-1].json()["error"]["message"]
    wordy = make_run(space.server.home, owner=OWNER, steps=3)
    answers = [bob.post(f"/api/runs/{wordy.id}/edit",
                        json={"config": {"sample": {"prompts": [f"{n} {'x' * 1990}"] * 64}}}) for n in range(12)]
    assert answers[0].status_code == 200 and answers[-1].status_code == 429
    assert wordy.edits_file.stat().st_size < 2 << 20


def test_one_owner_may_have_all_of_it(api: httpx.Client) -> None:
    """On one's own machine the same is checked as before, and no more."""
    asked = {"compute": {"num_threads": 1024, "num_workers": 64, "thread_wait": "spin"},
             "sample": {"every_steps": 1}, "train": {"max_steps": 100_000}}
    problems = api.post("/api/runs/check", json={"config": asked}).json()["problems"]
    assert not problems, problems
