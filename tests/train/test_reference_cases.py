"""What diffusers' own tests pin of its two scripts (examples/text_to_image/test_text_to_image*.py), of a run here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file

from studio import config
from studio.folders import runs

from ..families import tiny
from .conftest import Make, told, train
from .test_lora import asked


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("base") / "tiny")


def kept(run: runs.Run) -> set[str]:
    return {path.name for path in run.checkpoints.iterdir() if path.is_dir()}


def settings(base: Path, method: str, **changes: Any) -> dict[str, Any]:
    return config.merge(asked(base, model={"method": method}), {"sample": {"prompts": []}, **changes})


def test_checkpoints_are_those_that_were_asked_for_and_load(make: Make, base: Path) -> None:
    run = make(**settings(base, "full", train={"max_steps": 4}, checkpoint={"every_steps": 2, "keep": 9}))
    assert train(run) == "finished" and kept(run) == {"checkpoint-2", "checkpoint-4"}
    for name in kept(run):
        unet = UNet2DConditionModel.from_pretrained(run.checkpoints / name, subfolder="unet")
        pipe: Any = StableDiffusionPipeline.from_pretrained(base, unet=unet, safety_checker=None)
        assert pipe("a red thing", num_inference_steps=1, height=32, width=32).images[0].size == (32, 32)


def test_a_run_that_has_its_steps_makes_no_more(make: Make, base: Path) -> None:
    """The script trains one step too many and saves checkpoint-5 when it resumes at step 4 with --max_train_steps 2.

    Decided otherwise here: fewer steps than were made are refused, and a resume of what is finished adds no step.
    """
    run = make(**settings(base, "full", train={"max_steps": 4}, checkpoint={"every_steps": 1, "keep": 9}))
    assert train(run) == "finished"
    with pytest.raises(config.ConfigError, match="the run is at step 4 already"):
        runs.change(run, {"train": {"max_steps": 2}}, runs.EventReader())
    assert train(run) == "finished"
    assert [e["step"] for e in told(run, "step")] == [1, 2, 3, 4]
    assert kept(run) == {"checkpoint-1", "checkpoint-2", "checkpoint-3", "checkpoint-4"}


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_limit_holds_over_a_longer_run(make: Make, base: Path, method: str) -> None:
    run = make(**settings(base, method, train={"max_steps": 6}, checkpoint={"every_steps": 2, "keep": 2}))
    assert train(run) == "finished" and kept(run) == {"checkpoint-4", "checkpoint-6"}
    assert runs.change(run, {"train": {"max_steps": 8}}, runs.EventReader()) == ""
    assert train(run) == "finished" and kept(run) == {"checkpoint-6", "checkpoint-8"}
    assert [e["step"] for e in told(run, "step")] == list(range(1, 9))


def test_lora_weights_are_named_for_their_model_and_load(make: Make, base: Path) -> None:
    run = make(**settings(base, "lora", model={"method": "lora", "train_text_encoder": True}, train={"max_steps": 2},
                          checkpoint={"every_steps": 2}))
    assert train(run) == "finished"
    file = run.checkpoints / "checkpoint-2" / "unet_lora" / "pytorch_lora_weights.safetensors"
    names = load_file(file).keys()
    assert all("lora" in name for name in names if not name.endswith("alpha"))
    assert {name.partition(".")[0] for name in names} == {"unet", "text_encoder"}
    pipe: Any = StableDiffusionPipeline.from_pretrained(base, safety_checker=None)
    pipe.load_lora_weights(str(file.parent))
    assert set(pipe.get_list_adapters()) == {"unet", "text_encoder"}
