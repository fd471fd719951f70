"""What the denoiser is asked for: how noise is mixed in, the target, and the time it is told. Small pure functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch

from studio.config import Objective as ObjectiveSettings
from studio.families import FORMULAS

Mix = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
Weight = Callable[[torch.Tensor], torch.Tensor]
Draw = Callable[[str, tuple[int, ...]], torch.Tensor]  # a stream's standard normal numbers (B, *shape)
Refine = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
Schedule = dict[str, Any]  # a base's: diffusers' DDPM config, or a flow's (`Family.schedule`)
Times = Callable[[torch.Tensor, int, Schedule], torch.Tensor]  # (u in [0, 1), tokens, schedule) -> t in [0, 1]
Noise = Callable[[Draw, tuple[int, ...]], tuple[torch.Tensor, torch.Tensor]]  # (that in x_t, that of the target)
OF_FLOW = {"density": "timestep_density", "shift": "timestep_shift", "logit_mean": "logit_mean",
           "logit_std": "logit_std", "mode_scale": "mode_scale"}  # a flow's schedule, and the settings that come first


@dataclass(frozen=True)
class Objective:
    """`time` turns uniform u in [0,1) (B,) into t (B,) for images of so many tokens; `mix` and `target` take clean x0,
    noise eps (B,c,h,w) and t.

    `model_time(t)` is what the denoiser is told, `weight(t)` (B,) scales each picture's squared error. `refine`, where
    there is one, takes x_t, target, t and what the denoiser predicts for them without gradient, and gives new x_t and
    target.
    """

    time: Callable[[torch.Tensor, int], torch.Tensor]
    mix: Mix
    target: Mix
    model_time: Callable[[torch.Tensor], torch.Tensor]
    weight: Weight
    refine: Refine | None = None


def betas(kind: str, start: float, end: float, steps: int) -> torch.Tensor:
    """The noise added at each step, fp32 (steps,): "linear" (Ho et al. 2020), "scaled_linear" (latent diffusion) or
    "squaredcos_cap_v2" (Nichol & Dhariwal 2021; the ends are not used)."""
    if kind == "linear":
        return torch.linspace(start, end, steps)
    if kind == "scaled_linear":
        return torch.linspace(start**0.5, end**0.5, steps) ** 2
    if kind == "squaredcos_cap_v2":
        abar = [math.cos((i / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(steps + 1)]
        return torch.tensor([min(1 - after / before, 0.999) for before, after in pairwise(abar)])
    raise ValueError(f"unknown noise schedule {kind!r}; there are: linear, scaled_linear, squaredcos_cap_v2")


def alphas_cumprod(schedule: Schedule) -> torch.Tensor:
    """abar_t, the share of signal left at each step, fp32 (steps,), from a family's `schedule`."""
    if schedule.get("trained_betas") is not None:
        values = torch.tensor(schedule["trained_betas"], dtype=torch.float32)
    else:
        values = betas(schedule["beta_schedule"], schedule["beta_start"], schedule["beta_end"],
                       schedule["num_train_timesteps"])
    abar = torch.cumprod(1.0 - values, dim=0)
    if schedule.get("rescale_betas_zero_snr"):
        return rescaled_zero_snr(abar)
    return abar


def rescaled_zero_snr(abar: torch.Tensor) -> torch.Tensor:
    """abar shifted and scaled so that nothing of the signal is left at the last step (Lin et al. 2023, algorithm 1)."""
    root = abar.sqrt()
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2


def _like(values: torch.Tensor) -> torch.Tensor:
    """(B,) as (B,1,1,1), to be multiplied with latents."""
    return values.view(-1, 1, 1, 1)


def even(t: torch.Tensor) -> torch.Tensor:
    """Every time counts the same: ones (B,)."""
    return torch.ones(len(t))


def min_snr(prediction_type: str, abar: torch.Tensor, gamma: float) -> Weight:
    """Min-SNR weights (Hang et al. 2023): min(snr, gamma) over snr for epsilon, over snr + 1 for v.

    Where nothing of the signal is left (snr 0, zero terminal SNR), epsilon's 0/0 is its limit 1, and v's weight is 0.
    """
    snr = abar / (1.0 - abar)
    weights = {"epsilon": (gamma / snr).clamp(max=1.0), "v_prediction": snr.clamp(max=gamma) / (snr + 1.0)}
    table = weights[prediction_type]
    return lambda t: table[t]


def dream(abar: torch.Tensor, preservation: float) -> Refine:
    """DREAM (Zhou et al. 2023) for epsilon: with d = sqrt(1-abar)^p (eps - predicted), x_t and target both move by it.

    x_t by sqrt(1-abar) d, as if the noise had been eps + d, and the target by d.
    """
    sigma = (1.0 - abar).sqrt()

    def refine(x_t: torch.Tensor, target: torch.Tensor, t: torch.Tensor, predicted: torch.Tensor
               ) -> tuple[torch.Tensor, torch.Tensor]:
        s = _like(sigma[t.cpu()].to(x_t.device))
        delta = s**preservation * (target - predicted)
        return x_t + s * delta, target + delta

    return refine


