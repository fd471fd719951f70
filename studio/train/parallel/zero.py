"""DeepSpeed's ZeRO (Rajbhandari et al. 2020): ranks share out the optimizer's state (1), gradients (2), weights (3).

DeepSpeed gets what learns alone, never a frozen encoder, and works in fp32: what it shares out are the weights
themselves. What a checkpoint holds is gathered under the names that one process has, so that any number of ranks, at
any stage, goes on from it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

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
from studio.train.learning.adapters import FullWeights
from studio.train.learning.ema import average_of
from studio.train.learning.trainable import TrainableModel
from studio.train.parallel.distributed import Distributed
from studio.train.parallel.engine import Engine, EvalView

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine

    class Partitioned(torch.nn.Parameter):
        """A weight as stage 3 has it: empty between passes, with this rank's share of it beside."""

        ds_tensor: torch.Tensor  # the share, flat
        ds_numel: int  # of the whole weight
        ds_shape: torch.Size

MOMENTS = ("exp_avg", "exp_avg_sq")


class SharedUpdater(optim.Updater):
    """The optimizer of this rank's share, stepped and clipped by DeepSpeed, which skips what is not finite.

    `state_dict` is what `Zero.gathered_parameters` gathered, and what `load_state_dict` is given
    `Zero.broadcast_state` deals out.
    """

    engine: DeepSpeedEngine
    gathered: tuple[dict[str, torch.Tensor], optim.Numbers]

    def __call__(self, step: int, loss: torch.Tensor) -> torch.Tensor:
        self._set_rate(step)
        self.engine.step()
        norm = self.engine.get_global_grad_norm()
        return torch.as_tensor(norm, dtype=torch.float32, device=loss.device).detach()

    def state_dict(self, named: optim.Named) -> tuple[dict[str, torch.Tensor], optim.Numbers]:
        return self.gathered

    def load_state_dict(self, named: optim.Named, tensors: dict[str, torch.Tensor], plain: optim.Numbers) -> None:
        self.gathered = (tensors, plain)


