"""Start an import in a process of its own and follow it; the caller's memory does not grow with the upload."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from studio import storage
from studio.datasets import workers
from studio.datasets.store import Dataset, take_lock

Progress = Callable[[int, int], None]


def add(dataset: Dataset, files: Iterable[tuple[str, Path]], progress: Progress | None = None) -> dict[str, Any]:
    """Import files (relative name, path on this machine; zips are unpacked) and commit them; returns the report.

    Blocks until the importing process has ended, calling `progress(done, total)` with pictures about twice a second.
    Never raises for what a person brought: see the report and `dataset.state`. The import holds its own lock and goes
    on if this process dies; an exception raised here (Ctrl-C, or by `progress`) ends it.
    """
    lock = take_lock(dataset)
    try:
        listed = [(os.fsencode(name).decode("utf-8", "backslashreplace"), os.fsencode(path.absolute()).hex())
                  for name, path in files]
        storage.write_json(dataset.path / "incoming.json", listed)
        process = _start(dataset, lock)
    finally:
        lock.release()  # the importing process holds it from here on
    try:
        _follow(process, dataset, progress or (lambda done, total: None))
    except BaseException:
        process.kill()
        process.wait()
        raise
    return dataset.report()


def _start(dataset: Dataset, lock: storage.Lock) -> subprocess.Popen[bytes]:
    with open(dataset.path / "import.log", "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "studio.datasets.intake", str(dataset.path.absolute())], cwd=workers.ROOT,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, pass_fds=(lock.fileno(),),
            env=workers.environment())


def _follow(process: subprocess.Popen[bytes], dataset: Dataset, progress: Progress) -> None:
    while True:
        try:
            process.wait(timeout=0.5)
            return
        except subprocess.TimeoutExpired:
            seen = storage.read_json(dataset.path / "progress.json") or {}
            progress(seen.get("done", 0), seen.get("total", 0))
