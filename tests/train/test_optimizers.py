"""Every optimizer: saved without pickle, resumed bit for bit, safe from what is not finite; the update in backward."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from studio import config, prepare, sizes
from studio.optimizers import OPTIMIZERS, SMALL
from studio.train.learning import optim

from .conftest import Make, child, curve, fingerprint, told, train

RECIPES: dict[str, dict[str, Any]] = {
    "adamw8bit": {"optim": {"name": "adamw8bit"}},
    "prodigy": {"optim": {"name": "prodigy", "learning_rate": 1.0}},
    "schedulefree": {"optim": {"name": "schedulefree"}, "ema": {"enabled": False}},
    "schedulefree warm": {"optim": {"name": "schedulefree", "lr_scheduler": "constant_with_warmup",
                                    "lr_warmup_steps": 4}, "ema": {"enabled": False}},
    "adamw fused": {"optim": {"fused_backward": True, "max_grad_norm": 0.0}},
    "adamw8bit fused": {"optim": {"name": "adamw8bit", "fused_backward": True, "max_grad_norm": 0.0}},
    "schedulefree fused": {"optim": {"name": "schedulefree", "fused_backward": True, "max_grad_norm": 0.0},
                           "ema": {"enabled": False}},
    "prodigy lora": {"optim": {"name": "prodigy", "learning_rate": 1.0}, "model": {"method": "lora"}},
    "schedulefree lora": {"optim": {"name": "schedulefree"}, "ema": {"enabled": False}, "model": {"method": "lora"}},
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_killed_run_repeats_every_bit(make: Make, recipe: str) -> None:
    whole, killed = make(**RECIPES[recipe]), make(**RECIPES[recipe])
    assert train(whole) == "finished"
    assert child(killed, "step:5").returncode == -signal.SIGKILL
    assert train(killed) == "finished"
    assert told(killed, "resumed")[0]["exact"] and told(killed, "resumed")[0]["from_step"] == 3
    assert (curve(killed), fingerprint(killed, 8)) == (curve(whole), fingerprint(whole, 8))
    assert json.loads((killed.checkpoints / "checkpoint-8" / "optimizer.json").read_text()) == json.loads(
        (whole.checkpoints / "checkpoint-8" / "optimizer.json").read_text())
    assert len({float.fromhex(loss) for loss in curve(whole).values()}) == 8


@pytest.mark.parametrize("recipe", ["adamw8bit", "prodigy", "schedulefree"])
def test_drawing_and_saving_leave_training_alone(make: Make, recipe: str) -> None:
    often, seldom = (make(**RECIPES[recipe], sample={"every_steps": every}, checkpoint={"every_steps": every or 8})
                     for every in (1, 0))
    train(often)
    train(seldom)
    assert (curve(often), fingerprint(often, 8)) == (curve(seldom), fingerprint(seldom, 8))


def test_schedule_free_saves_the_weights_one_draws_with(make: Make) -> None:
    run = make(**RECIPES["schedulefree"])
    train(run)
    folder = run.checkpoints / "checkpoint-8"
    saved = load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors")
    state = load_file(folder / "optimizer.safetensors")
    for name, x in saved.items():
        y, z = state[f"point.{name}"], state[f"z.{name}"]
        assert torch.allclose(y, 0.9 * x + 0.1 * z, atol=1e-5), name  # the definition of y, beta 1 being 0.9
    assert any(not torch.equal(x, state[f"point.{name}"]) for name, x in saved.items())
    assert {e["weights"] for e in told(run, "sample")} == {"raw"}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_is_as_large_as_is_said_before(name: str) -> None:
    tensors = [torch.nn.Parameter(torch.randn(shape)) for shape in ((8, 16), (100, 200), (4095,), (4096,), (333, 77))]
    update = updater(name, tensors)
    for step in range(2):
        step_once(update, step)
    state, _ = update.state_dict({str(i): p for i, p in enumerate(tensors)})
    kept = sum(t.nbytes for key, t in state.items() if not key.startswith(("step.", "point.")))
    assert kept == sum(OPTIMIZERS[name].state_bytes(p.numel()) for p in tensors)


def test_8bit_state_on_a_real_model() -> None:
    """AdamW's bytes are 8 a weight; what stays in 32 bit are the tensors below 4096 elements, norms and biases."""
    from studio.bases import source
    from studio.families import EMBEDDED

    found = source.locate(str(EMBEDDED), None, None)
    assert found is not None
    tensors = sizes.of(found, "unet")
    small = sum(n for n in tensors if n < SMALL) / sum(tensors)
    assert small < 0.02
    bytes_ = {name: sum(map(OPTIMIZERS[name].state_bytes, tensors)) for name in ("adamw", "adamw8bit")}
    assert bytes_["adamw8bit"] <= 0.3 * bytes_["adamw"]


