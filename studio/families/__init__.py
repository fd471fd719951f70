"""Model families: one file here IS a family. Class facts are data; torch is imported inside methods only.

A family module defines `FAMILY`, an instance of a subclass of `Family`; its file name is the name used in
`model.family`. Nothing outside the file knows it.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from studio import PACKAGE, config, storage, tensors
from studio.config import PlainConfig
from studio.errors import StudioError
from studio.messages import JsonObject, Message
from studio.tensors import Tensor

if TYPE_CHECKING:
    import torch
    from PIL import Image

    Tensors = dict[str, torch.Tensor]
    Loaded = dict[str, Any]  # a base's loaded parts by name: models of diffusers and transformers, and tokenizers
    LoraFile = tuple[Tensors, dict[str, str]]

EMBEDDED = PACKAGE / "assets" / "base"
FORMULAS = {  # settings of the objective that have a formula for these prediction types alone
    "snr_gamma": ("epsilon", "v_prediction"), "dream": ("epsilon",), "zero_terminal_snr": ("v_prediction",),
    **dict.fromkeys(("timestep_density", "timestep_shift", "logit_mean", "logit_std", "mode_scale"), ("flow",)),
}
LORA_WEIGHTS = "pytorch_lora_weights.safetensors"  # the name that `pipeline.load_lora_weights(folder)` looks for
# Files of the embedded base that were changed without another number in it, {SHA-256: that of the edition before}: runs
# and bundles know a base by the edition before, so that theirs is the same as ours.
FORMER = {  # text_encoder/config.json: diffusers loads the weights as what it says, and the other parts as float32
    "3baa769237f531b799f20cb79f338faa0ce268cbe13805436fdb5c3ec7977d31":
        "11556312b4d5b07784077cfd55a89b0329925aa55e1275c8a18f9c06769836bd"}
JSON_BYTES = 1 << 20  # the largest JSON file of a base that is read; real ones have a tenth of it
Progress = Callable[[int, int], None]  # (bytes done, bytes in all)
Schedule = dict[str, Any]  # a noise schedule by diffusers' names; a flow's as `_flow.SCHEDULE`, with "kind": "flow"


class BaseProblem(StudioError):
    """A base model that cannot be used: the message says what, where, what there is instead, what to do next."""

    code = "base"


class NeedsToken(BaseProblem):
    """A base on the Hub that only an account with access may read."""


def identity(sha256: str) -> str:
    """The hash by which a file of a base is known, of that of its bytes."""
    return FORMER.get(sha256, sha256)


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
        paths = [*self.folder.glob("*"), *self.folder.glob("*/*")]
        return frozenset(path.relative_to(self.folder).as_posix() for path in paths if path.is_file())

    def read_json(self, path: str) -> JsonObject:
        """The JSON object in one of the files. Raises BaseProblem when it is missing or something else."""
        try:
            data = storage.read_json(self.folder / path, JSON_BYTES)
        except (storage.Corrupt, OSError, RecursionError) as error:
            raise self.problem(Message("{path} cannot be read ({why}): repair or replace the file", path=path,
                                       why=error)) from None
        if data is None:
            raise self.problem(Message("{path} is missing: choose a complete diffusers folder", path=path))
        if not isinstance(data, dict):
            raise self.problem(Message("{path} is not a JSON object: choose a complete diffusers folder", path=path))
        return data

    def suggestions(self, path: str) -> PlainConfig:
        """The partial config in one of the files, nothing where there is none. Raises BaseProblem."""
        if path not in self.files():
            return {}
        try:
            return config.suggestions(self.read_json(path))
        except config.ConfigError as error:
            raise self.problem(Message("{path} is not a partial config of this studio: {why}", path=path,
                                       why=error)) from None

    def problem(self, fault: Message) -> BaseProblem:
        """A fault of this base, to be raised."""
        return BaseProblem(Message("{name}: {fault}", name=self.name, fault=fault))


@dataclass(frozen=True)
class Part:
    """One part of a base: what it is for, and the classes that are loaded for it, of which the first one is.

    `role` is "denoiser", "images" (what encodes and decodes pictures), "texts", "tokenizer" or "scheduler"; `library`
    the package of the classes. An `optional` part may be missing in a base. `dtype` is what it is loaded in while it is
    frozen. `model_types` are what transformers calls the classes in a config.json.
    """

    role: str
    library: str
    classes: tuple[str, ...]
    optional: bool = False
    dtype: str = "float32"
    model_types: tuple[str, ...] = ()


class Drawn(Protocol):
    """What a pipeline drew; the latents of one image, as it is called here."""

    images: torch.Tensor


class Pipeline(Protocol):
    """A diffusers pipeline, as far as it is used here."""

    vae: torch.nn.Module
    image_processor: Any  # a VaeImageProcessor, which makes PIL images of pixels

    def __call__(self, **arguments: object) -> Drawn:
        """Draw."""
        ...


class Family(ABC):
    """What the studio asks of a family. Shapes: B images, C channels, H and W in pixels unless said otherwise."""

    name: ClassVar[str]
    title: ClassVar[str]
    pipelines: ClassVar[tuple[str, ...]]  # the pipeline classes that a base may name; the first is written
    parts: ClassVar[dict[str, Part]] = {}
    denoiser: ClassVar[str]  # "unet" or "transformer": the folders `<denoiser>/` and `<denoiser>_ema/`
    prediction_types: ClassVar[tuple[str, ...]]  # of "epsilon", "v_prediction", "flow"; the first is the usual one
    lora_targets: ClassVar[dict[str, tuple[str, ...]]]  # by the names of `lora.targets`; none: no LoRA
    text_encoders: ClassVar[dict[str, tuple[str, ...]]] = {}  # parts that can learn too, and the layers LoRA adds to
    lora_kinds: ClassVar[dict[str, str]] = {"lora": LORA_WEIGHTS}  # a LoRA's downloads, and their files
    # By kind of download, which programs take it as it is: a LoRA at its full strength, too.
    programs: ClassVar[dict[str, tuple[str, ...]]] = {
        "pipeline": ("diffusers",), "single": ("ComfyUI", "A1111"), "lora": ("diffusers",)}
    sampler: ClassVar[str] = ""  # the name by which other programs know how images are drawn
    largest_side: ClassVar[int] = 4096  # in pixels
    # Diffusers' DreamBooth scripts for it, whose commands may be pasted: by name the defaults unlike their siblings'.
    scripts: ClassVar[dict[str, JsonObject]] = {}

    @abstractmethod
    def check(self, source: Source) -> None:
        """Refuse, without torch, a folder that is not of this family, is not safetensors, or names foreign classes.

        Raises BaseProblem."""

    def warnings(self, source: Source) -> list[str]:
        """What a person should know before training this base: that it was distilled, for example."""
        return []

    @abstractmethod
    def defaults(self, source: Source, method: str = "full") -> PlainConfig:
        """A partial config (resolution, prediction type, learning rate for the method, ...) from the base's files."""

    def side_step(self, source: Source) -> int:
        """Every side of an image is a multiple of so many pixels."""
        return 8

    @abstractmethod
    def download_patterns(self, variant: str | None) -> list[str]:
        """Which files of a Hub repository this family needs (safetensors, configs and tokenizer files only)."""

    @abstractmethod
    def load(self, part: str, source: Source, dtype: str | None = None) -> Any:  # one of `Loaded`
        """One part in eval mode, on the CPU: in `dtype`, by default in that of its role while it is frozen."""

    @abstractmethod
    def encoder_parts(self, source: Source) -> dict[str, tuple[str, ...]]:
        """The frozen parts each encoding of this base needs: {"images": ("vae",), "texts": ("tokenizer", ...)}."""

    def encoding_facts(self, kind: str, source: Source) -> JsonObject:
        """What changes an encoding of this kind and is in no encoder's folder, as JSON: template, length, layers."""
        return {}

    @abstractmethod
    def encode_images(self, parts: Loaded, pixels: torch.Tensor) -> Tensors:
        """Posterior statistics of `pixels` (B,3,H,W in [-1,1]), each tensor with leading B; cached as they are."""

    @abstractmethod
    def sample_latents(self, posterior: Tensors, noise: torch.Tensor) -> torch.Tensor:
        """Scaled latents (B,c,h,w) from the statistics and a standard normal `noise` of the latents' shape."""

    @abstractmethod
    def latent_mode(self, posterior: Tensors) -> torch.Tensor:
        """Scaled latents at the posterior's mode (B,c,h,w)."""

    def decode_latents(self, parts: Loaded, latents: torch.Tensor) -> torch.Tensor:
        """Pixels (B,3,H,W, about [-1,1]) of scaled latents, the way back of `encode_images`: by default through the VAE
        as diffusers' pipelines do it."""
        vae = parts["vae"]
        shift = getattr(vae.config, "shift_factor", None) or 0.0
        return vae.decode(latents / vae.config.scaling_factor + shift, return_dict=False)[0]

    @abstractmethod
    def encode_texts(self, parts: Loaded, captions: list[str]) -> Tensors:
        """Text conditions, each tensor with leading B; any number of tensors, masks included.

        Captions are cached one by one: a family that masks may leave out the padding of a single caption, and fills
        it up in `collate_texts`."""

    def collate_texts(self, entries: list[Tensors]) -> Tensors:
        """The conditions of single captions (each with a leading 1) as one batch; of equal shapes by default."""
        import torch
        conditions: Tensors = {}
        for name in entries[0]:
            conditions[name] = torch.cat([entry[name] for entry in entries])
        return conditions

    def export_key(self, part: str, name: str) -> str:
        """A weight's name in the files that other programs read; as the module names it, by default."""
        return name

    def added_conditions(self, facts: Mapping[str, Any], settings: config.Objective) -> dict[str, list[float]]:
        """More numbers that a training item is conditioned on, none by default.

        `facts` are {"original_size", "crop", "target_size"}, (height, width) and (top, left) in pixels of the image as
        it is seen, mirrored or not; `settings` is the `objective` section."""
        return {}

    def empty_text(self) -> str:
        """The caption that stands for no caption."""
        return ""

    @abstractmethod
    def schedule(self, source: Source) -> Schedule:
        """The base's noise schedule as plain data for `objectives`: diffusers' DDPM config, or for a flow
        {"kind": "flow", "num_train_timesteps"} with the keys of `_flow.SCHEDULE`."""

    def tokens(self, height: int, width: int) -> int:
        """How many tokens the denoiser makes of latents of these sides, by which some shift their times."""
        return height * width // 4

    def timesteps(self, u: torch.Tensor, tokens: int, schedule: Schedule) -> torch.Tensor:
        """Times t in [0, 1] (B,) of a flow from uniform u in [0, 1), where 1 is pure noise: shift(density(u))."""
        from studio.families import _flow
        return _flow.timesteps(u, tokens, schedule)

    @abstractmethod
    def predict(self, denoiser: torch.nn.Module, x_t: torch.Tensor, t: torch.Tensor, cond: Tensors) -> torch.Tensor:
        """The denoiser's output for noisy latents `x_t` (B,c,h,w) at model time `t` (B,)."""

    @abstractmethod
    def pipeline(self, parts: Loaded, source: Source, objective: config.Objective) -> Pipeline:
        """A diffusers pipeline that draws with these parts, text encoders left out; its scheduler is that of training.

        `objective` is the config's section, resolved."""

    @abstractmethod
    def pipeline_files(self, source: Source, objective: config.Objective) -> dict[str, bytes | Path]:
        """The diffusers folder of a trained pipeline, without the denoiser and without torch.

        By relative name: the contents of a file written anew, or the base's file that is copied as it is."""

    def architecture(self, source: Source) -> str:
        """Stability's ModelSpec name of this base's kind ("stable-diffusion-v1"); empty when it has none."""
        return ""

    def modelspec(self, objective: config.Objective) -> dict[str, str]:
        """More that ModelSpec has names for, by the run's `objective` section."""
        return {}

    def lora_words(self, source: Source, objective: config.Objective) -> dict[str, str]:
        """More that kohya's trainer would say in a LoRA for this base, by which other programs sort it."""
        return {}

    def single_file(self, source: Source, parts: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
        """The tensors of one file for ComfyUI and A1111, from those of a pipeline's parts by their diffusers names.

        Without torch: the tensors are still to be read. Nothing when the family has no such layout."""
        return {}

    def lora_files(self, state: Tensors, alpha: float,
                   facts: Mapping[str, Mapping[str, object]]) -> dict[str, LoraFile]:
        """Files of a LoRA for other programs, beside the one that a checkpoint is resumed from (`LORA_WEIGHTS`).

        By file name (tensors, metadata): `state` is by part and peft's names, `facts` is peft's config of each part."""
        return {}

    @abstractmethod
    def generate(self, pipeline: Pipeline, conditions: Tensors, seed: int, *, size: tuple[int, int], steps: int,
                 guidance: float, negative: Tensors, between: Callable[[], None] = lambda: None) -> Image.Image:
        """One image of `size` (width, height) from a CPU generator of its own, so that it depends on no batch mates.

        `conditions` and `negative`, what guidance leads away from, are what `encode_texts` makes of single texts.
        `between` is called after each step, and may raise to end it."""


def headers(file: Path) -> dict[str, Tensor]:
    """The tensors in a weight file of a base. Raises NotSafetensors."""
    if EMBEDDED in file.parents:
        return tensors.headers(file)[0]
    return tensors.foreign_headers(file)


def names() -> list[str]:
    """The families there are."""
    modules = [module.name for module in pkgutil.iter_modules(__path__)]
    return sorted(name for name in modules if not name.startswith("_"))


def get(name: str) -> Family:
    """The family of that name. Raises BaseProblem listing the families there are."""
    if name not in names():
        raise BaseProblem(Message("there is no model family {name}; there are: {names}", name=repr(name[:40]),
                                  names=", ".join(names())))
    return importlib.import_module(f"{__name__}.{name}").FAMILY


def of(source: Source) -> Family:
    """The family that a base says it is, by the pipeline that its model_index.json names.

    Raises BaseProblem listing the pipelines there are families for."""
    pipeline = source.read_json("model_index.json").get("_class_name")
    families = list(map(get, names()))
    for family in families:
        if pipeline in family.pipelines:
            return family
    known = ", ".join(f"{family.pipelines[0]} ({family.title})" for family in families if family.pipelines)
    if isinstance(pipeline, list):
        raise BaseProblem(Message("{name} is custom pipeline code; this studio trains {pipelines}: choose such a base",
                                  name=source.name, pipelines=known))
    raise BaseProblem(Message("{name} is a {what}; this studio trains {pipelines}: choose such a base",
                              name=source.name, what=str(pipeline)[:80], pipelines=known))


def no_formula(name: str, learns: str) -> Message:
    """That a setting of the objective (one of FORMULAS) has no formula for what the run learns, and what to do."""
    if name == "dream":
        return Message("DREAM has a formula for epsilon only, and this run learns {kind}: turn it off", kind=learns)
    if name == "snr_gamma":
        return Message("min-SNR weights have formulas for epsilon and v_prediction, and this run learns {kind}: set 0",
                       kind=learns)
    if name == "zero_terminal_snr" and learns == "flow":
        return Message("a flow's last time is noise alone already: turn this off")
    if name == "zero_terminal_snr":
        return Message("at the last time the input is noise alone: a model that predicts the noise learns nothing "
                       "there, and drawing would divide by zero: set objective.prediction_type `v_prediction`, or "
                       "turn this off")
    return Message("times are chosen only where a model learns flow, and this run learns {kind}: leave it empty",
                   kind=learns)


def side_problems(family: Family, base: Source | None, sides: dict[str, int | None]) -> list[config.Problem]:
    """Sides in pixels, by their field, that the family cannot draw or the base's layers would cut, silently or not.

    A base that is gone (None) says nothing of what its sides are multiples of."""
    step = family.side_step(base) if base else 1
    uneven: list[config.Problem] = []
    large: list[config.Problem] = []
    for field, side in sides.items():
        if side and side % step:
            uneven.append(config.Problem(field, Message(
                "every side of a picture is a multiple of {step} pixels for this base: set {side}", step=step,
                side=max(1, round(side / step)) * step)))
        if side and side > family.largest_side:
            large.append(config.Problem(field, Message("{family} takes sides of at most {side} pixels: set fewer",
                                                       family=family.title, side=family.largest_side)))
    return uneven + large
