"""What a first visitor waits for, measured through the API: `python benchmarks/quick_start.py [--grid PICTURE.webp]`.

Starts the studio on an empty home, presses Start with nothing changed, and prints seconds to the first answer, the
first step and the end, the trainer's peak memory, and the delay from a step's event to a poll that shows it.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grid", type=Path, help="write the before/after grid of the sample prompts here")
    parser.add_argument("--config", type=Path, help="a JSON config instead of the untouched defaults")
    options = parser.parse_args()
    config = json.loads(options.config.read_text()) if options.config else {}
    with tempfile.TemporaryDirectory(prefix="quick-start-") as home:
        figures, run = measure(Path(home), config)
        print(json.dumps(figures, indent=1))
        if options.grid:
            grid(Path(home) / "runs" / run["id"] / "samples", run["samples"], options.grid)


def measure(home: Path, config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """One whole quick start in `home`; returns the figures and the finished run's record."""
    port, began = free_port(), time.monotonic()
    command = [sys.executable, str(ROOT / "app.py"), "--port", str(port), "--home", str(home)]
    with open(home / "server.log", "wb") as log:
        environment = {**os.environ, "STUDIO_AUTH": "none"}
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            wait_for(client, "/healthz", server)
            figures = {"healthz_s": round(time.monotonic() - began, 2)}
            wait_for(client, "/readyz", server)
            figures["page_ready_s"] = round(time.monotonic() - began, 2)
            run = follow(client, home, config, figures)
            figures["server_rss_mb"] = round(psutil.Process(server.pid).memory_info().rss / 1e6)
    finally:
        server.terminate()
        server.wait(20)
    return figures, run


def follow(client: httpx.Client, home: Path, config: dict[str, Any], figures: dict[str, Any]) -> dict[str, Any]:
    """Start a run and poll it to its end, filling `figures`."""
    click, peak, since, delays, largest = time.monotonic(), 0, 0, [], 0
    answer = client.post("/api/runs", json={"name": "Quick start", "config": config})
    answer.raise_for_status()
    run_id = answer.json()["id"]
    while True:
        answer = client.get(f"/api/runs/{run_id}/events", params={"since": since})
        poll = answer.json()
        for event in poll["events"]:
            if event["kind"] == "step":
                figures.setdefault("first_step_s", round(time.monotonic() - click, 2))
                delays.append(time.time() - event["time"])
                largest = max(largest, int(answer.headers.get("content-length", len(answer.content))))
        since = poll["next"]
        peak = max(peak, trainer_memory(home, run_id))
        if poll["state"] not in ("queued", "starting", "running", "stopping"):
            break
        time.sleep(0.5)
    record = client.get(f"/api/runs/{run_id}").json()
    config = record["config"]
    while not (home / "runs" / run_id / "exit.json").exists():  # its supervisor still writes into the folder
        time.sleep(0.1)
    figures.update(
        state=record["state"], end_s=round(time.monotonic() - click, 2), steps=record["step"],
        batch_size=config["train"]["batch_size"], precision=config["train"]["mixed_precision"],
        peak_memory_mb=round(peak / 1e6), worst_delay_s=round(max(delays, default=0), 2), largest_poll_bytes=largest,
        pictures_per_second=record["pictures_per_second"])
    return record


def trainer_memory(home: Path, run_id: str) -> int:
    """Resident bytes of the run's whole process tree (the supervisor and everything below it)."""
    try:
        process = json.loads((home / "runs" / run_id / "process.json").read_text())
        leader = psutil.Process(process["pid"])
        return sum(p.memory_info().rss for p in [leader, *leader.children(recursive=True)])
    except (FileNotFoundError, psutil.NoSuchProcess):
        return 0


def grid(folder: Path, samples: list[dict[str, Any]], target: Path, side: int = 160) -> None:
    """Before and after: each prompt's picture at step 0 above the last EMA one."""
    prompts = sorted({s["prompt_index"] for s in samples})
    last = max(s["step"] for s in samples)
    sheet = Image.new("RGB", (side * len(prompts), 2 * side), "white")
    for sample in samples:
        row = 0 if sample["step"] == 0 else 1 if (sample["step"], sample["weights"]) == (last, "ema") else None
        if row is not None:
            picture = Image.open(folder / sample["file"]).convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
            sheet.paste(picture, (prompts.index(sample["prompt_index"]) * side, row * side))
    sheet.save(target, quality=88)


def wait_for(client: httpx.Client, path: str, server: subprocess.Popen, seconds: float = 60) -> None:
    """Poll until `path` answers 200; a server that died or stays silent is an error."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if server.poll() is not None:
            raise SystemExit(f"the server ended with {server.returncode} before {path} answered")
        try:
            if client.get(path).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise SystemExit(f"{path} did not answer within {seconds} s")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


if __name__ == "__main__":
    main()
