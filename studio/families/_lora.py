"""LoRA tensors as other programs read them: in the naming of kohya's scripts, or with alpha in the weights."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studio.families import LoraFile, Tensors


def kohya(state: Tensors, alpha: float, parts: dict[str, str]) -> Tensors:
    """LoRA tensors by their part and peft's names ("unet...to_q.lora_A.weight") as kohya's scripts name them.

    `parts` is how those shorten a part's name. Each layer gets its `alpha`, and DoRA's magnitudes (out,) become
    LyCORIS's `dora_scale` (out,1). ComfyUI reads them too, but divides by the norm of the base's weight instead of the
    sum's. (diffusers' own converter writes alpha = rank and leaves the magnitudes' names.)
    """
    import torch

    found: Tensors = {}
    for name, value in state.items():
        part, _, rest = name.partition(".")
        layer, _, kind = rest.partition(".lora_")
        layer = f"lora_{parts.get(part, part)}_{layer.replace('.', '_')}"
        if kind == "magnitude_vector":
            found[f"{layer}.dora_scale"] = value.reshape(-1, *[1] * (state[name.replace(kind, "A.weight")].dim() - 1))
        else:
            found[f"{layer}.lora_{'down' if kind.startswith('A') else 'up'}.weight"] = value
            found[f"{layer}.alpha"] = torch.tensor(float(alpha))
    return found


def folded(state: Tensors, alpha: float, facts: dict[str, Any]) -> LoraFile:
    """LoRA tensors with alpha / rank multiplied into lora_B, which every program reads at its full strength.

    A file without alpha is read with the factor 1 by diffusers and ComfyUI alike; its metadata say alpha = rank.
    `facts` is peft's config of each part."""
    tensors = {name: value * (alpha / facts[name.partition(".")[0]]["r"]) if ".lora_B." in name else value
               for name, value in state.items()}
    adapter = {f"{part}.{key}": value for part, own in facts.items()
               for key, value in {**own, "lora_alpha": own["r"]}.items()}
    return tensors, {"lora_adapter_metadata": json.dumps(adapter)}