def test_8bit_learns_as_adamw_does() -> None:
    """A diffusion model on two moons, 200 steps: the mean loss of the last 50 within 2 %, the state within 0.3."""
    losses, kept = {}, {}
    for name in ("adamw", "adamw8bit"):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 128), torch.nn.SiLU(), torch.nn.Linear(128, 256),
                                    torch.nn.SiLU(), torch.nn.Linear(256, 128), torch.nn.SiLU(),
                                    torch.nn.Linear(128, 2))
        update = updater(name, list(model.parameters()), learning_rate=1e-3)
        seen = []
        for step in range(200):
            angle, side = torch.rand(256) * torch.pi, torch.randint(0, 2, (256,)) * 2.0 - 1
            x0 = torch.stack([side * angle.cos() + 0.5 * side, side * angle.sin()], 1)
            t, eps = torch.rand(256, 1), torch.randn(256, 2)
            x_t = (1 - t) * x0 + t * eps
            loss = (model(torch.cat([x_t, t], 1)) - (eps - x0)).square().mean()
            loss.backward()
            update(step, loss.detach())
            seen.append(loss.item())
        state, _ = update.state_dict(dict(model.named_parameters()))
        losses[name], kept[name] = sum(seen[-50:]) / 50, sum(t.nbytes for t in state.values())
        assert losses[name] < 0.8 * seen[0]
    assert losses["adamw8bit"] == pytest.approx(losses["adamw"], rel=0.02)
    assert kept["adamw8bit"] <= 0.3 * kept["adamw"]


def updater(name: str, parameters: list[torch.Tensor], **settings: Any) -> optim.Updater:
    """The updater of that optimizer, without clipping."""
    section = {"name": name, "learning_rate": 1e-2, "max_grad_norm": 0.0, **settings}
    found = config.load({"optim": section}).optim
    return optim.make([{"params": parameters}], found, lambda k: found.learning_rate or 0.0)


def step_once(update: optim.Updater, step: int) -> torch.Tensor:
    """An update towards small weights."""
    loss = torch.stack([p.square().mean() for p in update.parameters]).sum()
    update.begin(step, loss.detach())
    loss.backward()
    return update(step, loss.detach())


def snapshot(update: optim.Updater, names: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], Any]:
    """Everything a checkpoint keeps of an update, copied."""
    tensors, numbers = update.state_dict(names)
    weights = {f"weight.{name}": p for name, p in names.items()}
    return {key: t.detach().clone() for key, t in {**tensors, **weights}.items()}, json.loads(json.dumps(numbers))


@pytest.mark.parametrize(("name", "fused"), [(name, fused) for name, kind in OPTIMIZERS.items()
                                             for fused in ((False, True) if kind.alone else (False,))])
@pytest.mark.parametrize("gradient", [float("inf"), float("nan")])
def test_what_is_not_finite_changes_nothing(name: str, fused: bool, gradient: float) -> None:
    torch.manual_seed(1)
    names: dict[str, torch.Tensor] = {"a": torch.nn.Parameter(torch.randn(80, 60)),
                                      "b": torch.nn.Parameter(torch.randn(5))}
    update = updater(name, list(names.values()), fused_backward=fused)
    step_once(update, 0)
    before = snapshot(update, names)
    for loss in (torch.tensor(gradient), torch.tensor(1.0)):
        update.begin(1, loss)
        torch.stack([(p * gradient).sum() for p in names.values()]).sum().backward()  # not finite under either loss
        assert not update(1, loss).isfinite()
    after = snapshot(update, names)
    assert after[1] == before[1] and all(torch.equal(t, after[0][key]) for key, t in before[0].items())
    step_once(update, 2)
    assert not torch.equal(names["a"], before[0]["weight.a"]) and all(p.isfinite().all() for p in names.values())


def test_in_the_backward_pass_only_the_bad_gradient_is_left_out() -> None:
    good, bad = (torch.nn.Parameter(torch.ones(4)) for _ in range(2))
    update = updater("adamw", [good, bad], fused_backward=True)
    loss = torch.tensor(1.0)
    (0 * good.sum()).backward()  # of an earlier micro-batch: gradients add up
    assert good.grad is not None and torch.equal(good, torch.ones(4))
    update.begin(0, loss)
    (good.sum() + (bad * float("inf")).sum()).backward()
    assert not update(0, loss).isfinite()
    assert good.isfinite().all() and not torch.equal(good, torch.ones(4)) and torch.equal(bad, torch.ones(4))
    assert good.grad is None and bad.grad is None


