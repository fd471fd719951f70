"""How a run's processes train together: one alone, several that hold the same (DDP), or shares of it (zero.py)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from studio.config import Config
from studio.train.learning import optim
from studio.train.learning.adapters import FullWeights
from studio.train.learning.ema import Ema, average_of
from studio.train.learning.trainable import TrainableModel
from studio.train.parallel.distributed import Distributed


@dataclass
class EvalView:
    """What rank 0 draws, measures, saves and loads with, as if it trained alone."""

    model: TrainableModel
    trained: FullWeights
    ema: Ema
    update: optim.Updater


class Layout(NamedTuple):
    """What a tensor of the optimizer's state is, for a rank that has yet to make it."""

    shape: torch.Size
    dtype: torch.dtype
    on_cpu: bool  # Adam's counts are, whatever the device


class Engine:
    """One process, or several that hold the same and add up their gradients.

    `model` is what runs forward, `update` applies the gradients, `ema` is the average; all three are this rank's.
    """

    def __init__(self, distributed: Distributed, trainable: TrainableModel, trained: FullWeights, config: Config,
                 rate: optim.Rate):
        self.distributed = distributed
        self.trained = trained
        self.ema = average_of(list(trained.named().values()), config.ema)
        self.model: torch.nn.Module = distributed.accelerator.prepare_model(trainable)
        groups = trained.groups(config.optim.text_encoder_learning_rate, config.optim.learning_rate or 1.0)
        self.update = optim.make(groups, config.optim, rate, distributed.accelerator.scaler)
        self.eval_view = EvalView(trainable, trained, self.ema, self.update)

    def accumulate(self, *, sync: bool) -> AbstractContextManager[None]:
        """Forward and backward of one micro-batch go in here; `sync`: an update follows, so gradients are added up."""
        if sync:
            return nullcontext()
        return self.distributed.accelerator.no_sync(self.model)

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradient of `loss` to what the weights have."""
        self.distributed.accelerator.backward(loss)

    @contextmanager
    def gathered_parameters(self, *, optimizer: bool = False) -> Iterator[None]:
        """Inside, rank 0's `eval_view` holds all weights and the average, with `optimizer` also its state.

        Every rank comes here; only rank 0 uses what is shown."""
        yield

    def broadcast_state(self) -> None:
        """Every rank takes over what rank 0's `eval_view` was given; called by all, inside
        `gathered_parameters(optimizer=True)`."""
        distributed = self.distributed
        if distributed.world_size == 1:
            return
        named = self.trained.named()
        tensors, numbers = self.update.state_dict(named)
        layouts = {key: Layout(value.shape, value.dtype, value.device.type == "cpu") for key, value in tensors.items()}
        layouts, numbers, scale, self.ema.updates = distributed.broadcast_object(
            (layouts, numbers, self.update.scaler_state(), self.ema.updates))
        self.update.take_scaler_state(scale)
        if not distributed.is_main:
            tensors = self._room_for(layouts)
        for value in [*named.values(), *self.ema.shadow, *map(tensors.__getitem__, layouts)]:
            distributed.broadcast_(value.detach())
        if not distributed.is_main:
            self.update.load_state_dict(named, tensors, numbers)

    def _room_for(self, layouts: dict[str, Layout]) -> dict[str, torch.Tensor]:
        """Empty tensors of these layouts, into which rank 0's are received."""
        tensors = {}
        for key, layout in layouts.items():
            device = "cpu" if layout.on_cpu else self.distributed.device
            tensors[key] = torch.empty(layout.shape, dtype=layout.dtype, device=device)
        return tensors


def inference_weights(kind: str, ema: Ema, update: optim.Updater) -> AbstractContextManager[None]:
    """Inside, the parameters hold the average ("ema"), or the raw weights as one draws with them ("raw")."""
    if kind == "ema":
        return ema.average_parameters()
    return update.inference_weights()


def make(deepspeed: Path | None, distributed: Distributed, trainable: TrainableModel, trained: FullWeights,
         config: Config, rate: optim.Rate) -> Engine:
    """The engine of this run; `deepspeed` is DeepSpeed's config file where a ZeRO stage is set."""
    if not config.compute.deepspeed_stage:
        return Engine(distributed, trainable, trained, config, rate)
    from studio.train.parallel.zero import Zero  # DeepSpeed takes seconds to load and is not everywhere

    assert deepspeed is not None
    return Zero(deepspeed, distributed, trainable, trained, config, rate)
