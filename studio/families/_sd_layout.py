"""Stable Diffusion in one file: the names that ComfyUI and A1111 read, from those of a diffusers folder.

The layout is that of the published SD 1.x and 2.x checkpoints (CompVis' latent diffusion); the correspondence follows
diffusers' scripts/convert_diffusers_to_original_stable_diffusion.py, for any number of blocks and layers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from studio import tensors
from studio.tensors import Tensor

RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
          "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection"}
OUTER = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
         "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}
# SD's first releases named the VAE's attention otherwise than diffusers does today.
VAE_ATTENTION = {"group_norm": "norm", "query": "q", "key": "k", "value": "v", "proj_attn": "proj_out",
                 "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
CLIP = (("text_model.encoder.layers.", "transformer.resblocks."), ("layer_norm1", "ln_1"), ("layer_norm2", "ln_2"),
        (".mlp.fc1.", ".mlp.c_fc."), (".mlp.fc2.", ".mlp.c_proj."), (".self_attn.", ".attn."),
        ("text_model.final_layer_norm.", "ln_final."),
        ("text_model.embeddings.token_embedding.weight", "token_embedding.weight"),
        ("text_model.embeddings.position_embedding.weight", "positional_embedding"))


def single_file(parts: dict[str, dict[str, Tensor]], configs: dict[str, dict[str, Any]]) -> dict[str, Tensor]:
    """The one file's tensors from those of "unet", "vae" and "text_encoder" by their diffusers names."""
    layers = int(configs["unet"].get("layers_per_block", 2))
    attending = {name.split(".")[1] for name in parts["unet"] if re.match(r"up_blocks\.\d+\.attentions\.", name)}
    found = {f"model.diffusion_model.{_unet(name, layers, attending)}": tensor
             for name, tensor in parts["unet"].items()}
    for name, tensor in parts["vae"].items():
        renamed = _vae(name, len(configs["vae"]["block_out_channels"]))
        flat = re.search(r"\.attn_1\.(q|k|v|proj_out)\.weight$", renamed) and len(tensor.shape) == 2
        found[f"first_stage_model.{renamed}"] = tensor.reshaped(*tensor.shape, 1, 1) if flat else tensor
    # Later versions of transformers leave out the first word of every name.
    own = {f"text_model.{name.removeprefix('text_model.')}": t for name, t in parts["text_encoder"].items()}
    # SD 2.x has OpenCLIP's encoder, whose activation is the exact one.
    text = _open_clip if configs["text_encoder"].get("hidden_act") == "gelu" else _clip
    return {**found, **text(own)}


def _unet(name: str, layers: int, attending: set[str]) -> str:
    """`attending` are the numbers of the up blocks that have attention, before which the upsampler comes third."""
    for ours, theirs in OUTER.items():
        if name.startswith(f"{ours}."):
            return theirs + name.removeprefix(ours)
    rules: tuple[tuple[str, Callable[[int, int], str]], ...] = (
        (r"down_blocks\.(\d+)\.resnets\.(\d+)\.", lambda i, j: f"input_blocks.{i * (layers + 1) + j + 1}.0."),
        (r"down_blocks\.(\d+)\.attentions\.(\d+)\.", lambda i, j: f"input_blocks.{i * (layers + 1) + j + 1}.1."),
        (r"down_blocks\.(\d+)\.downsamplers\.(\d+)\.conv\.",
         lambda i, j: f"input_blocks.{(i + 1) * (layers + 1)}.0.op."),
        (r"up_blocks\.(\d+)\.resnets\.(\d+)\.", lambda i, j: f"output_blocks.{i * (layers + 1) + j}.0."),
        (r"up_blocks\.(\d+)\.attentions\.(\d+)\.", lambda i, j: f"output_blocks.{i * (layers + 1) + j}.1."),
        (r"up_blocks\.(\d+)\.upsamplers\.(\d+)\.", lambda i, j: f"output_blocks.{i * (layers + 1) + layers}."
         f"{2 if str(i) in attending else 1}."),
        (r"mid_block\.(resnets)\.(\d+)\.", lambda _, j: f"middle_block.{2 * j}."),
        (r"mid_block\.(attentions)\.(\d+)\.", lambda _, j: f"middle_block.{2 * j + 1}."),
    )
    for pattern, place in rules:
        if match := re.match(pattern, name):
            first, second = match.groups()
            rest = name[match.end():]
            if ".resnets." in name:
                layer, _, kind = rest.rpartition(".")
                rest = f"{RESNET.get(layer, layer)}.{kind}"
            return place(int(first) if first.isdigit() else 0, int(second)) + rest
    return name


def _vae(name: str, blocks: int) -> str:
    name = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
    name = re.sub(r"mid_block\.resnets\.(\d+)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    if match := re.search(r"mid_block\.attentions\.0\.(.+)\.(weight|bias)$", name):
        return f"{name[:match.start()]}mid.attn_1.{VAE_ATTENTION.get(match[1], match[1])}.{match[2]}"
    name = re.sub(r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block.", name)
    name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0\.", r"down.\1.downsample.", name)
    name = re.sub(r"up_blocks\.(\d+)\.resnets\.", lambda m: f"up.{blocks - 1 - int(m[1])}.block.", name)
    return re.sub(r"up_blocks\.(\d+)\.upsamplers\.0\.", lambda m: f"up.{blocks - 1 - int(m[1])}.upsample.", name)


def _clip(own: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix, places = "cond_stage_model.transformer.", "text_model.embeddings.position_ids"
    count = own["text_model.embeddings.position_embedding.weight"].shape[0]
    # A constant that the published files hold and later versions of transformers no longer write.
    return {f"{prefix}{places}": tensors.numbers(np.arange(count)[None]),
            **{f"{prefix}{name}": tensor for name, tensor in own.items() if name != places}}


def _open_clip(own: dict[str, Tensor]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, tensor in own.items():
        renamed = name
        for ours, theirs in CLIP:
            renamed = renamed.replace(ours, theirs)
        prefix = "cond_stage_model.model."
        if match := re.search(r"\.([qkv])_proj\.(weight|bias)$", renamed):
            if match[1] == "q":
                three = [own[name.replace(".q_proj.", f".{letter}_proj.")] for letter in "qkv"]
                found[f"{prefix}{renamed[:match.start()]}.in_proj_{match[2]}"] = tensors.joined(three)
        elif not name.endswith("position_ids"):
            found[prefix + renamed] = tensor
    return found
