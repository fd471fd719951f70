"""What a live run takes of this machine: memory and cores of its process tree, and of NVIDIA GPUs."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import psutil

from studio.folders.runs import Run
from studio.system import gpus

FRESH_SECONDS = 2.0
GPU_FRESH_SECONDS = 10.0


class GpuUsage(TypedDict):
    """What processes take of NVIDIA GPUs; None without one."""

    gpu_memory_bytes: int | None
    gpu_percent: int | None  # of the busiest card


class Usage(GpuUsage):
    """What a run's processes take."""

    memory_bytes: int
    cores_busy: float | None  # the mean since the last reading; None at the first


@dataclass
class Reading:
    """One measurement: when (monotonic seconds), the processor seconds that were used by then, and what is told."""

    when: float
    cpu: float
    usage: Usage


@dataclass
class Meter:
    """Measures at most every two seconds a run, however many people look."""

    _readings: dict[Path, Reading] = field(default_factory=dict)
    _gpus: tuple[float, gpus.Usage] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, run: Run) -> Usage | None:
        """What the run's processes take; None when there are none."""
        with self._lock:
            now = time.monotonic()
            last = self._readings.get(run.path)
            if last is not None and now - last.when < FRESH_SECONDS:
                return last.usage
            tree = _tree(run)
            if not tree:
                self._readings.pop(run.path, None)
                return None
            memory, cpu = _sum(tree)
            busy = None
            if last is not None:
                busy = round(max(0.0, cpu - last.cpu) / (now - last.when), 2)
            usage: Usage = {"memory_bytes": memory, "cores_busy": busy, **self._gpu_share(tree, now)}
            self._readings[run.path] = Reading(now, cpu, usage)
            return usage

    def _gpu_share(self, tree: list[psutil.Process], now: float) -> GpuUsage:
        if self._gpus is None or now - self._gpus[0] > GPU_FRESH_SECONDS:
            self._gpus = (now, gpus.usage())
        usage = self._gpus[1]
        memory = sum(usage.memory.get(process.pid, 0) for process in tree)
        if not memory:
            return {"gpu_memory_bytes": None, "gpu_percent": None}
        return {"gpu_memory_bytes": memory, "gpu_percent": max(usage.percent, default=None)}


def _tree(run: Run) -> list[psutil.Process]:
    """The supervisor's processes (its trainer's ranks too, in whatever session they are)."""
    facts = run.process()
    try:
        top = psutil.Process(facts["pid"])
        if abs(top.create_time() - (facts["start_time"] or 0.0)) > 2:
            return []  # the number has been given to somebody else
        return [top, *top.children(recursive=True)]
    except (KeyError, TypeError, psutil.Error):
        return []


def _sum(tree: list[psutil.Process]) -> tuple[int, float]:
    """Bytes and processor seconds of these processes."""
    memory = 0
    cpu = 0.0
    for process in tree:
        try:
            with process.oneshot():
                memory += process.memory_info().rss
                times = process.cpu_times()
                cpu += times.user + times.system
        except psutil.Error:
            continue  # it ended in this moment
    return memory, cpu
