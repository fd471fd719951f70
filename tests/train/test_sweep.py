"""Killed at seeded random moments, over every recipe and through the command line: the resumed run is the same run."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from studio import config
from studio.folders import runs
from studio.launch import processes

from . import sweep
from .conftest import curve

ROOT = Path(__file__).resolve().parents[2]


def python(*args: str, **options: Any) -> subprocess.Popen[str]:
    """This interpreter from the project's folder, its output kept as text."""
    return subprocess.Popen([sys.executable, *args], cwd=ROOT, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, **options)


@pytest.mark.timeout(900)
def test_forty_random_kills_are_exact() -> None:
    done = python("-m", "tests.train.sweep", "37")
    told = done.communicate(timeout=850)[0]
    assert done.returncode == 0, told
    exact = [line for line in told.splitlines() if line.startswith("exact")]
    assert len(exact) == 37 and all(any(line.startswith(f"exact  {recipe}:") for line in exact)
                                    for recipe in sweep.RECIPES), told


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", ["1", "2"])
def test_ten_random_kills_of_recipes_together_are_exact(seed: str) -> None:
    done = python("-m", "tests.train.sweep", "10", "--together", "--seed", seed)
    told = done.communicate(timeout=850)[0]
    assert done.returncode == 0, told
    exact = [line for line in told.splitlines() if line.startswith("exact")]
    assert len(exact) == 10 and all(any(line.startswith(f"exact  {recipe}:") for line in exact)
                                    for recipe in sweep.TOGETHER), told


def killed_by_hand(run: runs.Run, events: int) -> None:
    """`python -m studio.train RUN`, and kill -9 of its trainer once there are so many events."""
    shell = python("-m", "studio.train", str(run.path))
    last = time.monotonic() + 120
    while not run.events_file.is_file() or run.events_file.read_bytes().count(b"\n") < events:
        assert shell.poll() is None and time.monotonic() < last, shell.communicate()[0]
        time.sleep(0.02)
    trainers = [p for p in processes.marked(run.path) if processes._is_worker(p)]
    for process in trainers:
        process.kill()
    told = shell.communicate(timeout=60)[0]
    assert shell.returncode == 1 and "resume: python -m studio.train" in told, told
    assert trainers and not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in trainers)


@pytest.mark.parametrize("point", range(3))
def test_kills_through_the_command_line(home: Path, monkeypatch: pytest.MonkeyPatch, point: int) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    draw, recipe = random.Random(point), list(sweep.RECIPES)[point]
    longer = config.merge(sweep.RECIPES[recipe], {"train": {"max_steps": 40}, "checkpoint": {"every_steps": 7}})
    monkeypatch.setitem(sweep.RECIPES, recipe, longer)
    sweep.begin(home)
    whole, run = sweep.make(home, recipe), sweep.make(home, recipe)
    done = python("-m", "studio.train", str(whole.path))
    told = done.communicate(timeout=120)[0]
    assert done.returncode == 0, told
    killed_by_hand(run, draw.randint(5, 45))
    done = python("-m", "studio.train", str(run.path))
    told = done.communicate(timeout=120)[0]
    assert done.returncode == 0, told
    assert sweep.result(run) == sweep.result(whole)
    assert len(curve(run)) == 40 and os.listdir(run.path / "control") == []
