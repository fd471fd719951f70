"""Disks that refuse: what raised was not done, what must be said can be said, and each refusal has words."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from studio import datasets, presets, storage
from studio.folders import events, requests, runs
from studio.storage import faults
from studio.storage.spare import Spare

from .disks import ext4, fill, read_only, tmpfs
from .test_runs import new_run


def failing(monkeypatch: pytest.MonkeyPatch, name: str, number: int, code: int = errno.EIO) -> None:
    """Let the n-th call of an `os` function fail once."""
    real, calls = getattr(os, name), 0

    def call(*args: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            raise OSError(code, os.strerror(code))
        return real(*args, **named)

    monkeypatch.setattr(os, name, call)


def changes(home: Path) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """Things that are done in one go: how, and what shows whether they were."""
    made = datasets.draft(home, "Birds", "local")
    made.add_rows([{"image": "a" * 64, "ext": "webp", "width": 9, "height": 9, "captions": ["a bird"], "split": "train",
                    "name": "a.png"}], {"error": None})
    run, doomed = new_run(home), new_run(home)
    preset = presets.save(home, name="Mine", owner="local", config={})
    control = run.control
    return {
        "caption": (lambda: made.set_captions("a" * 64, ["changed"]), lambda: made.row("a" * 64)["captions"]),
        "name": (lambda: made.rename("Other"), lambda: made.name),
        "record": (lambda: run.update(name="renamed"), lambda: run.record()["name"]),
        "edit": (lambda: run.add_edit({"id": "", "step": 1, "time": 0.0, "config": {"train": {"max_steps": 9}}}),
                 lambda: len(run.edits())),
        "stop": (lambda: requests.ask(control, "stop", {}, 1), lambda: len(run.requests())),
        "sample": (lambda: requests.ask(control, "sample", {"prompt": "x"}, 1), lambda: len(run.requests())),
        "preset": (lambda: presets.save(home, name="New", owner="local", config={}),
                   lambda: len(presets.of(home, "local"))),
        "delete preset": (lambda: presets.delete(home, preset["id"]), lambda: len(presets.of(home, "local"))),
        "delete run": (lambda: runs.delete(home, doomed), lambda: len(runs.every(home))),
        "delete data set": (made.delete, lambda: len(datasets.every(home))),
        "new run": (lambda: new_run(home), lambda: len(runs.every(home))),
        "new data set": (lambda: datasets.draft(home, "x", "local"), lambda: len(datasets.every(home))),
    }


NAMES = ("caption", "name", "record", "edit", "stop", "sample", "preset", "delete preset", "delete run",
         "delete data set", "new run", "new data set")


@pytest.mark.parametrize("function", ["fsync", "rename", "replace", "mkdir"])
@pytest.mark.parametrize("name", NAMES)
def test_what_raised_was_not_done_and_can_be_done_again(home: Path, monkeypatch: pytest.MonkeyPatch, name: str,
                                                        function: str) -> None:
    """Each flush and rename fails once, one after the other: the error is the disk's, and nothing has changed."""
    do, look = changes(home)[name]
    before, failed = look(), 0
    for number in range(1, 30):
        with monkeypatch.context() as patch:
            failing(patch, function, number)
            try:
                do()
                break
            except OSError as error:
                fault = faults.of(error)
        assert fault is faults.FAILING and look() == before, f"{function} {number}"
        failed += 1
    assert look() != before, "in the end it is done"
    assert failed or function != "fsync", "nothing is done without a flush"


@pytest.mark.parametrize("error, code", [
    (OSError(errno.ENOSPC, "x"), "disk_full"), (OSError(errno.EDQUOT, "x"), "disk_full"),
    (OSError(errno.EIO, "x"), "disk_failing"), (OSError(errno.EROFS, "x"), "disk_read_only"),
    (PermissionError(errno.EACCES, "x"), "disk_forbidden"), (OSError(errno.ENOLCK, "x"), "no_locks"),
    (OSError(errno.ENOTSUP, "x"), "no_locks"), (OSError(errno.EXDEV, "x"), "disk_apart"),
    (OSError(errno.EMFILE, "x"), "too_many_files"), (OSError(errno.EFBIG, "x"), "disk_limit"),
    (RuntimeError("[enforce fail at inline_container.cc:603] . unexpected pos 64 vs 0"), "disk_full"),
    (shutil.Error([("a", "b", "[Errno 28] No space left on device: 'b'")]), "disk_full"),
    (FileNotFoundError(errno.ENOENT, "x"), None), (ValueError("x"), None),
    (ConnectionRefusedError(errno.ECONNREFUSED, "x"), None)])
