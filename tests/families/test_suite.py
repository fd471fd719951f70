"""One suite for all families: each property, for every family with a tiny base built offline.

| property | sd | rf |
|---|---|---|
| told by its base, loads as its library loads it; latents, texts, loss, previews are its library's own | here | here |
| an encoding's identity; foreign bases refused; goals; plans | here | here |
| learns eight pictures, judged on the download; a wrong convention is seen | here | here |
| a killed run resumes bit for bit, with buckets and non-square previews | here | here |
| a LoRA is read elsewhere at its full strength | `train/test_lora.py`, unfolded and in kohya's naming | here, folded |
| one file for other programs, read back | `test_single_file.py` | has no such format |
| an optional part may be missing; a schedule without times is refused | has no optional part, no shift | here |
| conventions that may be wrong | packs nothing, masks no text, moves no latents | all of `learning.MISTAKES` |
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import studio.families
from studio import config, export, prepare, presets
from studio.bases import source
from studio.families import BaseProblem, Family, Source
from studio.folders import runs
from studio.train.batches.cache import Encoders, digest
from studio.train.batches.collator import Collator
from studio.train.batches.sampler import ImageTransform, Sample
from studio.train.learning import objectives
from studio.train.learning.trainable import TrainableModel

from ..train.conftest import child, curve, fingerprint, told
from . import learning, pictures, rf_base, tiny

TEXTS = ["a red fox", "two blue birds that fly over a house", ""]


@dataclass(frozen=True)
class Column:
    """A family of the suite: its tiny base, the pipeline that diffusers loads it by, and what its loss must be.

    `loss(pipeline, latents, noise, u, texts)` is computed by the library's own scheduler and model."""

    name: str
    make: Callable[..., Path]
    load: Callable[[Path], Any]
    loss: Callable[..., torch.Tensor]
    latents: Callable[[Any, torch.Tensor], torch.Tensor]
    texts: Callable[[Any, list[str]], torch.Tensor]
    encoded: str  # the tensor of `encode_texts` that `texts` is
    objective: dict[str, Any]  # of a run that is killed: what of it has a state or a formula of its own
    mistake: str  # a convention that one learning run has wrong; all of them by `python -m tests.families.learning`


def _sd(folder: Path) -> Any:
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, requires_safety_checker=False)


def _sd_loss(pipe: Any, x0: torch.Tensor, eps: torch.Tensor, u: torch.Tensor, texts: list[str]) -> torch.Tensor:
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler.from_config(pipe.scheduler.config)
    t = (u * 1000).long()
    answer = pipe.unet(scheduler.add_noise(x0, eps, t), t, _sd_texts(pipe, texts)).sample
    return (answer - eps).square().mean(dim=(1, 2, 3))


def _sd_texts(pipe: Any, texts: list[str]) -> torch.Tensor:
    return pipe.encode_prompt(texts, "cpu", 1, do_classifier_free_guidance=False)[0]


def _rf(folder: Path) -> Any:
    return rf_base.library().ToyPipeline.from_pretrained(folder)


def _rf_loss(pipe: Any, x0: torch.Tensor, eps: torch.Tensor, u: torch.Tensor, texts: list[str]) -> torch.Tensor:
    """By the scheduler's own way of adding noise, one by one: no padding of one's texts beside another's."""
    toylib, losses = rf_base.library(), []
    for number, text in enumerate(texts):
        sigma = u[number].float()
        pipe.scheduler.set_timesteps(sigmas=[float(sigma), 0.0])
        clean, noise = x0[number : number + 1], eps[number : number + 1]
        noisy = pipe.scheduler.scale_noise(clean, pipe.scheduler.timesteps[:1], noise)
        told = pipe.encode_prompt([text])
        answer = pipe.transformer(toylib.packed(noisy), toylib.places(*x0.shape[-2:]), told["texts"],
                                  told.get("texts_2"), told["mask"], (1 - sigma)[None])
        losses.append((-toylib.unpacked(answer, *x0.shape[-2:]) - (noise - clean)).square().mean())
    return torch.stack(losses)


