"""Bundles without end, sent to a real server: they cost a process of their own, and others do not notice."""

from __future__ import annotations

import json
import struct
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from studio import prepare

from ..bundle.conftest import Files, add, rewrite
from .conftest import Server

MB = 1_000_000
MAY_GROW = 100 * MB
LOOP_MAY_WAIT = 1.0  # seconds for which a probe may wait: on shared cores a thread has its turn later


@pytest.fixture(scope="module")
def packed(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a run that waits, over the sample data set."""
    from studio import bundle

    server.wait_ready()
    run = prepare.submit(server.home, name="travels", owner="local", config={"train": {"max_steps": 4}})
    path = tmp_path_factory.mktemp("bundle") / "run.zip"
    bundle.write(run, path)
    api = server.client()
    api.post(f"/api/runs/{run.id}/cancel")
    assert api.post("/api/runs/import", files=[("files", ("run.zip", path.read_bytes()))]).status_code == 201
    return path


def many_entries(path: Path) -> Path:
    target = path.with_name("many.zip")
    with zipfile.ZipFile(target, "w") as made:
        for number in range(400_000):
            made.writestr(f"{number:x}", b"")
    return target


def tensors(number: int) -> Callable[[Files], None]:
    entries = {f"{n:x}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(number)}
    text = json.dumps(entries).encode()
    return add("checkpoints/checkpoint-1/unet/diffusion_pytorch_model.safetensors",
               struct.pack("<Q", len(text)) + text)


def rows(files: Files) -> None:
    files["dataset.jsonl"] = files["dataset.jsonl"].splitlines()[0] + b"\n"
    files["dataset.jsonl"] *= 190_000 if len(files["dataset.jsonl"]) < 300 else 120_000


CASES: dict[str, Callable[[Path], Path]] = {
    "config of 75 MB": lambda path: rewrite(path, add("config.json", b"[" + b"[]," * 25 * MB + b"1]")),
    "config of 1 MB": lambda path: rewrite(path, add("config.json", b'{"a":[' + b"[]," * 340_000 + b"1]}")),
    "400,000 entries": many_entries, "200,000 tensors": lambda path: rewrite(path, tensors(200_000)),
    "rows": lambda path: rewrite(path, rows),
    "events": lambda path: rewrite(path, add("events.jsonl", (json.dumps(
        {"seq": 1, "kind": "warning", "code": "x", "message": "y" * 3000}).encode() + b"\n") * 50_000)),
    "steps": lambda path: rewrite(path, add(
        "events.jsonl", b'{"seq":1,"kind":"step","step":1,"loss":1,"lr":1,"seconds":1}\n' * 1_000_000)),
    "a bundle.json of 60 MB": lambda path: big_index(path),
}


def big_index(path: Path) -> Path:
    target = path.with_name("index.zip")
    files = {f"samples/{number}.webp": {"size": 1, "sha256": "0" * 64} for number in range(450_000)}
    with zipfile.ZipFile(target, "w") as made:
        made.writestr("bundle.json", json.dumps({"bundle": 1, "run": {}, "base": {}, "files": files}))
    return target


@pytest.mark.parametrize("name", CASES)
def test_it_costs_itself_alone(server: Server, packed: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    api, data = httpx.Client(base_url=server.url, timeout=300), CASES[name](packed).read_bytes()
    process = psutil.Process(server.process.pid)
    before, most, waits, over = process.memory_info().rss, 0, [0.0], threading.Event()

    def watch() -> None:
        nonlocal most
        with httpx.Client(base_url=server.url, timeout=60) as other:
            while not over.wait(0.02):
                most = max(most, process.memory_info().rss)
                began = time.monotonic()
                assert other.get("/healthz").status_code == 200
                waits.append(time.monotonic() - began)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        answer = api.post("/api/runs/import", files=[("files", ("run.zip", data))])
        if answer.status_code == 201:  # it is one that is taken: whoever looks at it costs no more
            run = answer.json()["id"]
            for place in ("", "/events?since=0", "/pictures", "/files", "/series", "/log", "/overfitting"):
                assert api.get(f"/api/runs/{run}{place}").status_code == 200
            assert api.delete(f"/api/runs/{run}").status_code == 204
    finally:
        over.set()
        watching.join()
    with capsys.disabled():
        print(f"\n{name}, {len(data) / MB:.0f} MB: {answer.status_code}, server +{(most - before) / MB:.0f} MB, "
              f"others waited {max(waits) * 1000:.0f} ms at most")
    assert answer.status_code in (201, 422), answer.text
    assert most - before < MAY_GROW and max(waits) < LOOP_MAY_WAIT
    assert not list((server.home / "runs").glob(".staging*"))
