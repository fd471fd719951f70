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
    """The one file's tensors from those of "unet", "vae" and "text_encoder" by their diffusers names.

    Raises TypeError, ValueError, KeyError or AttributeError for configs of an odd shape."""
    layers = int(configs["unet"].get("layers_per_block", 2))
    attending = {name.split(".")[1] for name in parts["unet"] if re.match(r"up_blocks\.\d+\.attentions\.", name)}
    whole: dict[str, Tensor] = {}
    for name, tensor in parts["unet"].items():
        whole[f"model.diffusion_model.{_unet(name, layers, attending)}"] = tensor
    for name, tensor in parts["vae"].items():
        renamed = _vae(name, len(configs["vae"]["block_out_channels"]))
        if len(tensor.shape) == 2 and re.search(r"\.attn_1\.(q|k|v|proj_out)\.weight$", renamed):
            tensor = tensor.reshaped(*tensor.shape, 1, 1)
        whole[f"first_stage_model.{renamed}"] = tensor
    # Later versions of transformers leave out the first word of every name.
    text = {f"text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in parts["text_encoder"].items()}
    if configs["text_encoder"].get("hidden_act") == "gelu":  # SD 2.x has OpenCLIP's, whose activation is the exact one
        return {**whole, **_open_clip(text)}
    return {**whole, **_clip(text)}


def _unet(name: str, layers: int, attending: set[str]) -> str:
    """`attending` are the numbers of the up blocks that have attention, before which the upsampler comes third."""
    for ours, theirs in OUTER.items():
        if name.startswith(f"{ours}."):
            return theirs + name.removeprefix(ours)
    rules: tuple[tuple[str, Callable[..., str]], ...] = (  # a pattern, and the place of the blocks that it numbers
        (r"down_blocks\.(\d+)\.resnets\.(\d+)\.", lambda i, j: f"input_blocks.{i * (layers + 1) + j + 1}.0."),
        (r"down_blocks\.(\d+)\.attentions\.(\d+)\.", lambda i, j: f"input_blocks.{i * (layers + 1) + j + 1}.1."),
        (r"down_blocks\.(\d+)\.downsamplers\.(\d+)\.conv\.",
         lambda i, j: f"input_blocks.{(i + 1) * (layers + 1)}.0.op."),
        (r"up_blocks\.(\d+)\.resnets\.(\d+)\.", lambda i, j: f"output_blocks.{i * (layers + 1) + j}.0."),
        (r"up_blocks\.(\d+)\.attentions\.(\d+)\.", lambda i, j: f"output_blocks.{i * (layers + 1) + j}.1."),
        (r"up_blocks\.(\d+)\.upsamplers\.(\d+)\.", lambda i, j: f"output_blocks.{i * (layers + 1) + layers}."
         f"{1 + (str(i) in attending)}."),
        (r"mid_block\.resnets\.(\d+)\.", lambda i: f"middle_block.{2 * i}."),
        (r"mid_block\.attentions\.(\d+)\.", lambda i: f"middle_block.{2 * i + 1}."),
    )
    for pattern, place in rules:
        match = re.match(pattern, name)
        if match:
            rest = name[match.end():]
            if ".resnets." in name:
                layer, _, kind = rest.rpartition(".")
                rest = f"{RESNET.get(layer, layer)}.{kind}"
            return place(*map(int, match.groups())) + rest
    return name


def _vae(name: str, blocks: int) -> str:
    name = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
    name = re.sub(r"mid_block\.resnets\.(\d+)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    match = re.search(r"mid_block\.attentions\.0\.(.+)\.(weight|bias)$", name)
    if match:
        return f"{name[:match.start()]}mid.attn_1.{VAE_ATTENTION.get(match[1], match[1])}.{match[2]}"
    name = re.sub(r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block.", name)
    name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0\.", r"down.\1.downsample.", name)
    name = re.sub(r"up_blocks\.(\d+)\.resnets\.", lambda m: f"up.{blocks - 1 - int(m[1])}.block.", name)
    return re.sub(r"up_blocks\.(\d+)\.upsamplers\.0\.", lambda m: f"up.{blocks - 1 - int(m[1])}.upsample.", name)


def _clip(text: dict[str, Tensor]) -> dict[str, Tensor]:
    """A CLIP text encoder of transformers under SD 1.x's names."""
    prefix = "cond_stage_model.transformer."
    places = "text_model.embeddings.position_ids"
    count = text["text_model.embeddings.position_embedding.weight"].shape[0]
    # A constant that the published files hold and later versions of transformers no longer write.
    whole = {f"{prefix}{places}": tensors.numbers(np.arange(count)[None])}
    for name, tensor in text.items():
        if name != places:
            whole[f"{prefix}{name}"] = tensor
    return whole


def _open_clip(text: dict[str, Tensor]) -> dict[str, Tensor]:
    """A CLIP text encoder of transformers under OpenCLIP's names, which has q, k and v of a layer in one tensor."""
    prefix = "cond_stage_model.model."
    whole: dict[str, Tensor] = {}
    for name, tensor in text.items():
        renamed = name
        for ours, theirs in CLIP:
            renamed = renamed.replace(ours, theirs)
        match = re.search(r"\.([qkv])_proj\.(weight|bias)$", renamed)
        if match and match[1] == "q":
            three = [text[name.replace(".q_proj.", f".{letter}_proj.")] for letter in "qkv"]
            whole[f"{prefix}{renamed[:match.start()]}.in_proj_{match[2]}"] = tensors.joined(three)
        elif not match and not name.endswith("position_ids"):
            whole[prefix + renamed] = tensor
    return whole
