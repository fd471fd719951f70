"""Stable Diffusion models of a few hundred kB with random weights, as diffusers folders: `tiny.make(folder)`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

SIDE = 32  # pixels of the pictures a tiny model draws; its VAE halves them once


def make(folder: Path, *, v2: bool = False, prediction_type: str = "epsilon", variant: str | None = None,
         sharded: bool = False, seed: int = 0) -> Path:
    """A base like SD 1.x (quick_gelu, PNDM), or like 2.x (linear projections, gelu); returns the folder."""
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline(**parts(v2=v2, prediction_type=prediction_type, seed=seed), safety_checker=None,
                                       feature_extractor=None, requires_safety_checker=False)
    pipeline.save_pretrained(folder, variant=variant, max_shard_size="100KB" if sharded else "10GB")
    if not v2:  # the files of SD 1.x, from before tokenizer.json
        model = json.loads((folder / "tokenizer" / "tokenizer.json").read_text())["model"]
        (folder / "tokenizer" / "vocab.json").write_text(json.dumps(model["vocab"]))
        (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
        (folder / "tokenizer" / "tokenizer.json").unlink()
    return folder


def learnable(folder: Path) -> Path:
    """A base whose latents can be learnt in a minute: one picture is one point of them, each channel around nothing and
    of the same deviation, by a scaling factor that is in no one's memory."""
    from diffusers import AutoencoderKL

    from .rf_base import statistics

    make(folder, v2=True)
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    mean, std = (torch.tensor(values) for values in statistics(vae).values())
    with torch.no_grad():
        weight, bias, channels = vae.quant_conv.weight, vae.quant_conv.bias, len(mean)
        bias[:channels] = (bias[:channels] - mean) / std * 3.0
        weight[:channels] *= (3.0 / std)[:, None, None, None]
        bias[channels:], weight[channels:] = -20.0, 0.0
    vae.register_to_config(scaling_factor=1 / 3.0)
    vae.save_pretrained(folder / "vae")
    edit(folder / "unet" / "config.json", sample_size=8)
    return folder


def parts(*, v2: bool = False, prediction_type: str = "epsilon", seed: int = 0) -> dict[str, Any]:
    """The pipeline's parts, the same for the same arguments."""
    from diffusers import AutoencoderKL, DDIMScheduler, PNDMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=SIDE // 2, layers_per_block=1, block_out_channels=(16, 32), norm_num_groups=8,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=32, attention_head_dim=(2, 4) if v2 else 8, use_linear_projection=v2)
        vae = AutoencoderKL(
            block_out_channels=(16, 16), down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=8, latent_channels=4, scaling_factor=0.18215)
        text_encoder = CLIPTextModel(CLIPTextConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, vocab_size=515,
            max_position_embeddings=77, hidden_act="gelu" if v2 else "quick_gelu", bos_token_id=512, eos_token_id=513,
            pad_token_id=1))
    betas: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    kind = DDIMScheduler if v2 else PNDMScheduler
    more = {"clip_sample": False} if v2 else {"skip_prk_steps": True}
    scheduler = kind(**betas, **more, set_alpha_to_one=False, steps_offset=1, prediction_type=prediction_type)
    return {"unet": unet.eval(), "vae": vae.eval(), "text_encoder": text_encoder.eval(), "tokenizer": tokenizer(),
            "scheduler": scheduler}


def tokenizer() -> Any:
    """CLIP's tokenizer with single characters as its words and 77 tokens a text."""
    from transformers import CLIPTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>", "!"]
    vocab = {word: number for number, word in enumerate(dict.fromkeys(words))}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77)


def edit(path: Path, **fields: Any) -> None:
    """Change fields of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
