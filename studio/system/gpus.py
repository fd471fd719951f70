"""NVIDIA GPUs as their driver tells of them (NVML): names, memory by process, load. Nothing where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple


class Usage(NamedTuple):
    """What the GPUs are busy with."""

    memory: dict[int, int]  # bytes by process id, over all GPUs
    percent: list[int]  # the load of each GPU


def names() -> list[str]:
    """Each GPU with its unique id, as "NVIDIA H200 (GPU-4f...)": enough to notice a changed machine."""
    import pynvml

    named: list[str] = []
    with _driver() as gpus:
        for gpu in gpus:
            with suppress(pynvml.NVMLError):  # one that fell off the bus has no name
                named.append(f"{_text(pynvml.nvmlDeviceGetName(gpu))} ({_text(pynvml.nvmlDeviceGetUUID(gpu))})")
    return named


def usage() -> Usage:
    """Memory by process and the load of each GPU at this moment."""
    import pynvml

    memory: dict[int, int] = {}
    percent: list[int] = []
    with _driver() as gpus:
        for gpu in gpus:
            with suppress(pynvml.NVMLError):  # a GPU that is shared out (MIG) tells no load
                percent.append(int(pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu))
            with suppress(pynvml.NVMLError):  # it fell off the bus
                for process in pynvml.nvmlDeviceGetComputeRunningProcesses(gpu):
                    used = process.usedGpuMemory or 0  # None where the driver does not tell
                    memory[process.pid] = memory.get(process.pid, 0) + used
    return Usage(memory, percent)


@contextmanager
def _driver() -> Iterator[list[object]]:
    """Handles of the GPUs while the driver is open; none where no driver answers."""
    import pynvml  # in here: what only looks for a GPU now and then starts without it

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield []
        return
    try:
        yield _handles()
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _handles() -> list[object]:
    """A handle of each GPU that answers."""
    import pynvml

    gpus: list[object] = []
    count = 0
    with suppress(pynvml.NVMLError):  # a driver that is being replaced knows none
        count = pynvml.nvmlDeviceGetCount()
    for index in range(count):
        with suppress(pynvml.NVMLError):  # one that is lost keeps nobody from the others
            gpus.append(pynvml.nvmlDeviceGetHandleByIndex(index))
    return gpus


def _text(value: str | bytes) -> str:
    """What NVML says as text; older versions of the binding say bytes."""
    return value.decode() if isinstance(value, bytes) else value
