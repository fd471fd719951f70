"""Failures for real: a disk that is full and has room again, and a process that gets no more memory."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from studio.folders import events

from .conftest import Make, child, curve, fingerprint, picture, told, train


@pytest.fixture
def small_disk(home: Path) -> Iterator[Path]:
    """The home on a disk of its own of 24 MB."""
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(home)]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no small disk can be mounted here: {made.stderr.strip()}")
    yield home
    subprocess.run(["umount", "--lazy", str(home)], check=True)


def fill(path: Path) -> None:
    """Take every byte that is left on the disk."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for size in (1 << 16, 1 << 12, 1):
        try:
            while os.write(handle, bytes(size)) == size:
                pass
        except OSError:
            continue
    os.close(handle)


def at_steps(monkeypatch: pytest.MonkeyPatch, actions: dict[int, Any]) -> None:
    """Do something right after the events of these steps."""
    written = events.EventWriter.step

    def step(self: events.EventWriter, *args: Any, **fields: Any) -> None:
        written(self, *args, **fields)
        actions.get(fields["step"], lambda: None)()

    monkeypatch.setattr(events.EventWriter, "step", step)


def test_a_save_on_a_full_disk_is_tried_again_until_there_is_room(
        small_disk: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = make()
    assert train(plain) == "finished"
    run, filler = make(), small_disk / "filler"
    at_steps(monkeypatch, {2: lambda: fill(filler), 5: filler.unlink})
    assert train(run) == "finished"
    saves = told(run, "checkpoint")
    assert [(e["step"], e["ok"]) for e in saves] == [(3, False), (4, False), (6, True), (8, True)]
    assert all("No space left" in e["error"] for e in saves if not e["ok"])
    assert [e["step"] for e in told(run, "step")] == list(range(1, 9)), "an event was lost"
    assert [e["seq"] for e in told(run)] == list(range(1, len(told(run)) + 1))
    assert "sampling_failed" in [e["code"] for e in told(run, "warning")]
    assert curve(run) == curve(plain) and fingerprint(run, 8) == fingerprint(plain, 8)
    assert not list(run.checkpoints.glob(".staging-*"))


def test_a_disk_that_stays_full_ends_the_run_by_name(
        small_disk: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run, filler = make(), small_disk / "filler"
    with monkeypatch.context() as patch:
        at_steps(patch, {4: lambda: fill(filler)})
        patch.setattr("studio.train.loop._end", _freeing(filler))
        assert train(run) == "failed"
    end = told(run, "end")[0]
    assert end["error"]["code"] == "disk_full" and "Free some space" in end["error"]["hint"] and end["step"] == 8
    assert [p.name for p in run.checkpoints.glob("checkpoint-*")] == ["checkpoint-3"]
    assert train(run) == "finished" and told(run, "resumed")[0]["checkpoint"] == "checkpoint-3"


def _freeing(filler: Path) -> Any:
    """The end of a run, with room for its last word."""
    from studio.train import loop

    end = loop._end

    def free_then_end(*args: Any) -> None:
        filler.unlink(missing_ok=True)
        end(*args)

    return free_then_end


def test_no_more_memory_is_named_with_what_to_lower(make: Make, home: Path) -> None:
    run = make(rows=[{**picture(home, 1), "repeats": 4000}], sample={"prompts": [], "every_steps": 0},
               train={"batch_size": 4000, "max_steps": 3})
    done = child(run, "memory:1")
    assert done.returncode == 1, done.stderr
    error = told(run, "end")[0]["error"]
    assert error["code"] == "out_of_memory", error
    assert "batch size (now 4000; gradient accumulation, now 1" in error["hint"]
    assert "resolution (now 32)" in error["hint"] and "gradient checkpointing (now off)" in error["hint"]
