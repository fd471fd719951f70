"""The learning rate of each update, and one update: clip, step, skip what is not finite; what a checkpoint keeps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, TypedDict

import torch

from studio.config import Optim
from studio.optimizers import OPTIMIZERS, AdamW

POINT = "point"  # where the gradient was taken, kept beside an optimizer's state when one draws with other weights
OF_THE_CONFIG = ("weight_decay", "eps", "scale")  # what a group has from the settings alone, which a branch may change
Rate = Callable[[int], float]
Named = dict[str, torch.Tensor]  # the trained parameters by name, in the order of optimizer and average
Group = dict[str, Any]  # of torch's: {"params"}, "scale" (its share of the run's rate), and the hyperparameters
Number = int | float
ScalerState = dict[str, Number]  # the state of torch's GradScaler


class Numbers(TypedDict):
    """What `Updater.state_dict` gives beside tensors, as `optimizer.json` has it."""

    tensors: dict[str, Number]  # by "kind.parameter"
    groups: list[dict[str, Number]]


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

    def cosine_with_restarts(k: int) -> float:
        if progress(k) >= 1.0:
            return 0.0
        return 0.5 * (1.0 + math.cos(math.pi * (progress(k) % 1.0)))

    shapes: dict[str, Callable[[int], float]] = {
        "constant": lambda k: 1.0,
        "constant_with_warmup": lambda k: 1.0,
        "linear": lambda k: 1.0 - progress(k),
        "cosine": lambda k: 0.5 * (1.0 + math.cos(math.pi * progress(k))),
        "cosine_with_restarts": cosine_with_restarts,
        "polynomial": polynomial,
    }
    shape = shapes[kind]
    return lambda k: rate * (k / warmup if k < warmup else shape(k))


def rate_of(settings: Optim, global_batch_size: int, steps: int) -> Rate:
    """The learning rate of each update of a run of `steps` updates, by the `optim` section."""
    peak = settings.learning_rate or 0.0
    if settings.scale_lr:
        peak *= global_batch_size
    shape = schedule(settings.lr_scheduler or "constant", peak, settings.lr_warmup_steps or 0, steps)
    return lambda k: settings.lr_multiplier * shape(k)


class Updater:
    """Applies the gradients that the parameters hold. `max_norm` 0 clips nothing, and the norm is still measured.

    `optimizers` has one entry here. Everything that a checkpoint keeps of it is read and taken back as plain tensors
    and numbers (`state_dict`, `load_state_dict`), so that no pickle is needed and a resumed run repeats every bit.
    """

    partial = False  # whether a non-finite gradient may leave a part of an update done

    def __init__(self, kind: AdamW, groups: list[Group], settings: Optim, rate: Rate,
                 scaler: torch.amp.GradScaler | None):
        self.kind = kind
        self.rate = rate
        self.max_norm = settings.max_grad_norm
        self.parameters: list[torch.Tensor] = list(chain.from_iterable(group["params"] for group in groups))
        self.scaler = scaler  # for fp16
        self.optimizers = self._build(groups, settings)

    def _build(self, groups: list[Group], settings: Optim) -> list[torch.optim.Optimizer]:
        return [self.kind.build(groups, settings)]

    def begin(self, step: int, loss: torch.Tensor) -> None:
        """Update number `step` (from 0) is about to run its last backward pass; `loss` is the whole global batch's."""

    def __call__(self, step: int, loss: torch.Tensor) -> torch.Tensor:
        """Update number `step`; returns the gradient's norm before clipping, on the device.

        Non-finite losses or gradients leave weights and moments as they are: torch's fused kernel reads that from
        `found_inf` on the device, and no value travels to the host; for the other optimizers the host reads it.
        """
        self._set_rate(step)
        optimizer = self.optimizers[0]
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)
        limit = self.max_norm if self.max_norm > 0 else math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, limit, foreach=True)
        if self.scaler is not None:
            self.scaler.step(optimizer)
            self.scaler.update()
        else:
            self._guarded_step(optimizer, ~(norm + loss).isfinite())
        optimizer.zero_grad(set_to_none=True)
        return norm

    def _set_rate(self, step: int) -> None:
        lr = self.rate(step)
        for group in self._groups():
            group["lr"] = lr * group.get("scale", 1.0)

    def _guarded_step(self, optimizer: torch.optim.Optimizer, bad: torch.Tensor) -> None:
        """A step, unless the scalar `bad` holds on the device."""
        if self.kind.skips_on_device:
            _step_unless(optimizer, bad)
        elif not bad.item():
            optimizer.step()

    @contextmanager
    def inference_weights(self) -> Iterator[None]:
        """The parameters hold the weights one draws with inside (the average of an optimizer that keeps one)."""
        if not self.kind.averages:
            yield
            return
        # Leaving the average by arithmetic would round: the training point is put aside, off the GPU, and put back.
        aside = [p.detach().to("cpu", copy=True) for p in self.parameters]
        schedulefree: list[Any] = self.optimizers
        for optimizer in schedulefree:
            optimizer.eval()
        try:
            yield
        finally:
            for parameter, value in zip(self.parameters, aside, strict=True):
                parameter.data.copy_(value)
            for group in self._groups():
                group["train_mode"] = True

    def state_dict(self, named: Named) -> tuple[dict[str, torch.Tensor], Numbers]:
        """What the optimizers keep: tensors by "kind.parameter" in their own types, and plain numbers."""
        tensors: dict[str, torch.Tensor] = {}
        numbers: dict[str, Number] = {}
        for name, parameter in named.items():
            for kind, value in self._optimizer_of(parameter).state.get(parameter, {}).items():
                if not isinstance(value, torch.Tensor):
                    numbers[f"{kind}.{name}"] = value
                elif kind not in self.kind.constants:
                    tensors[f"{kind}.{name}"] = value.detach().contiguous()
            if self.kind.averages:
                tensors[f"{POINT}.{name}"] = parameter.detach().contiguous()
        return tensors, {"tensors": numbers, "groups": list(map(finite_numbers, self._groups()))}

    def load_state_dict(self, named: Named, tensors: dict[str, torch.Tensor], plain: Numbers) -> None:
        """Take over what `state_dict` gave; `tensors` and `plain` may come from a file."""
        states: dict[str, dict[str, torch.Tensor | Number]] = {name: {} for name in named}
        for key, value in {**tensors, **plain["tensors"]}.items():
            kind, _, name = key.partition(".")
            states[name][kind] = value.to(named[name].device) if isinstance(value, torch.Tensor) else value
        for name, parameter in named.items():
            self._restore(parameter, states[name])
        for group, values in zip(self._groups(), plain["groups"], strict=True):
            group.update(without_settings(values))

    def scaler_state(self) -> ScalerState | None:
        """The state of fp16's gradient scaler; None where there is none."""
        if self.scaler is None:
            return None
        return self.scaler.state_dict()

    def take_scaler_state(self, state: ScalerState | None) -> None:
        """Take over what `scaler_state` gave."""
        if self.scaler is not None and state:
            self.scaler.load_state_dict(state)

    def _restore(self, parameter: torch.Tensor, state: dict[str, torch.Tensor | Number]) -> None:
        """Give a parameter its optimizer's state, and the point at which its gradient is taken where that is kept."""
        point = state.pop(POINT, None)
        if isinstance(point, torch.Tensor):
            parameter.data.copy_(point)
        if state:
            optimizer = self._optimizer_of(parameter)
            optimizer.state[parameter] = state
            self.kind.restore(optimizer, parameter)

    def _groups(self) -> list[Group]:
        return list(chain.from_iterable(optimizer.param_groups for optimizer in self.optimizers))

    def _optimizer_of(self, parameter: torch.Tensor) -> torch.optim.Optimizer:
        return self.optimizers[0]


