"""A Stable Diffusion with random weights whose costs stand as SD 1.5's do: `python benchmarks/mini.py FOLDER`.

At 256 px its VAE encodes a picture for about 0.47 of what the UNet's forward and backward pass take, as SD 1.5's does
at 512 px; the text encoder's share is as small as there. Counted with torch.utils.flop_counter, and printed.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

SIDE, SEED = 256, 0
TOKENIZER = Path(__file__).resolve().parent.parent / "studio" / "assets" / "base" / "tokenizer"


def make(folder: Path) -> Path:
    """The base as a diffusers folder, the same for everybody; one that is there already is left as it is."""
    if not (folder / "model_index.json").is_file():
        pipeline = StableDiffusionPipeline(**parts(), safety_checker=None, feature_extractor=None,  # type: ignore
                                           requires_safety_checker=False)  # type: ignore
        staging = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(staging, ignore_errors=True)
        pipeline.save_pretrained(staging)
        staging.rename(folder)
    return folder


def parts() -> dict[str, Any]:
    """SD 1.5's own architecture at about 0.3 of its width (VAE 0.28), with 77 tokens."""
    tokenizer = CLIPTokenizer.from_pretrained(TOKENIZER, model_max_length=77)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        unet = UNet2DConditionModel(
            sample_size=SIDE // 8, block_out_channels=(96, 192, 384, 384), cross_attention_dim=256,
            attention_head_dim=2)  # heads of 48 to 192, about as SD 1.5: 40 to 160
        vae = AutoencoderKL(
            block_out_channels=(36, 72, 144, 144), norm_num_groups=12, sample_size=SIDE, layers_per_block=2,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)
        text_encoder = CLIPTextModel(CLIPTextConfig(
            hidden_size=256, intermediate_size=1024, num_hidden_layers=3, num_attention_heads=8,
            vocab_size=len(tokenizer), max_position_embeddings=77, bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id))
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
                              steps_offset=1)
    return {"unet": unet, "vae": vae, "text_encoder": text_encoder, "tokenizer": tokenizer, "scheduler": scheduler}


def costs() -> dict[str, float]:
    """Parameters of the UNet in millions; GFLOP for one picture, multiply and add counted apart."""
    found = parts()
    unet, vae, text_encoder = found["unet"], found["vae"], found["text_encoder"]

    def count(work: Any) -> float:
        with FlopCounterMode(display=False) as counter:
            work()
        return counter.get_total_flops() / 1e9

    latents, text = torch.randn(1, 4, SIDE // 8, SIDE // 8), torch.randn(1, 77, 256)
    trained = count(lambda: unet(latents, 1, text).sample.sum().backward())
    with torch.no_grad():
        image = count(lambda: vae.encode(torch.randn(1, 3, SIDE, SIDE)))
        words = count(lambda: text_encoder(torch.ones(1, 77, dtype=torch.long)))
    return {"unet_parameters_m": round(sum(p.numel() for p in unet.parameters()) / 1e6, 1),
            "unet_forward_backward": round(trained, 1), "vae_encode": round(image, 1), "text_encode": round(words, 2),
            "vae_share": round(image / trained, 3)}


if __name__ == "__main__":
    print(make(Path(sys.argv[1])), json.dumps(costs()))