class Zero(Engine):
    """DeepSpeed's engine. At stage 3 `eval_view` is a twin of the model whose weights are there
    inside `gathered_parameters` only."""

    model: DeepSpeedEngine
    update: SharedUpdater

    def __init__(self, file: Path, distributed: Distributed, trainable: TrainableModel, trained: FullWeights,
                 config: Config, rate: optim.Rate):
        self.distributed = distributed
        self.trained = trained
        self.stage = config.compute.deepspeed_stage
        named = trained.named()
        twin, twins = _twin(trainable, trained) if self.stage == 3 else (trainable, trained)
        groups = trained.groups(config.optim.text_encoder_learning_rate, config.optim.learning_rate or 1.0)
        self.update = SharedUpdater(OPTIMIZERS[config.optim.name], groups, config.optim, rate, None)
        self.inner = self.update.optimizers[0]
        # DeepSpeed would have g++ build what only its inference uses: a minute at a machine's first run, and a kill in
        # it leaves a lock at which every later run waits for ever.
        library: Any = ops
        library.__compatible_ops__ = {}
        self.model, *_ = deepspeed.initialize(
            model=trainable, optimizer=self.inner, model_parameters=None, config=json.loads(file.read_text()),
            dist_init_required=False)
        self.update.engine = self.model
        self.zero: Any = self.model.optimizer  # of stage 1 and 2, or of 3: two classes that share no interface
        self.update.gathered = ({}, self._plain())
        self.named = cast("dict[str, Partitioned]", named)
        self.ema = average_of(list(map(self._held, self.named.values())), config.ema)
        if self.stage < 3:
            self.eval_view = EvalView(trainable, trained, self.ema, self.update)
        else:
            weights = cast("Iterator[Partitioned]", trainable.parameters())
            self.pairs = list(zip(weights, twin.parameters(), strict=True))
            aside = config.ema.model_copy(update={"offload": True})
            self.eval_view = EvalView(twin, twins, average_of(list(twins.named().values()), aside), self.update)

    def accumulate(self, *, sync: bool) -> AbstractContextManager[Any]:
        self.model.set_gradient_accumulation_boundary(sync)
        return nullcontext()

    def backward(self, loss: torch.Tensor) -> None:
        self.model.backward(loss, scale_wrt_gas=False)

    @contextmanager
    def gathered_parameters(self, *, optimizer: bool = False) -> Iterator[None]:
        if optimizer:
            self.update.gathered = (self._gathered_state(), self._plain())
        if self.stage == 3:
            self._fill_twin()
        try:
            yield
        finally:
            self.update.gathered = ({}, self._plain())
            if self.stage == 3:
                self._empty_twin()

    def broadcast_state(self) -> None:
        tensors, plain = self.update.gathered
        steps = [value.item() for key, value in tensors.items() if key.startswith("step.")]
        self.ema.updates, steps, plain = self.distributed.broadcast_object((self.eval_view.ema.updates, steps, plain))
        moments = MOMENTS if steps else ()
        if steps:
            self._make_state(max(steps))
        values = list(self.eval_view.trained.named().values())
        averages = self.eval_view.ema.shadow
        for index, (name, parameter) in enumerate(self.named.items()):
            self._set_weight(parameter, self._told(parameter, values[index]))
            for moment in moments:
                self._set_moment(parameter, self._told(parameter, tensors.get(f"{moment}.{name}")), moment)
            if averages:
                self.ema.shadow[index].copy_(self._share(parameter, self._told(parameter, averages[index])))
        for group, saved in zip(self.inner.param_groups, plain["groups"], strict=True):
            group.update(optim.without_settings(saved))

    def _held(self, parameter: Partitioned) -> torch.Tensor:
        """What this rank holds of a weight: at stage 3 its share, else all of it."""
        if self.stage == 3:
            return parameter.ds_tensor
        return parameter

    # ------------------------------------------------------------------------------------- to rank 0

    def _fill_twin(self) -> None:
        """Bring every weight and the average to rank 0, one tensor after the other."""
        for live, twin in self.pairs:
            self._gather(live.ds_tensor, live, twin)
        for live, average, shadow in zip(self.named.values(), self.ema.shadow, self.eval_view.ema.shadow, strict=False):
            self._gather(average, live, shadow)
        self.eval_view.ema.updates = self.ema.updates

    def _empty_twin(self) -> None:
        for _, twin in self.pairs:
            twin.data = twin.data.new_empty(0)
        for shadow in self.eval_view.ema.shadow:
            shadow.data = shadow.data.new_empty(0)

    def _gather(self, share: torch.Tensor, live: Partitioned, into: torch.Tensor) -> None:
        """Join every rank's share of a tensor of the shape of `live` on rank 0, in `into`."""
        share = share.detach().to(self.distributed.device).contiguous()
        shares = None
        if self.distributed.is_main:
            shares = [torch.empty_like(share) for _ in range(self.distributed.world_size)]
        dist.gather(share, shares)
        if shares:
            into.data = torch.cat(shares)[: live.ds_numel].view(live.ds_shape).to(into.device)

    def _gathered_state(self) -> dict[str, torch.Tensor]:
        """The optimizer's tensors by the names that one process has; none before the first update."""
        state = self.inner.state.get(self._flats()[0], {})
        if not state:
            return {}
        gathered: dict[str, torch.Tensor] = {}
        for name, parameter in self.named.items():
            for moment in MOMENTS:
                value: Any = safe_get_full_optimizer_state(parameter, moment)  # every rank takes part
                if self.distributed.is_main:
                    gathered[f"{moment}.{name}"] = value.detach().to("cpu", copy=True)
            if self.distributed.is_main:
                gathered[f"step.{name}"] = state["step"].detach().to("cpu", copy=True)
        return gathered

    def _plain(self) -> optim.Numbers:
        """The optimizer's numbers, as `Updater.state_dict` has them."""
        return {"tensors": {}, "groups": list(map(optim.finite_numbers, self.inner.param_groups))}

    # ------------------------------------------------------------------------------------- from rank 0

    def _told(self, parameter: Partitioned, value: torch.Tensor | None) -> torch.Tensor:
        """Rank 0's `value` of a parameter's shape, on every rank."""
        shape = parameter.ds_shape if self.stage == 3 else parameter.shape
        whole = torch.empty(shape, device=self.distributed.device)
        if self.distributed.is_main and value is not None:
            whole.copy_(value)
        self.distributed.broadcast_(whole)
        return whole

    def _share(self, parameter: Partitioned, whole: torch.Tensor) -> torch.Tensor:
        """What this rank keeps of `whole`: at stage 3 its share, the last one filled up with zeros."""
        if self.stage < 3:
            return whole
        size = parameter.ds_tensor.numel()
        flat = torch.nn.functional.pad(whole.flatten(), (0, size * self.distributed.world_size - whole.numel()))
        return flat.narrow(0, size * self.distributed.rank, size)

    def _set_weight(self, parameter: Partitioned, whole: torch.Tensor) -> None:
        """Put in a weight: into what runs forward and into what DeepSpeed updates."""
        share = self._share(parameter, whole)
        self._held(parameter).data.copy_(share)
        if self.stage == 3:
            safe_set_local_fp32_param(parameter, share)
        else:
            safe_set_full_fp32_param(parameter, share)

    def _set_moment(self, parameter: Partitioned, whole: torch.Tensor, moment: str) -> None:
        """Put in one of a weight's MOMENTS."""
        share = self._share(parameter, whole)
        if self.stage == 3:
            safe_set_local_optimizer_state(parameter, share, moment)
        else:
            safe_set_full_optimizer_state(parameter, share, moment)

    def _make_state(self, step: float) -> None:
        """The optimizer's state of this rank's share, as after `step` updates, before there was one."""
        for flat in self._flats():
            state = {"step": torch.tensor(step, device=flat.device)}
            for moment in MOMENTS:
                state[moment] = torch.zeros_like(flat)
            self.inner.state[flat] = state
        if self.stage < 3:
            self.zero._hp_optimizer_states_linked = False
            self.zero._lazy_init_hp_params_optimizer_state()

    def _flats(self) -> list[torch.Tensor]:
        """What DeepSpeed updates: this rank's shares, one tensor after the other."""
        if self.stage == 3:
            return self.zero.fp32_partitioned_groups_flat
        return self.zero.single_partition_of_fp32_groups


def _twin(trainable: TrainableModel, trained: FullWeights) -> tuple[TrainableModel, FullWeights]:
    """The same model, its weights empty, and what trains of it."""
    copies: dict[int, object] = {id(trainable.family): trainable.family}  # what `deepcopy` takes as copied already
    for parameter in trainable.parameters():
        empty = parameter.detach().new_empty(0)
        copies[id(parameter)] = torch.nn.Parameter(empty, requires_grad=parameter.requires_grad)
    return copy.deepcopy((trainable, trained), copies)
