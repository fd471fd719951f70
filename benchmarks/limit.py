"""The studio's step beside the physical limit: `python benchmarks/limit.py [--model mini|embedded|FOLDER]`.

The limit is a bare loop of denoiser forward, backward and update (clipping and AdamW) on tensors that lie ready. Both
loops take turns in one process on the same weights, block by block, so that other work on the machine meets both.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as launch/command.py starts the trainer
os.environ.setdefault("ACCELERATE_USE_CPU", "true")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch
from vs_reference import SIZES, make_base, make_pictures

from studio import datasets, prepare
from studio.folders.events import EventWriter
from studio.system import machine
from studio.train import control, loop
from studio.train.build import Trainer, build
from studio.train.parallel.distributed import Distributed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded", help="mini, embedded, or a diffusers folder")
    parser.add_argument("--method", choices=("full", "lora"), default="full")
    parser.add_argument("--precision", choices=("no", "bf16"), default="no")
    parser.add_argument("--blocks", type=int, default=6, help="how often the loops take turns")
    parser.add_argument("--steps", type=int, default=8, help="steps of a block; the first is not timed")
    options = parser.parse_args()
    side, batch, _ = SIZES.get(options.model, (512, 1, 0))
    with tempfile.TemporaryDirectory(prefix="limit-") as folder:
        work = Path(folder)
        trainer = make_trainer(work, options, side, batch)
        studio_steps, bare_steps = loops(trainer, options.steps)
        studio, bare = [], []
        for _ in range(options.blocks):
            studio += studio_steps()
            bare += bare_steps()
        ratios = [s / b for s, b in zip(studio, bare, strict=True)]
        print(json.dumps({
            "model": options.model, "method": options.method, "precision": options.precision, "batch": batch,
            "threads": torch.get_num_threads(), "studio_ms": round(median(studio) * 1000, 1),
            "bare_ms": round(median(bare) * 1000, 1), "studio_least_ms": round(min(studio) * 1000, 1),
            "bare_least_ms": round(min(bare) * 1000, 1), "ratio_of_medians": round(median(studio) / median(bare), 3),
            "median_ratio": round(median(ratios), 3)}))


def make_trainer(work: Path, options: argparse.Namespace, side: int, batch: int) -> Trainer:
    """A run of the studio, built and cached in this process, ready for its first step."""
    home, pictures = work / "home", make_pictures(work / "pictures", 4 * batch)
    dataset = datasets.begin(home, "pictures", "local")
    datasets.add(dataset, [(path.name, path) for path in sorted(pictures.iterdir())])
    config = {
        "model": {"base": str(make_base(options.model, work)), "method": options.method},
        "data": {"dataset": dataset.id, "resolution": side},
        "train": {"max_steps": 1_000_000, "batch_size": batch, "mixed_precision": options.precision, "seed": 1},
        "optim": {"learning_rate": 1e-6}, "sample": {"prompts": []}, "compute": {"num_threads": machine.cores()}}
    run = prepare.submit(home, name="limit", owner="local", config=config)
    events = EventWriter(run.events_file)
    settings, controls = run.config(), control.Controls(run, events, time.time())
    return build(run, settings, run.rows(), [], Distributed(settings), events, controls, lambda: None)


def loops(trainer: Trainer, steps: int) -> tuple[Any, Any]:
    """Two functions that do a block of steps each and return the seconds of all but the first."""
    global_batches, progress = trainer.global_batches(0), loop.Progress()
    ready = trainer.collator(next(trainer.global_batches(0))[1])
    update = trainer.update

    def studio() -> None:
        number, global_batch = next(global_batches)
        loop.take_step(trainer, number, global_batch, progress)
        trainer.controls.poll()

    def bare() -> None:
        predicted = trainer.model(ready.noisy_latents, ready.timesteps, ready.conditions, ready.captions)
        loss = (predicted.float() - ready.target).square().mean()
        loss.backward()
        update(0, loss.detach())

    def block(step: Any) -> Any:
        def run_block() -> list[float]:
            times = []
            for _ in range(steps):
                began = time.perf_counter()
                step()
                times.append(time.perf_counter() - began)
            return times[1:]

        return run_block

    return block(studio), block(bare)


if __name__ == "__main__":
    main()
