"""Optimizers by the names of `optim.name`: how each is built, what it keeps, and what it cannot be combined with.

A class here IS an optimizer. Torch and the optimizers' own packages are imported inside methods only, since the page
asks for bytes and faults too.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

from studio.config import Config, Problem
from studio.messages import Message
from studio.system import lean

if TYPE_CHECKING:
    import torch

    from studio.config import Optim

SMALL = 4096  # elements; bitsandbytes keeps the moments of smaller tensors in 32 bit
BLOCK = 256  # elements that share one fp32 scale in bitsandbytes' 8-bit moments
Groups = list[dict[str, object]]  # torch's: {"params": tensors, and what is otherwise for these}


class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019) in torch's fused kernel; what others differ from."""

    title: ClassVar[str] = "AdamW"
    package: ClassVar[str | None] = None  # what `pip install` must have brought, imported under the same name
    suggests: ClassVar[dict[str, object]] = {}  # what it sets in its section where a person left that empty
    # Whether a kernel skips a non-finite update by itself on the device (torch's `found_inf`); else the host decides.
    skips_on_device: ClassVar[bool] = True
    alone: ClassVar[bool] = True  # whether the update of one tensor needs nothing of the others
    averages: ClassVar[bool] = False  # whether the weights one draws with differ from those that get the gradient
    constants: ClassVar[tuple[str, ...]] = ()  # state that is the same for every tensor and run, so it is not saved

    def build(self, groups: Groups, settings: Optim) -> torch.optim.Optimizer:
        """The optimizer of the `optim` section for these groups; its learning rates are set anew at each update."""
        import torch

        return torch.optim.AdamW(groups, **self._hyperparameters(settings), fused=True)

    def state_bytes(self, elements: int) -> int:
        """What it keeps in memory, and in a checkpoint, for one tensor of so many elements: two fp32 moments."""
        return 8 * elements

    def restore(self, optimizer: torch.optim.Optimizer, parameter: torch.Tensor) -> None:
        """Put back what `constants` names, after `parameter`'s other state was read from a checkpoint."""

    def faults(self, config: Config) -> Iterator[Problem]:
        """What it cannot be combined with, each with what to do instead."""
        if self.package and find_spec(self.package) is None:
            yield Problem(field="optim.name",
                          message=Message("{title} needs a package that is not installed here: pip install {package}, "
                                          "or choose `adamw`", title=self.title, package=self.package))
        if config.optim.fused_backward:
            yield from self._fused_faults(config)

    def warnings(self, config: Config) -> Iterator[str]:
        """What works and is rarely meant."""
        yield from ()

    def _fused_faults(self, config: Config) -> Iterator[Problem]:
        """What needs every gradient at once, which is what updating each weight in the backward pass gives up."""
        train = config.train
        reasons = {
            Message("{title} sizes its steps by all gradients together", title=self.title): not self.alone,
            Message("clipping needs the norm of all gradients: set optim.max_grad_norm 0"):
                config.optim.max_grad_norm > 0,
            Message("accumulated gradients must be kept: set train.gradient_accumulation_steps 1"):
                train.gradient_accumulation_steps > 1,
            Message("several processes must add their gradients up first: set compute.num_processes 1"):
                config.compute.num_processes > 1,
            Message("fp16 finds its loss scale by all gradients: set train.mixed_precision `bf16` or `no`"):
                train.mixed_precision == "fp16",
        }
        for reason, holds in reasons.items():
            if holds:
                yield Problem(field="optim.fused_backward",
                              message=Message("{reason}, or turn this off", reason=reason))

    def _hyperparameters(self, settings: Optim) -> dict[str, Any]:
        """Adam's, by the names that all optimizers here have for them; schedulefree's hints want an int for a float."""
        return {"lr": settings.learning_rate, "betas": (settings.adam_beta1, settings.adam_beta2),
                "eps": settings.adam_epsilon, "weight_decay": settings.adam_weight_decay}


