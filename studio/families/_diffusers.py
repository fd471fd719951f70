"""What families share whose bases are diffusers folders: checks, downloads, loading, pipelines, by a table of parts."""

from __future__ import annotations

import importlib
import json
import re
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from studio import config
from studio.config import PlainConfig
from studio.families import BaseProblem, Family, Part, Source
from studio.messages import JsonObject, Message
from studio.system import lean

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from studio.families import Loaded, Pipeline, Tensors

SUGGESTED = ("studio.json", "studio-lora.json")  # partial configs that a base may have, the second for a LoRA
SHARD = "-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9]"  # a glob, and a regular expression too
TOKENIZER_FILES = r"\w+\.(json|jinja|model)|merges\.txt"
# LoRA learns best at about ten times a full fine-tune's rate (Schulman 2025, LoRA Without Regret); 1e-2 tore pictures.
LORA_RATE, LORA_MOST = 10, 2e-3
ABSENT = (None, [None, None])  # what a model_index.json says of a part that the base has not


class DiffusersFamily(Family):
    """A family by its table of `parts`; what is left to say is what its layers take and give."""

    unused: ClassVar[tuple[str, ...]] = ()  # parts that a base may have and nothing here needs
    index: ClassVar[JsonObject] = {}  # what model_index.json says besides classes

    # ----------------------------------------------------------------------------------------------- what a family adds

    def check_shapes(self, source: Source, configs: dict[str, JsonObject]) -> None:
        """Refuse parts that do not fit each other, by their configs. Raises BaseProblem."""

    @abstractmethod
    def recommended(self, source: Source) -> PlainConfig:
        """The partial config that the base's configs suggest, for a full fine-tune."""

    @abstractmethod
    def scheduler(self, source: Source, objective: config.Objective) -> tuple[str, JsonObject]:
        """The scheduler that draws after training: its class, and its config."""

    @abstractmethod
    def call(self, conditions: Tensors, negative: Tensors, guidance: float) -> dict[str, torch.Tensor | float]:
        """The pipeline's arguments for encoded texts and guidance."""

    def unpacked(self, latents: torch.Tensor, pipeline: Pipeline, size: tuple[int, int]) -> torch.Tensor:
        """What the pipeline gives as latents of an image of `size`, in the shape that `decode_latents` takes."""
        return latents

    # ----------------------------------------------------------------------------------------------------- the contract

    def check(self, source: Source) -> None:
        """Classes, configs and weights, in this order; nothing of the folder is run or unpickled."""
        parts = self._check_classes(source)
        configs = {name: source.read_json(config_file(name, part)) for name, part in parts.items()}
        for name, part_config in configs.items():
            _check_config(source, name, parts[name], part_config)
        self.check_shapes(source, configs)
        self.schedule(source)
        files = source.files()
        for name, part in parts.items():
            if part.role == "texts" and f"{name}/adapter_config.json" in files:
                raise source.problem(Message("{part}/ holds an adapter: merge it into the weights first", part=name))
            if part.role == "tokenizer":
                _check_tokenizer(source, name, files)
            elif part.role != "scheduler":
                weight_files(source, name, part)

    def defaults(self, source: Source, method: str = "full") -> PlainConfig:
        """What its configs say, under its own `studio.json`; for a LoRA at a higher rate, under its `studio-lora.json`.

        Both files are partial configs, and a base need not have them."""
        suggested = config.merge(self.recommended(source), source.suggestions(SUGGESTED[0]))
        if method != "lora":
            return suggested
        suggested["optim"]["learning_rate"] *= max(1, min(LORA_RATE, LORA_MOST / suggested["optim"]["learning_rate"]))
        return config.merge(suggested, source.suggestions(SUGGESTED[1]))

    def download_patterns(self, variant: str | None) -> list[str]:
        """Configs and tokenizer files of the parts, and their weights in that variant, whole or in shards."""
        patterns = ["model_index.json", *SUGGESTED]
        for name, part in self.parts.items():
            patterns.append(config_file(name, part))
            if part.role == "tokenizer":
                patterns += [f"{name}/*.json", f"{name}/*.jinja", f"{name}/*.model", f"{name}/merges.txt"]
            elif part.role != "scheduler":
                patterns += _weight_patterns(f"{name}/{weights_stem(part)}", variant)
        return patterns

    def load(self, part: str, source: Source, dtype: str | None = None) -> Any:
        """One part from the source's folder; only safetensors, no network, in one type whatever the files hold."""
        import torch

        facts = self.parts.get(part)
        if facts is None or facts.role == "scheduler":
            there = ", ".join(name for name, other in self.parts.items() if other.role != "scheduler")
            raise ValueError(f"unknown part {part!r}; there are: {there}")
        folder = source.folder / part
        with quiet():
            kind = lean.class_of(facts.library, facts.classes[0])
            if facts.role == "tokenizer":
                return kind.from_pretrained(folder, local_files_only=True)
            torch_dtype = getattr(torch, dtype or facts.dtype)
            options = {"variant": source.variant, "use_safetensors": True, "local_files_only": True}
            if facts.library == "transformers":
                # Naming the attention keeps a config.json from naming one whose code would be fetched.
                options |= {"dtype": torch_dtype, "attn_implementation": "sdpa"}
            else:
                options["torch_dtype"] = torch_dtype
            model = kind.from_pretrained(folder, **options)
        return model.eval().requires_grad_(part == self.denoiser)

    def present(self, source: Source) -> dict[str, Part]:
        """The parts that this base has: all but optional ones that its model_index.json leaves out."""
        index = source.read_json("model_index.json")
        return {name: part for name, part in self.parts.items()
                if not part.optional or index.get(name) not in ABSENT}

    def encoder_parts(self, source: Source) -> dict[str, tuple[str, ...]]:
        parts = self.present(source)
        return {"images": _of_role(parts, "images"), "texts": _of_role(parts, "tokenizer", "texts")}

    def pipeline(self, parts: Loaded, source: Source, objective: config.Objective) -> Pipeline:
        """The family's first pipeline with its scheduler; no text encoders, no safety checker, no progress bar."""
        name, settings = self.scheduler(source, objective)
        library = importlib.import_module(self.parts[self.denoiser].library)
        with quiet():
            kind = getattr(library, self.pipelines[0])
        scheduler = getattr(importlib.import_module("diffusers"), name)(**settings)
        absent = dict.fromkeys((*_of_role(self.parts, "tokenizer", "texts"), *self.unused))
        present = {part: parts[part] for part in _of_role(self.parts, "images", "denoiser")}
        pipeline = kind(**absent, **present, scheduler=scheduler, **self.index)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def pipeline_files(self, source: Source, objective: config.Objective) -> dict[str, bytes | Path]:
        """model_index.json and scheduler written anew; frozen parts as they are, the variant dropped."""
        parts = self.present(source)
        scheduler, settings = self.scheduler(source, objective)
        index: JsonObject = {"_class_name": self.pipelines[0], **self.index}
        index |= dict.fromkeys((*self.parts, *self.unused), [None, None])
        for name, part in parts.items():
            index[name] = [part.library, part.classes[0]]
        index["scheduler"] = ["diffusers", scheduler]
        files: dict[str, bytes | Path] = {
            "model_index.json": as_json(index),
            "scheduler/scheduler_config.json": as_json({"_class_name": scheduler, **settings})}
        for name in source.files().intersection(SUGGESTED):
            # Whoever takes the pipeline as a base gets the base's suggestions; the objective was the run's to choose.
            files[name] = as_json(source.read_json(name) | {"objective": {}})
        for name, part in parts.items():
            files |= _part_files(source, name, part)
        return dict(sorted(files.items()))

    def generate(self, pipeline: Pipeline, conditions: Tensors, seed: int, *, size: tuple[int, int], steps: int,
                 guidance: float, negative: Tensors, between: Callable[[], None] = lambda: None) -> Image.Image:
        """One image; its latents are decoded outside of the pipeline, which would do it in the denoiser's type."""
        import torch

        def after_step(*_: object) -> JsonObject:
            between()
            return {}

        latents = pipeline(
            **self.call(conditions, negative, guidance), width=size[0], height=size[1], num_inference_steps=steps,
            generator=torch.Generator("cpu").manual_seed(seed), output_type="latent",
            callback_on_step_end=after_step).images
        with torch.no_grad():
            pixels = self.decode_latents({"vae": pipeline.vae}, self.unpacked(latents, pipeline, size))
        return pipeline.image_processor.postprocess(pixels)[0]

    def _not_of_it(self, source: Source, pipeline: object) -> Message:
        """Why a base whose model_index.json names that pipeline is none of this family."""
        if isinstance(pipeline, list):
            return Message("{name} is custom pipeline code; this family trains {pipeline} ({family}): choose such a "
                           "base", name=source.name, pipeline=self.pipelines[0], family=self.title)
        return Message("{name} is a {what}; this family trains {pipeline} ({family}): choose such a base",
                       name=source.name, what=str(pipeline)[:80], pipeline=self.pipelines[0], family=self.title)

    def _check_classes(self, source: Source) -> dict[str, Part]:
        """The parts that the base has. Raises BaseProblem for any that is not as in the table."""
        index = source.read_json("model_index.json")
        pipeline = index.get("_class_name")
        if pipeline not in self.pipelines:
            raise BaseProblem(self._not_of_it(source, pipeline))
        parts = self.present(source)
        for name, part in parts.items():
            _check_entry(source, name, part, index.get(name))
        listed = {name for name, entry in index.items() if isinstance(entry, list) and entry != [None, None]}
        foreign = listed.difference(self.parts, self.unused)
        if foreign:
            raise source.problem(Message("model_index.json lists parts this family does not know: {parts}",
                                         parts=", ".join(sorted(foreign))[:200]))
        return parts


