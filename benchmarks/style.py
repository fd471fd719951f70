"""Tells pictures in Noto's style from pictures in Fluent's; run `python benchmarks/style.py [MODEL] --work DIR`.

`python benchmarks/base_quality.py --tuned RUN` asks it whether a fine-tune on the sample data set has moved the style.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import base_data
import build_sample

NOTO, FLUENT = 0, 1
HELD_OUT, SEED = 0.15, 0
STEPS, BATCH, RATE = 1400, 64, 4e-3
# Pictures that go through the VAE at once.
PART = 128
# Microsoft draws no country flags: the Fluent package has Noto's own.
SHARED = "flag: "
# How far latents are moved at most, in standard deviations of the channel: a picture drawn badly but whole.
UNSURE = 0.25


@dataclass(frozen=True)
class Things:
    """Things that both sets have drawn, each in both styles; `known` says which of them the classifier learns from."""

    labels: list[str]
    pictures: Tensor  # (2, N, 3, 64, 64) in -1..1: Noto's and Fluent's
    known: Tensor  # (N) of bool


def things(work: Path) -> Things:
    """All plain things of both sets: those of the sample data set are known, of the others some stay unseen."""
    pictures, entries = base_data.load_data(work)
    noto = {entry.group: (entry.label, pictures[place]) for place, entry in enumerate(entries) if entry.plain}
    fluent = {}
    with tarfile.open(build_sample.fetch(work / "npm")) as package:
        for member in package:
            code = base_data.without_variation(Path(member.name).stem)
            file = package.extractfile(member) if code in noto else None
            if file is not None:
                fluent[code] = base_data.compose(file.read())
    two = [code for code in sorted(fluent) if not noto[code][0].startswith(SHARED)]
    sample = {base_data.group_of(base_data.without_variation(code)) for code, _ in build_sample.entries()}
    chance = np.random.default_rng(SEED).random(len(two))
    pairs = [(noto[code][1], fluent[code]) for code in two]
    return Things(
        labels=[noto[code][0] for code in two],
        pictures=torch.stack([to_tensor(np.stack(drawn)) for drawn in zip(*pairs, strict=True)]),
        known=torch.tensor([code in sample or place > HELD_OUT for code, place in zip(two, chance, strict=True)]),
    )


def to_tensor(pictures: np.ndarray) -> Tensor:
    """Pictures (N, H, W, 3) in bytes as (N, 3, H, W) in -1..1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def kept(file: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The array in the file, made first where it is not there: what was broken off goes on."""
    if not file.exists():
        buffer = io.BytesIO()
        np.save(buffer, make())
        base_data.write_atomically(file, buffer.getvalue())
    return np.load(file)


def hash_of(*modules: nn.Module) -> str:
    """A name for these weights."""
    hashed = hashlib.sha256()
    for module in modules:
        for weight in module.state_dict().values():
            hashed.update(weight.contiguous().numpy().tobytes())
    return hashed.hexdigest()[:16]


def round_trips(vae: AutoencoderKL, pictures: Tensor, known: Tensor, work: Path) -> Tensor:
    """The pictures (2, N, ...) through the VAE, those of known things with latents that are a little off."""
    name, flat = hash_of(vae), pictures.flatten(0, 1)
    chances = torch.rand(pictures.shape[:2], generator=torch.Generator().manual_seed(SEED))
    strength = (chances * UNSURE * known).flatten()

    @torch.no_grad()
    def trip(place: int) -> np.ndarray:
        part, chance = slice(place, place + PART), torch.Generator().manual_seed(SEED + place)
        # In half precision, as samples are drawn.
        with torch.autocast("cpu", torch.bfloat16):
            latents = vae.encode(flat[part]).latent_dist.mean.float()
            noise = torch.randn(latents.shape, generator=chance) * latents.std((0, 2, 3), keepdim=True)
            drawn = vae.decode(latents + strength[part].view(-1, 1, 1, 1) * noise).sample.float().clamp(-1, 1)
        return ((drawn + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()

    name += f"-{hashlib.sha256(strength.numpy().tobytes()).hexdigest()[:8]}"
    files = {place: work / "style" / f"{name}-{place}.npy" for place in range(0, len(flat), PART)}
    drawn = [kept(file, lambda place=place: trip(place)) for place, file in files.items()]
    return to_tensor(np.concatenate(drawn)).view_as(pictures)


class Classifier(nn.Sequential):
    """Convolutions, the first over squares of four pixels, then each feature's mean and most; above 0 is Fluent."""

    def __init__(self) -> None:
        layers: list[nn.Module] = [nn.PixelUnshuffle(2)]
        for before, after, stride in ((12, 24, 1), (24, 48, 2), (48, 96, 2), (96, 128, 2)):
            layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        super().__init__(*layers, Pool(), nn.Dropout(0.1), nn.Linear(256, 1), nn.Flatten(0))

    @torch.no_grad()
    def fluent(self, pictures: Tensor) -> Tensor:
        """For each picture (N, 3, 64, 64) in -1..1 whether it is called Fluent."""
        self.eval()
        return torch.cat([self(part) + self(part.flip(3)) > 0 for part in pictures.split(256)])


class Pool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)


