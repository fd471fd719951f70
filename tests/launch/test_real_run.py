"""The real trainer under the supervisor: killed, resumed from a shell, interrupted by Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from studio import config, datasets, families, launch, prepare, storage
from studio.folders import events, runs
from studio.launch import processes

from .conftest import alive, wait_for

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "studio" / "assets" / "sample" / "images"
CONFIG = {"data": {"resolution": 32}, "train": {"max_steps": 4000, "batch_size": 1, "seed": 3, "mixed_precision": "no"},
          "sample": {"prompts": []}, "checkpoint": {"every_steps": 4}}
until = partial(wait_for, seconds=150.0)


@pytest.fixture
def run(home: Path) -> runs.Run:
    """A queued run of the embedded base on three pictures, far longer than any test."""
    files = sorted(PICTURES.glob("*.webp"))[:3]
    made = datasets.begin(home, "three", "local")
    datasets.add(made, [(path.name, path) for path in files])
    return prepare.submit(home, name="real", owner="local", config={**CONFIG, "data": {
        **CONFIG["data"], "dataset": made.id}})


def test_killed_resumed_interrupted(run: runs.Run) -> None:
    assert families.get(run.config().model.family).name == "sd"
    reader = runs.EventReader()
    began = time.monotonic()
    supervisor = launch.spawn(run, 1)
    until(lambda: reader.history(run).attempt == 1)
    print(f"first event of the trainer after {time.monotonic() - began:.1f} s; supervisor "
          f"{psutil.Process(supervisor.pid).memory_info().rss >> 20} MB")
    until(lambda: next(run.valid_checkpoints(), None) and reader.history(run).step > 5)
    members = processes.marked(run.path)
    assert [p.cmdline()[1:] for p in members if p.pid != supervisor.pid] == [["-m", processes.TRAINER, str(run.path)]]
    launch_yaml = json.loads(run.launch_file.read_text())
    assert launch_yaml["mixed_precision"] == "no" and launch_yaml["num_processes"] == 1
    trainer = [p for p in members if processes._is_worker(p)]
    assert len(trainer) == 1
    trainer[0].kill()
    killed = time.monotonic()
    assert until(lambda: (s := reader.state(run)[0]) not in ("running", "stopping") and s) == "failed"
    print(f"failed with its cause after {time.monotonic() - killed:.1f} s")
    found = storage.read_json(run.exit_file)
    assert found["signal"] == signal.SIGKILL and found["error"]["code"] == "killed"
    assert "Resume continues from checkpoint-" in found["error"]["hint"] and not alive(members)
    supervisor.wait(30)

    assert launch.resume(run, reader) == 2
    supervisor = launch.spawn(run, 2)
    until(lambda: (s := reader.history(run)).resumes and s.step > s.resumes[-1]["from_step"])
    members = processes.marked(run.path)
    supervisor.kill()
    supervisor.wait()
    killed = time.monotonic()
    until(lambda: reader.state(run)[0] == "interrupted" and not alive(members))
    print(f"interrupted, and no process left, after {time.monotonic() - killed:.1f} s")

    shell = subprocess.Popen([sys.executable, "-m", "studio.train", str(run.path)], cwd=ROOT, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=dict(os.environ))
    until(lambda: len((s := reader.history(run)).resumes) == 2 and s.step > s.resumes[-1]["from_step"])
    shell.send_signal(signal.SIGINT)
    printed, _ = shell.communicate(timeout=120)
    assert shell.returncode == 0, printed
    assert reader.state(run)[0] == "stopped" and not processes.marked(run.path)
    step = reader.history(run).step
    assert next(run.valid_checkpoints())[1]["step"] == step
    assert f"stopped at step {step}" in printed and f"resume: python -m studio.train {run.path}" in printed
    assert "loss" in printed


def test_a_whole_run_in_a_machine_without_any_network(home: Path) -> None:
    alone = ["unshare", "-rn"]
    probe = subprocess.run([*alone, "true"], capture_output=True, text=True)
    if probe.returncode and not (os.environ.get("CI") == "true" and os.geteuid() == 0):
        pytest.skip(f"no network namespace can be made here: {probe.stderr.strip()}")
    assert probe.returncode == 0, probe.stderr
    refused = subprocess.run([*alone, sys.executable, "-c", "import socket; socket.create_connection(('1.1.1.1', 53))"],
                             capture_output=True, text=True)
    assert "Network is unreachable" in refused.stderr
    settings = {"data.resolution": 32, "train.max_steps": 2, "train.batch_size": 1, "train.mixed_precision": "no",
                "optim.lr_warmup_steps": 0, "sample.prompts": json.dumps(["a fox"]), "sample.num_inference_steps": 2}
    flags = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    environment = {k: v for k, v in os.environ.items() if k not in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")}
    done = subprocess.run([*alone, sys.executable, "-m", "studio.train", "--name", "alone", *flags], cwd=ROOT,
                          env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "finished at step 2" in done.stdout
    named = re.findall(r"^(starting|loading|caching|sampling|first step)\b.*  \d+\.\d s", done.stdout, re.MULTILINE)
    assert list(dict.fromkeys(named))[:3] == ["starting", "loading", "caching"], done.stdout
    (run,) = runs.every(home)
    folder, manifest = next(run.valid_checkpoints())
    assert manifest["step"] == 2 and storage.verify(folder)
    assert runs.EventReader().state(run)[0] == "finished" and list(run.samples.glob("*.webp"))
    phases = [event for event in events.read(run.events_file)[0] if event["kind"] == "phase"]
    told = [phase for phase in phases if phase["phase"] == "caching" and phase["done"]]
    apart = [after["mono"] - before["mono"] for before, after in pairwise(told[:-1])]  # the last is always told
    assert told[-1]["done"] == told[-1]["total"] > len(told) and all(gap >= 0.24 for gap in apart)


def test_wrong_calls_are_one_line_per_fault(home: Path, tmp_path: Path) -> None:

    def call(*words: str) -> list[str]:
        done = subprocess.run([sys.executable, "-m", "studio.train", *words], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 2 and not done.stdout, done
        return done.stderr.splitlines()

    file = tmp_path / "my.json"
    file.write_text(json.dumps({"model": {"base": "/nowhere"}, "optim": {"nope": 1}}))
    lines = call("--config", str(file), "--train.max_steps", "0")
    assert {line.split(":")[0] for line in lines} == {"model.base", "optim.nope", "train.max_steps"}
    assert len(call(str(tmp_path))) == 1
    assert len(call("--config", str(tmp_path / "none.json"))) == 1
    file.write_text("{")
    assert len(call("--config", str(file))) == 1


def test_there_is_a_flag_for_every_setting_and_help_loads_no_torch() -> None:
    done = subprocess.run([sys.executable, "-X", "importtime", "-m", "studio.train", "--help"], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0 and not any(line.endswith(" torch") for line in done.stderr.splitlines())
    for section in config.schema()["sections"]:
        assert all(f"--{field['path']}" in done.stdout for field in section["fields"])


def test_waiting_threads_sleep_unless_told_to_spin(run: runs.Run) -> None:
    from studio.launch import command

    for told, policy in (("sleep", "PASSIVE"), ("spin", "ACTIVE")):
        settings = config.load({"compute": {"thread_wait": told, "num_threads": 2}})
        found = command.trainer_environment(run, settings, 0)
        assert (found["OMP_WAIT_POLICY"], found["OMP_NUM_THREADS"]) == (policy, "2")
