"""The trash: everything deleted is listed with whose it was, comes back where it was, and goes after seven days."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from studio import datasets, presets, storage, trash
from studio.folders import runs, work
from studio.folders.runs import Refused

from .test_runs import new_run

ROOT = Path(__file__).resolve().parents[1]
DAY = 86400.0


def filled(home: Path) -> dict[str, str]:
    """One of each kind in the trash; its name by kind."""
    run, kept = new_run(home), new_run(home)
    made, whole = datasets.draft(home, "Birds", "ann"), datasets.draft(home, "Cats", "ann")
    job = work.submit(home, "measure", {}, name="A job", owner="ann", light=True)
    preset = presets.save(home, name="Mine", owner="ann", config={})
    with storage.staged(kept.checkpoints / "checkpoint-4", {"step": 4}) as folder:
        (folder / "w").write_bytes(b"w" * 1000)
    (whole.path / "picture").write_bytes(b"p")
    whole.receive([("a.png", whole.path / "picture")])
    runs.delete(home, run)
    made.delete()
    work.discard(home, job)
    presets.delete(home, preset["id"])
    storage.to_trash(kept.checkpoints / "checkpoint-4", home / "trash")
    storage.to_trash(whole.incoming, home / "trash")
    return {"run": run.id, "dataset": made.id, "job": job.id, "preset": preset["id"], "checkpoint": "checkpoint-4",
            "batches": "incoming"}


def test_everything_deleted_is_listed_and_comes_back(home: Path) -> None:
    names = filled(home)
    found = {entry.kind: entry for entry in trash.entries(home)}
    assert {kind: entry.name.removesuffix(".json") for kind, entry in found.items()} == names
    assert found["dataset"].owner == "ann" and found["dataset"].title == "Birds" and found["batches"].title == "Cats"
    assert found["checkpoint"].size() == sum(p.stat().st_size for p in found["checkpoint"].path.iterdir()) > 1000
    for entry in found.values():
        assert entry.place is not None and abs(entry.gone_at - time.time() - 7 * DAY) < 5
        trash.restore(entry)
        assert (home / entry.place).exists() and trash.find(home, entry.id) is None
    assert runs.find(home, names["run"]).rows() and datasets.find(home, names["dataset"]).name == "Birds"
    assert work.Job.find(home, names["job"]).record()["name"] == "A job" and presets.find(home, names["preset"])
    assert [names for data in datasets.every(home) if not data.read_only for _, names in data.batches()] == [["a.png"]]


def test_what_came_back_is_not_cleared_away_at_once(home: Path) -> None:
    job = work.submit(home, "measure", {}, name="Old", owner="ann", light=True)
    storage.write_json(job.process_file, {"attempt": 1, "began": 0.0})
    old = time.time() - 8 * DAY
    os.utime(job.record_file, (old, old))
    assert [gone.id for gone in work.sweep_jobs(home, time.time())] == [job.id]
    trash.restore(trash.entries(home)[0])
    assert work.sweep_jobs(home, time.time()) == [] and job.record()["name"] == "Old"


def test_batches_come_back_beside_those_that_came_since(home: Path) -> None:
    made = datasets.draft(home, "Cats", "ann")
    for name in ("first", "second"):
        (made.path / name).write_bytes(b"p")
        made.receive([(name, made.path / name)])
        if name == "first":
            storage.to_trash(made.incoming, home / "trash")
    trash.restore(trash.entries(home)[0])
    assert sorted(names for _, names in made.batches()) == [["first"], ["second"]] and not trash.entries(home)


def test_what_cannot_come_back_says_why(home: Path) -> None:
    filled(home)
    found = {entry.kind: entry for entry in trash.entries(home)}
    (home / found["preset"].place).write_text("{}")
    with pytest.raises(Refused, match="something else lies there"):
        trash.restore(found["preset"])
    run = runs.Run(found["checkpoint"].parent)
    with run.lock, pytest.raises(Refused, match="still running"):
        trash.restore(found["checkpoint"])
    with run.worker_lock, pytest.raises(Refused, match="still running"):
        trash.restore(found["checkpoint"])
    runs.delete(home, run)
    with pytest.raises(Refused, match="put that back first"):
        trash.restore(found["checkpoint"])
    assert {entry.kind for entry in trash.entries(home)} == {*found}


def test_what_an_older_studio_deleted(home: Path) -> None:
    """Its names said no more than when; a run or a data set is known by what it holds."""
    run = new_run(home)
    now = int(time.time())
    (home / "trash").mkdir()
    os.rename(run.path, home / "trash" / f"{now}-{run.id}-0123abcd")
    (home / "trash" / f"{now}-checkpoint-4-89abcdef").mkdir()
    (home / "trash" / "something else").mkdir()
    found = {entry.name: entry for entry in trash.entries(home)}
    assert found.keys() == {run.id, "checkpoint-4"} and found["checkpoint-4"].place is None
    with pytest.raises(Refused, match="not known where"):
        trash.restore(found["checkpoint-4"])
    trash.restore(found[run.id])
    assert runs.find(home, run.id).rows()


def test_the_shell_lists_restores_and_empties(home: Path) -> None:
    names = filled(home)

    def shell(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "studio", "trash", *words], cwd=ROOT, capture_output=True,
                              text=True, timeout=60)

    listed = shell("list").stdout.splitlines()
    assert len(listed) == 6 and any("Birds" in line and "7.0 days left" in line for line in listed)
    ids = {line.split()[0]: line for line in listed}
    mine = next(entry_id for entry_id, line in ids.items() if names["run"] in line)
    assert shell("restore", mine).stdout.startswith("restored: run") and runs.find(home, names["run"])
    refused = shell("restore", mine, "../../etc")
    assert refused.returncode == 1 and refused.stderr.count("there is nothing of that id") == 2
    other = next(entry_id for entry_id, line in ids.items() if "Birds" in line)
    done = shell("empty", other)
    assert done.returncode == 0 and "removed 1" in done.stdout and len(trash.entries(home)) == 4
    assert "removed 4" in shell("empty").stdout and shell("list").stdout == "The trash is empty.\n"
    assert shell().returncode == 2 and runs.find(home, names["run"])


def test_a_broken_removal_is_finished_the_next_time(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(home)
    for entry in trash.entries(home):
        with monkeypatch.context() as patch:
            patch.setattr("shutil.rmtree", lambda *_, **__: None)
            trash.remove(entry)
    assert trash.entries(home) == [], "nothing is there by half"
    trash.TrashSweeper(home).look()
    assert list((home / "trash").iterdir()) == []


class Clock:
    """A clock that is set by hand, and the time that passes."""

    def __init__(self, home: Path):
        self.home, self.now, self.passed = home, time.time(), 100.0
        self.keeper = trash.TrashSweeper(home)

    def look(self, hours: float = 0.0, jump_days: float = 0.0) -> int:
        """Let time pass, let the clock jump, look."""
        self.passed += 3600 * hours
        self.now += 3600 * hours + DAY * jump_days
        return self.keeper.look(self.now, self.passed)

    def restart(self) -> None:
        """Another server comes."""
        self.keeper, self.passed = trash.TrashSweeper(self.home), 5.0


@pytest.fixture
def clock(home: Path) -> Clock:
    new_run(home)
    runs.delete(home, runs.every(home)[0])
    return Clock(home)


def test_seven_days_and_no_less(clock: Clock) -> None:
    assert sum(clock.look(hours=1) for _ in range(7 * 24 - 1)) == 0
    assert clock.look(hours=2) == 1


def test_a_clock_that_jumps_and_comes_back_takes_nothing(clock: Clock) -> None:
    clock.look()
    assert clock.look(hours=1, jump_days=30) == 0, "against the time that passed"
    assert sum(clock.look(hours=1) for _ in range(20)) == 0
    assert clock.look(hours=1, jump_days=-30) == 0 and clock.look(hours=1) == 0
    clock.restart()
    assert clock.look(jump_days=40) == 0, "between two servers"
    assert clock.look(hours=1, jump_days=-40) == 0


def test_a_clock_that_was_put_right_is_believed_after_a_day(clock: Clock) -> None:
    clock.look()
    assert clock.look(hours=1, jump_days=30) == 0
    assert sum(clock.look(hours=1) for _ in range(23)) == 0 and clock.look(hours=2) == 1


def test_a_studio_that_is_seldom_there_empties_its_trash_too(clock: Clock) -> None:
    went = 0
    for _ in range(4):  # an hour a week
        clock.restart()
        went += clock.look() + clock.look(hours=1)
        clock.now += 7 * DAY
    assert went == 1
