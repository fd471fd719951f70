"""Facts about this machine: cores, memory, GPUs, and the number format measured to be fastest here.

torch is asked in a process of its own (studio.jobs.probe), once, and the answer is kept in `<home>/cache/machine.json`.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import metadata, util
from pathlib import Path
from typing import TypedDict, cast

import psutil

from studio import PACKAGE, config, storage
from studio.config import PlainConfig
from studio.messages import Message
from studio.system import gpus

log = logging.getLogger(__name__)
PROBE_SECONDS = 120
RETRY_SECONDS = 300
PLAIN_SIDE = 256
RENTED_THREADS = 2  # what the smallest machine has


class Gpu(TypedDict):
    """A GPU by its driver's name."""

    name: str
    memory_bytes: int


class Facts(TypedDict, total=False):
    """What is known of a machine. `kernels` holds `compute.attention` and `compute.linear` by precision; it is missing
    where the machine could not be measured. `speed` holds the seconds that a step of jobs.probe takes one thread of the
    CPU by precision; a machine with a GPU has none."""

    cores: int
    memory_bytes: int
    gpus: list[Gpu]
    precision: str
    precision_reason: str
    kernels: dict[str, dict[str, str]]
    speed: dict[str, float]
    torch: str


class _StoredProbe(TypedDict, total=False):
    """A measurement as it is kept: for which machine, and when it failed, where it did."""

    key: str
    facts: Facts
    failed: float  # unix seconds


_here = threading.Lock()
_measured: dict[str, _StoredProbe] = {}  # what no disk took, by `_key`


def facts(home: Path) -> Facts:
    """The facts about this machine, measured where they are not known; waits for a probe that another process or
    thread has begun.

    A probe that fails gives precision "no" with the reason, and is tried again RETRY_SECONDS later: until then nobody
    waits for another."""
    file = home / "cache" / "machine.json"
    key = _key()
    known = _known(file, key)
    if known is not None:
        return known
    with _one_at_a_time(home):
        known = _known(file, key) or _valid(_measured.get(key), key)
        if known is not None:
            return known
        answer = _measure(key)
        if not storage.write_cache(file, answer):
            _measured[key] = answer
        return answer["facts"]


def known_facts(home: Path) -> Facts | None:
    """The facts where they were measured before; nothing is measured for it."""
    key = _key()
    return _known(home / "cache" / "machine.json", key) or _valid(_measured.get(key), key)


def _measure(key: str) -> _StoredProbe:
    """The facts by a probe, or why it failed."""
    facts: Facts = {"cores": cores(), "memory_bytes": memory_bytes(), "torch": _torch_version()}
    try:
        facts.update(_probe())
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        log.exception("the machine could not be measured")
        facts.update({"gpus": [], "precision": "no", "precision_reason": f"could not be measured: {error}"})
        return {"key": key, "facts": facts, "failed": time.time()}
    return {"key": key, "facts": facts}


@contextmanager
def _one_at_a_time(home: Path) -> Iterator[None]:
    """Processes measure one after the other; on a disk that takes no lock's file each measures for itself."""
    lock = storage.Lock(home / "cache" / "machine.lock")
    try:
        lock.wait()
    except OSError as error:
        if error.errno not in (*storage.UNWRITABLE, *storage.NO_LOCKS):
            raise
    with _here:
        try:
            yield
        finally:
            lock.release()


def suggestion(home: Path, precision: str | None = None, resolution: int | None = None) -> PlainConfig:
    """What this machine suggests, as a partial config: the number format, unless `precision` is chosen already, and the
    kernels that were fastest in it. Plain attention only up to PLAIN_SIDE px: its memory grows with the fourth power
    of the side."""
    known = facts(home)
    precision = precision or known["precision"]
    kernels = dict(known.get("kernels", {}).get(precision, {}))
    if resolution is None or resolution > PLAIN_SIDE:
        kernels.pop("attention", None)
    return {"train": {"mixed_precision": precision}, "compute": kernels}


def rented(compute: config.Compute) -> PlainConfig:
    """What suits a rented machine, as a partial config: nothing here can measure it, so its name decides."""
    precision = "bf16"
    if compute.flavor.startswith("cpu"):
        precision = "no"
    elif compute.flavor.startswith("t4"):  # which has no bf16
        precision = "fp16"
    return {"train": {"mixed_precision": precision}, "compute": {"num_threads": RENTED_THREADS}}


