"""Writes the trained base as a plain diffusers folder with its model card; used by build_base.py.

Alone, `python tools/base_export.py PIPELINE --work DIR --out FOLDER` takes the pipeline that a run of the studio gave
(its download, unpacked) as the base: half precision, small shards, figures and grids. The card's words stay.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

# No file over nine megabytes and all of them under forty: a Hub repository takes such a folder without LFS.
SHARD, MOST_A_FILE, MOST_IN_ALL = "8MB", 9e6, 40e6

CARD = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
---
# The embedded base: a small text-to-image model of emoji

A latent diffusion model of exactly the classes of Stable Diffusion, small enough to ship with the studio and to be
fine-tuned on two CPU cores. It draws 64x64 pictures in the style of Noto emoji from short English captions such as
"red apple" or "cat with tears of joy".

| Part | Class | Shape | Parameters |
| --- | --- | --- | --- |
| VAE | `AutoencoderKL` | 64x64x3 to 16x16x4, channels {vae_channels} | {vae_size:.1f} M |
| Text encoder | `CLIPTextModel`, own `CLIPTokenizer` | width {text_width}, {tokens} tokens | {text_size:.1f} M |
| UNet | `UNet2DConditionModel` | channels {unet_channels}, {unet_blocks} | {unet_size:.1f} M |

Prediction of epsilon, `scaled_linear` betas 0.00085 to 0.012, 1,000 steps; sampled with DDIM in 25 steps, for the
figures with guidance 4. Half precision, {megabytes:.0f} MB.

## Data

{pictures:,} pictures of the npm package `emoji-datasource-google` 16.0.0 (Noto emoji, 64 pixels, composed on white),
with labels and tags of `emojibase-data` 17.0.0 as captions: the label, three times in ten with an article, four times
in ten with one to four of its tags; one caption in ten is empty, for guidance. Skin-tone and gender variants of one
label form a group: {groups:,} groups, drawn equally often, of which the plain picture comes seven times in ten.

## Recipe

{recipe}

Written by `tools/build_base.py`, measured by `benchmarks/base_quality.py`.

## Figures

| What | Figure |
| --- | --- |
| VAE reconstruction, error over all training pictures | PSNR {psnr_pooled_db:.1f} dB |
| the mean of the pictures' own PSNR, and of the worst tenth | {psnr_mean_db:.1f} dB, {psnr_worst_tenth_db:.1f} dB |
| Retrieval by pixels at 16x16: the nearest group of training pictures (one of five) is the caption's | \
top-1 {pixel_top1:.2f}, top-5 {pixel_top5:.2f} |
| Retrieval by VAE latents | top-1 {latent_top1:.2f}, top-5 {latent_top5:.2f} |

Captions of the retrieval, as drawn: ![retrieval](samples.webp)

Captions never seen word for word, made of known parts: ![obedience](obedience.webp)

{limits}

## Licences

Pictures: Noto emoji, Copyright Google, Apache License 2.0, by way of `emoji-datasource-google` (MIT, Cal Henderson).
Labels and tags: `emojibase-data` (MIT, Miles Johnson). The weights are given under the Apache License 2.0.
"""


def export(
    vae: AutoencoderKL, factor: float, text: CLIPTextModel, unet: UNet2DConditionModel, tokenizer: CLIPTokenizer,
    schedule: dict[str, object], out: Path,
) -> StableDiffusionPipeline:  # fmt: skip
    """Writes the parts in half precision; anything else in the folder stays as it is."""
    vae.register_to_config(scaling_factor=factor)
    pipe = StableDiffusionPipeline(
        vae=vae.half(), text_encoder=text.half(), tokenizer=tokenizer, unet=unet.half(),
        scheduler=DDIMScheduler(**schedule), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    for part in ("vae", "text_encoder", "unet", "tokenizer"):
        # Shards of an earlier, larger model would otherwise stay beside the new ones.
        for old in (out / part).glob("*"):
            old.unlink()
    for part in (pipe.vae, pipe.unet):
        part.register_to_config(_name_or_path="")  # the folder it came from is nobody's business
    pipe.save_pretrained(out, max_shard_size=SHARD)
    config = out / "text_encoder" / "config.json"  # transformers loads as what it says, diffusers the rest as float32
    config.write_text(config.read_text().replace('"dtype": "float16"', '"dtype": "float32"'))
    for path in out.rglob("*.safetensors"):
        # The writer leaves weights readable by their owner alone.
        path.chmod(0o644)
    sizes = {path: path.stat().st_size for path in out.rglob("*") if path.is_file()}
    over = [str(path) for path, size in sizes.items() if size > MOST_A_FILE]
    if over or sum(sizes.values()) > MOST_IN_ALL:
        raise ValueError(f"the folder has {sum(sizes.values()) / 1e6:.1f} MB; over the limit: {over}")
    return pipe


def measure(out: Path, work: Path) -> dict[str, float]:
    """The benchmark's figures of an exported folder; its grids go beside the weights."""
    program = Path(__file__).resolve().parents[1] / "benchmarks" / "base_quality.py"
    figures = work / "figures.json"
    command = [sys.executable, str(program), str(out), "--work", str(work), "--json", str(figures)]
    grids = ["--grid", str(out / "obedience.webp"), "--samples", str(out / "samples.webp")]
    subprocess.run([*command, *grids], check=True)
    return json.loads(figures.read_text(encoding="utf-8"))


def millions(model: torch.nn.Module) -> float:
    return sum(weight.numel() for weight in model.parameters()) / 1e6


def write_card(
    out: Path,
    pipe: StableDiffusionPipeline,
    figures: dict[str, float],
    counts: dict[str, int],
    recipe: str,
    limits: str,
) -> None:
    """The model card, from the folder as it is and the figures as they were measured."""
    down = [name.replace("DownBlock2D", "") or "plain" for name in pipe.unet.config.down_block_types]
    card = CARD.format(
        vae_channels="/".join(map(str, pipe.vae.config.block_out_channels)),
        vae_size=millions(pipe.vae),
        text_width=pipe.text_encoder.config.hidden_size,
        tokens=pipe.tokenizer.model_max_length,
        text_size=millions(pipe.text_encoder),
        unet_channels="/".join(map(str, pipe.unet.config.block_out_channels)),
        unet_blocks=" then ".join("cross-attention" if name == "CrossAttn" else name for name in down),
        unet_size=millions(pipe.unet),
        megabytes=sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 1e6,
        recipe=recipe,
        limits=limits,
        **counts,
        **figures,
    )
    (out / "README.md").write_text(card, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipeline", type=Path, help="diffusers folder to take")
    parser.add_argument("--work", type=Path, required=True, help="work folder of tools/build_base.py, for its data")
    parser.add_argument("--out", type=Path, required=True, help="folder of the base")
    arguments = parser.parse_args()
    pipe = StableDiffusionPipeline.from_pretrained(arguments.pipeline, safety_checker=None)
    schedule = {name: value for name, value in pipe.scheduler.config.items() if not name.startswith("_")}
    export(pipe.vae, pipe.vae.config.scaling_factor, pipe.text_encoder, pipe.unet, pipe.tokenizer, schedule,
           arguments.out)  # fmt: skip
    measure(arguments.out, arguments.work)


if __name__ == "__main__":
    main()
