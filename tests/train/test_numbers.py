"""Numbers that must not move: schedules, noise, EMA, learning rates, clipping (vectors computed with diffusers)."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from studio import config
from studio.train import objectives, optim
from studio.train.ema import Ema, decay_at

SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 1000}


def test_forward_process() -> None:
    abar = objectives.alphas_cumprod(SD)
    expected = [0.99914998, 0.99829602, 0.99043131, 0.89422315, 0.83202982, 0.6737923, 0.27633247, 0.0561698, 0.0046601]
    assert torch.allclose(abar[[0, 1, 10, 100, 147, 250, 500, 750, 999]], torch.tensor(expected), atol=1e-6)
    x0, eps = torch.tensor([0.3, -0.7]).view(1, 2, 1, 1), torch.tensor([1.0, -2.0]).view(1, 2, 1, 1)
    t = torch.tensor([500])
    v = objectives.diffusion("v_prediction", abar)
    assert torch.allclose(v.mix(x0, eps, t).flatten(), torch.tensor([1.0083885, -2.0693443]), atol=1e-6)
    assert torch.allclose(v.target(x0, eps, t).flatten(), torch.tensor([0.2704674, -0.4558661]), atol=1e-6)
    assert torch.equal(objectives.diffusion("epsilon", abar).target(x0, eps, t), eps)
    zero = objectives.alphas_cumprod({**SD, "rescale_betas_zero_snr": True})
    assert zero[-1] == 0 and zero[0] == pytest.approx(abar[0].item(), abs=1e-6)


def test_noise_schedules_are_those_of_diffusers() -> None:
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    for kind in ("linear", "scaled_linear", "squaredcos_cap_v2"):
        ours = objectives.alphas_cumprod({**SD, "beta_schedule": kind})
        assert torch.allclose(ours, DDPMScheduler(**{**SD, "beta_schedule": kind}).alphas_cumprod, atol=1e-6), kind


def test_flow() -> None:
    flow, x0, eps = objectives.flow(1000), torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
    t = flow.time(torch.tensor([0.25]))
    assert (flow.mix(x0, eps, t).item(), flow.target(x0, eps, t).item(), flow.model_time(t).item()) == (0.25, 1, 250)


def test_ema_decays() -> None:
    expected = {1: 0, 2: 0.181818, 3: 0.25, 4: 0.307692, 10: 0.526316, 100: 0.917431, 1000: 0.99108, 15000: 0.9994}
    assert {n: decay_at(n, 0.9999) for n in expected} == pytest.approx(expected, abs=1e-6)
    assert decay_at(89_990, 0.9999) < 0.9999 == decay_at(89_991, 0.9999) == decay_at(10**6, 0.9999)


def test_ema_values_and_swap() -> None:
    weight = torch.zeros(1)
    ema, seen = Ema([weight], 0.9999), []
    for k in range(1, 7):
        weight.fill_(k)
        ema.update()
        seen.append(ema.shadow[0].item())
    assert seen == pytest.approx([1, 1.8181818, 2.7045455, 3.6013986, 4.5004995, 5.4001998], abs=1e-6)
    with pytest.raises(ValueError, match="drawn"), ema.swapped():
        assert weight.item() == pytest.approx(5.4001998)
        raise ValueError("not drawn")
    assert weight.item() == 6 and ema.shadow[0].item() == pytest.approx(5.4001998)


RATES = {
    "constant": [1] * 8, "linear": [0, 0.5, 1, 0.75, 0.5, 0.25, 0, 0],
    "constant_with_warmup": [0, 0.5, 1, 1, 1, 1, 1, 1],
    "cosine": [0, 0.5, 1, 0.853553, 0.5, 0.146447, 0, 0],  # diffusers rises again to 0.146 after the end
    "cosine_with_restarts": [0, 0.5, 1, 0.853553, 0.5, 0.146447, 0, 0],
    "polynomial": [0, 0.5, 1, 0.75, 0.5, 0.25, 1e-7, 1e-7],
}


@pytest.mark.parametrize("kind", config.LR_SCHEDULES)
def test_learning_rates(kind: str) -> None:
    rate = optim.schedule(kind, 1.0, 0 if kind == "constant" else 2, 6)
    assert [rate(k) for k in range(8)] == pytest.approx(RATES[kind], abs=1e-6)


def updater(limit: float) -> tuple[torch.nn.Parameter, optim.Updater]:
    weight = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    settings = config.load({"optim": {"learning_rate": 1.0, "adam_weight_decay": 0, "max_grad_norm": limit}}).optim
    return weight, optim.make([{"params": [weight]}], settings, lambda k: 0.1)


def test_clipping_really_clips() -> None:
    moments = {}
    for limit in (1.0, 0.0):
        weight, update = updater(limit)
        weight.grad = torch.tensor([300.0, 400.0])
        assert update(0, torch.tensor(1.0)).item() == pytest.approx(500)
        moments[limit] = update.state({"w": weight})[0]["exp_avg.w"]
    assert torch.allclose(moments[1.0], torch.tensor([0.06, 0.08]), atol=1e-5)
    assert torch.allclose(moments[0.0], torch.tensor([30.0, 40.0]))


TIMES = torch.tensor([0, 1, 10, 100, 147, 250, 500, 750, 999])
WEIGHTS = {
    "epsilon": ([0.0042537, 0.0085344, 0.0483057, 0.5914455, 1, 1, 1, 1, 1], 0.916571),
    "v_prediction": ([0.0042501, 0.0085199, 0.0478435, 0.5288843, 0.8320298, 0.6737923, 0.2763325, 0.0561698,
                      0.0046601], 0.294331),
}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_min_snr_weights(kind: str) -> None:
    expected, mean = WEIGHTS[kind]
    weight = objectives.make(SD, kind, snr_gamma=5.0).weight
    assert torch.allclose(weight(TIMES), torch.tensor(expected), atol=1e-6)
    assert weight(torch.arange(1000)).mean().item() == pytest.approx(mean, abs=1e-5)
    zero = objectives.make({**SD, "rescale_betas_zero_snr": True}, kind, snr_gamma=5.0).weight(torch.arange(1000))
    assert zero.isfinite().all() and zero[-1] == {"epsilon": 1.0, "v_prediction": 0.0}[kind]


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("gamma", [0.0, 5.0])
@pytest.mark.parametrize(("offset", "perturbation"), [(0.0, 0.0), (0.1, 0.0), (0.0, 0.1), (0.05, 0.2)])
def test_loss_and_gradient_are_the_reference_scripts(kind: Any, gamma: float, offset: float, perturbation: float
                                                     ) -> None:
    """The formulas of train_text_to_image.py, from diffusers' own functions, on the same numbers."""
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
    from diffusers.training_utils import compute_snr

    shape, generator = (4, 8, 8), torch.Generator().manual_seed(5)
    t: Any = torch.tensor([3, 120, 500, 940])
    drawn = {name: torch.randn(4, *dims, generator=generator)
             for name, dims in {"noise": shape, "offset": (4, 1, 1), "perturbation": shape, "x0": shape}.items()}
    layer = torch.nn.Conv2d(4, 4, 3, padding=1)

    scheduler: Any = DDPMScheduler(**SD, prediction_type=kind)
    noise = drawn["noise"] + offset * drawn["offset"]
    noisy = scheduler.add_noise(drawn["x0"], noise + perturbation * drawn["perturbation"], t)
    wanted = noise if kind == "epsilon" else scheduler.get_velocity(drawn["x0"], noise, t)
    errors = (layer(noisy) - wanted).square().mean(dim=(1, 2, 3))
    if gamma:
        snr = compute_snr(scheduler, t)
        errors = errors * torch.minimum(snr, torch.full_like(snr, gamma)) / (snr if kind == "epsilon" else snr + 1)
    reference = errors.mean()
    gradient = torch.autograd.grad(reference, layer.weight)[0]

    settings = config.load({"objective": {"noise_offset": offset, "input_perturbation": perturbation}}).objective
    objective, streams = objectives.make(SD, kind, gamma), []

    def draw(stream: str, dims: tuple[int, ...]) -> torch.Tensor:
        streams.append(stream)
        assert drawn[stream].shape[1:] == dims
        return drawn[stream]

    seen, meant = objectives.noise_of(settings)(draw, shape)
    predicted = layer(objective.mix(drawn["x0"], seen, t))
    ours = ((predicted - objective.target(drawn["x0"], meant, t)).square().mean(dim=(1, 2, 3))
            * objective.weight(t)).sum() / 4
    assert ours.item() == pytest.approx(reference.item(), rel=1e-6)
    assert torch.allclose(torch.autograd.grad(ours, layer.weight)[0], gradient, rtol=1e-5, atol=1e-6)
    assert streams == ["noise", *["offset"] * bool(offset), *["perturbation"] * bool(perturbation)]