def _rf_latents(pipe: Any, pixels: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(pipe.vae.config[f"latents_{k}"]).view(1, -1, 1, 1) for k in ("mean", "std"))
    return (pipe.vae.encode(pixels).latent_dist.mode() - mean) / std


COLUMNS = {
    "sd": Column("sd", tiny.make, _sd, _sd_loss,
                 lambda pipe, x: pipe.vae.encode(x).latent_dist.mode() * pipe.vae.config.scaling_factor, _sd_texts,
                 "encoder_hidden_states", {"prediction_type": "epsilon", "snr_gamma": 5.0, "noise_offset": 0.05},
                 "scale of latents left out"),
    "rf": Column("rf", rf_base.make, _rf, _rf_loss, _rf_latents, lambda pipe, t: pipe.encode_prompt(t)["texts"],
                 "texts", {"prediction_type": "flow", "timestep_density": "logit_normal", "timestep_shift": "length"},
                 "time not scaled"),
}


@pytest.fixture(scope="module", autouse=True)
def _toys() -> Iterator[None]:
    """The toy's file beside the package's own families, for this module alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        patch.setattr(studio.families, "__path__", [*studio.families.__path__])
        learning.family()
        yield


@pytest.fixture(scope="module", params=COLUMNS)
def column(request: pytest.FixtureRequest) -> Column:
    return COLUMNS[request.param]


@pytest.fixture(scope="module")
def base(column: Column, tmp_path_factory: pytest.TempPathFactory) -> Source:
    found = source.locate(str(column.make(tmp_path_factory.mktemp(column.name) / "base")))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def family(base: Source) -> Family:
    return studio.families.of(base)


@pytest.fixture(scope="module")
def pipe(column: Column, base: Source) -> Any:
    """The base as its library loads it."""
    return column.load(base.folder)


def parts_of(family: Family, base: Source) -> dict[str, Any]:
    """Every part, in fp32."""
    return {name: family.load(name, base, "float32") for name, part in family.parts.items()
            if part.role != "scheduler"}


def pixels_of(numbers: range, size: tuple[int, int] = (32, 32)) -> torch.Tensor:
    levels = np.stack([pictures.array(n, size) for n in numbers]).astype(np.float32)
    return torch.from_numpy(levels).permute(0, 3, 1, 2) / 127.5 - 1


def test_a_base_says_which_family_it_is(column: Column, base: Source, family: Family) -> None:
    assert family.name == column.name
    family.check(base)
    assert set(family.load(family.denoiser, base, "float32").state_dict()) == set(
        getattr(column.load(base.folder), family.denoiser).state_dict())


@torch.no_grad()
def test_latents_are_those_of_its_library_and_decode_again(column: Column, base: Source, family: Family, pipe: Any
                                                           ) -> None:
    parts, pixels = parts_of(family, base), pixels_of(range(2), (48, 32))
    posterior = family.encode_images(parts, pixels)
    latents = family.latent_mode(posterior)
    assert latents.shape[-2:] == (16, 24)
    assert torch.allclose(latents, column.latents(pipe, pixels), atol=1e-6)
    decoded = pipe.vae.decode(pipe.vae.encode(pixels).latent_dist.mode()).sample
    assert torch.allclose(family.decode_latents(parts, latents), decoded, atol=1e-4)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(1))
    assert family.sample_latents(posterior, noise).shape == latents.shape


@torch.no_grad()
def test_texts_are_those_of_its_library_alone_or_in_a_batch(column: Column, base: Source, family: Family, pipe: Any
                                                            ) -> None:
    parts = parts_of(family, base)
    wanted = column.texts(pipe, TEXTS)
    entries = [family.encode_texts(parts, [text]) for text in TEXTS]
    batch = family.collate_texts(entries)
    for number, entry in enumerate(entries):
        alone = entry[column.encoded]
        length = alone.shape[1]
        assert torch.allclose(alone[0], wanted[number, :length], atol=1e-5)
        assert torch.equal(batch[column.encoded][number, :length], alone[0])
        if "mask" in batch:
            assert batch["mask"][number].sum() == length, "what is filled up is masked"


@torch.no_grad()
@pytest.mark.parametrize("size", [(32, 32), (48, 24)])
def test_the_loss_is_what_its_library_computes(column: Column, base: Source, family: Family, pipe: Any,
                                               size: tuple[int, int]) -> None:
    """What the trainer feeds and asks, beside the library's own scheduler and call of the model."""
    settings = config.load({"objective": {"prediction_type": family.prediction_types[0]}}).objective
    objective = objectives.make(family.schedule(base), settings.prediction_type or "", settings, family.timesteps)
    encoders = Encoders(family, base, torch.device("cpu"), {})
    encoders.parts = parts_of(family, base)
    row = {"width": size[0], "height": size[1]}
    samples = [Sample(row, 0, n, text, False, (0.5, 0.5), size) for n, text in enumerate(TEXTS)]
    collator = Collator(family, objective, objectives.plain, 3, lambda s: {}, encoders.text, ImageTransform("lanczos"),  # type: ignore
                        torch.device("cpu"), settings)
    x0 = column.latents(pipe, pixels_of(range(3), size))
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(2))
    u = torch.tensor([0.2, 0.55, 0.9], dtype=torch.float64)
    batch = collator.batch(samples, x0, eps, eps, u)
    model = TrainableModel(family, encoders.parts[family.denoiser], {})
    losses = (model(batch.noisy_latents, batch.timesteps, batch.conditions,
                    batch.captions) - batch.target).square().mean(dim=(1, 2, 3))
    wanted = column.loss(pipe, x0, eps, u, TEXTS)
    assert torch.allclose(losses, wanted, rtol=2e-4), (losses, wanted)


