"""A family in one file: rectified flow with the transformer of `toylib`, as a family of diffusers' would be written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from studio.families import BaseProblem, Part, Source, _lora
from studio.families._diffusers import factor
from studio.families._flow import FlowFamily, padded

if TYPE_CHECKING:
    import torch

    from studio.families import LoraFile, Tensors

CLIP = ("clip", "clip_text_model")
FOLDED = "folded.safetensors"


class RectifiedFlowToy(FlowFamily):
    """Two text encoders, the second optional; masked texts; statistics of latents by channel; time told as 1 - t."""

    name = "rf"
    title = "Rectified-flow toy"
    pipelines = ("ToyPipeline",)
    parts = {
        "transformer": Part("denoiser", "toylib", ("ToyTransformer",)),
        "vae": Part("images", "diffusers", ("AutoencoderKL",)),
        "tokenizer": Part("tokenizer", "transformers", ("CLIPTokenizer", "CLIPTokenizerFast")),
        "text_encoder": Part("texts", "transformers", ("CLIPTextModel",), model_types=CLIP),
        "tokenizer_2": Part("tokenizer", "transformers", ("CLIPTokenizer", "CLIPTokenizerFast"), optional=True),
        "text_encoder_2": Part("texts", "transformers", ("CLIPTextModel",), optional=True, dtype="bfloat16",
                               model_types=CLIP),
        "scheduler": Part("scheduler", "diffusers", ("FlowMatchEulerDiscreteScheduler",)),
    }
    denoiser = "transformer"
    lora_targets = {"attention": ("to_q", "to_k", "to_v", "to_out"),
                    "attention+feed-forward": ("to_q", "to_k", "to_v", "to_out", "ff_in", "ff_out")}
    lora_kinds = {"lora": FOLDED}
    programs = {**FlowFamily.programs, "lora": ("diffusers", "ComfyUI")}
    largest_side = 1024
    scripts = {"train_dreambooth_rf": {}, "train_dreambooth_lora_rf": {"weighting_scheme": "logit_normal"}}

    def check_shapes(self, source: Source, configs: dict[str, dict[str, Any]]) -> None:
        told, given = configs["transformer"].get("channels"), configs["vae"].get("latent_channels")
        if told != given:
            raise BaseProblem(f"{source.name}: its UNet takes {told} channels where the VAE gives {given}: it is not a "
                              "plain text-to-image model, which this family does not train; choose the text-to-image "
                              "version")

    def recommended(self, source: Source) -> dict[str, Any]:
        return {"data": {"resolution": 32, "bucket_step": 8}, "train": {"batch_size": 4, "max_steps": 300},
                "optim": {"learning_rate": 2e-3}, "objective": self.objective_of(source),
                "sample": {"guidance_scale": 1.0, "num_inference_steps": 20, "prompts": ["a red circle"]}}

    def side_step(self, source: Source) -> int:
        return max(8, 2 * factor(source.read_json("vae/config.json")))

    def encode_images(self, parts: dict[str, Any], pixels: torch.Tensor) -> Tensors:
        """The mode alone, in units of each channel's deviation: this VAE's posterior is as good as a point."""
        import torch

        config = parts["vae"].config
        mean, std = (torch.tensor(config[f"latents_{name}"]).view(1, -1, 1, 1).to(pixels) for name in ("mean", "std"))
        return {"latents": (parts["vae"].encode(pixels).latent_dist.mode() - mean) / std}

    def sample_latents(self, posterior: Tensors, noise: torch.Tensor) -> torch.Tensor:
        return posterior["latents"]

    def latent_mode(self, posterior: Tensors) -> torch.Tensor:
        return posterior["latents"]

    def decode_latents(self, parts: dict[str, Any], latents: torch.Tensor) -> torch.Tensor:
        import torch

        config = parts["vae"].config
        mean, std = (torch.tensor(config[f"latents_{name}"]).view(1, -1, 1, 1).to(latents) for name in ("mean", "std"))
        return parts["vae"].decode(latents * std + mean, return_dict=False)[0]

    def encoding_facts(self, kind: str, source: Source) -> dict[str, Any]:
        return {"tokens": _library().TOKENS} if kind == "texts" else {}

    def encode_texts(self, parts: dict[str, Any], captions: list[str]) -> Tensors:
        """Trimmed to the longest caption: what is masked has no part in an image."""
        found: Tensors = {}
        for name, suffix in (("texts", ""), ("texts_2", "_2")):
            encoder = parts.get(f"text_encoder{suffix}")
            if encoder is None:
                continue
            told = parts[f"tokenizer{suffix}"](captions, padding="max_length", max_length=_library().TOKENS,
                                               truncation=True, return_tensors="pt").to(encoder.device)
            longest = int(told.attention_mask.sum(dim=1).max())
            states = encoder(told.input_ids, attention_mask=told.attention_mask)[0]
            found |= {name: states[:, :longest], "mask": told.attention_mask[:, :longest].bool()}
        return found

    def collate_texts(self, entries: list[Tensors]) -> Tensors:
        return padded(entries, "mask")

    def predict(self, denoiser: Any, x_t: torch.Tensor, t: torch.Tensor, cond: Tensors) -> torch.Tensor:
        """eps - x0: the transformer is told how clean `x_t` is, and answers x0 - eps."""
        library, (height, width) = _library(), x_t.shape[-2:]
        second = cond.get("texts_2")
        answer = denoiser(library.packed(x_t), library.places(height, width).to(x_t.device), cond["texts"].to(x_t),
                          None if second is None else second.to(x_t), cond["mask"], 1 - t / 1000)
        return -library.unpacked(answer, height, width)

    def call(self, conditions: Tensors, negative: Tensors, guidance: float) -> dict[str, Any]:
        return {"conditions": _fp32(conditions), "negative": _fp32(negative), "guidance_scale": guidance}

    def unpacked(self, latents: torch.Tensor, pipeline: Any, size: tuple[int, int]) -> torch.Tensor:
        halved = factor(pipeline.vae.config)
        return _library().unpacked(latents, size[1] // halved, size[0] // halved)

    def lora_files(self, state: Tensors, alpha: float, facts: dict[str, Any]) -> dict[str, LoraFile]:
        return {FOLDED: _lora.folded(state, alpha, facts)}


FAMILY = RectifiedFlowToy()


def _library() -> Any:
    import toylib
    return toylib


def _fp32(conditions: Tensors) -> Tensors:
    return {name: value.float() if value.is_floating_point() else value for name, value in conditions.items()}
