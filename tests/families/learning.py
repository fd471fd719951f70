"""Eight captioned pictures learnt from random weights, and what a program without the studio says of the download.

    python -m tests.families.learning [FAMILY]      every mistake, each of which the verdict must tell

A mistake is a family that has one convention wrong in training; its download is drawn by the library's own pipeline.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import studio.families
from studio import config, export
from studio.families import Family
from studio.folders import runs

from ..train.conftest import train
from . import pictures, rf_base, tiny

NEAREST, RAW, EMA = 7, 0.6, 0.55  # of eight; distances to the right picture over those to the wrong ones


@dataclass(frozen=True)
class Lesson:
    """How a family's tiny base learns the eight pictures in some seconds."""

    make: Callable[[Path], Path]
    side: int  # of the pictures, in pixels
    steps: int
    learning_rate: float
    objective: dict[str, Any]


LESSONS = {"rf": Lesson(rf_base.make, 32, 600, 3e-3, {"prediction_type": "flow"}),
           "sd": Lesson(tiny.learnable, 16, 450, 1e-2, {"prediction_type": "epsilon"})}


def family(name: str = "rf") -> Family:
    """A family; the toy's file lies outside of the package."""
    rf_base.library()
    if str(rf_base.TOYS) not in studio.families.__path__:
        studio.families.__path__.append(str(rf_base.TOYS))
    return studio.families.get(name)


def learn(home: Path, name: str = "rf", **changes: Any) -> runs.Run:
    """A finished run of a family on the eight pictures."""
    family(name)
    base, lesson = home / "base", LESSONS[name]
    if not base.exists():
        lesson.make(base)
    rows = pictures.make(home, size=(lesson.side, lesson.side))
    asked = config.merge({
        "model": {"base": str(base)}, "data": {"resolution": lesson.side}, "objective": lesson.objective,
        "train": {"max_steps": lesson.steps, "batch_size": 8, "seed": 1, "mixed_precision": "no"},
        "optim": {"learning_rate": lesson.learning_rate, "lr_scheduler": "cosine"}, "ema": {"decay": 0.98},
        "sample": {"prompts": [], "every_steps": 0, "guidance_scale": 1.0},
        "checkpoint": {"every_steps": lesson.steps, "keep": 1}, "compute": {"num_threads": 1}}, changes)
    settings = config.resolve(config.load(asked), pictures=len(rows), seed=1, cores=1)
    run = runs.create(home, name="learns", owner="", config=settings, rows=rows)
    assert train(run) == "finished"
    return run


def verdict(run: runs.Run, weights: str) -> dict[str, Any]:
    """What `judge.py` says of the run's downloaded pipeline."""
    side = run.config().data.resolution or 0
    item = next(i for i in export.listing(run) if (i.kind, i.weights, i.precision) == ("pipeline", weights, "fp32"))
    with tempfile.TemporaryDirectory() as temporary:
        folder, images = Path(temporary, "pipeline"), Path(temporary, "images")
        folder.mkdir()
        images.mkdir()
        export.write_item(run, item.path, folder)
        for number in range(len(pictures.CAPTIONS)):
            Image.fromarray(pictures.array(number, (side, side))).save(images / f"{number}.png")
        task = {"images": str(images), "captions": {str(n): text for n, text in enumerate(pictures.CAPTIONS)},
                "library": str(rf_base.LIBRARY), "size": [side, side], "steps": 20, "seeds": [0, 1]}
        judge = [sys.executable, "-P", str(Path(__file__).with_name("judge.py")), str(folder), json.dumps(task)]
        done = subprocess.run(judge, capture_output=True, text=True, cwd=temporary)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def faults(found: dict[str, Any], most: float) -> list[str]:
    """What is wrong with a download; nothing for a family that has its conventions right."""
    told = found["told"]
    drawn = [] if found["nearest"] >= NEAREST and found["distance"] <= most else [
        f"{found['nearest']} of 8 nearest, distance {found['distance']:.2f}"]
    return drawn + [way for way, loss in told.items() if way != "as its pipeline" and loss <= told["as its pipeline"]]


# ------------------------------------------------------------------------------------------------------------ mistakes


