"""Pasted reference commands: every option of both scripts is placed or named, and the config trains the same."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from studio import config
from studio.commands.commandline import CommandError
from studio.commands.options import FLAG, FLOW_LORA_OPTIONS, FLOW_OPTIONS, LORA_OPTIONS, MANY, NOT_HERE, OPTIONS
from studio.commands.reference import from_command

ROOT = Path(__file__).resolve().parents[1]
README = r"""
export MODEL_NAME="CompVis/stable-diffusion-v1-4"
export DATASET_NAME="lambdalabs/naruto-blip-captions"

accelerate launch --mixed_precision="fp16"  train_text_to_image.py \
  --pretrained_model_name_or_path=$MODEL_NAME \
  --dataset_name=$DATASET_NAME \
  --use_ema \
  --resolution=512 --center_crop --random_flip \
  --train_batch_size=1 \
  --gradient_accumulation_steps=4 \
  --gradient_checkpointing \
  --max_train_steps=15000 \
  --learning_rate=1e-05 \
  --max_grad_norm=1 \
  --lr_scheduler="constant" --lr_warmup_steps=0 \
  --output_dir="sd-naruto-model"
"""
VALUES = {  # an acceptable value of each option that is neither a flag nor a number
    "pretrained_model_name_or_path": "a/b", "revision": "main", "variant": "fp16", "dataset_name": "c/d",
    "dataset_config_name": "default", "train_data_dir": "/pictures", "image_column": "image", "caption_column": "text",
    "validation_prompts": ["a cat", "a dog"], "validation_prompt": "a cat", "output_dir": "out", "cache_dir": "cache",
    "lr_scheduler": "linear", "max_train_steps": "2000", "non_ema_revision": "main", "hub_token": "hf_abcdefghijklm",
    "prediction_type": "v_prediction", "hub_model_id": "me/model", "logging_dir": "logs", "mixed_precision": "bf16",
    "report_to": "wandb", "resume_from_checkpoint": "latest", "tracker_project_name": "mine",
    "image_interpolation_mode": "bicubic", "resolution": "256", "learning_rate": "2e-5", "noise_offset": "0.1",
    "input_perturbation": "0.1", "snr_gamma": "5", "adam_beta1": "0.8", "adam_beta2": "0.99", "adam_epsilon": "1e-7"}


def command(script: str, *words: str) -> str:
    """The shortest command of a script, with more."""
    return f"python {script}.py --pretrained_model_name_or_path=a/b " + " ".join(words)


def read(script: str, *words: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The config of a command, and why each unplaced option has no place."""
    found = from_command(command(script, *words))
    return found["config"], {u["option"]: u["why"] for u in found["unplaced"]}


@pytest.mark.parametrize("text, words", [
    ("A=a " + "A=$A$A " * 1200 + "x", "variables make it longer"),
    ("A=xx && " + "A=$A$A && " * 60 + "python x.py", "variables make it longer"),
    ("export A=" + "x" * 9000 + " && python train_text_to_image.py --output_dir $A$A$A", "variables make it longer"),
    ("train_text_to_image.py " + "x " * 10_000, "longer than 20,000 characters")])
def test_a_command_stays_as_large_as_it_is(text: str, words: str) -> None:
    """A line that doubles a variable a thousand times would fill every memory."""
    with pytest.raises(CommandError, match=words):
        from_command(text)


def test_absurd_numbers_are_left_to_the_checks() -> None:
    huge = "9" * 6000
    found, unplaced = read("train_text_to_image_lora", "--validation_prompt=x", f"--num_validation_images={huge}")
    assert found["sample"]["prompts"] == ["x"] and not unplaced
    _, unplaced = read("train_text_to_image", "--lr_scheduler=linear", f"--lr_warmup_steps={huge}", f"--seed -{huge}x")
    assert "--lr_warmup_steps" in unplaced and "--seed" in unplaced
    prompt = "x" * 3000
    assert "2000" in read("train_text_to_image_lora", f"--validation_prompt={prompt}")[1]["--validation_prompt"]


