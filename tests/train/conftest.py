"""Runs of the toy family: six small pictures, a few steps, everything in this process."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers  # noqa: F401 - whole, as those have it who open the results; a trainer loads less (studio/system/lean.py)
import numpy as np
import pytest
from accelerate.state import AcceleratorState
from PIL import Image

import studio.families
from studio import config, storage
from studio.folders import events, runs
from studio.launch import command as command_
from studio.launch import ranks
from studio.train import loop

from ..measured import know
from . import forked

ROOT = Path(__file__).resolve().parents[2]
FAMILIES = ROOT / "tests" / "families" / "toys"
BASE = {
    "model": {"family": "toy", "base": "embedded"},
    "data": {"resolution": 32},
    "train": {"max_steps": 8, "batch_size": 2, "mixed_precision": "no", "seed": 7},
    "optim": {"learning_rate": 1e-2, "lr_scheduler": "constant"},
    "objective": {"prediction_type": "epsilon"},
    "sample": {"prompts": ["a red thing", "a blue thing"], "every_steps": 4, "num_inference_steps": 2,
               "guidance_scale": 1.0},
    "checkpoint": {"every_steps": 3, "keep": 2},
    "compute": {"num_threads": 1},
}
Make = Callable[..., runs.Run]


def picture(home: Path, number: int, size: tuple[int, int] = (40, 48)) -> dict[str, Any]:
    """A row whose picture lies in the home."""
    pixels = np.random.default_rng(number).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    name = hashlib.sha256(pixels.tobytes()).hexdigest()
    path = home / "images" / name[:2] / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return {"image": name, "ext": "png", "width": size[0], "height": size[1], "split": "train", "name": f"{number}.png",
            "captions": [f"thing {number}", f"object {number}"]}


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setattr(studio.families, "__path__", [*studio.families.__path__, str(FAMILIES)])


@pytest.fixture
def home(home: Path) -> Path:
    """A home that knows this machine."""
    return know(home)


@pytest.fixture
def make(home: Path) -> Make:
    """make(pictures=6, section={...}) -> a run that waits to be trained."""

    def make_(pictures: int = 6, rows: list[dict[str, Any]] | None = None, **changes: Any) -> runs.Run:
        rows = rows if rows is not None else [picture(home, n) for n in range(pictures)]
        settings = config.resolve(config.load(config.merge(BASE, changes)), pictures=len(rows), seed=1, cores=1)
        return runs.create(home, name="t", owner="", config=settings, rows=rows)

    return make_


def train(run: runs.Run) -> str:
    """One attempt in this process."""
    AcceleratorState._reset_state(True)
    return loop.train(run, supervised=False)


def child(run: runs.Run, *wishes: str, cold: bool = False) -> subprocess.CompletedProcess[str]:
    """One attempt in a process of its own, which may kill itself; a `cold` one has imported nothing when it starts."""
    attempt = forked.Attempt([str(run.path), *wishes], {**os.environ, "PYTHONPATH": str(ROOT)}, cold=cold)
    return attempt.wait(time.monotonic() + 120)


def two_ranks(run: runs.Run, *wishes: str, cold: bool = False) -> subprocess.CompletedProcess[str]:
    """One attempt of the run in two processes; `cold` ones are started as those of the studio."""
    if run.config().compute.deepspeed_stage:
        storage.write_json(run.deepspeed_file, command_.deepspeed_config(run.config()))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true", "DS_ACCELERATOR": "cpu"}
    if cold:
        command = [sys.executable, "-m", "studio.launch.ranks", str(run.path), "2", sys.executable,
                   str(forked.SCRIPT), str(run.path), *wishes]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    deadline = time.monotonic() + 200
    storage.clear(run.path / ranks.FILE)
    zero = bool(run.config().compute.deepspeed_stage)
    both = [forked.Attempt([str(run.path), *wishes], {**environment, **ranks.environment(rank, 2, run.path)}, zero=zero)
            for rank in range(2)]
    first, second = [attempt.wait(deadline) for attempt in both]
    storage.clear(run.path / ranks.FILE)
    return subprocess.CompletedProcess(first.args, first.returncode or second.returncode, first.stdout + second.stdout,
                                       first.stderr + second.stderr)


def told(run: runs.Run, kind: str | None = None) -> list[dict[str, Any]]:
    """The run's events."""
    found, _ = events.read(run.events_file)
    return [e for e in found if kind in (None, e["kind"])]


def history(run: runs.Run) -> events.RunHistory:
    """The folded events."""
    return runs.EventReader().history(run)


def fingerprint(run: runs.Run, step: int) -> dict[str, str]:
    """SHA-256 of a checkpoint's tensors: raw, average, moments."""
    folder = run.checkpoints / f"checkpoint-{step}"
    return {p.relative_to(folder).as_posix(): storage.sha256_file(p) for p in sorted(folder.rglob("*.safetensors"))}


def curve(run: runs.Run) -> dict[int, str]:
    """Each step's loss, every bit of it."""
    found = history(run).curve
    return {step: float(loss).hex() for step, loss in zip(found.step, found.loss, strict=True) if loss is not None}
