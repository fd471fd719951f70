"""How the work is started: the command and a small environment; for a run also its accelerate config file."""

from __future__ import annotations

import json
import os
import socket
import sys

from studio import PACKAGE, families, storage
from studio import config as config_
from studio.bases import source as source_
from studio.folders.runs import Run
from studio.folders.work import Work
from studio.launch import processes, webhook
from studio.messages import JsonObject
from studio.system import machine

MACHINE_RANK = "STUDIO_MACHINE_RANK"  # which of a run's machines this is; machine 0 has the run's folder
_KEPT = {
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH", "STUDIO_HOME", "XDG_CACHE_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
    "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_XET",
    "TRANSFORMERS_OFFLINE", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE",
}
_KEPT_FAMILIES = ("LC_", "CUDA_", "NVIDIA_", "NCCL_", "PYTORCH_", "TORCH_", "HIP_", "ROCR_", "HSA_", "MKL_", "GLOO_")
# glibc gives large blocks back at once and faults their pages in again for the next tensor: a tenth of a CPU's step.
_MALLOC = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=1000000000000:glibc.malloc.top_pad=67108864"


def environment(token: str | None = None) -> dict[str, str]:
    """The part of this process's environment that a supervisor needs: no secret but the `token` lent to this run."""
    variables = {name: value for name, value in os.environ.items()
                 if name in _KEPT or name.startswith(_KEPT_FAMILIES)}
    path = [str(PACKAGE.parent), *filter(None, variables.get("PYTHONPATH", "").split(os.pathsep))]
    variables["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(path))
    if token:
        variables["HF_TOKEN"] = token
    return variables


def supervisor_environment(token: str | None = None) -> dict[str, str]:
    """`environment` with the address that a supervisor, and nothing it starts, tells of the end."""
    variables = environment(token)
    address = os.environ.get(webhook.VARIABLE)
    if address:
        variables[webhook.VARIABLE] = address
    return variables


def job_environment(job: Work) -> dict[str, str]:
    """A job's environment: `environment` with the token lent to it and its mark. A light one sees no accelerator."""
    extra = _at_start(machine.cores())
    if job.light:
        extra |= {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
    return {**environment(os.environ.get("HF_TOKEN")), **processes.mark(job.path), **extra}


def watcher_environment(run: Run) -> dict[str, str]:
    """The environment of what stands in for the trainer of a run on a rented machine: with the person's token."""
    return {**environment(os.environ.get("HF_TOKEN")), **processes.mark(run.path), "PYTHONUNBUFFERED": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


def trainer_environment(run: Run, config: config_.Config, gpus: int) -> dict[str, str]:
    """The trainer's environment: `environment`, the run's mark, its threads; a token only while files are missing."""
    token = os.environ.get("HF_TOKEN")
    if token and not _must_download(config):
        token = None
    extra = _at_start(config.compute.num_threads or 1, config.compute.thread_wait)
    if not gpus:
        extra |= {"ACCELERATE_USE_CPU": "true", "DS_ACCELERATOR": "cpu"}
    wandb_key = os.environ.get("WANDB_API_KEY")  # of a shell, never a server's
    if wandb_key and "wandb" in config.track.report_to:
        extra["WANDB_API_KEY"] = wandb_key
    return {**environment(token), **processes.mark(run.path), **extra}


def warm_environment(threads: int) -> dict[str, str]:
    """The environment of what is copied for trainers of that many threads, and for jobs: theirs, without what is lent
    to one of them."""
    return {**environment(), **_at_start(threads)}


def _at_start(threads: int, wait: str = "sleep") -> dict[str, str]:
    """What a trainer or a job reads once, when it starts."""
    # Threads that spin while they wait make a step many times slower as soon as the cores are shared.
    policy = "PASSIVE" if wait == "sleep" else "ACTIVE"
    return {"PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1",
            "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": policy, "GLIBC_TUNABLES": _MALLOC}


def accelerate_config(config: config_.Config, gpus: int, machine_rank: int = 0) -> JsonObject:
    """A complete accelerate config for one machine, so that no file of the user's own is ever read.

    Several processes on the CPU are asked for as MULTI_GPU with `ACCELERATE_USE_CPU` in the environment: accelerate's
    launcher starts only one process for MULTI_CPU (accelerate #2741). ZeRO runs as MULTI_GPU too: the trainer gives
    DeepSpeed its file itself. Accelerate's own DEEPSPEED would load the frozen encoders partitioned (transformers looks
    for its config), and takes every rank on the CPU for the first.
    """
    compute = config.compute
    many = compute.num_processes > 1
    settings: JsonObject = {
        "compute_environment": "LOCAL_MACHINE", "debug": False,
        "distributed_type": "MULTI_GPU" if many else "NO", "downcast_bf16": False, "dynamo_config": {},
        "enable_cpu_affinity": False, "gpu_ids": "all", "machine_rank": machine_rank, "main_training_function": "main",
        "mixed_precision": config.train.mixed_precision or "no", "num_machines": compute.num_machines,
        "num_processes": compute.num_processes, "rdzv_backend": "static", "same_network": True,
        "tpu_use_cluster": False, "tpu_use_sudo": False, "use_cpu": not gpus and not many,
    }
    if compute.num_machines > 1:
        settings |= {"main_process_ip": compute.main_address, "main_process_port": compute.main_port}
    elif many:
        settings |= {"main_process_ip": "127.0.0.1", "main_process_port": _free_port()}
    return settings


def deepspeed_config(config: config_.Config) -> JsonObject:
    """A complete DeepSpeed config. Weights and what is reduced stay fp32; `mixed_precision` is the trainer's autocast.

    The engine clips by `gradient_clipping`; the trainer says itself which micro-batch ends an update, since a window
    may be short. No weight is too small to be shared out, so that what a rank holds is all there is to average.
    """
    compute = config.compute
    batch = config.train.batch_size or 1
    accumulation = config.train.gradient_accumulation_steps
    zero: JsonObject = {
        "stage": compute.deepspeed_stage, "contiguous_gradients": True, "overlap_comm": False,
        "reduce_bucket_size": 50_000_000, "allgather_bucket_size": 50_000_000,
        "offload_optimizer": {"device": compute.offload_optimizer_device, "pin_memory": False}}
    if compute.deepspeed_stage == 3:
        zero |= {"stage3_param_persistence_threshold": 0, "stage3_prefetch_bucket_size": 50_000_000,
                 "stage3_gather_16bit_weights_on_model_save": False,
                 "offload_param": {"device": compute.offload_param_device, "pin_memory": False}}
    return {"train_batch_size": batch * accumulation * compute.num_processes, "train_micro_batch_size_per_gpu": batch,
            "gradient_accumulation_steps": accumulation, "gradient_clipping": config.optim.max_grad_norm,
            "fp16": {"enabled": False}, "bf16": {"enabled": False}, "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False, "steps_per_print": 2**31, "wall_clock_breakdown": False,
            "zero_optimization": zero}


def write(run: Run, config: config_.Config, gpus: int) -> list[str]:
    """Write launch.yaml (JSON, which is YAML too), with a ZeRO stage also deepspeed.json; the command that trains.

    One process alone does not read launch.yaml; it is there to start the run by hand.
    """
    files = {run.launch_file: accelerate_config(config, gpus, int(os.environ.get(MACHINE_RANK, "0")))}
    if config.compute.deepspeed_stage:
        files[run.deepspeed_file] = deepspeed_config(config)
    for path, content in files.items():
        storage.write_bytes(path, json.dumps(content, indent=2).encode() + b"\n")
    return argv(run)


def argv(work: Work) -> list[str]:
    """The command that trains this run, or watches the machine that does, or does this job.

    One process needs no launcher: all that accelerate's would do is set what `trainer_environment` sets, import torch
    a second time (2 s) and hold 0.4 GB for as long as the run lasts.
    """
    if not isinstance(work, Run):
        return [sys.executable, "-m", processes.JOB, str(work.path)]
    compute = work.config().compute
    if compute.backend != "local":
        return [sys.executable, "-m", "studio.remote.watch", str(work.path)]
    if compute.num_processes == 1:
        return [sys.executable, "-m", processes.TRAINER, str(work.path)]
    if compute.num_machines == 1:
        return [sys.executable, "-m", "studio.launch.ranks", str(work.path), str(compute.num_processes)]
    return [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(work.launch_file),
            "-m", processes.TRAINER, str(work.path)]


def gpus(run: Run) -> int:
    """How many GPUs this machine has."""
    return len(machine.facts(run.home)["gpus"])


def _must_download(config: config_.Config) -> bool:
    try:
        return source_.locate(config.model.base, config.model.revision, config.model.variant) is None
    except families.BaseProblem:  # the trainer meets it again and says it as an event
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