def _of_role(parts: dict[str, Part], *roles: str) -> tuple[str, ...]:
    """The names of the parts with one of these roles."""
    return tuple(name for name, part in parts.items() if part.role in roles)


def _check_entry(source: Source, name: str, part: Part, entry: object) -> None:
    """Raises BaseProblem where a part's entry in model_index.json, [library, class], is not as in the table."""
    if isinstance(entry, list) and len(entry) == 2 and entry[0] == part.library and entry[1] in part.classes:
        return
    classes = " or ".join(part.classes)
    if entry in ABSENT:
        raise source.problem(Message("model_index.json's {part} is missing; only {library}'s {classes} is loaded",
                                     part=name, library=part.library, classes=classes))
    raise source.problem(Message("model_index.json's {part} is {found}; only {library}'s {classes} is loaded",
                                 part=name, found=str(entry)[:120], library=part.library, classes=classes))


# ---------------------------------------------------------------------------------------------------------- its files


def config_file(name: str, part: Part) -> str:
    """The JSON file in which a part says what it is."""
    special = {"tokenizer": "tokenizer_config.json", "scheduler": "scheduler_config.json"}
    return f"{name}/{special.get(part.role, 'config.json')}"


def weights_stem(part: Part) -> str:
    """The name of a part's weight file without what follows a dot."""
    return "model" if part.library == "transformers" else "diffusion_pytorch_model"


