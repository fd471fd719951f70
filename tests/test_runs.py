"""Run folders: appear whole, are found by id alone, tell their state, and stay readable whatever is in their files."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from studio import config, storage
from studio.folders import events, runs

ROWS = [{"image": "ab" * 32, "ext": "webp", "width": 8, "height": 8, "captions": ["\u00e9 cat"], "split": "train",
         "name": f"{n}.webp"} for n in range(3)]


def new_run(home: Path, **more: Any) -> runs.Run:
    """A queued run with three rows."""
    given: dict[str, Any] = {"name": "first", "owner": "", "config": config.load({}), "rows": ROWS, **more}
    return runs.create(home, **given)


def begin(run: runs.Run, attempt: int = 1) -> events.EventWriter:
    """What a supervisor and a trainer leave once they began."""
    storage.write_json(run.process_file, {"attempt": attempt, "pid": 1})
    writer = events.EventWriter(run.events_file)
    writer.add("attempt", attempt=attempt, total_steps=10)
    return writer


def test_a_new_run_is_whole_and_queued(home: Path) -> None:
    run = new_run(home, extra={"dataset": {"id": "sample"}}, parent={"id": "x"})
    assert runs.ID.fullmatch(run.id) and runs.every(home) == [run] and runs.find(home, run.id) == run
    assert sorted(p.name for p in run.path.iterdir()) == [
        "checkpoints", "config.json", "control", "dataset.jsonl", "run.json", "samples"]
    assert run.config() == config.load({}) and run.rows() == ROWS
    record = run.record()
    assert (record["name"], record["attempt"], record["dataset"]) == ("first", 1, {"id": "sample"})
    assert runs.EventReader().state(run)[0] == "queued" and not run.alive()


def test_ids_are_never_the_same(home: Path) -> None:
    assert len({new_run(home).id for _ in range(20)}) == 20 == len(runs.every(home))


@pytest.mark.parametrize("fault", [ValueError("rows"), KeyboardInterrupt()])
def test_a_run_that_cannot_be_written_leaves_nothing(home: Path, fault: BaseException) -> None:
    def rows() -> Any:
        yield ROWS[0]
        raise fault

    with pytest.raises(type(fault)):
        new_run(home, rows=rows())
    assert list((home / "runs").iterdir()) == [] and runs.every(home) == []


def test_nobody_sees_a_run_before_it_is_whole(home: Path) -> None:
    seen: list[list[runs.Run]] = []

    def rows() -> Any:
        seen.append(runs.every(home))
        yield from ROWS

    new_run(home, rows=rows())
    assert seen == [[]] and len(runs.every(home)) == 1


@pytest.mark.parametrize("name", ["", "x", "../x", "..", "../../etc/passwd", "A" * 32, "0" * 31, "0" * 33, "0" * 32,
                                  "/" + "0" * 31, "0" * 32 + "\n", "\u0660" * 32, ".staging-" + "0" * 32, "0\x00" * 16])
def test_what_is_no_run_is_not_found(home: Path, name: str) -> None:
    new_run(home)
    with pytest.raises(runs.NotFound):
        runs.find(home, name)


def test_foreign_things_among_the_runs_are_no_runs(home: Path) -> None:
    run = new_run(home)
    (home / "runs" / ("f" * 32)).write_text("a file")
    (home / "runs" / ".staging-x").mkdir()
    (home / "runs" / "notes").mkdir()
    assert runs.every(home) == [run]
    with pytest.raises(runs.NotFound):
        runs.find(home, "f" * 32)


def test_no_home_yet_has_no_runs(tmp_path: Path) -> None:
    assert runs.every(tmp_path / "nowhere") == []


def test_changes_from_many_threads_are_all_kept(home: Path) -> None:
    run = new_run(home)
    threads = [threading.Thread(target=run.update, kwargs={f"key{n}": n}) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(run.record()[f"key{n}"] == n for n in range(8)) and run.record()["name"] == "first"


def test_requests_wait_in_order_until_they_are_answered(home: Path) -> None:
    run = new_run(home)
    ids = [run.request(kind, step=n) for n, kind in enumerate(("sample", "save", "stop"))]
    (run.control / "00000-foreign.json").write_text("{")
    (run.control / "00001-foreign.json").write_text('{"kind": "shell", "args": {}}')
    assert [(name, kind, args) for name, kind, args, _ in run.requests()] == [
        (ids[0], "sample", {"step": 0}), (ids[1], "save", {"step": 1}), (ids[2], "stop", {"step": 2})]
    run.requests()[0][3].unlink()
    assert [name for name, *_ in run.requests()] == ids[1:]
    with pytest.raises(ValueError, match="stop, cancel"):
        run.request("explode")


def test_a_run_is_alive_while_either_lock_is_held(home: Path) -> None:
    run = new_run(home)
    begin(run).close()
    for lock in (run.lock, run.worker_lock):
        assert lock.acquire() and run.alive()
        assert runs.EventReader().state(run)[0] == "running"
        with pytest.raises(runs.Refused, match="cancel"):
            runs.delete(home, run)
        lock.release()
    assert runs.EventReader().state(run)[0] == "interrupted"


def test_a_deleted_run_lies_in_the_trash(home: Path) -> None:
    run = new_run(home)
    runs.delete(home, run)
    assert runs.every(home) == [] and len(list((home / "trash").iterdir())) == 1
    with pytest.raises(runs.NotFound):
        runs.find(home, run.id)


def test_deleting_holds_the_lock_so_that_no_supervisor_begins(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, held, move = new_run(home), [], storage.to_trash

    def to_trash(path: Path, trash: Path) -> Path:
        held.append(storage.is_locked(path / "lock"))
        return move(path, trash)

    monkeypatch.setattr(storage, "to_trash", to_trash)
    runs.delete(home, run)
    assert held == [True]


def test_resume_asks_for_the_next_attempt_and_drops_old_requests(home: Path) -> None:
    run, reader = new_run(home), runs.EventReader()
    with pytest.raises(runs.Refused, match="queue"):
        runs.resume(run, reader)
    begin(run).end("paused", 3)
    run.request("save")
    assert runs.resume(run, reader) == 2 and run.attempts() == (2, 1) and run.requests() == []
    assert reader.state(run)[0] == "queued"
    begin(run, attempt=2).end("finished", 10)
    with pytest.raises(runs.Refused, match="more of them first"):
        runs.resume(run, reader)


def test_a_reader_reads_only_what_is_new(home: Path) -> None:
    run, reader = new_run(home), runs.EventReader()
    writer = begin(run)
    writer.step(1, 0.5, 1e-4, None, 8, 0.1)
    assert reader.history(run).step == 1
    data = run.events_file.read_bytes()
    run.events_file.write_bytes(b"\n" * len(data))  # what was read once is not read again
    events.EventWriter(run.events_file).step(2, 0.4, 1e-4, None, 8, 0.1)
    assert list(reader.history(run).curve.step) == [1, 2]
    assert list(runs.EventReader().history(run).curve.step) == [2]
    reader.forget(run)
    assert list(reader.history(run).curve.step) == [2]


def test_a_reader_begins_again_when_the_file_shrinks(home: Path) -> None:
    run, reader = new_run(home), runs.EventReader()
    writer = begin(run)
    for step in range(1, 5):
        writer.step(step, 0.5, 1e-4, None, 8, 0.1)
    assert reader.history(run).step == 4
    run.events_file.unlink()
    begin(run).step(1, 0.5, 1e-4, None, 8, 0.1)
    assert list(reader.history(run).curve.step) == [1]


def test_checkpoints_newest_first_without_those_that_were_never_finished(home: Path) -> None:
    run = new_run(home)
    for step in (5, 10, 100):
        with storage.staged(run.checkpoints / f"checkpoint-{step}", {"step": step}) as staging:
            (staging / "weights").write_bytes(b"w")
    (run.checkpoints / "checkpoint-10" / storage.MANIFEST).write_text("{")
    for foreign in ("checkpoint-x", "checkpoint-\u00b2", f"{storage.STAGING}checkpoint-7"):
        (run.checkpoints / foreign).mkdir()
    assert [(path.name, facts["step"]) for path, facts in run.valid_checkpoints()] == [
        ("checkpoint-100", 100), ("checkpoint-5", 5)]


STATE_FILES = ("run.json", "process.json", "exit.json", "events.jsonl", "config.json")
KEYS = st.sampled_from(["name", "owner", "created", "attempt", "rank", "returncode", "error", "result", "seq", "kind"])
ANY = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
                   lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=6)
CONTENT = st.binary(max_size=30) | ANY.map(lambda value: json.dumps(value).encode()) | st.sampled_from(
    [b"", b"{", b"null", b"[" * 100_000, b"\xff\xfe", b'{"attempt": 1e400}', b"9" * 5000])


@pytest.fixture
def two(home: Path) -> tuple[runs.Run, runs.Run]:
    """A run that began, and one beside it that waits."""
    run = new_run(home)
    begin(run).close()
    storage.write_json(run.exit_file, {"attempt": 1, "returncode": 1})
    return run, new_run(home, name="other")


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(STATE_FILES), CONTENT)
def test_whatever_is_in_a_state_file_it_is_told_or_called_damaged(two: tuple[runs.Run, runs.Run], name: str,
                                                                  content: bytes) -> None:
    run, other = two
    home, file = run.path.parent.parent, run.path / name
    good = file.read_bytes()
    file.write_bytes(content)
    try:
        assert set(runs.every(home)) == {run, other}
        assert runs.find(home, run.id) == run and runs.EventReader().state(other)[0] == "queued"
        assert runs.EventReader().state(run)[0] in events.STATES
        run.config()
    except storage.Corrupt as damage:
        assert name in str(damage)
    except config.ConfigError as error:
        assert name == "config.json" and error.problems
    finally:
        file.write_bytes(good)


@pytest.mark.parametrize("result", ["exploded", 5, {}])
def test_a_result_nobody_knows_is_no_state(two: tuple[runs.Run, runs.Run], result: Any) -> None:
    run, _ = two
    storage.write_json(run.exit_file, {"attempt": 1, "result": result})
    assert runs.EventReader().state(run)[0] == "interrupted"
    events.EventWriter(run.events_file).add("end", result=result, step=1)
    assert runs.EventReader().state(run)[0] == "interrupted"


def test_a_state_file_that_is_missing_is_named(home: Path) -> None:
    run = new_run(home)
    os.unlink(run.config_file)
    with pytest.raises(storage.Corrupt, match="config.json"):
        run.config()
    os.unlink(run.record_file)
    with pytest.raises(storage.Corrupt, match="run.json"):
        run.record()