def problems(facts: Facts, train: config.Train | None, compute: config.Compute | None) -> list[config.Problem]:
    """What this machine cannot do of a run's sections (None: a faulty one, which is told elsewhere)."""
    if compute is not None and compute.backend != "local":
        return []
    faults: list[config.Problem] = []
    if train is not None and train.mixed_precision == "fp16" and not facts["gpus"]:
        faults.append(config.Problem(field="train.mixed_precision",
                                     message=Message("fp16 needs a GPU, and this machine has none: choose `no` or "
                                                     "`bf16`, or leave it empty")))
    if compute is not None:
        faults += _compute_problems(facts, compute)
    return faults


def _compute_problems(facts: Facts, compute: config.Compute) -> Iterator[config.Problem]:
    """What this machine cannot do of the `compute` section: kernels, processes, packages."""
    gpus = len(facts["gpus"])
    if compute.attention == "xformers" and not gpus:
        yield config.Problem(field="compute.attention",
                             message=Message("xformers needs a GPU, and this machine has none, or choose `sdpa`"))
    elif compute.attention == "xformers" and util.find_spec("xformers") is None:
        yield config.Problem(field="compute.attention",
                             message=Message("xformers needs the package xformers: pip install xformers, or choose "
                                             "`sdpa`"))
    limit = gpus or facts["cores"]
    unit = Message("GPUs") if gpus else Message("cores")
    processes = config.local_processes(compute)
    if processes > limit:
        yield config.Problem(field="compute.num_processes",
                             message=Message("{processes} processes are more than this machine's {count} "
                                             "{what}: set at most {limit} for each machine", processes=processes,
                                             count=limit, what=unit, limit=limit))
    if compute.deepspeed_stage and util.find_spec("deepspeed") is None:
        yield config.Problem(field="compute.deepspeed_stage",
                             message=Message("DeepSpeed is not installed: `pip install deepspeed` adds it "
                                             "(Linux only), or set 0"))


def device(home: Path) -> str:
    """The name of what trains here: the first GPU, else the processor."""
    gpus = facts(home)["gpus"]
    if gpus:
        return gpus[0]["name"]
    return _cpu_model()


def cores() -> int:
    """CPU cores this process may use: its affinity, and the limit of its container."""
    count = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    return max(1, min(count, _cgroup_cores() or count))


def memory_bytes() -> int:
    """Memory this process may use: the machine's, or its container's limit if that is less."""
    total = psutil.virtual_memory().total
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = _text(Path(path))
        if text.isdigit():
            total = min(total, int(text))
    return total


def _probe() -> Facts:
    """What studio.jobs.probe measured. Raises OSError, SubprocessError, ValueError, KeyError."""
    done = subprocess.run([sys.executable, "-m", "studio.jobs.probe"], capture_output=True, text=True, check=True,
                          timeout=PROBE_SECONDS, stdin=subprocess.DEVNULL,
                          env={**os.environ, "OMP_NUM_THREADS": "1",
                               "PYTHONPATH": str(PACKAGE.parent)})
    printed = json.loads(done.stdout.splitlines()[-1])
    return {"gpus": printed["gpus"], "precision": printed["precision"], "precision_reason": printed["precision_reason"],
            "kernels": printed["kernels"], "speed": printed.get("speed", {}), "torch": printed["torch"]}


def _known(file: Path, key: str) -> Facts | None:
    """The facts in a file, where they are of this machine."""
    try:
        answer = storage.read_json(file)
    except storage.Corrupt:
        return None
    return _valid(answer, key)


def _valid(answer: object, key: str) -> Facts | None:
    """The facts of an answer for this machine: measured, or a failure of the last minutes."""
    if not isinstance(answer, dict) or answer.get("key") != key or not isinstance(answer.get("facts"), dict):
        return None
    facts = cast(Facts, answer["facts"])
    failed = answer.get("failed")
    measured = "kernels" in facts and "speed" in facts  # an older studio measured no speed
    if measured or (isinstance(failed, int | float) and 0 <= time.time() - failed < RETRY_SECONDS):
        return facts
    return None


def _key() -> str:
    """What a measurement depends on."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    return " | ".join([_cpu_model(), str(cores()), _torch_version(), _gpu_names(), visible])


@lru_cache
def _torch_version() -> str:
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        return "none"


@lru_cache
def _cpu_model() -> str:
    for line in _text(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@lru_cache
def _gpu_names() -> str:
    """The NVIDIA GPUs: enough to notice a changed machine."""
    return ", ".join(gpus.names())


def _cgroup_cores() -> int | None:
    """The container's CPU quota in whole cores (cgroup v2, then v1)."""
    quota, _, period = _text(Path("/sys/fs/cgroup/cpu.max")).partition(" ")
    if not quota:
        quota = _text(Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"))
        period = _text(Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us"))
    if quota.isdigit() and period.isdigit():
        return max(1, int(quota) // int(period))
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