@pytest.mark.parametrize("name", ["adamw", "adamw8bit", "schedulefree"])
def test_updating_in_the_backward_pass_is_the_same_update(name: str) -> None:
    weights = []
    for fused in (False, True):
        torch.manual_seed(3)
        model = torch.nn.Sequential(torch.nn.Linear(40, 120), torch.nn.Tanh(), torch.nn.Linear(120, 40))
        update, x = updater(name, list(model.parameters()), fused_backward=fused), torch.randn(16, 40)
        norms = []
        for step in range(5):
            loss = (torch.utils.checkpoint.checkpoint(model, x, use_reentrant=False) - x).square().mean()  # type: ignore
            update.begin(step, loss.detach())
            loss.backward()
            assert all((p.grad is None) is fused for p in model.parameters())
            norms.append(update(step, loss.detach()))
        weights.append([*model.parameters(), torch.stack(norms)])
    for one, other in zip(*weights, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_survives_a_file_exactly(name: str, tmp_path: Path) -> None:
    torch.manual_seed(2)
    start = [torch.randn(90, 70), torch.randn(7), torch.zeros(64, 64)]
    tracks = []
    for broken in (False, True):
        parameters: list[torch.Tensor] = [torch.nn.Parameter(t.clone()) for t in start]
        update = updater(name, parameters, learning_rate=OPTIMIZERS[name].suggests.get("learning_rate", 1e-2))
        for step in range(8):
            if broken and step == 4:
                tensors, numbers = update.state_dict({f"p.{i}": p for i, p in enumerate(parameters)})
                save_file(tensors, tmp_path / "s.safetensors")
                (tmp_path / "s.json").write_text(json.dumps(numbers))
                parameters = [torch.nn.Parameter(p.detach().clone()) for p in parameters]
                update = updater(name, parameters, learning_rate=OPTIMIZERS[name].suggests.get("learning_rate", 1e-2))
                update.load_state_dict({f"p.{i}": p for i, p in enumerate(parameters)},
                                       load_file(tmp_path / "s.safetensors"),
                                       json.loads((tmp_path / "s.json").read_text()))
            step_once(update, step)
        tracks.append(snapshot(update, {str(i): p for i, p in enumerate(parameters)}))
    assert tracks[0][1] == tracks[1][1] and all(torch.equal(t, tracks[1][0][key]) for key, t in tracks[0][0].items())


@pytest.mark.parametrize(("asked", "field"), [
    ({"optim": {"name": "schedulefree"}}, "ema.enabled"),
    ({"optim": {"name": "schedulefree", "lr_scheduler": "cosine"}, "ema": {"enabled": False}}, "optim.lr_scheduler"),
    ({"optim": {"name": "schedulefree", "adam_beta1": 0}, "ema": {"enabled": False}}, "optim.adam_beta1"),
    ({"optim": {"fused_backward": True}}, "optim.fused_backward"),
    ({"optim": {"fused_backward": True, "max_grad_norm": 0}, "train": {"gradient_accumulation_steps": 2}},
     "optim.fused_backward"),
    ({"optim": {"fused_backward": True, "max_grad_norm": 0, "name": "prodigy"}}, "optim.fused_backward"),
    ({"optim": {"fused_backward": True, "max_grad_norm": 0}, "compute": {"num_processes": 2}}, "optim.fused_backward"),
])
def test_what_makes_no_sense_is_refused(home: Path, asked: dict[str, Any], field: str) -> None:
    plan = prepare.plan(home, asked)
    assert [p.field for p in plan.problems] == [field]
    assert any(word in plan.problems[0].message for word in ("turn", "choose", "set"))  # what to do instead


def test_prodigy_takes_its_own_rate_and_warns_of_another(home: Path) -> None:
    plan = prepare.plan(home, {"optim": {"name": "prodigy"}})
    assert plan.config is not None and plan.config.optim.learning_rate == 1.0 and not plan.problems
    assert not any("Prodigy" in warning for warning in plan.warnings)
    plan = prepare.plan(home, {"optim": {"name": "prodigy", "learning_rate": 1e-4}})
    assert any("Prodigy" in warning for warning in plan.warnings)


def test_a_missing_package_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studio.optimizers.find_spec", lambda name: None)
    plan = prepare.plan(home, {"optim": {"name": "prodigy"}})
    assert [p.field for p in plan.problems] == ["optim.name"] and "pip install prodigyopt" in plan.problems[0].message


def test_space_follows_the_optimizer(home: Path) -> None:
    def plan(**asked: Any) -> prepare.Plan:
        found = prepare.plan(home, {"ema": {"enabled": False}, **asked})
        assert not found.problems
        return found

    full = plan()
    assert full.source is not None
    weights = sizes.parameters(full.source, "unet")
    light = plan(optim={"name": "adamw8bit", "fused_backward": True, "max_grad_norm": 0})
    assert full.memory_bytes - light.memory_bytes > (4 + 5.5) * weights
    assert light.checkpoint_bytes < 0.55 * full.checkpoint_bytes
    assert plan(optim={"name": "prodigy"}).checkpoint_bytes == 20 * weights
    assert plan(optim={"name": "schedulefree"}).checkpoint_bytes == 16 * weights