@torch.no_grad()
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_previews_are_its_librarys_own_images(column: Column, base: Source, family: Family, pipe: Any,
                                              guidance: float) -> None:
    """Without text encoders, at any proportions, with the scheduler that is exported."""
    parts = parts_of(family, base)
    settings = config.load({"objective": {"prediction_type": family.prediction_types[0]}}).objective
    ours = family.pipeline(parts, base, settings)
    theirs = column.load(base.folder)
    theirs.scheduler = type(ours.scheduler).from_config(ours.scheduler.config)
    theirs.set_progress_bar_config(disable=True)
    told, away = (family.encode_texts(parts, [text]) for text in (TEXTS[0], ""))
    mine = family.generate(ours, told, 7, size=(48, 32), steps=4, guidance=guidance, negative=away)
    wanted = theirs(TEXTS[0], width=48, height=32, num_inference_steps=4, guidance_scale=guidance,
                    generator=torch.Generator().manual_seed(7)).images[0]
    assert mine.size == (48, 32) and np.abs(np.asarray(mine, int) - np.asarray(wanted, int)).max() <= 1


def test_an_encoding_is_found_by_all_that_changes_it(family: Family, base: Source, monkeypatch: pytest.MonkeyPatch
                                                     ) -> None:
    kinds = family.encoder_parts(base)
    hashes = {part: f"hash of {part}" for kind in kinds.values() for part in kind}

    def identity(kind: str, changed: dict[str, str] | None = None) -> str:
        return digest(Encoders(family, base, torch.device("cpu"), {**hashes, **(changed or {})}).identity(kind))

    for kind, parts in kinds.items():
        assert all(identity(kind) != identity(kind, {part: "another"}) for part in parts)
        before = identity(kind)
        monkeypatch.setattr(type(family), "encoding_facts", lambda *_: {"template": "You are a painter."})
        assert identity(kind) != before
        monkeypatch.undo()
        assert identity(kind) == before


