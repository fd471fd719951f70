"""Stable Diffusion 1.x and 2.x: UNet2DConditionModel, AutoencoderKL, CLIPTextModel, CLIPTokenizer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio import config
from studio.families import BaseProblem, Family, Source, _sd_layout
from studio.tensors import Tensor

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from studio.families import Tensors

PIPELINES = ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline")
SCHEDULERS = (
    "DDIMScheduler", "DDPMScheduler", "DEISMultistepScheduler", "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler", "EulerAncestralDiscreteScheduler", "EulerDiscreteScheduler",
    "HeunDiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "KDPM2DiscreteScheduler", "LMSDiscreteScheduler",
    "PNDMScheduler", "UniPCMultistepScheduler")
CLASSES = {
    "unet": ("diffusers", ("UNet2DConditionModel",)),
    "vae": ("diffusers", ("AutoencoderKL",)),
    "text_encoder": ("transformers", ("CLIPTextModel",)),
    "tokenizer": ("transformers", ("CLIPTokenizer", "CLIPTokenizerFast")),
    "scheduler": ("diffusers", SCHEDULERS),
}
SUGGESTED = ("studio.json", "studio-lora.json")  # partial configs that a base may have, the second for a LoRA
UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
WEIGHTS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
CONFIGS = {"unet": "unet/config.json", "vae": "vae/config.json", "text_encoder": "text_encoder/config.json",
           "tokenizer": "tokenizer/tokenizer_config.json", "scheduler": "scheduler/scheduler_config.json"}
SHARD = "-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9]"  # a glob, and a regular expression too
# The values of diffusers' DDPMScheduler where a scheduler_config.json is silent.
SCHEDULE = {"num_train_timesteps": 1000, "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear",
            "trained_betas": None, "rescale_betas_zero_snr": False, "prediction_type": "epsilon"}
BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")
ATTENTION = ("to_k", "to_q", "to_v", "to_out.0")
# LoRA learns best at about ten times a full fine-tune's rate (Schulman 2025, LoRA Without Regret); 1e-2 tore pictures.
LORA_RATE, LORA_MOST = 10, 2e-3
PROMPTS = ["a photo of a red fox in the snow", "a lighthouse at sunset, oil painting",
           "a bowl of fruit on a wooden table", "portrait of an old sailor"]


class StableDiffusion(Family):
    """Latent diffusion with one CLIP text encoder (Rombach et al. 2022)."""

    name = "sd"
    title = "Stable Diffusion 1.x and 2.x"
    denoiser = "unet"
    prediction_types = ("epsilon", "v_prediction")
    lora_targets = {"attention": ATTENTION, "attention+feed-forward": (*ATTENTION, "ff.net.0.proj", "ff.net.2")}
    text_encoders = {"text_encoder": ("q_proj", "k_proj", "v_proj", "out_proj")}

    def check(self, source: Source) -> None:
        """Classes, configs and weights, in this order; nothing of the folder is run or unpickled."""
        _check_classes(source)
        configs = {part: source.read_json(path) for part, path in CONFIGS.items()}
        for part, found in configs.items():
            _check_config(source, part, found)
        _check_shapes(source, configs)
        self.schedule(source)
        files = source.files()
        if "text_encoder/adapter_config.json" in files:
            raise BaseProblem(f"{source.name}: text_encoder/ holds an adapter: merge it into the weights first")
        if "tokenizer/tokenizer.json" not in files and not {"tokenizer/vocab.json", "tokenizer/merges.txt"} <= files:
            raise BaseProblem(f"{source.name}: tokenizer/ has neither tokenizer.json nor vocab.json with merges.txt")
        for part in WEIGHTS:
            weight_files(source, part)

    def defaults(self, source: Source, method: str = "full") -> dict[str, Any]:
        """What its configs say, under its own `studio.json`; for a LoRA at a higher rate, under its `studio-lora.json`.

        Both files are partial configs, and a base need not have them."""
        found = config.merge(self._recommended(source), source.suggestions(SUGGESTED[0]))
        if method != "lora":
            return found
        found["optim"]["learning_rate"] *= max(1, min(LORA_RATE, LORA_MOST / found["optim"]["learning_rate"]))
        return config.merge(found, source.suggestions(SUGGESTED[1]))

    def _recommended(self, source: Source) -> dict[str, Any]:
        unet, vae = source.read_json(CONFIGS["unet"]), source.read_json(CONFIGS["vae"])
        side = _side(unet, vae)
        batch = next(b for limit, b in ((64, 16), (128, 8), (256, 4), (1 << 30, 1)) if side <= limit)
        return {
            "data": {"resolution": side, "bucket_step": max(8, _factor(vae) * _factor(unet))},
            "train": {"batch_size": batch, "max_steps": 2000},
            "optim": {"learning_rate": 1e-5},
            "objective": {"prediction_type": self.schedule(source)["prediction_type"]},
            "sample": {"guidance_scale": 7.5, "prompts": PROMPTS},
        }

    def download_patterns(self, variant: str | None) -> list[str]:
        """Configs and tokenizer files of the trained parts, and their weights in that variant, whole or in shards."""
        found = ["model_index.json", *SUGGESTED, "tokenizer/*.json", "tokenizer/merges.txt", *CONFIGS.values()]
        for part, stem in WEIGHTS.items():
            v = f".{variant}" if variant else ""
            found += [f"{part}/{stem}{v}.safetensors", f"{part}/{stem}.safetensors.index{v}.json",
                      f"{part}/{stem}{SHARD}{v}.safetensors"]
            if variant:
                found += [f"{part}/{stem}{v}{SHARD}.safetensors", f"{part}/{stem}{v}.safetensors.index.json"]
        return found

    def load(self, part: str, source: Source) -> Any:
        """One part from the source's folder; only safetensors, no network, fp32 whatever the files hold."""
        with _quiet():
            return self._load(part, source)

    def _load(self, part: str, source: Source) -> Any:
        import torch

        if part == "tokenizer":
            from transformers.models.clip.tokenization_clip import CLIPTokenizer

            return CLIPTokenizer.from_pretrained(source.folder / part, local_files_only=True)
        options: dict[str, Any] = {"variant": source.variant, "use_safetensors": True, "local_files_only": True}
        if part == "text_encoder":
            from transformers.models.clip.modeling_clip import CLIPTextModel

            # Naming the attention keeps a config.json from naming one whose code would be fetched.
            model = CLIPTextModel.from_pretrained(
                source.folder / part, dtype=torch.float32, attn_implementation="sdpa", **options)
        elif part == "vae":
            from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

            model = AutoencoderKL.from_pretrained(source.folder / part, torch_dtype=torch.float32, **options)
        elif part == "unet":
            from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

            model = UNet2DConditionModel.from_pretrained(source.folder / part, torch_dtype=torch.float32, **options)
        else:
            raise ValueError(f"unknown part {part!r}; there are: tokenizer, text_encoder, vae, unet")
        return model.eval().requires_grad_(part == self.denoiser)

    def encoder_parts(self) -> dict[str, tuple[str, ...]]:
        return {"images": ("vae",), "texts": ("tokenizer", "text_encoder")}

    def encode_images(self, parts: dict[str, Any], pixels: torch.Tensor) -> Tensors:
        """{"mean", "std"} of the VAE's posterior (B,c,h,w), and the VAE's "scale" (B,1,1,1) that `draw` applies."""
        vae = parts["vae"]
        posterior = vae.encode(pixels).latent_dist
        scale = posterior.mean.new_full((len(pixels), 1, 1, 1), vae.config.scaling_factor)
        return {"mean": posterior.mean, "std": posterior.std, "scale": scale}

    def draw(self, stats: Tensors, xi: torch.Tensor) -> torch.Tensor:
        return (stats["mean"] + stats["std"] * xi) * stats["scale"]

    def mean(self, stats: Tensors) -> torch.Tensor:
        return stats["mean"] * stats["scale"]

    def encode_texts(self, parts: dict[str, Any], captions: list[str]) -> Tensors:
        """{"encoder_hidden_states": (B, tokens, width)}, padded and cut to the tokenizer's length, without a mask."""
        tokenizer = parts["tokenizer"]
        encoder = parts["text_encoder"]
        ids = tokenizer(captions, padding="max_length", max_length=tokenizer.model_max_length, truncation=True,
                        return_tensors="pt").input_ids
        return {"encoder_hidden_states": encoder(ids.to(encoder.device), return_dict=False)[0]}

    def published(self, part: str, name: str) -> str:
        """The text encoder's weights under `text_model.`, as all files have them; transformers 5 left it out."""
        bare = part == "text_encoder" and not name.startswith("text_model.")
        return f"text_model.{name}" if bare else name

    def schedule(self, source: Source) -> dict[str, Any]:
        """`SCHEDULE`'s keys from the base's scheduler_config.json; `prediction_type` is the base's own."""
        found = source.read_json(CONFIGS["scheduler"])
        schedule = {key: found.get(key, default) for key, default in SCHEDULE.items()}
        for key, allowed in (("prediction_type", self.prediction_types), ("beta_schedule", BETA_SCHEDULES)):
            if schedule[key] not in allowed:
                raise BaseProblem(f"{source.name}: {CONFIGS['scheduler']} has {key} {str(schedule[key])[:40]!r}; this "
                                  f"family trains {', '.join(allowed)}")
        return schedule

    def predict(self, denoiser: Any, x_t: torch.Tensor, t: torch.Tensor, cond: Tensors) -> torch.Tensor:
        return denoiser(x_t, t, cond["encoder_hidden_states"], return_dict=False)[0]

    def pipeline(self, parts: dict[str, Any], source: Source, prediction_type: str, *,
                 zero_terminal_snr: bool = False) -> Any:
        """A StableDiffusionPipeline with DDIM on the base's own schedule; no safety checker, no progress bar."""
        with _quiet():
            from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
        from diffusers.schedulers.scheduling_ddim import DDIMScheduler

        wanted = {name: parts[name] for name in ("vae", "text_encoder", "tokenizer", "unet")}
        scheduler: Any = DDIMScheduler(**_ddim(source, prediction_type, zero_terminal_snr))
        pipeline = StableDiffusionPipeline(
            **wanted, scheduler=scheduler, safety_checker=None,  # type: ignore
            feature_extractor=None, requires_safety_checker=False)  # type: ignore
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def pipeline_files(self, source: Source, prediction_type: str, *,
                       zero_terminal_snr: bool = False) -> dict[str, bytes | Path]:
        """model_index.json and scheduler written anew; VAE, text encoder and tokenizer as they are, variant dropped."""
        index: dict[str, Any] = {"_class_name": "StableDiffusionPipeline", "requires_safety_checker": False}
        index |= {part: [library, classes[0]] for part, (library, classes) in CLASSES.items()}
        index |= {part: [None, None] for part in UNUSED}
        index["scheduler"] = ["diffusers", "DDIMScheduler"]
        scheduler = {"_class_name": "DDIMScheduler", **_ddim(source, prediction_type, zero_terminal_snr)}
        found: dict[str, bytes | Path] = {"model_index.json": _json(index), CONFIGS["scheduler"]: _json(scheduler)}
        # Whoever takes the pipeline as a base gets the base's suggestions; the objective was the run's to choose.
        found |= {name: _json(source.read_json(name) | {"objective": {}}) for name in source.files() & {*SUGGESTED}}
        for name in sorted(source.files()):
            if re.fullmatch(r"tokenizer/\w+\.json|tokenizer/merges\.txt|vae/config\.json", name):
                found[name] = source.folder / name
        # transformers loads in the type its config names; with half of it beside the fp32 UNet nothing can be drawn.
        text_config = {k: v for k, v in source.read_json(CONFIGS["text_encoder"]).items() if k != "torch_dtype"}
        found[CONFIGS["text_encoder"]] = _json({**text_config, "dtype": "float32"})
        for part in ("vae", "text_encoder"):
            found |= _without_variant(source, part)
        return dict(sorted(found.items()))

    def architecture(self, source: Source) -> str:
        """SD 2.x is told by OpenCLIP's text encoder, whose activation is the exact one."""
        if source.read_json(CONFIGS["text_encoder"]).get("hidden_act") != "gelu":
            return "stable-diffusion-v1"
        kind = "768-v" if self.schedule(source)["prediction_type"] == "v_prediction" else "512"
        return f"stable-diffusion-v2-{kind}"

    def single_file(self, source: Source, parts: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
        """The layout of the published SD 1.x and 2.x checkpoints."""
        return _sd_layout.single_file(parts, {part: source.read_json(CONFIGS[part]) for part in WEIGHTS})

    def draw_pictures(self, pipeline: Any, prompts: list[str], seeds: list[int], *, resolution: int, steps: int,
                      guidance: float, negative: str = "",
                      between: Callable[[], None] = lambda: None) -> list[Image.Image]:
        """One at a time: in a batch, a picture's last bits would depend on how many are drawn beside it."""
        import torch
        return [pipeline(prompt, height=resolution, width=resolution, num_inference_steps=steps,
                         guidance_scale=guidance, negative_prompt=negative or None,
                         generator=torch.Generator("cpu").manual_seed(seed),
                         callback_on_step_end=lambda *_: between() or {}).images[0]
                for prompt, seed in zip(prompts, seeds, strict=True)]


FAMILY = StableDiffusion()


def weight_files(source: Source, part: str) -> list[str]:
    """The safetensors files of one part in the source's variant, the index first when it is in shards.

    Raises BaseProblem saying which weights there are instead."""
    files, stem = source.files(), f"{part}/{WEIGHTS[part]}"
    v = f".{source.variant}" if source.variant else ""
    if f"{stem}{v}.safetensors" in files:
        return [f"{stem}{v}.safetensors"]
    index = f"{stem}.safetensors.index{v}.json"
    if index not in files:
        raise BaseProblem(f"{source.name}: {_no_weights(files, part, source.variant)}")
    shards = source.read_json(index).get("weight_map")
    names = sorted(set(map(str, shards.values()))) if isinstance(shards, dict) else []
    for name in names:
        if not re.fullmatch(r"[\w.-]+\.safetensors", name) or f"{part}/{name}" not in files:
            raise BaseProblem(f"{source.name}: {index} names {name[:80]!r}, which is not in {part}/: the download or "
                              "copy is incomplete, fetch it again")
    if not names:
        raise BaseProblem(f"{source.name}: {index} names no files: fetch the base again")
    return [index, *(f"{part}/{name}" for name in names)]


# ------------------------------------------------------------------------------------------------------------- checks


def _check_classes(source: Source) -> None:
    index = source.read_json("model_index.json")
    pipeline = index.get("_class_name")
    if pipeline not in PIPELINES:
        what = "custom pipeline code" if isinstance(pipeline, list) else f"a {str(pipeline)[:80]}"
        raise BaseProblem(f"{source.name} is {what}; this family trains {PIPELINES[0]} "
                          f"({StableDiffusion.title}): choose such a base")
    for part, (library, classes) in CLASSES.items():
        given = index.get(part)
        if not isinstance(given, list) or len(given) != 2 or given[0] != library or given[1] not in classes:
            shown = "missing" if given in (None, [None, None]) else str(given)[:120]
            raise BaseProblem(f"{source.name}: model_index.json's {part} is {shown}; only "
                              f"{library}'s {' or '.join(classes)} is loaded")
    foreign = [key for key, value in index.items()
               if isinstance(value, list) and value != [None, None] and key not in (*CLASSES, *UNUSED)]
    if foreign:
        raise BaseProblem(f"{source.name}: model_index.json lists parts this family does not know: "
                          f"{', '.join(sorted(foreign))[:200]}")


def _check_config(source: Source, part: str, found: dict[str, Any]) -> None:
    """No code of the base's own, no foreign class, nothing that the safetensors weights do not hold in full."""
    path = CONFIGS[part]
    for key in ("auto_map", "custom_pipelines", "quantization_config"):
        if found.get(key):
            why = "quantized weights cannot be trained in full" if "quant" in key else "a base's own code is never run"
            raise BaseProblem(f"{source.name}: {path} has {key}: {why}; choose a base without it")
    classes = CLASSES[part][1]
    named = found.get("tokenizer_class") if part == "tokenizer" else found.get("_class_name")
    if part == "text_encoder":
        named = classes[0] if found.get("model_type") in ("clip", "clip_text_model") else found.get("model_type")
    if named is not None and named not in classes:
        raise BaseProblem(f"{source.name}: {path} names {str(named)[:80]!r}; only {' or '.join(classes)} is loaded")


def _check_shapes(source: Source, configs: dict[str, dict[str, Any]]) -> None:
    unet, vae, text = configs["unet"], configs["vae"], configs["text_encoder"]
    channels, latents = unet.get("in_channels", 4), vae.get("latent_channels", 4)
    if channels != latents:
        kind = "an inpainting model" if channels == 9 else "not a plain text-to-image model"
        raise BaseProblem(f"{source.name}: its UNet takes {channels} channels where the VAE gives {latents}: it is "
                          f"{kind}, which this family does not train; choose the text-to-image version")
    extra = [key for key in ("addition_embed_type", "class_embed_type", "encoder_hid_dim_type") if unet.get(key)]
    if extra:
        raise BaseProblem(f"{source.name}: its UNet needs {', '.join(extra)}, which Stable Diffusion 1.x and 2.x have "
                          "not: choose such a base")
    width, cross = text.get("hidden_size"), unet.get("cross_attention_dim")
    if isinstance(width, int) and isinstance(cross, int) and width != cross:
        raise BaseProblem(f"{source.name}: the text encoder gives {width} numbers a token and the UNet takes {cross}: "
                          "the parts come from different models")


def _side(unet: dict[str, Any], vae: dict[str, Any]) -> int:
    """The side in pixels of the pictures the UNet was trained on: 512 for SD 1.x, 768 for SD 2.x with v-prediction."""
    size = unet.get("sample_size")
    sizes = [n for n in (size if isinstance(size, list) else [size]) if isinstance(n, int) and n > 0]
    return max(16, min(sizes) * _factor(vae) // 8 * 8) if sizes else 512


def _factor(config: dict[str, Any]) -> int:
    """By how much a VAE or a UNet halves and halves again the sides of its input."""
    blocks = config.get("block_out_channels")
    return 2 ** (min(len(blocks), 6) - 1) if isinstance(blocks, list) and blocks else 8


def _no_weights(files: frozenset[str], part: str, variant: str | None) -> str:
    """Why `part` has no weights to load, and what there is."""
    stem = re.escape(WEIGHTS[part])
    pattern = re.compile(rf"{part}/{stem}(?:{SHARD})?(?:\.([A-Za-z]\w*))?(?:{SHARD})?\.safetensors")
    variants = {m[1] for name in files if (m := pattern.fullmatch(name))}
    if variants:
        there = ", ".join(sorted(v or "no variant (leave it empty)" for v in variants))
        return f"{part}/ has no {f'variant {variant!r}' if variant else 'weights without a variant'}; there is: {there}"
    if any(re.fullmatch(rf"{part}/.*\.(bin|ckpt|pt|pth)", name) for name in files):
        return (f"{part}/ has pickle weights (.bin) only, which can run code when they are read, so they are refused: "
                "choose a version with .safetensors, or convert it where you trust it "
                "(diffusers: pipeline.save_pretrained(folder, safe_serialization=True))")
    return f"{part}/ has no weights ({WEIGHTS[part]}.safetensors): choose a complete diffusers folder"


# ------------------------------------------------------------------------------------------------------ pipeline files


def _ddim(source: Source, prediction_type: str, zero_terminal_snr: bool) -> dict[str, Any]:
    """Arguments of the DDIMScheduler that draws with the base's schedule as diffusers upgrades it.

    Where nothing is left of the signal at the last time, drawing must begin there: with trailing spacing.
    """
    found = source.read_json(CONFIGS["scheduler"])
    kept = {key: found[key] for key in (*SCHEDULE, "set_alpha_to_one", "timestep_spacing") if key in found}
    zero = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"} if zero_terminal_snr else {}
    return {**SCHEDULE, **kept, **zero, "prediction_type": prediction_type, "clip_sample": False, "steps_offset": 1}


def _without_variant(source: Source, part: str) -> dict[str, bytes | Path]:
    """A part's weight files under their names without the variant, so that a plain from_pretrained finds them."""
    v = f".{source.variant}" if source.variant else ""
    names = weight_files(source, part)
    if not v:
        return {name: source.folder / name for name in names}
    found: dict[str, bytes | Path] = {name.replace(v, "", 1): source.folder / name for name in names}
    if names[0].endswith(".json"):
        index = source.read_json(names[0])
        index["weight_map"] = {key: name.replace(v, "", 1) for key, name in index["weight_map"].items()}
        found[names[0].replace(v, "", 1)] = _json(index)
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the libraries' progress bars and transformers' hints on parts that are not used here."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    for library in (logging, diffusers_logging):
        library.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        for library in (logging, diffusers_logging):
            library.enable_progress_bar()


def _json(data: Any) -> bytes:
    return json.dumps(data, indent=2, sort_keys=True).encode() + b"\n"
