"""What a run trains: all weights of its parts, or LoRA layers beside them. Both are read and written alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

import torch
from safetensors.torch import load_file, save_file

from studio import storage
from studio.config import Config
from studio.config import Lora as LoraSettings
from studio.families import LORA_WEIGHTS, Family
from studio.messages import JsonObject
from studio.system import lean
from studio.train.batches.cache import Parts
from studio.train.batches.sampler import stream_seed
from studio.train.learning.optim import Group, Named

WEIGHTS = "diffusion_pytorch_model.safetensors"
TEXT_WEIGHTS = "model.safetensors"  # as transformers names it
ADAPTER = "default"


class LoraFacts(TypedDict):
    """peft's config of one part, as far as a run chooses it."""

    r: int
    lora_alpha: float
    lora_dropout: float
    use_dora: bool
    target_modules: list[str]


class FullWeights:
    """Every weight of what learns, each part kept as the diffusers folder of its name ("unet", "text_encoder")."""

    def __init__(self, family: Family, parts: Parts):
        self.family = family
        self.parts = parts
        for part in parts.values():
            part.requires_grad_(True)

    def learning(self) -> Iterator[tuple[str, str, torch.nn.Parameter]]:
        """(part, name in it, parameter) of all that learns, the denoiser first."""
        for part, module in self.parts.items():
            for name, parameter in module.named_parameters():
                if parameter.requires_grad:
                    yield part, name, parameter

    def named(self) -> Named:
        """The trained parameters by name, in the order of optimizer and average; text encoders' bear their part's."""
        named: Named = {}
        for part, name, parameter in self.learning():
            if part != self.family.denoiser:
                name = f"{part}.{name}"
            named[name] = parameter
        return named

    def groups(self, text_rate: float | None, rate: float) -> list[Group]:
        """The parameters as an optimizer's groups; the text encoders' learning rate is `scale` times the run's."""
        denoiser = [parameter for part, _, parameter in self.learning() if part == self.family.denoiser]
        texts = [parameter for part, _, parameter in self.learning() if part != self.family.denoiser]
        groups: list[Group] = [{"params": denoiser, "scale": 1.0}]
        if texts:
            groups.append({"params": texts, "scale": (text_rate or rate) / rate})
        return groups

    def write(self, root: Path, suffix: str, facts: dict[str, float] | None) -> None:
        """Write the weights of the moment in fp32 as `<part><suffix>/`; `facts` are kept beside the denoiser's."""
        for part, module in self.parts.items():
            folder = root / f"{part}{suffix}"
            folder.mkdir()
            config = _config_of(module)
            if part == self.family.denoiser:
                config.update(facts or {})
            storage.write_json(folder / "config.json", config)
            state = {}
            for name, value in module.state_dict().items():
                state[self.family.export_key(part, name)] = _exported(value)
            save_file(state, folder / self._file_of(part), metadata={"format": "pt"})

    def load(self, root: Path, suffix: str) -> None:
        """Take over what `write` wrote."""
        for part, module in self.parts.items():
            saved = load_file(root / f"{part}{suffix}" / self._file_of(part))
            state = {name: saved[self.family.export_key(part, name)] for name in module.state_dict()}
            module.load_state_dict(state)

    def _file_of(self, part: str) -> str:
        return WEIGHTS if part == self.family.denoiser else TEXT_WEIGHTS


class LoraWeights(FullWeights):
    """Low-rank layers (Hu et al. 2021; with `dora`, Liu et al. 2024) beside weights that stay as they are.

    They are fp32 under any precision: in half precision most updates of Adam's size would be rounded away. One file
    holds those of all parts as diffusers reads them, from which a run is resumed; others hold them a second time, as
    the family says for other programs.
    """

    def __init__(self, family: Family, parts: Parts, settings: LoraSettings, seed: int):
        super().__init__(family, parts)
        self.alpha: float = settings.alpha or settings.rank
        self.facts: dict[str, LoraFacts] = {}
        for part, module in parts.items():
            if part == family.denoiser:
                targets = family.lora_targets[settings.targets]
                stream = "lora"
            else:
                targets = family.text_encoders[part]
                stream = f"lora/{part}"
            self.facts[part] = {"r": settings.rank, "lora_alpha": self.alpha, "lora_dropout": settings.dropout,
                                "use_dora": settings.dora, "target_modules": list(targets)}
            module.requires_grad_(False)
            _inject(module, self.facts[part], stream_seed(seed, stream, 0, 0))
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

    def write(self, root: Path, suffix: str, facts: dict[str, float] | None) -> None:
        """Write the layers of the moment in fp32 as `<denoiser>_lora<suffix>/`, and as the family writes them for other
        programs; `facts` find no place there."""
        folder = self._folder(root, suffix)
        folder.mkdir()
        state = {name: parameter.detach().contiguous() for name, parameter in self._saved().items()}
        adapter: dict[str, object] = {}
        for part, part_facts in self.facts.items():
            for name, value in part_facts.items():
                adapter[f"{part}.{name}"] = value
        # One entry of metadata each: safetensors writes several in an order that differs from process to process.
        save_file(state, folder / LORA_WEIGHTS, metadata={"lora_adapter_metadata": json.dumps(adapter)})
        for file, (tensors, metadata) in self.family.lora_files(state, self.alpha, self.facts).items():
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / file, metadata=metadata)

    def load(self, root: Path, suffix: str) -> None:
        """Take over what `write` wrote."""
        saved = load_file(self._folder(root, suffix) / LORA_WEIGHTS)
        with torch.no_grad():
            for name, parameter in self._saved().items():
                parameter.copy_(saved[name])

    def _folder(self, root: Path, suffix: str) -> Path:
        return root / f"{self.family.denoiser}_lora{suffix}"

    def _saved(self) -> Named:
        """The layers by the names they are saved under."""
        saved: Named = {}
        for part, name, parameter in self.learning():
            saved[f"{part}.{self.family.export_key(part, _saved_name(name))}"] = parameter
        return saved


def make(family: Family, parts: Parts, config: Config) -> FullWeights:
    """What `model.method` trains of `parts`."""
    if config.model.method == "full":
        return FullWeights(family, parts)
    return LoraWeights(family, parts, config.lora, config.train.seed or 0)


def _config_of(module: Any) -> JsonObject:
    """A model's `config.json`: diffusers' models write it themselves, transformers' have a config that does."""
    source = module if hasattr(module, "to_json_string") else module.config
    return json.loads(source.to_json_string())


def _exported(value: torch.Tensor) -> torch.Tensor:
    """A weight as it is saved: in fp32; what counts (positions, for example) as it is."""
    if value.is_floating_point():
        return value.detach().float().contiguous()
    return value.detach()


def _inject(module: torch.nn.Module, facts: LoraFacts, seed: int) -> None:
    """Put LoRA layers into a module; peft is loaded for a run that has some, and does not look for quantized ones."""
    with lean.without("bitsandbytes"):
        from peft import LoraConfig, inject_adapter_in_model

        options: dict[str, Any] = {**facts}  # peft says that alpha is an int, and takes any number
        config = LoraConfig(**options, init_lora_weights="gaussian")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            inject_adapter_in_model(config, module, ADAPTER)


def _saved_name(name: str) -> str:
    """A parameter's name without the adapter's, as peft and diffusers save it."""
    if "lora_magnitude_vector" in name:
        return name.replace(f".{ADAPTER}.weight", "")
    return name.replace(f".{ADAPTER}.weight", ".weight")
