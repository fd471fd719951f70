"""The main job through the API alone, with the real trainer: create, follow, download, draw with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from .conftest import Server, draw_elsewhere, until

STEPS = 3
CONFIG = {"train": {"max_steps": STEPS, "batch_size": 2, "seed": 5, "mixed_precision": "no"},
          "sample": {"prompts": ["a cat"], "num_inference_steps": 2, "every_steps": 0},
          "checkpoint": {"every_steps": 2}}


@pytest.fixture(scope="module")
def done(api: httpx.Client) -> dict[str, Any]:
    """The record of a run that trained to its end, with what its events told on the way."""
    made = api.post("/api/runs", json={"name": "Whole", "config": CONFIG})
    assert made.status_code == 201, made.text
    record = made.json()
    assert made.headers["location"] == f"/api/runs/{record['id']}"
    assert record["state"] in ("queued", "starting") and record["total_steps"] == STEPS
    seen: list[dict[str, Any]] = []

    def ended() -> Any:
        since = seen[-1]["seq"] if seen else 0
        answer = api.get(f"/api/runs/{record['id']}/events", params={"since": since}).json()
        seen.extend(answer["events"])
        return answer["state"] in ("finished", "failed", "interrupted") and not answer["events"]

    until(ended, 240)
    found = api.get(f"/api/runs/{record['id']}").json()
    assert found["state"] == "finished", (found["error"], api.get(f"/api/runs/{record['id']}/log").json()["text"])
    return {**found, "events": seen}


def test_it_was_told_as_it_went(done: dict[str, Any], api: httpx.Client) -> None:
    assert [e["step"] for e in done["events"] if e["kind"] == "step"] == list(range(1, STEPS + 1))
    assert done["step"] == STEPS and done["loss"] > 0 and done["checkpoints"] and done["peak_memory_bytes"]
    assert {s["step"] for s in done["samples"]} == {0, STEPS}
    picture = api.get(done["samples"][-1]["url"])
    assert picture.status_code == 200 and picture.headers["content-type"] == "image/webp"
    for name in ("..%2fconfig.json", "nothing.webp", "../config.json"):
        assert api.get(f"/api/runs/{done['id']}/samples/{name}").status_code == 404


def test_files_have_true_sizes_and_ranges(done: dict[str, Any], api: httpx.Client) -> None:
    items = api.get(f"/api/runs/{done['id']}/files").json()["items"]
    assert all({"path", "size", "kind"} <= set(i) for i in items)
    newest = next(i for i in items if i["path"].endswith(".zip") and "ema" in i["path"])
    for item in items:
        head = api.head(item["url"])
        assert head.status_code == 200 and int(head.headers["content-length"]) == item["size"], item
        assert head.headers["content-disposition"].startswith("attachment") and head.headers["accept-ranges"] == "bytes"
        assert "content-encoding" not in head.headers
    url, etag = newest["url"], api.head(newest["url"]).headers["etag"]
    part = api.get(url, headers={"range": "bytes=100-199"})
    tail = api.get(url, headers={"range": "bytes=-50"})
    rest = api.get(url, headers={"range": f"bytes={newest['size'] - 50}-", "if-range": etag})
    assert part.status_code == tail.status_code == rest.status_code == 206
    assert part.headers["content-range"] == f"bytes 100-199/{newest['size']}" and len(part.content) == 100
    assert tail.content == rest.content and len(tail.content) == 50
    assert api.get(url, headers={"range": f"bytes={newest['size']}-"}).status_code == 416
    assert api.get(url, headers={"if-none-match": etag}).status_code == 304
    with api.stream("GET", url, headers={"range": "bytes=0-9", "if-range": '"old"'}) as whole:
        assert whole.status_code == 200  # the file changed since: all of it
    for path in ("run.json", "../../session.key", "checkpoint-9/pipeline-ema.zip", "%2e%2e/config.json"):
        assert api.get(f"/api/runs/{done['id']}/files/{path}").status_code == 404


def test_the_ema_pipeline_draws_elsewhere(done: dict[str, Any], api: httpx.Client, tmp_path: Path) -> None:
    draw_elsewhere(api, done["id"], tmp_path)


def test_a_broken_download_gives_the_checkpoint_free(done: dict[str, Any], api: httpx.Client, server: Server) -> None:
    items = api.get(f"/api/runs/{done['id']}/files").json()["items"]
    newest = next(i for i in items if i["path"].endswith(".zip") and "ema" in i["path"])
    with api.stream("GET", newest["url"]) as answer:
        next(answer.iter_bytes(1000))
    from studio import storage
    from studio.folders import runs

    run = runs.find(server.home, done["id"])
    leases = list(run.checkpoints.glob("*.lease"))
    assert leases

    def free() -> bool:
        held = [storage.Lock(path) for path in leases]
        taken = [lock for lock in held if lock.acquire()]
        for lock in taken:
            lock.release()
        return len(taken) == len(held)

    until(free, 20)
