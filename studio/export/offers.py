"""What there is to take away: for each kept checkpoint, raw and averaged, the files in every form and precision."""

from __future__ import annotations

import itertools
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from studio import config as config_
from studio import families, storage, tensors
from studio.bases import source
from studio.export import lora_metadata
from studio.families import Source
from studio.folders import work
from studio.folders.runs import Run
from studio.messages import JsonObject
from studio.storage import zips
from studio.tensors import SafetensorsFile, Tensor

WEIGHTS = ("ema", "raw")
PRECISIONS = {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}
WHOLE_KINDS = PIPELINE, SINGLE = ("pipeline", "single")  # downloads that hold a whole model
SETTINGS_KEY = "studio_config"  # where the metadata of a weight file holds the settings
_OF_EMA = {"decay", "min_decay", "optimization_step", "update_after_step", "use_ema_warmup", "inv_gamma", "power"}


@dataclass(frozen=True)
class Item:
    """One download: its path in the run's listing, exact size in bytes, kind, which weights of which step, and the
    programs that take it as it is."""

    path: str
    size: int
    kind: str  # the name of a part, single (one file for ComfyUI and A1111), pipeline, lora, lora-kohya, ...
    weights: str = ""
    step: int | None = None
    precision: str = "fp32"
    programs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Piece:
    """One file of a download: contents written anew, a file as it is, or a recipe for one.

    `sizes` are the files it is read from with the sizes they must have; `crc32` and `sha256` come from a manifest.
    """

    name: str
    data: bytes | Path | SafetensorsFile
    size: int
    sizes: dict[Path, int] = field(default_factory=dict)
    crc32: int | None = None
    sha256: str | None = None


Offer = tuple[Item, list[Piece]]


def offers(run: Run) -> Iterator[Offer]:
    """Every download with the files it is made of."""
    config = run.config()
    for folder, manifest in run.valid_checkpoints():
        for weights in WEIGHTS:
            yield from _Weights(run, config, folder, manifest, weights).offers()
    samples = [_plain(path.name, path) for path in sorted(run.samples.glob("*.webp"))]
    if samples:
        whole = _in_folder(f"{slug(run)}-samples", samples)
        yield Item("samples.zip", _zip_size(whole), "samples"), whole
    settings = _plain("config.json", work.as_json(run.settings()))  # with what was changed on the way
    yield Item("config.json", settings.size, "config"), [settings]


def holds_base(path: str) -> bool:
    """Whether a download has files of the base in it, as a pipeline and one file for other programs have."""
    return path.rpartition("/")[2].startswith(("pipeline-", "model"))


def part_of(piece: Piece) -> str:
    """The part of the model a file belongs to: the folder it lies in."""
    return piece.name.partition("/")[0]


