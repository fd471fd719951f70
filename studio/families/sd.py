"""Stable Diffusion 1.x and 2.x: UNet2DConditionModel, AutoencoderKL, CLIPTextModel, CLIPTokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from studio import config
from studio.config import PlainConfig
from studio.families import Part, Schedule, Source, _lora, _sd_layout
from studio.families._diffusers import DiffusersFamily, factor
from studio.messages import JsonObject, Message
from studio.tensors import Tensor

if TYPE_CHECKING:
    import torch

    from studio.families import Loaded, LoraFile, Tensors

SCHEDULERS = (
    "DDIMScheduler", "DDPMScheduler", "DEISMultistepScheduler", "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler", "EulerAncestralDiscreteScheduler", "EulerDiscreteScheduler",
    "HeunDiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "KDPM2DiscreteScheduler", "LMSDiscreteScheduler",
    "PNDMScheduler", "UniPCMultistepScheduler")
UNET, VAE, TEXT, SCHEDULER = ("unet/config.json", "vae/config.json", "text_encoder/config.json",
                              "scheduler/scheduler_config.json")
# The values of diffusers' DDPMScheduler where a scheduler_config.json is silent.
SCHEDULE: Schedule = {
    "num_train_timesteps": 1000, "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear",
    "trained_betas": None, "rescale_betas_zero_snr": False, "prediction_type": "epsilon"}
BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")
ATTENTION = ("to_k", "to_q", "to_v", "to_out.0")
KOHYA_WEIGHTS = "kohya.safetensors"
PROMPTS = ["a photo of a red fox in the snow", "a lighthouse at sunset, oil painting",
           "a bowl of fruit on a wooden table", "portrait of an old sailor"]


class StableDiffusion(DiffusersFamily):
    """Latent diffusion with one CLIP text encoder (Rombach et al. 2022)."""

    name = "sd"
    title = "Stable Diffusion 1.x and 2.x"
    pipelines = ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline")
    parts = {
        "unet": Part("denoiser", "diffusers", ("UNet2DConditionModel",)),
        "vae": Part("images", "diffusers", ("AutoencoderKL",)),
        "tokenizer": Part("tokenizer", "transformers", ("CLIPTokenizer", "CLIPTokenizerFast")),
        "text_encoder": Part("texts", "transformers", ("CLIPTextModel",), model_types=("clip", "clip_text_model")),
        "scheduler": Part("scheduler", "diffusers", SCHEDULERS),
    }
    unused = ("safety_checker", "feature_extractor", "image_encoder")
    index = {"requires_safety_checker": False}
    denoiser = "unet"
    prediction_types = ("epsilon", "v_prediction")
    lora_targets = {"attention": ATTENTION, "attention+feed-forward": (*ATTENTION, "ff.net.0.proj", "ff.net.2")}
    lora_kinds = {**DiffusersFamily.lora_kinds, "lora-kohya": KOHYA_WEIGHTS}
    programs = {**DiffusersFamily.programs, "lora-kohya": ("ComfyUI", "A1111")}
    text_encoders = {"text_encoder": ("q_proj", "k_proj", "v_proj", "out_proj")}
    sampler = "DDIM"

    def check_shapes(self, source: Source, configs: dict[str, JsonObject]) -> None:
        """A plain text-to-image UNet, whose VAE and text encoder give what it takes."""
        unet = configs["unet"]
        channels = unet.get("in_channels", 4)
        latents = configs["vae"].get("latent_channels", 4)
        if channels != latents:
            kind = Message("not a plain text-to-image model")
            if channels == 9:
                kind = Message("an inpainting model")
            raise source.problem(Message("its UNet takes {channels} channels where the VAE gives {latents}: it is "
                                         "{kind}, which this family does not train; choose the text-to-image version",
                                         channels=channels, latents=latents, kind=kind))
        extra = [key for key in ("addition_embed_type", "class_embed_type", "encoder_hid_dim_type") if unet.get(key)]
        if extra:
            raise source.problem(Message("its UNet needs {what}, which Stable Diffusion 1.x and 2.x have not: choose "
                                         "such a base", what=", ".join(extra)))
        width = configs["text_encoder"].get("hidden_size")
        cross = unet.get("cross_attention_dim")
        if isinstance(width, int) and isinstance(cross, int) and width != cross:
            raise source.problem(Message("the text encoder gives {width} numbers a token and the UNet takes {cross}: "
                                         "the parts come from different models", width=width, cross=cross))

    def recommended(self, source: Source) -> PlainConfig:
        unet = source.read_json(UNET)
        vae = source.read_json(VAE)
        side = _side(unet, vae)
        return {
            "data": {"resolution": side, "bucket_step": max(8, factor(vae) * factor(unet))},
            "train": {"batch_size": _batch_size(side), "max_steps": 2000},
            "optim": {"learning_rate": 1e-5},
            "objective": {"prediction_type": self.schedule(source)["prediction_type"]},
            "sample": {"guidance_scale": 7.5, "prompts": PROMPTS},
        }

    def encode_images(self, parts: Loaded, pixels: torch.Tensor) -> Tensors:
        """{"mean", "std"} of the VAE's posterior (B,c,h,w), and the VAE's "scale" (B,1,1,1) that latents have."""
        vae = parts["vae"]
        posterior = vae.encode(pixels).latent_dist
        scale = posterior.mean.new_full((len(pixels), 1, 1, 1), vae.config.scaling_factor)
        return {"mean": posterior.mean, "std": posterior.std, "scale": scale}

    def sample_latents(self, posterior: Tensors, noise: torch.Tensor) -> torch.Tensor:
        return (posterior["mean"] + posterior["std"] * noise) * posterior["scale"]

    def latent_mode(self, posterior: Tensors) -> torch.Tensor:
        return posterior["mean"] * posterior["scale"]

    def encode_texts(self, parts: Loaded, captions: list[str]) -> Tensors:
        """{"encoder_hidden_states": (B, tokens, width)}, padded and cut to the tokenizer's length, without a mask."""
        tokenizer = parts["tokenizer"]
        encoder = parts["text_encoder"]
        ids = tokenizer(captions, padding="max_length", max_length=tokenizer.model_max_length, truncation=True,
                        return_tensors="pt").input_ids
        return {"encoder_hidden_states": encoder(ids.to(encoder.device), return_dict=False)[0]}

    def export_key(self, part: str, name: str) -> str:
        """The text encoder's weights under `text_model.`, as all files have them; transformers 5 left it out."""
        if part == "text_encoder" and not name.startswith("text_model."):
            return f"text_model.{name}"
        return name

    def schedule(self, source: Source) -> Schedule:
        """`SCHEDULE`'s keys from the base's scheduler_config.json; `prediction_type` is the base's own."""
        base = source.read_json(SCHEDULER)
        schedule = {key: base.get(key, default) for key, default in SCHEDULE.items()}
        for key, allowed in (("prediction_type", self.prediction_types), ("beta_schedule", BETA_SCHEDULES)):
            if schedule[key] not in allowed:
                raise source.problem(Message("{path} has {key} {value}; this family trains {names}", path=SCHEDULER,
                                             key=key, value=repr(str(schedule[key])[:40]), names=", ".join(allowed)))
        return schedule

    def predict(self, denoiser: torch.nn.Module, x_t: torch.Tensor, t: torch.Tensor, cond: Tensors) -> torch.Tensor:
        return denoiser(x_t, t, cond["encoder_hidden_states"], return_dict=False)[0]

    def call(self, conditions: Tensors, negative: Tensors, guidance: float) -> dict[str, torch.Tensor | float]:
        return {"prompt_embeds": conditions["encoder_hidden_states"], "guidance_scale": guidance,
                "negative_prompt_embeds": negative["encoder_hidden_states"]}

    def scheduler(self, source: Source, objective: config.Objective) -> tuple[str, JsonObject]:
        """DDIM on the base's own schedule as diffusers upgrades it.

        Where nothing is left of the signal at the last time, drawing must begin there: with trailing spacing."""
        base = source.read_json(SCHEDULER)
        settings = dict(SCHEDULE)
        for key in (*SCHEDULE, "set_alpha_to_one", "timestep_spacing"):
            if key in base:
                settings[key] = base[key]
        if objective.zero_terminal_snr:
            settings |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
        return "DDIMScheduler", {**settings, "clip_sample": False, "steps_offset": 1,
                                 "prediction_type": objective.prediction_type or self.prediction_types[0]}

    def architecture(self, source: Source) -> str:
        """SD 2.x is told by OpenCLIP's text encoder, whose activation is the exact one."""
        if source.read_json(TEXT).get("hidden_act") != "gelu":
            return "stable-diffusion-v1"
        if self.schedule(source)["prediction_type"] == "v_prediction":
            return "stable-diffusion-v2-768-v"
        return "stable-diffusion-v2-512"

    def modelspec(self, objective: config.Objective) -> dict[str, str]:
        if objective.prediction_type == "v_prediction":
            return {"prediction_type": "v"}
        return {"prediction_type": "epsilon"}

    def lora_words(self, source: Source, objective: config.Objective) -> dict[str, str]:
        """A1111 takes a LoRA for one of SD 2.x by `ss_v2` alone, and hides one that does not fit the model in use."""
        second = self.architecture(source).startswith("stable-diffusion-v2")
        version = "sd_v2" if second else "sd_v1"
        if objective.prediction_type == "v_prediction":
            version += "_v"
        return {"ss_v2": str(second), "ss_base_model_version": version}

    def single_file(self, source: Source, parts: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
        """The layout of the published SD 1.x and 2.x checkpoints."""
        configs = {"unet": UNET, "vae": VAE, "text_encoder": TEXT}
        return _sd_layout.single_file(parts, {part: source.read_json(path) for part, path in configs.items()})

    def lora_files(self, state: Tensors, alpha: float,
                   facts: Mapping[str, Mapping[str, object]]) -> dict[str, LoraFile]:
        """In the naming of kohya's scripts too, which ComfyUI and A1111 read."""
        return {KOHYA_WEIGHTS: (_lora.kohya(state, alpha, {"text_encoder": "te"}), {"format": "pt"})}


FAMILY = StableDiffusion()


def _side(unet: JsonObject, vae: JsonObject) -> int:
    """The side in pixels of the pictures the UNet was trained on: 512 for SD 1.x, 768 for SD 2.x with v-prediction."""
    sizes = unet.get("sample_size")
    if not isinstance(sizes, list):
        sizes = [sizes]
    latents = [size for size in sizes if isinstance(size, int) and size > 0]
    if not latents:
        return 512
    return max(16, min(latents) * factor(vae) // 8 * 8)


def _batch_size(side: int) -> int:
    """Pictures of that side in pixels that a small machine takes at once."""
    for largest, pictures in ((64, 16), (128, 8), (256, 4)):
        if side <= largest:
            return pictures
    return 1