def disturbed(pictures: Tensor, chance: torch.Generator) -> Tensor:
    """Mirrored, moved, scaled, blurred, noisy and of other colours: nothing of this is the style."""
    count = len(pictures)

    def draw(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=chance) * (high - low) + low

    scale, mirror = draw(0.9, 1.2), draw(-1, 1).sign()
    zero = torch.zeros(count)
    rows = [scale * mirror, zero, draw(-0.1, 0.1), zero, scale, draw(-0.1, 0.1)]
    where = functional.affine_grid(torch.stack(rows, 1).view(-1, 2, 3), list(pictures.shape), align_corners=False)
    # Outside of a picture is white, so it is the darkness that is moved.
    moved = 1 - functional.grid_sample(1 - pictures, where, align_corners=False)
    softer = functional.avg_pool2d(moved, 3, 1, 1, count_include_pad=False)
    moved = torch.lerp(moved, softer, draw(-0.2, 0.8, 1, 1, 1).clamp_min(0))
    grey = moved.mean(1, keepdim=True)
    coloured = (grey + (moved - grey) * draw(0.8, 1.2, 1, 1, 1)) * draw(0.9, 1.1, 1, 1, 1)
    coloured = coloured + draw(-0.05, 0.05, 3, 1, 1)
    noise = torch.randn(coloured.shape, generator=chance) * draw(0, 0.05, 1, 1, 1)
    return (coloured + noise).clamp(-1, 1)


def half_formed(pictures: Tensor) -> Tensor:
    """What a thing looks like that is no more than a blob of its colours."""
    blobs = functional.avg_pool2d(pictures, 10, 6, padding=2, count_include_pad=False)
    return functional.interpolate(blobs, size=pictures.shape[2:], mode="bicubic")


def learn(model: Classifier, known: Tensor, part: Path) -> None:
    """Teaches it with pictures (K, 2, N, ...): kinds, styles, things. A part file keeps what it has learned so far."""
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS)
    state, first = {"model": model, "optimizer": optimizer, "schedule": schedule}, 0
    if part.exists():
        saved = torch.load(part, weights_only=True)
        first = saved.pop("step")
        for name, values in saved.items():
            state[name].load_state_dict(values)
    model.train()
    for step in range(first, STEPS):
        chance = torch.Generator().manual_seed(SEED * STEPS + step)
        torch.manual_seed(SEED * STEPS + step)
        # Both styles of the same things in one batch: what a thing is tells nothing.
        thing = torch.randint(known.shape[2], (BATCH // 2,), generator=chance)
        kind = torch.randint(len(known), (BATCH // 2,), generator=chance)
        noto, fluent = disturbed(known[kind, :, thing].transpose(0, 1).flatten(0, 1), chance).chunk(2)
        # A blob is not Fluent, whatever its colours are.
        wanted = torch.cat([torch.zeros(BATCH // 2), torch.ones(BATCH // 2), torch.zeros(BATCH // 16)])
        told = model(torch.cat([noto, fluent, half_formed(fluent[: BATCH // 16])]))
        # A little doubt in the wanted answers keeps it from being sure by one feature.
        loss = functional.binary_cross_entropy_with_logits(told, wanted * 0.9 + 0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % 50 == 0:
            print(f"classifier {step + 1}/{STEPS}, loss {loss.item():.3f}", flush=True)
            buffer = io.BytesIO()
            torch.save({name: each.state_dict() for name, each in state.items()} | {"step": step + 1}, buffer)
            base_data.write_atomically(part, buffer.getvalue())


def measured(model: Classifier, kinds: Tensor) -> dict[str, float]:
    """Shares of unseen things told right: plain in either style, and each style after the VAE's round trip."""
    right = [[model.fluent(pictures) == bool(style) for style, pictures in enumerate(kind)] for kind in kinds]
    plain, vae = [[float(told.float().mean()) for told in kind] for kind in right]
    return {"style_accuracy": sum(plain) / 2, "style_vae_noto": vae[NOTO], "style_vae_fluent": vae[FLUENT]}


def classifier(vae: AutoencoderKL, found: Things, work: Path) -> tuple[Classifier, dict[str, float]]:
    """The classifier for pictures of this VAE, learned where the work folder lacks it, and how right it is."""
    recipe = hashlib.sha256(Path(__file__).read_bytes() + found.known.numpy().tobytes()).hexdigest()[:16]
    file = work / "style" / f"{hash_of(vae)}-{recipe}.safetensors"
    torch.manual_seed(SEED)
    model = Classifier()
    if file.exists():
        model.load_state_dict(load_file(file))
        with safe_open(file, "pt") as learned:
            return model, json.loads(learned.metadata()["figures"])
    kinds = torch.stack([found.pictures, round_trips(vae, found.pictures, found.known, work)])
    part = file.with_suffix(".learning")
    learn(model, kinds[:, :, found.known], part)
    figures = measured(model, kinds[:, :, ~found.known])
    base_data.write_atomically(file, save(model.state_dict(), {"figures": json.dumps(figures)}))
    part.unlink(missing_ok=True)
    return model, figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", default=ROOT / "studio" / "assets" / "base")
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "studio-build", help="data cache")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found, begun = things(options.work), time.perf_counter()
    vae = AutoencoderKL.from_pretrained(options.model / "vae", torch_dtype=torch.float32)
    _, figures = classifier(vae.eval(), found, options.work)
    print(f"{int(found.known.sum())} things to learn from, {int((~found.known).sum())} unseen")
    for name, value in figures.items():
        print(f"{name:22} {value:.3f}")
    print(f"{'seconds':22} {time.perf_counter() - begun:.0f}")


if __name__ == "__main__":
    main()
