"""Trackers, by what they leave under the run's logs/: read back with their own readers, offline, without an account."""

from __future__ import annotations

import json
import shutil
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

from studio import prepare
from studio.folders import events
from studio.train import track

from .conftest import Make, child, history, told, train
from .test_loop import ask_at

WANTED = {"max_steps": 4, "batch_size": 2}


def files(folder: Path) -> set[str]:
    """Every file below, relative."""
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def accumulated(run: Any) -> Any:
    """TensorBoard's own reading of the run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(run.path / "logs/tensorboard"), size_guidance={"scalars": 0, "images": 0})
    found.Reload()
    return found


def test_off_writes_nothing(make: Make) -> None:
    run = make(train=WANTED)
    assert train(run) == "finished" and not (run.path / "logs").exists()


def test_tensorboard_reads_what_the_events_say(make: Make) -> None:
    run = make(train=WANTED, sample={"every_steps": 2}, track={"report_to": ["tensorboard"]})
    assert train(run) == "finished" and not told(run, "warning")
    found = accumulated(run)
    steps = told(run, "step")
    assert [(s.step, s.value) for s in found.Scalars("loss")] == [
        (e["step"], pytest.approx(e["loss"], rel=1e-6)) for e in steps]
    assert [s.value for s in found.Scalars("lr")] == pytest.approx([e["lr"] for e in steps])
    assert {(tag, image.step) for tag in found.Tags()["images"] for image in found.Images(tag)} == {
        (tag, e["step"]) for e in told(run, "sample")
        for tag in (f"samples/{e['prompt_index']}-{e['weights']}", "samples")}
    sheets = {image.step: (image.width, image.height) for image in found.Images("samples")}
    assert sheets == {0: (8, 14), 2: (14, 14), 4: (14, 14)}  # of 4 x 4 and 2 between: prompts down, weights across
    assert found.Images("samples/0-raw")[0].width == 4
    hparams = next((run.path / "logs/tensorboard").rglob("hparams.yml")).read_text()
    assert "optim.learning_rate: 0.01" in hparams and "a red thing" not in hparams and "prompts" not in hparams


def test_a_resumed_run_is_one_curve_in_tensorboard(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(train={"max_steps": 6}, track={"report_to": ["tensorboard"]})
    with monkeypatch.context() as patch:
        ask_at(run, patch, 5, ("pause", {}))
        assert train(run) == "paused"
    shutil.rmtree(run.checkpoints / "checkpoint-5")
    assert train(run) == "finished" and told(run, "resumed")[0]["from_step"] == 3
    assert [s.step for s in accumulated(run).Scalars("loss")] == [1, 2, 3, 4, 5, 6]


def test_wandb_and_trackio_offline(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    person = tmp_path / "person"
    person.mkdir()
    monkeypatch.setenv("HOME", str(person))
    run = make(train=WANTED, track={"report_to": ["wandb", "trackio"], "project": "my-project"})
    before = files(run.path)
    done = child(run)
    assert done.returncode == 0, done.stderr
    assert not told(run, "warning") and told(run, "end")[0]["result"] == "finished"
    assert not files(person), "a tracker wrote outside the run"
    new = {name.split("/")[0] for name in files(run.path) - before}
    assert new <= {"logs", "checkpoints", "samples", "events.jsonl", "trainer.lock"}
    _look_at_wandb(run)
    _look_at_trackio(run)
    assert "a red thing" not in "".join(p.read_bytes().decode("latin-1") for p in (run.path / "logs").rglob("*")
                                        if p.is_file())


def wandb_records(path: Path) -> Iterator[Any]:
    """The records of a .wandb file: LevelDB's log format after a header of 7 bytes, in blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, whole = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        size, kind = struct.unpack_from("<HB", data, place + 4)
        whole += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # a full record, or the last part of one
            record = Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


def _look_at_wandb(run: Any) -> None:
    (path,) = (run.path / "logs/wandb").glob("offline-run-*/*.wandb")
    losses, pictures, config = {}, set(), {}
    for record in wandb_records(path):
        items = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.history.item}
        if "loss" in items:
            losses[items["_step"]] = items["loss"]
        pictures |= {key for key in items if key.startswith("samples/")}
        for part in (record.run.config, record.config):
            config |= {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in part.update}
    assert losses == {e["step"]: pytest.approx(e["loss"]) for e in told(run, "step")}
    assert "samples/0-ema/filenames" in pictures and config["optim.learning_rate"] == 0.01


def _look_at_trackio(run: Any) -> None:
    with sqlite3.connect(run.path / "logs/trackio/my-project.db") as database:
        rows = database.execute("select step, metrics from metrics").fetchall()
    losses = {step: found["loss"] for step, text in rows if "loss" in (found := json.loads(text))}
    assert losses == {e["step"]: pytest.approx(e["loss"]) for e in told(run, "step")}
    assert len(list((run.path / "logs/trackio/media").rglob("*.webp"))) == len(told(run, "sample"))


class Broken(GeneralTracker):
    """A tracker that fails at one of its calls."""

    name, requires_logging_directory, main_process_only = "broken", True, True
    fails_at = ""

    def __init__(self, run_name: str, logging_dir: str, **more: Any):
        super().__init__()
        self._may("init")

    @property
    def tracker(self) -> None:
        """Nothing."""

    def _may(self, what: str) -> None:
        if what == self.fails_at:
            raise ConnectionError(f"no {what} with hf_abcdefghijklmnop")

    def start(self) -> None:
        """May fail."""
        self._may("start")

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """May fail."""
        self._may("settings")

    def log(self, values: dict[str, Any], step: int | None = None, **more: Any) -> None:
        """May fail."""
        self._may("log")

    def log_images(self, values: dict[str, Any], step: int | None = None, **more: Any) -> None:
        """May fail."""
        self._may("log_images")

    def finish(self) -> None:
        """May fail, or never return."""
        self._may("finish")
        if self.fails_at == "hang":
            import threading

            threading.Event().wait()


@pytest.mark.parametrize("moment", ["init", "start", "settings", "log", "log_images", "finish", "hang"])
def test_a_tracker_that_fails_is_a_warning(make: Make, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    plain = make(train=WANTED)
    assert train(plain) == "finished"
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "tensorboard", Broken)
    monkeypatch.setattr(Broken, "fails_at", moment)
    monkeypatch.setattr(track, "CLOSING_SECONDS", 1.0)
    run = make(train=WANTED, track={"report_to": ["tensorboard"]})
    assert train(run) == "finished"
    (warning,) = told(run, "warning")
    assert warning["code"] == "tracker_failed" and "tensorboard" in warning["message"]
    assert "hf_abc" not in warning["message"]
    assert told(run)[-1]["kind"] == "end"
    assert history(run).curve.loss == history(plain).curve.loss


def test_validation_numbers_are_tracked(make: Make) -> None:
    run = make(track={"report_to": ["tensorboard"]})
    writer = events.EventWriter(run.events_file)
    trackers = track.make(run, run.config(), 1, writer)
    writer.add("validation", step=3, loss=0.25, pictures=4, seconds=1.0)
    trackers.close()
    writer.close()
    assert [(s.step, s.value) for s in accumulated(run).Scalars("validation/loss")] == [(3, 0.25)]


def test_a_missing_package_is_refused_with_its_install_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None)
    found = prepare.plan(home, {"track": {"report_to": ["wandb"]}})
    assert [(p.field, "pip install wandb" in p.message) for p in found.problems] == [("track.report_to", True)]
