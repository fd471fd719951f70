"""One attempt under a real supervisor: what it leaves on disk, and that it leaves no process."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from studio import launch, storage
from studio.folders import runs
from studio.launch import diagnosis, processes, supervisor


def left(run: runs.Run) -> list[int]:
    """Processes of the run that still live."""
    return [p.pid for p in processes.marked(run.path)]


def test_a_run_that_finishes(bench):
    run = bench.run()
    found = bench.through(run, "finish")
    assert bench.state(run) == "finished" and not left(run) and not run.alive()
    assert found["attempt"] == 1 and found["returncode"] == 0 and found["error"] is None and found["result"] is None
    process = json.loads(run.process_file.read_text())
    assert process["attempt"] == 1 and process["argv"] == bench.argv(run, "finish") and process["boot_id"]
    assert "trainer in mode finish" in run.log_file.read_text()


def test_of_two_supervisors_one_has_the_attempt(bench):
    run = bench.run()
    both = [bench.supervise(run, bench.argv(run, "finish")) for _ in range(2)]
    assert sorted(p.communicate(timeout=60)[0].strip() for p in both) == ["False", "True"]
    assert run.log_file.read_text().count("trainer in mode") == 1
    late = bench.supervise(run, bench.argv(run, "finish"))
    assert late.communicate(timeout=60)[0].strip() == "False"
    beyond = bench.supervise(run, bench.argv(run, "finish"), attempt=2)
    assert beyond.communicate(timeout=60)[0].strip() == "False", "nobody asked for attempt 2"


@pytest.mark.parametrize("number, code", [(signal.SIGKILL, "killed"), (signal.SIGSEGV, "crashed")])
def test_death_by_signal_is_named(bench, number, code):
    run = bench.run()
    found = bench.through(run, "die", str(int(number)))
    assert bench.state(run) == "failed" and found["signal"] == number and not found["oom_kill"]
    assert found["error"]["code"] == code and number.name in found["error"]["message"]
    assert "first step" in found["error"]["hint"]


def test_a_signal_is_seen_through_accelerates_launcher(bench):
    """Of several ranks only torch's elastic agent sees how one died: it prints that and exits 1; so does this one."""
    run = bench.run()
    launcher = ("import subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode; "
                "print(f'  exitcode  : {code} (pid: 7)'); sys.exit(code != 0)")
    bench.supervise(run, [sys.executable, "-c", launcher, *bench.argv(run, "die", "9")]).wait(60)
    found = json.loads(run.exit_file.read_text())
    assert found["returncode"] == 1 and found["signal"] == 9 and found["error"]["code"] == "killed"


def test_failing_to_start_is_told_with_the_last_lines(bench):
    run = bench.run()
    found = bench.through(run, "unimportable")["error"]
    assert found["code"] == "start_failed" and "nothing_of_this_name" in found["message"]
    assert "Traceback" in found["evidence"] and "requirements" in found["hint"] and bench.state(run) == "failed"


def test_an_error_without_an_end_bears_no_secret(bench):
    run = bench.run()
    found = bench.through(run, "raise")
    assert found["error"]["code"] == "died" and "ValueError" in found["error"]["message"]
    assert "hf_abcdef" in run.log_file.read_text() and "hf_abcdef" not in run.exit_file.read_text()


def test_leaving_without_a_word_is_a_failure(bench):
    run = bench.run()
    assert bench.through(run, "quit", "0")["error"]["code"] == "no_end" and bench.state(run) == "failed"


def test_a_command_that_is_not_there(bench):
    run = bench.run()
    bench.supervise(run, ["/nowhere/python"]).wait(60)
    assert "/nowhere/python" in json.loads(run.exit_file.read_text())["error"]["message"]
    assert bench.state(run) == "failed"


def test_an_unreadable_config_is_a_failure_with_a_cause(bench):
    run = bench.run()
    run.config_file.write_text("{")
    bench.supervise(run, bench.argv(run, "finish")).wait(60)
    assert "config.json" in json.loads(run.exit_file.read_text())["error"]["message"]


def test_killing_the_trainer_ends_its_whole_tree(bench):
    run = bench.run()
    bench.supervise(run, bench.argv(run, "train"))
    bench.stepping(run)
    assert bench.state(run) == "running"
    tree_ = processes.marked(run.path)
    assert len(tree_) == 3
    trainer = next(p for p in tree_ if "trainer.py" in " ".join(p.cmdline()))
    began = time.monotonic()
    trainer.kill()
    assert bench.until(run, "failed", "interrupted") == "failed"
    assert time.monotonic() - began < 8
    assert not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in tree_)
    assert json.loads(run.exit_file.read_text())["signal"] == 9


