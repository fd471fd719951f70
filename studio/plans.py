"""What a run would be, and whether it can be: its recipe beside its base, its sizes beside this machine's."""

from __future__ import annotations

import importlib.util
import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, TypedDict

from studio import config as config_
from studio import families, sizes, storage
from studio.bases import source as source_
from studio.config import Config, PlainConfig, Problem
from studio.datasets.edit_log import Row
from studio.families import Family, Source
from studio.messages import Message
from studio.optimizers import OPTIMIZERS

DISK_MARGIN = 1.2
RUNTIME_BYTES = 700 << 20  # resident size of torch and diffusers themselves


class DatasetRecord(TypedDict, total=False):
    """The data set of a run, as its record names it."""

    id: str
    name: str
    fingerprint: str
    count: int  # of the pictures that are trained on


@dataclass
class Plan:
    """What a run would be. `config` is resolved, and None where a fault forbids it; sizes in bytes, 0 = unknown."""

    config: Config | None = None
    rows: list[Row] = field(default_factory=list)
    source: Source | None = None
    family: Family | None = None
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    weights: int = 0  # of the denoiser
    checkpoint_bytes: int = 0
    disk_bytes: int = 0
    memory_bytes: int = 0
    dataset: DatasetRecord = field(default_factory=DatasetRecord)
    seed: int = field(default_factory=lambda: secrets.randbelow(2**32))  # where the config has none

    def fault(self, path: str, message: str) -> None:
        """Note a problem that belongs to the setting `path`."""
        self.problems.append(Problem(field=path, message=message))


def check_recipe(config: Config, defaults: PlainConfig, plan: Plan) -> None:
    """Note what of a resolved config its family, its base (whose `defaults` these are) or this studio cannot do."""
    family = source_.family_of(config.model)
    check_objective(config, family, plan)
    if plan.source is not None:
        plan.problems += families.side_problems(family, plan.source, sides(config))
    optimizer = OPTIMIZERS[config.optim.name]
    plan.problems += optimizer.faults(config)
    plan.warnings += optimizer.warnings(config)
    _check_method(config, family, defaults, plan)
    for package in config.track.report_to:
        if importlib.util.find_spec(package) is None:
            plan.fault("track.report_to",
                       Message("{package} is not installed here: add it by `pip install {same}` in the studio's "
                               "environment, or leave it out", package=package, same=package))
    _warn_of_numbers(config, defaults, plan)


def _warn_of_numbers(config: Config, defaults: PlainConfig, plan: Plan) -> None:
    """Warn of a resolution that is not the base's, and of updates that ask for more pictures than there are."""
    own = defaults.get("data", {}).get("resolution")
    side = config.data.resolution
    if own and side and not own / 2 <= side <= own * 2:
        plan.warnings.append(Message("the base draws at {own} px: at {side} px it learns poorly", own=own, side=side))
    train = config.train
    global_batch_size = (train.batch_size or 1) * train.gradient_accumulation_steps * config.compute.num_processes
    if plan.rows and global_batch_size > len(plan.rows):
        plan.warnings.append(Message("one update asks for {window} pictures and the data set has {count}: each update "
                                     "sees all of them, and no more", window=global_batch_size, count=len(plan.rows)))


def check_objective(config: Config, family: Family, plan: Plan) -> None:
    """Note what the run cannot learn, and what of the objective has no formula for what it learns."""
    objective = config.objective
    learns = objective.prediction_type or ""
    if learns not in family.prediction_types:
        plan.fault("objective.prediction_type",
                   Message("{family} knows {names}", family=family.title, names=", ".join(family.prediction_types)))
        return
    for name, kinds in families.FORMULAS.items():
        if getattr(objective, name) and learns not in kinds:
            plan.fault(f"objective.{name}", families.no_formula(name, learns))
    if objective.zero_terminal_snr and objective.snr_gamma and learns in families.FORMULAS["zero_terminal_snr"]:
        plan.warnings.append(Message("SNR gamma gives the last time, which zero terminal SNR is about, no weight: set "
                                     "objective.snr_gamma 0"))


def sides(config: Config) -> dict[str, int | None]:
    """Every side of a picture (in pixels) that the config names, by its setting."""
    return {"data.resolution": config.data.resolution,
            "data.bucket_step": config.data.bucket_step if config.data.buckets else None,
            "sample.width": config.sample.width, "sample.height": config.sample.height}


