"""This process among the run's processes: accelerate, device, precision, threads; what all ranks must agree on."""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypedDict, TypeVar, cast

import torch
import torch.distributed as dist
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import InitProcessGroupKwargs, KwargsHandler, check_cuda_p2p_ib_support

from studio import __version__
from studio.config import Config
from studio.errors import StudioError
from studio.folders.runs import RENDEZVOUS
from studio.messages import JsonObject, Message

PATIENCE = timedelta(hours=12)  # ranks wait for rank 0 while it draws or saves; a dead one is noticed by the launcher


T = TypeVar("T")


class WrongPrecision(StudioError):
    """A mixed precision that this device cannot do."""


class HostFacts(TypedDict):
    """What bit-identity depends on; `exact` says whether this machine repeats every bit at all."""

    device: str
    precision: str
    exact: bool
    threads: int
    versions: dict[str, str]
    numerics: JsonObject  # the settings by which the same sums are computed by other kernels


class Distributed:
    """Device, precision and place of this process; what joins it to the others comes with `join`. Made before anything
    else touches torch."""

    accelerator: Accelerator

    def __init__(self, config: Config):
        torch.set_num_threads(config.compute.num_threads or 1)
        _choose_kernels(config)
        self.rank = _number("RANK", 0)  # as the launcher counts the processes; one alone has no launcher
        self.world_size = _number("WORLD_SIZE", 1)
        self.local_rank = _number("LOCAL_RANK", 0)
        self.local_ranks = _number("LOCAL_WORLD_SIZE", 1)
        self.is_main = self.rank == 0
        self.device = _device(self.local_rank, self.world_size)
        self.precision = precision_of(config.train.mixed_precision or "no", mps=self.device.type == "mps",
                                      cuda=self.device.type == "cuda")
        self._group: Any = None  # of the CPUs
        # GPU kernels may add in another order each time unless told not to; MPS cannot be told.
        self.exact = self.device.type == "cpu" or (self.device.type == "cuda" and config.compute.deterministic)
        self._numerics: JsonObject = {
            "tf32": config.compute.allow_tf32, "attention": config.compute.attention, "linear": config.compute.linear,
            "deterministic": config.compute.deterministic}

    def join(self) -> None:
        """Meet the other processes. Until then each works alone, so that nobody waits in a collective.

        On one machine that is in a file: no port is opened for it. Several machines meet as accelerate's launcher says.
        """
        backend = "nccl" if self.device.type == "cuda" else "gloo"
        store = os.environ.get(RENDEZVOUS)
        if self.world_size > 1 and store:
            _spare_old_drivers(self.device)
            dist.init_process_group(backend, init_method=f"file://{store}", rank=self.rank, world_size=self.world_size,
                                    timeout=PATIENCE)
        self.accelerator = Accelerator(mixed_precision=self.precision, step_scheduler_with_optimizer=False,
                                       kwargs_handlers=_distributed(backend))
        self.device = self.accelerator.device
        if self.world_size > 1:
            self._group = dist.new_group(backend="gloo", timeout=PATIENCE)

    def autocast(self, *modules: torch.nn.Module) -> None:
        """Let these run in the run's precision also where they are called by themselves, as in drawing."""
        if not self.accelerator.native_amp:
            return
        for module in modules:
            self.accelerator.prepare_model(module, device_placement=False, evaluation_mode=True)

    def broadcast_object(self, value: T) -> T:
        """Rank 0's value on every rank, by way of the CPU."""
        if self.world_size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._group)
        return box[0]

    def from_main(self, compute: Callable[[], T]) -> T:
        """What `compute` gives on rank 0, on every rank: rank 0 works, the others wait."""
        value: T | None = None
        if self.is_main:
            value = compute()
        return cast(T, self.broadcast_object(value))

    def broadcast_(self, value: torch.Tensor) -> None:
        """Give every rank what rank 0 has in `value`, in place."""
        group = self._group if value.device.type == "cpu" else None  # of the CPUs, or of the devices
        dist.broadcast(value, src=0, group=group)

    def barrier(self) -> None:
        """Until every rank is here; before they met there is nothing to wait for."""
        if self._group is not None:
            dist.barrier(group=self._group)

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """The mean of every rank's value, on every rank."""
        if self.world_size == 1:
            return value
        return self.accelerator.reduce(value, "mean")  # type: ignore[return-value]

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        """The sum of every rank's value, on every rank, by way of the CPU."""
        if self.world_size > 1:
            dist.all_reduce(value, group=self._group)
        return value

    def facts(self) -> HostFacts:
        """What bit-identity depends on, for the `attempt` event and each checkpoint."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else _cpu_name()
        versions = {"studio": __version__, "python": platform.python_version(), "torch": torch.__version__}
        return {"device": f"{self.device.type}: {name}", "precision": self.precision, "exact": self.exact,
                "threads": torch.get_num_threads(), "versions": versions, "numerics": self._numerics}

    def close(self) -> None:
        """Leave the process group."""
        if dist.is_initialized():
            dist.destroy_process_group()


def lost_peer(error: Exception) -> bool:
    """Whether this is what a process meets when another one of its group has died."""
    if isinstance(error, dist.DistError):
        return True
    return isinstance(error, RuntimeError) and "gloo/transport" in str(error)


def peak_memory() -> int:
    """The most memory this process has held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if sys.platform == "darwin":
        return peak
    return peak * 1024  # Linux counts in KiB