def test_killing_the_supervisor_leaves_an_interrupted_run_that_resumes(bench):
    run = bench.run()
    process = bench.supervise(run, bench.argv(run, "train"))
    bench.stepping(run)
    began = time.monotonic()
    process.kill()
    assert bench.until(run, "interrupted", "failed") == "interrupted"
    assert time.monotonic() - began < 8
    assert left(run), "the stand-in's helpers have outlived it: the next attempt has to end them"
    assert launch.resume(run, bench.reader) == 2 and bench.state(run) == "queued"
    bench.supervise(run, bench.argv(run, "finish"), attempt=2).wait(60)
    assert bench.state(run) == "finished" and not left(run)


def test_sigterm_lets_the_trainer_save(bench):
    run = bench.run()
    process = bench.supervise(run, bench.argv(run, "train"))
    bench.stepping(run)
    process.terminate()
    process.wait(30)
    assert bench.state(run) == "paused" and not left(run)


def test_a_cancel_that_is_not_honoured_ends_the_tree(bench, monkeypatch):
    run = bench.run()
    bench.supervise(run, bench.argv(run, "deaf"))
    bench.stepping(run)
    launch.ask(run, "cancel", bench.reader)
    assert bench.until(run, "cancelled") == "cancelled"
    assert not left(run) and not run.requests()
    assert json.loads(run.exit_file.read_text())["result"] == "cancelled"


def test_a_trainer_that_will_not_leave_is_ended_before_the_next(bench):
    """The supervisor is gone and the trainer hangs, so that it does not notice."""
    run = bench.run()
    process = bench.supervise(run, bench.argv(run, "train"))
    bench.stepping(run)
    trainer = next(p for p in processes.marked(run.path) if "trainer.py" in " ".join(p.cmdline()))
    trainer.suspend()
    process.kill()
    process.wait()
    assert bench.state(run) == "running", "its trainer still holds trainer.lock"
    run.update(attempt=2)
    bench.supervise(run, bench.argv(run, "finish"), attempt=2).wait(60)
    assert bench.state(run) == "finished" and not trainer.is_running() and not left(run)


def test_the_log_is_capped_while_it_is_written(bench, monkeypatch):
    run = bench.run()
    run.log_file.write_bytes(b"old\n" * (1 << 20))
    supervisor.cap_log(run.log_file, limit=1 << 20)
    assert run.log_file.stat().st_size == 0
    assert run.log_file.with_name("train.log.1").stat().st_size == 4 << 20
    assert bench.through(run, "chatter", "30000")["error"] is None  # 30 MB
    assert run.log_file.stat().st_size < supervisor.LOG_LIMIT
    assert run.log_file.with_name("train.log.1").stat().st_size > supervisor.LOG_LIMIT


def test_the_trainer_is_offered_to_the_oom_killer_first(bench):
    run = bench.run()
    process = bench.supervise(run, bench.argv(run, "train"))
    bench.stepping(run)

    def score(pid: int) -> int:
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text())

    assert min(score(p.pid) for p in processes.marked(run.path)) > score(process.pid)


def test_secrets_of_the_server_do_not_reach_the_trainer(bench, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    monkeypatch.setenv("STUDIO_TOKEN", "very secret")
    run = bench.run()
    bench.supervise(run, bench.argv(run, "train"))
    bench.stepping(run)
    for process in processes.marked(run.path):
        assert not {"HF_TOKEN", "STUDIO_TOKEN"} & process.environ().keys()


MEMORY = "/sys/fs/cgroup/memory"


@pytest.mark.skipif(os.geteuid() != 0 or not os.access(f"{MEMORY}/memory.limit_in_bytes", os.R_OK),
                    reason="needs root and the memory controller of cgroup v1")
def test_the_oom_killer_is_named(bench):
    group = f"{MEMORY}/studio-test-{os.getpid()}"
    try:
        os.mkdir(group)
    except OSError as error:
        pytest.skip(f"no memory group can be made here: {error}")
    try:
        with open(f"{group}/memory.limit_in_bytes", "w") as file:
            file.write(str(100 << 20))
        run = bench.run()
        eat = (f"open('{group}/cgroup.procs', 'w').write('0'); x = [bytearray(1 << 20) for _ in range(2000)]")
        bench.supervise(run, [sys.executable, "-c", eat]).wait(60)
        found = json.loads(run.exit_file.read_text())
        assert found["oom_kill"] and found["error"]["code"] == "out_of_memory" and bench.state(run) == "failed"
    finally:
        os.rmdir(group)


def test_counting_oom_kills_needs_no_rights():
    assert diagnosis.oom_kills() >= 0


def test_a_probe_of_the_lock_never_costs_a_start(bench):
    run = bench.run()
    for _ in range(50):
        storage.is_locked(run.lock.path)
        lock = run.lock
        assert lock.acquire()
        lock.release()
