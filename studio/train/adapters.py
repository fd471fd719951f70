"""What a run trains: the whole denoiser, or LoRA layers beside its frozen weights. Both are read and written alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import load_file, save_file

from studio import storage
from studio.config import Config
from studio.families import Family
from studio.train.data import key

WEIGHTS = "diffusion_pytorch_model.safetensors"
LORA_WEIGHTS = "pytorch_lora_weights.safetensors"  # the name that `pipeline.load_lora_weights(folder)` looks for
KOHYA_WEIGHTS = "kohya.safetensors"
ADAPTER = "default"


class Whole:
    """Every weight of `denoiser`, kept as the diffusers folder `folder` ("unet")."""

    def __init__(self, denoiser: Any, folder: str):
        self.denoiser, self.folder = denoiser, folder

    def named(self) -> dict[str, torch.Tensor]:
        """The trained parameters by name, in the order of optimizer and average."""
        return {name: p for name, p in self.denoiser.named_parameters() if p.requires_grad}

    def write(self, folder: Path, facts: dict[str, Any]) -> None:
        """Write the weights of the moment in fp32 as `folder`; `facts` are kept beside them."""
        folder.mkdir()
        storage.write_json(folder / "config.json", {**json.loads(self.denoiser.to_json_string()), **facts})
        state = {name: value.detach().float().contiguous() if value.is_floating_point() else value.detach()
                 for name, value in self.denoiser.state_dict().items()}
        save_file(state, folder / WEIGHTS, metadata={"format": "pt"})

    def load(self, folder: Path) -> None:
        """Take over what `write` wrote."""
        self.denoiser.load_state_dict(load_file(folder / WEIGHTS))


class Lora(Whole):
    """Low-rank layers (Hu et al. 2021; with `dora`, Liu et al. 2024) in `denoiser`, whose own weights stay as they are.

    They are fp32 under any precision: in half precision most updates of Adam's size would be rounded away. `folder`
    holds them as diffusers reads them and, a second time, in the naming of kohya's scripts, which ComfyUI and A1111
    read.
    """

    def __init__(self, denoiser: Any, part: str, settings: Any, targets: tuple[str, ...], seed: int):
        super().__init__(denoiser, f"{part}_lora")
        self.part = part
        self.facts = {"r": settings.rank, "lora_alpha": settings.alpha, "lora_dropout": settings.dropout,
                      "use_dora": settings.dora, "target_modules": list(targets)}
        denoiser.requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key(seed, "lora", 0, 0))
            inject_adapter_in_model(LoraConfig(**self.facts, init_lora_weights="gaussian"), denoiser, ADAPTER)
        for parameter in self.named().values():
            parameter.data = parameter.data.float()

    def write(self, folder: Path, facts: dict[str, Any]) -> None:
        """Write the layers of the moment in fp32, in both namings; they have no place for `facts`."""
        folder.mkdir()
        state = {_saved(name): p.detach().contiguous() for name, p in self.named().items()}
        adapter = json.dumps({f"{self.part}.{name}": value for name, value in self.facts.items()})
        # One entry of metadata each: safetensors writes several in an order that differs from process to process.
        save_file({f"{self.part}.{name}": value for name, value in state.items()}, folder / LORA_WEIGHTS,
                  metadata={"lora_adapter_metadata": adapter})
        save_file(kohya(state, self.part, self.facts["lora_alpha"]), folder / KOHYA_WEIGHTS, metadata={"format": "pt"})

    def load(self, folder: Path) -> None:
        """Take over what `write` wrote."""
        found = load_file(folder / LORA_WEIGHTS)
        with torch.no_grad():
            for name, parameter in self.named().items():
                parameter.copy_(found[f"{self.part}.{_saved(name)}"])


def make(family: Family, denoiser: Any, config: Config) -> Whole:
    """What `model.method` trains of `denoiser`."""
    if config.model.method == "full":
        return Whole(denoiser, family.denoiser)
    targets = family.lora_targets[config.lora.targets]
    return Lora(denoiser, family.denoiser, config.lora, targets, config.train.seed or 0)


def kohya(state: dict[str, torch.Tensor], part: str, alpha: float) -> dict[str, torch.Tensor]:
    """LoRA tensors by peft's names ("...to_q.lora_A.weight") as kohya's scripts name them.

    Each layer gets its `alpha`, and DoRA's magnitudes (out,) become LyCORIS's `dora_scale` (out,1). ComfyUI reads them
    too, but divides by the norm of the base's weight instead of the sum's. (diffusers' own converter writes
    alpha = rank and leaves the magnitudes' names.)
    """
    found: dict[str, torch.Tensor] = {}
    for name, value in state.items():
        layer, _, kind = name.partition(".lora_")
        layer = f"lora_{part}_{layer.replace('.', '_')}"
        if kind == "magnitude_vector":
            found[f"{layer}.dora_scale"] = value.reshape(-1, *[1] * (state[name.replace(kind, "A.weight")].dim() - 1))
        else:
            found[f"{layer}.lora_{'down' if kind.startswith('A') else 'up'}.weight"] = value
            found[f"{layer}.alpha"] = torch.tensor(float(alpha))
    return found


def _saved(name: str) -> str:
    """A parameter's name without the adapter's, as peft and diffusers save it."""
    return name.replace(f".{ADAPTER}.weight", "" if "lora_magnitude_vector" in name else ".weight")
