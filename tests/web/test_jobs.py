"""Jobs through the API: started, followed, cancelled, found again after a restart, and nobody else's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import httpx

from studio.folders import work
from studio.folders.events import EventWriter

from .conftest import Server, Space, make_run, start, until
from .test_api import problem

RECORD = {"id", "kind", "name", "owner", "created", "subject", "light", "state", "phase", "phase_done", "phase_total",
          "phase_unit", "phase_began", "phase_usual_seconds", "queue_position", "actions", "error", "warnings",
          "results", "started", "updated", "seq"}
OVER = ("finished", "failed", "cancelled", "interrupted")


def ended(api: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    """The job's record once it has ended."""
    return until(lambda: (found := api.get(f"/api/jobs/{job['id']}").json())["state"] in OVER and found, 120)


def test_a_light_job_from_start_to_end(server: Server, api: httpx.Client) -> None:
    answer = api.post("/api/datasets/sample/health")
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert set(job) >= RECORD and (job["kind"], job["subject"], job["light"]) == ("measure", "sample", True)
    assert api.post("/api/datasets/sample/health").json()["id"] == job["id"], "one that is under way is enough"
    done = ended(api, job)
    assert done["state"] == "finished" and done["actions"] == ["delete"] and done["error"] is None
    count = api.get("/api/datasets/sample").json()["count"]
    kept = [json.loads(line) for line in (server.home / "cache/measures/sample.jsonl").read_text().splitlines()]
    assert len({line["image"] for line in kept}) == len(kept) == count
    assert all(0 < line["blur"] < 0.7 and len(line["dhash"]) == 16 for line in kept), "the sample is sharp"
    events = api.get(f"/api/jobs/{job['id']}/events").json()
    kinds = [event["kind"] for event in events["events"]]
    assert kinds[0] == "attempt" and kinds[-1] == "end" and "phase" in kinds and events["state"] == "finished"
    last = [event for event in events["events"] if event["kind"] == "phase"][-1]
    assert last["done"] == last["total"] == count
    until((server.home / "jobs" / job["id"] / "exit.json").exists)  # its supervisor's last word comes after its own
    tagged = api.get(f"/api/jobs/{job['id']}")
    assert api.get(f"/api/jobs/{job['id']}", headers={"if-none-match": tagged.headers["etag"]}).status_code == 304
    assert [j["id"] for j in api.get("/api/jobs", params={"subject": "sample"}).json()["items"]] == [job["id"]]
    assert api.get("/api/jobs", params={"subject": "other"}).json()["items"] == []
    problem(api.post(f"/api/jobs/{job['id']}/cancel"), 409)
    problem(api.get(f"/api/jobs/{job['id']}/files/job.json"), 404)
    problem(api.get(f"/api/jobs/{job['id']}/files/..%2fjob.json"), 404)
    assert api.delete(f"/api/jobs/{job['id']}").status_code == 204
    problem(api.get(f"/api/jobs/{job['id']}"), 404)
    assert not (server.home / "jobs" / job["id"]).exists()


def test_what_waited_while_the_server_was_away_is_started_by_the_next(tmp_path: Path) -> None:
    home = tmp_path / "home"
    job = work.submit(home, "measure", {"dataset": "sample"}, name="Measure", owner="local", light=True)
    first = start(home, tmp_path)
    api = first.client()
    assert ended(api, {"id": job.id})["state"] == "finished"
    first.stop()
    second = start(home, tmp_path)
    found = second.client().get(f"/api/jobs/{job.id}").json()
    assert found["state"] == "finished" and job.process()["attempt"] == 1
    second.stop()


def test_results_are_served_by_the_jobs_own_listing(server: Server, api: httpx.Client) -> None:
    job = work.submit(server.home, "measure", {"dataset": "0" * 32}, name="x", owner="local", light=True)
    assert ended(api, {"id": job.id})["error"]["code"] == "gone"
    until(lambda: not job.alive())  # its worker writes no more
    for name, listed in (("told.txt", True), ("untold.txt", False)):
        (job.results / name).write_text(name)
        if listed:
            writer = EventWriter(job.events_file)
            writer.add("result", name=name, media_type="text/plain", bytes=8, facts={"width": 3})
            writer.close()
    found = api.get(f"/api/jobs/{job.id}").json()["results"]
    assert [(r["name"], r["bytes"], r["width"]) for r in found] == [("told.txt", 8, 3)]
    answer = api.get(found[0]["url"], headers={"range": "bytes=0-3"})
    assert (answer.status_code, answer.text) == (206, "told") and "attachment" in answer.headers["content-disposition"]
    problem(api.get(f"/api/jobs/{job.id}/files/untold.txt"), 404)


def test_another_persons_job_is_not_there(space: Space) -> None:
    ann, bob = space.sign_in("ann"), space.sign_in("bob")
    job = ann.post("/api/datasets/sample/health").json()
    assert job["owner"].startswith("hf-")
    for answer in (bob.get(f"/api/jobs/{job['id']}"), bob.get(f"/api/jobs/{job['id']}/events"),
                   bob.post(f"/api/jobs/{job['id']}/cancel"), bob.delete(f"/api/jobs/{job['id']}"),
                   bob.get(f"/api/jobs/{job['id']}/files/x")):
        problem(answer, 404)
    assert bob.get("/api/jobs").json()["items"] == []
    nobody = space.server.client()
    problem(nobody.post("/api/datasets/sample/health"), 401)
    ended(ann, job)


def test_a_heavy_job_stands_in_the_queue_and_can_change_places(server: Server, api: httpx.Client,
                                                               tmp_path: Path) -> None:
    busy = make_run(tmp_path, name="runs")  # its lock is held before the server sees it, as by a supervisor
    with busy.lock:
        place = server.home / "runs" / busy.id
        place.parent.mkdir(exist_ok=True)
        busy.path.rename(place)
        run = make_run(server.home, name="waits")
        job = work.submit(server.home, "measure", {"dataset": "sample"}, name="heavy", owner="local", light=False)
        places = {i["id"]: (i["work"], i["position"]) for i in api.get("/api/queue").json()["items"]}
        assert places == {run.id: ("run", 1), job.id: ("job", 2)}
        assert api.get(f"/api/jobs/{job.id}").json()["queue_position"] == 2
        moved = api.post("/api/queue", json={"order": [job.id, run.id]}).json()["items"]
        assert [item["id"] for item in moved] == [job.id, run.id]
        for address in (f"/api/jobs/{job.id}/cancel", f"/api/runs/{run.id}/cancel"):
            assert api.post(address).json()["state"] == "cancelled"
        shutil.rmtree(place)
