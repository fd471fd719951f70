"""Bulk edits without end: the log of a data set stays near its rows, and everything reads right meanwhile."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import httpx

from studio import datasets

from .conftest import Server

COUNT = 1000
REPORT = {"seen": COUNT, "used": COUNT, "converted": 0, "skipped": [], "notes": [], "error": None}


def large(home: Path) -> datasets.Dataset:
    """A data set whose rows name pictures that are not there."""
    made = datasets.begin(home, "Large", "local")
    made.add_rows([{"image": f"{n:016x}" * 4, "ext": "webp", "width": 512, "height": 400, "split": "train",
                    "captions": [f"thing {n}"], "name": f"{n}.png"} for n in range(COUNT)], REPORT)
    datasets.store.release(made)
    return made


def test_many_bulk_edits_take_little_room(server: Server, api: httpx.Client) -> None:
    made = large(server.home)
    url, log = f"/api/datasets/{made.id}", made.path / "rows.jsonl"
    largest, anew, number, done, wrong = 0, 0, 0, threading.Event(), list[Any]()

    def reads() -> None:
        """Another visitor, at the same time: every answer is of one whole state."""
        with httpx.Client(base_url=server.url, timeout=60) as client:
            while not done.wait(0.5):
                page = client.get(f"{url}/images", params={"limit": 50, "offset": 900}).json()
                said = {item["captions"][0].split(" ")[0] for item in page["items"]}
                if page["total"] != COUNT or len(page["items"]) != 50 or len(said) != 1:
                    wrong.append((page["total"], said))

    reader = threading.Thread(target=reads)
    reader.start()
    try:
        number = log.stat().st_ino
        for step in range(90):
            words = {"find": f"({step - 1})", "replace": f"({step})"} if step else {"prefix": "(0) "}
            answer = api.post(f"{url}/captions", json=words)
            assert answer.status_code == 200 and answer.json()["changed"] == COUNT, answer.text
            largest = max(largest, log.stat().st_size)
            anew, number = anew + (log.stat().st_ino != number), log.stat().st_ino
    finally:
        done.set()
        reader.join()
    assert not wrong and anew
    rows = sum(len(json.dumps(row)) for row in made.rows())
    print(f"{anew} times written anew, {largest / 1e6:.1f} MB at most, {rows / 1e6:.2f} MB of rows")
    assert largest < 21 << 20, "twice its rows and the room for undo"
    assert json.loads(log.read_text().splitlines()[0])["op"] == "compacted"
    assert api.get(f"{url}/images", params={"offset": 7, "limit": 1}).json()["items"][0]["captions"] == ["(89) thing 7"]
    for step in range(5):
        assert api.post(f"{url}/undo").status_code == 200
        (first,) = api.get(f"{url}/images", params={"limit": 1}).json()["items"]
        assert first["captions"] == [f"({88 - step}) thing 0"]