def test_bases_of_other_families_are_refused(column: Column, base: Source, tmp_path: Path) -> None:
    for name, other in COLUMNS.items():
        if name != column.name:
            foreign = source.locate(str(other.make(tmp_path / name)))
            assert foreign is not None
            with pytest.raises(BaseProblem, match="this family trains"):
                studio.families.get(column.name).check(foreign)
    broken = Path(shutil.copytree(base.folder, tmp_path / "broken"))
    tiny.edit(broken / "model_index.json", _class_name="KolorsPipeline")
    unknown = source.locate(str(broken))
    assert unknown is not None
    with pytest.raises(BaseProblem, match="is a KolorsPipeline; this studio trains .*StableDiffusionPipeline"):
        studio.families.of(unknown)


@pytest.mark.parametrize("goal", [goal.id for goal in presets.GOALS])
def test_a_goal_asks_for_nothing_that_the_base_has_no_formula_for(goal: str, family: Family, base: Source) -> None:
    learns = family.prediction_types[0]
    made = presets.config_for(goal, presets.PresetInputs(20, 1000, 8 << 30, base.name, learns))
    assert not [name for name, kinds in studio.families.FORMULAS.items()
                if made.get("objective", {}).get(name) and learns not in kinds]


@pytest.mark.parametrize("field, value", [("shift", 0), ("shift", "3"), ("max_image_seq_len", 256),
                                          ("base_shift", float("nan")), ("num_train_timesteps", 0)])
def test_a_schedule_that_no_times_are_told_by_is_refused(home: Path, tmp_path: Path, field: str, value: Any) -> None:
    base = rf_base.make(tmp_path / "base")
    tiny.edit(base / "scheduler" / "scheduler_config.json", **{field: value})
    (problem,) = prepare.plan(home, {"model": {"base": str(base)}}).problems
    assert problem.field == "model.base" and f"has {field} {str(value)!r}" in problem.message


def test_an_optional_encoder_may_be_missing(tmp_path: Path) -> None:
    base = source.locate(str(rf_base.make(tmp_path / "base", second=False)))
    assert base is not None
    family = studio.families.of(base)
    family.check(base)
    assert family.encoder_parts(base)["texts"] == ("tokenizer", "text_encoder")
    assert b'"text_encoder_2": [\n    null' in family.pipeline_files(base, config.Config().objective)[
        "model_index.json"]  # type: ignore[operator]


# ---------------------------------------------------------------------------------------------------------------- runs


def test_what_was_learnt_draws_elsewhere(column: Column, tmp_path: Path) -> None:
    """Eight captioned pictures from random weights, judged on the download by a program without the studio."""
    run = learning.learn(tmp_path, column.name)
    for weights, most in (("raw", learning.RAW), ("ema", learning.EMA)):
        found = learning.verdict(run, weights)
        assert not learning.faults(found, most), found


def test_the_judge_sees_a_wrong_convention(column: Column, tmp_path: Path) -> None:
    with learning.mistaken(column.name, column.mistake):
        run = learning.learn(tmp_path, column.name)
    assert learning.faults(learning.verdict(run, "raw"), learning.RAW), column.mistake


def test_a_lora_is_read_at_its_full_strength_elsewhere(tmp_path: Path) -> None:
    """Its alpha is not its rank; without metadata and in any reader the file adds alpha / rank times what it holds."""
    run = learning.learn(tmp_path, model={"method": "lora"}, lora={"rank": 2, "alpha": 5.0}, train={"max_steps": 3},
                         checkpoint={"every_steps": 3})
    folder = run.checkpoints / "checkpoint-3" / "transformer_lora"
    kept = load_file(folder / "pytorch_lora_weights.safetensors")
    item = next(i for i in export.listing(run) if (i.kind, i.weights, i.precision) == ("lora", "raw", "fp32"))
    export.write_item(run, item.path, tmp_path)
    file = tmp_path / "pytorch_lora_weights.safetensors"
    folded = load_file(file)
    assert folded.keys() == kept.keys()
    for name, value in folded.items():
        assert torch.allclose(value, kept[name] * (2.5 if ".lora_B." in name else 1), atol=1e-7), name
    theirs, base = _rf(tmp_path / "base"), _rf(tmp_path / "base")
    theirs.load_lora_weights(str(file))
    layer = theirs.transformer.blocks[0].to_q
    scaling = next(iter(layer.scaling.values()))
    assert scaling == 1.0
    a, b = (kept[f"transformer.blocks.0.to_q.lora_{ab}.weight"] for ab in "AB")
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    wanted = base.transformer.blocks[0].to_q(x) + 2.5 * (x @ a.T @ b.T)
    assert torch.allclose(layer(x), wanted, atol=1e-5)


