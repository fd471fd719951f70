"""A light job: what the model sees of one picture: its crop, its pixels, and what the VAE's round trip loses of them.

Arguments: {dataset, pid, crop, base, resolution, buckets}. Results: `pixels.webp` with `box` [x, y, width, height] in
the stored picture's pixels, `decoded.webp`, and `lost.webp`, the pixels in grey with what was lost in red, with
`psnr` in dB and `mean_error` (0...255).
"""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image

from studio import config, datasets, families
from studio.bases import source as source_
from studio.datasets.pictures.buckets import Buckets
from studio.datasets.schema import Row
from studio.jobs.running import JobError, RunningJob
from studio.messages import Message
from studio.train.batches.sampler import CENTRE, ImageTransform, Sample, box

FULL_RED = 48  # levels of difference (0...255) that are marked fully red: plain to see at a glance


def main(job: RunningJob) -> None:
    """Crop and resize as the trainer does, encode to the posterior's mean, decode, compare."""
    args = job.args
    job.phase("loading")
    dataset = datasets.find(job.home, args["dataset"])
    row: Row = {**dataset.row(args["pid"]), "crop": args["crop"]}
    family, source = _base(args["base"])
    side = args["resolution"]
    size = side, side
    if args["buckets"]:
        size = Buckets(side).of(row)
    sample = Sample(row, 0, 0, "", False, CENTRE, size)
    pixels = ImageTransform(config.load({}).data.interpolation).pixels(dataset.picture(args["pid"]), sample)
    seen = _picture(pixels)
    job.result("pixels.webp", _webp(seen), "image/webp", width=size[0], height=size[1], box=box(sample))
    vae = {part: family.load(part, source) for part in family.encoder_parts(source)["images"]}
    job.phase("encoding")
    with torch.inference_mode():
        latents = family.latent_mode(family.encode_images(vae, pixels))
        job.check()
        decoded = _picture(family.decode_latents(vae, latents))
    job.result("decoded.webp", _webp(decoded), "image/webp", latents=list(latents.shape[1:]))
    lost = np.abs(seen.astype(np.int16) - decoded.astype(np.int16)).astype(np.float32)
    mse = float(np.square(lost).mean())
    psnr = None  # nothing was lost
    if mse:
        psnr = round(10 * float(np.log10(255**2 / mse)), 2)
    job.result("lost.webp", _webp(_marked(seen, lost.mean(axis=2))), "image/webp", psnr=psnr,
               mean_error=round(float(lost.mean()), 3))


def _base(name: str) -> tuple[families.Family, families.Source]:
    source = source_.locate(name)
    if source is None:
        raise JobError(Message("{base} is not on this machine.", base=name),
                       Message("Start a run with it, which downloads it, and look again."), "base_model")
    family = families.of(source)
    family.check(source)
    return family, source


def _picture(pixels: torch.Tensor) -> np.ndarray:
    """(1,3,H,W) in [-1,1] as (H,W,3) of bytes."""
    levels = (pixels[0].permute(1, 2, 0).clamp(-1, 1) + 1) * 127.5
    return levels.round().to(torch.uint8).numpy()


def _marked(seen: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """The picture in pale grey, red where `lost` (H,W) is large."""
    grey = 127.5 + seen.mean(axis=2, keepdims=True) / 2  # white stays 255: half a level more would wrap to black
    part = np.clip(lost / FULL_RED, 0, 1)[..., None]
    return (grey * (1 - part) + np.array([220.0, 20.0, 20.0]) * part).round().astype(np.uint8)


def _webp(levels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(levels).save(out, "WEBP", lossless=True, method=0)
    return out.getvalue()
