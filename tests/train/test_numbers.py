"""Numbers that must not move: schedules, noise, EMA, learning rates, clipping (vectors computed with diffusers)."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from studio import config, families
from studio.train.learning import objectives, optim
from studio.train.learning.ema import Decay, Ema, average_of

timesteps = families.get("sd").timesteps
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


def test_half_precision_keeps_the_first_noise() -> None:
    """The reference casts its tables to the latents' type: in bf16 the first times then have no noise at all."""
    objective = objectives.diffusion("epsilon", objectives.alphas_cumprod(SD))
    x0, eps, t = torch.zeros(2, 1, 1, 1), torch.ones(2, 1, 1, 1), torch.tensor([0, 1])
    assert (objective.mix(x0, eps, t).bfloat16() > 0.02).all()
    tables = objectives.alphas_cumprod(SD).bfloat16()
    assert ((1 - tables[t]).sqrt() == 0).all()


NORMAL = torch.special.ndtr(torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64))  # the u of z = -1, 0, 1
# families: shift(sigmoid(z)) for the shifts of Z-Image, Lumina and FLUX at 4096 tokens
SHIFTED = {"none": [0.268941, 0.5, 0.731059], "3": [0.524633, 0.75, 0.890768], "6": [0.688209, 0.857143, 0.942229],
           "length": [0.53743, 0.759511, 0.895669]}


def flow(schedule: dict[str, Any], **settings: Any) -> objectives.Objective:
    objective = config.load({"objective": settings}).objective
    return objectives.make({"kind": "flow", "num_train_timesteps": 1000, **schedule}, "flow", objective, timesteps)


@pytest.mark.parametrize("shift", SHIFTED)
def test_times_of_a_flow(shift: str) -> None:
    made = flow({"density": "logit_normal"}, timestep_shift=shift)
    assert made.time(NORMAL, 4096).tolist() == pytest.approx(SHIFTED[shift], abs=1e-5)
    assert flow({"shift": shift if shift in ("none", "length") else float(shift), "density": "logit_normal"}).time(
        NORMAL, 4096).tolist() == pytest.approx(SHIFTED[shift], abs=1e-5)  # the base's own


def test_a_shift_by_length_is_that_of_the_pipelines() -> None:
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    half = torch.tensor([0.5], dtype=torch.float64)
    for tokens in (256, 1024, 2304, 4096, 6144):
        k = math.exp(calculate_shift(tokens))
        assert flow({"shift": "length"}).time(half, tokens).item() == pytest.approx(k / (1 + k), abs=1e-6)


def test_densities_of_a_flow() -> None:
    """Continuous, from pure noise at 1; a positive mean is MORE noise, where diffusers' scripts mean less."""
    u = torch.tensor([0.0, 0.25, 0.9999999], dtype=torch.float64)
    assert flow({}).time(u, 1).tolist() == pytest.approx([0, 0.25, 1], abs=1e-6)
    z = flow({}, timestep_density="logit_normal").time(torch.tensor([0.0, 0.05, 0.25, 0.75, 0.95]).double(), 1)
    assert z.tolist() == pytest.approx([0, 0.16180571, 0.33749224, 0.66250776, 0.83819429], abs=1e-6)
    mode = flow({}, timestep_density="mode").time(torch.tensor([0.1, 0.25, 0.5, 0.9]).double(), 1)
    assert mode.tolist() == pytest.approx([0.8025685, 0.6164161, 0.5, 0.1974315], abs=1e-6)
    plain, noisy = (flow({}, timestep_density="logit_normal", logit_mean=mean).time(u[1:2], 1) for mean in (0.0, 1.0))
    assert noisy > plain
    wide = flow({}, timestep_density="logit_normal", logit_std=2.0).time(u[1:2], 1)
    assert wide < plain


def test_a_flow_mixes_and_aims() -> None:
    made, t = flow({}), torch.tensor([0.0, 0.25, 1.0])
    x0, eps = torch.zeros(3, 1, 1, 1), torch.ones(3, 1, 1, 1)
    assert torch.equal(made.mix(x0, eps, t).flatten(), t) and (made.target(x0, eps, t) == 1).all()
    assert torch.equal(made.model_time(t), t * 1000) and made.weight(t).tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="snr_gamma is for epsilon and v_prediction; this run learns flow"):
        flow({}, snr_gamma=5.0)


def test_ema_decays() -> None:
    expected = {1: 0, 2: 0.181818, 3: 0.25, 4: 0.307692, 10: 0.526316, 100: 0.917431, 1000: 0.99108, 15000: 0.9994}
    decay = Decay(0.9999)
    assert {n: decay(n) for n in expected} == pytest.approx(expected, abs=1e-6)
    assert decay(89_990) < 0.9999 == decay(89_991) == decay(10**6)
    warm = Decay(0.9999, warmup=True, power=0.75)
    assert [warm(n) for n in (1, 2, 3, 10_001)] == pytest.approx([0, 0.405396, 0.561309, 0.999], abs=1e-6)


