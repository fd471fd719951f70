"""A run is changed on its way through the API and the shell, with the real trainer."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import httpx

from studio.folders import events

from .conftest import ROOT, Server, finish, make_run, tell, until

CONFIG = {"train": {"max_steps": 100_000, "batch_size": 1, "seed": 5, "mixed_precision": "no"},
          "data": {"resolution": 32}, "ema": {"enabled": False},
          "sample": {"prompts": ["a cat"], "num_inference_steps": 2, "every_steps": 0},
          "checkpoint": {"every_steps": 50_000}}


def test_what_no_event_tells_of_a_run_at_rest_is_told_by_its_poll(server: Server, api: httpx.Client) -> None:
    run = make_run(server.home)
    tell(run, 5)
    finish(run, 5, "paused")
    record = api.get(f"/api/runs/{run.id}").json()
    poll = f"/api/runs/{run.id}/events?since={record['seq']}"
    tag = api.get(poll).headers["etag"]
    for path, method, body in ((f"/api/runs/{run.id}/edit", "POST", {"config": {"train": {"max_steps": 50}}}),
                               (f"/api/runs/{run.id}", "PATCH", {"name": "Another"})):
        assert api.get(poll, headers={"if-none-match": tag}).status_code == 304
        assert api.request(method, path, json=body).status_code == 200
        told, before = api.get(poll, headers={"if-none-match": tag}), record["revision"]
        tag, record = told.headers["etag"], api.get(f"/api/runs/{run.id}").json()
        assert told.status_code == 200 and told.json()["revision"] == record["revision"] != before
    assert record["edits"][0]["config"] == {"train": {"max_steps": 50}} and record["name"] == "Another"


def test_more_steps_while_it_trains_after_it_finished_and_by_the_shell(server: Server, api: httpx.Client) -> None:
    run_id = api.post("/api/runs", json={"name": "Long", "config": CONFIG}).json()["id"]
    at = f"/api/runs/{run_id}"

    def record() -> dict[str, Any]:
        return api.get(at).json()

    def ended() -> dict[str, Any]:
        until(lambda: record()["state"] not in ("queued", "starting", "running", "stopping"), 200)
        return record()

    until(lambda: record()["step"] >= 2, 200)
    assert "edit" in record()["actions"]
    wrong = api.post(f"{at}/edit", json={"config": {"optim": {"name": "prodigy"}, "train": {"max_steps": 1}}})
    assert wrong.status_code == 422 and [p["field"] for p in wrong.json()["error"]["problems"]] == ["optim.name"]
    assert api.post(f"{at}/edit", json={"config": {"train": {"max_steps": 1}}}).status_code == 422
    total = record()["step"] + 200
    changes = {"train": {"max_steps": total}, "optim": {"lr_multiplier": 0.5}}
    assert api.post(f"{at}/edit", json={"config": changes}).status_code == 200
    done = ended()
    assert (done["state"], done["step"], done["total_steps"]) == ("finished", total, total), done["error"]
    (edit,) = done["edits"]
    assert edit["config"] == changes and 2 <= edit["step"] < total
    told = [e for e in api.get(f"{at}/events?since=0&limit=1000").json()["events"] if e["kind"] == "control"]
    assert [(e["result"], e.get("step")) for e in told] == [("accepted", None), ("done", edit["step"])]
    assert done["config"]["train"]["max_steps"] == total and done["actions"] == ["edit", "delete"]

    more = api.post(f"{at}/edit", json={"config": {"train": {"max_steps": total + 2}}})
    assert more.status_code == 200 and more.json()["actions"] == ["resume", "edit", "delete"]
    again = api.post(f"{at}/edit", json={"config": {"train": {"max_steps": total + 3}}, "resume": True})
    assert again.status_code == 200 and again.json()["state"] in ("queued", "starting")
    done = ended()
    assert (done["state"], done["step"], len(done["edits"])) == ("finished", total + 3, 3), done["error"]
    assert done["resumes"][-1]["exact"] and done["resumes"][-1]["from_step"] == total

    folder = server.home / "runs" / run_id
    shell = [sys.executable, "-m", "studio.train", str(folder)]
    said = subprocess.run([*shell, "--train.max_steps", str(total + 5)], cwd=ROOT, capture_output=True, text=True)
    assert said.returncode == 0 and f"finished at step {total + 5}" in said.stdout, said.stdout + said.stderr
    refused = subprocess.run([*shell, "--optim.name", "prodigy"], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 2 and refused.stderr.startswith("optim.name: this is fixed"), refused.stderr
    branched = subprocess.run([*shell, "--branch", f"checkpoint-{total + 5}", "--train.max_steps", str(total + 6)],
                              cwd=ROOT, capture_output=True, text=True)
    assert branched.returncode == 0 and f"finished at step {total + 6}" in branched.stdout, branched.stderr
    made = api.get("/api/runs").json()["items"][0]
    assert made["name"] == "Long, branched" and made["parent"]["checkpoint"] == f"checkpoint-{total + 5}"


def test_the_shell_changes_a_run_that_trains(server: Server, api: httpx.Client) -> None:
    run_id = api.post("/api/runs", json={"name": "Long", "config": CONFIG}).json()["id"]
    until(lambda: api.get(f"/api/runs/{run_id}").json()["step"] >= 2, 200)
    said = subprocess.run([sys.executable, "-m", "studio.train", str(server.home / "runs" / run_id),
                           "--sample.prompts", "a dog"], cwd=ROOT, capture_output=True, text=True)
    api.post(f"/api/runs/{run_id}/cancel", json={})
    assert said.returncode == 0 and "from step" in said.stdout and "a dog" in said.stdout, said.stdout + said.stderr
    assert api.get(f"/api/runs/{run_id}").json()["config"]["sample"]["prompts"] == ["a dog"]


def test_a_run_that_diverged_is_branched_and_not_changed(server: Server, api: httpx.Client) -> None:
    run = make_run(server.home)
    tell(run, 3)
    writer = events.EventWriter(run.events_file)
    writer.end("diverged", 3)
    writer.close()
    answer = api.post(f"/api/runs/{run.id}/edit", json={"config": {"optim": {"lr_multiplier": 0.5}}})
    assert answer.status_code == 409 and "branch it" in answer.json()["error"]["message"]
