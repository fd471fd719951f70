"""What families share whose bases are diffusers folders: checks, downloads, loading, pipelines, by a table of parts."""

from __future__ import annotations

import importlib
import json
import re
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from studio import config
from studio.families import BaseProblem, Family, Part, Source
from studio.messages import Message
from studio.system import lean

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from studio.families import Tensors

SUGGESTED = ("studio.json", "studio-lora.json")  # partial configs that a base may have, the second for a LoRA
SHARD = "-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9]"  # a glob, and a regular expression too
TOKENIZER_FILES = r"\w+\.(json|jinja|model)|merges\.txt"
# LoRA learns best at about ten times a full fine-tune's rate (Schulman 2025, LoRA Without Regret); 1e-2 tore pictures.
LORA_RATE, LORA_MOST = 10, 2e-3


class DiffusersFamily(Family):
    """A family by its table of `parts`; what is left to say is what its layers take and give."""

    unused: ClassVar[tuple[str, ...]] = ()  # parts that a base may have and nothing here needs
    index: ClassVar[dict[str, Any]] = {}  # what model_index.json says besides classes

    # ----------------------------------------------------------------------------------------------- what a family adds

    def check_shapes(self, source: Source, configs: dict[str, dict[str, Any]]) -> None:
        """Refuse parts that do not fit each other, by their configs. Raises BaseProblem."""

    @abstractmethod
    def recommended(self, source: Source) -> dict[str, Any]:
        """The partial config that the base's configs suggest, for a full fine-tune."""

    @abstractmethod
    def scheduler(self, source: Source, objective: Any) -> tuple[str, dict[str, Any]]:
        """The scheduler that draws after training: its class, and its config."""

    @abstractmethod
    def call(self, conditions: Tensors, negative: Tensors, guidance: float) -> dict[str, Any]:
        """The pipeline's arguments for encoded texts and guidance."""

    def unpacked(self, latents: torch.Tensor, pipeline: Any, size: tuple[int, int]) -> torch.Tensor:
        """What the pipeline gives as latents of an image of `size`, in the shape that `decode_latents` takes."""
        return latents

    # ----------------------------------------------------------------------------------------------------- the contract

    def check(self, source: Source) -> None:
        """Classes, configs and weights, in this order; nothing of the folder is run or unpickled."""
        parts = self._check_classes(source)
        configs = {name: source.read_json(config_file(name, part)) for name, part in parts.items()}
        for name, found in configs.items():
            _check_config(source, name, parts[name], found)
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

    def defaults(self, source: Source, method: str = "full") -> dict[str, Any]:
        """What its configs say, under its own `studio.json`; for a LoRA at a higher rate, under its `studio-lora.json`.

        Both files are partial configs, and a base need not have them."""
        found = config.merge(self.recommended(source), source.suggestions(SUGGESTED[0]))
        if method != "lora":
            return found
        found["optim"]["learning_rate"] *= max(1, min(LORA_RATE, LORA_MOST / found["optim"]["learning_rate"]))
        return config.merge(found, source.suggestions(SUGGESTED[1]))

    def download_patterns(self, variant: str | None) -> list[str]:
        """Configs and tokenizer files of the parts, and their weights in that variant, whole or in shards."""
        found, v = ["model_index.json", *SUGGESTED], f".{variant}" if variant else ""
        for name, part in self.parts.items():
            found.append(config_file(name, part))
            if part.role == "tokenizer":
                found += [f"{name}/{kind}" for kind in ("*.json", "*.jinja", "*.model", "merges.txt")]
            elif part.role != "scheduler":
                stem = f"{name}/{weights_stem(part)}"
                found += [f"{stem}{v}.safetensors", f"{stem}.safetensors.index{v}.json",
                          f"{stem}{SHARD}{v}.safetensors"]
                if variant:
                    found += [f"{stem}{v}{SHARD}.safetensors", f"{stem}{v}.safetensors.index.json"]
        return found

    def load(self, part: str, source: Source, dtype: str | None = None) -> Any:
        """One part from the source's folder; only safetensors, no network, in one type whatever the files hold."""
        import torch

        facts = self.parts.get(part)
        if facts is None or facts.role == "scheduler":
            there = ", ".join(name for name, one in self.parts.items() if one.role != "scheduler")
            raise ValueError(f"unknown part {part!r}; there are: {there}")
        folder = source.folder / part
        with quiet():
            kind = _class_of(facts)
            if facts.role == "tokenizer":
                return kind.from_pretrained(folder, local_files_only=True)
            wanted = getattr(torch, dtype or facts.dtype)
            options: dict[str, Any] = {"variant": source.variant, "use_safetensors": True, "local_files_only": True}
            # Naming the attention keeps a config.json from naming one whose code would be fetched.
            options |= {"dtype": wanted, "attn_implementation": "sdpa"} if facts.library == "transformers" else {
                "torch_dtype": wanted}
            model = kind.from_pretrained(folder, **options)
        return model.eval().requires_grad_(part == self.denoiser)

    def present(self, source: Source) -> dict[str, Part]:
        """The parts that this base has: all but optional ones that its model_index.json leaves out."""
        index = source.read_json("model_index.json")
        return {name: part for name, part in self.parts.items()
                if not part.optional or index.get(name) not in (None, [None, None])}

    def encoder_parts(self, source: Source) -> dict[str, tuple[str, ...]]:
        parts = self.present(source)
        return {"images": tuple(name for name, part in parts.items() if part.role == "images"),
                "texts": tuple(name for name, part in parts.items() if part.role in ("tokenizer", "texts"))}

    def pipeline(self, parts: dict[str, Any], source: Source, objective: Any) -> Any:
        """The family's first pipeline with its scheduler; no text encoders, no safety checker, no progress bar."""
        name, settings = self.scheduler(source, objective)
        library = importlib.import_module(self.parts[self.denoiser].library)
        with quiet():
            kind: Any = getattr(library, self.pipelines[0])
        scheduler = getattr(importlib.import_module("diffusers"), name)(**settings)
        absent = dict.fromkeys((*(n for n, part in self.parts.items() if part.role in ("tokenizer", "texts")),
                                *self.unused))
        present = {n: parts[n] for n, part in self.parts.items() if part.role in ("images", "denoiser")}
        pipeline = kind(**absent, **present, scheduler=scheduler, **self.index)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def pipeline_files(self, source: Source, objective: Any) -> dict[str, bytes | Path]:
        """model_index.json and scheduler written anew; frozen parts as they are, the variant dropped."""
        parts, (scheduler, settings) = self.present(source), self.scheduler(source, objective)
        index: dict[str, Any] = {"_class_name": self.pipelines[0], **self.index}
        index |= {name: [part.library, part.classes[0]] if name in parts else [None, None]
                  for name, part in self.parts.items()}
        index |= {part: [None, None] for part in self.unused}
        index["scheduler"] = ["diffusers", scheduler]
        found: dict[str, bytes | Path] = {
            "model_index.json": as_json(index),
            "scheduler/scheduler_config.json": as_json({"_class_name": scheduler, **settings})}
        # Whoever takes the pipeline as a base gets the base's suggestions; the objective was the run's to choose.
        found |= {name: as_json(source.read_json(name) | {"objective": {}})
                  for name in source.files() & {*SUGGESTED}}
        for name, part in parts.items():
            found |= _part_files(source, name, part)
        return dict(sorted(found.items()))

    def generate(self, pipeline: Any, conditions: Tensors, seed: int, *, size: tuple[int, int], steps: int,
                 guidance: float, negative: Tensors, between: Callable[[], None] = lambda: None) -> Image.Image:
        """One image; its latents are decoded outside of the pipeline, which would do it in the denoiser's type."""
        import torch

        latents = pipeline(
            **self.call(conditions, negative, guidance), width=size[0], height=size[1], num_inference_steps=steps,
            generator=torch.Generator("cpu").manual_seed(seed), output_type="latent",
            callback_on_step_end=lambda *_: between() or {}).images
        with torch.no_grad():
            pixels = self.decode_latents({"vae": pipeline.vae}, self.unpacked(latents, pipeline, size))
        return pipeline.image_processor.postprocess(pixels)[0]

    def _not_of_it(self, source: Source, pipeline: Any) -> Message:
        """Why a base with that pipeline is none of this family."""
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
            entry = index.get(name)
            if (not isinstance(entry, list) or len(entry) != 2 or entry[0] != part.library
                    or entry[1] not in part.classes):
                there = entry not in (None, [None, None])
                raise source.problem(
                    Message("model_index.json's {part} is {found}; only {library}'s {classes} is loaded", part=name,
                            found=str(entry)[:120], library=part.library, classes=" or ".join(part.classes)) if there
                    else Message("model_index.json's {part} is missing; only {library}'s {classes} is loaded",
                                 part=name, library=part.library, classes=" or ".join(part.classes)))
        foreign = [key for key, value in index.items()
                   if isinstance(value, list) and value != [None, None] and key not in (*self.parts, *self.unused)]
        if foreign:
            raise source.problem(Message("model_index.json lists parts this family does not know: {parts}",
                                         parts=", ".join(sorted(foreign))[:200]))
        return parts