def _infix(variant: str | None) -> str:
    """What a variant puts into the name of a file: "" of none, ".fp16"."""
    return f".{variant}" if variant else ""


def _weight_patterns(stem: str, variant: str | None) -> Iterator[str]:
    """The globs of a part's weights in a variant: whole, the index of shards, and these; both orders of the name."""
    infix = _infix(variant)
    yield f"{stem}{infix}.safetensors"
    yield f"{stem}.safetensors.index{infix}.json"
    yield f"{stem}{SHARD}{infix}.safetensors"
    if variant:
        yield f"{stem}{infix}{SHARD}.safetensors"
        yield f"{stem}{infix}.safetensors.index.json"


def weight_files(source: Source, name: str, part: Part) -> list[str]:
    """The safetensors files of one part in the source's variant, the index first when it is in shards.

    Raises BaseProblem saying which weights there are instead."""
    files = source.files()
    stem = f"{name}/{weights_stem(part)}"
    infix = _infix(source.variant)
    if f"{stem}{infix}.safetensors" in files:
        return [f"{stem}{infix}.safetensors"]
    index = f"{stem}.safetensors.index{infix}.json"
    if index not in files:
        raise source.problem(_no_weights(files, name, weights_stem(part), source.variant))
    shard_of_weight = source.read_json(index).get("weight_map")
    shards: list[str] = []
    if isinstance(shard_of_weight, dict):
        shards = sorted(set(map(str, shard_of_weight.values())))
    for shard in shards:
        if not re.fullmatch(r"[\w.-]+\.safetensors", shard) or f"{name}/{shard}" not in files:
            raise source.problem(Message("{index} names {name}, which is not in {part}/: the download or copy is "
                                         "incomplete, fetch it again", index=index, name=repr(shard[:80]), part=name))
    if not shards:
        raise source.problem(Message("{index} names no files: fetch the base again", index=index))
    return [index, *(f"{name}/{shard}" for shard in shards)]


def as_json(data: JsonObject) -> bytes:
    """The contents of a JSON file."""
    return json.dumps(data, indent=2, sort_keys=True).encode() + b"\n"


def factor(config: JsonObject) -> int:
    """By how much a VAE or a UNet halves and halves again the sides of its input."""
    blocks = config.get("block_out_channels")
    if isinstance(blocks, list) and blocks:
        return 2 ** (min(len(blocks), 6) - 1)
    return 8


@contextmanager
def quiet() -> Iterator[None]:
    """Without the libraries' progress bars and transformers' hints on parts that are not used here."""
    lean.load_diffusers()
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    for library in (logging, diffusers_logging):
        library.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        for library in (logging, diffusers_logging):
            library.enable_progress_bar()


