"""Runs on a disk that is full, fails, or can only be read: they are ended as asked, each end has its reason, none is
ended by what need not end it, and the log stays short."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from studio import config, launch, storage, trash
from studio.folders import runs, work
from studio.launch import diagnosis, queue, webhook
from studio.launch.queue import Launcher
from studio.storage.spare import Spare

from ..disks import fill, read_only, tmpfs
from .conftest import Bench, wait_for

FILL_AND_FAIL = """
import os, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from studio.folders import events
from tests.disks import fill
run = Path(sys.argv[1])
writer = events.EventWriter(run / "events.jsonl")
writer.add("attempt", attempt=1, total_steps=9)
fill(run.parent.parent / "filler")
{then}
"""
ROOT = str(Path(__file__).resolve().parents[2])


@pytest.fixture
def small(home: Path) -> Iterator[Path]:
    """The home on a disk of 32 MB."""
    with tmpfs(home, "32m") as place:
        yield place


def program(then: str, run: runs.Run) -> list[str]:
    """A trainer that fills the disk, and then does this."""
    return [sys.executable, "-c", FILL_AND_FAIL.format(root=ROOT, then=then), str(run.path)]


@pytest.mark.parametrize("then, code", [
    ("sys.exit(1)", "disk_full"), ("sys.exit(0)", "disk_full"),
    ("raise OSError(28, 'No space left on device')", "disk_full"), ("os.kill(os.getpid(), 9)", "killed")])
def test_an_end_on_a_full_disk_has_its_reason(small: Path, bench: Bench, then: str, code: str) -> None:
    run = bench.run()
    bench.supervise(run, program(then, run)).wait(60)
    found = json.loads(run.exit_file.read_text())
    assert found["error"]["code"] == code, found
    if code == "disk_full":
        assert "disk of the studio is full" in found["error"]["message"] and "trash" in found["error"]["hint"]
        assert found["error"]["hint"].endswith("Then resume.")
    assert bench.state(run) == "failed"
    (small / "filler").unlink()
    assert runs.resume(run, runs.EventReader()) == 2
    assert bench.state(run) == "queued"


def test_a_queued_run_is_cancelled_and_deleted_on_a_full_disk(small: Path, bench: Bench) -> None:
    Spare(small).fill()
    storage.make_folder(small / "trash")  # as a server does when it starts
    some = [bench.run(str(n)) for n in range(3)]
    fill(small / "filler")
    for run in some:
        assert launch.cancel(run) and bench.state(run) == "cancelled"
    runs.delete(small, some[0])
    assert {run.id for run in runs.every(small)} == {run.id for run in some[1:]}
    trash.restore(trash.entries(small)[0])
    runs.delete(small, some[1])
    trash.remove(trash.entries(small)[0])
    assert len(runs.every(small)) == 2


def test_a_live_run_is_stopped_and_cancelled_on_a_full_disk(small: Path, bench: Bench) -> None:
    for kind, state in (("stop", "stopped"), ("cancel", "cancelled")):
        run = bench.run(kind)
        bench.supervise(run, bench.argv(run, "train"))
        bench.stepping(run)
        fill(small / "filler")
        launch.ask(run, kind, runs.EventReader())
        assert bench.until(run, *runs.RESUMABLE) == state
        wait_for(run.exit_file.exists)
        (small / "filler").unlink()


def test_what_was_paused_for_others_is_cancelled_on_a_full_disk(small: Path, bench: Bench) -> None:
    Spare(small).fill()
    run = bench.run()
    run.update(held={"attempt": 0, "why": runs.TURN, "message": "Paused for others.", "hint": ""})
    fill(small / "filler")
    assert launch.ask(run, "cancel", runs.EventReader()) == "" and bench.state(run) == "cancelled"
    assert not run.record().get("held")


def test_a_run_that_cannot_be_refused_keeps_nobody_waiting(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of several machines, which strangers may not start, and which a full disk keeps from being cancelled."""
    started: list[str] = []
    several = config.load({"compute": {"num_machines": 2, "num_processes": 2, "main_address": "10.0.0.1"}})
    wide = runs.create(bench.home, name="wide", owner="ann", config=several, rows=[])
    plain = bench.run("plain", "bob")

    def full(*_: Any) -> bool:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(queue.controls, "cancel", full)
    sleeper = ["sleep", "60"]
    monkeypatch.setattr(queue, "spawn", lambda one, *_, **__: started.append(one.id) or subprocess.Popen(sleeper))
    launcher = Launcher(bench.home, shared=True)
    launcher.tick()
    children = [process for _, process in launcher._children]
    launcher.close()
    for process in children:
        process.kill()
        process.wait()
    assert started == [plain.id] and bench.state(wide) == "queued"


