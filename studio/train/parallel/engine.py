"""How a run's processes train together: one alone, several that hold the same (DDP), or shares of it (zero.py)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from studio.config import Config
from studio.train.learning import optim
from studio.train.learning.adapters import Whole
from studio.train.learning.ema import Ema, average_of
from studio.train.learning.trainable import Trainee
from studio.train.parallel.distributed import Host


@dataclass
class Shown:
    """What rank 0 draws, measures, saves and loads with, as if it trained alone."""

    model: Trainee
    trained: Whole
    ema: Ema
    update: optim.Updater


class Engine:
    """One process, or several that hold the same and add up their gradients.

    `model` is what runs forward, `update` applies the gradients, `ema` is the average; all three are this rank's.
    """

    def __init__(self, host: Host, trainee: Trainee, trained: Whole, config: Config, rate: optim.Rate):
        self.host, self.trained = host, trained
        self.ema = average_of(list(trained.named().values()), config.ema)
        self.model: Any = host.accelerator.prepare_model(trainee)
        groups = trained.groups(config.optim.text_encoder_learning_rate, config.optim.learning_rate or 1.0)
        self.update = optim.make(groups, config.optim, rate, host.accelerator.scaler)
        self.shown = Shown(trainee, trained, self.ema, self.update)

    def micro(self, last: bool) -> AbstractContextManager[Any]:
        """Forward and backward of one micro-batch go in here; `last`: an update follows, so gradients are added up."""
        return nullcontext() if last else self.host.accelerator.no_sync(self.model)

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradient of `loss` to what the weights have."""
        self.host.accelerator.backward(loss)

    @contextmanager
    def whole(self, *, optimizer: bool = False) -> Iterator[None]:
        """Inside, rank 0's `shown` holds all weights and the average, with `optimizer` also its state.

        Every rank comes here; only rank 0 uses what is shown."""
        yield

    def spread(self) -> None:
        """Every rank takes over what rank 0's `shown` was given; called by all, inside `whole(optimizer=True)`."""
        host, named = self.host, self.trained.named()
        if host.ranks == 1:
            return
        tensors, plain = self.update.state(named)
        kept = {key: (value.shape, value.dtype, value.device.type == "cpu") for key, value in tensors.items()}
        scaler = self.update.scaler
        scale = scaler.state_dict() if scaler is not None else None
        kept, plain, scale, self.ema.updates = host.tell((kept, plain, scale, self.ema.updates))
        if scaler is not None:
            scaler.load_state_dict(scale)
        if not host.main:
            tensors = {key: torch.empty(shape, dtype=dtype, device="cpu" if on_cpu else host.device)
                       for key, (shape, dtype, on_cpu) in kept.items()}
        for value in [*named.values(), *self.ema.shadow, *(tensors[key] for key in kept)]:
            host.share(value.detach())
        if not host.main:
            self.update.take(named, tensors, plain)


def make(deepspeed: Path | None, host: Host, trainee: Trainee, trained: Whole, config: Config,
         rate: optim.Rate) -> Engine:
    """The engine of this run; `deepspeed` is DeepSpeed's config file where a ZeRO stage is set."""
    if not config.compute.deepspeed_stage:
        return Engine(host, trainee, trained, config, rate)
    from studio.train.parallel.zero import Zero  # DeepSpeed takes seconds to load and is not everywhere

    assert deepspeed is not None
    return Zero(deepspeed, host, trainee, trained, config, rate)