def test_a_killed_run_resumes_bit_for_bit_in_buckets(column: Column, base: Source, tmp_path: Path) -> None:
    rows = [*pictures.make(tmp_path, pictures.CAPTIONS[:3]), *pictures.make(tmp_path, pictures.CAPTIONS[:3], (48, 24))]
    asked = {
        "model": {"base": str(base.folder), "family": column.name}, "objective": column.objective,
        "data": {"resolution": 32, "buckets": True, "bucket_step": 8, "random_flip": True, "caption_dropout": 0.3},
        "train": {"max_steps": 6, "batch_size": 2, "seed": 1, "mixed_precision": "no"},
        "optim": {"learning_rate": 1e-3, "lr_scheduler": "constant"},
        "sample": {"prompts": ["a red fox"], "every_steps": 3, "guidance_scale": 2.0, "num_inference_steps": 2,
                   "width": 48, "height": 24},
        "checkpoint": {"every_steps": 2, "keep": 2}, "compute": {"num_threads": 1}}
    settings = config.resolve(config.load(asked), pictures=len(rows), seed=1, cores=1)
    whole, broken = (runs.create(tmp_path, name=name, owner="", config=settings, rows=rows) for name in "ab")
    done = child(whole)
    assert done.returncode == 0, done.stderr[-2000:]
    assert child(broken, "step:3").returncode != 0
    assert child(broken).returncode == 0
    assert told(broken, "resumed")[0]["from_step"] == 2
    assert curve(broken) == curve(whole) and fingerprint(broken, 6) == fingerprint(whole, 6)
    for event in told(broken, "sample"):
        with Image.open(broken.samples / event["file"]) as one, Image.open(whole.samples / event["file"]) as other:
            assert one.size == (48, 24) and one.tobytes() == other.tobytes()


def test_a_plan_takes_what_the_base_says_and_refuses_what_it_cannot(home: Path, tmp_path: Path) -> None:
    base = rf_base.make(tmp_path / "base", shift=3.0)
    plan = prepare.plan(home, {"model": {"base": str(base), "family": "sd"}})
    assert not plan.problems and plan.config is not None
    assert plan.config.model.family == "rf" and any("not sd" in warning for warning in plan.warnings)
    objective = plan.config.objective
    assert (objective.prediction_type, objective.timestep_density, objective.timestep_shift) == ("flow", "uniform", "3")
    wrong = prepare.plan(home, {
        "model": {"base": str(base)}, "data": {"resolution": 64}, "sample": {"width": 2048},
        "objective": {"prediction_type": "flow_prediction", "snr_gamma": 5, "dream": True, "zero_terminal_snr": True}})
    assert {fault.field for fault in wrong.problems} == {
        "objective.snr_gamma", "objective.dream", "objective.zero_terminal_snr", "sample.width"}
    for shift, fields in (("0", ["objective.timestep_shift"]), ("0.0", ["objective.timestep_shift"]), ("0.5", [])):
        faults = prepare.plan(home, {"model": {"base": str(base)}, "objective": {"timestep_shift": shift}}).problems
        assert [fault.field for fault in faults] == fields, shift
    other = prepare.plan(home, {"objective": {"timestep_shift": "3", "prediction_type": "epsilon"}})
    assert {fault.field for fault in other.problems} == {"objective.timestep_shift"}
    foreign = prepare.plan(home, {"model": {"base": str(base)}, "objective": {"prediction_type": "epsilon"}})
    assert [fault.field for fault in foreign.problems] == ["objective.prediction_type"]
