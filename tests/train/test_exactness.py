"""A resumed run equals an unbroken one bit for bit, wherever it was broken; windows are what ARCHITECTURE says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from studio import config, runs, storage
from studio.train.checkpoints import changes, training_fields
from studio.train.data import Draws, Sample, share, uniform

from .conftest import Make, child, curve, fingerprint, told, train
from .test_loop import ask_at


@pytest.fixture
def unbroken(make: Make) -> tuple[dict[int, str], dict[str, str]]:
    """Losses and final tensors of a run that nothing disturbed."""
    run = make()
    train(run)
    return curve(run), fingerprint(run, 8)


def test_stop_and_resume(make: Make, unbroken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make()
    with monkeypatch.context() as patch:
        ask_at(run, patch, 4, ("stop", {}))
        assert train(run) == "stopped"
    assert train(run) == "finished"
    resumed = told(run, "resumed")[0]
    assert (resumed["from_step"], resumed["checkpoint"], resumed["exact"]) == (4, "checkpoint-4", True)
    assert (curve(run), fingerprint(run, 8)) == unbroken


@pytest.mark.parametrize(("step", "continues_from"), [(2, 0), (5, 3)])
def test_kill_and_resume(make: Make, unbroken: Any, step: int, continues_from: int) -> None:
    run = make()
    assert child(run, f"step:{step}").returncode == -signal.SIGKILL
    assert train(run) == "finished"
    assert told(run, "resumed")[0]["from_step"] == continues_from
    assert (curve(run), fingerprint(run, 8)) == unbroken


def test_resume_with_every_draw_on(make: Make, unbroken: Any) -> None:
    options = {"noise_offset": 0.1, "input_perturbation": 0.1}
    whole, killed = make(objective=options), make(objective=options)
    train(whole)
    assert child(killed, "step:5").returncode == -signal.SIGKILL
    assert train(killed) == "finished"
    assert (curve(killed), fingerprint(killed, 8)) == (curve(whole), fingerprint(whole, 8))
    assert curve(whole) != unbroken[0]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("operation", [2, 9, 13])
def test_a_kill_inside_a_save_leaves_no_bad_checkpoint(make: Make, unbroken: Any, operation: int) -> None:
    run = make()
    assert child(run, f"save:{operation}").returncode == -signal.SIGKILL
    for path in run.checkpoints.glob("checkpoint-*"):
        storage.verify(path)
    assert train(run) == "finished"
    assert (curve(run), fingerprint(run, 8)) == unbroken and not list(run.checkpoints.glob(".staging-*"))


def test_a_damaged_checkpoint_is_passed_over(make: Make, unbroken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make()
    with monkeypatch.context() as patch:
        ask_at(run, patch, 7, ("pause", {}))
        train(run)
    weights = run.checkpoints / "checkpoint-7" / "optimizer.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    assert train(run) == "finished"
    assert "checkpoint-7" in next(e for e in told(run, "warning") if e["code"] == "damaged_checkpoint")["message"]
    assert told(run, "resumed")[0]["from_step"] == 6
    assert (curve(run), fingerprint(run, 8)) == unbroken


def test_resume_from_a_named_checkpoint(make: Make, unbroken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(checkpoint={"every_steps": 2, "keep": 5})

    def begin(attempt: int) -> None:
        storage.write_json(run.process_file, {"attempt": attempt, "began": 0.0})

    begin(1)
    with monkeypatch.context() as patch:
        ask_at(run, patch, 7, ("stop", {}))
        train(run)
    with pytest.raises(runs.Refused, match="no checkpoint 'checkpoint-3'; there are: checkpoint-7, checkpoint-6"):
        runs.resume(run, runs.Reader(), "checkpoint-3")
    begin(runs.resume(run, runs.Reader(), "checkpoint-4"))
    assert train(run) == "finished"
    assert [e["name"] for e in told(run, "retired")] == ["checkpoint-7", "checkpoint-6"]
    assert told(run, "resumed")[0]["from_step"] == 4
    assert (curve(run), fingerprint(run, 8)) == unbroken


@pytest.mark.parametrize("change", ["schedule", "data"])
def test_a_changed_run_is_refused(make: Make, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    run = make()
    with monkeypatch.context() as patch:
        ask_at(run, patch, 3, ("stop", {}))
        train(run)
    if change == "schedule":
        settings = json.loads(run.config_file.read_text())
        settings["optim"]["lr_scheduler"] = "cosine"
        run.config_file.write_text(json.dumps(settings))
    else:
        run.rows_file.write_text(run.rows_file.read_text().replace("thing 1", "other 1"))
    assert train(run) == "failed"
    assert told(run, "end")[-1]["error"]["code"] == "cannot_resume"


def test_a_setting_that_a_newer_studio_adds_does_not_end_older_runs() -> None:
    now = training_fields(config.load({"train": {"batch_size": 2}, "optim": {"lr_scheduler": "cosine"}}))
    older = json.loads(json.dumps(now))
    del older["data"]["caption_dropout"], older["optim"]["fused_backward"]
    assert changes(older, now) == []
    dropped = {**now, "data": {**now["data"], "caption_dropout": 0.1}}
    assert changes(older, dropped) == ["data.caption_dropout was 0.0, is 0.1"]
    older["optim"]["lr_scheduler"] = "linear"
    assert changes(older, now) == ["optim.lr_scheduler was linear, is cosine"]


def test_another_thread_count_continues_and_says_so(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make()
    with monkeypatch.context() as patch:
        ask_at(run, patch, 3, ("stop", {}))
        train(run)
    settings = json.loads(run.config_file.read_text())
    settings["compute"]["num_threads"] = 2
    run.config_file.write_text(json.dumps(settings))
    assert train(run) == "finished"
    resumed = told(run, "resumed")[0]
    assert not resumed["exact"] and "threads was 1, is 2" in resumed["note"]


def test_accumulation_changes_nothing_but_rounding(make: Make) -> None:
    curves = []
    for batch, accumulation in ((4, 1), (2, 2), (1, 4)):
        run = make(train={"batch_size": batch, "gradient_accumulation_steps": accumulation}, sample={"every_steps": 0})
        train(run)
        assert [e["pictures"] for e in told(run, "step")] == [4, 2] * 4  # six pictures: the last window is short
        curves.append(torch.tensor([e["loss"] for e in told(run, "step")]))
    assert torch.allclose(curves[0], curves[1], rtol=1e-5) and torch.allclose(curves[0], curves[2], rtol=1e-5)


def two_ranks(run: runs.Run) -> subprocess.CompletedProcess[str]:
    """One attempt of the run in two processes."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
               "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0",
               str(Path(__file__).with_name("child.py")), str(run.path)]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": str(root), "ACCELERATE_USE_CPU": "true"},
                          capture_output=True, text=True, timeout=200)


