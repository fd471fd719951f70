"""A running average of the trained weights, with the semantics of diffusers' EMAModel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def decay_at(n: int, limit: float) -> float:
    """The decay of the n-th update, n counted from 1: 0 for the first (a copy), then n/(n+9), at most `limit`."""
    return 0.0 if n <= 1 else min(n / (n + 9), limit)


class Ema:
    """The average of `parameters`, one fp32 copy beside them."""

    kinds = ("raw", "ema")

    def __init__(self, parameters: list[torch.Tensor], decay: float):
        self.parameters, self.decay, self.updates = parameters, decay, 0
        self.shadow = [p.detach().clone() for p in parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take the parameters in after an optimizer step: s += (1-d)(p-s), in place."""
        self.updates += 1
        lerp: Any = torch._foreach_lerp_  # pyright: ignore[reportPrivateImportUsage]
        lerp(self.shadow, self.parameters, 1.0 - decay_at(self.updates, self.decay))

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """The parameters hold the average inside; nothing is copied, and an error swaps them back too."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def facts(self) -> dict[str, Any]:
        """What diffusers keeps beside the average in `config.json`."""
        return {"decay": self.decay, "min_decay": 0.0, "optimization_step": self.updates, "update_after_step": 0,
                "use_ema_warmup": False, "inv_gamma": 1.0, "power": 2 / 3}

    def _swap(self) -> None:
        for parameter, shadow in zip(self.parameters, self.shadow, strict=True):
            parameter.data, shadow.data = shadow.data, parameter.data


class NoEma(Ema):
    """No average: nothing to update, only raw weights to save and draw."""

    kinds = ("raw",)

    def __init__(self) -> None:
        super().__init__([], 0.0)

    def update(self) -> None:
        """Nothing to do."""
