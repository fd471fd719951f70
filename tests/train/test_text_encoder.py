"""The text encoder learns too: what is saved is what was drawn with, in every form; resumes are exact."""

from __future__ import annotations

import io
import signal
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from studio import config, export, prepare, sizes
from studio.folders import runs

from ..families import tiny
from .conftest import Make, child, curve, fingerprint, told, train
from .test_exactness import two_ranks
from .test_lora import SD, alike, asked, draw, drawn, pipeline

WEIGHTS = "text_encoder/model.safetensors"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("base") / "tiny")


def settings(base: Path, method: str, **changes: Any) -> dict[str, Any]:
    """A short run that trains the text encoder too."""
    rate = 3e-2 if method == "lora" else 3e-3
    return asked(base, **config.merge({"model": {"method": method, "train_text_encoder": True},
                                       "ema": {"decay": 0.5}, "optim": {"learning_rate": rate}}, changes))


def unpacked(run: runs.Run, path: str, folder: Path) -> Path:
    """A downloaded pipeline, unpacked."""
    with export.open_item(run, path) as download:
        content = io.BytesIO(b"".join(download.read(0, download.size)))
    with zipfile.ZipFile(content) as archive:
        archive.extractall(folder)
    return next(folder.iterdir())


def changed(run: runs.Run, base: Path, file: str) -> float:
    """The largest change of a weight in the text encoder."""
    before, after = load_file(base / WEIGHTS), load_file(run.checkpoints / file)
    assert {f"text_model.{name}" for name in before} == set(after)
    return max((after[f"text_model.{name}"] - value).abs().max().item() for name, value in before.items())


def test_a_full_run_is_taken_away_as_it_drew(make: Make, base: Path, tmp_path: Path, home: Path) -> None:
    run = make(**settings(base, "full"))
    assert train(run) == "finished", told(run, "end")
    assert [e["code"] for e in told(run, "warning")] == ["texts_not_cached"]
    assert not list((home / "cache" / "texts").rglob("*.safetensors"))
    assert {p.name for p in (run.checkpoints / "checkpoint-3").iterdir() if p.is_dir()} == {
        "unet", "unet_ema", "text_encoder", "text_encoder_ema"}
    assert changed(run, base, f"checkpoint-3/{WEIGHTS}") > 1e-3
    paths = [item.path for item in export.listing(run)]
    for weights in ("raw", "ema"):
        assert f"checkpoint-3/{weights}/text_encoder.safetensors" in paths
        folder = unpacked(run, f"checkpoint-3/pipeline-{weights}.zip", tmp_path / weights)
        from diffusers import StableDiffusionPipeline

        pipe = StableDiffusionPipeline.from_pretrained(folder)
        pipe.set_progress_bar_config(disable=True)
        assert np.array_equal(draw(pipe), drawn(run, 3, weights))
    pipe.text_encoder = pipeline(base).text_encoder
    assert not np.array_equal(draw(pipe), drawn(run, 3, "ema"))


def test_a_lora_has_both_parts_in_its_files(make: Make, base: Path) -> None:
    run = make(**settings(base, "lora"))
    assert train(run) == "finished", told(run, "end")
    for suffix, weights in (("", "raw"), ("_ema", "ema")):
        folder = run.checkpoints / "checkpoint-3" / f"unet_lora{suffix}"
        names = load_file(folder / "pytorch_lora_weights.safetensors")
        assert {name.partition(".")[0] for name in names} == {"unet", "text_encoder"}
        for file in ("pytorch_lora_weights.safetensors", "kohya.safetensors"):
            pipe = pipeline(base)
            pipe.load_lora_weights(folder, weight_name=file)
            assert alike(draw(pipe), drawn(run, 3, weights)), file
    kohya = load_file(run.checkpoints / "checkpoint-3/unet_lora/kohya.safetensors")
    layer = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
    assert kohya[f"{layer}.lora_down.weight"].shape == (3, 32) and kohya[f"{layer}.alpha"] == 6.0