EMAS: list[dict[str, Any]] = [
    {}, {"decay": 0.3}, {"min_decay": 0.5}, {"update_after_step": 3}, {"use_ema_warmup": True},
    {"use_ema_warmup": True, "inv_gamma": 4.0, "power": 0.75, "decay": 0.6, "update_after_step": 1}]


@pytest.mark.parametrize("options", EMAS)
@pytest.mark.parametrize("offload", [False, True])
def test_ema_is_that_of_diffusers(options: dict[str, Any], offload: bool) -> None:
    from diffusers.training_utils import EMAModel

    names = {"min_decay": "min_decay", "update_after_step": "update_after_step", "use_ema_warmup": "warmup",
             "inv_gamma": "inv_gamma", "power": "power", "decay": "decay"}
    settings = config.load({"ema": {"offload": offload, **{names[k]: v for k, v in options.items()}}}).ema
    generator = torch.Generator().manual_seed(1)
    parameters: Any = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((3, 4), (5,), (2, 2))]
    ours, theirs = average_of(parameters, settings), EMAModel(parameters, foreach=True, **options)
    for n in range(1, 12):
        with torch.no_grad():
            for p in parameters:
                p.add_(torch.randn(p.shape, generator=generator))
        ours.update()
        theirs.step(parameters)
        assert ours.decay(n) == theirs.cur_decay_value
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ours.shadow, theirs.shadow_params, strict=True))
    facts, known = ours.facts(), theirs.state_dict()
    assert {key: known[key] for key in facts} == facts


def test_ema_values_and_swap() -> None:
    weight = torch.zeros(1)
    ema, seen = Ema([weight], Decay(0.9999)), []
    for k in range(1, 7):
        weight.fill_(k)
        ema.update()
        seen.append(ema.shadow[0].item())
    assert seen == pytest.approx([1, 1.8181818, 2.7045455, 3.6013986, 4.5004995, 5.4001998], abs=1e-6)
    with pytest.raises(ValueError, match="drawn"), ema.average_parameters():
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
        moments[limit] = update.state_dict({"w": weight})[0]["exp_avg.w"]
    assert torch.allclose(moments[1.0], torch.tensor([0.06, 0.08]), atol=1e-5)
    assert torch.allclose(moments[0.0], torch.tensor([30.0, 40.0]))


TIMES = torch.tensor([0, 1, 10, 100, 147, 250, 500, 750, 999])
WEIGHTS = {
    "epsilon": ([0.0042537, 0.0085344, 0.0483057, 0.5914455, 1, 1, 1, 1, 1], 0.916571),
    "v_prediction": ([0.0042501, 0.0085199, 0.0478435, 0.5288843, 0.8320298, 0.6737923, 0.2763325, 0.0561698,
                      0.0046601], 0.294331),
}


def test_signal_to_noise() -> None:
    abar = objectives.alphas_cumprod(SD)[TIMES]
    expected = [1175.4406, 585.86218, 103.5075, 8.4538641, 4.9534378, 2.0655317, 0.38185, 0.0595126, 0.0046819]
    assert torch.allclose(abar / (1 - abar), torch.tensor(expected), rtol=1e-4)


@pytest.mark.parametrize("kind", WEIGHTS)
def test_min_snr_weights(kind: str) -> None:
    expected, mean = WEIGHTS[kind]
    settings = config.load({"objective": {"snr_gamma": 5.0}}).objective
    weight = objectives.make(SD, kind, settings, timesteps).weight
    assert torch.allclose(weight(TIMES), torch.tensor(expected), atol=1e-6)
    assert weight(torch.arange(1000)).mean().item() == pytest.approx(mean, abs=1e-5)
    zero = objectives.make({**SD, "rescale_betas_zero_snr": True}, kind, settings, timesteps).weight(torch.arange(1000))
    assert zero.isfinite().all() and zero[-1] == {"epsilon": 1.0, "v_prediction": 0.0}[kind]


