"""A run keeps the rows it was made of, whatever becomes of its data set; what nobody came back for goes."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import httpx

from studio import datasets, storage
from studio.folders import runs

from .conftest import Server, start, until
from .test_pictures import picture, send, settled

TINY = {"train": {"max_steps": 2, "batch_size": 2, "mixed_precision": "no"}, "sample": {"every_steps": 0}}
OVER = ("finished", "failed", "interrupted", "diverged")


def test_a_run_trains_on_its_frozen_rows(server: Server, api: httpx.Client) -> None:
    files = [(f"{n}.{kind}", data) for n in range(4) for kind, data in (("png", picture(n)), ("txt", b"cat %d" % n))]
    found = settled(api, send(api, files, "Cats"))
    address = f"/api/datasets/{found['id']}"
    config = {**TINY, "data": {"dataset": found["id"]}}
    long = {"data": config["data"], "train": {"max_steps": 5000}}
    first = api.post("/api/runs", json={"name": "In the way", "config": long}).json()
    made = api.post("/api/runs", json={"name": "Frozen", "config": config})
    assert made.status_code == 201, made.text
    run = runs.find(server.home, made.json()["id"])
    rows = run.rows_file.read_text()
    assert json.loads((run.path / "run.json").read_text())["dataset"]["fingerprint"] == found["fingerprint"]
    images = api.get(f"{address}/images").json()["items"]
    api.patch(images[0]["url"], json={"caption": "a dog"}).raise_for_status()
    assert api.get(address).json()["fingerprint"] != found["fingerprint"]
    later = api.post("/api/runs", json={"name": "Later", "config": config}).json()
    assert "a dog" in runs.find(server.home, later["id"]).rows_file.read_text()
    assert api.delete(address).status_code == 204
    assert api.get(f"/api/runs/{run.id}").json()["state"] == "queued", "its trainer has not begun"
    api.post(f"/api/runs/{later['id']}/cancel").raise_for_status()
    api.post(f"/api/runs/{first['id']}/cancel").raise_for_status()
    until(lambda: api.get(f"/api/runs/{run.id}").json()["state"] in OVER, 120)
    done = api.get(f"/api/runs/{run.id}").json()
    assert done["state"] == "finished" and done["step"] == 2, done["error"]
    assert run.rows_file.read_text() == rows and "a dog" not in rows and rows.count("cat ") == 4
    seen = api.get(f"/api/runs/{run.id}/events").json()["events"]
    assert next(e for e in seen if e["kind"] == "attempt")["pictures"] == 4
    for line in rows.splitlines():
        path = datasets.picture_path(server.home, json.loads(line))
        assert storage.sha256_file(path) == json.loads(line)["image"]


def test_the_janitor_comes_by(tmp_path: Path) -> None:
    home, day_ago = tmp_path / "home", time.time() - 25 * 3600
    forgotten, fresh = datasets.draft(home, "Forgotten", "local"), datasets.draft(home, "Fresh", "local")
    storage.write_json(forgotten.path / "dataset.json", {**forgotten.record(), "created": day_ago})
    os.utime(forgotten.incoming, (day_ago, day_ago))
    server = start(home, tmp_path)
    try:
        client = server.client()
        until(lambda: not forgotten.path.exists())
        assert {d["id"] for d in client.get("/api/datasets").json()["items"]} == {"sample", fresh.id}
        assert [path.name.split("-")[1] for path in (home / "trash").iterdir()] == [forgotten.id]
    finally:
        server.stop()