def test_each_refusal_has_words(error: Exception, code: str | None) -> None:
    fault = faults.of(error)
    assert (fault.code if fault else None) == code
    if fault:
        assert fault.message.endswith(".") and fault.hint.endswith(".") and "[Errno" not in fault.message
    raised = ValueError("a sentence")
    raised.__cause__ = error
    assert faults.of(raised) is fault


def test_a_full_disk_speaks_through_safetensors(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "1m") as disk, pytest.raises(Exception) as caught:
        save_file({"w": np.zeros(1 << 20, np.float32)}, disk / "w.safetensors")
    assert faults.of(caught.value) is faults.FULL


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_room_is_held_for_last_words(tmp_path: Path, kind: str) -> None:
    disk = tmp_path / "disk"
    with tmpfs(disk, "32m") if kind == "tmpfs" else ext4(tmp_path / "image", disk):
        spare = Spare(disk)
        spare.fill()
        (disk / "run").mkdir()
        writer = events.EventWriter(disk / "run" / "events.jsonl")
        fill(disk / "filler")
        said = {"result": "failed", "evidence": "x" * 20_000}
        for number in range(4):
            spare.write(disk / "run" / "exit.json", json.dumps({**said, "number": number}).encode())
        assert storage.read_json(disk / "run" / "exit.json") == {**said, "number": 3}
        for step in range(2000):  # 200 kB of events
            writer.step(step, 0.5, 1e-4, 1.0, 4, 0.1)
        writer.warning("disk_full", "told")
        told, _ = events.read(disk / "run" / "events.jsonl")
        assert [e["seq"] for e in told] == list(range(1, 2002)), "what the disk has room for by itself is there at once"
        requests.ask(disk / "run", "stop", {}, 1)
        writer.close()
        (disk / "filler").unlink()
        spare.fill()
        assert len(list((disk / "spare").iterdir())) == 8


def test_events_wait_in_memory_when_even_the_room_ahead_is_used(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "4m") as disk:
        writer = events.EventWriter(disk / "events.jsonl")
        fill(disk / "filler")
        for step in range(12_000):
            writer.step(step, 0.5, 1e-4, 1.0, 4, 0.1)
        assert len(events.read(disk / "events.jsonl")[0]) < 12_000
        with pytest.raises(OSError):
            writer.sync()
        (disk / "filler").unlink()
        writer.close()
        assert [e["step"] for e in events.read(disk / "events.jsonl")[0]] == list(range(12_000))


