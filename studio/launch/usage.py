"""What a live run takes of this machine: memory and cores of its process tree, and of NVIDIA GPUs."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from studio.folders.runs import Run

FRESH_SECONDS = 2.0
GPU_FRESH_SECONDS = 10.0
GPU_SECONDS = 5


@dataclass
class Meter:
    """Measures at most every two seconds a run, however many people look."""

    _kept: dict[Path, tuple[float, float, dict[str, Any]]] = field(default_factory=dict)
    _gpu: tuple[float, dict[int, int], dict[str, int]] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, run: Run) -> dict[str, Any] | None:
        """{"memory_bytes", "cores_busy", "gpu_memory_bytes", "gpu_percent"} of the run's processes; None when there
        are none. `cores_busy` is the mean since the last reading (None at the first); the GPU's two are None without
        an NVIDIA GPU, and `gpu_percent` is of the busiest card that the run uses."""
        with self._lock:
            now = time.monotonic()
            began, spent, found = self._kept.get(run.path, (0.0, 0.0, {}))
            if found and now - began < FRESH_SECONDS:
                return found
            tree = _tree(run)
            if not tree:
                self._kept.pop(run.path, None)
                return None
            memory, cpu = _sum(tree)
            busy = round(max(0.0, cpu - spent) / (now - began), 2) if found else None
            found = {"memory_bytes": memory, "cores_busy": busy, **self._gpu_share(tree, now)}
            self._kept[run.path] = (now, cpu, found)
            return found

    def _gpu_share(self, tree: list[psutil.Process], now: float) -> dict[str, Any]:
        if self._gpu is None or now - self._gpu[0] > GPU_FRESH_SECONDS:
            self._gpu = (now, *_gpus())
        pids = {process.pid for process in tree}
        memory = sum(used for pid, used in self._gpu[1].items() if pid in pids)
        return {"gpu_memory_bytes": memory or None,
                "gpu_percent": max(self._gpu[2].values(), default=None) if memory else None}


def _tree(run: Run) -> list[psutil.Process]:
    """The supervisor's processes (its trainer's ranks too, in whatever session they are)."""
    facts = run.process()
    try:
        top = psutil.Process(facts["pid"])
        if abs(top.create_time() - facts["start_time"]) > 2:
            return []  # the number has been given to somebody else
        return [top, *top.children(recursive=True)]
    except (KeyError, TypeError, psutil.Error):
        return []


def _sum(tree: list[psutil.Process]) -> tuple[int, float]:
    memory, cpu = 0, 0.0
    for process in tree:
        try:
            with process.oneshot():
                memory += process.memory_info().rss
                times = process.cpu_times()
                cpu += times.user + times.system
        except psutil.Error:
            continue  # it ended in this moment
    return memory, cpu


def _gpus() -> tuple[dict[int, int], dict[str, int]]:
    """Bytes by process, and the load of each card in percent, as the driver's own tool says; empty without one."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return {}, {}
    used: dict[int, int] = {}
    for pid, mebibytes in _table(tool, "compute-apps=pid,used_memory"):
        if pid.isdigit() and mebibytes.isdigit():
            used[int(pid)] = used.get(int(pid), 0) + (int(mebibytes) << 20)
    load = {name: int(percent) for name, percent in _table(tool, "gpu=uuid,utilization.gpu") if percent.isdigit()}
    return used, load


def _table(tool: str, query: str) -> list[tuple[str, str]]:
    try:
        done = subprocess.run([tool, f"--query-{query}", "--format=csv,noheader,nounits"], capture_output=True,
                              text=True, timeout=GPU_SECONDS, check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return []
    rows = (tuple(cell.strip() for cell in line.split(",")) for line in done.stdout.splitlines())
    return [(row[0], row[1]) for row in rows if len(row) == 2]
