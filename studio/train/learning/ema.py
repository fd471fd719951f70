"""A running average of the trained weights, with the semantics of diffusers' EMAModel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from studio.config import Ema as EmaSettings

PIECE = 64 << 20  # bytes of weights that visit the CPU at once
# torch has no public name for the fused kernel; it works in place on a list of tensors.
lerp_all_ = torch._foreach_lerp_  # pyright: ignore[reportPrivateImportUsage]


@dataclass(frozen=True)
class Decay:
    """The decay of the n-th update, n counted from 1.

    0 (a copy) up to `update_after_step` + 1; with k updates since then (1+k)/(10+k), or 1 - (1 + k/inv_gamma)^-power
    with `warmup`; at most `limit`, at least `minimum`.
    """

    limit: float
    minimum: float = 0.0
    update_after_step: int = 0
    warmup: bool = False
    inv_gamma: float = 1.0
    power: float = 2 / 3

    def __call__(self, n: int) -> float:
        k = n - self.update_after_step - 1
        if k <= 0:
            return 0.0
        value = 1 - (1 + k / self.inv_gamma) ** -self.power if self.warmup else (1 + k) / (10 + k)
        return max(min(value, self.limit), self.minimum)


class Ema:
    """The average of `parameters`, one fp32 copy beside them, or with `offload` on the CPU."""

    kinds = ("raw", "ema")

    def __init__(self, parameters: list[torch.Tensor], decay: Decay, offload: bool = False):
        self.parameters = parameters
        self.decay = decay
        self.updates = 0
        if offload:
            self.shadow = [p.detach().to("cpu", copy=True) for p in parameters]
            self._pieces = list(_pieces(parameters))
        else:
            self.shadow = [p.detach().clone() for p in parameters]
            self._pieces = [slice(None)]

    @torch.no_grad()
    def update(self) -> None:
        """Take the parameters in after an optimizer step: s += (1-d)(p-s), in place."""
        self.updates += 1
        weight = 1.0 - self.decay(self.updates)
        for piece in self._pieces:
            shadows = self.shadow[piece]
            parameters = zip(self.parameters[piece], shadows, strict=True)
            current = [p.detach().to(s.device) for p, s in parameters]
            lerp_all_(shadows, current, weight)

    @contextmanager
    def average_parameters(self) -> Iterator[None]:
        """The parameters hold the average inside, and an error swaps them back too; on one device nothing is copied."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def kinds_at(self, step: int) -> tuple[str, ...]:
        """The kinds of weights that differ after `step` updates: before the first one both are the same."""
        return self.kinds if step else ("raw",)

    def facts(self) -> dict[str, float]:
        """What diffusers keeps beside the average in `config.json`, by its names."""
        decay = self.decay
        return {"decay": decay.limit, "min_decay": decay.minimum, "optimization_step": self.updates,
                "update_after_step": decay.update_after_step, "use_ema_warmup": decay.warmup,
                "inv_gamma": decay.inv_gamma, "power": decay.power}

    def _swap(self) -> None:
        for parameter, shadow in zip(self.parameters, self.shadow, strict=True):
            if parameter.device == shadow.device:
                parameter.data, shadow.data = shadow.data, parameter.data
            else:
                aside = parameter.detach().to(shadow.device, copy=True)
                parameter.data.copy_(shadow)
                shadow.copy_(aside)


class NoEma(Ema):
    """No average: nothing to update, only raw weights to save and draw."""

    kinds = ("raw",)

    def __init__(self) -> None:
        super().__init__([], Decay(0.0))

    def update(self) -> None:
        """Nothing to do."""


def average_of(parameters: list[torch.Tensor], settings: EmaSettings) -> Ema:
    """The average that the `ema` section asks for."""
    if not settings.enabled:
        return NoEma()
    decay = Decay(settings.decay, settings.min_decay, settings.update_after_step, settings.warmup, settings.inv_gamma,
                  settings.power)
    return Ema(parameters, decay, settings.offload)


def _pieces(parameters: list[torch.Tensor]) -> Iterator[slice]:
    """Neighbouring parameters of about PIECE bytes together."""
    first, size = 0, 0
    for index, parameter in enumerate(parameters):
        size += parameter.nbytes
        if size >= PIECE or index == len(parameters) - 1:
            yield slice(first, index + 1)
            first, size = index + 1, 0