def test_a_flush_that_failed_is_done_again_with_all_that_it_was_for(tmp_path: Path,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel tells of a failed flush once, and forgets: what was not written has to be written once more."""
    writer = events.EventWriter(tmp_path / "events.jsonl")
    writer.warning("first", "x")
    written: list[bytes] = []
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda handle, data, at: written.append(data) or real(handle, data, at))
    with monkeypatch.context() as patch:
        failing(patch, "fsync", 1)
        writer.warning("second", "x")  # is no reason to end what is at work
    assert not written
    writer.sync()
    assert len(written) == 1 and b'"second"' in written[0] and b'"first"' not in written[0]
    writer.sync()
    assert len(written) == 1
    assert [e["code"] for e in events.read(tmp_path / "events.jsonl")[0]] == ["first", "second"]


def test_what_lies_on_another_disk_is_moved_whole(tmp_path: Path) -> None:
    (tmp_path / "home" / "runs" / "one").mkdir(parents=True)
    (tmp_path / "home" / "runs" / "one" / "file").write_text("x")
    with tmpfs(tmp_path / "home" / "trash") as trash:
        moved = storage.to_trash(tmp_path / "home" / "runs" / "one", trash)
        assert (moved / "file").read_text() == "x" and not (tmp_path / "home" / "runs" / "one").exists()
        assert sorted(p.name for p in trash.iterdir()) == [moved.name]
        storage.move(moved, tmp_path / "home" / "runs" / "one")
        assert (tmp_path / "home" / "runs" / "one" / "file").read_text() == "x" and not list(trash.iterdir())
        (trash / "part").write_text("new")
        (tmp_path / "file").write_text("old")
        storage.publish(trash / "part", tmp_path / "file")
        assert (tmp_path / "file").read_text() == "new" and not list(trash.iterdir())


def test_a_disk_without_links_gets_copies_that_are_flushed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = new_run(home)
    with storage.staged(run.checkpoints / "checkpoint-4", {"step": 4}) as folder:
        (folder / "unet").mkdir()
        (folder / "unet" / "weights").write_bytes(b"w" * 5000)

    def no_links(*_: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    flushed: list[str] = []
    real = os.fsync
    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(os, "fsync", lambda fd: flushed.append(os.readlink(f"/proc/self/fd/{fd}")) or real(fd))
    made = runs.branch(home, run, run.checkpoints / "checkpoint-4", name="b", owner="", config=run.config(), changes=[])
    weights = made.checkpoints / "checkpoint-4" / "unet" / "weights"
    assert weights.stat().st_nlink == 1 and storage.verify(weights.parents[1])["step"] == 4
    ends = ("checkpoint-4/unet/weights", "checkpoint-4/manifest.json", "checkpoint-4/unet", "checkpoint-4")
    for end in ends:
        assert any(path.endswith(end) and made.id in path for path in flushed), f"{end} was not flushed"


def test_a_read_only_disk_can_be_looked_at(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "home") as home:
        run = new_run(home)
        with storage.staged(run.checkpoints / "checkpoint-4", {"step": 4}) as folder:
            (folder / "w").write_bytes(b"w")
        with read_only(home):
            assert storage.Lock(run.checkpoints / "checkpoint-4.lease").acquire(shared=True), "a download needs no file"
            assert runs.EventReader().state(run)[0] == "queued" and not storage.write_cache(home / "cache" / "x", 1)
            Spare(home).fill()
            with pytest.raises(OSError) as caught:
                run.update(name="x")
        assert faults.of(caught.value) is faults.READ_ONLY and run.record()["name"] == "first"


LOCKS = """
import sys
from pathlib import Path
from studio import storage
from studio.storage import is_locked
path = Path(sys.argv[1])
path.touch()
print(is_locked(path), is_locked(path, unknown=True))
try:
    storage.Lock(path).acquire()
except OSError as error:
    from studio.storage import faults
    print(faults.of(error).code)
"""


def test_a_file_system_without_locks_refuses_and_can_be_looked_at(tmp_path: Path, strace: str) -> None:
    command = [strace, "-f", "-o", "/dev/null", "-e", "trace=flock", "-e", "inject=flock:error=ENOLCK",
               sys.executable, "-c", LOCKS, str(tmp_path / "lock")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).resolve().parents[1])
    if done.returncode and "Traceback" not in done.stderr:
        pytest.skip(f"strace cannot be used here: {done.stderr.strip()[:200]}")
    assert not done.returncode, done.stderr
    assert done.stdout.split() == ["False", "True", "no_locks"]


def test_the_same_trouble_is_told_once_an_hour(monkeypatch: pytest.MonkeyPatch,
                                               caplog: pytest.LogCaptureFixture) -> None:
    now = [1000.0]
    monkeypatch.setattr("studio.storage.faults.time", SimpleNamespace(monotonic=lambda: now[0]))
    log = faults.ThrottledLog(logging.getLogger("test"))
    for _ in range(500):
        log.tell("the queue", OSError(errno.EROFS, "Read-only file system"))
    assert len(caplog.records) == 1 and "read-only" in caplog.text and "Traceback" not in caplog.text
    log.tell("the queue", ValueError("another"))
    assert len(caplog.records) == 2
    now[0] += 3601
    log.tell("the queue", OSError(errno.EROFS, "Read-only file system"))
    assert len(caplog.records) == 3


def test_a_name_follows_whatever_the_clock_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    for now in (1_000, 2_000, 500, 500, 3_000):
        monkeypatch.setattr("studio.storage.disk.time", SimpleNamespace(time_ns=lambda now=now: now))
        names.append(storage.following(tmp_path))
        (tmp_path / names[-1]).touch()
    assert names == sorted(names) and [int(name[:20]) for name in names] == [1_000, 2_000, 2_001, 2_002, 3_000]


def test_one_key_for_everybody_and_never_an_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "session.key"
    path.touch()  # of a server that was killed between making and writing it
    assert storage.write_new(path, b"first", 0o600) == b"first" == storage.write_new(path, b"second")
    assert path.stat().st_mode & 0o777 == 0o600 and [p.name for p in tmp_path.iterdir()] == ["session.key"]