class AdamW8bit(AdamW):
    """AdamW with moments in 8 bit, one scale per 256 elements (Dettmers et al. 2022), from bitsandbytes."""

    title = "8-bit AdamW"
    package = "bitsandbytes"
    skips_on_device = False
    constants = ("qmap1", "qmap2")  # the two code books

    def build(self, groups: Groups, settings: Optim) -> torch.optim.Optimizer:
        with lean.without_kernels():
            from bitsandbytes.optim.adamw import AdamW8bit as Built

        return Built(groups, **self._hyperparameters(settings), min_8bit_size=SMALL)

    def state_bytes(self, elements: int) -> int:
        """Two bytes an element and two fp32 scales a block; tensors below 4096 elements stay in 32 bit."""
        if elements < SMALL:
            return 8 * elements
        return 2 * elements + 8 * -(-elements // BLOCK)

    def restore(self, optimizer: torch.optim.Optimizer, parameter: torch.Tensor) -> None:
        state = optimizer.state[parameter]
        books = getattr(optimizer, "name2qmap", {})
        if "absmax1" in state:
            for name in books:
                books[name] = books[name].to(parameter.device)
            state["qmap1"] = books["dynamic"]
            state["qmap2"] = books["udynamic"]


class Prodigy(AdamW):
    """AdamW that finds its step size (Mishchenko & Defazio 2023); options as in diffusers' training scripts."""

    title = "Prodigy"
    package = "prodigyopt"
    suggests = {"learning_rate": 1.0}
    skips_on_device = False
    alone = False

    def build(self, groups: Groups, settings: Optim) -> torch.optim.Optimizer:
        from prodigyopt import Prodigy as Built

        return Built(groups, **self._hyperparameters(settings), decouple=True, use_bias_correction=True,
                     safeguard_warmup=True)

    def state_bytes(self, elements: int) -> int:
        """Two moments, the weights it began with and the sum it measures the way by, all fp32."""
        return 16 * elements

    def faults(self, config: Config) -> Iterator[Problem]:
        yield from super().faults(config)
        texts = config.optim.text_encoder_learning_rate
        if config.model.train_text_encoder and texts not in (None, config.optim.learning_rate):
            yield Problem(field="optim.text_encoder_learning_rate",
                          message=Message("Prodigy finds one learning rate for all weights: leave this empty"))

    def warnings(self, config: Config) -> Iterator[str]:
        if config.optim.learning_rate != 1 or config.optim.scale_lr:
            yield Message("Prodigy finds the learning rate by itself and scales what it finds by optim.learning_rate: "
                          "leave that empty, or set 1, and leave optim.scale_lr off")


class ScheduleFree(AdamW):
    """AdamW that averages instead of lowering its rate (Defazio et al. 2024), from schedulefree.

    Gradients are taken at y, a point between the average x, which one draws with, and the fast iterate z.
    """

    title = "schedule-free AdamW"
    package = "schedulefree"
    suggests = {"lr_scheduler": "constant"}
    skips_on_device = False
    averages = True

    def build(self, groups: Groups, settings: Optim) -> torch.optim.Optimizer:
        from schedulefree import AdamWScheduleFree

        optimizer = AdamWScheduleFree(groups, **self._hyperparameters(settings), foreach=True)
        optimizer.train()
        return optimizer

    def faults(self, config: Config) -> Iterator[Problem]:
        yield from super().faults(config)
        if config.ema.enabled:
            yield Problem(field="ema.enabled",
                          message=Message("schedule-free AdamW averages the weights itself, and what it draws and "
                                          "saves is that average: turn the EMA off"))
        if config.optim.lr_scheduler not in (None, "constant", "constant_with_warmup"):
            yield Problem(field="optim.lr_scheduler",
                          message=Message("schedule-free AdamW takes the place of a schedule: choose `constant`, or "
                                          "`constant_with_warmup`"))
        if config.optim.adam_beta1 == 0:
            yield Problem(field="optim.adam_beta1", message=Message("schedule-free AdamW divides by beta 1: set 0.9"))


OPTIMIZERS: dict[str, AdamW] = {"adamw": AdamW(), "adamw8bit": AdamW8bit(), "prodigy": Prodigy(),
                                "schedulefree": ScheduleFree()}
