"""How large a base, a checkpoint and what a process keeps are, from the headers of the base's files."""

from __future__ import annotations

import math
from pathlib import Path

from studio import config as config_
from studio import families, tensors
from studio.config import Config
from studio.families import Source
from studio.messages import Message
from studio.optimizers import OPTIMIZERS


def parameters(source: Source, part: str) -> int:
    """The number of weights in one part of a base, from its safetensors headers (0 when its files are not here)."""
    return sum(of(source, part))


def of(source: Source, part: str) -> list[int]:
    """The number of weights in each tensor of one part of a base."""
    sizes: list[int] = []
    for file in _files(source, part):
        sizes += map(math.prod, _shapes(file).values())
    return sizes


def of_lora(source: Source, part: str, lora: config_.Lora, targets: tuple[str, ...]) -> list[int]:
    """The number of weights in each tensor of LoRA layers beside the `targets` of one part."""
    ends = tuple(f".{target}.weight" for target in targets)
    sizes: list[int] = []
    for file in _files(source, part):
        for name, shape in _shapes(file).items():
            if f".{name}".endswith(ends):
                sizes += [lora.rank * shape[0], lora.rank * shape[1]]
                if lora.dora:
                    sizes.append(shape[0])
    return sizes


def checkpoint_bytes(trained: list[int], config: Config) -> int:
    """The size of a checkpoint: fp32 weights, raw and averaged (a LoRA's twice: for other programs too), and the
    optimizer's state.

    An optimizer that averages by itself adds the point where training goes on from.
    """
    optimizer = OPTIMIZERS[config.optim.name]
    forms = 2 if config.model.method == "lora" else 1
    copies = (1 + config.ema.enabled) * forms + optimizer.averages
    return 4 * copies * sum(trained) + sum(map(optimizer.state_bytes, trained))


def weight_bytes(config: Config, trained: list[int], frozen: int, gpu: bool = False) -> int:
    """Bytes that each process keeps of weights, gradients, the optimizer's state and the average, weights fp32.

    An average that is offloaded is not on the `gpu`.
    ZeRO (Rajbhandari et al. 2020) shares out the optimizer's state, with a copy of the weights that it belongs to
    (stage 1), the gradients too (2), the weights and the average too (3)."""
    count = sum(trained)
    stage = config.compute.deepspeed_stage
    share = 1 / config.compute.num_processes
    state: float = sum(map(OPTIMIZERS[config.optim.name].state_bytes, trained))
    gradients: float = 1  # the share of each that a process keeps
    weights: float = 1
    if stage >= 1:
        state = (state + 4 * count) * share
    if stage >= 2:
        gradients = share
    if stage == 3:
        weights = share
    if config.optim.fused_backward:
        gradients = 0
    average = config.ema.enabled and not (gpu and config.ema.offload)
    return math.ceil(4 * (frozen * weights + count * (gradients + weights * (1 + average))) + state)


def gathered_bytes(config: Config, trained: list[int], frozen: int, gpu: bool = False) -> int:
    """Bytes that rank 0 holds besides while it saves or draws what is shared out: at stage 3 all weights and the
    average, at any stage the optimizer's state; the latter two not on the `gpu`."""
    stage = config.compute.deepspeed_stage
    gathered = 0
    if stage and not gpu:
        gathered += sum(map(OPTIMIZERS[config.optim.name].state_bytes, trained))
    if stage == 3:
        gathered += 4 * (frozen + sum(trained) * (1 + (config.ema.enabled and not gpu)))
    return gathered


def _files(source: Source, part: str) -> list[Path]:
    """The safetensors files of a part that would be loaded (none when they are not here)."""
    files = sorted((source.folder / part).glob("*.safetensors"))
    if source.variant:
        of_variant = [file for file in files if f".{source.variant}" in file.name]
        if of_variant:
            return of_variant
    return [file for file in files if "." not in file.stem] or files


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors in a safetensors file, from its header."""
    try:
        return {name: tensor.shape for name, tensor in families.headers(file).items()}
    except tensors.NotSafetensors as error:
        raise families.BaseProblem(Message("{file}: fetch the base again",
                                           file=f"{file.parent.name}/{error}")) from None
