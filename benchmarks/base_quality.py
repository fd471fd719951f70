"""Measures a base model against its training pictures; run `python benchmarks/base_quality.py [MODEL] --work DIR`.

With `--tuned RUN` it measures instead what a fine-tune of MODEL on the sample data set has learned and forgotten; what
was drawn is kept in the work folder, so a measurement that was broken off goes on.
"""

from __future__ import annotations

import argparse
import hashlib
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
sys.path[:0] = [str(ROOT / "tools"), str(ROOT)]

import style
from base_data import Entry, by_group, load_data
from build_sample import STYLE
from style import to_tensor

from studio import families
from studio.bases import source
from studio.folders.runs import Run

# Captions outside the sample data set, of things the classifier has never seen either.
UNSEEN = 64
STEPS = 25
# Of the retrieval and the base's own grids, so that all versions of it can be compared; what a fine-tune has learned is
# drawn with the guidance that the base suggests.
GUIDANCE = 4.0
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


def sample(
    pipe: StableDiffusionPipeline, prompts: list[str], seed: int, first: int = 0, guidance: float = GUIDANCE
) -> np.ndarray:
    """One picture a prompt (N, H, W, 3) as bytes; each has a seed of its own, so the batch size changes nothing."""
    noise = [torch.Generator().manual_seed(seed * 100_000 + first + place) for place in range(len(prompts))]
    with torch.autocast("cpu", torch.bfloat16):
        result = pipe(prompts, num_inference_steps=STEPS, guidance_scale=guidance, generator=noise, output_type="np")
    return (result.images * 255).round().astype(np.uint8)


def draw(
    pipe: StableDiffusionPipeline, prompts: list[str], options: argparse.Namespace, guidance: float = GUIDANCE
) -> np.ndarray:
    """All the prompts' pictures in batches, each drawn once with these weights, then read from the work folder."""
    weights, drawn = style.hash_of(pipe.vae, pipe.text_encoder, pipe.unet), []
    for first in range(0, len(prompts), options.batch):
        part = prompts[first : first + options.batch]
        asked = json.dumps([weights, STEPS, guidance, options.seed, first, part])
        file = options.work / "drawn" / f"{hashlib.sha256(asked.encode()).hexdigest()[:24]}.npy"
        drawn.append(style.kept(file, lambda part=part, first=first: sample(pipe, part, options.seed, first, guidance)))
    return np.concatenate(drawn)


@torch.no_grad()
def encode(pipe: StableDiffusionPipeline, pictures: torch.Tensor) -> torch.Tensor:
    means = [pipe.vae.encode(part).latent_dist.mean for part in pictures.split(64)]
    return torch.cat(means)


