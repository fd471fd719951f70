"""What was promised is there or the run refuses; what the disk refuses once ends nothing."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from studio import prepare, storage, trash
from studio.bundle import pack
from studio.folders import events, requests, runs

from ..disks import fill, tmpfs
from .conftest import Make, child, curve, fingerprint, told, train
from .test_edits import holds
from .test_exactness import begin
from .test_loop import ask_at

EARLY = {"checkpoint": {"every_steps": 3, "keep": 5}}


@pytest.fixture
def parent(make: Make) -> runs.Run:
    run = make(**EARLY)
    assert train(run) == "finished"
    return run


def flip(path: Path) -> None:
    """One bit of a file changes, of this name of it alone."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [
    lambda folder: flip(folder / "optimizer.safetensors"), lambda folder: (folder / "manifest.json").unlink(),
    lambda folder: shutil.rmtree(folder), lambda folder: os.truncate(folder / "manifest.json", 0) if (
        flip(folder / "manifest.json") is None) else None])
@pytest.mark.parametrize("attempt", [1, 2])
def test_a_branch_whose_checkpoint_is_not_whole_refuses(home: Path, parent: runs.Run, attempt: int,
                                                        damage: Callable[[Path], Any]) -> None:
    made = prepare.branch(home, parent, name="b", owner="", checkpoint="checkpoint-3")
    if attempt == 2:  # of an attempt before nothing was saved
        assert child(made, "step:5").returncode < 0
    damage(made.checkpoints / "checkpoint-3")
    before = len(told(made, "step"))
    for _ in range(2):
        assert train(made) == "failed"
        error = told(made, "end")[-1]["error"]
        assert error["code"] == "cannot_resume" and "checkpoint-3, from which this run goes on" in error["message"]
    assert len(told(made, "step")) == before, "it never trained from the base's weights"
    for path, _ in parent.valid_checkpoints():
        storage.verify(path)


def test_a_branch_goes_on_from_a_later_one_of_its_own(home: Path, parent: runs.Run) -> None:
    made = prepare.branch(home, parent, name="b", owner="", checkpoint="checkpoint-3")
    assert child(made, "step:7").returncode < 0
    shutil.rmtree(made.checkpoints / "checkpoint-3")
    assert train(made) == "finished" and told(made, "resumed")[-1]["from_step"] == 6
    assert fingerprint(made, 8) == fingerprint(parent, 8)


def test_a_bundle_of_a_branch_that_has_not_begun_brings_its_checkpoint(home: Path, parent: runs.Run) -> None:
    made = prepare.branch(home, parent, name="b", owner="", checkpoint="checkpoint-3")
    with pack(made, start=True) as packed:
        text = b"".join(packed.read(0, packed.size))
    assert b"checkpoints/checkpoint-3/manifest.json" in text and b"checkpoints/checkpoint-8" not in text
    with pack(parent, start=True) as packed:
        assert b"checkpoints/" not in b"".join(packed.read(0, packed.size))


def failing_once(monkeypatch: pytest.MonkeyPatch, name: str, at: str, times: int = 1) -> list[str]:
    """The next renames (flushes ...) of a path whose name begins with `at` fail; returns which did."""
    real, failed = getattr(os, name), list[str]()

    def call(path: Any, *rest: Any, **named: Any) -> Any:
        if Path(path).name.startswith(at) and len(failed) < times:
            failed.append(str(path))
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path, *rest, **named)

    monkeypatch.setattr(os, name, call)
    return failed


def test_an_old_checkpoint_that_cannot_be_removed_ends_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, run = make(checkpoint={"every_steps": 2, "keep": 1}), make(checkpoint={"every_steps": 2, "keep": 1})
    assert train(plain) == "finished"
    failed = failing_once(monkeypatch, "rename", "checkpoint-2")
    assert train(run) == "finished" and len(failed) == 1
    warning = [e["message"] for e in told(run, "warning") if e["code"] == "not_removed"]
    assert len(warning) == 1 and "checkpoint-2" in warning[0] and str(run.path) not in warning[0]
    assert sorted(e["name"] for e in told(run, "retired")) == ["checkpoint-2", "checkpoint-4", "checkpoint-6"]
    assert [p.name for p in run.checkpoints.iterdir() if p.is_dir()] == ["checkpoint-8"]
    assert fingerprint(run, 8) == fingerprint(plain, 8)


