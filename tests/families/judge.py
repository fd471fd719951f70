"""Judges a downloaded pipeline with nothing of the studio: python judge.py PIPELINE TASK [LORA]

TASK is JSON: {"images": folder with <name>.png, "captions": {name: caption}, "library": folder of the toy's classes,
"size", "steps", "seeds"}. Prints JSON: `nearest`, how many captions draw what is nearest to their own picture
(of each seed the least), `distance`, the mean distance to the right one over that to the wrong ones, and `told`, the
mean loss of the denoiser told as its pipeline tells it and otherwise.

What the pipeline hands to its VAE is compared with the VAE's encodings of the pictures, channel by channel in units of
their deviation: a random decoder hides scale, so that pixels say nothing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from PIL import Image


def main() -> None:
    """Load, draw, compare."""
    torch.set_num_threads(1)
    folder, task = Path(sys.argv[1]), json.loads(sys.argv[2])
    sys.path.append(task["library"])
    import toylib  # type: ignore[import-not-found]

    assert not [name for name in sys.modules if name.startswith("studio")]
    told = TOLD[json.loads((folder / "model_index.json").read_text())["_class_name"]]
    kind = toylib.ToyPipeline if told is _told_of_flow else StableDiffusionPipeline
    pipe = kind.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    if len(sys.argv) > 3:
        pipe.load_lora_weights(sys.argv[3])
    names = sorted(task["captions"])
    pixels = torch.cat([_pixels(Path(task["images"]) / f"{name}.png") for name in names])
    with torch.no_grad():
        wanted = pipe.vae.encode(pixels).latent_dist.mode()
        found = [_compare(pipe, [task["captions"][name] for name in names], wanted, seed, task)
                 for seed in task["seeds"]]
        losses = told(pipe, toylib, [task["captions"][name] for name in names], wanted)
    print(json.dumps({"nearest": min(f[0] for f in found), "distance": max(f[1] for f in found), "told": losses}))


def _pixels(path: Path) -> torch.Tensor:
    levels = np.asarray(Image.open(path).convert("RGB"), dtype=np.float32)
    return torch.from_numpy(levels).permute(2, 0, 1)[None] / 127.5 - 1


def _compare(pipe: Any, captions: list[str], wanted: torch.Tensor, seed: int, task: dict[str, Any]
             ) -> tuple[int, float]:
    """(captions nearest to their own picture, mean distance to the right one over that to the wrong ones)."""
    decoded: list[torch.Tensor] = []
    decode = pipe.vae.decode

    def watch(latents: torch.Tensor, **options: Any) -> Any:
        decoded.append(latents)
        return decode(latents, **options)

    pipe.vae.decode = watch
    for number, caption in enumerate(captions):
        pipe(caption, width=task["size"][0], height=task["size"][1], num_inference_steps=task["steps"],
             guidance_scale=1.0, generator=torch.Generator().manual_seed(100 * seed + number))
    pipe.vae.decode = decode
    deviation = wanted.std(dim=(0, 2, 3), keepdim=True)
    gaps = torch.stack([((one - wanted) / deviation).square().mean(dim=(1, 2, 3)).sqrt() for one in decoded])
    right, count = gaps.diagonal(), len(captions)
    wrong = (gaps.sum(dim=1) - right) / (count - 1)
    return int((gaps.argmin(dim=1) == torch.arange(count)).sum()), float(right.mean() / wrong.mean())


def _told_of_flow(pipe: Any, toylib: Any, captions: list[str], wanted: torch.Tensor) -> dict[str, float]:
    """Losses on the same noise and times: told as the pipeline tells the denoiser, and otherwise."""
    mean, std = (torch.tensor(pipe.vae.config[f"latents_{name}"]).view(1, -1, 1, 1) for name in ("mean", "std"))
    x0, (height, width) = (wanted - mean) / std, wanted.shape[-2:]
    generator = torch.Generator().manual_seed(5)
    ways: dict[str, list[float]] = {}
    conditions = pipe.encode_prompt(captions)
    for level in (0.15, 0.3, 0.5, 0.7, 0.85):
        eps = torch.randn(x0.shape, generator=generator)
        x = toylib.packed((1 - level) * x0 + level * eps)
        t = torch.full((len(x0),), level)
        whole = torch.ones_like(conditions["mask"])
        other = {name: value.roll(1, 0) for name, value in conditions.items()}
        for way, (texts, mask, cleanness) in {
            "as its pipeline": (conditions, conditions["mask"], 1 - t),
            "time turned": (conditions, conditions["mask"], t),
            "time not scaled": (conditions, conditions["mask"], (1 - t) / 1000),
            "no mask": (conditions, whole, 1 - t), "another caption": (other, other["mask"], 1 - t),
        }.items():
            answer = pipe.transformer(x, toylib.places(height, width), texts["texts"], texts.get("texts_2"), mask,
                                      cleanness)
            loss = (toylib.unpacked(-answer, height, width) - (eps - x0)).square().mean()
            ways.setdefault(way, []).append(float(loss))
    return {way: sum(losses) / len(losses) for way, losses in ways.items()}


def _told_of_noise(pipe: Any, _: Any, captions: list[str], wanted: torch.Tensor) -> dict[str, float]:
    """The same of a model that predicts the noise."""
    x0, generator = wanted * pipe.vae.config.scaling_factor, torch.Generator().manual_seed(5)
    schedule = DDPMScheduler.from_config(pipe.scheduler.config)
    texts = pipe.encode_prompt(captions, "cpu", 1, do_classifier_free_guidance=False)[0]
    ways: dict[str, list[float]] = {}
    for level in (150, 300, 500, 700, 850):
        eps = torch.randn(x0.shape, generator=generator)
        t = torch.full((len(x0),), level)
        x = schedule.add_noise(x0, eps, t)
        for way, (time, words) in {"as its pipeline": (t, texts), "time turned": (999 - t, texts),
                                   "time not scaled": (t / 1000, texts), "another caption": (t, texts.roll(1, 0)),
                                   }.items():
            ways.setdefault(way, []).append(float((pipe.unet(x, time, words).sample - eps).square().mean()))
    return {way: sum(losses) / len(losses) for way, losses in ways.items()}


TOLD = {"ToyPipeline": _told_of_flow, "StableDiffusionPipeline": _told_of_noise}

if __name__ == "__main__":
    main()
