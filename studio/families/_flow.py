"""Rectified flow: which times are trained, as formulas, and what families have in common that learn it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeGuard

from studio import config
from studio.families import Schedule, Source
from studio.families._diffusers import DiffusersFamily
from studio.messages import JsonObject, Message

if TYPE_CHECKING:
    import torch

    from studio.families import Tensors

SCHEDULER = "scheduler/scheduler_config.json"
DENSITIES = ("uniform", "logit_normal", "mode")
# What a schedule says where neither base nor person does; FlowMatchEulerDiscreteScheduler's values.
SCHEDULE: Schedule = {
    "num_train_timesteps": 1000, "density": "uniform", "logit_mean": 0.0, "logit_std": 1.0, "mode_scale": 1.29,
    "shift": 1.0, "base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256, "max_image_seq_len": 4096}


POSITIVE = ("num_train_timesteps", "logit_std", "shift")


def density(u: torch.Tensor, schedule: Schedule) -> torch.Tensor:
    """How noise levels are distributed: v in [0, 1] (B,) from uniform u in [0, 1), more of it meaning more noise.

    "logit_normal" is sigmoid(mean + std z) with z normal (Esser et al. 2024), so that a positive mean is MORE noise;
    "mode" is the same paper's density that is heavy in the middle, by `mode_scale`."""
    import torch

    u = u.double()
    kind = schedule["density"]
    if kind == "uniform":
        return u
    if kind == "logit_normal":
        return torch.sigmoid(schedule["logit_mean"] + schedule["logit_std"] * torch.special.ndtri(u))
    if kind == "mode":
        bend = torch.cos(math.pi / 2 * u) ** 2 - 1.0 + u
        return (1.0 - u - schedule["mode_scale"] * bend).clamp(0.0, 1.0)
    raise ValueError(f"unknown density of times {kind!r}; there are: {', '.join(DENSITIES)}")


def factor(tokens: int, schedule: Schedule) -> float:
    """k of `shifted` for an image of so many tokens: 1, the schedule's number, or exp(mu) with mu linear in tokens."""
    kind = schedule["shift"]
    if kind == "none":
        return 1.0
    if kind == "length":
        least = schedule["base_image_seq_len"]
        most = schedule["max_image_seq_len"]
        slope = (schedule["max_shift"] - schedule["base_shift"]) / (most - least)
        return math.exp(schedule["base_shift"] + slope * (tokens - least))
    return float(kind)


def shifted(v: torch.Tensor, k: float) -> torch.Tensor:
    """Noise levels moved towards the noise: k v / (1 + (k - 1) v), (B,)."""
    return k * v / (1.0 + (k - 1.0) * v)


def timesteps(u: torch.Tensor, tokens: int, schedule: Schedule) -> torch.Tensor:
    """Times t in [0, 1] (B,), 1 = pure noise, from uniform u in [0, 1) for images of `tokens` tokens."""
    schedule = SCHEDULE | schedule
    return shifted(density(u, schedule), factor(tokens, schedule))


def padded(entries: list[Tensors], mask: str) -> Tensors:
    """Conditions of single captions (1, tokens, ...) as one batch, filled up with zeros to the longest of them.

    `mask` names the entry (1, tokens) that says which tokens are real; it is filled up with False."""
    import torch

    longest = max(entry[mask].shape[1] for entry in entries)

    def fill(value: torch.Tensor, tokens: int) -> torch.Tensor:
        """`value` filled up where it has an entry for each token; (1, longest, ...)."""
        if value.dim() < 2 or value.shape[1] != tokens:
            return value
        missing = value.new_zeros(1, longest - tokens, *value.shape[2:])
        return torch.cat([value, missing], dim=1)

    conditions: Tensors = {}
    for name in entries[0]:
        conditions[name] = torch.cat([fill(entry[name], entry[mask].shape[1]) for entry in entries])
    return conditions


def _is_number(value: object) -> TypeGuard[float]:
    return not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)


class FlowFamily(DiffusersFamily):
    """A family that learns velocities eps - x0 at x_t = (1 - t) x0 + t eps (Liu et al. 2022)."""

    prediction_types = ("flow",)
    sampler = "Euler"

    def schedule(self, source: Source) -> Schedule:
        """`SCHEDULE`'s keys from the base's scheduler_config.json; its shift is by length where that is dynamic."""
        base = source.read_json(SCHEDULER)
        numbers = {key: base.get(key, value) for key, value in SCHEDULE.items() if key not in ("density", "shift")}
        shift = base.get("shift", SCHEDULE["shift"])
        if base.get("use_dynamic_shifting"):
            shift = "length"
        checked = dict(numbers)
        if shift != "length":
            checked["shift"] = shift
        fault = _first_fault(checked)
        if fault:
            raise source.problem(Message("{path} has {key} {value}, which is no number that times are told by: repair "
                                         "or replace the file", path=SCHEDULER, key=fault,
                                         value=repr(str(checked[fault])[:40])))
        return {"kind": "flow", **numbers, "density": SCHEDULE["density"], "shift": shift}

    def objective_of(self, source: Source) -> dict[str, str]:
        """The `objective` settings that are the base's own, for `recommended`."""
        schedule = self.schedule(source)
        shift = schedule["shift"]
        if not isinstance(shift, str):
            shift = f"{shift:g}"
        return {"prediction_type": self.prediction_types[0], "timestep_density": schedule["density"],
                "timestep_shift": shift}

    def scheduler(self, source: Source, objective: config.Objective) -> tuple[str, JsonObject]:
        """Euler's steps on the base's own schedule: what it was drawn with before it draws with after training."""
        settings = {key: value for key, value in source.read_json(SCHEDULER).items() if not key.startswith("_")}
        return "FlowMatchEulerDiscreteScheduler", settings


def _first_fault(numbers: JsonObject) -> str | None:
    """The first of a schedule's numbers that is none, or below its least."""
    for key, value in numbers.items():
        if not _is_number(value) or (key in POSITIVE and value <= 0):
            return key
    if numbers["base_image_seq_len"] == numbers["max_image_seq_len"]:
        return "max_image_seq_len"  # the shift by length is a line through two points
    return None
