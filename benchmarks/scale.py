"""How the studio holds up with much on its disk: `python benchmarks/scale.py [--runs 1000] [--steps 200000]`.

Fills a home with finished runs and one very long run, then measures the start, the list, and opening the long run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
from quick_start import ROOT, free_port, wait_for

sys.path.insert(0, str(ROOT))
from studio import config, storage
from studio.folders import events, runs

SUGGESTED = {"data": {"resolution": 64}, "train": {"batch_size": 16, "mixed_precision": "no"},
             "optim": {"learning_rate": 1e-4, "lr_scheduler": "constant"},
             "objective": {"prediction_type": "epsilon"},
             "sample": {"prompts": ["a fox"], "guidance_scale": 4}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=200_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        home = Path(folder)
        for number in range(options.runs):
            finished_run(home, f"Run {number}", steps=300)
        long_run = finished_run(home, "Long", steps=options.steps)
        print(json.dumps(measure(home, long_run.id), indent=1))


def finished_run(home: Path, name: str, steps: int) -> runs.Run:
    """A run of `steps` steps as a trainer leaves it."""
    whole = config.resolve(config.load({}), SUGGESTED, {"train": {"max_steps": steps}}, pictures=120, seed=1, cores=2)
    run = runs.create(home, name=name, owner="local", config=whole, rows=[])
    storage.write_json(run.process_file, {"attempt": 1, "pid": 1})
    storage.write_json(run.exit_file, {"attempt": 1, "returncode": 0})
    lines = [{"kind": "attempt", "attempt": 1, "total_steps": steps}]
    lines += [{"kind": "step", "step": n, "loss": 1 / n**0.2, "lr": 1e-4, "grad_norm": 0.5, "pictures": 16,
               "seconds": 0.2} for n in range(1, steps + 1)]
    lines += [{"kind": "end", "result": "finished", "step": steps, "error": None}]
    with open(run.events_file, "w") as file:
        for seq, line in enumerate(lines, 1):
            file.write(json.dumps({"seq": seq, "time": 1e9 + seq, "mono": float(seq), **line}) + "\n")
    assert events.last_seq(run.events_file) == len(lines)
    return run


def measure(home: Path, long_id: str) -> dict[str, Any]:
    """Seconds and bytes of the first answers of a fresh server on `home`."""
    port, began = free_port(), time.monotonic()
    command = [sys.executable, str(ROOT / "app.py"), "--port", str(port), "--home", str(home)]
    server = subprocess.Popen(command, env={**os.environ, "STUDIO_AUTH": "none"}, stdout=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            wait_for(client, "/healthz", server)
            figures: dict[str, Any] = {"healthz_s": round(time.monotonic() - began, 2)}
            wait_for(client, "/readyz", server)
            figures["page_ready_s"] = round(time.monotonic() - began, 2)
            for name, path in {
                "list_of_runs": "/api/runs?limit=50",
                "open_long_run": f"/api/runs/{long_id}",
                "series_of_long_run": f"/api/runs/{long_id}/series?keys=loss,lr&points=1000",
                "series_again": f"/api/runs/{long_id}/series?keys=loss,lr&points=1000",
                "zoom_of_series": f"/api/runs/{long_id}/series?keys=loss&from=1000&to=1400&points=1000",
            }.items():
                asked = time.monotonic()
                answer = client.get(path, headers={"accept-encoding": "identity"})
                answer.raise_for_status()
                figures[name] = {"seconds": round(time.monotonic() - asked, 3), "bytes": len(answer.content)}
            figures["server_rss_mb"] = round(psutil.Process(server.pid).memory_info().rss / 1e6)
    finally:
        server.terminate()
        server.wait(20)
    return figures


if __name__ == "__main__":
    main()