# ---------------------------------------------------------------------------------------------------------- its files


def config_file(name: str, part: Part) -> str:
    """The JSON file in which a part says what it is."""
    special = {"tokenizer": "tokenizer_config.json", "scheduler": "scheduler_config.json"}
    return f"{name}/{special.get(part.role, 'config.json')}"


def weights_stem(part: Part) -> str:
    """The name of a part's weight file without what follows a dot."""
    return "model" if part.library == "transformers" else "diffusion_pytorch_model"


def weight_files(source: Source, name: str, part: Part) -> list[str]:
    """The safetensors files of one part in the source's variant, the index first when it is in shards.

    Raises BaseProblem saying which weights there are instead."""
    files, stem = source.files(), f"{name}/{weights_stem(part)}"
    v = f".{source.variant}" if source.variant else ""
    if f"{stem}{v}.safetensors" in files:
        return [f"{stem}{v}.safetensors"]
    index = f"{stem}.safetensors.index{v}.json"
    if index not in files:
        raise source.problem(_no_weights(files, name, weights_stem(part), source.variant))
    shards = source.read_json(index).get("weight_map")
    names = sorted(set(map(str, shards.values()))) if isinstance(shards, dict) else []
    for shard in names:
        if not re.fullmatch(r"[\w.-]+\.safetensors", shard) or f"{name}/{shard}" not in files:
            raise source.problem(Message("{index} names {name}, which is not in {part}/: the download or copy is "
                                         "incomplete, fetch it again", index=index, name=repr(shard[:80]), part=name))
    if not names:
        raise source.problem(Message("{index} names no files: fetch the base again", index=index))
    return [index, *(f"{name}/{shard}" for shard in names)]


