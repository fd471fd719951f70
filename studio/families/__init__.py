"""Model families: one file here IS a family. Class facts are data; torch is imported inside methods only.

A family module defines `FAMILY`, an instance of a subclass of `Family`; its file name is the name used in
`model.family`. Nothing outside the file knows it.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from studio import config, storage, tensors
from studio.tensors import Tensor

if TYPE_CHECKING:
    import torch
    from PIL import Image

    Tensors = dict[str, torch.Tensor]

EMBEDDED = Path(__file__).resolve().parent.parent / "assets" / "base"
JSON_BYTES = 1 << 20  # the largest JSON file of a base that is read; real ones have a tenth of it
Progress = Callable[[int, int], None]  # (bytes done, bytes in all)


class BaseProblem(Exception):
    """A base model that cannot be used: the message says what, where, what there is instead, what to do next."""


class NeedsToken(BaseProblem):
    """A base on the Hub that only an account with access may read."""


@dataclass(frozen=True)
class Source:
    """A base model's files on this machine.

    `name` is the `model.base` it was found by, `variant` as asked for, `revision` the commit of a Hub base. `listing`
    names the repository's files while only its small ones are in `folder` (see `source.fetch_configs`).
    """

    folder: Path
    name: str
    variant: str | None
    revision: str | None
    listing: frozenset[str] | None = None

    def files(self) -> frozenset[str]:
        """The base's files, relative to `folder`, at most one folder deep."""
        if self.listing is not None:
            return self.listing
        found = [*self.folder.glob("*"), *self.folder.glob("*/*")]
        return frozenset(p.relative_to(self.folder).as_posix() for p in found if p.is_file())

    def read_json(self, path: str) -> dict[str, Any]:
        """The JSON object in one of the files. Raises BaseProblem when it is missing or something else."""
        try:
            found = storage.read_json(self.folder / path, JSON_BYTES)
        except (storage.Corrupt, OSError, RecursionError) as error:
            raise BaseProblem(f"{self.name}: {path} cannot be read ({error}): repair or replace the file") from None
        if not isinstance(found, dict):
            fault = "is missing" if found is None else "is not a JSON object"
            raise BaseProblem(f"{self.name}: {path} {fault}: choose a complete diffusers folder")
        return found

    def suggestions(self, path: str) -> dict[str, Any]:
        """The partial config in one of the files, nothing where there is none. Raises BaseProblem."""
        if path not in self.files():
            return {}
        try:
            return config.suggestions(self.read_json(path))
        except config.ConfigError as error:
            raise BaseProblem(f"{self.name}: {path} is not a partial config of this studio: {error}") from None


