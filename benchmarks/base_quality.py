"""Measures a base model against its training pictures; run `python benchmarks/base_quality.py [MODEL] --work DIR`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image, ImageDraw, ImageFont
from torch.nn import functional

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from base_data import Entry, by_group, load_data  # noqa: E402

STEPS, GUIDANCE = 25, 4.0
# Made of parts the base has seen, never word for word: what it does with them shows how far it understands words.
OBEDIENCE = (
    "red heart with blue ribbon", "cat face with sunglasses", "green apple with a face", "blue car",
    "purple house", "yellow bus with a red stripe", "dog face with cowboy hat", "pink elephant",
    "black sheep", "a green star", "two red apples", "a snowman with sunglasses",
    "blue strawberry", "orange flower", "a white cat", "a red book",
    "purple crown", "a heart with a smiling face", "robot with heart eyes", "a fish with a hat",
    "frog with a crown", "bear with a red scarf", "sun with sunglasses", "moon with sunglasses",
    "an angry cat", "a crying dog", "a sleeping bear", "a happy pig",
    "a sad robot", "a laughing monkey", "a kissing frog", "a winking tiger",
    "blue flag with a yellow star", "red flag with a white cross", "green flag", "white flag with a red circle",
    "red umbrella", "yellow umbrella with rain", "a pink bicycle", "a green train",
    "a blue ball", "a purple gift with a yellow ribbon", "a golden key", "a red key",
    "black heart with an arrow", "green heart on fire", "a broken blue heart", "heart with bandage",
    "a cake with strawberries", "a pizza with a heart", "an ice cream with cherries", "a cup of green tea",
    "a bird on a tree", "a house with snow", "a boat in the rain", "a rocket and the moon",
    "a brown bird", "a yellow snake", "a red fish", "a pink rabbit",
)  # fmt: skip


def sample(pipe: StableDiffusionPipeline, prompts: list[str], seed: int, batch: int) -> np.ndarray:
    """One picture a prompt (N, H, W, 3) in 0..1; each has its own seed, so the batch size changes nothing."""
    drawn = []
    for start in range(0, len(prompts), batch):
        part = prompts[start : start + batch]
        noise = [torch.Generator().manual_seed(seed * 100_000 + start + place) for place in range(len(part))]
        with torch.autocast("cpu", torch.bfloat16):
            result = pipe(
                part, num_inference_steps=STEPS, guidance_scale=GUIDANCE, generator=noise, output_type="np"
            )
        drawn.append(result.images)
    return np.concatenate(drawn)


def to_tensor(pictures: np.ndarray) -> torch.Tensor:
    """Pictures (N, H, W, 3) in bytes or 0..1 as (N, 3, H, W) in -1..1."""
    scale = 255 if pictures.dtype == np.uint8 else 1
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / scale * 2 - 1


@torch.no_grad()
def encode(pipe: StableDiffusionPipeline, pictures: torch.Tensor) -> torch.Tensor:
    means = [pipe.vae.encode(part).latent_dist.mean for part in pictures.split(64)]
    return torch.cat(means)


@torch.no_grad()
def reconstruction(pipe: StableDiffusionPipeline, pictures: torch.Tensor, latents: torch.Tensor) -> dict[str, float]:
    """PSNR of the VAE in dB: of the error over all pictures, the mean of the pictures', and the worst tenth's."""
    errors = []
    for part, latent in zip(pictures.split(64), latents.split(64), strict=True):
        drawn = pipe.vae.decode(latent).sample.clamp(-1, 1)
        errors.append(((drawn - part) / 2).square().flatten(1).mean(1))
    each = torch.cat(errors)
    single = -10 * each.log10()
    return {
        "psnr_pooled_db": float(-10 * each.mean().log10()),
        "psnr_mean_db": float(single.mean()),
        "psnr_worst_tenth_db": float(single.quantile(0.1)),
    }


def ranks(drawn: torch.Tensor, known: torch.Tensor, groups: list[str], wanted: list[str]) -> list[int]:
    """For each drawn picture how many other groups have a nearer picture than the wanted group (0 is best)."""
    names = {name: place for place, name in enumerate(dict.fromkeys(groups))}
    members = torch.tensor([names[name] for name in groups])
    distances = torch.cdist(drawn.flatten(1).double(), known.flatten(1).double())
    nearest = torch.full((len(drawn), len(names)), torch.inf, dtype=torch.double)
    nearest.scatter_reduce_(1, members.expand(len(drawn), -1), distances, "amin")
    own = nearest.gather(1, torch.tensor([[names[name]] for name in wanted]))
    return (nearest < own).sum(1).tolist()


def retrieval(
    pipe: StableDiffusionPipeline,
    pictures: torch.Tensor,
    latents: torch.Tensor,
    entries: list[Entry],
    options: argparse.Namespace,
) -> tuple[dict[str, float], np.ndarray]:
    """Shares of captions whose picture is nearest to (or among the five nearest to) their own thing's."""
    groups = by_group(entries)
    order = np.random.default_rng(options.seed).permutation(len(groups))[: options.count]
    asked = [entries[groups[place][0]] for place in order]
    drawn = sample(pipe, [entry.label for entry in asked], options.seed, options.batch)
    shown = to_tensor(drawn)
    spaces = {
        "pixel": (functional.avg_pool2d(shown, 4), functional.avg_pool2d(pictures, 4)),
        "latent": (encode(pipe, shown), latents),
    }
    figures = {}
    for name, (own, known) in spaces.items():
        found = ranks(own, known, [entry.group for entry in entries], [entry.group for entry in asked])
        figures[f"{name}_top1"] = sum(rank < 1 for rank in found) / len(found)
        figures[f"{name}_top5"] = sum(rank < 5 for rank in found) / len(found)
    return figures, drawn


