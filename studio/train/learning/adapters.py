"""What a run trains: all weights of its parts, or LoRA layers beside them. Both are read and written alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from studio import storage
from studio.config import Config
from studio.families import LORA_WEIGHTS, Family
from studio.system import lean
from studio.train.batches.sampler import key

WEIGHTS = "diffusion_pytorch_model.safetensors"
TEXT_WEIGHTS = "model.safetensors"  # as transformers names it
ADAPTER = "default"


class Whole:
    """Every weight of what learns, each part kept as the diffusers folder of its name ("unet", "text_encoder")."""

    def __init__(self, family: Family, parts: dict[str, Any]):
        self.family, self.parts = family, parts
        for part in parts.values():
            part.requires_grad_(True)

    def named(self) -> dict[str, torch.Tensor]:
        """The trained parameters by name, in the order of optimizer and average; text encoders' bear their part's."""
        return {name if part == self.family.denoiser else f"{part}.{name}": p
                for part, module in self.parts.items() for name, p in module.named_parameters() if p.requires_grad}

    def groups(self, text_rate: float | None, rate: float) -> list[dict[str, Any]]:
        """The parameters as an optimizer's groups; the text encoders' learning rate is `scale` times the run's."""
        own = set(map(id, self.parts[self.family.denoiser].parameters()))
        denoiser = [p for p in self.named().values() if id(p) in own]
        texts = [p for p in self.named().values() if id(p) not in own]
        groups = [{"params": denoiser, "scale": 1.0}]
        return [*groups, {"params": texts, "scale": (text_rate or rate) / rate}] if texts else groups

    def write(self, root: Path, suffix: str, facts: dict[str, Any]) -> None:
        """Write the weights of the moment in fp32 as `<part><suffix>/`; `facts` are kept beside the denoiser's."""
        for part, module in self.parts.items():
            folder, own = root / f"{part}{suffix}", part == self.family.denoiser
            folder.mkdir()
            text = module.to_json_string() if hasattr(module, "to_json_string") else module.config.to_json_string()
            storage.write_json(folder / "config.json", {**json.loads(text), **(facts if own else {})})
            state = {self.family.export_key(part, name): value.detach().float().contiguous()
                     if value.is_floating_point() else value.detach() for name, value in module.state_dict().items()}
            save_file(state, folder / (WEIGHTS if own else TEXT_WEIGHTS), metadata={"format": "pt"})

    def load(self, root: Path, suffix: str) -> None:
        """Take over what `write` wrote."""
        for part, module in self.parts.items():
            weights = WEIGHTS if part == self.family.denoiser else TEXT_WEIGHTS
            found = load_file(root / f"{part}{suffix}" / weights)
            module.load_state_dict({name: found[self.family.export_key(part, name)] for name in module.state_dict()})


class Lora(Whole):
    """Low-rank layers (Hu et al. 2021; with `dora`, Liu et al. 2024) beside weights that stay as they are.

    They are fp32 under any precision: in half precision most updates of Adam's size would be rounded away. One file
    holds those of all parts as diffusers reads them, from which a run is resumed; others hold them a second time, as
    the family says for other programs.
    """

    def __init__(self, family: Family, parts: dict[str, Any], settings: Any, seed: int):
        super().__init__(family, parts)
        self.alpha, self.facts = settings.alpha, {}
        for part, module in parts.items():
            denoises = part == family.denoiser
            targets = family.lora_targets[settings.targets] if denoises else family.text_encoders[part]
            self.facts[part] = {"r": settings.rank, "lora_alpha": settings.alpha, "lora_dropout": settings.dropout,
                                "use_dora": settings.dora, "target_modules": list(targets)}
            module.requires_grad_(False)
            _inject(module, self.facts[part], key(seed, "lora" if denoises else f"lora/{part}", 0, 0))
        for parameter in self.named().values():
            parameter.data = parameter.data.float()
        # DoRA's lengths are those of the base's weights until they learn.
        self.lengths = {name: p.detach().clone() for name, p in self.named().items() if "magnitude" in name}

    def scale(self, strength: float) -> None:
        """Have the layers that were just loaded add `strength` times what they learnt: 0 draws like the base, 1 like
        the run."""
        from peft.tuners.lora import LoraLayer

        for part in self.parts.values():
            for layer in part.modules():
                if isinstance(layer, LoraLayer):
                    layer.set_scale(ADAPTER, strength)
        with torch.no_grad():
            for name, parameter in self.named().items():
                if name in self.lengths:  # lerp gives its end exactly at 1
                    parameter.copy_(torch.lerp(self.lengths[name].to(parameter.device), parameter, strength))

    def write(self, root: Path, suffix: str, facts: dict[str, Any]) -> None:
        """Write the layers of the moment in fp32 as `<denoiser>_lora<suffix>/`, and as the family writes them for other
        programs; `facts` find no place there."""
        folder = self._folder(root, suffix)
        folder.mkdir()
        state = {name: p.detach().contiguous() for name, p in self._saved().items()}
        adapter = json.dumps({f"{part}.{name}": value for part, own in self.facts.items()
                              for name, value in own.items()})
        # One entry of metadata each: safetensors writes several in an order that differs from process to process.
        save_file(state, folder / LORA_WEIGHTS, metadata={"lora_adapter_metadata": adapter})
        for file, (tensors, metadata) in self.family.lora_files(state, self.alpha, self.facts).items():
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / file, metadata=metadata)

    def load(self, root: Path, suffix: str) -> None:
        """Take over what `write` wrote."""
        found = load_file(self._folder(root, suffix) / LORA_WEIGHTS)
        with torch.no_grad():
            for name, parameter in self._saved().items():
                parameter.copy_(found[name])

    def _folder(self, root: Path, suffix: str) -> Path:
        return root / f"{self.family.denoiser}_lora{suffix}"

    def _saved(self) -> dict[str, torch.Tensor]:
        """The layers by the names they are saved under."""
        return {f"{part}.{self.family.export_key(part, _saved(name))}": p
                for part, module in self.parts.items() for name, p in module.named_parameters() if p.requires_grad}


def make(family: Family, parts: dict[str, Any], config: Config) -> Whole:
    """What `model.method` trains of `parts`."""
    if config.model.method == "full":
        return Whole(family, parts)
    return Lora(family, parts, config.lora, config.train.seed or 0)


def _inject(module: torch.nn.Module, facts: dict[str, Any], seed: int) -> None:
    """Put LoRA layers into a module; peft is loaded for a run that has some, and does not look for quantized ones."""
    with lean.without("bitsandbytes"):
        from peft import LoraConfig, inject_adapter_in_model

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            inject_adapter_in_model(LoraConfig(**facts, init_lora_weights="gaussian"), module, ADAPTER)


def _saved(name: str) -> str:
    """A parameter's name without the adapter's, as peft and diffusers save it."""
    return name.replace(f".{ADAPTER}.weight", "" if "lora_magnitude_vector" in name else ".weight")
