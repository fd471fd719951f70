"""The same modules made quicker for training on CPU cores; used by build_base.py, its effect is on time alone."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import torch
from torch import nn

# Big blocks kept by the process, in huge pages: asking the kernel for fresh ones at every step costs a tenth of it.
MALLOC = (
    "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:"
    "glibc.malloc.trim_threshold=100000000000:glibc.malloc.top_pad=268435456"
)


def restart_with_settings() -> None:
    """Starts this program anew with the allocator's and the threads' settings, which are read only at a start."""
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        # A thread that waits for the other soon sleeps, so that it takes no time from the machine's other work.
        settings = {"GLIBC_TUNABLES": MALLOC, "GOMP_SPINCOUNT": "20000"}
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **settings})


class Threads:
    """One thread or `most`, whichever is quicker at present: on a busy machine a second one mostly waits.

    Tries both for a few steps every `again` seconds.
    """

    TRIED = 3

    def __init__(self, most: int, again: float = 90) -> None:
        self.choices, self.again = sorted({1, most}, reverse=True), again
        self.spent: dict[int, float] = {}
        self._begin(time.monotonic())

    def _begin(self, now: float) -> None:
        self.waiting, self.spent, self.steps, self.last = list(self.choices), {}, 0, now
        torch.set_num_threads(self.waiting[0])

    def after_step(self) -> None:
        now = time.monotonic()
        if not self.waiting:
            if now - self.last > self.again:
                self._begin(now)
            return
        self.steps += 1
        if self.steps < self.TRIED:
            return
        self.spent[self.waiting.pop(0)] = now - self.last
        self.steps, self.last = 0, now
        torch.set_num_threads(self.waiting[0] if self.waiting else min(self.spent, key=self.spent.__getitem__))


class _GroupNorm(torch.autograd.Function):
    """Group normalisation of channels-last tensors by sums over each channel: half the time of the built-in one."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, groups: int, eps: float) -> Any:
        batch, channels = x.shape[:2]
        rows = x.flatten(2).transpose(1, 2)
        size = rows.shape[1] * channels // groups
        mean = rows.sum(1, dtype=torch.float32).view(batch, groups, -1).sum(2) / size
        square = (rows * rows).sum(1, dtype=torch.float32).view(batch, groups, -1).sum(2) / size
        inverse = ((square - mean * mean).clamp_min(0) + eps).rsqrt()
        mean = mean.repeat_interleave(channels // groups, 1)
        inverse = inverse.repeat_interleave(channels // groups, 1)
        scale = weight * inverse
        shift = bias - mean * scale
        ctx.save_for_backward(rows, weight, mean, inverse)
        ctx.groups, ctx.shape = groups, x.shape
        result = torch.addcmul(shift.to(x.dtype)[:, None], rows, scale.to(x.dtype)[:, None])
        return result.transpose(1, 2).view(x.shape)

    @staticmethod
    def backward(ctx: Any, given: torch.Tensor) -> Any:
        rows, weight, mean, inverse = ctx.saved_tensors
        batch, count, channels = rows.shape
        given = given.flatten(2).transpose(1, 2)

        def over_group(values: torch.Tensor) -> torch.Tensor:
            sums = values.view(batch, ctx.groups, -1).sum(2) * (ctx.groups / (count * channels))
            return sums.repeat_interleave(channels // ctx.groups, 1)

        plain = given.sum(1, dtype=torch.float32)
        by_value = ((given * rows).sum(1, dtype=torch.float32) - mean * plain) * inverse
        slope = -inverse * inverse * over_group(weight * by_value)
        offset = -slope * mean - inverse * over_group(weight * plain)
        result = torch.addcmul(offset.to(rows.dtype)[:, None], rows, slope.to(rows.dtype)[:, None])
        result.addcmul_(given, (weight * inverse).to(rows.dtype)[:, None])
        return result.transpose(1, 2).view(ctx.shape), by_value.sum(0), plain.sum(0), None, None


def quicken(model: nn.Module) -> None:
    """Puts the quick group normalisation into a model for bf16 autocast training; its weights stay as they are."""

    def forward(norm: nn.GroupNorm, x: torch.Tensor) -> torch.Tensor:
        return _GroupNorm.apply(x.to(torch.bfloat16), norm.weight, norm.bias, norm.num_groups, norm.eps)

    for module in model.modules():
        if isinstance(module, nn.GroupNorm):
            module.forward = forward.__get__(module)


def orthogonal(matrices: torch.Tensor, rounds: int = 5) -> torch.Tensor:
    """Roughly the nearest orthogonal matrices of a stack (K, M, N), by Newton-Schulz rounds in bf16."""
    tall = matrices.size(1) > matrices.size(2)
    x = (matrices.transpose(1, 2) if tall else matrices).to(torch.bfloat16)
    x = x / (x.float().norm(dim=(1, 2), keepdim=True) + 1e-7).to(torch.bfloat16)
    for _ in range(rounds):
        square = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * (square @ square)) @ x
    return (x.transpose(1, 2) if tall else x).float()


class Muon(torch.optim.Optimizer):
    """Momentum steps made orthogonal, for weights with rows and columns; sized so that AdamW's rates fit it."""

    def __init__(self, weights: list[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[tuple[nn.Parameter, torch.Tensor]]] = {}
            for weight in group["params"]:
                state = self.state[weight]
                if not state:
                    state["average"] = torch.zeros_like(weight)
                state["average"].lerp_(weight.grad, 1 - group["momentum"])
                ahead = weight.grad.lerp(state["average"], group["momentum"]).flatten(1)
                by_shape.setdefault(tuple(ahead.shape), []).append((weight, ahead))
            for shape, items in by_shape.items():
                steps = orthogonal(torch.stack([ahead for _, ahead in items]))
                size = -group["lr"] * 0.2 * max(shape) ** 0.5
                for (weight, _), step in zip(items, steps, strict=True):
                    weight.add_(step.view(weight.shape), alpha=size)
