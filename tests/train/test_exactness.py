"""A resumed run equals an unbroken one bit for bit, wherever broken; global batches as docs/how-it-works.md says."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from itertools import islice
from typing import Any

import pytest
import torch

from studio import config, storage
from studio.folders import runs
from studio.train.batches.sampler import DeterministicSampler, Sample, split_microbatches, uniform
from studio.train.checkpoints import changes, training_fields
from studio.train.parallel.distributed import Distributed, precision_of

from .conftest import Make, child, curve, fingerprint, told, train, two_ranks
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


def test_a_process_without_imports_trains_as_one_with_them(make: Make, unbroken: Any) -> None:
    """What the tests' other attempts rest on: one copied from a server is one started anew (see forked.py)."""
    copied, anew = make(), make()
    assert child(copied).returncode == child(anew, cold=True).returncode == 0
    for run in (copied, anew):
        assert (curve(run), fingerprint(run, 8)) == unbroken


@pytest.mark.parametrize(("step", "continues_from", "cold"), [(2, 0, False), (5, 3, False), (5, 3, True)])
def test_kill_and_resume(make: Make, unbroken: Any, step: int, continues_from: int, cold: bool) -> None:
    run = make()
    assert child(run, f"step:{step}", cold=cold).returncode == -signal.SIGKILL
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


def begin(run: runs.Run, attempt: int) -> None:
    """What a supervisor writes when it begins an attempt."""
    storage.write_json(run.process_file, {"attempt": attempt, "began": 0.0})


