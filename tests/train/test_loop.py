"""A run of the toy family from start to end, seen through its folder."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from studio.folders import events
from studio.train.batches import sampler

from .conftest import Make, history, picture, told, train


def test_a_new_family_trains_with_no_edit_outside_its_file(make: Make) -> None:
    run = make()
    assert train(run) == "finished"
    kinds = [e["kind"] for e in told(run)]
    assert kinds[0] == "attempt" and kinds[-1] == "end" and "resumed" not in kinds
    end = told(run, "end")[0]
    assert (end["result"], end["step"], end["error"]) == ("finished", 8, None) and end["peak_memory_bytes"] > 1 << 20
    phases = [e["phase"] for e in told(run, "phase")]
    assert list(dict.fromkeys(phases)) == ["loading", "caching", "sampling", "training", "saving"]
    assert [e["step"] for e in told(run, "step")] == list(range(1, 9))
    assert history(run).curve.loss[-1] < history(run).curve.loss[0]
    drawn = {(e["step"], e["weights"], e["prompt_index"]) for e in told(run, "sample")}
    assert drawn == {(s, w, i) for s in (0, 4, 8) for w in (("raw", "ema") if s else ("raw",)) for i in (0, 1)}
    for event in told(run, "sample"):
        with Image.open(run.samples / event["file"]) as image:
            assert image.format == "WEBP" and image.size == (4, 4)
    assert sorted(p.name for p in run.checkpoints.iterdir() if p.is_dir()) == ["checkpoint-6", "checkpoint-8"]


def test_checkpoint_layout(make: Make) -> None:
    run = make(train={"max_steps": 3})
    train(run)
    folder = run.checkpoints / "checkpoint-3"
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == [
        "manifest.json", "optimizer.json", "optimizer.safetensors", "pictures.safetensors", "state.json",
        "transformer/config.json", "transformer/diffusion_pytorch_model.safetensors",
        "transformer_ema/config.json", "transformer_ema/diffusion_pytorch_model.safetensors"]
    average = json.loads((folder / "transformer_ema/config.json").read_text())
    assert (average["optimization_step"], average["decay"], average["power"]) == (3, 0.9999, 2 / 3)
    assert average["width"] == 16 and average["_class_name"] == "Denoiser"
    weights = load_file(folder / "transformer/diffusion_pytorch_model.safetensors")
    assert all(w.dtype == torch.float32 for w in weights.values())
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["step"] == 3 and {"config_sha", "data_sha", "versions", "device", "threads"} <= manifest.keys()


def test_repeats_and_splits_decide_what_is_seen(make: Make, home: Path) -> None:
    rows = [{**picture(home, 1), "repeats": 3}, picture(home, 2), {**picture(home, 3), "split": "validation"}]
    run = make(rows=rows, train={"max_steps": 2, "batch_size": 3})
    train(run)
    assert [e["pictures"] for e in told(run, "step")] == [3, 1] and told(run, "attempt")[0]["pictures"] == 2


def test_a_random_crop_is_encoded_live_and_says_so(make: Make) -> None:
    run = make(data={"center_crop": False}, compute={"num_workers": 2}, sample={"every_steps": 0})
    assert train(run) == "finished"
    assert [e["code"] for e in told(run, "warning")] == ["not_cached"]


def test_a_torn_cache_shard_is_made_again(make: Make, home: Path) -> None:
    first = make(train={"max_steps": 1})
    train(first)
    for path in (home / "cache").rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-40])
    again = make(train={"max_steps": 1})
    assert train(again) == "finished"
    assert [e["loss"] for e in told(again, "step")] == [e["loss"] for e in told(first, "step")]


def test_sampling_leaves_training_alone(make: Make) -> None:
    losses = []
    for every in (1, 0):
        run = make(sample={"every_steps": every})
        train(run)
        losses.append([e["loss"].hex() for e in told(run, "step")])
    assert losses[0] == losses[1]


def test_a_failing_sample_is_only_a_warning(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from studio import families

    def fail(self: Any, *args: Any, **named: Any) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(type(families.get("toy")), "generate", fail)
    run = make()
    assert train(run) == "finished"
    assert {e["code"] for e in told(run, "warning")} == {"sampling_failed"} and not told(run, "sample")


def poison(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """The denoiser's output is NaN at these updates."""
    from studio.train import loop

    real = loop.take_step

    def update(trainer: Any, number: int, *args: Any) -> None:
        family, predict = trainer.family, type(trainer.family).predict
        bad = float("nan") if number in steps else 1.0
        monkeypatch.setattr(type(family), "predict", lambda *a: predict(*a) * bad)
        real(trainer, number, *args)
        monkeypatch.setattr(type(family), "predict", predict)

    monkeypatch.setattr(loop, "take_step", update)