class Model(torch.nn.Module):
    """A denoiser with diffusers' call: one convolution and the time."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: torch.Tensor, t: torch.Tensor, texts: Any = None) -> Any:
        out = self.layer(x) + t.view(-1, 1, 1, 1) / 1000
        return SimpleNamespace(sample=out)


CASES = [(kind, gamma, offset, perturbation, dream) for kind in WEIGHTS for gamma in (0.0, 5.0)
         for offset, perturbation in ((0.0, 0.0), (0.1, 0.0), (0.0, 0.1), (0.05, 0.2))
         for dream in ((None, 1.0, 10.0) if kind == "epsilon" else (None,))]


@pytest.mark.parametrize(("kind", "gamma", "offset", "perturbation", "dream"), CASES)
def test_loss_and_gradient_are_the_reference_scripts(kind: Any, gamma: float, offset: float, perturbation: float,
                                                     dream: float | None) -> None:
    """The formulas of train_text_to_image.py, from diffusers' own functions, on the same numbers."""
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
    from diffusers.training_utils import compute_dream_and_update_latents, compute_snr

    shape, generator = (4, 8, 8), torch.Generator().manual_seed(5)
    t: Any = torch.tensor([3, 120, 500, 940])
    drawn = {name: torch.randn(4, *dims, generator=generator)
             for name, dims in {"noise": shape, "offset": (4, 1, 1), "perturbation": shape, "x0": shape}.items()}
    model: Any = Model()

    scheduler: Any = DDPMScheduler(**SD, prediction_type=kind)
    noise = drawn["noise"] + offset * drawn["offset"]
    noisy = scheduler.add_noise(drawn["x0"], noise + perturbation * drawn["perturbation"], t)
    wanted = noise if kind == "epsilon" else scheduler.get_velocity(drawn["x0"], noise, t)
    if dream is not None:
        nothing: Any = None
        noisy, wanted = compute_dream_and_update_latents(model, scheduler, t, noise, noisy, wanted, nothing, dream)
    errors = (model(noisy, t).sample - wanted).square().mean(dim=(1, 2, 3))
    if gamma:
        snr = compute_snr(scheduler, t)
        errors = errors * torch.minimum(snr, torch.full_like(snr, gamma)) / (snr if kind == "epsilon" else snr + 1)
    reference = errors.mean()
    gradient = torch.autograd.grad(reference, model.layer.weight)[0]

    settings = config.load({"objective": {
        "noise_offset": offset, "input_perturbation": perturbation, "snr_gamma": gamma, "dream": dream is not None,
        "dream_detail_preservation": dream or 1.0}}).objective
    objective, streams = objectives.make(SD, kind, settings, timesteps), []

    def draw(stream: str, dims: tuple[int, ...]) -> torch.Tensor:
        streams.append(stream)
        assert drawn[stream].shape[1:] == dims
        return drawn[stream]

    seen, meant = objectives.noise_of(settings)(draw, shape)
    x_t, target = objective.mix(drawn["x0"], seen, t), objective.target(drawn["x0"], meant, t)
    if objective.refine is not None:
        with torch.no_grad():
            x_t, target = objective.refine(x_t, target, t, model(x_t, t).sample)
    ours = ((model(x_t, t).sample - target).square().mean(dim=(1, 2, 3)) * objective.weight(t)).sum() / 4
    assert ours.item() == pytest.approx(reference.item(), rel=1e-6)
    found = torch.autograd.grad(ours, model.layer.weight)[0]
    assert (found - gradient).abs().max() <= 1e-6 * gradient.abs().max()
    assert streams == ["noise", *["offset"] * bool(offset), *["perturbation"] * bool(perturbation)]


def test_dream() -> None:
    """At time 500, a model that predicts half of what it sees."""
    refine = objectives.dream(objectives.alphas_cumprod(SD), 1.0)
    x_t, eps = (torch.tensor(pair).view(1, 2, 1, 1) for pair in ([1.0083885, -2.0693443], [1.0, -2.0]))
    x, target = refine(x_t, eps, torch.tensor([500]), x_t / 2)
    assert torch.allclose(x.flatten(), torch.tensor([1.367187, -2.7679207]), atol=1e-6)
    assert torch.allclose(target.flatten(), torch.tensor([1.4217752, -2.8211913]), atol=1e-6)


@pytest.mark.parametrize(("kind", "option"), [
    ("v_prediction", {"dream": True}), ("flow", {"dream": True}), ("flow", {"snr_gamma": 5.0}),
    ("epsilon", {"zero_terminal_snr": True}), ("flow", {"zero_terminal_snr": True})])
def test_an_objective_without_a_formula_is_refused(kind: str, option: dict[str, Any]) -> None:
    schedule = {"kind": "flow", "num_train_timesteps": 1000} if kind == "flow" else SD
    with pytest.raises(ValueError, match=next(iter(option))):
        objectives.make(schedule, kind, config.load({"objective": option}).objective, timesteps)


def test_zero_terminal_snr_leaves_nothing_at_the_last_time() -> None:
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    settings = config.load({"objective": {"zero_terminal_snr": True}}).objective
    objective = objectives.make(SD, "v_prediction", settings, timesteps)
    scheduler = DDPMScheduler(**SD, rescale_betas_zero_snr=True)
    x0, eps = torch.full((1000, 1, 1, 1), 2.0), torch.full((1000, 1, 1, 1), 3.0)
    t: Any = torch.arange(1000)
    mixed = objective.mix(x0, eps, t)
    assert torch.allclose(mixed, scheduler.add_noise(x0, eps, t), atol=1e-5) and mixed[-1].item() == 3.0
    assert objective.target(x0, eps, t)[-1].item() == -2.0  # v is -x0 where there is no signal


def test_learning_rates_of_an_accumulated_run() -> None:
    """Ten updates with two of warm-up, cosine: what the reference SD script uses whatever it accumulates."""
    rate = optim.schedule("cosine", 1.0, 2, 10)
    expected = [0, 0.5, 1, 0.9619, 0.8536, 0.6913, 0.5, 0.3087, 0.1464, 0.0381]
    assert [rate(k) for k in range(10)] == pytest.approx(expected, abs=1e-4)
