"""One process, two, and ZeRO train the same: the same draws, losses and weights, and one kind of checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from studio.folders import runs

from .conftest import Make, child, curve, picture, told, train, two_ranks

QUIET = {"every_steps": 0, "prompts": []}
STEPS, RATE = 20, 1e-3
GLOBAL_BATCHES = ([4, 4, 3] * 7)[:STEPS]  # eleven pictures, four in an update: the last of each epoch is short
COUNT = "pictures.safetensors/count"
KEYS = slice(16, 32)  # of the attention's three biases, that of the keys


def same(make: Make, processes: int, stage: int = 0, **changes: Any) -> runs.Run:
    """A run with four pictures in an update, in two micro-batches for each process."""
    settings: dict[str, Any] = {
        "train": {"max_steps": STEPS, "batch_size": 2 // processes, "gradient_accumulation_steps": 2},
        "optim": {"learning_rate": RATE}, "sample": QUIET, "checkpoint": {"every_steps": 6, "keep": 4},
        "compute": {"num_processes": processes, "deepspeed_stage": stage}}
    for section, values in changes.items():
        settings[section] = values if section == "rows" else {**settings.get(section, {}), **values}
    return make(**{"pictures": 11, **settings})


def tensors(run: runs.Run, step: int) -> dict[str, torch.Tensor]:
    """Everything in a checkpoint."""
    folder = run.checkpoints / f"checkpoint-{step}"
    return {f"{path.relative_to(folder)}/{name}": value for path in sorted(folder.rglob("*.safetensors"))
            for name, value in load_file(path).items()}


def losses(run: runs.Run) -> list[float]:
    """The loss of each step."""
    return [float.fromhex(loss) for _, loss in sorted(curve(run).items())]


def alike(one: runs.Run, other: runs.Run) -> None:
    """All losses agree to 1e-5 (the last ones, of a run that began later), and all weights and averages to 1e-6.

    A bias of the attention's keys has no effect, so its gradient is what rounding leaves, and Adam makes steps of the
    full rate from that: it may be anywhere within as many steps.
    """
    assert losses(other) == pytest.approx(losses(one)[-len(losses(other)):], abs=1e-5)
    first, second = tensors(one, STEPS), tensors(other, STEPS)
    assert first.keys() == second.keys()
    for name in first:
        if "in_proj_bias" in name and "step" not in name:
            assert (first[name] - second[name])[KEYS].abs().max() <= 2 * STEPS * RATE
            first[name][KEYS] = second[name][KEYS]
        if name.startswith("transformer"):
            assert torch.allclose(first[name], second[name], rtol=0, atol=1e-6), name
        elif name.startswith("optimizer"):
            assert torch.allclose(first[name], second[name], rtol=1e-4, atol=1e-7), name
    assert torch.equal(first[COUNT], second[COUNT]) or len(losses(other)) < STEPS


def drawn(run: runs.Run) -> set[str]:
    """What each sample was and what was drawn for it, of all ranks."""
    return {line for path in run.path.glob("draws-*.jsonl") for line in path.read_text().splitlines()}


@pytest.fixture
def alone(make: Make) -> runs.Run:
    """The run that the others are compared with: one process."""
    run = same(make, 1)
    done = child(run, "draws:1")
    assert done.returncode == 0, done.stderr[-3000:]
    return run


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_two_ranks_train_what_one_does(make: Make, alone: runs.Run, stage: int, tmp_path: Path,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    built = tmp_path / "extensions"
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(built))
    two = same(make, 2, stage)
    done = two_ranks(two, "draws:1", cold=stage in (0, 3))  # each engine once as the studio starts it
    assert done.returncode == 0, done.stderr[-3000:]
    assert [e["pictures"] for e in told(two, "step")] == GLOBAL_BATCHES
    assert drawn(two) == drawn(alone) and len(drawn(two)) == sum(GLOBAL_BATCHES)
    alike(alone, two)
    assert not built.exists(), "a killed build would leave a lock at which later runs wait"


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_a_killed_rank_is_resumed_bit_for_bit(make: Make, stage: int) -> None:
    whole, killed = same(make, 2, stage), same(make, 2, stage)
    assert two_ranks(whole).returncode == 0
    assert two_ranks(killed, "step:9").returncode != 0
    done = two_ranks(killed)
    assert done.returncode == 0, done.stderr[-3000:]
    resumed = told(killed, "resumed")[0]
    assert (resumed["from_step"], resumed["exact"]) == (6, True)
    assert curve(killed) == curve(whole)
    first, second = tensors(whole, STEPS), tensors(killed, STEPS)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(("before", "after"), [((1, 0), (2, 3)), ((2, 3), (1, 0)), ((2, 1), (2, 0))])
def test_a_checkpoint_goes_on_under_any_number_of_ranks(
        make: Make, alone: runs.Run, before: tuple[int, int], after: tuple[int, int]) -> None:
    first = same(make, *before)
    (train if before[0] == 1 else two_ranks)(first)
    source = first.checkpoints / "checkpoint-12"
    settings = same(make, *after).config()
    branch = runs.branch(first.home, first, source, name="b", owner="", config=settings, changes=["processes"])
    done = child(branch) if after[0] == 1 else two_ranks(branch)
    assert done.returncode == 0, done.stderr[-3000:]
    assert told(branch, "resumed")[0]["from_step"] == 12
    assert len(losses(branch)) == STEPS - 12
    alike(alone, branch)


RECIPES: dict[str, dict[str, Any]] = {
    "lora": {"model": {"method": "lora"}, "lora": {"rank": 3}},
    "checkpointing": {"train": {"gradient_checkpointing": True}},
    "weights": {"compute": {"offload_param_device": "cpu", "offload_optimizer_device": "cpu"}},
    "dora": {"model": {"method": "lora"}, "lora": {"rank": 3, "dora": True}},
    "offload": {"ema": {"offload": True}, "compute": {"offload_optimizer_device": "cpu"},
                "sample": {"every_steps": 10, "prompts": ["a red thing"]}, "validation": {"every_steps": 10}},
}


@pytest.mark.parametrize(("recipe", "stage"), [("lora", 3), ("dora", 3), ("offload", 2), ("offload", 3),
                                               ("checkpointing", 3), ("weights", 3)])
def test_recipes(make: Make, home: Path, recipe: str, stage: int) -> None:
    held = {"rows": [{**picture(home, n), "split": "train" if n < 11 else "test"} for n in range(13)]}
    changes = RECIPES[recipe]
    one = same(make, 1, **held, **{name: values for name, values in changes.items() if name != "compute"})
    two = same(make, 2, stage, **held, **changes)
    assert train(one) == "finished"
    done = two_ranks(two)
    assert done.returncode == 0, done.stderr[-3000:]
    alike(one, two)
    drawing = [[(e["file"], (run.samples / e["file"]).is_file()) for e in told(run, "sample")] for run in (one, two)]
    assert drawing[0] == drawing[1]
    measured = [[(e["step"], e["weights"], pytest.approx(e["loss"], abs=1e-5)) for e in told(run, "validation")]
                for run in (one, two)]
    assert measured[1] == measured[0] and len(measured[0]) > 2


def test_half_precision_agrees_as_far_as_it_can(make: Make) -> None:
    """And rank 0 draws in it, with a twin of the model."""
    asked = {"train": {"mixed_precision": "bf16"}, "sample": {"every_steps": 20, "prompts": ["a red thing"]}}
    one, two = (same(make, n, stage, **asked) for n, stage in ((1, 0), (2, 3)))
    assert train(one) == "finished" and two_ranks(two).returncode == 0
    assert losses(two) == pytest.approx(losses(one), abs=1e-2)
    assert len(told(two, "sample")) == len(told(one, "sample")) == 3 and not told(two, "warning")
