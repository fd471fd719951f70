"""Runs on a rented machine, by real huggingface_hub before a Hub on the loopback whose jobs are processes here."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from studio import launch, prepare, storage
from studio.config import ConfigError
from studio.folders import events, runs
from studio.launch import processes
from studio.remote import relay
from studio.remote.depot import Depot

from ..fakes.hub import WRITER
from ..fakes.jobs import JobsHub
from .conftest import wait_for

CONFIG: dict[str, Any] = {
    "data": {"resolution": 32}, "sample": {"prompts": ["a cat"], "num_inference_steps": 2, "every_steps": 0},
    "train": {"max_steps": 6, "batch_size": 1, "seed": 3, "mixed_precision": "no"}, "checkpoint": {"every_steps": 3},
    "compute": {"backend": "hf_jobs", "flavor": "cpu-basic", "num_threads": 1, "attention": "sdpa",
                "linear": "matmul"}}
until = partial(wait_for, seconds=200.0)


@pytest.fixture
def hub(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobsHub]:
    """A Hub with jobs; every process that is started here finds it."""
    (tmp_path / "hub").mkdir()
    with JobsHub(uploads=tmp_path / "hub", machine=home / "cache" / "machine.json") as running:
        for name, value in running.environment(tmp_path / "hf").items():
            if name.startswith("HF_"):
                monkeypatch.setenv(name, value)
        yield running


class Rent:
    """A run, and what is seen of it."""

    def __init__(self, home: Path, **changes: Any):
        config = {section: {**CONFIG.get(section, {}), **changes.get(section, {})} for section in {**CONFIG, **changes}}
        self.run = prepare.submit(home, name="away", owner="local", config=config, token=WRITER)
        self.reader = runs.EventReader()

    def start(self, token: str | None = WRITER) -> subprocess.Popen[bytes]:
        """Its supervisor, for the next attempt."""
        attempt = 1 if self.state == "queued" else launch.resume(self.run, self.reader)
        return launch.spawn(self.run, attempt, token)

    @property
    def state(self) -> str:
        return self.reader.state(self.run)[0]

    @property
    def history(self) -> events.RunHistory:
        return self.reader.history(self.run)

    def steps(self) -> list[int]:
        """The steps as they were told, in order."""
        return [e["step"] for e in events.read(self.run.events_file)[0] if e["kind"] == "step"]

    def error(self) -> dict[str, Any]:
        """Why it failed."""
        assert self.state == "failed", (self.state, self.run.log_file.read_text()[-3000:])
        return (self.history.end or {}).get("error") or {}


def holding(folder: Path, secret: str) -> list[str]:
    """The files below that hold the secret."""
    return [str(p) for p in folder.rglob("*") if p.is_file() and secret.encode() in p.read_bytes()]


def test_a_finished_run_is_the_one_that_trains_here_bit_for_bit(hub: JobsHub, home: Path, tmp_path: Path) -> None:
    rent = Rent(home)
    rent.start().wait(250)
    assert rent.state == "finished", (rent.history.end, rent.run.log_file.read_text()[-3000:])
    assert rent.steps() == [1, 2, 3, 4, 5, 6] and not rent.history.resumes
    assert [s["step"] for s in rent.history.samples] == [0, 6, 6]
    assert all((rent.run.samples / s["file"]).is_file() for s in rent.history.samples)
    assert "cpu-basic" in rent.history.facts["device"] and rent.history.facts["threads"] == 1
    there = Rent(home, compute={"backend": "local"})
    there.start().wait(250)
    assert there.state == "finished"
    assert there.history.curve.loss == rent.history.curve.loss
    for kept in ("unet", "unet_ema", "optimizer.safetensors"):
        one, other = (run.run.checkpoints / "checkpoint-6" / kept for run in (rent, there))
        for path in [one] if one.is_file() else one.glob("*.safetensors"):
            assert path.read_bytes() == (other / path.name if one.is_dir() else other).read_bytes(), path
    (job,) = hub.jobs.values()
    assert job.spec["secrets"] == {"HF_TOKEN": WRITER} and WRITER not in str(job.spec["command"])
    assert job.spec["timeoutSeconds"] == 24 * 3600 and job.process.wait(60) == 0
    assert not holding(home, WRITER) and not holding(job.folder, WRITER)
    assert not hub.repos, "what was private is left in the account"


def test_a_job_outlives_its_watcher_and_hears_what_is_asked(hub: JobsHub, home: Path) -> None:
    rent = Rent(home, train={"max_steps": 5000}, checkpoint={"every_steps": 5000})
    supervisor = rent.start()
    until(lambda: len(rent.steps()) > 3 or supervisor.poll() is not None)
    assert rent.state == "running" and [s["step"] for s in rent.history.samples] == [0], rent.history.end
    (watcher,) = [p for p in processes.marked(rent.run.path) if p.pid != supervisor.pid]
    for process in (supervisor, psutil.Process(watcher.pid)):
        process.kill()
        process.wait()
    assert rent.state == "interrupted"
    with pytest.raises(runs.Refused, match="still runs on a rented machine"):
        runs.delete(home, rent.run)
    kept = storage.read_json(rent.run.remote_file)
    storage.write_json(rent.run.remote_file, {name: kept[name] for name in ("over", "backend", "intent", "start")})
    seen = rent.history.step  # and as if it had been killed before it could keep the handle
    supervisor = rent.start()
    until(lambda: rent.history.step > seen + 3)
    assert len(hub.jobs) == 1, "the same job, not a second one"
    asked = launch.ask(rent.run, "stop", rent.reader)
    supervisor.wait(200)
    assert rent.state == "stopped" and rent.history.controls[asked]["result"] == "done", rent.history.end
    last = rent.history.step
    assert rent.steps() == list(range(1, last + 1)), "every step once, in order"
    assert storage.verify(rent.run.checkpoints / f"checkpoint-{last}")["step"] == last
    supervisor = rent.start()
    until(lambda: rent.history.step > last)
    assert len(hub.jobs) == 2 and rent.history.resumes[-1]["from_step"] == last
    launch.ask(rent.run, "cancel", rent.reader)
    supervisor.wait(60)
    assert rent.state == "cancelled" and hub.jobs["job1"].ended == ("CANCELED", None)
    assert not hub.repos and not rent.run.requests()


def test_how_it_is_refused_and_how_it_is_lost(hub: JobsHub, home: Path) -> None:
    with pytest.raises(ConfigError, match="no Hugging Face token"):
        prepare.submit(home, name="x", owner="local", config=CONFIG)
    rent = Rent(home, train={"max_steps": 5000}, checkpoint={"every_steps": 5000})
    rent.start(token=None).wait(60)
    assert rent.error()["code"] == "no_token"
    rent.start(token="hf_stranger").wait(60)
    assert rent.error()["code"] == "token_refused"
    hub.refuse = 402
    rent.start().wait(100)
    assert rent.error()["code"] == "no_credit" and "settings/billing" in rent.error()["hint"] and not hub.jobs
    hub.refuse = None
    supervisor = rent.start()
    until(lambda: rent.history.step > 3)
    launch.ask(rent.run, "save", rent.reader)
    (repo,) = hub.repos.values()
    until(lambda: (repo.revisions["main"] / "result.zip").is_file())
    hub.jobs["job0"].end("ERROR", "Job timeout")
    supervisor.wait(100)
    error, (kept, *_) = rent.error(), [path.name for path, _ in rent.run.valid_checkpoints()]
    assert error["code"] == "remote_timeout" and f"Resume continues from {kept}" in error["hint"], error


def test_nothing_that_comes_from_there_is_believed(home: Path, tmp_path: Path) -> None:
    config = prepare.plan(home, {}).config
    assert config is not None
    run = runs.create(home, name="x", owner="local", config=config, rows=[])
    storage.write_json(run.process_file, {"attempt": 1})
    writer = events.EventWriter(run.events_file)
    heard = relay.Relay(run, writer, Depot("writer/none", WRITER), "there", 0)
    with open(tmp_path / "log", "wb") as log:
        for number, text in enumerate((
                '{"event": {"seq": 1, "kind": "sample", "step": 1, "file": "../../config.json"}}',
                '{"event": {"seq": 2, "kind": "sample", "step": 1, "file": "a.html"}}',
                '{"event": {"seq": 3, "kind": "result", "name": "x", "bytes": 1}}',
                '{"event": {"seq": "4", "kind": "step"}}', '{"event": [1]}', "[1]", "no json", "[" * 100_000,
                '{"event": {"seq": 5, "kind": "attempt", "attempt": 77, "device": "d"}}',
                '{"event": {"seq": 6, "kind": "step", "step": 1, "loss": 0.5, "lr": 0.1, "seconds": 1, "seq_": 9}}',
                '{"event": {"seq": 6, "kind": "step", "step": 1, "loss": 0.5, "lr": 0.1, "seconds": 1}}',
                '{"event": {"seq": 7, "kind": "end", "result": "owned", "step": 1}}')):
            heard.take(f"{relay.MARK}{text}", log)
            assert number < 4 or heard.over is None
    told = events.read(run.events_file)[0]
    assert [(e["kind"], e["origin"]) for e in told] == [("attempt", 5), ("step", 6)]
    assert told[0]["attempt"] == 1 and not any(run.samples.iterdir()) and os.path.getsize(run.config_file)
    writer.close()