def finite(folder: Path) -> bool:
    """Whether every tensor of a checkpoint is finite."""
    return all(bool(t.isfinite().all()) for p in folder.rglob("*.safetensors") for t in load_file(p).values())


def test_an_update_that_is_not_finite_is_skipped(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, {2, 3})
    run = make()
    assert train(run) == "finished"
    assert [e["step"] for e in told(run, "step") if e["loss"] is None] == [3, 4]
    assert [e["code"] for e in told(run, "warning")] == ["skipped_update"] * 2
    assert finite(run.checkpoints / "checkpoint-8")


def test_three_in_a_row_diverge_and_leave_the_checkpoint_whole(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, {4, 5, 6})
    run = make()
    assert train(run) == "diverged"
    end = told(run, "end")[0]
    assert (end["result"], end["error"]["code"]) == ("diverged", "diverged") and "learning rate" in end["error"]["hint"]
    assert [p.name for p in run.checkpoints.glob("checkpoint-*")] == ["checkpoint-3", "checkpoint-6"]
    assert finite(run.checkpoints / "checkpoint-6")
    assert "checkpoint-6 is the last good checkpoint" in end["error"]["hint"]


@pytest.mark.parametrize(("error", "code"), [
    (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory"), (OSError(28, "No space left"), "disk_full"),
    (RuntimeError("something odd"), "failed")])
def test_errors_are_named(make: Make, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str,
                          capfd: pytest.CaptureFixture[str]) -> None:
    def fail(*args: Any) -> None:
        raise error

    monkeypatch.setattr("studio.train.loop.take_step", fail)
    run = make()
    assert train(run) == "failed"
    end = told(run, "end")[0]["error"]
    assert end["code"] == code and "Traceback" not in json.dumps(end) and "Traceback" in capfd.readouterr().err
    if code == "out_of_memory":
        assert "batch size (now 2;" in end["hint"] and "resolution (now 32)" in end["hint"]


def test_a_missing_picture_names_its_file(make: Make, home: Path) -> None:
    row = picture(home, 1)
    (home / "images" / row["image"][:2] / f"{row['image']}.png").unlink()
    run = make(rows=[row])
    assert train(run) == "failed"
    assert row["image"] in told(run, "end")[0]["error"]["evidence"]


def ask_at(run: Any, monkeypatch: pytest.MonkeyPatch, step: int, *requests: tuple[str, dict[str, Any]]) -> None:
    """Requests that arrive while that step runs."""
    written = events.EventWriter.step

    def step_(self: events.EventWriter, *args: Any, **fields: Any) -> None:
        written(self, *args, **fields)
        if fields["step"] == step:
            for kind, arguments in requests:
                run.request(kind, **arguments)

    monkeypatch.setattr(events.EventWriter, "step", step_)


@pytest.mark.parametrize(("kind", "result", "saved"), [
    ("stop", "stopped", True), ("pause", "paused", True), ("cancel", "cancelled", False)])
def test_leaving(make: Make, monkeypatch: pytest.MonkeyPatch, kind: str, result: str, saved: bool) -> None:
    run = make()
    ask_at(run, monkeypatch, 2, (kind, {}))
    assert train(run) == result
    assert [e["result"] for e in told(run, "control")] == ["accepted", "done"] and not list(run.control.iterdir())
    assert [p.name for p in run.checkpoints.glob("checkpoint-*")] == (["checkpoint-2"] if saved else [])
    assert [e["step"] for e in told(run, "step")] == [1, 2]


def test_save_and_sample_now(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make()
    ask_at(run, monkeypatch, 2, ("save", {}), ("sample", {"prompt": "a green thing"}))
    assert train(run) == "finished"
    assert [e["result"] for e in told(run, "control")] == ["accepted", "done"] * 2
    wanted = [e for e in told(run, "sample") if e["requested"]]
    assert {(e["prompt"], e["weights"], e["step"]) for e in wanted} == {
        ("a green thing", "raw", 2), ("a green thing", "ema", 2)}
    assert 2 in [e["step"] for e in told(run, "checkpoint")]


def test_a_request_from_before_is_refused(make: Make) -> None:
    run = make()
    run.request("stop")
    assert train(run) == "finished"
    assert [e["result"] for e in told(run, "control")] == ["refused"] and not list(run.control.iterdir())


def test_sigterm_saves_and_can_be_resumed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make()
    written = events.EventWriter.step

    def step(self: events.EventWriter, *args: Any, **fields: Any) -> None:
        written(self, *args, **fields)
        if fields["step"] == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(events.EventWriter, "step", step)
    assert train(run) == "terminated"
    assert told(run, "end")[0]["result"] == "paused" and (run.checkpoints / "checkpoint-5").is_dir()
    monkeypatch.setattr(events.EventWriter, "step", written)
    assert train(run) == "finished" and told(run, "resumed")[0]["from_step"] == 5


def test_a_failed_save_is_tried_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from studio.train.learning import adapters

    real, calls = adapters.save_file, []

    def save(*args: Any, **named: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("unexpected pos 64 vs 0")  # torch's words for a full disk
        real(*args, **named)

    monkeypatch.setattr(adapters, "save_file", save)
    run = make()
    assert train(run) == "finished"
    assert [(e["step"], e["ok"]) for e in told(run, "checkpoint")] == [
        (3, False), (4, True), (6, True), (8, True)]
    assert not list(run.checkpoints.glob(".staging-*"))


def test_a_download_keeps_its_checkpoint(make: Make) -> None:
    from studio import storage

    run = make(checkpoint={"keep": 1})
    lease = storage.Lock(run.checkpoints / "checkpoint-3.lease")
    assert lease.acquire()
    train(run)
    lease.release()
    assert sorted(p.name for p in run.checkpoints.glob("checkpoint-?")) == ["checkpoint-3", "checkpoint-8"]
    assert [e["name"] for e in told(run, "retired")] == ["checkpoint-6"]


def test_two_trainers_never(make: Make) -> None:
    run = make()
    with run.worker_lock, pytest.raises(RuntimeError, match="another process"):
        train(run)
    assert not run.events_file.exists()


def test_pictures_are_framed_as_torchvision_does(tmp_path: Path) -> None:
    image = Image.linear_gradient("L").resize((60, 40)).convert("RGB")
    image.save(tmp_path / "a.png")
    row = {"image": "a", "width": 60, "height": 40}
    frame = sampler.ImageTransform("bilinear")
    plain = frame.pixels(tmp_path / "a.png", sampler.Sample(row, 0, 0, "", False, (0.5, 0.5), (32, 32)))
    flipped = frame.pixels(tmp_path / "a.png", sampler.Sample(row, 0, 0, "", True, (0.5, 0.5), (32, 32)))
    assert plain.shape == (1, 3, 32, 32) and plain.min() >= -1 and plain.max() <= 1
    assert torch.equal(plain.flip(3), flipped)
    whole = np.asarray(image.resize((48, 32), Image.Resampling.BILINEAR).crop((8, 0, 40, 32)))
    assert np.allclose((plain[0].permute(1, 2, 0).numpy() + 1) * 127.5, whole, atol=1e-3)
    squared = frame.pixels(tmp_path / "a.png", sampler.Sample({**row, "crop": [4, 2, 32]}, 0, 0, "", False, (0.5, 0.5),
                                                              (32, 32)))
    assert np.allclose((squared[0, 0].numpy() + 1) * 127.5, np.asarray(image.crop((4, 2, 36, 34)))[..., 0], atol=1e-3)


def test_scaled_learning_rate(make: Make) -> None:
    run = make(optim={"scale_lr": True, "learning_rate": 1e-3},
               train={"gradient_accumulation_steps": 3, "max_steps": 1})
    assert train(run) == "finished"
    assert told(run, "step")[0]["lr"] == pytest.approx(6e-3)