def encode_known(pipe: StableDiffusionPipeline, pictures: torch.Tensor, work: Path) -> torch.Tensor:
    """The training pictures' latents, kept in the work folder part by part."""
    name = style.hash_of(pipe.vae)
    parts = [
        style.kept(work / "latents" / f"{name}-{place}.npy", lambda part=part: encode(pipe, part).numpy())
        for place, part in enumerate(pictures.split(256))
    ]
    return torch.from_numpy(np.concatenate(parts))


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
    guidance: float = GUIDANCE,
) -> tuple[dict[str, float], np.ndarray]:
    """Shares of captions whose picture is nearest to (or among the five nearest to) their own thing's."""
    groups = by_group(entries)
    order = np.random.default_rng(options.seed).permutation(len(groups))[: options.count]
    asked = [entries[groups[place][0]] for place in order]
    drawn = draw(pipe, [entry.label for entry in asked], options, guidance)
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
    """The pictures (bytes) with their words below, to look at."""
    width, tall = 128, 96 * drawn.shape[1] // drawn.shape[2]
    height = tall + 70
    sheet = Image.new("RGB", (columns * width, -(-len(drawn) // columns) * height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    for place, (picture, text) in enumerate(zip(drawn, words, strict=True)):
        left, top = place % columns * width, place // columns * height
        shown = Image.fromarray(picture).resize((96, tall), Image.Resampling.BICUBIC)
        sheet.paste(shown, (left + 16, top + 4))
        lines = [""]
        for word in text.split():
            longer = f"{lines[-1]} {word}".strip()
            lines = [*lines[:-1], longer] if pen.textlength(longer, font) < width - 4 else [*lines, word]
        middle = (left + width // 2, top + tall + 8)
        pen.multiline_text(middle, "\n".join(lines[:4]), "black", font, "ma", align="center")
    return sheet


def seconds_for_one(pipe: StableDiffusionPipeline) -> float:
    """Seconds for one picture alone, after one that warms up."""
    sample(pipe, ["red apple"], 0)
    begun = time.perf_counter()
    sample(pipe, ["red apple"], 0)
    return time.perf_counter() - begun


def load(model: Path) -> StableDiffusionPipeline:
    pipe = StableDiffusionPipeline.from_pretrained(model, dtype=torch.float32, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def suggested(base: Path) -> float:
    """The guidance that a base suggests for what was fine-tuned in full."""
    found = source.locate(str(base.resolve()))
    assert found is not None, "a folder is always found, or refused"
    return families.get("sd").defaults(found)["sample"]["guidance_scale"]


def load_tuned(base: Path, tuned: Path) -> StableDiffusionPipeline:
    """A fine-tune's averaged weights: a diffusers folder, a checkpoint, or a run with its newest checkpoint."""
    if (tuned / "model_index.json").exists():
        return load(tuned)
    found = tuned if any(tuned.glob("*_ema")) else next((path for path, _ in Run(tuned).valid_checkpoints()), None)
    parts = {path.name.removesuffix("_ema"): path for path in found.glob("*_ema")} if found else {}
    if not parts:
        raise SystemExit(f"{tuned} is no diffusers folder, no checkpoint with averaged weights, and no run with one")
    pipe = load(base)
    for name, path in parts.items():
        if name == "unet_lora":
            pipe.load_lora_weights(path)
        else:
            setattr(pipe, name, type(getattr(pipe, name)).from_pretrained(path, dtype=torch.float32))
    return pipe


def fine_tune(
    before: StableDiffusionPipeline,
    after: StableDiffusionPipeline,
    pictures: torch.Tensor,
    entries: list[Entry],
    options: argparse.Namespace,
) -> dict[str, float]:
    """How often base and fine-tune are called Fluent on unseen things, and how much of the retrieval is left.

    Captions are asked for plainly, and (`_asked`) with the sample data set's words for the style after them. What is
    left is measured as the base's own retrieval is, and (`_as_drawn`) with the guidance of the rest.
    """
    found = style.things(options.work)
    model, figures = style.classifier(before.vae, found, options.work)
    unseen = [label for label, known in zip(found.labels, found.known.tolist(), strict=True) if not known]
    words = [unseen[place] for place in np.random.default_rng(options.seed).permutation(len(unseen))[:UNSEEN]]
    asked = [f"{word}, {STYLE}" for word in words]
    rows = []
    for name, pipe, prompts in (("base", before, words), ("tuned", after, words), ("tuned_asked", after, asked)):
        rows.append(draw(pipe, prompts, options, options.guidance))
        figures[f"fluent_{name}"] = float(model.fluent(to_tensor(rows[-1])).float().mean())
    if options.grid:
        # Above one another: the base, the fine-tune, and the fine-tune asked for the style.
        grid(np.concatenate(rows, 1), words, 16).save(options.grid)
    if not options.count:
        return figures
    latents = encode_known(before, pictures, options.work)
    for suffix, guidance in (("", GUIDANCE), ("_as_drawn", options.guidance)):
        best = {}
        for name, pipe in (("base", before), ("tuned", after)):
            found_again, _ = retrieval(pipe, pictures, latents, entries, options, guidance)
            figures |= {f"{name}_{figure}{suffix}": value for figure, value in found_again.items()}
            best[name] = max(found_again["pixel_top1"], found_again["latent_top1"])
        figures[f"retrieval_kept{suffix}"] = best["tuned"] / best["base"]
    return figures


def base(pipe: StableDiffusionPipeline, pictures: torch.Tensor, entries: list[Entry], options: argparse.Namespace
) -> dict[str, float]:  # fmt: skip
    """The base's own figures, and its grids where they are wanted."""
    latents = encode_known(pipe, pictures, options.work)
    figures = reconstruction(pipe, pictures, latents)
    found, drawn = retrieval(pipe, pictures, latents, entries, options)
    figures |= found | {"seconds_one_picture": seconds_for_one(pipe)}
    if options.samples:
        groups = by_group(entries)
        order = np.random.default_rng(options.seed).permutation(len(groups))[: min(60, options.count)]
        grid(drawn[:60], [entries[groups[place][0]].label for place in order]).save(options.samples)
    if options.grid:
        grid(draw(pipe, list(OBEDIENCE), options), list(OBEDIENCE)).save(options.grid)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, nargs="?", default=ROOT / "studio" / "assets" / "base")
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "studio-build", help="data cache")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=300, help="captions of the retrieval; with --tuned 0 for none")
    parser.add_argument("--batch", type=int, default=30)
    parser.add_argument("--guidance", type=float, help="with --tuned: of the drawing, if not what the base suggests")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--tuned", type=Path, help="a run, a checkpoint or a diffusers folder: measure this fine-tune")
    parser.add_argument("--grid", type=Path, help="write the obedience grid here, or that of --tuned")
    parser.add_argument("--samples", type=Path, help="write a grid of retrieval pictures here")
    options = parser.parse_args()
    if options.guidance is None:
        options.guidance = suggested(options.model)
    torch.set_num_threads(options.threads)
    bytes_, entries = load_data(options.work)
    pipe, pictures = load(options.model), to_tensor(bytes_)
    if options.tuned:
        figures = fine_tune(pipe, load_tuned(options.model, options.tuned), pictures, entries, options)
    else:
        figures = base(pipe, pictures, entries, options)
    for name, value in figures.items():
        print(f"{name:22} {value:.3f}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
