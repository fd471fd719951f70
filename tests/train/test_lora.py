"""LoRA through the trainer: what is frozen, what resumes, what other programs load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load, load_file

from studio import config, export, families, prepare
from studio.bases import source
from studio.folders import runs

from ..families import tiny
from .conftest import Make, curve, fingerprint, told, train
from .test_exactness import two_ranks
from .test_loop import ask_at

SD = families.get("sd")
LORA = {"rank": 3, "alpha": 6.0, "targets": "attention+feed-forward"}  # a scale that is not 1


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("base") / "tiny")


def asked(base: Path, **changes: Any) -> dict[str, Any]:
    """The settings of a short LoRA run on `base`."""
    return config.merge({
        "model": {"family": "sd", "base": str(base), "method": "lora"}, "lora": LORA,
        "train": {"max_steps": 3}, "optim": {"learning_rate": 3e-2},
        "sample": {"prompts": ["a red thing"], "every_steps": 0, "num_inference_steps": 2, "guidance_scale": 3.0},
    }, changes)


def pipeline(base: Path) -> Any:
    """The untrained base."""
    found = source.locate(str(base), None, None)
    assert found is not None
    parts = {part: SD.load(part, found) for part in ("tokenizer", "text_encoder", "vae", "unet")}
    pipe = SD.pipeline(parts, found, config.load({"objective": {"prediction_type": "epsilon"}}).objective)
    pipe.register_modules(text_encoder=parts["text_encoder"], tokenizer=parts["tokenizer"])
    return pipe


def draw(pipe: Any) -> np.ndarray:
    return np.asarray(pipe("a red thing", height=32, width=32, num_inference_steps=2, guidance_scale=3.0,
                           generator=torch.Generator().manual_seed(0)).images[0], int)


def drawn(run: runs.Run, step: int, weights: str) -> np.ndarray:
    """The preview of that step, with these weights."""
    with Image.open(run.samples / f"step-{step:06d}-p0-{weights}.webp") as image:
        return np.asarray(image, int)


def alike(one: np.ndarray, other: np.ndarray) -> bool:
    """The same picture, but for a value in a thousand that another kernel's last bit has rounded to the next."""
    apart = np.abs(one - other)
    return bool(apart.max() <= 1 and (apart > 0).mean() <= 1e-3)


def merged(pipe: Any, file: Path) -> Any:
    """The pipeline with a kohya file merged as LyCORIS does it, by its own alpha and dora_scale."""
    state, layers = load_file(file), {}
    for name, module in pipe.unet.named_modules():
        layers[f"lora_unet_{name.replace('.', '_')}"] = module
    for layer in sorted({name.partition(".")[0] for name in state}):
        down, up = state[f"{layer}.lora_down.weight"], state[f"{layer}.lora_up.weight"]
        weight = layers[layer].weight.data
        weight += up @ down * (state[f"{layer}.alpha"] / len(down))
        if (scale := state.get(f"{layer}.dora_scale")) is not None:
            weight *= scale / weight.norm(dim=1, keepdim=True)
    return pipe


@pytest.mark.parametrize("dora", [False, True])
def test_saved_weights_draw_the_preview_again(make: Make, base: Path, dora: bool) -> None:
    run = make(**asked(base, lora={"dora": dora}, ema={"decay": 0.5}))
    assert train(run) == "finished", told(run, "end")
    before = draw(pipeline(base))
    assert np.array_equal(drawn(run, 0, "raw"), before)
    pictures = [drawn(run, 3, weights) for weights in ("raw", "ema")]
    assert all(np.abs(picture - before).mean() > 1 for picture in pictures)
    for weights, picture in zip(("unet_lora", "unet_lora_ema"), pictures, strict=True):
        folder = run.checkpoints / "checkpoint-3" / weights
        pipe = pipeline(base)
        pipe.load_lora_weights(folder)
        assert alike(draw(pipe), picture)
        if not dora:  # diffusers drops the dora_scale of kohya's files
            pipe = pipeline(base)
            pipe.load_lora_weights(folder, weight_name="kohya.safetensors")
            assert alike(draw(pipe), picture)
        assert np.abs(draw(merged(pipeline(base), folder / "kohya.safetensors")) - picture).max() <= 1


def test_only_the_layers_learn_in_fp32_and_the_clip_clips(make: Make, base: Path) -> None:
    run = make(**asked(base, train={"mixed_precision": "bf16"}, optim={"max_grad_norm": 1e-3},
                       sample={"prompts": []}))
    assert train(run) == "finished", told(run, "end")
    folder = run.checkpoints / "checkpoint-3"
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == [
        "manifest.json", "optimizer.json", "optimizer.safetensors", "pictures.safetensors", "state.json",
        "unet_lora/kohya.safetensors", "unet_lora/pytorch_lora_weights.safetensors",
        "unet_lora_ema/kohya.safetensors", "unet_lora_ema/pytorch_lora_weights.safetensors"]
    weights = load_file(folder / "unet_lora" / "pytorch_lora_weights.safetensors")
    assert weights and all(w.dtype == torch.float32 and "lora_" in name for name, w in weights.items())
    moments = load_file(folder / "optimizer.safetensors")
    squared = sum(m.square().sum() for name, m in moments.items() if name.startswith("exp_avg."))
    assert all(e["grad_norm"] > 1e-2 for e in told(run, "step")) and squared.sqrt() < 1e-3
    with safe_open(folder / "unet_lora" / "pytorch_lora_weights.safetensors", framework="pt") as file:
        adapter = json.loads(file.metadata()["lora_adapter_metadata"])
    assert (adapter["unet.r"], adapter["unet.lora_alpha"]) == (3, 6.0)


