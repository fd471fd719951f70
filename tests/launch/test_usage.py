"""What a live run takes of the machine is read from its own process tree, and nothing once it has ended."""

from __future__ import annotations

import time

import psutil

from studio import launch, storage
from studio.launch.usage import FRESH_SECONDS


def test_memory_and_cores_of_the_tree(bench):
    run, meter = bench.run(), launch.Meter()
    assert meter.read(run) is None
    process = bench.supervise(run, bench.argv(run, "train"))
    bench.stepping(run)
    found = meter.read(run)
    top = psutil.Process(run.process()["pid"])
    assert found["memory_bytes"] > top.memory_info().rss > 0 and found["cores_busy"] is None
    assert meter.read(run) is found, "read at most every two seconds"
    time.sleep(FRESH_SECONDS)
    assert meter.read(run)["cores_busy"] >= 0
    launch.ask(run, "cancel", bench.reader)
    process.wait(60)
    time.sleep(FRESH_SECONDS)
    assert meter.read(run) is None


def test_a_pid_given_to_somebody_else_is_not_the_run(bench):
    run = bench.run()
    storage.write_json(run.process_file, {"attempt": 1, "pid": psutil.Process().pid, "start_time": 1.0})
    assert launch.Meter().read(run) is None
