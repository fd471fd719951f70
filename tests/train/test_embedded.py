"""The embedded base through the trainer: what is saved loads in diffusers, what is cached equals what is encoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from studio import families
from studio.bases import source
from studio.train.batches.cache import CachedPictures, Encoders, LivePictures, part_hashes
from studio.train.batches.sampler import ImageTransform, Sample

from .conftest import Make, history, picture, told, train


def test_one_step_saves_what_diffusers_loads(make: Make) -> None:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    run = make(model={"family": "sd"}, data={"resolution": 64}, train={"max_steps": 2, "mixed_precision": "bf16"},
               sample={"prompts": ["a red apple"], "every_steps": 0})
    assert train(run) == "finished", told(run, "end")
    folder = run.checkpoints / "checkpoint-2"
    raw, average = (UNet2DConditionModel.from_pretrained(folder / name) for name in ("unet", "unet_ema"))
    assert raw.dtype == average.dtype == torch.float32
    assert {(e["step"], e["weights"]) for e in told(run, "sample")} == {(0, "raw"), (2, "raw"), (2, "ema")}


def test_dream_trains_from_what_the_model_predicts(make: Make) -> None:
    losses = {}
    for dream in (False, True):
        run = make(model={"family": "sd"}, data={"resolution": 64}, train={"max_steps": 2},
                   sample={"prompts": ["a red apple"], "every_steps": 0}, ema={"enabled": False},
                   objective={"prediction_type": "epsilon", "dream": dream})
        assert train(run) == "finished", told(run, "end")
        losses[dream] = history(run).curve.loss
    assert np.isfinite(losses[True]).all() and list(losses[True]) != list(losses[False])


def test_a_cached_posterior_is_the_encoded_one(home: Path) -> None:
    base, family = source.locate("embedded"), families.get("sd")
    assert base is not None
    row = picture(home, 1)
    hashes = part_hashes(home, base, ("vae", "tokenizer", "text_encoder"))
    encoders = Encoders(family, base, torch.device("cpu"), hashes)

    def path_of(row: dict[str, str]) -> Path:
        return home / "images" / row["image"][:2] / f"{row['image']}.png"

    samples = [Sample(row, 0, n, "", flip, (0.5, 0.5), (64, 64)) for n, flip in enumerate((False, True))]
    cached = CachedPictures(home, encoders, ImageTransform("lanczos"), path_of)
    cached.fill(samples, lambda: None)
    live = LivePictures(home, encoders, ImageTransform("lanczos"), path_of, workers=1)
    live.ahead(samples)
    for sample in samples:
        for name, value in live(sample).items():
            assert torch.equal(cached(sample)[name], value), name
    assert not torch.equal(cached(samples[0])["mean"], cached(samples[1])["mean"])
