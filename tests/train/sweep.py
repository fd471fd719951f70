"""Kills runs at seeded random moments and resumes them: each must end bit for bit like the one that nothing disturbed.

    python -m tests.train.sweep 200 [--seed 1] [--together | --recipe NAME]

An attempt is a forked child of this process, which has imported everything and computed nothing. A moment is a
count: of the attempt's events, and of its file operations in the run folder and the cache.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import studio.families
from studio import config, prepare, storage
from studio.folders import runs
from studio.folders.events import EventWriter
from studio.train import loop

from ..families import tiny
from .conftest import FAMILIES, curve, picture

WATCHED = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir")  # audit events; os.replace is a rename too
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
BASE: dict[str, Any] = {
    "model": {"family": "sd"},
    "data": {"resolution": 32},
    "train": {"max_steps": 7, "batch_size": 2, "mixed_precision": "no", "seed": 7},
    "optim": {"learning_rate": 1e-3, "lr_scheduler": "constant"},
    "objective": {"prediction_type": "epsilon"},
    "sample": {"prompts": ["a red thing"], "every_steps": 3, "num_inference_steps": 2, "guidance_scale": 2.0},
    "checkpoint": {"every_steps": 2, "keep": 2},
    "compute": {"num_threads": 1},
}
LORA = {"model": {"method": "lora"}, "lora": {"rank": 2, "dropout": 0.2}}
# Five pictures: with a global batch of four each second update is one of a single picture.
RECIPES: dict[str, dict[str, Any]] = {
    "full": {},
    "without EMA": {"ema": {"enabled": False}},
    "LoRA": LORA,
    "LoRA without EMA": {**LORA, "ema": {"enabled": False}},
    "accumulation 2, short last batch": {"train": {"gradient_accumulation_steps": 2}},
    "accumulation 4, short last batch": {"train": {"batch_size": 1, "gradient_accumulation_steps": 4}},
    "flips": {"data": {"random_flip": True}},
    "random crops": {"data": {"center_crop": False, "random_flip": True}},
    "random crops, 2 workers": {"data": {"center_crop": False}, "compute": {"num_workers": 2}},
    "every noise": {"objective": {"noise_offset": 0.1, "input_perturbation": 0.1, "snr_gamma": 5.0}},
    "cosine schedule": {"optim": {"lr_scheduler": "cosine", "lr_warmup_steps": 2}},
    "gradient checkpointing": {"train": {"gradient_checkpointing": True}},
    "bf16": {"train": {"mixed_precision": "bf16"}},
    "buckets, flips": {"data": {"buckets": True, "bucket_step": 8, "random_flip": True}},
    "crop variants, dropped captions": {"data": {"center_crop": False, "crop_variants": 2, "caption_dropout": 0.3}},
    "text encoder": {"model": {"train_text_encoder": True}, "optim": {"text_encoder_learning_rate": 1e-4}},
    "LoRA with text encoder": {"model": {"method": "lora", "train_text_encoder": True}, "lora": LORA["lora"]},
    "8-bit AdamW": {"optim": {"name": "adamw8bit"}},
    "8-bit AdamW in the backward pass": {"optim": {"name": "adamw8bit", "fused_backward": True, "max_grad_norm": 0}},
    "Prodigy": {"optim": {"name": "prodigy", "learning_rate": 1.0}},
    "schedule-free": {"optim": {"name": "schedulefree"}, "ema": {"enabled": False}},
    "DREAM": {"objective": {"dream": True}},
    "v-prediction, zero terminal SNR": {"objective": {"prediction_type": "v_prediction", "zero_terminal_snr": True}},
    "EMA warm-up, offloaded": {"ema": {"warmup": True, "offload": True, "update_after_step": 2}},
    "plain attention, convolved layers": {"compute": {"attention": "plain", "linear": "convolution"}},
}
TOGETHER: dict[str, dict[str, Any]] = {  # what may not be exact although each of its parts is
    "DoRA, text encoder, buckets": {
        "model": {"method": "lora", "train_text_encoder": True}, "lora": {"rank": 2, "dora": True},
        "data": {"buckets": True, "bucket_step": 8}},
    "schedule-free, validation": {
        "optim": {"name": "schedulefree"}, "ema": {"enabled": False},
        "validation": {"every_steps": 2, "share": 0.4, "pictures": 2}},
    "8-bit in the backward pass, crops, dropped captions": {
        "optim": {"name": "adamw8bit", "fused_backward": True, "max_grad_norm": 0},
        "data": {"center_crop": False, "crop_variants": 2, "caption_dropout": 0.3}},
    "cosine, accumulation, checkpointing, min-SNR": {
        "optim": {"lr_scheduler": "cosine", "lr_warmup_steps": 2}, "objective": {"snr_gamma": 5.0},
        "train": {"gradient_accumulation_steps": 2, "gradient_checkpointing": True}},
    "LoRA of everything, bf16, workers": {
        "model": {"method": "lora"}, "lora": {"rank": 2, "dropout": 0.1, "targets": "attention+feed-forward"},
        "train": {"mixed_precision": "bf16"}, "data": {"center_crop": False}, "compute": {"num_workers": 2}},
    "v-prediction, zero SNR, EMA warm-up, text encoder": {
        "objective": {"prediction_type": "v_prediction", "zero_terminal_snr": True}, "ema": {"warmup": True},
        "model": {"train_text_encoder": True}},
    "live edits": {},
    "live edits of LoRA, Prodigy": {**LORA, "optim": {"name": "prodigy", "learning_rate": 1.0}},
    "a branch": {},
    "a branch of LoRA, schedule-free, live edits": {
        **LORA, "optim": {"name": "schedulefree"}, "ema": {"enabled": False}},
}
EDIT: dict[str, Any] = {"optim": {"lr_multiplier": 0.5}, "sample": {"prompts": ["a green thing"]}}  # while step 3 runs
BRANCH: dict[str, Any] = {"optim": {"lr_multiplier": 2.0}, "train": {"max_steps": 9}}  # from checkpoint-2


@dataclass(frozen=True)
class Result:
    """What a finished run leaves: each loss in every bit, and the SHA-256 of its last weights and its pictures."""

    losses: dict[int, str]
    files: dict[str, str]


def begin(home: Path) -> None:
    """What all runs of the sweep share: a tiny Stable Diffusion and five pictures of several shapes."""
    studio.families.__path__.append(str(FAMILIES))
    tiny.make(home / "base")
    for number, size in enumerate([(40, 48), (48, 40), (64, 40), (40, 40), (33, 60)]):
        picture(home, number, size)


def make(home: Path, recipe: str) -> runs.Run:
    """A run of the recipe that waits to be trained."""
    rows = [picture(home, number, size) for number, size in
            enumerate([(40, 48), (48, 40), (64, 40), (40, 40), (33, 60)])]
    asked = config.merge(BASE, {"model": {"base": str(home / "base")}}, (RECIPES | TOGETHER)[recipe])
    if "a branch" in recipe:
        asked = config.merge(asked, {"checkpoint": {"keep": 9}})
    settings = config.resolve(config.load(asked), pictures=len(rows), seed=1, cores=1)
    run = runs.create(home, name=recipe, owner="", config=settings, rows=rows)
    if "a branch" not in recipe:
        return run
    attempt(run, None)
    return prepare.branch(home, run, name=recipe, owner="", checkpoint="checkpoint-2", config=BRANCH)


def attempt(run: runs.Run, moment: int | None) -> int:
    """One attempt in a forked child, killed at that moment; returns how many moments it lived through.

    Raises AssertionError when it ends otherwise than finished or killed.
    """
    count = run.path / "moments"
    count.write_bytes(b"\0" * 8)
    pid = os.fork()
    if pid == 0:
        _live(run, moment, count)
    _, status = os.waitpid(pid, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    lived = int.from_bytes(count.read_bytes(), "big")
    assert killed or os.waitstatus_to_exitcode(status) == 0, run.log_file.read_text()[-3000:]
    return lived


def _live(run: runs.Run, moment: int | None, count: Path) -> None:
    """The child: train, counting moments, and die at the one given."""
    code = 1
    try:
        log = os.open(run.log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        counter = os.open(count, os.O_WRONLY)
        home, lived, asks = str(run.path.parent.parent), 0, "live edits" in run.record()["name"]

        def lives() -> None:
            nonlocal lived
            lived += 1
            os.pwrite(counter, lived.to_bytes(8, "big"), 0)
            if lived == moment:
                os.kill(os.getpid(), signal.SIGKILL)

        def watch(event: str, args: tuple[Any, ...]) -> None:
            if event not in WATCHED or not str(args[0]).startswith(home):
                return
            if event != "open" or (args[2] or 0) & WRITING:
                lives()

        written = EventWriter.add

        def add(self: EventWriter, kind: str, **fields: Any) -> dict[str, Any]:
            event = written(self, kind, **fields)
            if kind == "step" and fields["step"] == 3 and asks and not run.edits() and not list(run.control.iterdir()):
                run.request("edit", config=EDIT)
            lives()
            return event

        EventWriter.add = add  # type: ignore[method-assign]
        sys.addaudithook(watch)
        code = loop.EXIT_CODES[loop.train(run, supervised=False)]
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def result(run: runs.Run) -> Result:
    """What the finished run left."""
    folder = run.checkpoints / f"checkpoint-{run.config().train.max_steps}"
    files = [*folder.rglob("*.safetensors"), *run.samples.glob("*.webp")]
    return Result(curve(run), {p.relative_to(run.path).as_posix(): storage.sha256_file(p) for p in sorted(files)})


class Sweep:
    """Unbroken runs, one for each recipe, made when first needed, and killed ones to hold against them."""

    def __init__(self, home: Path):
        self.home, self.whole = home, dict[str, tuple[int, Result]]()
        begin(home)

    def unbroken(self, recipe: str) -> tuple[int, Result]:
        """How many moments the undisturbed run has, and what it left."""
        if recipe not in self.whole:
            run = make(self.home, recipe)
            moments = attempt(run, None)
            assert run.edits() or "live edits" not in recipe
            self.whole[recipe] = (moments, result(run))
        return self.whole[recipe]

    def point(self, recipe: str, draw: random.Random) -> str:
        """Kill a run once or twice at random moments and resume it; says what was done. Raises AssertionError."""
        moments, expected = self.unbroken(recipe)
        run = make(self.home, recipe)
        kills = [draw.randint(1, moments) for _ in range(draw.choice((1, 1, 2)))]
        lived = [attempt(run, moment) for moment in kills]
        attempt(run, None)
        told = f"{recipe}: killed at moments {', '.join(map(str, lived))} of {moments}"
        found = result(run)
        for step, loss in expected.losses.items():
            assert found.losses.get(step) == loss, f"{told}: step {step} lost {found.losses.get(step)}, not {loss}"
        assert found.files == expected.files, f"{told}: {sorted(dict(found.files.items() ^ expected.files.items()))}"
        return told


def main() -> int:
    """Print one line for each point; 1 when any was not exact."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("points", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--recipe", choices=RECIPES | TOGETHER, help="this one alone")
    parser.add_argument("--together", action="store_true", help="recipes of many parts, live edits and branches")
    asked = parser.parse_args()
    os.environ["ACCELERATE_USE_CPU"] = "true"
    recipes = [asked.recipe] if asked.recipe else list(TOGETHER if asked.together else RECIPES)
    wrong, began = 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        sweep, draw = Sweep(Path(folder)), random.Random(asked.seed)
        for number in range(asked.points):
            try:
                print(f"exact  {sweep.point(recipes[number % len(recipes)], draw)}", flush=True)
            except AssertionError as error:
                wrong += 1
                print(f"WRONG  {error}", flush=True)
    print(f"{asked.points} points, {wrong} not exact, {time.monotonic() - began:.0f} s, seed {asked.seed}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