def grid(drawn: np.ndarray, words: list[str], columns: int = 10) -> Image.Image:
    """The pictures with their words below, to look at."""
    width, height = 128, 166
    sheet = Image.new("RGB", (columns * width, -(-len(drawn) // columns) * height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    for place, (picture, text) in enumerate(zip(drawn, words, strict=True)):
        left, top = place % columns * width, place // columns * height
        small = Image.fromarray((picture * 255).round().astype(np.uint8))
        sheet.paste(small.resize((96, 96), Image.Resampling.BICUBIC), (left + 16, top + 4))
        lines = [""]
        for word in text.split():
            longer = f"{lines[-1]} {word}".strip()
            lines = [*lines[:-1], longer] if pen.textlength(longer, font) < width - 4 else [*lines, word]
        pen.multiline_text((left + width // 2, top + 104), "\n".join(lines[:4]), "black", font, "ma", align="center")
    return sheet


def seconds_for_one(pipe: StableDiffusionPipeline) -> float:
    """Seconds for one picture alone, after one that warms up."""
    sample(pipe, ["red apple"], 0, 1)
    begun = time.perf_counter()
    sample(pipe, ["red apple"], 0, 1)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, nargs="?", default=ROOT / "studio" / "assets" / "base")
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "studio-build", help="data cache")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=300, help="captions of the retrieval")
    parser.add_argument("--batch", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--grid", type=Path, help="write the obedience grid here")
    parser.add_argument("--samples", type=Path, help="write a grid of retrieval pictures here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    bytes_, entries = load_data(options.work)
    pipe = StableDiffusionPipeline.from_pretrained(options.model, dtype=torch.float32, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    pictures = to_tensor(bytes_)
    latents = encode(pipe, pictures)
    figures = reconstruction(pipe, pictures, latents)
    found, drawn = retrieval(pipe, pictures, latents, entries, options)
    figures |= found | {"seconds_one_picture": seconds_for_one(pipe)}
    for name, value in figures.items():
        print(f"{name:22} {value:.3f}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if options.samples:
        groups = by_group(entries)
        order = np.random.default_rng(options.seed).permutation(len(groups))[: min(60, options.count)]
        grid(drawn[:60], [entries[groups[place][0]].label for place in order]).save(options.samples)
    if options.grid:
        grid(sample(pipe, list(OBEDIENCE), options.seed, options.batch), list(OBEDIENCE)).save(options.grid)


if __name__ == "__main__":
    main()