@pytest.mark.parametrize("recipe", [
    {"lora": {"dropout": 0.3}}, {"ema": {"enabled": False}, "lora": {"dora": True}},
    {"train": {"gradient_checkpointing": True, "gradient_accumulation_steps": 2}, "lora": {"dropout": 0.3}}])
def test_resume_is_exact(make: Make, base: Path, monkeypatch: pytest.MonkeyPatch, recipe: dict[str, Any]) -> None:
    settings = asked(base, train={"max_steps": 5}, sample={"prompts": []})
    unbroken, broken = (make(**config.merge(settings, recipe)) for _ in range(2))
    assert train(unbroken) == "finished", told(unbroken, "end")
    with monkeypatch.context() as patch:
        ask_at(broken, patch, 2, ("stop", {}))
        assert train(broken) == "stopped"
    assert train(broken) == "finished" and told(broken, "resumed")[0]["exact"]
    assert curve(broken) == curve(unbroken) and len(curve(broken)) == 5
    assert fingerprint(broken, 5) == fingerprint(unbroken, 5)


def test_gradient_checkpointing_changes_nothing(make: Make, base: Path) -> None:
    curves = []
    for checkpointing in (False, True):
        run = make(**asked(base, train={"gradient_checkpointing": checkpointing}, sample={"prompts": []}))
        train(run)
        curves.append([(e["loss"], e["grad_norm"]) for e in told(run, "step")])
    assert np.allclose(*curves, rtol=1e-4) and all(norm > 0 for _, norm in curves[0])


def test_any_family_with_named_targets_can_also_on_two_ranks(make: Make) -> None:
    one, two = (make(model={"method": "lora"}, train={"max_steps": 3, "batch_size": batch}, sample={"every_steps": 0},
                     compute={"num_processes": 4 // batch}) for batch in (4, 2))
    assert train(one) == "finished", told(one, "end")
    folder = one.checkpoints / "checkpoint-3" / "transformer_lora"
    assert len(load_file(folder / "pytorch_lora_weights.safetensors")) == 6
    done = two_ranks(two)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (torch.tensor([e["loss"] for e in told(run, "step")]) for run in (one, two))
    assert len(first) == 3 and torch.allclose(first, second, rtol=1e-5), (first, second)


def test_downloads(make: Make, base: Path) -> None:
    run = make(**asked(base, sample={"prompts": []}))
    train(run)
    paths = {item.path: item for item in export.listing(run) if item.precision == "fp32"}
    assert [path for path in paths if path != "config.json"] == [
        "checkpoint-3/lora-ema.safetensors", "checkpoint-3/lora-ema-kohya.safetensors",
        "checkpoint-3/lora-raw.safetensors", "checkpoint-3/lora-raw-kohya.safetensors"]
    files = {"lora": "pytorch_lora_weights", "kohya": "kohya"}
    for path, item in paths.items():
        if item.step is None:
            continue
        folder = run.checkpoints / "checkpoint-3" / ("unet_lora_ema" if item.weights == "ema" else "unet_lora")
        with export.open_item(run, path) as download:
            content = b"".join(download.read(0, download.size))
            assert download.filename == f"t-step3-{item.weights}-{item.kind}.safetensors"
        own, sent = load_file(folder / f"{files[item.kind.rpartition('-')[2]]}.safetensors"), load(content)
        assert own.keys() == sent.keys() and all(torch.equal(value, sent[name]) for name, value in own.items())
        assert len(content) == item.size


def test_what_it_costs_and_cannot_do_is_told_before(make: Make, base: Path, home: Path) -> None:
    wanted = asked(base, lora={"dora": True}, sample={"prompts": []})
    plan = prepare.plan(home, {**wanted, "data": {"dataset": "sample", "resolution": 32}})
    full = prepare.plan(home, {**wanted, "model": {**wanted["model"], "method": "full"}, "optim": {}})
    assert not plan.problems and full.config is not None and full.config.optim.learning_rate == 1e-5
    defaults = SD.defaults(plan.source, "lora")  # type: ignore[arg-type]
    assert defaults["optim"]["learning_rate"] == pytest.approx(1e-4)
    run = make(**wanted)
    train(run)
    written = told(run, "checkpoint")[-1]["bytes"]
    assert plan.checkpoint_bytes < written < 2.5 * plan.checkpoint_bytes  # headers weigh much in a tiny model
    assert plan.memory_bytes < full.memory_bytes and plan.checkpoint_bytes < full.checkpoint_bytes
    plan = prepare.plan(home, {**wanted, "data": {}, "objective": {"prediction_type": "v_prediction"}})
    assert any("prediction type" in warning for warning in plan.warnings)