def test_two_ranks_equal_one_process(make: Make) -> None:
    one = make(train={"batch_size": 4}, sample={"every_steps": 0})
    train(one)
    two = make(train={"batch_size": 2}, compute={"num_processes": 2}, sample={"every_steps": 0})
    done = two_ranks(two)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [e["pictures"] for e in told(two, "step")] == [4, 2] * 4
    first, second = (torch.tensor([e["loss"] for e in told(run, "step")]) for run in (one, two))
    assert torch.allclose(first, second, rtol=1e-5), (first, second)


def draws(rows: int) -> Draws:
    rows_ = [{"image": str(n), "captions": ["a", "b"]} for n in range(rows)]
    return Draws(rows_, 5, "", lambda row: (32, 32), flips=True)


def test_windows_cut_each_epoch_and_can_start_anywhere() -> None:
    windows = list(islice(draws(7).windows(3, 0), 9))
    assert [len(w) for _, w in windows] == [3, 3, 1] * 3
    for epoch in range(3):
        seen = [s.row["image"] for _, w in windows[epoch * 3 : epoch * 3 + 3] for s in w]
        assert sorted(seen) == [str(n) for n in range(7)]
    assert list(islice(draws(7).windows(3, 4), 5)) == windows[4:]
    assert {s.caption for _, w in windows for s in w} == {"a", "b"} and {s.flip for _, w in windows for s in w} == {
        True, False}


def test_ranks_share_a_window_in_order() -> None:
    window = [Sample({}, 0, n, "", False, (0.5, 0.5), (32, 32)) for n in range(10)]
    places = [[[s.position for s in batch] for batch in share(window, 2, rank, 2)] for rank in (0, 1)]
    assert places == [[[0, 1], [4, 5], [8, 9]], [[2, 3], [6, 7], []]]


def test_draws_come_from_a_real_hash() -> None:
    assert uniform(1, "flip", 0, 0) == uniform(1, "flip", 0, 0) != uniform(1, "flip", 0, 1)
    values = torch.tensor([uniform(3, "timestep", 0, n) for n in range(4000)])
    assert abs(values.mean() - 0.5) < 0.02 and abs(values.var() - 1 / 12) < 0.005