def _check_method(config: Config, family: Family, defaults: PlainConfig, plan: Plan) -> None:
    """Note what cannot be trained of this family, and warn of what a LoRA's file does not carry."""
    if config.model.train_text_encoder and not family.text_encoders:
        plan.fault("model.train_text_encoder",
                   Message("the text encoders of {family} cannot be trained: turn it off", family=family.title))
    if config.model.method != "lora":
        return
    if config.lora.targets not in family.lora_targets:
        known = ", ".join(family.lora_targets) or Message("none, so choose the method `full`")
        plan.fault("lora.targets",
                   Message("{family} has no such layers; there are: {names}", family=family.title, names=known))
    own = defaults.get("objective", {}).get("prediction_type")
    if own and config.objective.prediction_type != own:
        plan.warnings.append(Message("a LoRA does not carry its prediction type: it draws well only where the base's "
                                     "scheduler is set to {kind} (the base's own is {own})",
                                     kind=config.objective.prediction_type, own=own))
    if config.objective.zero_terminal_snr:
        plan.warnings.append(Message("a LoRA does not carry its noise schedule: set rescale_betas_zero_snr and "
                                     "trailing timestep_spacing where it is used"))


def _trained(config: Config, plan: Plan) -> list[int]:
    """The number of weights in each tensor that changes; none when the base's files are not here."""
    family = source_.family_of(config.model)
    source = plan.source
    if source is None:
        return []
    layers = {family.denoiser: family.lora_targets.get(config.lora.targets)}  # that LoRA adds to, by part
    if config.model.train_text_encoder:
        layers |= family.text_encoders
    if config.model.method == "full" or None in layers.values():
        return list(chain.from_iterable(sizes.of(source, part) for part in layers))
    return list(chain.from_iterable(sizes.of_lora(source, part, config.lora, names or ())
                                    for part, names in layers.items()))


def check_space(home: Path, config: Config, machine_facts: Mapping[str, Any], plan: Plan) -> None:
    """Note whether there is disk for (keep + 1) checkpoints, and memory for weights, gradients, optimizer and average;
    activations excluded."""
    trained = _trained(config, plan)
    frozen = 0
    if config.model.method == "lora":
        frozen = plan.weights
    plan.checkpoint_bytes = sizes.checkpoint_bytes(trained, config)
    if not plan.weights:
        plan.warnings.append(Message("the base is not on this machine yet: its download and checkpoints need disk "
                                     "space that is not known before"))
        return
    plan.disk_bytes = disk_bytes(config, plan.checkpoint_bytes)
    gpus = machine_facts["gpus"]
    gathered = sizes.gathered_bytes(config, trained, frozen, bool(gpus))
    plan.memory_bytes = sizes.weight_bytes(config, trained, frozen, bool(gpus)) + RUNTIME_BYTES + gathered
    free = storage.free_bytes(home / "runs")
    if plan.disk_bytes > free:
        plan.fault("checkpoint.keep",
                   Message("{count} checkpoints need {needed} of disk and {free} are free: keep fewer, or delete old "
                           "runs", count=config.checkpoint.keep + 1, needed=_gb(plan.disk_bytes), free=_gb(free)))
    if config.compute.backend != "local":
        return
    each = plan.memory_bytes - gathered
    if gpus:
        _check_memory(each + gathered, gpus[0]["memory_bytes"], gpus[0]["name"], plan, lora=bool(frozen))
    else:
        needed = config_.local_processes(config.compute) * each + gathered
        _check_memory(needed, machine_facts["memory_bytes"], Message("this machine"), plan, lora=bool(frozen))


def disk_bytes(config: Config, checkpoint_bytes: int) -> int:
    """The disk that a run's checkpoints of that size need, one being written beside those that are kept."""
    return math.ceil((config.checkpoint.keep + 1) * DISK_MARGIN * checkpoint_bytes)


def _check_memory(needed: int, memory: int, where: str, plan: Plan, lora: bool) -> None:
    """Note whether the `needed` bytes are there of `memory` bytes in all, `where` being the name of what has them."""
    if needed > memory and lora:
        plan.fault("model.base",
                   Message("this needs at least {needed} of memory for the weights alone and {where} has {memory}: "
                           "choose a smaller base", needed=_gb(needed), where=where, memory=_gb(memory)))
    elif needed > memory:
        plan.fault("model.base",
                   Message("this needs at least {needed} of memory for the weights alone and {where} has {memory}: "
                           "choose a smaller base, or the method `lora`", needed=_gb(needed), where=where,
                           memory=_gb(memory)))
    elif needed > 0.7 * memory:
        plan.warnings.append(Message("memory may run out: the weights alone need {needed} of {memory}; keep the batch "
                                     "size and the resolution low", needed=_gb(needed), memory=_gb(memory)))


def _gb(size: int) -> str:
    """A number of bytes in words."""
    if size >= 1e8:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.0f} MB"