def plain(draw: Draw, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """The noise eps (B,c,h,w), the same in x_t and in the target."""
    eps = draw("noise", shape)
    return eps, eps


def offset(strength: float) -> Noise:
    """eps + strength * eta, one eta for each picture and channel: shifts a whole picture (Guttenberg 2023)."""

    def noise(draw: Draw, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        eps = draw("noise", shape) + strength * draw("offset", (shape[0], 1, 1))
        return eps, eps

    return noise


def perturbed(inner: Noise, strength: float) -> Noise:
    """Input perturbation (Ning et al. 2023): x_t has strength * xi more noise than the target has."""

    def noise(draw: Draw, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        input_noise, target_noise = inner(draw, shape)
        return input_noise + strength * draw("perturbation", shape), target_noise

    return noise


def noise_of(settings: ObjectiveSettings) -> Noise:
    """The noise that the `objective` section asks for; what is off draws nothing."""
    noise = plain
    if settings.noise_offset:
        noise = offset(settings.noise_offset)
    if settings.input_perturbation:
        noise = perturbed(noise, settings.input_perturbation)
    return noise


def diffusion(prediction_type: str, abar: torch.Tensor, weight: Weight = even) -> Objective:
    """Denoising diffusion (Ho et al. 2020): x_t = sqrt(abar) x0 + sqrt(1-abar) eps.

    The target is eps ("epsilon") or v = sqrt(abar) eps - sqrt(1-abar) x0 ("v_prediction", Salimans & Ho 2022).
    The tables stay fp32: in bf16, sigma would be exactly 0 at the first steps. Raises ValueError for another kind.
    """
    alpha = abar.sqrt()
    sigma = (1.0 - abar).sqrt()
    steps = len(abar)

    def time(u: torch.Tensor, tokens: int) -> torch.Tensor:
        return (u * steps).long()

    def mix(x0: torch.Tensor, eps: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return _like(alpha[t]) * x0 + _like(sigma[t]) * eps

    def velocity(x0: torch.Tensor, eps: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return _like(alpha[t]) * eps - _like(sigma[t]) * x0

    targets: dict[str, Mix] = {"epsilon": lambda x0, eps, t: eps, "v_prediction": velocity}
    if prediction_type not in targets:
        raise ValueError(f"a base with this schedule learns {' or '.join(targets)}, not {prediction_type}")
    return Objective(time=time, mix=mix, target=targets[prediction_type], model_time=lambda t: t, weight=weight)


def flow(steps: int, timesteps: Callable[[torch.Tensor, int], torch.Tensor]) -> Objective:
    """Rectified flow (Liu et al. 2022): x_t = (1-t) x0 + t eps with t in [0,1], target eps - x0; told t * steps.

    `timesteps` turns uniform numbers into t for images of so many tokens, continuously: no table cuts them into steps.
    """

    def mix(x0: torch.Tensor, eps: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return (1.0 - _like(t)) * x0 + _like(t) * eps

    return Objective(time=timesteps, mix=mix, target=lambda x0, eps, t: eps - x0, model_time=lambda t: t * steps,
                     weight=even)


def make(schedule: Schedule, prediction_type: str, settings: ObjectiveSettings, timesteps: Times) -> Objective:
    """The objective of a family's schedule: of a flow, whose times are the family's `timesteps`, or of diffusers' DDPM
    config.

    `settings` is the `objective` section. Raises ValueError for what the prediction type has no formula for.
    """
    kind = "flow" if schedule.get("kind") == "flow" else prediction_type
    for name, kinds in FORMULAS.items():
        if getattr(settings, name) and kind not in kinds:
            raise ValueError(f"objective.{name} is for {' and '.join(kinds)}; this run learns {kind}: turn it off")
    if schedule.get("kind") == "flow":
        return _flow_of(schedule, settings, timesteps)
    return _diffusion_of(schedule, kind, settings)


def _flow_of(schedule: Schedule, settings: ObjectiveSettings, timesteps: Times) -> Objective:
    """Rectified flow with the times of the base's schedule, or those that the settings put in their place."""
    chosen = dict(schedule)
    for key, name in OF_FLOW.items():
        value = getattr(settings, name)
        if value is not None:
            chosen[key] = value

    def time(u: torch.Tensor, tokens: int) -> torch.Tensor:
        return timesteps(u, tokens, chosen).float()

    return flow(int(schedule["num_train_timesteps"]), time)


def _diffusion_of(schedule: Schedule, prediction_type: str, settings: ObjectiveSettings) -> Objective:
    """Denoising diffusion with the weights of the times, and DREAM, where they are on."""
    if settings.zero_terminal_snr:
        schedule = {**schedule, "rescale_betas_zero_snr": True}
    abar = alphas_cumprod(schedule)
    weight = min_snr(prediction_type, abar, settings.snr_gamma) if settings.snr_gamma else even
    objective = diffusion(prediction_type, abar, weight)
    if settings.dream:
        objective = replace(objective, refine=dream(abar, settings.dream_detail_preservation))
    return objective