def _check_config(source: Source, name: str, part: Part, part_config: JsonObject) -> None:
    """No code of the base's own, no foreign class, nothing that the safetensors weights do not hold in full."""
    path = config_file(name, part)
    for key in ("auto_map", "custom_pipelines"):
        if part_config.get(key):
            raise source.problem(Message("{path} has {key}: a base's own code is never run; choose a base without it",
                                         path=path, key=key))
    if part_config.get("quantization_config"):
        raise source.problem(Message("{path} has {key}: quantized weights cannot be trained in full; choose a base "
                                     "without it", path=path, key="quantization_config"))
    class_name = _class_named(part, part_config)
    if class_name is not None and class_name not in part.classes:
        raise source.problem(Message("{path} names {found}; only {classes} is loaded", path=path,
                                     found=repr(str(class_name)[:80]), classes=" or ".join(part.classes)))


def _class_named(part: Part, part_config: JsonObject) -> object:
    """The class that a part's config names; a text encoder's names the type of its model instead."""
    if part.role == "tokenizer":
        return part_config.get("tokenizer_class")
    if part.role != "texts":
        return part_config.get("_class_name")
    if part_config.get("model_type") in part.model_types:
        return part.classes[0]
    return part_config.get("model_type")


def _check_tokenizer(source: Source, name: str, files: frozenset[str]) -> None:
    if f"{name}/tokenizer.json" not in files and not {f"{name}/vocab.json", f"{name}/merges.txt"} <= files:
        raise source.problem(Message("{part}/ has neither tokenizer.json nor vocab.json with merges.txt", part=name))


def _no_weights(files: frozenset[str], part: str, weights: str, variant: str | None) -> Message:
    """Why `part` has no weights to load, and what there is."""
    stem = re.escape(weights)
    pattern = re.compile(rf"{part}/{stem}(?:{SHARD})?(?:\.([A-Za-z]\w*))?(?:{SHARD})?\.safetensors")
    variants = {match[1] for match in map(pattern.fullmatch, files) if match}
    if variants:
        plain = Message("no variant (leave it empty)")
        there = plain
        if variants != {None}:
            there = ", ".join(sorted(other or plain for other in variants))
        if variant:
            return Message("{part}/ has no variant {variant}; there is: {there}", part=part, variant=repr(variant),
                           there=there)
        return Message("{part}/ has no weights without a variant; there is: {there}", part=part, there=there)
    if any(map(re.compile(rf"{part}/.*\.(bin|ckpt|pt|pth)").fullmatch, files)):
        return Message("{part}/ has pickle weights (.bin) only, which can run code when they are read, so they are "
                       "refused: choose a version with .safetensors, or convert it where you trust it (diffusers: "
                       "pipeline.save_pretrained(folder, safe_serialization=True))", part=part)
    return Message("{part}/ has no weights ({file}): choose a complete diffusers folder", part=part,
                   file=f"{weights}.safetensors")


def _part_files(source: Source, name: str, part: Part) -> dict[str, bytes | Path]:
    """A frozen part's files in a pipeline; of the denoiser and the scheduler, which are written anew, none."""
    if part.role == "tokenizer":
        pattern = re.compile(f"{name}/(?:{TOKENIZER_FILES})")
        return {path: source.folder / path for path in filter(pattern.fullmatch, source.files())}
    if part.role not in ("images", "texts"):
        return {}
    file = config_file(name, part)
    files: dict[str, bytes | Path] = {file: source.folder / file}
    if part.library == "transformers":
        # transformers loads in the type its config names; with half of it beside an fp32 denoiser nothing can be drawn.
        part_config = source.read_json(file)
        part_config.pop("torch_dtype", None)
        files[file] = as_json({**part_config, "dtype": "float32"})
    return files | _without_variant(source, name, part)


def _without_variant(source: Source, name: str, part: Part) -> dict[str, bytes | Path]:
    """A part's weight files under their names without the variant, so that a plain from_pretrained finds them."""
    infix = _infix(source.variant)
    paths = weight_files(source, name, part)
    files: dict[str, bytes | Path] = {path.replace(infix, "", 1): source.folder / path for path in paths}
    if infix and paths[0].endswith(".json"):
        index = source.read_json(paths[0])
        shard_of_weight = cast("dict[str, str]", index["weight_map"])  # looked at by `weight_files`
        index["weight_map"] = {weight: shard.replace(infix, "", 1) for weight, shard in shard_of_weight.items()}
        files[paths[0].replace(infix, "", 1)] = as_json(index)
    return files