def _sign(real: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *args: -real(self, *args)


def _time(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[..., Any]:
    return lambda real: lambda self, denoiser, x_t, t, cond: real(self, denoiser, x_t, change(t), cond)


def _transposed(real: Callable[..., Any]) -> Callable[..., Any]:
    """Columns told as rows, and the answer read so too."""
    return lambda self, denoiser, x_t, t, cond: real(self, denoiser, x_t.mT.contiguous(), t, cond).mT.contiguous()


def _shuffled(real: Callable[..., Any]) -> Callable[..., Any]:
    def collate(self: Family, entries: list[Any]) -> Any:
        return {name: value.roll(1, 0) for name, value in real(self, entries).items()}
    return collate


def _unmasked(real: Callable[..., Any]) -> Callable[..., Any]:
    """Texts at full length, their padding told as words."""
    def encode(self: Family, parts: dict[str, Any], captions: list[str]) -> Any:
        found: dict[str, torch.Tensor] = {}
        for name, suffix in (("texts", ""), ("texts_2", "_2")):
            encoder = parts[f"text_encoder{suffix}"]
            told = parts[f"tokenizer{suffix}"](captions, padding="max_length", max_length=rf_base.library().TOKENS,
                                               truncation=True, return_tensors="pt")
            states = encoder(told.input_ids, attention_mask=told.attention_mask)[0]
            found |= {name: states, "mask": torch.ones_like(told.attention_mask).bool()}
        return found
    return encode


def _scaled(real: Callable[..., Any]) -> Callable[..., Any]:
    def encode(self: Family, parts: dict[str, Any], pixels: torch.Tensor) -> Any:
        latents = real(self, parts, pixels)["latents"]
        std = torch.tensor(parts["vae"].config["latents_std"]).view(1, -1, 1, 1)
        return {"latents": latents * std}
    return encode


def _moved(real: Callable[..., Any]) -> Callable[..., Any]:
    def encode(self: Family, parts: dict[str, Any], pixels: torch.Tensor) -> Any:
        latents = real(self, parts, pixels)["latents"]
        mean, std = (torch.tensor(parts["vae"].config[f"latents_{k}"]).view(1, -1, 1, 1) for k in ("mean", "std"))
        return {"latents": latents + mean / std}
    return encode


def _unscaled(real: Callable[..., Any]) -> Callable[..., Any]:
    def encode(self: Family, parts: dict[str, Any], pixels: torch.Tensor) -> Any:
        posterior = real(self, parts, pixels)
        return posterior | {"scale": torch.ones_like(posterior["scale"])}
    return encode


# By family. Stable Diffusion packs nothing, masks no text and moves no latents: there is nothing to have wrong.
MISTAKES: dict[str, dict[str, tuple[str, Callable[..., Any]]]] = {
    "rf": {
        "the velocity's sign": ("predict", _sign),
        "time not scaled": ("predict", _time(lambda t: 1000 - (1000 - t) / 1000)),
        "time turned": ("predict", _time(lambda t: 1000 - t)),
        "packing transposed": ("predict", _transposed),
        "captions shuffled": ("collate_texts", _shuffled),
        "the mask ignored": ("encode_texts", _unmasked),
        "scale of latents left out": ("encode_images", _scaled),
        "shift of latents left out": ("encode_images", _moved),
    },
    "sd": {
        "the noise's sign": ("predict", _sign),
        "time not scaled": ("predict", _time(lambda t: t / 1000)),
        "time turned": ("predict", _time(lambda t: 999 - t)),
        "latents transposed": ("predict", _transposed),
        "captions shuffled": ("collate_texts", _shuffled),
        "scale of latents left out": ("encode_images", _unscaled),
    },
}


@contextmanager
def mistaken(name: str, mistake: str) -> Iterator[None]:
    """The family with this convention wrong."""
    method, wrong = MISTAKES[name][mistake]
    kind = type(family(name))
    real = getattr(kind, method)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, method, wrong(real))
        yield


def main() -> int:
    """Print what the verdict tells of each mistake; 1 where one goes unnoticed."""
    unseen = 0
    for name in sys.argv[1:] or LESSONS:
        for mistake in (None, *MISTAKES[name]):
            with tempfile.TemporaryDirectory() as home:
                with nullcontext() if mistake is None else mistaken(name, mistake):
                    run = learn(Path(home), name)
                found = faults(verdict(run, "raw"), RAW)
            print(f"{name}, {mistake or 'no mistake'}: {'; '.join(found) or 'nothing'}", flush=True)
            unseen += bool(found) != bool(mistake)
    return int(unseen > 0)


if __name__ == "__main__":
    sys.exit(main())
