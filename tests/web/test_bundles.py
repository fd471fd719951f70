"""Bundles through the API: a run taken away from one studio and brought to another."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from studio import prepare, storage
from studio.folders import events, runs

from .conftest import Server, Space, start


@pytest.fixture
def run(server: Server) -> runs.Run:
    """A run that was asked for and cancelled in the queue, over the sample data set."""
    run = prepare.submit(server.home, name="travels", owner="local", config={"train": {"max_steps": 4}})
    storage.write_json(run.process_file, {"attempt": 1, "pid": 1, "start_time": None, "boot_id": None, "argv": [],
                                          "began": 0.0})
    storage.write_json(run.exit_file, {"attempt": 1, "result": "cancelled"})
    writer = events.EventWriter(run.events_file)
    writer.add("attempt", attempt=1, total_steps=4)
    writer.step(1, 0.5, 1e-4, 1.0, 8, 0.1)
    writer.end("stopped", 1)
    writer.close()
    return run


def test_a_run_moves_to_another_studio(server: Server, api: httpx.Client, run: runs.Run, tmp_path: Path) -> None:
    answer = api.get(f"/api/runs/{run.id}/bundle")
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/zip"
    whole, size = answer.content, int(answer.headers["content-length"])
    assert len(whole) == size == int(api.head(f"/api/runs/{run.id}/bundle").headers["content-length"])
    part = api.get(f"/api/runs/{run.id}/bundle", headers={"range": f"bytes=1000-{size - 1}"})
    assert part.status_code == 206 and part.content == whole[1000:]
    assert len(api.get(f"/api/runs/{run.id}/bundle?start=1").content) < size
    other = start(tmp_path / "home", tmp_path)
    try:
        there = other.client()
        answer = there.post("/api/runs/import", files=[("files", ("run.zip", whole))])
        assert answer.status_code == 201, answer.text
        record = answer.json()
        assert answer.headers["location"] == f"/api/runs/{record['id']}"
        assert (record["name"], record["state"], record["step"]) == ("travels", "stopped", 1)
        assert record["parent"] == {"bundle": run.id} and "resume" in record["actions"]
        assert record["config"] == api.get(f"/api/runs/{run.id}").json()["config"]
        bad = there.post("/api/runs/import", files=[("files", ("run.zip", whole[:-100]))])
        assert bad.status_code == 422 and "zip" in bad.json()["error"]["message"], bad.text
        assert len(there.get("/api/runs").json()["items"]) == 1 and not list((other.home / "runs").glob(".*"))
        assert there.post("/api/runs/import", files=[]).status_code == 400
    finally:
        other.stop()


def test_only_who_may_read_a_run_takes_it_and_only_who_signed_in_brings_one(
        space: Space, server: Server, api: httpx.Client, run: runs.Run) -> None:
    ann = space.sign_in("ann")
    data = api.get(f"/api/runs/{run.id}/bundle").content
    origin = {"origin": space.server.url}
    stranger = space.server.client()
    assert stranger.post("/api/runs/import", files=[("files", ("run.zip", data))], headers=origin).status_code == 401
    brought = ann.post("/api/runs/import", files=[("files", ("run.zip", data))], headers=origin)
    assert brought.status_code == 201, brought.text
    id_ = brought.json()["id"]
    assert brought.json()["owner"] != "local" and ann.get(f"/api/runs/{id_}/bundle?start=1").status_code == 200
    assert space.sign_in("bob").get(f"/api/runs/{id_}/bundle").status_code == 404