def test_the_options_are_those_of_the_scripts() -> None:
    assert len(OPTIONS) == 57 and len(LORA_OPTIONS) == 51


@pytest.mark.parametrize("script, known", [
    ("train_text_to_image", OPTIONS), ("train_text_to_image_lora", LORA_OPTIONS)], ids=["full", "lora"])
def test_every_option_is_placed_or_named_with_a_reason(script: str, known: dict[str, Any]) -> None:
    paths = {f["reference"]: f["path"] for s in config.schema()["sections"] for f in s["fields"] if f["reference"]}
    paths |= {"validation_prompt": "sample.prompts", "num_validation_images": "sample.prompts"}
    for name, option in known.items():
        value = VALUES.get(name, "3")
        words = [f"--{name}"] if option.takes == FLAG else [f"--{name}", *map(repr, value)] if option.takes == MANY \
            else [f"--{name}={value!r}"]
        more = ["--lr_scheduler=linear"] if name == "lr_warmup_steps" else []
        more += ["--validation_prompt=x"] if name == "num_validation_images" else []
        found, unplaced = read(script, *words, *more)
        section, _, leaf = paths.get(name, ".").partition(".")
        placed = leaf in found.get(section, {})
        assert placed is not (f"--{name}" in unplaced), name
        assert placed or len(unplaced[f"--{name}"]) > 10
        if name in paths:
            assert placed, f"{name} has a setting and was not put there: {unplaced}"
        assert config.load(found)
        assert "hf_abc" not in json.dumps(from_command(command(script, *words, *more)))


def test_the_reference_readme() -> None:
    found = from_command(README)
    settings = config.load(found["config"])
    assert (settings.model.base, settings.data.dataset) == (
        "CompVis/stable-diffusion-v1-4", "lambdalabs/naruto-blip-captions")
    assert settings.train.mixed_precision == "fp16" and settings.ema.enabled and settings.data.center_crop
    assert (settings.train.max_steps, settings.train.epochs) == (15000, None)
    assert (settings.train.batch_size, settings.train.gradient_accumulation_steps) == (1, 4)
    assert settings.optim.learning_rate == 1e-5 and settings.track.report_to == ["tensorboard"]
    assert [u["option"] for u in found["unplaced"]] == ["--output_dir"]


def test_all_trackers_are_those_installed() -> None:
    found = from_command("accelerate launch train_text_to_image.py --report_to=all")
    assert found["config"]["track"]["report_to"] == ["tensorboard", "wandb", "trackio"]
    assert not [u for u in found["unplaced"] if u["option"] == "--report_to"]


@pytest.mark.parametrize("option", ["--learning_rate=1e999", "--learning_rate=nan", "--snr_gamma=-inf"])
def test_a_number_without_end_is_named_as_it_was_written(option: str) -> None:
    """JSON has no word for what it would be as a number."""
    name, value = option.split("=")
    (left,) = from_command(command("train_text_to_image", option))["unplaced"]
    assert left == {"option": name, "value": value, "why": "it is no number"}


def test_what_the_script_would_do_by_itself_is_set() -> None:
    found, unplaced = read("train_text_to_image")
    settings = config.load(found)
    assert not unplaced and settings.model.method == "full" and settings.train.mixed_precision == "no"
    assert (settings.data.resolution, settings.data.center_crop, settings.data.random_flip) == (512, False, False)
    assert (settings.train.batch_size, settings.train.epochs, settings.train.max_steps) == (16, 100, None)
    assert (settings.optim.learning_rate, settings.optim.lr_scheduler, settings.optim.lr_warmup_steps) == (
        1e-4, "constant", 0)
    assert not settings.ema.enabled and settings.checkpoint.every_steps == 500
    assert read("train_text_to_image", "--lr_scheduler=cosine")[0]["optim"]["lr_warmup_steps"] == 500


def test_the_lora_script() -> None:
    found, _ = read("train_text_to_image_lora", "--validation_prompt 'a cat'", "--num_validation_images 2", "--seed 13")
    settings = config.load(found)
    assert settings.model.method == "lora" and settings.lora.rank == 4 and settings.lora.alpha is None
    assert not settings.ema.enabled and settings.sample.prompts == ["a cat", "a cat"] and settings.train.seed == 13
    assert read("train_text_to_image_lora", "--use_ema")[1] == {"--use_ema": NOT_HERE}


