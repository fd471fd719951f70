"""Bringing many pictures in through the API: `python benchmarks/import_scale.py [--pictures 20000] [--side 512]`.

Makes a zip of pictures (four of five JPEG, one PNG, each with a caption), sends it to a fresh server, and measures the
import, the memory of the server and of its processes, what other answers take meanwhile, and the grid afterwards.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from PIL import Image
from quick_start import ROOT, free_port, wait_for

PAUSE = 0.1  # seconds between two rounds of questions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--zip", type=Path, help="keep the zip here; one that is there already is taken")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="import-scale-") as folder:
        path = options.zip or Path(folder) / "pictures.zip"
        if not path.exists():
            make(path, options.pictures, options.side)
        print(json.dumps({"zip_gb": round(path.stat().st_size / 1e9, 2), **measure(Path(folder), path)}, indent=1))


def make(path: Path, number: int, side: int) -> None:
    """A zip of photo-like pictures, no two alike: a window of one large field of soft noise, tinted."""
    random = np.random.default_rng(1)
    small = Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    grain = random.integers(-6, 7, (side, side, 3), dtype=np.int16)
    field = np.asarray(small.resize((4 * side, 4 * side), Image.Resampling.BICUBIC), dtype=np.int16)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as out:
        for n in range(number):
            x, y = random.integers(0, 3 * side, 2)
            tint = random.integers(-20, 21, 3, dtype=np.int16)
            image = Image.fromarray(np.clip(field[y : y + side, x : x + side] + grain + tint, 0, 255).astype(np.uint8))
            data = io.BytesIO()
            kind = "png" if n % 5 == 0 else "jpg"
            image.save(data, "PNG", compress_level=1) if kind == "png" else image.save(data, "JPEG", quality=90)
            out.writestr(f"all/{n:05d}.{kind}", data.getvalue())
            out.writestr(f"all/{n:05d}.txt", f"a picture of thing {n}, soft light")


def send(url: str, path: Path, answer: Any) -> None:
    """Upload the zip, in a process of its own so that it delays no question."""
    with open(path, "rb") as file:
        found = httpx.post(f"{url}/api/datasets", data={"name": "Many"}, files={"files": (path.name, file)},
                           timeout=3600)
    found.raise_for_status()
    answer.send((found.json()["id"], time.monotonic()))


def measure(home: Path, path: Path) -> dict[str, Any]:
    """The figures of one import of a zip by a fresh server."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, str(ROOT / "app.py"), "--port", str(port), "--home", str(home)]
    server = subprocess.Popen(command, env={**os.environ, "STUDIO_AUTH": "none"}, stdout=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=url, timeout=60) as client:
            wait_for(client, "/readyz", server)
            client.get("/api/datasets/sample/images?limit=50").raise_for_status()
            memory: dict[str, int] = defaultdict(int)
            look(server.pid, memory)
            before, began = memory["server"], time.monotonic()
            here, there = multiprocessing.Pipe(False)
            sender = multiprocessing.Process(target=send, args=(url, path, there))
            sender.start()
            times = follow(client, server.pid, memory, sender)
            id, sent = here.recv()
            figures = {"upload_s": round(sent - began, 1), **until_ready(client, server.pid, memory, times, id)}
            figures["total_s"] = round(time.monotonic() - began, 1)
            figures["answers_ms"] = {what: summary(found) for what, found in times.items()}
            figures["memory_mb"] = {"server_before": round(before / 1e6),
                                    **{kind: round(size / 1e6) for kind, size in memory.items()}}
            return figures | open_grid(client, id)
    finally:
        server.terminate()
        server.wait(30)


def look(pid: int, memory: dict[str, int]) -> None:
    """Note the most memory of the server, the importing process and any one decoding process."""
    server = psutil.Process(pid)
    memory["server"] = max(memory["server"], server.memory_info().rss)
    for child in server.children(recursive=True):
        try:
            words = " ".join(child.cmdline())
            for kind in ("intake", "decoding"):
                if f".{kind} " in f"{words} ":
                    memory[kind] = max(memory[kind], child.memory_info().rss)
        except psutil.Error:
            continue  # it has just ended


def ask(client: httpx.Client, times: dict[str, list[float]], **paths: str) -> dict[str, Any]:
    """Time the answers; returns the last."""
    found: dict[str, Any] = {}
    for what, path in paths.items():
        began = time.monotonic()
        answer = client.get(path)
        times[what].append(time.monotonic() - began)
        answer.raise_for_status()
        found = answer.json()
    return found


def follow(client: httpx.Client, pid: int, memory: dict[str, int], sender: Any) -> dict[str, list[float]]:
    """Ask for other things while the upload lasts, and while the server waits a little for a short import."""
    times: dict[str, list[float]] = defaultdict(list)
    while sender.is_alive():
        ask(client, times, healthz="/healthz", grid="/api/datasets/sample/images?limit=50", sets="/api/datasets")
        look(pid, memory)
        time.sleep(PAUSE)
    return times


def until_ready(client: httpx.Client, pid: int, memory: dict[str, int], times: dict[str, list[float]],
                id: str) -> dict[str, Any]:
    """Go on asking until the import has ended; its counts."""
    while True:
        ask(client, times, healthz="/healthz", grid="/api/datasets/sample/images?limit=50", sets="/api/datasets")
        found = ask(client, times, record=f"/api/datasets/{id}")
        look(pid, memory)
        if found["state"] != "importing":
            break
        time.sleep(PAUSE)
    report = found["report"]
    return {"state": found["state"], "count": found["count"], "seen": report["seen"], "used": report["used"],
            "converted": report["converted"], "skipped": len(report["skipped"])}


def summary(found: list[float]) -> dict[str, float]:
    """Median, p95 and the longest, in milliseconds."""
    ordered = sorted(found)
    return {"asked": len(ordered), "median": round(ordered[len(ordered) // 2] * 1000, 1),
            "p95": round(ordered[int(len(ordered) * 0.95)] * 1000, 1), "max": round(ordered[-1] * 1000, 1)}


def open_grid(client: httpx.Client, id: str) -> dict[str, Any]:
    """Opening the first page of the grid as a browser does: the record, 50 rows, their 50 pictures."""
    began = time.monotonic()
    client.get(f"/api/datasets/{id}").raise_for_status()
    page = client.get(f"/api/datasets/{id}/images?limit=50").json()
    rows = time.monotonic() - began
    for row in page["items"]:
        client.get(row["thumb"]).raise_for_status()
    whole = time.monotonic() - began
    began = time.monotonic()
    last = client.get(f"/api/datasets/{id}/images?limit=50&offset={page['total'] - 50}")
    last.raise_for_status()
    return {"grid_rows_s": round(rows, 3), "grid_with_pictures_s": round(whole, 3),
            "last_page_s": round(time.monotonic() - began, 3)}


if __name__ == "__main__":
    main()
