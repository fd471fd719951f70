"""The loss on held-out pictures and the loss per picture: what they are, and that training does not notice them."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from studio import families
from studio.bases import source
from studio.folders import runs
from studio.train.batches.sampler import CENTRE, ImageTransform, Sample, normal, uniform

from .conftest import Make, child, curve, fingerprint, picture, told, train
from .test_exactness import two_ranks


def rows(home: Path, held: int = 3) -> list[dict[str, Any]]:
    """Six pictures to train on and some that are held out."""
    return [{**picture(home, n), "split": "train" if n < 6 else "validation"} for n in range(6 + held)]


def measured(run: runs.Run) -> dict[tuple[int, str], str]:
    """Each validation loss, every bit of it."""
    return {(e["step"], e["weights"]): float(e["loss"]).hex() for e in told(run, "validation")}


def test_training_does_not_notice(make: Make, home: Path) -> None:
    found = []
    for every in (1, 0):
        run = make(rows=rows(home), validation={"every_steps": every}, model={"method": "lora"},
                   lora={"dropout": 0.3}, sample={"every_steps": 0})
        assert train(run) == "finished", told(run, "end")
        found.append((curve(run), fingerprint(run, 8)))
        assert len(told(run, "validation")) == (1 + 8 * 2 if every else 0)
    assert found[0] == found[1]


def test_the_loss_is_the_mean_over_fixed_times_and_noise(make: Make, home: Path) -> None:
    pictures = rows(home)
    run = make(rows=pictures, train={"max_steps": 1})
    train(run)
    toy, base = families.get("toy"), source.locate("embedded")
    assert base is not None
    parts = {part: toy.load(part, base) for part in ("eye", "text_a", "text_b", "transformer")}
    errors = []
    for row in pictures[6:]:
        sample = Sample(row, 0, 0, "", False, CENTRE, (32, 32))
        path = home / "images" / row["image"][:2] / f"{row['image']}.png"
        x0 = parts["eye"](ImageTransform("lanczos").pixels(path, sample))
        for stratum in range(4):
            t = (stratum + uniform(0, f"validation-time/{row['image']}", stratum, 0)) / 4
            eps = normal(tuple(x0.shape[1:]), 0, f"validation-noise/{row['image']}", stratum, 0)[None]
            with torch.no_grad():
                cond = toy.encode_texts(parts, [row["captions"][0]])
                predicted = toy.predict(parts["transformer"], (1 - t) * x0 + t * eps, torch.tensor([t * 1000]), cond)
            errors.append((predicted - (eps - x0)).square().mean().item())
    first = told(run, "validation")[0]
    assert (first["step"], first["weights"], first["pictures"]) == (0, "raw", 3)
    assert first["loss"] == pytest.approx(np.mean(errors), rel=1e-5)


def test_runs_on_the_same_held_out_pictures_compare(make: Make, home: Path) -> None:
    changes: list[dict[str, Any]] = [
        {}, {"train": {"seed": 99}}, {"objective": {"noise_offset": 0.1, "input_perturbation": 0.1}},
        {"data": {"center_crop": False, "random_flip": True, "caption_dropout": 0.5}}]
    found = []
    for change in changes:
        run = make(rows=rows(home), **change)
        assert train(run) == "finished"
        found.append(measured(run))
    assert len({f[0, "raw"] for f in found}) == 1 and len({f[8, "raw"] for f in found}) == len(changes)
    assert all(f.keys() == found[0].keys() for f in found)


@pytest.mark.parametrize("data", [{"buckets": True, "bucket_step": 8}, {"center_crop": False}])
def test_a_resumed_run_measures_the_same(make: Make, home: Path, data: dict[str, Any]) -> None:
    whole, killed = (make(rows=rows(home), data=data, validation={"every_steps": 2}) for _ in range(2))
    assert train(whole) == "finished"
    assert child(killed, "step:5").returncode == -signal.SIGKILL
    assert train(killed) == "finished"
    assert measured(killed) == measured(whole) and len(measured(whole)) == 9
    assert (curve(killed), fingerprint(killed, 8)) == (curve(whole), fingerprint(whole, 8))
    assert "pictures.safetensors" in fingerprint(whole, 8)


def test_a_failing_measurement_is_only_a_warning(make: Make, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from studio.train.validation import Validator

    def fail(self: Any) -> float:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(Validator, "_loss", fail)
    run = make(rows=rows(home))
    assert train(run) == "finished"
    assert {e["code"] for e in told(run, "warning")} == {"validation_failed"} and not told(run, "validation")


def test_a_trained_text_encoder_is_measured_too(make: Make, home: Path) -> None:
    run = make(rows=rows(home), model={"train_text_encoder": True}, validation={"every_steps": 8})
    assert train(run) == "finished", told(run, "end")
    plain = make(rows=rows(home), validation={"every_steps": 8})
    train(plain)
    first, second = (float.fromhex(measured(r)[0, "raw"]) for r in (run, plain))
    assert first == pytest.approx(second, rel=1e-6) and measured(run)[8, "raw"] != measured(plain)[8, "raw"]


def numbers(run: runs.Run) -> dict[str, np.ndarray]:
    """Sums in loss and counts of the last checkpoint."""
    found = load_file(run.checkpoints / "checkpoint-8" / runs.PICTURES)
    return {"sum": found["sum"].double().numpy() * runs.LOSS_UNIT, "count": found["count"].numpy()}


def test_each_picture_has_the_losses_of_its_steps(make: Make) -> None:
    run = make(pictures=1, train={"batch_size": 1})
    train(run)
    found = numbers(run)
    assert found["count"].tolist() == [8]
    assert found["sum"][0] == pytest.approx(sum(e["loss"] for e in told(run, "step")), abs=1e-5)
    run = make(pictures=3, train={"batch_size": 3})
    train(run)
    assert numbers(run)["count"].tolist() == [8, 8, 8]
    assert numbers(run)["sum"].sum() == pytest.approx(3 * sum(e["loss"] for e in told(run, "step")), rel=1e-5)


def test_ranks_bring_their_pictures_together(make: Make) -> None:
    one = make(train={"batch_size": 4}, sample={"every_steps": 0})
    two = make(train={"batch_size": 2}, compute={"num_processes": 2}, sample={"every_steps": 0})
    train(one)
    done = two_ranks(two)
    assert done.returncode == 0, done.stderr[-3000:]
    assert np.array_equal(numbers(one)["count"], numbers(two)["count"]) and numbers(one)["count"].sum() == 24
    assert np.allclose(numbers(one)["sum"], numbers(two)["sum"], rtol=1e-4)


def test_what_is_not_finite_does_not_count(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from .test_loop import poison

    poison(monkeypatch, {2, 3})
    run = make(pictures=2)
    assert train(run) == "finished"
    assert numbers(run)["count"].tolist() == [6, 6] and np.isfinite(numbers(run)["sum"]).all()