class FusedUpdater(Updater):
    """Updates each parameter in the backward pass as soon as its gradient is there, and frees the gradient.

    One optimizer for each parameter, stepped by a hook (torch's tutorial "optimizer step in backward"). A parameter's
    hook runs when every use of it in the graph has given its share, so nothing later in the pass, recomputation by
    gradient checkpointing included, reads it. Without the norm of all gradients there is no clipping.

    A non-finite loss skips the whole update, since it is known before. A non-finite gradient under a finite loss skips
    the parameters it belongs to; those before them in the pass are already updated, by finite gradients. So weights
    and moments stay finite, and the step counts as not finite, because its norm is.
    """

    partial = True

    def _build(self, groups: list[Group], settings: Optim) -> list[torch.optim.Optimizer]:
        self._mine: dict[torch.Tensor, torch.optim.Optimizer] = {}
        for group in groups:
            for parameter in group["params"]:
                self._mine[parameter] = self.kind.build([{**group, "params": [parameter]}], settings)
        self._armed = False  # in the last backward pass of an update; in those before, gradients add up
        self._norms: list[torch.Tensor] = []
        self._bad = torch.zeros((), dtype=torch.bool)
        for parameter in self.parameters:
            parameter.register_post_accumulate_grad_hook(self._apply)
        return list(self._mine.values())

    def begin(self, step: int, loss: torch.Tensor) -> None:
        self._set_rate(step)
        self._armed = True
        self._norms = []
        self._bad = ~loss.isfinite()

    def __call__(self, step: int, loss: torch.Tensor) -> torch.Tensor:
        """The norm of the gradients that were applied, over all parameters."""
        self._armed = False
        if not self._norms:
            return torch.zeros((), device=loss.device)
        return torch.stack(self._norms).norm()

    def _apply(self, parameter: torch.Tensor) -> None:
        if not self._armed or parameter.grad is None:
            return
        norm = parameter.grad.norm()
        self._norms.append(norm)
        self._guarded_step(self._mine[parameter], self._bad | ~norm.isfinite())
        parameter.grad = None

    def _optimizer_of(self, parameter: torch.Tensor) -> torch.optim.Optimizer:
        return self._mine[parameter]


def make(groups: list[Group], settings: Optim, rate: Rate, scaler: torch.amp.GradScaler | None = None) -> Updater:
    """The updater of the `optim` section. A group of parameters learns at `scale` times the run's rate."""
    kind = FusedUpdater if settings.fused_backward else Updater
    return kind(OPTIMIZERS[settings.name], groups, settings, rate, scaler)


def finite_numbers(group: Group) -> dict[str, Number]:
    """What of an optimizer's group can be written as JSON."""
    return {name: value for name, value in group.items() if isinstance(value, Number) and math.isfinite(value)}


def without_settings(values: dict[str, Number]) -> dict[str, Number]:
    """What of a saved group holds on: a branch may have changed the settings (OF_THE_CONFIG)."""
    return {name: value for name, value in values.items() if name not in OF_THE_CONFIG}


def _step_unless(optimizer: Any, bad: torch.Tensor) -> None:
    """A step of torch's fused kernel, which reads on the device whether the scalar `bad` forbids it."""
    optimizer.grad_scale = None
    optimizer.found_inf = bad.float()
    try:
        optimizer.step()
    finally:
        del optimizer.grad_scale
        del optimizer.found_inf