def test_launchers_prefixes_abbreviations_and_broken_lines() -> None:
    found = from_command("cd diffusers && CUDA_VISIBLE_DEVICES=0,1 WANDB_API_KEY=abcdef accelerate launch --multi_gpu "
                         "--num-processes 2 --mixed_precision bf16 examples/train_text_to_image.py\n"
                         "   --pretrained_model a/b --train_batch 3\n   --validation_prompts 'a \"big\" cat' dog")
    assert found["config"]["compute"] == {"num_processes": 2}
    assert found["config"]["train"]["mixed_precision"] == "bf16" and found["config"]["train"]["batch_size"] == 3
    assert found["config"]["sample"]["prompts"] == ['a "big" cat', "dog"]
    assert {u["option"]: u["value"] for u in found["unplaced"]} == {
        "CUDA_VISIBLE_DEVICES": "0,1", "WANDB_API_KEY": "[secret]", "--multi_gpu": True}
    assert from_command("torchrun --nproc_per_node=4 train_text_to_image.py --pretrained_model_name_or_path=x")[
        "config"]["compute"]["num_processes"] == 4


def test_what_cannot_be_meant_is_named() -> None:
    found, unplaced = read("train_text_to_image", "--resolution=500", "--seed=abc", "--bogus 7", "--revision=$REV",
                           "--lr_scheduler=linear", "--max_train_steps=100", "--image_interpolation_mode=nearest_exact")
    assert set(unplaced) == {"--resolution", "--seed", "--bogus", "--revision", "--lr_warmup_steps",
                             "--image_interpolation_mode"}
    assert "multiple" in unplaced["--resolution"] and "no number" in unplaced["--seed"]
    assert "lanczos" in unplaced["--image_interpolation_mode"] and "resolution" not in found["data"]


@pytest.mark.parametrize("text, why", [
    ("", "paste"), ("ls -l", "paste"), ("python train_text_to_image.py --a 'b", "quotes"),
    ("accelerate launch train_text_to_image_sdxl.py", "another script"), ("python train_dreambooth.py", "another")])
def test_a_text_that_is_no_command(text: str, why: str) -> None:
    with pytest.raises(CommandError, match=why):
        from_command(text)


