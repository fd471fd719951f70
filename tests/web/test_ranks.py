"""A run whose weights are shared out over two processes, through the API alone: followed, stopped, resumed, drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from studio.system import machine

from .conftest import draw_elsewhere, until

STEPS = 40
CONFIG = {"data": {"resolution": 32},
          "train": {"max_steps": STEPS, "batch_size": 1, "seed": 5, "mixed_precision": "no"},
          "sample": {"prompts": ["a cat"], "num_inference_steps": 2, "every_steps": 0},
          "checkpoint": {"every_steps": 100}, "compute": {"num_processes": 2, "deepspeed_stage": 3}}


@pytest.mark.skipif(machine.cores() < 2, reason="two processes need two cores")
def test_zero_3_through_the_api(api: httpx.Client, tmp_path: Path) -> None:
    made = api.post("/api/runs", json={"name": "Shared out", "config": CONFIG})
    assert made.status_code == 201, made.text
    url = f"/api/runs/{made.json()['id']}"

    def reached(*states: str, step: int = 0) -> Any:
        found = api.get(url).json()
        assert found["state"] not in ("failed", "interrupted"), (found["error"], api.get(f"{url}/log").json()["text"])
        return found["state"] in states and (found["step"] or 0) >= step and found

    live = until(lambda: reached("running", step=2), 200)
    assert live["loss"] > 0 and [s["step"] for s in live["samples"]] == [0]
    assert api.post(f"{url}/stop").status_code in (200, 202)
    stopped = until(lambda: reached("stopped"), 100)
    assert 2 <= stopped["step"] < STEPS and stopped["checkpoints"]
    assert api.post(f"{url}/resume").status_code in (200, 202)
    done = until(lambda: reached("finished"), 250)
    assert done["step"] == STEPS and {s["weights"] for s in done["samples"] if s["step"] == STEPS} == {"raw", "ema"}
    draw_elsewhere(api, done["id"], tmp_path)