class Family(ABC):
    """What the trainer asks of a family. Shapes: B pictures, C channels, H and W in pixels unless said otherwise."""

    name: ClassVar[str]
    title: ClassVar[str]
    denoiser: ClassVar[str]  # "unet" or "transformer": the folders `<denoiser>/` and `<denoiser>_ema/`
    prediction_types: ClassVar[tuple[str, ...]]
    lora_targets: ClassVar[dict[str, tuple[str, ...]]]  # by the names of `lora.targets`; none: no LoRA

    text_encoders: ClassVar[dict[str, tuple[str, ...]]] = {}  # parts that can learn too, and the layers LoRA adds to

    @abstractmethod
    def check(self, source: Source) -> None:
        """Refuse, without torch, a folder that is not of this family, is not safetensors, or names foreign classes.

        Raises BaseProblem."""

    @abstractmethod
    def defaults(self, source: Source, method: str = "full") -> dict[str, Any]:
        """A partial config (resolution, prediction type, learning rate for the method, ...) from the base's files."""

    @abstractmethod
    def download_patterns(self, variant: str | None) -> list[str]:
        """Which files of a Hub repository this family needs (safetensors, configs and tokenizer files only)."""

    @abstractmethod
    def load(self, part: str, source: Source) -> Any:
        """One part ("tokenizer", "text_encoder", "vae", the denoiser, ...) in fp32, in eval mode, on the CPU."""

    @abstractmethod
    def encoder_parts(self) -> dict[str, tuple[str, ...]]:
        """The frozen parts each encoding needs: {"images": ("vae",), "texts": ("tokenizer", "text_encoder")}."""

    @abstractmethod
    def encode_images(self, parts: dict[str, Any], pixels: torch.Tensor) -> Tensors:
        """Posterior statistics of `pixels` (B,3,H,W in [-1,1]), each tensor with leading B; cached as they are."""

    @abstractmethod
    def draw(self, stats: Tensors, xi: torch.Tensor) -> torch.Tensor:
        """Scaled latents (B,c,h,w) from the statistics and a standard normal `xi` of the latents' shape."""

    @abstractmethod
    def mean(self, stats: Tensors) -> torch.Tensor:
        """Scaled latents at the posterior's mean (B,c,h,w)."""

    def decode_images(self, parts: dict[str, Any], latents: torch.Tensor) -> torch.Tensor:
        """Pixels (B,3,H,W, about [-1,1]) of scaled latents, the way back of `encode_images`: by default through the VAE
        as diffusers' pipelines do it."""
        vae = parts["vae"]
        shift = getattr(vae.config, "shift_factor", None) or 0.0
        return vae.decode(latents / vae.config.scaling_factor + shift, return_dict=False)[0]

    @abstractmethod
    def encode_texts(self, parts: dict[str, Any], captions: list[str]) -> Tensors:
        """Text conditions, each tensor with leading B; any number of tensors, masks included."""

    def published(self, part: str, name: str) -> str:
        """A weight's name in the files that other programs read; as the module names it, by default."""
        return name

    def conditions(self, sample: dict[str, Any]) -> dict[str, list[float]]:
        """Extra numbers a sample is conditioned on, from its original size, crop and target size; none by default."""
        return {}

    def empty_text(self) -> str:
        """The caption that stands for no caption."""
        return ""

    @abstractmethod
    def schedule(self, source: Source) -> dict[str, Any]:
        """The base's noise schedule as plain data for `train.objectives` (betas' kind and ends, steps)."""

    @abstractmethod
    def predict(self, denoiser: Any, x_t: torch.Tensor, t: torch.Tensor, cond: Tensors) -> torch.Tensor:
        """The denoiser's output for noisy latents `x_t` (B,c,h,w) at model time `t` (B,)."""

    @abstractmethod
    def pipeline(self, parts: dict[str, Any], source: Source, prediction_type: str, *,
                 zero_terminal_snr: bool = False) -> Any:
        """A diffusers pipeline that draws with these parts; its scheduler is that of training.

        With `zero_terminal_snr` it rescales the noise as training did and begins at the last time."""

    @abstractmethod
    def pipeline_files(self, source: Source, prediction_type: str, *,
                       zero_terminal_snr: bool = False) -> dict[str, bytes | Path]:
        """The diffusers folder of a trained pipeline, without the denoiser and without torch.

        By relative name: the contents of a file written anew, or the base's file that is copied as it is."""

    def architecture(self, source: Source) -> str:
        """Stability's ModelSpec name of this base's kind ("stable-diffusion-v1"); empty when it has none."""
        return ""

    def single_file(self, source: Source, parts: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
        """The tensors of one file for ComfyUI and A1111, from those of a pipeline's parts by their diffusers names.

        Without torch: the tensors are still to be read. Nothing when the family has no such layout."""
        return {}

    @abstractmethod
    def draw_pictures(self, pipeline: Any, prompts: list[str], seeds: list[int], *, resolution: int, steps: int,
                      guidance: float, negative: str = "",
                      between: Callable[[], None] = lambda: None) -> list[Image.Image]:
        """One picture per prompt, each from its own CPU generator, so that no picture depends on its batch mates.

        `negative` says what guidance leads away from. `between` is called after each step, and may raise to end it."""


def headers(file: Path) -> dict[str, Tensor]:
    """The tensors in a weight file of a base. Raises NotSafetensors."""
    return tensors.headers(file)[0] if EMBEDDED in file.parents else tensors.foreign_headers(file)


def names() -> list[str]:
    """The families there are."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != "source" and m.name[0] != "_")


def get(name: str) -> Family:
    """The family of that name. Raises BaseProblem listing the families there are."""
    if name not in names():
        raise BaseProblem(f"there is no model family {name[:40]!r}; there are: {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}").FAMILY
