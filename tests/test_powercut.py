"""A sample of `python -m benchmarks.powercut`: what was acknowledged is there in every state of the disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest

from benchmarks.powercut import __main__ as powercut
from benchmarks.powercut import real, trace
from benchmarks.powercut.disk import Change, Recording
from benchmarks.powercut.judge import Judge
from benchmarks.powercut.states import MODELS, Crashes
from studio import presets

SAMPLE = {  # states of each model, of operations that differ in what they ask of the disk
    "batches": 30, "add_more": 20, "compacting": 15, "branch": 20, "bundle_import": 20, "edits_and_resume": 25,
    "delete_run": 10, "restore": 10, "presets": 15, "jobs": 25, "votes": 10, "sessions": 10, "supervise": 10,
    "train": 25}


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder on a disk that is quick."""
    quick = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="powercut-", dir=quick) as folder:
        yield Path(folder)


@pytest.mark.skipif(trace.wanting() is not None, reason=str(trace.wanting()))
@pytest.mark.parametrize("name", SAMPLE)
def test_nothing_acknowledged_is_lost_or_half_shown(place: Path, name: str) -> None:
    verdicts = powercut.examine(name, place, SAMPLE[name], seed=1)
    assert len(verdicts) >= SAMPLE[name]
    told = [f"{v.state.model} after {v.state.after}, {v.state.how}: {[*v.lost, *v.half, *v.crashed]}"
            for v in verdicts if v.bad and not powercut.excused(name, v)]
    assert not told, "\n".join(told)


def test_what_readmes_limits_name_is_of_the_weakest_model_alone() -> None:
    readme = (powercut.ROOT / "README.md").read_text()
    assert "rename between two folders" in " ".join(readme.split())
    assert set(powercut.NAMED.values()) == {"lies in"}


def changes_of(home: Path, preset: str, *, flushed: bool) -> list[Change]:
    """A preset kept by a program that renames before it flushes, or the other way round, and says so."""
    data, name = (home / "presets" / preset).read_bytes(), preset
    written = Change("write", 2, 10, data=data)
    flush, renamed = Change("flush", 3, 10), Change("name", 4, 10, 1, name)
    made = [Change("name", 1, 10, 1, ".part"), written]
    order = [flush, renamed, Change("flush", 5, 1)] if flushed else [renamed]
    return [*made, *order, Change("mark", 6, name="saved")]


@pytest.mark.parametrize("flushed", [True, False])
def test_a_program_that_renames_before_it_flushes_is_found(place: Path, flushed: bool) -> None:
    home, before = place / "home", place / "before"
    kept = presets.save(home, name="Mine", owner="local", config={"lora": {"rank": 4}})
    (before / "presets").mkdir(parents=True)
    recording = Recording(home, place / "marks", [], before)
    assert recording.before.folders[0] == {"presets": 1}
    for change in changes_of(home, f"{kept['id']}.json", flushed=flushed):
        recording.changes.append(change)
        recording.live.apply(change)
    judge = Judge(recording, place / "state")
    for model in MODELS:
        bad = [verdict for verdict in map(judge.judge, Crashes(recording).states(model, 100)) if verdict.bad]
        assert bool(bad) is not flushed, model
        assert flushed or any(f"preset/{kept['id']}" in line for verdict in bad for line in verdict.lost)


@pytest.mark.skipif(trace.wanting() is not None, reason=str(trace.wanting()))
def test_the_recording_gives_the_real_files_and_a_missing_call_is_noticed(
        place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    powercut.record("presets", place / "whole")
    monkeypatch.setattr(trace, "calls", lambda log, calls=trace.calls: (c for c in calls(log) if c.name != "rename"))
    with pytest.raises(powercut.NotTheSame):
        powercut.record("presets", place / "without")


@pytest.mark.parametrize("name", ["batches", "delete_run", "branch", "jobs", "train"])
def test_on_a_real_ext4(tmp_path: Path, name: str) -> None:
    try:
        with closing(real.cuts(name, tmp_path)) as cuts:
            found = list(islice(cuts, 16))
    except (real.CannotMount, FileNotFoundError) as error:
        pytest.skip(f"no ext4 can be mounted here: {error}")
    assert len(found) >= 2
    assert not [told for told in found if told[1]], found
