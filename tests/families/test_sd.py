"""Stable Diffusion: encoding, prediction and drawing equal diffusers' own; what is refused, and why."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from studio import config, families
from studio.bases import source

from . import tiny

FAMILY = families.get("sd")
PARTS = ("tokenizer", "text_encoder", "vae", "unet")
PROMPTS = ["a red apple", "two birds"]


@pytest.fixture(scope="module")
def v1(tmp_path_factory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("bases") / "v1")


@pytest.fixture(scope="module")
def v2(tmp_path_factory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("bases") / "v2", v2=True, prediction_type="v_prediction", seed=1)


@pytest.fixture(params=["v1", "v2"])
def base(request) -> Path:
    return request.getfixturevalue(request.param)


@pytest.fixture
def broken(v1: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(v1, tmp_path / "broken"))


def located(folder: Path, variant: str | None = None) -> families.Source:
    return source.locate(str(folder), None, variant)


def loaded(folder: Path, variant: str | None = None) -> dict:
    found = located(folder, variant)
    FAMILY.check(found)
    return {part: FAMILY.load(part, found) for part in PARTS}


def reference(folder: Path):
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, requires_safety_checker=False)


def objective(prediction_type: str, **more) -> Any:
    return config.load({"objective": {"prediction_type": prediction_type, **more}}).objective


@torch.no_grad()
def drawing(pipeline, parts, prompt: str, seed: int, *, guidance: float = 3.0, size=(32, 32), negative: str = ""):
    conditions, away = (FAMILY.encode_texts(parts, [text]) for text in (prompt, negative))
    return FAMILY.generate(pipeline, conditions, seed, size=size, steps=4, guidance=guidance, negative=away)


def refusal(folder: Path, variant: str | None = None) -> str:
    with pytest.raises(families.BaseProblem) as caught:
        FAMILY.check(located(folder, variant))
    return str(caught.value)


@torch.no_grad()
def test_encoders_equal_diffusers(base):
    parts, pipeline = loaded(base), reference(base)
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    stats = FAMILY.encode_images(parts, pixels)
    assert all(len(tensor) == 2 and tensor.dtype == torch.float32 for tensor in stats.values())
    xi = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(5))
    posterior, scale = pipeline.vae.encode(pixels).latent_dist, pipeline.vae.config.scaling_factor
    assert torch.equal(FAMILY.sample_latents(stats, xi), posterior.sample(torch.Generator().manual_seed(5)) * scale)
    assert torch.equal(FAMILY.latent_mode(stats), posterior.mode() * scale)
    long = ["x " * 100, "", *PROMPTS]
    wanted = pipeline.encode_prompt(long, "cpu", 1, do_classifier_free_guidance=False)[0]
    found = FAMILY.encode_texts(parts, long)
    assert list(found) == ["encoder_hidden_states"] and found["encoder_hidden_states"].shape == (4, 77, 32)
    assert torch.equal(found["encoder_hidden_states"], wanted)
    t = torch.tensor([3, 980])
    one = FAMILY.predict(parts["unet"], xi, t, {"encoder_hidden_states": wanted[:2]})
    assert torch.equal(one, pipeline.unet(xi, t, wanted[:2]).sample)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_pictures_equal_diffusers(base, prediction_type):
    from diffusers import DDIMScheduler

    parts, theirs = loaded(base), reference(base)
    ours = FAMILY.pipeline(parts, located(base), objective(prediction_type))
    theirs.scheduler = DDIMScheduler.from_config(theirs.scheduler.config, prediction_type=prediction_type,
                                                 clip_sample=False)
    theirs.set_progress_bar_config(disable=True)
    drawn = [drawing(ours, parts, prompt, seed, guidance=5.0) for prompt, seed in zip(PROMPTS, [7, 8], strict=True)]
    for prompt, seed, picture in zip(PROMPTS, [7, 8], drawn, strict=True):
        wanted = theirs(prompt, height=32, width=32, num_inference_steps=4, guidance_scale=5.0,
                        generator=torch.Generator().manual_seed(seed)).images[0]
        assert picture.tobytes() == wanted.tobytes()
    wide = drawing(ours, parts, PROMPTS[0], 7, guidance=5.0, size=(48, 24))
    wanted = theirs(PROMPTS[0], width=48, height=24, num_inference_steps=4, guidance_scale=5.0,
                    generator=torch.Generator().manual_seed(7)).images[0]
    assert wide.size == (48, 24) and wide.tobytes() == wanted.tobytes()
    away = drawing(ours, parts, PROMPTS[0], 7, guidance=5.0, negative=PROMPTS[1])
    wanted = theirs(PROMPTS[0], negative_prompt=PROMPTS[1], height=32, width=32, num_inference_steps=4,
                    guidance_scale=5.0, generator=torch.Generator().manual_seed(7)).images[0]
    assert away.tobytes() == wanted.tobytes() != drawn[0].tobytes()


def test_zero_terminal_snr_is_saved_and_drawn_with(v2, tmp_path):
    from diffusers import DDIMScheduler

    ours = FAMILY.pipeline(loaded(v2), located(v2), objective("v_prediction", zero_terminal_snr=True))
    files = FAMILY.pipeline_files(located(v2), objective("v_prediction", zero_terminal_snr=True))
    (tmp_path / "scheduler_config.json").write_bytes(files["scheduler/scheduler_config.json"])
    saved = DDIMScheduler.from_pretrained(tmp_path)
    for scheduler in (ours.scheduler, saved):
        scheduler.set_timesteps(4)
        assert scheduler.timesteps.tolist() == [999, 749, 499, 249]  # from the last time, where nothing is left
        assert scheduler.alphas_cumprod[-1] < 1e-7 and scheduler.config.prediction_type == "v_prediction"
    assert torch.equal(ours.scheduler.alphas_cumprod, saved.alphas_cumprod)
    plain = json.loads(FAMILY.pipeline_files(located(v2), objective("v_prediction"))["scheduler/scheduler_config.json"])
    assert not plain["rescale_betas_zero_snr"] and plain.get("timestep_spacing") != "trailing"
    picture = drawing(ours, loaded(v2), PROMPTS[0], 7)
    other = FAMILY.pipeline(loaded(v2), located(v2), objective("v_prediction"))
    assert picture.tobytes() != drawing(other, loaded(v2), PROMPTS[0], 7).tobytes()


def test_drawing_leaves_the_global_generator_alone(v1):
    pipeline = FAMILY.pipeline(loaded(v1), located(v1), objective("epsilon"))
    parts, before = loaded(v1), torch.get_rng_state()
    drawing(pipeline, parts, PROMPTS[0], 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_shards_variant_and_half_precision_load_as_fp32(tmp_path, v1):
    parts = tiny.parts()
    folder = tiny.make(tmp_path / "half")
    for part in ("unet", "vae", "text_encoder"):
        shutil.rmtree(folder / part)
        parts[part].half().save_pretrained(folder / part, variant="fp16", max_shard_size="60KB")
    assert (folder / "unet" / "diffusion_pytorch_model.safetensors.index.fp16.json").is_file()
    half, full = loaded(folder, "fp16"), loaded(v1)
    for part in ("unet", "vae", "text_encoder"):
        assert {p.dtype for p in half[part].parameters()} == {torch.float32} and not half[part].training
        want = {name: p.half().float() for name, p in full[part].state_dict().items()}
        assert all(torch.equal(p, want[name]) for name, p in half[part].state_dict().items())
    assert "there is: fp16" in refusal(folder)
    assert "there is: fp16" in refusal(folder, "bf16")
    next((folder / "vae").glob("*-00001-of-*")).unlink()
    assert "not in vae/" in refusal(folder, "fp16")


def test_defaults_come_from_the_base_and_its_own_file(v2, broken):
    found = FAMILY.defaults(located(v2))
    assert found["data"]["resolution"] == 32 and found["objective"]["prediction_type"] == "v_prediction"
    assert FAMILY.schedule(located(v2))["beta_schedule"] == "scaled_linear"
    (broken / "studio.json").write_text('{"schema": 1, "optim": {"learning_rate": 3e-4}, "train": {"max_steps": 99}}')
    found = FAMILY.defaults(located(broken))
    assert found["optim"]["learning_rate"] == 3e-4 and found["train"]["max_steps"] == 99
    assert found["objective"]["prediction_type"] == "epsilon" and "schema" not in found
    (broken / "studio.json").write_text('{"optim": {"learnin_rate": 3e-4}}')
    with pytest.raises(families.BaseProblem, match="studio.json.*learnin_rate"):
        FAMILY.defaults(located(broken))
    never_empty = '{"optim": {"learning_rate": 3e-4, "max_grad_norm": 2}, "data": {"buckets": true}}'
    (broken / "studio.json").write_text(never_empty)
    with pytest.raises(families.BaseProblem, match=r"studio.json.*data.buckets: it is never empty.*max_grad_norm"):
        FAMILY.defaults(located(broken))


@pytest.mark.parametrize("full, lora", [(1e-5, 1e-4), (1e-3, 2e-3), (5e-3, 5e-3)])
def test_a_lora_learns_at_ten_times_the_rate_within_reason(broken, full, lora):
    (broken / "studio.json").write_text(f'{{"optim": {{"learning_rate": {full}}}}}')
    found = [FAMILY.defaults(located(broken), method)["optim"]["learning_rate"] for method in ("full", "lora")]
    assert found == pytest.approx([full, lora])
    (broken / "studio-lora.json").write_text('{"optim": {"learning_rate": 4e-4}, "train": {"max_steps": 600}}')
    own = FAMILY.defaults(located(broken), "lora")
    assert own["optim"]["learning_rate"] == 4e-4 and own["train"]["max_steps"] == 600, "its word goes before the rule"
    assert FAMILY.defaults(located(broken))["train"]["max_steps"] == 2000, "and is a LoRA's alone"
    (broken / "studio-lora.json").write_text('{"lora": {"rank": 4}}')
    with pytest.raises(families.BaseProblem, match="studio-lora.json.*lora.rank: it is never empty"):
        FAMILY.defaults(located(broken), "lora")


def test_a_pipeline_takes_its_bases_suggestions_along(broken):
    assert not {"studio.json", "studio-lora.json"} & FAMILY.pipeline_files(located(broken), objective("epsilon")).keys()
    chosen = {"optim": {"learning_rate": 3e-4}, "objective": {"prediction_type": "epsilon"}}
    (broken / "studio.json").write_text(json.dumps(chosen))
    (broken / "studio-lora.json").write_text('{"train": {"max_steps": 600}}')
    files = FAMILY.pipeline_files(located(broken), objective("v_prediction"))
    for name in ("studio.json", "studio-lora.json", "scheduler/scheduler_config.json"):
        (broken / name).write_bytes(files[name])
    found = FAMILY.defaults(located(broken), "lora")
    assert found["train"]["max_steps"] == 600 and found["optim"]["learning_rate"] == pytest.approx(2e-3)
    assert found["objective"]["prediction_type"] == "v_prediction", "what the run trained with, not the base"


def test_check_and_defaults_load_no_torch(v1):
    code = ("import sys; from studio import config, families; from studio.bases import source;"
            "f = families.get('sd'); s = source.locate(sys.argv[1]); f.check(s); f.defaults(s);"
            "f.pipeline_files(s, config.Config().objective);"
            "print([m for m in ('torch', 'diffusers', 'transformers') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code, str(v1)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("file", "fields", "says"), [
    ("model_index.json", {"_class_name": "StableDiffusionXLPipeline"}, "StableDiffusionXLPipeline"),
    ("model_index.json", {"_class_name": ["my_pipeline", "Mine"]}, "custom pipeline code"),
    ("model_index.json", {"unet": ["my_unet", "MyUNet"]}, "only diffusers's UNet2DConditionModel is loaded"),
    ("model_index.json", {"text_encoder": ["transformers", "AutoModel"]}, "CLIPTextModel"),
    ("model_index.json", {"scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"]}, "scheduler"),
    ("model_index.json", {"vae": [None, None]}, "vae is missing"),
    ("model_index.json", {"text_encoder_2": ["transformers", "CLIPTextModel"]}, "text_encoder_2"),
    ("unet/config.json", {"_class_name": "UNetMine"}, "'UNetMine'"),
    ("unet/config.json", {"in_channels": 9}, "inpainting"),
    ("unet/config.json", {"cross_attention_dim": 768}, "different models"),
    ("unet/config.json", {"addition_embed_type": "text_time"}, "addition_embed_type"),
    ("unet/config.json", {"quantization_config": {"quant_method": "bitsandbytes"}}, "quantized"),
    ("text_encoder/config.json", {"auto_map": {"AutoModel": "evil.Model"}}, "auto_map"),
    ("text_encoder/config.json", {"model_type": "t5"}, "'t5'"),
    ("tokenizer/tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.T", None]}}, "auto_map"),
    ("tokenizer/tokenizer_config.json", {"tokenizer_class": "T5Tokenizer"}, "'T5Tokenizer'"),
    ("scheduler/scheduler_config.json", {"prediction_type": "sample"}, "'sample'"),
    ("scheduler/scheduler_config.json", {"beta_schedule": "sigmoid"}, "'sigmoid'"),
])
def test_foreign_or_unfit_bases_are_refused(broken, file, fields, says):
    tiny.edit(broken / file, **fields)
    message = refusal(broken)
    assert says in message and str(broken) in message


def test_pickle_weights_are_refused_with_the_reason(broken):
    weights = broken / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    message = refusal(broken)
    assert "unet/ has pickle weights (.bin) only" in message and ".safetensors" in message


@pytest.mark.parametrize(("file", "says"), [
    ("unet/config.json", "unet/config.json is missing"),
    ("vae/diffusion_pytorch_model.safetensors", "vae/ has no weights"),
    ("tokenizer/merges.txt", "tokenizer/ has neither"),
])
def test_missing_files_are_named(broken, file, says):
    (broken / file).unlink()
    assert says in refusal(broken)


def test_unreadable_json_is_named(broken):
    (broken / "unet" / "config.json").write_text('{"in_channels": ')
    assert "unet/config.json cannot be read" in refusal(broken)
    (broken / "unet" / "config.json").write_text("[]")
    assert "unet/config.json is not a JSON object" in refusal(broken)


def test_the_embedded_base_is_one_of_the_family():
    found = source.locate("embedded")
    FAMILY.check(found)
    assert FAMILY.defaults(found)["data"]["resolution"] == 64
