"""A studio whose disk becomes full, and then can only be read: each door says so, deleting works, it goes on later."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from studio import datasets, storage
from studio.datasets import store

from ..disks import fill, read_only, tmpfs
from .conftest import Server, make_run, start
from .test_pictures import picture, send

LONG = "x" * 9000  # more than the last block of a file has room for


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Server]:
    """A server whose home is a disk of 48 MB, with two runs and a data set."""
    with tmpfs(tmp_path / "home", "48m") as home:
        for name in ("first", "second"):
            make_run(home, name=name, steps=2)
        made = datasets.begin(home, "Birds", "local")
        made.add_rows([{"image": "ab" * 32, "ext": "webp", "width": 64, "height": 64, "captions": ["a bird"],
                        "split": "train", "name": "a.png"}], {"seen": 1, "used": 1, "skipped": [], "notes": []})
        store.release(made)
        server = start(home, tmp_path, STUDIO_AUTH="none")
        try:
            server.wait_ready()
            yield server
        finally:
            server.stop()


def told(answer: httpx.Response, status: int, code: str, words: str) -> None:
    """The answer names the disk, says what to do, and no path."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code and words in error["message"] and error["hint"], error
    assert "/" not in error["message"] and "Errno" not in answer.text


def test_full_and_then_read_only(small: Server, tmp_path: Path) -> None:
    api, home = small.client(), small.home
    runs = {item["name"]: f"/api/runs/{item['id']}" for item in api.get("/api/runs").json()["items"]}
    birds = next(f"/api/datasets/{item['id']}" for item in api.get("/api/datasets").json()["items"]
                 if item["name"] == "Birds")
    pid = api.get(f"{birds}/images").json()["items"][0]["id"]

    def doors(api: httpx.Client) -> dict[str, Callable[[], httpx.Response]]:
        second = runs["second"]
        return {"a run's name": lambda: api.patch(second, json={"name": "x"}),
                "a caption": lambda: api.patch(f"{birds}/images/{pid}", json={"captions": [LONG]}),
                "a data set's name": lambda: api.patch(birds, json={"name": "x"}),
                "a draft": lambda: api.post("/api/datasets", json={"name": "x"}),
                "a preset": lambda: api.post("/api/presets", json={"name": "x", "config": {}}),
                "an edit": lambda: api.post(f"{second}/edit", json={"config": {"train": {"max_steps": 9}}}),
                "a resume": lambda: api.post(f"{second}/resume", json={})}

    fill(home / "filler")
    for name, door in doors(api).items():
        answer = door()
        if name == "a resume":
            assert answer.status_code in (409, 507), answer.text
            continue
        told(answer, 507, "disk_full", "disk of the studio is full")
        assert "trash" in answer.json()["error"]["hint"], name
    upload = send(api, [("a.png", picture(1))])
    assert upload.status_code == 507 and "disk" in upload.text.lower() or "room" in upload.text.lower(), upload.text
    assert all(api.get(path).status_code == 200 for path in ("/api/runs", "/api/datasets", "/api/trash", birds))
    assert api.delete(runs["first"]).status_code == 204 and len(api.get("/api/trash").json()["items"]) == 1
    assert api.post("/api/trash/empty", json={}).json()["removed"] == 1, "and that gives room back"
    assert api.get("/api/trash").json()["items"] == []
    (home / "filler").unlink()

    small.stop()
    with read_only(home):
        another = start(home, tmp_path, STUDIO_AUTH="none")
        try:
            looked_at(another, doors, birds)
        finally:
            another.stop()
    another = start(home, tmp_path, STUDIO_AUTH="none")
    try:
        for name, door in doors(another.client()).items():
            assert name == "a resume" or door().status_code in (200, 201), name
        assert another.client().get(f"{birds}/images").json()["items"][0]["captions"] == [LONG]
        assert not [path for path in home.rglob(f"{storage.STAGING}*")]
    finally:
        another.stop()


def looked_at(server: Server, doors: Callable[[httpx.Client], dict[str, Any]], birds: str) -> None:
    """On a disk that can only be read nothing changes, each door says why, and all can be looked at."""
    api, began = server.client(), server.log.stat().st_size
    for name, door in doors(api).items():
        if name != "a resume":
            told(door(), 503, "disk_read_only", "disk of the studio is read-only")
    told(api.delete(birds), 503, "disk_read_only", "read-only")
    told(send(api, [("a.png", picture(1))]), 503, "disk_read_only", "read-only")
    assert all(api.get(path).status_code == 200 for path in ("/api/runs", "/api/datasets", "/api/trash", birds))
    ready = api.get("/readyz")
    assert ready.status_code == 503 and "home is not writable" in ready.json()["waiting_for"]
    time.sleep(5)
    assert server.log.stat().st_size - began < 20_000, "the log does not grow by itself"