@pytest.fixture
def flow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A family, in a file of its own, that says which scripts train it."""
    import studio.families

    monkeypatch.setattr(studio.families, "__path__", [*studio.families.__path__, str(ROOT / "tests/families/toys")])


@pytest.mark.parametrize("script, known", [
    ("train_dreambooth_rf", FLOW_OPTIONS), ("train_dreambooth_lora_rf", FLOW_LORA_OPTIONS)], ids=["full", "lora"])
def test_every_option_of_a_flow_script_is_placed_or_named(flow: None, script: str, known: dict[str, Any]) -> None:
    values = VALUES | {"weighting_scheme": "mode", "optimizer": "prodigy", "lora_dropout": "0.1"}
    needs = {"text_encoder_lr": "--train_text_encoder", "mode_scale": "--weighting_scheme=mode",
             "num_validation_images": "--validation_prompt=x", "lr_warmup_steps": "--lr_scheduler=linear",
             **dict.fromkeys(("logit_mean", "logit_std"), "--weighting_scheme=logit_normal")}
    plain, _ = read(script)
    for name, option in known.items():
        value = repr(values.get(name, "0.3" if name in ("caption_dropout", "logit_mean") else "3"))
        words = [f"--{name}"] if option.takes == FLAG else [f"--{name}={value}"]
        found, unplaced = read(script, *words, needs.get(name, ""))
        assert (f"--{name}" in unplaced) or found != plain or name == "pretrained_model_name_or_path", name
        assert all(len(why) > 10 for why in unplaced.values()) and NOT_HERE not in unplaced.values(), name
        assert config.load(found)


def test_what_a_flow_script_would_do_by_itself_is_set(flow: None) -> None:
    found, unplaced = read("train_dreambooth_lora_rf")
    settings = config.load(found)
    assert not unplaced and settings.model.method == "lora" and (settings.lora.rank, settings.lora.alpha) == (4, 4)
    assert (settings.train.batch_size, settings.train.epochs, settings.optim.adam_weight_decay) == (4, 1, 1e-4)
    assert settings.data.interpolation == "bilinear" and not settings.ema.enabled
    assert settings.objective.timestep_density == "logit_normal", "as its family says of this script"
    assert read("train_dreambooth_rf")[0]["objective"] == {"timestep_density": "uniform"}
    found, unplaced = read("train_dreambooth_lora_rf", "--repeats=10 --num_train_epochs=3 --optimizer=Prodigy "
                           "--use_8bit_adam --weighting_scheme=sigma_sqrt --logit_mean=1 --text_encoder_lr=1e-5")
    assert (found["train"]["epochs"], found["optim"]["name"]) == (30, "prodigy")
    assert found["objective"] == {"timestep_density": "uniform"}
    assert set(unplaced) == {"--weighting_scheme", "--logit_mean", "--text_encoder_lr"}
    for words in ("--repeats=10 --max_train_steps=7", "--repeats=0", "--repeats=x"):
        assert set(read("train_dreambooth_rf", words)[1]) == {"--repeats"}
    for mean in ("x", "+-5", "--5"):
        assert read("train_dreambooth_rf", f"--weighting_scheme=logit_normal --logit_mean={mean}")[1]["--logit_mean"]


@pytest.mark.parametrize("words", ["--weighting_scheme=logit_normal --logit_mean=0.7 --logit_std=0.8",
                                   "--weighting_scheme=logit_normal", "--weighting_scheme=none",
                                   "--weighting_scheme=mode --mode_scale=0.9"])
def test_the_times_are_those_that_a_flow_script_draws(flow: None, words: str) -> None:
    """Beside diffusers' own drawing of a place in a table that begins with noise alone."""
    import torch
    from diffusers.training_utils import compute_density_for_timestep_sampling

    from studio.families import _flow

    asked = dict(word.removeprefix("--").split("=") for word in words.split())
    numbers = {name: float(asked.get(name, value)) for name, value in (
        ("logit_mean", 0), ("logit_std", 1), ("mode_scale", 1.29))}
    places = compute_density_for_timestep_sampling(asked["weighting_scheme"], 40_000, **numbers,
                                                   generator=torch.Generator().manual_seed(1))
    objective = read("train_dreambooth_rf", words)[0]["objective"]
    schedule = {"density": objective.pop("timestep_density"), **objective, "shift": "none"}
    ours = _flow.timesteps((torch.arange(40_000, dtype=torch.float64) + 0.5) / 40_000, 64, schedule)
    shares = torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9], dtype=torch.float64)
    assert torch.allclose(ours.quantile(shares), (1 - places.double()).quantile(shares), atol=0.01)


def test_the_shell_takes_it(home: Path) -> None:
    asked = command("train_text_to_image", "--hub_token=hf_abcdefghijklm", "--max_train_steps=5")
    done = subprocess.run([sys.executable, "-m", "studio.train", "--from-command", asked, "--model.base", "/nothing"],
                          cwd=ROOT, capture_output=True, text=True, env={**os.environ, "STUDIO_HOME": str(home)})
    assert done.returncode == 2, done.stderr
    assert re.search(r"no place for --hub_token \[secret\]: a token is never kept", done.stderr)
    assert "model.base: " in done.stderr and "hf_abc" not in done.stderr + done.stdout


def test_a_list_with_two_faults_is_left_out_once() -> None:
    command = ("accelerate launch train_text_to_image.py --pretrained_model_name_or_path=x --dataset_name=y "
               f"--validation_prompts {'a' * 5000} {'b' * 5000}")
    left = [entry["option"] for entry in from_command(command)["unplaced"]]
    assert left.count("--validation_prompts") == 1
