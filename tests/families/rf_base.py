"""Bases of the rectified-flow toy, of a few hundred kB with random weights: `rf_base.make(folder)`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from . import tiny

LIBRARY = Path(__file__).with_name("library")
TOYS = Path(__file__).with_name("toys")


def library() -> Any:
    """The module that stands for the library of the family's classes."""
    if str(LIBRARY) not in sys.path:
        sys.path.append(str(LIBRARY))
    import toylib  # type: ignore[import-not-found]
    return toylib


def make(folder: Path, *, second: bool = True, shift: float = 1.0) -> Path:
    """A base whose second text encoder may be left out; returns the folder."""
    pipeline(second=second, shift=shift).save_pretrained(folder)
    return folder


def pipeline(*, second: bool = True, shift: float = 1.0) -> Any:
    """The whole pipeline, the same for the same arguments."""
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler

    toylib = library()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = AutoencoderKL(
            block_out_channels=(16, 16), down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=8, latent_channels=4, scaling_factor=1.0).eval()
        vae.register_to_config(**statistics(vae))
        first, other = text_encoder(24), text_encoder(40)
        transformer = toylib.ToyTransformer()
    return toylib.ToyPipeline(
        transformer=transformer.eval(), vae=vae, text_encoder=first, tokenizer=tiny.tokenizer(),
        text_encoder_2=other if second else None, tokenizer_2=tiny.tokenizer() if second else None,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=shift))


@torch.no_grad()
def statistics(vae: Any) -> dict[str, list[float]]:
    """Mean and deviation of each channel of its latents, which are in no one's memory."""
    fields = torch.nn.functional.interpolate(torch.rand(64, 3, 4, 4) * 2 - 1, size=(32, 32), mode="bilinear")
    latents = vae.encode(fields).latent_dist.mode().transpose(0, 1).flatten(1)
    return {"latents_mean": latents.mean(dim=1).tolist(), "latents_std": latents.std(dim=1).tolist()}


def text_encoder(width: int) -> Any:
    """A CLIP text encoder with random weights."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(CLIPTextConfig(
        hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2, num_attention_heads=4, vocab_size=515,
        max_position_embeddings=77, hidden_act="quick_gelu", bos_token_id=512, eos_token_id=513, pad_token_id=1)).eval()
