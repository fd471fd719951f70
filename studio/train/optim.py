"""The optimizer, the learning rate of each update, and one update: clip, step, skip what is not finite."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

Rate = Callable[[int], float]


def schedule(kind: str, rate: float, warmup: int, steps: int) -> Rate:
    """The learning rate of update k = 0, 1, ...: diffusers' `get_scheduler` for a run of `steps` updates.

    A pure function of the update, so that neither accumulation nor the number of processes changes it; unlike there
    the cosine stays at its end value after `steps`.
    """

    def progress(k: int) -> float:
        return min(1.0, (k - warmup) / max(1, steps - warmup))

    def polynomial(k: int) -> float:
        end = 1e-7 / rate
        return end + (1.0 - end) * (1.0 - progress(k))

    def restarts(k: int) -> float:
        return 0.0 if progress(k) >= 1.0 else 0.5 * (1.0 + math.cos(math.pi * (progress(k) % 1.0)))

    shapes: dict[str, Callable[[int], float]] = {
        "constant": lambda k: 1.0,
        "constant_with_warmup": lambda k: 1.0,
        "linear": lambda k: 1.0 - progress(k),
        "cosine": lambda k: 0.5 * (1.0 + math.cos(math.pi * progress(k))),
        "cosine_with_restarts": restarts,
        "polynomial": polynomial,
    }
    shape = shapes[kind]
    return lambda k: rate * (k / warmup if k < warmup else shape(k))


def adamw(groups: list[dict[str, Any]], settings: Any) -> torch.optim.AdamW:
    """Decoupled weight decay Adam (Loshchilov & Hutter 2019), one fused kernel, from the `optim` section."""
    return torch.optim.AdamW(
        groups, lr=settings.learning_rate, betas=(settings.adam_beta1, settings.adam_beta2),
        eps=settings.adam_epsilon, weight_decay=settings.adam_weight_decay, fused=True)


@dataclass
class Updater:
    """Applies the gradients that `parameters` hold. `max_norm` 0 clips nothing, and the norm is still measured."""

    optimizer: torch.optim.Optimizer
    parameters: list[torch.Tensor]
    rate: Rate
    max_norm: float
    scaler: Any | None  # a GradScaler for fp16

    def __call__(self, step: int, loss: torch.Tensor) -> torch.Tensor:
        """Update number `step` (from 0); returns the gradient's norm before clipping, on the device.

        Non-finite losses or gradients leave weights and moments as they are: the fused kernel reads that from
        `found_inf` on the device, and no value travels to the host.
        """
        lr = self.rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group.get("scale", 1.0)
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        limit = self.max_norm if self.max_norm > 0 else math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, limit, foreach=True)
        if self.scaler is not None:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            self._guarded_step(norm, loss)
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def _guarded_step(self, norm: torch.Tensor, loss: torch.Tensor) -> None:
        fused: Any = self.optimizer
        fused.grad_scale, fused.found_inf = None, (~(norm + loss).isfinite()).float()
        try:
            fused.step()
        finally:
            del fused.grad_scale, fused.found_inf
