"""What a library is to a family: a small rectified-flow transformer and its pipeline, without anything of the studio.

It has every convention that the real ones differ in: latents packed into tokens of 2 x 2, two text encoders of
different widths of which the second may be absent, a mask over texts of any length, time told as 1 - t (1 is a clean
image), an answer x0 - eps, and statistics of the latents by channel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.image_processor import VaeImageProcessor
from diffusers.loaders import PeftAdapterMixin
from diffusers.loaders.lora_base import LoraBaseMixin
from diffusers.models.modeling_utils import ModelMixin
from diffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from torch.utils.checkpoint import checkpoint

TOKENS = 24  # the longest text


def packed(latents: torch.Tensor) -> torch.Tensor:
    """(B, c, h, w) as tokens (B, h/2 * w/2, 4c), row by row."""
    b, c, h, w = latents.shape
    return latents.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, h // 2 * (w // 2), c * 4)


def unpacked(tokens: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The way back, for latents of that height and width."""
    b, _, c = tokens.shape
    grid = tokens.view(b, height // 2, width // 2, c // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return grid.reshape(b, c // 4, height, width)


def places(height: int, width: int) -> torch.Tensor:
    """Where each token lies, as (tokens, 2) in rows and columns."""
    rows, columns = torch.arange(height // 2).float(), torch.arange(width // 2).float()
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).reshape(-1, 2)


def waves(values: torch.Tensor, width: int) -> torch.Tensor:
    """Sines and cosines (..., width) of numbers (...)."""
    rates = torch.exp(-torch.arange(width // 2, device=values.device) / (width // 2) * 5.0)
    angles = values[..., None].float() * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class Block(torch.nn.Module):
    """Attention over all tokens, then a feed-forward layer; the time moves and scales what goes in."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = (torch.nn.LayerNorm(width, elementwise_affine=False) for _ in range(2))
        self.to_q, self.to_k, self.to_v, self.to_out = (torch.nn.Linear(width, width) for _ in range(4))
        self.ff_in, self.ff_out = torch.nn.Linear(width, 2 * width), torch.nn.Linear(2 * width, width)
        self.time = torch.nn.Linear(width, 4 * width)

    def forward(self, x: torch.Tensor, time: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        scale1, move1, scale2, move2 = self.time(time)[:, None].chunk(4, dim=-1)
        y = self.norm1(x) * (1 + scale1) + move1
        q, k, v = (f(y).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.to_q, self.to_k, self.to_v))
        seen = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None])
        x = x + self.to_out(seen.transpose(1, 2).flatten(2))
        y = self.norm2(x) * (1 + scale2) + move2
        return x + self.ff_out(torch.nn.functional.gelu(self.ff_in(y)))


class ToyTransformer(ModelMixin, ConfigMixin, PeftAdapterMixin):
    """Told noisy tokens, their places, a text with its mask, and how clean they are; answers x0 - eps in tokens."""

    @register_to_config
    def __init__(self, channels: int = 4, width: int = 64, heads: int = 4, layers: int = 2, text_width: int = 24,
                 text_width_2: int = 40):
        super().__init__()
        self.embed = torch.nn.Linear(4 * channels, width)
        self.texts, self.texts_2 = torch.nn.Linear(text_width, width), torch.nn.Linear(text_width_2, width)
        self.time_in, self.time_out = torch.nn.Linear(width, width), torch.nn.Linear(width, width)
        self.blocks = torch.nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm, self.final = torch.nn.LayerNorm(width), torch.nn.Linear(width, 4 * channels)
        self.gradient_checkpointing = False

    def enable_gradient_checkpointing(self, *_: Any) -> None:
        """As diffusers does it."""
        self.gradient_checkpointing = True

    def forward(self, tokens: torch.Tensor, places: torch.Tensor, texts: torch.Tensor, texts_2: torch.Tensor | None,
                mask: torch.Tensor, cleanness: torch.Tensor) -> torch.Tensor:
        width = self.config["width"]
        time = self.time_out(torch.nn.functional.silu(self.time_in(waves(1000 * cleanness, width).to(tokens.dtype))))
        grid = torch.cat([waves(places[:, axis], width // 2) for axis in (0, 1)], dim=-1).to(tokens)
        text = self.texts(texts) if texts_2 is None else self.texts(texts) + self.texts_2(texts_2)
        x = torch.cat([self.embed(tokens) + grid, text], dim=1)
        seen = torch.cat([mask.new_ones(len(mask), tokens.shape[1]), mask], dim=1)
        for block in self.blocks:
            x = checkpoint(block, x, time, seen, use_reentrant=False) if self.gradient_checkpointing else block(
                x, time, seen)
        return self.final(self.norm(x[:, : tokens.shape[1]]))


class ToyPipeline(DiffusionPipeline, LoraBaseMixin):
    """Text to image by Euler's steps; encoders may be left out where texts come encoded."""

    model_cpu_offload_seq = "text_encoder->text_encoder_2->transformer->vae"
    _optional_components = ["text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"]
    _lora_loadable_modules = ["transformer"]

    def __init__(self, transformer: Any, vae: Any, text_encoder: Any, tokenizer: Any, text_encoder_2: Any,
                 tokenizer_2: Any, scheduler: Any):
        super().__init__()
        self.register_modules(transformer=transformer, vae=vae, text_encoder=text_encoder, tokenizer=tokenizer,
                              text_encoder_2=text_encoder_2, tokenizer_2=tokenizer_2, scheduler=scheduler)
        factor = 2 ** (len(vae.config.block_out_channels) - 1) if vae is not None else 2
        self.image_processor = VaeImageProcessor(vae_scale_factor=factor)

    def load_lora_weights(self, file: str, **_: Any) -> None:
        """Layers of the transformer from one safetensors file, with the strength its metadata say, else 1."""
        from safetensors.torch import load_file

        state = {name.removeprefix("transformer."): value for name, value in load_file(file).items()}
        self.transformer.load_lora_adapter(state, prefix=None, adapter_name="default")

    def encode_prompt(self, prompts: list[str]) -> dict[str, torch.Tensor]:
        """{"texts" (B,T,width), "texts_2" (B,T,width 2) where there is such an encoder, "mask" (B,T)}."""
        found = {}
        for name, encoder, tokenizer in (("texts", self.text_encoder, self.tokenizer),
                                         ("texts_2", self.text_encoder_2, self.tokenizer_2)):
            if encoder is None:
                continue
            told = tokenizer(prompts, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt")
            mask = told.attention_mask.bool()
            found |= {name: encoder(told.input_ids, attention_mask=told.attention_mask)[0], "mask": mask}
        return found

    @torch.no_grad()
    def __call__(self, prompt: str | None = None, *, width: int = 32, height: int = 32, num_inference_steps: int = 20,
                 guidance_scale: float = 1.0, conditions: dict[str, torch.Tensor] | None = None,
                 negative: dict[str, torch.Tensor] | None = None, generator: Any = None, output_type: str = "pil",
                 callback_on_step_end: Callable[..., dict[str, Any]] = lambda *_: {}) -> Any:
        conditions = self.encode_prompt([prompt or ""]) if conditions is None else conditions
        if guidance_scale > 1 and negative is None:
            negative = self.encode_prompt([""])
        factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        h, w = height // factor, width // factor
        x = packed(torch.randn(1, self.vae.config.latent_channels, h, w, generator=generator))
        self.scheduler.set_timesteps(sigmas=torch.linspace(1, 1 / num_inference_steps, num_inference_steps).tolist())
        for index, t in enumerate(self.scheduler.timesteps):
            answer = self._answer(x, conditions, t, h, w)
            if guidance_scale > 1 and negative is not None:
                away = self._answer(x, negative, t, h, w)
                answer = away + guidance_scale * (answer - away)
            x = self.scheduler.step(answer, t, x, return_dict=False)[0]
            callback_on_step_end(self, index, t, {})
        if output_type == "latent":
            return ImagePipelineOutput(images=x)  # type: ignore[arg-type]
        mean, std = (torch.tensor(self.vae.config[f"latents_{name}"]).view(1, -1, 1, 1) for name in ("mean", "std"))
        image = self.vae.decode(unpacked(x, h, w) * std + mean, return_dict=False)[0]
        return ImagePipelineOutput(images=self.image_processor.postprocess(image, output_type=output_type))

    def _answer(self, x: torch.Tensor, conditions: dict[str, torch.Tensor], t: torch.Tensor, h: int, w: int
                ) -> torch.Tensor:
        """eps - x0, as schedulers take it."""
        cleanness = (1 - t / 1000).expand(1)
        return -self.transformer(x, places(h, w), conditions["texts"], conditions.get("texts_2"), conditions["mask"],
                                 cleanness)
