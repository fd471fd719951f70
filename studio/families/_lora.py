"""LoRA tensors as other programs read them: in the naming of kohya's scripts, or with alpha in the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from studio.messages import JsonObject

if TYPE_CHECKING:
    from studio.families import LoraFile, Tensors


def kohya(state: Tensors, alpha: float, parts: dict[str, str]) -> Tensors:
    """LoRA tensors by their part and peft's names ("unet...to_q.lora_A.weight") as kohya's scripts name them.

    `parts` is how those shorten a part's name. Each layer gets its `alpha`, and DoRA's magnitudes (out,) become
    LyCORIS's `dora_scale` (out,1). ComfyUI reads `dora_scale` too, but divides by the norm of the base's weight
    instead of the sum's. (diffusers' own converter writes alpha = rank and leaves the magnitudes' names.)
    """
    import torch

    tensors: Tensors = {}
    for name, value in state.items():
        part, _, rest = name.partition(".")
        layer, _, kind = rest.partition(".lora_")
        layer = f"lora_{parts.get(part, part)}_{layer.replace('.', '_')}"
        if kind == "magnitude_vector":
            ones = [1] * (state[name.replace(kind, "A.weight")].dim() - 1)
            tensors[f"{layer}.dora_scale"] = value.reshape(-1, *ones)
            continue
        if kind.startswith("A"):
            tensors[f"{layer}.lora_down.weight"] = value
        else:
            tensors[f"{layer}.lora_up.weight"] = value
        tensors[f"{layer}.alpha"] = torch.tensor(float(alpha))
    return tensors


def folded(state: Tensors, alpha: float, facts: Mapping[str, Mapping[str, Any]]) -> LoraFile:
    """LoRA tensors with alpha / rank multiplied into lora_B, which every program reads at its full strength.

    A file without alpha is read with the factor 1 by diffusers and ComfyUI alike; its metadata say alpha = rank.
    `facts` is peft's config of each part."""
    tensors: Tensors = {}
    for name, value in state.items():
        if ".lora_B." in name:
            value = value * (alpha / facts[name.partition(".")[0]]["r"])
        tensors[name] = value
    adapter: JsonObject = {}
    for part, peft_config in facts.items():
        for key, value in {**peft_config, "lora_alpha": peft_config["r"]}.items():
            adapter[f"{part}.{key}"] = value
    return tensors, {"lora_adapter_metadata": json.dumps(adapter)}