def test_a_damaged_checkpoint_that_cannot_be_put_away_ends_nothing(make: Make,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    run = make()
    with monkeypatch.context() as patch:
        ask_at(run, patch, 7, ("pause", {}))
        assert train(run) == "paused"
    flip(run.checkpoints / "checkpoint-7" / "optimizer.safetensors")
    with monkeypatch.context() as patch:
        failed = failing_once(patch, "replace", "checkpoint-7")
        assert train(run) == "finished" and len(failed) == 1
    assert told(run, "resumed")[-1]["from_step"] == 6
    assert any("could not be put into the trash" in e["message"] for e in told(run, "warning"))


def test_later_checkpoints_that_cannot_be_put_away_are_at_the_next_save(make: Make,
                                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    whole, run = make(checkpoint={"every_steps": 2, "keep": 5}), make(checkpoint={"every_steps": 2, "keep": 5})
    assert train(whole) == "finished"
    begin(run, 1)
    with monkeypatch.context() as patch:
        ask_at(run, patch, 7, ("stop", {}))
        assert train(run) == "stopped"
    begin(run, runs.resume(run, runs.EventReader(), "checkpoint-2"))
    with monkeypatch.context() as patch:
        failed = failing_once(patch, "replace", "checkpoint-", times=3)
        assert train(run) == "finished" and len(failed) == 3
    assert {e["code"] for e in told(run, "warning")} >= {"not_removed"}
    assert sorted(entry.name for entry in trash.entries(run.home)) == ["checkpoint-4", "checkpoint-6", "checkpoint-7"]
    assert fingerprint(run, 8) == fingerprint(whole, 8) and curve(run) == curve(whole)


def test_a_checkpoint_that_cannot_be_read_is_passed_over(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make()
    with monkeypatch.context() as patch:
        ask_at(run, patch, 7, ("pause", {}))
        assert train(run) == "paused"
    real = storage.sha256_file

    def sha256_file(path: Path) -> str:
        if "checkpoint-7" in str(path):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return real(path)

    monkeypatch.setattr(storage, "sha256_file", sha256_file)
    assert train(run) == "finished" and told(run, "resumed")[-1]["from_step"] == 6


def test_events_that_a_disk_refuses_once_are_told_later(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make()
    real, refused = os.write, list[int]()

    def write(handle: int, data: bytes) -> int:
        if b'"step":4,' in data and not refused:
            refused.append(handle)
            raise OSError(errno.EIO, "Input/output error")
        return real(handle, data)

    monkeypatch.setattr(os, "write", write)
    assert train(run) == "finished" and refused
    assert [e["step"] for e in told(run, "step")] == list(range(1, 9))


def test_pictures_are_flushed_before_they_are_told_of(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make()
    flushed: dict[str, bool] = {}
    real, added = os.fsync, events.EventWriter.add

    def fsync(handle: int) -> None:
        flushed[os.readlink(f"/proc/self/fd/{handle}").split(".webp")[0].rpartition("/")[2].lstrip(".")] = True
        real(handle)

    def add(self: events.EventWriter, kind: str, **fields: Any) -> dict[str, Any]:
        if kind == "sample":
            assert flushed.get(fields["file"].removesuffix(".webp")) and flushed.get("samples"), fields
            Image.open(run.samples / fields["file"]).load()
        return added(self, kind, **fields)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(events.EventWriter, "add", add)
    assert train(run) == "finished" and len(told(run, "sample")) > 4


def test_an_edit_kept_before_it_was_answered_is_not_refused(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainer was killed between keeping the edit and answering: the next attempt tells of it at its step."""
    run = make()
    begin(run, 1)
    assert child(run, "step:5").returncode < 0  # saved at 3
    id_ = requests.ask(run.control, "edit", {"config": {"train": {"max_steps": 10}}}, 1)
    run.add_edit({"id": id_, "step": 5, "time": 0.0, "config": {"train": {"max_steps": 10}}})
    begin(run, 2)
    assert train(run) == "finished"
    assert [e["result"] for e in told(run, "control")] == ["done"] and holds(run)[0]["step"] == 5
    assert max(curve(run)) == 10 and not list(run.control.iterdir())


def test_a_request_is_of_its_attempt_whatever_the_clock_says(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock went back by a year after the attempt began: what is asked then is still heard."""
    run = make()
    storage.write_json(run.process_file, {"attempt": 1, "began": 4e9})
    with monkeypatch.context() as patch:
        ask_at(run, patch, 4, ("stop", {}))
        assert train(run) == "stopped"
    requests.ask(run.control, "stop", {}, 1)  # one of the attempt before, with a clock far ahead
    storage.write_json(run.process_file, {"attempt": 2, "began": 1.0})
    assert train(run) == "finished"
    assert told(run, "control")[-1]["result"] == "refused"


def test_stop_and_cancel_are_heard_and_answered_on_a_full_disk(home: Path, make: Make,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    with tmpfs(home, "32m"):
        run = make(train={"max_steps": 30})
        begin(run, 1)
        written = events.EventWriter.step

        def step(self: events.EventWriter, *args: Any, **fields: Any) -> None:
            written(self, *args, **fields)
            if fields["step"] == 4:
                fill(home / "filler")
            if fields["step"] in (6, 9):
                run.request({6: "stop", 9: "cancel"}[fields["step"]])

        monkeypatch.setattr(events.EventWriter, "step", step)
        assert train(run) == "cancelled"
        controls = [(e["control"], e["result"]) for e in told(run, "control")]
        assert controls == [("stop", "accepted"), ("stop", "refused"), ("cancel", "accepted"), ("cancel", "done")]
        said = [e["message"] for e in told(run, "control") if e["result"] == "refused"][0]
        assert "the run goes on" in said and "free some space" in said and str(home) not in said
        assert told(run, "end")[-1]["result"] == "cancelled", "it is all on the disk, full as that is"
        assert [p.name for p in run.checkpoints.glob("checkpoint-*")] == ["checkpoint-3"]


def test_a_last_save_on_a_full_disk_says_so_on_the_disk(home: Path, make: Make,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    with tmpfs(home, "32m"):
        run = make()
        written = events.EventWriter.step

        def step(self: events.EventWriter, *args: Any, **fields: Any) -> None:
            written(self, *args, **fields)
            if fields["step"] == 7:
                fill(home / "filler")

        with monkeypatch.context() as patch:
            patch.setattr(events.EventWriter, "step", step)
            assert train(run) == "failed"
        error = told(run, "end")[-1]["error"]
        assert error["code"] == "disk_full" and "Free some space" in error["hint"] and error["hint"].endswith("resume.")
        (home / "filler").unlink()
        assert train(run) == "finished"