@pytest.mark.parametrize(("method", "changes"), [
    ("full", {"train": {"gradient_accumulation_steps": 2}, "data": {"buckets": True, "bucket_step": 8}}),
    ("full", {"ema": {"enabled": False}, "train": {"gradient_checkpointing": True}}),
    ("lora", {"lora": {"dropout": 0.3, "dora": True}, "data": {"caption_dropout": 0.3}}),
    ("lora", {"train": {"gradient_checkpointing": True}}),
])
def test_resume_is_exact(make: Make, base: Path, method: str, changes: dict[str, Any]) -> None:
    wanted = settings(base, method, **config.merge(
        {"train": {"max_steps": 5}, "optim": {"text_encoder_learning_rate": 1e-3}, "checkpoint": {"every_steps": 2}},
        changes))
    whole, killed = make(**wanted), make(**wanted)
    assert train(whole) == "finished", told(whole, "end")
    run_ = killed.config()
    assert run_.model.train_text_encoder and child(killed, "step:3").returncode == -signal.SIGKILL
    assert train(killed) == "finished" and told(killed, "resumed")[0]["from_step"] == 2
    assert curve(killed) == curve(whole) and fingerprint(killed, 5) == fingerprint(whole, 5)
    files = [sorted(run.samples.glob("*.webp")) for run in (whole, killed)]
    assert [p.name for p in files[0]] == [p.name for p in files[1]]
    assert [p.read_bytes() for p in files[0]] == [p.read_bytes() for p in files[1]]


def test_checkpointing_gives_the_text_encoder_its_gradient(make: Make, base: Path) -> None:
    curves = []
    for checkpointing in (False, True):
        run = make(**settings(base, "lora", train={"gradient_checkpointing": checkpointing}, sample={"prompts": []}))
        train(run)
        curves.append([(e["loss"], e["grad_norm"]) for e in told(run, "step")])
        file = load_file(run.checkpoints / "checkpoint-3/unet_lora/pytorch_lora_weights.safetensors")
        assert all(value.abs().max() > 0 for name, value in file.items() if name.startswith("text_encoder"))
    assert np.allclose(*curves, rtol=1e-4)


def test_it_learns_at_its_own_rate(make: Make, base: Path) -> None:
    """Adam's first step changes each weight by its learning rate."""
    for rate in (1e-3, 1e-5):
        run = make(**settings(base, "full", train={"max_steps": 1}, sample={"prompts": []},
                              optim={"text_encoder_learning_rate": rate, "adam_weight_decay": 0.0}))
        assert train(run) == "finished"
        assert changed(run, base, f"checkpoint-1/{WEIGHTS}") == pytest.approx(rate, rel=2e-2)
        assert told(run, "step")[0]["lr"] == 3e-3


def test_any_family_that_names_its_encoders_can_also_on_two_ranks(make: Make) -> None:
    model, sample = {"train_text_encoder": True}, {"every_steps": 0}
    one = make(model=model, train={"batch_size": 4}, sample=sample)
    two = make(model=model, train={"batch_size": 2}, compute={"num_processes": 2}, sample=sample)
    assert train(one) == "finished", told(one, "end")
    folder = one.checkpoints / "checkpoint-8"
    assert (folder / "text_a" / "model.safetensors").is_file() and not (folder / "text_b").exists()
    done = two_ranks(two)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (torch.tensor([e["loss"] for e in told(run, "step")]) for run in (one, two))
    assert len(first) == 8 and torch.allclose(first, second, rtol=1e-5), (first, second)


def test_what_it_costs_is_told_before(home: Path, base: Path) -> None:
    wanted = {"model": {"base": str(base), "train_text_encoder": True}, "data": {"resolution": 32}}
    plan, without = (prepare.plan(home, {**wanted, "model": {**wanted["model"], "train_text_encoder": on}})
                     for on in (True, False))
    assert not plan.problems
    assert plan.source is not None
    extra = sizes.parameters(plan.source, "text_encoder")
    assert plan.checkpoint_bytes - without.checkpoint_bytes == extra * 16 > 0
    assert SD.text_encoders and plan.memory_bytes - without.memory_bytes == extra * 20