def as_json(data: Any) -> bytes:
    """The contents of a JSON file."""
    return json.dumps(data, indent=2, sort_keys=True).encode() + b"\n"


def factor(config: dict[str, Any]) -> int:
    """By how much a VAE or a UNet halves and halves again the sides of its input."""
    blocks = config.get("block_out_channels")
    return 2 ** (min(len(blocks), 6) - 1) if isinstance(blocks, list) and blocks else 8


def _class_of(part: Part) -> Any:
    """The class that a part is loaded with."""
    if part.library == "diffusers":
        return lean.diffusers_model(part.classes[0])
    return getattr(importlib.import_module(part.library), part.classes[0])


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


def _check_config(source: Source, name: str, part: Part, found: dict[str, Any]) -> None:
    """No code of the base's own, no foreign class, nothing that the safetensors weights do not hold in full."""
    path = config_file(name, part)
    for key in ("auto_map", "custom_pipelines", "quantization_config"):
        if found.get(key):
            raise source.problem(
                Message("{path} has {key}: quantized weights cannot be trained in full; choose a base without it",
                        path=path, key=key) if "quant" in key else
                Message("{path} has {key}: a base's own code is never run; choose a base without it", path=path,
                        key=key))
    named = found.get("tokenizer_class") if part.role == "tokenizer" else found.get("_class_name")
    if part.role == "texts":
        named = part.classes[0] if found.get("model_type") in part.model_types else found.get("model_type")
    if named is not None and named not in part.classes:
        raise source.problem(Message("{path} names {found}; only {classes} is loaded", path=path,
                                     found=repr(str(named)[:80]), classes=" or ".join(part.classes)))