def test_what_a_full_disk_kept_from_beginning_begins_when_there_is_room(small: Path, bench: Bench) -> None:
    run = bench.run()
    for number in range(8):  # no room is held either
        storage.clear(small / "spare" / str(number))
    fill(small / "filler")
    process = bench.supervise(run, bench.argv(run, "train"))
    assert process.wait(60) != 0 and bench.state(run) == "queued", "it waits as before"
    (small / "filler").unlink()
    bench.supervise(run, bench.argv(run, "train"))
    bench.stepping(run)
    run.request("cancel")
    assert bench.until(run, "cancelled")


DEAF = """
import errno, sys
from pathlib import Path
from studio import launch
from studio.folders import runs
from studio.launch import supervisor
run, answers, real = runs.Run(Path(sys.argv[1])), Path(sys.argv[2]), runs.Run.requests
def requests(self):
    if (run.path / "started").exists() and not answers.exists():
        with open(answers.with_name("looks"), "a") as looks:
            looks.write("x")
        raise OSError(errno.EIO, "Input/output error")
    return real(self)
runs.Run.requests = requests
supervisor.cap_log = lambda path: requests(run) and None
wait = "import sys, time; from pathlib import Path\\nPath('started').touch()\\n"
wait += "while not Path(sys.argv[1]).exists(): time.sleep(0.1)"
sys.exit(not launch.supervise(run, 1, [sys.executable, "-c", wait, str(answers)]))
"""


def test_a_disk_that_does_not_answer_ends_no_training(bench: Bench, tmp_path: Path) -> None:
    """Looking after the log and the requests fails; the trainer goes on and is heard again."""
    run, answers = bench.run(), tmp_path / "answers"
    process = subprocess.Popen([sys.executable, "-c", DEAF, str(run.path), str(answers)], cwd=ROOT)
    wait_for(lambda: (run.path / "started").exists())
    looks = tmp_path / "looks"
    wait_for(lambda: looks.exists() and looks.stat().st_size >= 4)
    assert process.poll() is None, "it was ended"
    answers.touch()
    assert process.wait(60) == 0 and run.exit()["returncode"] == 0