def slug(run: Run) -> str:
    """The run's name as a file name everywhere."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", str(run.record().get("name", ""))).strip("-")[:60] or "run"


class _Weights:
    """The raw or the averaged weights of one checkpoint, in every form."""

    def __init__(self, run: Run, config: config_.Config, folder: Path, manifest: Mapping[str, Any], weights: str):
        self.run = run
        self.config = config
        self.folder = folder
        self.manifest = manifest
        self.weights = weights
        self.family = source.family_of(config.model)
        self.step = int(folder.name.rpartition("-")[2])
        self.base = source.here(config.model)
        self._layout: dict[str, Tensor] | None = None  # the same in every precision

    def offers(self) -> Iterator[Offer]:
        """Every form in every precision."""
        parts = (self.family.denoiser, *self.family.text_encoders)
        trained = list(itertools.chain.from_iterable(map(self._pieces, parts)))
        weights = list(filter(_is_weights, trained))
        sharded = len(set(map(part_of, weights))) < len(weights)
        for precision in PRECISIONS:
            yield from self._lora(precision)
            if not sharded:
                for piece in weights:
                    yield self._part(piece, precision)
            if trained and self.base:
                yield from self._pipeline(trained, precision)
            if weights and not sharded and self.base:
                yield from self._single(weights, precision)

    def _item(self, path: str, size: int, kind: str, precision: str) -> Item:
        return Item(f"{self.folder.name}/{path}", size, kind, self.weights, self.step, precision,
                    self.family.programs.get(kind, ()))

    def _part(self, piece: Piece, precision: str) -> Offer:
        """One trained part by itself: the denoiser, or a text encoder."""
        name = part_of(piece)
        file = self._in(piece, precision, self._metadata(piece, precision))
        return self._item(f"{self.weights}/{name}{mark(precision)}.safetensors", file.size, name, precision), [file]

    def _pipeline(self, trained: list[Piece], precision: str) -> Iterator[Offer]:
        """A diffusers folder in a zip, unless it is asked for in another precision and a file cannot be read."""
        if precision != "fp32" and None in map(_tensors, filter(_is_weights, trained)):
            return
        pieces = [*self._rest(trained), *map(_without_ema, trained)]
        files = [self._in(piece, precision, None) for piece in pieces]
        whole = _in_folder(f"{slug(self.run)}-step{self.step}-{self.weights}{mark(precision)}", files)
        path = f"pipeline-{self.weights}{mark(precision)}.zip"
        yield self._item(path, _zip_size(whole), PIPELINE, precision), whole

    def _rest(self, trained: list[Piece]) -> list[Piece]:
        """What a pipeline has from the base: the parts that did not learn."""
        learnt = set(map(part_of, trained))
        base = _base_pieces(self.family, self.config, self.base)
        return [piece for piece in base if part_of(piece) not in learnt]

    def _single(self, weights: list[Piece], precision: str) -> Iterator[Offer]:
        """The whole model as one file, when the family has such a layout and every file can be read."""
        pieces = [*self._rest(weights), *weights]
        if self._layout is None:
            self._layout = self._single_layout(pieces)
        if self._layout:
            recipe = tensors.recipe(self._layout, PRECISIONS[precision], self._metadata(weights[0], precision))
            sizes: dict[Path, int] = {}
            for piece in pieces:
                sizes |= piece.sizes
            file = Piece("model.safetensors", recipe, recipe.size, sizes)
            path = f"{self.weights}/model{mark(precision)}.safetensors"
            yield self._item(path, file.size, SINGLE, precision), [file]

    def _single_layout(self, pieces: list[Piece]) -> dict[str, Tensor]:
        """The tensors of the one file; none where a file cannot be read, or a base of an odd shape has no such form."""
        parts: dict[str, dict[str, Tensor]] = {}
        for piece in filter(_is_weights, pieces):
            tensors_of = _tensors(piece)
            if tensors_of is None:
                return {}
            parts.setdefault(part_of(piece), {}).update(tensors_of)
        assert self.base is not None
        try:
            return self.family.single_file(self.base, parts)
        except (TypeError, ValueError, KeyError, AttributeError):  # of a config that no published model has
            return {}

    def _lora(self, precision: str) -> Iterator[Offer]:
        """A LoRA as other programs read it, in each of the family's forms. It is used with its base: there is no
        pipeline. What is kept for a resume alone gives its name to the form that takes its place."""
        part = f"{self.family.denoiser}_lora"
        pieces = {piece.name: piece for piece in self._pieces(part)}
        for kind, name in self.family.lora_kinds.items():
            piece = pieces.get(f"{part}/{name}")
            if piece is None:
                continue
            file = self._in(piece, precision, self._metadata(piece, precision))
            if kind == "lora":
                file = replace(file, name=f"{part}/{families.LORA_WEIGHTS}")
            path = f"lora-{self.weights}{kind.removeprefix('lora')}{mark(precision)}.safetensors"
            yield self._item(path, file.size, kind, precision), [file]

    def _pieces(self, part: str) -> list[Piece]:
        """The files of one part of the checkpoint, by their place in a pipeline."""
        folder = f"{part}_ema" if self.weights == "ema" else part
        pieces: list[Piece] = []
        for path, facts in sorted(self.manifest["files"].items()):
            if path.startswith(f"{folder}/"):
                file = self.folder / path
                pieces.append(Piece(f"{part}/{path.partition('/')[2]}", file, facts["size"], {file: facts["size"]},
                                    facts["crc32"], facts["sha256"]))
        return pieces

    def _in(self, piece: Piece, precision: str, metadata: dict[str, str] | None) -> Piece:
        """A file in another precision; in fp32 with `metadata` alone, and without that as it is."""
        facts = self.family.parts.get(part_of(piece))
        if facts and facts.library == "transformers" and piece.name.endswith("/config.json"):
            names = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
            part_config = _json(piece)
            if part_config is None:
                return piece
            return _written(piece.name, {**part_config, "dtype": names[precision]})
        if not _is_weights(piece):
            return piece
        known = _tensors(piece)
        if known is None or (precision == "fp32" and metadata is None):
            return piece
        recipe = tensors.recipe(known, PRECISIONS[precision], metadata or {"format": "pt"})
        return replace(piece, data=recipe, size=recipe.size, crc32=None, sha256=None)

    def _metadata(self, piece: Piece, precision: str) -> dict[str, str]:
        """What the file says of itself: the run's settings, the fingerprint of its data, and the common names of both.

        A base that is a folder of this machine goes by its last name alone.
        """
        config = self.config
        record = self.run.record()
        settings = config_.dump(config)
        if "/" in settings["model"]["base"] and Path(settings["model"]["base"]).is_absolute():
            settings["model"]["base"] = Path(settings["model"]["base"]).name
        dataset = record.get("dataset") or {}
        words = {
            "format": "pt", SETTINGS_KEY: json.dumps(settings),
            "studio_dataset": json.dumps({"fingerprint": dataset.get("fingerprint"), "count": dataset.get("count")}),
            "studio_step": str(self.step), "studio_weights": self.weights,
            "modelspec.sai_model_spec": "1.0.0", "modelspec.title": str(record.get("name", "")),
            "modelspec.architecture": self._architecture(),
            "modelspec.resolution": f"{config.data.resolution}x{config.data.resolution}"}
        for key, value in self.family.modelspec(config.objective).items():
            words[f"modelspec.{key}"] = value
        of_file = _metadata_of(piece)
        if config.model.method == "lora":
            words |= lora_metadata.lora(config, alpha=_alpha(of_file, self.family.denoiser) or config.lora.alpha,
                                        name=str(record.get("name", "")), step=self.step,
                                        base=settings["model"]["base"], rows=self.run.rows_file)
            if self.base:
                words |= self.family.lora_words(self.base, config.objective)
        return {**of_file, **words}

    def _architecture(self) -> str:
        """ModelSpec's name of what the file is: of the base's kind, and of a LoRA for it with "/lora"."""
        names: list[str] = []
        if self.base:
            names.append(self.family.architecture(self.base))
        if self.config.model.method == "lora":
            names.append("lora")
        return "/".join(filter(None, names))


# ------------------------------------------------------------------------------------------------------- their files


def base_of(run: Run) -> Source | None:
    """The files of a run's base, where they are here."""
    return source.here(run.config().model)