def _check_tokenizer(source: Source, name: str, files: frozenset[str]) -> None:
    if f"{name}/tokenizer.json" not in files and not {f"{name}/vocab.json", f"{name}/merges.txt"} <= files:
        raise source.problem(Message("{part}/ has neither tokenizer.json nor vocab.json with merges.txt", part=name))


def _no_weights(files: frozenset[str], part: str, weights: str, variant: str | None) -> Message:
    """Why `part` has no weights to load, and what there is."""
    stem = re.escape(weights)
    pattern = re.compile(rf"{part}/{stem}(?:{SHARD})?(?:\.([A-Za-z]\w*))?(?:{SHARD})?\.safetensors")
    variants = {m[1] for name in files if (m := pattern.fullmatch(name))}
    if variants:
        plain = Message("no variant (leave it empty)")
        there = plain if variants == {None} else ", ".join(sorted(v or plain for v in variants))
        if variant:
            return Message("{part}/ has no variant {variant}; there is: {there}", part=part, variant=repr(variant),
                           there=there)
        return Message("{part}/ has no weights without a variant; there is: {there}", part=part, there=there)
    if any(re.fullmatch(rf"{part}/.*\.(bin|ckpt|pt|pth)", name) for name in files):
        return Message("{part}/ has pickle weights (.bin) only, which can run code when they are read, so they are "
                       "refused: choose a version with .safetensors, or convert it where you trust it (diffusers: "
                       "pipeline.save_pretrained(folder, safe_serialization=True))", part=part)
    return Message("{part}/ has no weights ({file}): choose a complete diffusers folder", part=part,
                   file=f"{weights}.safetensors")


def _part_files(source: Source, name: str, part: Part) -> dict[str, bytes | Path]:
    """A frozen part's files in a pipeline; of the denoiser and the scheduler, which are written anew, none."""
    if part.role == "tokenizer":
        return {path: source.folder / path for path in source.files()
                if path.startswith(f"{name}/") and re.fullmatch(TOKENIZER_FILES, path.partition("/")[2])}
    if part.role not in ("images", "texts"):
        return {}
    file = config_file(name, part)
    found: dict[str, bytes | Path] = {file: source.folder / file}
    if part.library == "transformers":
        # transformers loads in the type its config names; with half of it beside an fp32 denoiser nothing can be drawn.
        text = {key: value for key, value in source.read_json(file).items() if key != "torch_dtype"}
        found[file] = as_json({**text, "dtype": "float32"})
    return found | _without_variant(source, name, part)


def _without_variant(source: Source, name: str, part: Part) -> dict[str, bytes | Path]:
    """A part's weight files under their names without the variant, so that a plain from_pretrained finds them."""
    v = f".{source.variant}" if source.variant else ""
    names = weight_files(source, name, part)
    if not v:
        return {path: source.folder / path for path in names}
    found: dict[str, bytes | Path] = {path.replace(v, "", 1): source.folder / path for path in names}
    if names[0].endswith(".json"):
        index = source.read_json(names[0])
        index["weight_map"] = {key: shard.replace(v, "", 1) for key, shard in index["weight_map"].items()}
        found[names[0].replace(v, "", 1)] = as_json(index)
    return found
