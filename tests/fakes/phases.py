"""A run or a job on its way to its first step, told by hand: its lock, process.json and events."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from studio import config, storage
from studio.folders import runs, work
from studio.folders.runs import Run

ROWS = [{"image": "ab" * 32, "ext": "webp", "width": 64, "height": 64, "captions": ["a cat"], "split": "train",
         "name": "cat.png"}]


@contextmanager
def supervised(one: work.Work) -> Iterator[None]:
    """Its lock is held, as by its supervisor."""
    lock = one.lock
    assert lock.acquire()
    try:
        yield
    finally:
        lock.release()


def began(one: work.Work, at: float, attempt: int = 1) -> None:
    """process.json, as a supervisor writes it."""
    storage.write_json(one.process_file, {"attempt": attempt, "pid": os.getpid(), "start_time": None, "boot_id": None,
                                          "argv": ["python"], "began": at})


def say(one: work.Work, at: float, kind: str, **fields: Any) -> None:
    """An event of the time `at`."""
    lines = one.events_file.read_text().count("\n") if one.events_file.exists() else 0
    with open(one.events_file, "a", encoding="utf-8") as file:
        file.write(json.dumps({"seq": lines + 1, "time": at, "mono": at, "kind": kind, **fields}) + "\n")


def phase(one: work.Work, at: float, name: str, done: int | None = None, total: int | None = None) -> None:
    say(one, at, "phase", phase=name, done=done, total=total, unit=None)


def step(one: work.Work, at: float, number: int = 1) -> None:
    say(one, at, "step", step=number, loss=0.5, lr=1e-4, grad_norm=1.0, pictures=1, seconds=1.0)


def waiting_run(home: Path, **sections: Any) -> Run:
    """A run that no queue starts."""
    settings = config.load(config.merge({"train": {"max_steps": 1}}, sections))
    return runs.create(home, name="A run", owner="local", config=settings, rows=ROWS, held=600,
                       extra={"dataset": {"id": "sample", "name": "Sample", "fingerprint": "f", "count": 1}})
