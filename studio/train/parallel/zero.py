"""DeepSpeed's ZeRO (Rajbhandari et al. 2020): ranks share out the optimizer's state (1), gradients (2), weights (3).

DeepSpeed gets what learns alone, never a frozen encoder, and works in fp32: what it shares out are the weights
themselves. What a checkpoint holds is gathered under the names that one process has, so that any number of ranks, at
any stage, goes on from it.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import deepspeed
import torch
import torch.distributed as dist
from deepspeed import ops
from deepspeed.utils import (
    safe_get_full_optimizer_state,
    safe_set_full_fp32_param,
    safe_set_full_optimizer_state,
    safe_set_local_fp32_param,
    safe_set_local_optimizer_state,
)

from studio.config import Config
from studio.optimizers import OPTIMIZERS
from studio.train.learning import optim
from studio.train.learning.adapters import Whole
from studio.train.learning.ema import average_of
from studio.train.learning.trainable import Trainee
from studio.train.parallel.distributed import Host
from studio.train.parallel.engine import Engine, Shown

MOMENTS = ("exp_avg", "exp_avg_sq")


class SharedUpdater(optim.Updater):
    """The optimizer of this rank's share, stepped and clipped by DeepSpeed, which skips what is not finite.

    `state` is what `Zero.whole` gathered, and what `take` is given `Zero.spread` deals out.
    """

    engine: Any
    gathered: tuple[dict[str, torch.Tensor], dict[str, Any]]

    def __call__(self, step: int, loss: torch.Tensor) -> torch.Tensor:
        self._set_rate(step)
        self.engine.step()
        norm = self.engine.get_global_grad_norm()
        return torch.as_tensor(norm, dtype=torch.float32, device=loss.device).detach()

    def state(self, named: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        return self.gathered

    def take(self, named: dict[str, torch.Tensor], tensors: dict[str, torch.Tensor], plain: dict[str, Any]) -> None:
        self.gathered = tensors, plain


class Zero(Engine):
    """DeepSpeed's engine. At stage 3 `shown` is a twin of the model whose weights are there inside `whole` only."""

    def __init__(self, file: Path, host: Host, trainee: Trainee, trained: Whole, config: Config, rate: optim.Rate):
        self.host, self.trained, self.stage = host, trained, config.compute.deepspeed_stage
        named = trained.named()
        twin, twins = (trainee, trained) if self.stage < 3 else _twin(trainee, trained)
        groups = trained.groups(config.optim.text_encoder_learning_rate, config.optim.learning_rate or 1.0)
        self.update = SharedUpdater(OPTIMIZERS[config.optim.name], groups, config.optim, rate, None)
        self.inner = self.update.optimizers[0]
        # DeepSpeed would have g++ build what only its inference uses: a minute at a machine's first run, and a kill in
        # it leaves a lock at which every later run waits for ever.
        library: Any = ops
        library.__compatible_ops__ = {}
        made = deepspeed.initialize(model=trainee, optimizer=self.inner, model_parameters=None,
                                    config=json.loads(file.read_text()), dist_init_required=False)
        self.model = self.update.engine = made[0]
        self.zero: Any = self.model.optimizer
        self.update.gathered = {}, self._plain()
        self.named: dict[str, Any] = named  # what learns, by name
        self.ema = average_of([p.ds_tensor if self.stage == 3 else p for p in self.named.values()], config.ema)
        if self.stage < 3:
            self.shown = Shown(trainee, trained, self.ema, self.update)
        else:
            self.pairs: list[tuple[Any, Any]] = list(zip(trainee.parameters(), twin.parameters(), strict=True))
            aside = config.ema.model_copy(update={"offload": True})
            self.shown = Shown(twin, twins, average_of(list(twins.named().values()), aside), self.update)

    def micro(self, last: bool) -> AbstractContextManager[Any]:
        self.model.set_gradient_accumulation_boundary(last)
        return nullcontext()

    def backward(self, loss: torch.Tensor) -> None:
        self.model.backward(loss, scale_wrt_gas=False)

    @contextmanager
    def whole(self, *, optimizer: bool = False) -> Iterator[None]:
        if optimizer:
            self.update.gathered = self._gathered_state(), self._plain()
        if self.stage == 3:
            self._fill_twin()
        try:
            yield
        finally:
            self.update.gathered = {}, self._plain()
            if self.stage == 3:
                for tensor in [*(twin for _, twin in self.pairs), *self.shown.ema.shadow]:
                    tensor.data = tensor.data.new_empty(0)

    def spread(self) -> None:
        tensors, plain = self.update.gathered
        steps = [value.item() for key, value in tensors.items() if key.startswith("step.")]
        self.ema.updates, steps, plain = self.host.tell((self.shown.ema.updates, steps, plain))
        if steps:
            self._make_state(max(steps))
        values, averages = list(self.shown.trained.named().values()), self.shown.ema.shadow
        for index, (name, parameter) in enumerate(self.named.items()):
            self._set(parameter, self._told(parameter, values[index]))
            for moment in MOMENTS if steps else ():
                self._set(parameter, self._told(parameter, tensors.get(f"{moment}.{name}")), moment)
            if averages:
                self.ema.shadow[index].copy_(self._share(parameter, self._told(parameter, averages[index])))
        for group, kept in zip(self.inner.param_groups, plain["groups"], strict=True):
            group.update({key: value for key, value in kept.items() if key not in optim.OF_THE_CONFIG})

    # ------------------------------------------------------------------------------------- to rank 0

    def _fill_twin(self) -> None:
        """Bring every weight and the average to rank 0, one tensor after the other."""
        for live, twin in self.pairs:
            self._gather(live.ds_tensor, live, twin)
        for live, own, shadow in zip(self.named.values(), self.ema.shadow, self.shown.ema.shadow, strict=False):
            self._gather(own, live, shadow)
        self.shown.ema.updates = self.ema.updates

    def _gather(self, share: torch.Tensor, live: Any, into: torch.Tensor) -> None:
        share = share.detach().to(self.host.device).contiguous()
        shares = [torch.empty_like(share) for _ in range(self.host.ranks)] if self.host.main else None
        dist.gather(share, shares)
        if shares:
            into.data = torch.cat(shares)[: live.ds_numel].view(live.ds_shape).to(into.device)

    def _gathered_state(self) -> dict[str, torch.Tensor]:
        """The optimizer's tensors by the names that one process has; none before the first update."""
        state = self.inner.state.get(self._flats()[0], {})
        if not state:
            return {}
        found = {}
        for name, parameter in self.named.items():
            for moment in MOMENTS:
                value: Any = safe_get_full_optimizer_state(parameter, moment)
                if self.host.main:
                    found[f"{moment}.{name}"] = value.detach().to("cpu", copy=True)
            if self.host.main:
                found[f"step.{name}"] = state["step"].detach().to("cpu", copy=True)
        return found

    def _plain(self) -> dict[str, Any]:
        """The optimizer's numbers, as `Updater.state` has them."""
        return {"tensors": {}, "groups": [
            {key: value for key, value in group.items() if isinstance(value, int | float) and math.isfinite(value)}
            for group in self.inner.param_groups]}

    # ------------------------------------------------------------------------------------- from rank 0

    def _told(self, parameter: Any, value: torch.Tensor | None) -> torch.Tensor:
        """Rank 0's `value` of a parameter's shape, on every rank."""
        shape = parameter.ds_shape if self.stage == 3 else parameter.shape
        whole = torch.empty(shape, device=self.host.device)
        if self.host.main and value is not None:
            whole.copy_(value)
        self.host.share(whole)
        return whole

    def _share(self, parameter: Any, whole: torch.Tensor) -> torch.Tensor:
        """What this rank keeps of `whole`: at stage 3 its share, the last one filled up with zeros."""
        if self.stage < 3:
            return whole
        size = parameter.ds_tensor.numel()
        flat = torch.nn.functional.pad(whole.flatten(), (0, size * self.host.ranks - whole.numel()))
        return flat.narrow(0, size * self.host.rank, size)

    def _set(self, parameter: Any, whole: torch.Tensor, moment: str | None = None) -> None:
        """Put in a weight, or one of its moments: into what runs forward and into what DeepSpeed updates."""
        share = self._share(parameter, whole)
        if moment is None:
            own = parameter.ds_tensor if self.stage == 3 else parameter
            own.data.copy_(share)
            (safe_set_local_fp32_param if self.stage == 3 else safe_set_full_fp32_param)(parameter, share)
        elif self.stage == 3:
            safe_set_local_optimizer_state(parameter, share, moment)
        else:
            safe_set_full_optimizer_state(parameter, share, moment)

    def _make_state(self, step: float) -> None:
        """The optimizer's state of this rank's share, as after `step` updates, before there was one."""
        for flat in self._flats():
            self.inner.state[flat] = {"step": torch.tensor(step, device=flat.device),
                                      **{moment: torch.zeros_like(flat) for moment in MOMENTS}}
        if self.stage < 3:
            self.zero._hp_optimizer_states_linked = False
            self.zero._lazy_init_hp_params_optimizer_state()

    def _flats(self) -> list[torch.Tensor]:
        """What DeepSpeed updates: this rank's shares, one tensor after the other."""
        return self.zero.fp32_partitioned_groups_flat if self.stage == 3 else self.zero.single_partition_of_fp32_groups


def _twin(trainee: Trainee, trained: Whole) -> tuple[Trainee, Whole]:
    """The same model, its weights empty, and what trains of it."""
    memo: dict[int, Any] = {id(p): torch.nn.Parameter(p.detach().new_empty(0), requires_grad=p.requires_grad)
                            for p in trainee.parameters()}
    return copy.deepcopy((trainee, trained), memo | {id(trainee.family): trainee.family})