def precision_of(asked: str, *, mps: bool, cuda: bool) -> str:
    """The mixed precision that is used: none on MPS, where autocast is slow and wrong. Raises WrongPrecision."""
    if mps:
        return "no"
    if asked == "fp16" and not cuda:
        raise WrongPrecision(Message("fp16 needs a GPU; choose bf16 or no"))
    return asked


def _choose_kernels(config: Config) -> None:
    """Before the first kernel runs; said each time, since one process may train several runs in turn."""
    deterministic = config.compute.deterministic
    torch.set_float32_matmul_precision("high" if config.compute.allow_tf32 else "highest")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    memory: Any = torch.utils.deterministic
    memory.fill_uninitialized_memory = False  # it finds bugs and costs time; it orders nothing
    if deterministic != torch.are_deterministic_algorithms_enabled():  # it imports torch's compiler, a second or more
        torch.use_deterministic_algorithms(deterministic)


def _number(variable: str, default: int) -> int:
    return int(os.environ.get(variable, default))


def _distributed(backend: str) -> list[KwargsHandler]:
    """How several processes meet; accelerate takes a backend for a request to start a group, so none for one alone."""
    if _number("WORLD_SIZE", 1) == 1:
        return []
    return [InitProcessGroupKwargs(backend=backend, timeout=PATIENCE),
            DistributedDataParallelKwargs(gradient_as_bucket_view=True, broadcast_buffers=False)]


def _spare_old_drivers(device: torch.device) -> None:
    """What accelerate's launcher sets for GPUs whose driver cannot copy from one to the other."""
    if device.type == "cuda" and not check_cuda_p2p_ib_support():
        os.environ.setdefault("NCCL_P2P_DISABLE", "1")
        os.environ.setdefault("NCCL_IB_DISABLE", "1")


def _device(local_rank: int, ranks: int) -> torch.device:
    """The device that accelerate will give this process."""
    if _cpu_only():
        return torch.device("cpu")
    if torch.cuda.is_available():
        if ranks > 1:
            torch.cuda.set_device(local_rank)
        return torch.device("cuda", local_rank)
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def _cpu_only() -> bool:
    return os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")


def _cpu_name() -> str:
    """The processor's name, as Linux says it; elsewhere Python's."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
            return ""
    except FileNotFoundError:
        return platform.processor()