def test_a_cut_cancel_leaves_the_run_in_the_queue(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    run = bench.run()
    real = Spare.write

    def cut(self: Spare, path: Path, data: bytes) -> None:
        if path == run.process_file:
            raise KeyboardInterrupt
        real(self, path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Spare, "write", cut)
        with pytest.raises(KeyboardInterrupt):
            launch.cancel(run)
    assert run.exit_file.exists() and bench.state(run) == "queued"
    bench.supervise(run, [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]).wait(60)
    assert bench.state(run) == "failed" and run.exit()["error"]["code"] == "killed", "not what the cut cancel said"


def test_what_a_cut_cancel_said_goes_before_the_attempt_begins(bench: Bench) -> None:
    """Else the state of one that is killed with its supervisor would be what the cut cancel wrote."""
    run = bench.run()
    storage.write_json(run.exit_file, {"attempt": 1, "returncode": None, "signal": None, "oom_kill": False,
                                       "result": "cancelled", "error": None, "ended": 0.0})
    process = bench.supervise(run, bench.argv(run, "train"))
    bench.stepping(run)
    assert not run.exit_file.exists()
    process.kill()
    process.wait()
    assert bench.until(run, "interrupted") == "interrupted"


def test_the_queue_says_it_once_on_a_disk_that_can_only_be_read(small: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = runs.create(small, name="", owner="", config=config.load({}), rows=[])
    with read_only(small):
        launcher = Launcher(small)
        launcher.start()
        for _ in range(40):
            launcher.wake()
            time.sleep(0.02)
        launcher.close()
    said = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(said) == 1 and "read-only" in said[0].getMessage() and not said[0].exc_info
    assert runs.EventReader().state(run)[0] == "queued"


def test_one_folder_that_cannot_be_read_keeps_nobody_waiting(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = (runs.create(home, name=name, owner="", config=config.load({}), rows=[]) for name in "ab")
    real = runs.Run.attempts

    def attempts(self: runs.Run) -> tuple[int, int]:
        if self.id == bad.id:
            raise OSError(errno.EIO, "Input/output error")
        return real(self)

    monkeypatch.setattr(runs.Run, "attempts", attempts)
    started: list[str] = []
    monkeypatch.setattr("studio.launch.queue.spawn", lambda work, *_, **__: started.append(work.id) or _Ended())
    launcher = Launcher(home)
    launcher.tick()
    launcher.tick()
    launcher.close()
    assert started[0] == good.id


class _Ended:
    returncode = 0

    def poll(self) -> int:
        return 0


def test_a_record_changed_twice_in_a_moment_is_looked_at_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two changes within the clock's grain have the same time: the file is another one all the same."""
    run = runs.create(home, name="a", owner="", config=config.load({}), rows=[])
    launch.cancel(run)
    launcher, started = Launcher(home), list[str]()
    monkeypatch.setattr("studio.launch.queue.spawn", lambda work, *_, **__: started.append(work.id) or _Ended())
    launcher.tick()
    seen = run.record_file.stat()
    run.update(attempt=2)
    os.utime(run.record_file, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    launcher.tick()
    launcher.close()
    assert started == [run.id]


def test_a_clock_that_went_back_leaves_no_job_waiting(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    year = 365 * 86400.0
    job = work.submit(home, "measure", {}, name="", owner="", light=True, held=60.0)
    job.update(held_until=time.time() + year)  # made when the clock was a year ahead
    launcher, started = Launcher(home), list[str]()
    monkeypatch.setattr("studio.launch.queue.spawn", lambda work, *_, **__: started.append(work.id) or _Ended())
    launcher.tick()
    launcher.close()
    assert started == [job.id]


def test_the_webhook_is_told_with_an_id_to_know_an_end_by(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cut between the telling and the note of it tells it twice, and both times with the same id."""
    told: list[dict[str, Any]] = []

    class Ear(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Ear)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv(webhook.VARIABLE, f"http://127.0.0.1:{server.server_port}/")
    run = bench.run()
    launch.cancel(run)

    def cut(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("studio.launch.webhook.storage.write_json", cut)
        with pytest.raises(KeyboardInterrupt):
            webhook.after(run, 1)
    assert webhook.after(run, 1) and not webhook.after(run, 1)
    server.shutdown()
    assert [one["id"] for one in told] == [f"{run.id}-1"] * 2


def test_the_cause_of_an_end_may_be_the_disk(bench: Bench) -> None:
    run = bench.run()
    said = diagnosis.error(run, returncode=1, number=None, oom=False, began=True,
                           evidence="OSError: [Errno 5] Input/output error")
    assert said["code"] == "disk_failing" and said["hint"].endswith("Then resume.")
    assert diagnosis.error(run, returncode=1, number=None, oom=False, began=True, evidence="x: y")["code"] == "died"


def test_two_servers_lose_nothing_of_a_record(home: Path) -> None:
    """Each changes another field, again and again, as a rename here and a resume there would."""
    run = runs.create(home, name="0", owner="", config=config.load({}), rows=[])
    code = ("import sys; from pathlib import Path; from studio.folders.runs import Run\n"
            "for n in range(60): Run(Path(sys.argv[1])).update(**{sys.argv[2]: n})")
    others = [subprocess.Popen([sys.executable, "-c", code, str(run.path), name], cwd=ROOT)
              for name in ("first", "second", "third")]
    for n in range(60):
        run.update(attempt=n + 1)
    assert [other.wait(60) for other in others] == [0, 0, 0]
    record = run.record()
    assert (record["attempt"], record["first"], record["second"], record["third"]) == (60, 59, 59, 59)


def test_two_launchers_start_a_run_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    monkeypatch.setattr("studio.launch.queue.spawn", lambda work, *_, **__: started.append(work.id) or _Ended())
    launchers = [Launcher(home) for _ in range(2)]
    some = [runs.create(home, name=str(n), owner="", config=config.load({"compute": {"backend": "hf_jobs"}}), rows=[])
            for n in range(4)]
    for launcher in launchers * 2:
        launcher.tick()
    assert set(started) <= {run.id for run in some} and launchers[0]._locked and not launchers[1]._locked
    launchers[0].close()
    launchers[1].tick()
    assert launchers[1]._locked, "the other takes over"
    launchers[1].close()