def test_resume_from_a_named_checkpoint(make: Make, unbroken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(checkpoint={"every_steps": 2, "keep": 5})
    begin(run, 1)
    with monkeypatch.context() as patch:
        ask_at(run, patch, 7, ("stop", {}))
        train(run)
    with pytest.raises(runs.Refused, match="no checkpoint 'checkpoint-3'; there are: checkpoint-7, checkpoint-6"):
        runs.resume(run, runs.EventReader(), "checkpoint-3")
    begin(run, runs.resume(run, runs.EventReader(), "checkpoint-4"))
    assert train(run) == "finished"
    assert [e["name"] for e in told(run, "retired")] == ["checkpoint-7", "checkpoint-6"]
    assert told(run, "resumed")[0]["from_step"] == 4
    assert (curve(run), fingerprint(run, 8)) == unbroken


@pytest.mark.parametrize(("fault", "says"), [
    ("damaged", "checkpoint-4 is damaged"), ("gone", "there is no checkpoint 'checkpoint-4'"), ("changed", "optim.")])
def test_a_named_checkpoint_that_cannot_be_used_takes_none_away(
        make: Make, monkeypatch: pytest.MonkeyPatch, fault: str, says: str) -> None:
    run = make(checkpoint={"every_steps": 2, "keep": 5})
    begin(run, 1)
    with monkeypatch.context() as patch:
        ask_at(run, patch, 7, ("stop", {}))
        train(run)
    begin(run, runs.resume(run, runs.EventReader(), "checkpoint-4"))
    if fault == "damaged":
        with open(run.checkpoints / "checkpoint-4" / "optimizer.json", "a") as file:
            file.write(" ")
    elif fault == "gone":
        shutil.rmtree(run.checkpoints / "checkpoint-4")
    else:
        settings = json.loads(run.config_file.read_text())
        run.config_file.write_text(json.dumps(config.merge(settings, {"optim": {"adam_beta1": 0.5}})))
    assert train(run) == "failed"
    error = told(run, "end")[-1]["error"]
    assert error["code"] == "cannot_resume" and says in error["message"], error
    assert {"checkpoint-2", "checkpoint-6", "checkpoint-7"} <= {p.name for p in run.checkpoints.iterdir()}
    assert not told(run, "retired")


def test_an_older_format_is_named(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make()
    with monkeypatch.context() as patch:
        ask_at(run, patch, 3, ("stop", {}))
        train(run)
    folder = run.checkpoints / "checkpoint-3"
    state = json.loads((folder / "state.json").read_text())
    del state["format"], state["settings"]
    facts = {key: value for key, value in storage.manifest(folder).items() if key != "files"}
    storage.write_json(folder / "state.json", state)
    (folder / "manifest.json").unlink()
    storage.seal(folder, facts)
    assert train(run) == "failed"
    error = told(run, "end")[-1]["error"]
    assert error["code"] == "cannot_resume" and "checkpoint format 1" in error["message"], error
    assert folder.is_dir()


def test_a_run_where_kernels_may_differ_promises_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU without the deterministic mode says; its kernels are not here, the saying is."""
    built = Distributed.__init__

    def on_a_gpu(self: Distributed, *args: Any) -> None:
        built(self, *args)
        self.exact = False

    monkeypatch.setattr(Distributed, "__init__", on_a_gpu)
    run = make()
    with monkeypatch.context() as patch:
        ask_at(run, patch, 3, ("stop", {}))
        train(run)
    assert train(run) == "finished"
    assert [e["exact"] for e in told(run, "attempt")] == [False, False]
    resumed = told(run, "resumed")[0]
    assert not resumed["exact"] and "compute.deterministic" in resumed["note"]


def test_the_deterministic_mode_repeats_every_bit_and_is_a_condition(make: Make, monkeypatch: pytest.MonkeyPatch
                                                                      ) -> None:
    whole, run = (make(compute={"deterministic": True}) for _ in range(2))
    train(whole)
    with monkeypatch.context() as patch:
        ask_at(run, patch, 3, ("stop", {}))
        train(run)
    assert torch.are_deterministic_algorithms_enabled()
    assert train(run) == "finished" and told(run, "resumed")[0]["exact"]
    assert (curve(run), fingerprint(run, 8)) == (curve(whole), fingerprint(whole, 8))
    other = make()
    with monkeypatch.context() as patch:
        ask_at(other, patch, 3, ("stop", {}))
        train(other)
    assert not torch.are_deterministic_algorithms_enabled()
    settings = json.loads(other.config_file.read_text())
    other.config_file.write_text(json.dumps(config.merge(settings, {"compute": {"deterministic": True}})))
    assert train(other) == "finished"
    assert not told(other, "resumed")[0]["exact"] and "numerics" in told(other, "resumed")[0]["note"]


@pytest.mark.parametrize(("asked", "mps", "cuda", "used"), [
    ("fp16", True, False, "no"), ("bf16", True, False, "no"), ("fp16", False, True, "fp16"),
    ("bf16", False, False, "bf16"), ("no", False, False, "no")])
def test_mps_computes_in_fp32(asked: str, mps: bool, cuda: bool, used: str) -> None:
    assert precision_of(asked, mps=mps, cuda=cuda) == used


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
        assert [e["pictures"] for e in told(run, "step")] == [4, 2] * 4  # six pictures: the last global batch is short
        curves.append(torch.tensor([e["loss"] for e in told(run, "step")]))
    assert torch.allclose(curves[0], curves[1], rtol=1e-5) and torch.allclose(curves[0], curves[2], rtol=1e-5)


def test_two_ranks_equal_one_process(make: Make) -> None:
    one = make(train={"batch_size": 4}, sample={"every_steps": 0})
    train(one)
    two = make(train={"batch_size": 2}, compute={"num_processes": 2}, sample={"every_steps": 0})
    done = two_ranks(two)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [e["pictures"] for e in told(two, "step")] == [4, 2] * 4
    first, second = (torch.tensor([e["loss"] for e in told(run, "step")]) for run in (one, two))
    assert torch.allclose(first, second, rtol=1e-5), (first, second)


def draws(rows: int) -> DeterministicSampler:
    rows_ = [{"image": str(n), "captions": ["a", "b"]} for n in range(rows)]
    return DeterministicSampler(rows_, 5, "", lambda row: (32, 32), flips=True)


def test_windows_cut_each_epoch_and_can_start_anywhere() -> None:
    batches = list(islice(draws(7).global_batches(3, 0), 9))
    assert [len(w) for _, w in batches] == [3, 3, 1] * 3
    for epoch in range(3):
        seen = [s.row["image"] for _, w in batches[epoch * 3 : epoch * 3 + 3] for s in w]
        assert sorted(seen) == [str(n) for n in range(7)]
    assert list(islice(draws(7).global_batches(3, 4), 5)) == batches[4:]
    assert {s.caption for _, w in batches for s in w} == {"a", "b"} and {s.flip for _, w in batches for s in w} == {
        True, False}


def test_ranks_share_a_global_batch_in_order() -> None:
    global_batch = [Sample({}, 0, n, "", False, (0.5, 0.5), (32, 32)) for n in range(10)]
    shares = [split_microbatches(global_batch, 2, rank, 2) for rank in (0, 1)]
    assert [[[s.position for s in micro] for micro in share] for share in shares] == [
        [[0, 1], [4, 5], [8, 9]], [[2, 3], [6, 7], []]]


def test_draws_come_from_a_real_hash() -> None:
    assert uniform(1, "flip", 0, 0) == uniform(1, "flip", 0, 0) != uniform(1, "flip", 0, 1)
    values = torch.tensor([uniform(3, "timestep", 0, n) for n in range(4000)])
    assert abs(values.mean() - 0.5) < 0.02 and abs(values.var() - 1 / 12) < 0.005