def _base_pieces(family: families.Family, config: config_.Config, base: Source | None) -> list[Piece]:
    """The pipeline without its denoiser; nothing when the base's files are gone."""
    if base is None:
        return []
    try:
        return [_plain(name, data) for name, data in family.pipeline_files(base, config.objective).items()]
    except (families.BaseProblem, FileNotFoundError):
        return []


def _without_ema(piece: Piece) -> Piece:
    """A model's config.json without what only the training's running average reads: diffusers warns about it."""
    if not piece.name.endswith("/config.json"):
        return piece
    part_config = _json(piece)
    if part_config is None or _OF_EMA.isdisjoint(part_config):
        return piece
    return _written(piece.name, {key: value for key, value in part_config.items() if key not in _OF_EMA})


def _is_weights(piece: Piece) -> bool:
    return piece.name.endswith(".safetensors")


def _json(piece: Piece) -> JsonObject | None:
    """The object in a JSON file; None for one that cannot be read: it spoils this download and not the list."""
    if isinstance(piece.data, SafetensorsFile):
        return None
    try:
        data = json.loads(piece.data) if isinstance(piece.data, bytes) else storage.read_json(piece.data)
    except (storage.Corrupt, OSError):
        return None
    return data if isinstance(data, dict) else None


def _tensors(piece: Piece) -> dict[str, Tensor] | None:
    """The tensors of a weight file; None for a file that cannot be read: it spoils this download and not the list."""
    tensors_and_metadata = _header(piece)
    if tensors_and_metadata is None:
        return None
    return tensors_and_metadata[0]


def _metadata_of(piece: Piece) -> dict[str, str]:
    """What a weight file of a checkpoint says of itself."""
    tensors_and_metadata = _header(piece)
    if tensors_and_metadata is None:
        return {}
    return tensors_and_metadata[1]


def _alpha(metadata: dict[str, str], part: str) -> float | None:
    """The alpha that a LoRA's tensors are read with, where its file says so: the rank where it is folded into them."""
    try:
        alpha = json.loads(metadata.get("lora_adapter_metadata", "{}")).get(f"{part}.lora_alpha")
    except (ValueError, RecursionError, AttributeError):  # of a bundle that came from elsewhere
        return None
    if isinstance(alpha, int | float):
        return float(alpha)
    return None


def _header(piece: Piece) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """The tensors and the metadata of a weight file; None for one that cannot be read."""
    if not isinstance(piece.data, Path):
        return None
    try:
        return _headers(piece.data, storage.stamp(piece.data))
    except (tensors.NotSafetensors, OSError):
        return None


@lru_cache(maxsize=64)
def _headers(file: Path, stamp: object) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Of a run's own checkpoint, which was made here or looked at when it came, or of its base."""
    if file.parents[2].name == "checkpoints":
        return tensors.headers(file)
    return families.headers(file), {}


def _plain(name: str, data: bytes | Path) -> Piece:
    if isinstance(data, bytes):
        return Piece(name, data, len(data), {}, zlib.crc32(data))
    size = data.stat().st_size
    return Piece(name, data, size, {data: size})


def _written(name: str, data: JsonObject) -> Piece:
    return _plain(name, json.dumps(data, indent=2, sort_keys=True).encode() + b"\n")


def _in_folder(top: str, pieces: list[Piece]) -> list[Piece]:
    return [replace(piece, name=f"{top}/{piece.name}") for piece in pieces]


def _zip_size(pieces: list[Piece]) -> int:
    return zips.stored_size([zips.Member(piece.name, piece.size, None) for piece in pieces])


def mark(precision: str) -> str:
    """What a precision puts into a file's name: nothing of fp32, "-fp16"."""
    return "" if precision == "fp32" else f"-{precision}"
