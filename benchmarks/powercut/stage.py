"""A home that something is done in, and the ways into it; and what an operation is."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from studio import config, datasets, launch, storage
from studio.folders import runs
from studio.folders.events import EventWriter
from studio.web.access import LOCAL
from studio.web.services.service import Studio
from studio.web.settings import Settings

from .judge import Promise

Act = Callable[[], None]
WEIGHTS = ("unet/diffusion_pytorch_model.safetensors", "unet_ema/diffusion_pytorch_model.safetensors",
           "optimizer.safetensors")

PLAIN: dict[str, Any] = {
    "data": {"resolution": 64}, "train": {"batch_size": 1, "mixed_precision": "no", "seed": 7},
    "optim": {"learning_rate": 1e-4, "lr_scheduler": "constant"}, "objective": {"prediction_type": "epsilon"},
    "sample": {"prompts": ["a bird"], "guidance_scale": 1.0}}


class Stage:
    """A home, and the ways into it."""

    def __init__(self, home: Path, mark: Callable[[str], object] = lambda what: None):
        self.home, self.mark = home, mark
        home.mkdir(parents=True, exist_ok=True)
        storage.make_folder(home / "trash")
        self.studio = Studio(home, launch.Launcher(home), runs.EventReader(), Settings(home=home, import_wait=0.0))

    def pictures(self, first: int, count: int) -> list[tuple[str, Path]]:
        """So many picture files, as an upload leaves them."""
        folder = self.home / "cache" / "uploads" / f"of-{first}"
        folder.mkdir(parents=True)
        for n in range(first, first + count):
            data = io.BytesIO()
            Image.frombytes("RGB", (80, 72), bytes((n * 7 + k) % 251 for k in range(3 * 80 * 72))).save(data, "PNG")
            (folder / f"{n:06d}").write_bytes(data.getvalue())
        return [(f"{n}.png", folder / f"{n:06d}") for n in range(first, first + count)]

    def dataset(self, count: int = 3) -> datasets.Dataset:
        """A ready data set."""
        made = datasets.begin(self.home, "Birds", LOCAL.id)
        datasets.add(made, self.pictures(100, count))
        assert made.state == "ready", made.report()
        return made

    def run(self, name: str = "A run", state: str = "paused", steps: int = 9, **changes: Any) -> runs.Run:
        """A run with two checkpoints and a picture, over the pictures of a data set."""
        rows = self.dataset().freeze() if not runs.every(self.home) else runs.every(self.home)[0].rows()
        asked = config.merge(PLAIN, config.merge({"train": {"max_steps": steps}}, changes))
        settings = config.resolve(config.load(asked), pictures=len(rows), seed=1, cores=1)
        made = runs.create(self.home, name=name, owner=LOCAL.id, config=settings, rows=rows)
        if state != "queued":
            self.lived(made, state)
        return made

    @staticmethod
    def lived(run: runs.Run, state: str) -> None:
        """What an attempt leaves that saved at steps 2 and 4."""
        storage.write_json(run.process_file, {"attempt": 1, "pid": 1, "start_time": 0.0, "boot_id": "", "argv": [],
                                              "began": time.time()})
        writer = EventWriter(run.events_file)
        writer.add("attempt", attempt=1, total_steps=9, pictures=3)
        for step in (2, 4):
            writer.step(step, 0.5, 1e-4, 1.0, 3, 0.1)
            with storage.staged(run.checkpoints / f"checkpoint-{step}", {"step": step}) as folder:
                for name in WEIGHTS:
                    (folder / name).parent.mkdir(exist_ok=True)
                    save_file({"w": np.full(1500, step, np.float32)}, folder / name)
            writer.add("checkpoint", step=step, name=f"checkpoint-{step}", bytes=20000, seconds=0.1, ok=True)
        if state != "running":
            writer.end(state, 4)
            storage.write_json(run.exit_file, {"attempt": 1, "returncode": 0, "signal": None, "oom_kill": False,
                                               "result": None, "error": None, "ended": time.time()})
        writer.close()

    def idle(self, dataset: datasets.Dataset) -> None:
        """Wait until an import has ended."""
        while dataset.state == "importing":
            time.sleep(0.02)


Prepare = Callable[[Stage], Act]


@dataclass(frozen=True)
class Operation:
    """How it gets ready, and what holds beside the rule that nothing acknowledged goes (judge.py)."""

    prepare: Prepare
    promise: Promise


OPERATIONS: dict[str, Operation] = {}


def operation(promise: Promise = lambda seen, first, said: []) -> Callable[[Prepare], Prepare]:
    """Let a function be one of the OPERATIONS, by its name."""

    def keep(prepare: Prepare) -> Prepare:
        OPERATIONS[prepare.__name__] = Operation(prepare, promise)
        return prepare

    return keep
