"""What there is to take away: for each kept checkpoint, raw and averaged, the files in every form and precision."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from studio import config as config_
from studio import families, storage, tensors
from studio.bases import source
from studio.export import described
from studio.families import Source
from studio.folders import work
from studio.folders.runs import Run
from studio.storage import zips
from studio.tensors import Recipe, Tensor

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
    data: bytes | Path | Recipe
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
    found = _plain("config.json", work.as_json(run.settings()))  # with what was changed on the way
    yield Item("config.json", found.size, "config"), [found]


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

    def __init__(self, run: Run, config: config_.Config, folder: Path, manifest: storage.Manifest, weights: str):
        self.run, self.config, self.folder, self.manifest, self.weights = run, config, folder, manifest, weights
        self.family = source.family_of(config.model)
        self.step = int(folder.name.rpartition("-")[2])
        self.base = source.here(config.model)
        self._layout: dict[str, Tensor] | None = None  # the same in every precision

    def offers(self) -> Iterator[Offer]:
        own = [piece for part in (self.family.denoiser, *self.family.text_encoders) for piece in self._pieces(part)]
        weights = [piece for piece in own if piece.name.endswith(".safetensors")]
        single = len({part_of(piece) for piece in weights}) == len(weights) > 0
        for precision in PRECISIONS:
            yield from self._lora(precision)
            for piece in weights if single else ():
                yield from self._part(piece, precision)
            if own and self.base:
                yield from self._pipeline(own, precision)
            if single and self.base:
                yield from self._single(weights, precision)

    def _item(self, path: str, size: int, kind: str, precision: str) -> Item:
        return Item(f"{self.folder.name}/{path}", size, kind, self.weights, self.step, precision,
                    self.family.programs.get(kind, ()))

    def _part(self, piece: Piece, precision: str) -> Iterator[Offer]:
        """One trained part by itself: the denoiser, or a text encoder."""
        made, name = self._in(piece, precision, self._metadata(piece, precision)), part_of(piece)
        yield self._item(f"{self.weights}/{name}{_mark(precision)}.safetensors", made.size, name, precision), [made]

    def _pipeline(self, own: list[Piece], precision: str) -> Iterator[Offer]:
        if precision != "fp32" and any(_tensors(p) is None for p in own if p.name.endswith(".safetensors")):
            return
        pieces = [*self._rest(own), *map(_without_ema, own)]
        made = [self._in(piece, precision, None) for piece in pieces]
        whole = _in_folder(f"{slug(self.run)}-step{self.step}-{self.weights}{_mark(precision)}", made)
        path = f"pipeline-{self.weights}{_mark(precision)}.zip"
        yield self._item(path, _zip_size(whole), PIPELINE, precision), whole

    def _rest(self, own: list[Piece]) -> list[Piece]:
        """What a pipeline has from the base: the parts that did not learn."""
        learnt = {part_of(piece) for piece in own}
        return [p for p in _base_pieces(self.family, self.config, self.base) if part_of(p) not in learnt]

    def _single(self, own: list[Piece], precision: str) -> Iterator[Offer]:
        """The whole model as one file, when the family has such a layout and every file can be read."""
        pieces = [*self._rest(own), *own]
        if self._layout is None:
            self._layout = self._single_layout(pieces)
        if layout := self._layout:
            recipe = tensors.recipe(layout, PRECISIONS[precision], self._metadata(own[0], precision))
            sizes = {file: size for one in pieces for file, size in one.sizes.items()}
            made = Piece("model.safetensors", recipe, recipe.size, sizes)
            path = f"{self.weights}/model{_mark(precision)}.safetensors"
            yield self._item(path, made.size, SINGLE, precision), [made]

    def _single_layout(self, pieces: list[Piece]) -> dict[str, Tensor]:
        """The tensors of the one file; none where a file cannot be read, or a base of an odd shape has no such form."""
        parts: dict[str, dict[str, Tensor]] = {}
        for one in pieces:
            if one.name.endswith(".safetensors"):
                tensors_of = _tensors(one)
                if tensors_of is None:
                    return {}
                parts.setdefault(part_of(one), {}).update(tensors_of)
        assert self.base is not None
        try:
            return self.family.single_file(self.base, parts)
        except (TypeError, ValueError, KeyError, AttributeError):  # of a config that no published model has
            return {}

    def _lora(self, precision: str) -> Iterator[Offer]:
        """A LoRA as other programs read it, in each of the family's forms. It is used with its base: there is no
        pipeline. What is kept for a resume alone gives its name to the form that takes its place."""
        part = f"{self.family.denoiser}_lora"
        for kind, name in self.family.lora_kinds.items():
            for piece in self._pieces(part):
                if piece.name == f"{part}/{name}":
                    made = self._in(piece, precision, self._metadata(piece, precision))
                    if kind == "lora":
                        made = replace(made, name=f"{part}/{families.LORA_WEIGHTS}")
                    path = f"lora-{self.weights}{kind.removeprefix('lora')}{_mark(precision)}.safetensors"
                    yield self._item(path, made.size, kind, precision), [made]

    def _pieces(self, part: str) -> list[Piece]:
        """The files of one part of the checkpoint, by their place in a pipeline."""
        folder = part + ("_ema" if self.weights == "ema" else "")
        return [Piece(f"{part}/{path.partition('/')[2]}", self.folder / path, facts["size"],
                      {self.folder / path: facts["size"]}, facts["crc32"], facts["sha256"])
                for path, facts in sorted(self.manifest["files"].items()) if path.startswith(f"{folder}/")]

    def _in(self, piece: Piece, precision: str, metadata: dict[str, str] | None) -> Piece:
        """A file in another precision; in fp32 with `metadata` alone, and without that as it is."""
        facts = self.family.parts.get(part_of(piece))
        if facts and facts.library == "transformers" and piece.name.endswith("/config.json"):
            names = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
            known = _json(piece)
            return piece if known is None else _written(piece.name, {**known, "dtype": names[precision]})
        found = _tensors(piece) if piece.name.endswith(".safetensors") else None
        if found is None or (precision == "fp32" and metadata is None):
            return piece
        recipe = tensors.recipe(found, PRECISIONS[precision], metadata or {"format": "pt"})
        return replace(piece, data=recipe, size=recipe.size, crc32=None, sha256=None)

    def _metadata(self, piece: Piece, precision: str) -> dict[str, str]:
        """What the file says of itself: the run's settings, the fingerprint of its data, and the common names of both.

        A base that is a folder of this machine goes by its last name alone.
        """
        config, record = self.config, self.run.record()
        settings = config_.dump(config)
        if "/" in settings["model"]["base"] and Path(settings["model"]["base"]).is_absolute():
            settings["model"]["base"] = Path(settings["model"]["base"]).name
        dataset = {key: (record.get("dataset") or {}).get(key) for key in ("fingerprint", "count")}
        method = "lora" if config.model.method == "lora" else None
        architecture = self.family.architecture(self.base) if self.base else ""
        found = {
            "format": "pt", SETTINGS_KEY: json.dumps(settings), "studio_dataset": json.dumps(dataset),
            "studio_step": str(self.step), "studio_weights": self.weights,
            "modelspec.sai_model_spec": "1.0.0", "modelspec.title": str(record.get("name", "")),
            "modelspec.architecture": "/".join(filter(None, (architecture, method))),
            "modelspec.resolution": f"{config.data.resolution}x{config.data.resolution}",
            **{f"modelspec.{key}": value for key, value in self.family.modelspec(config.objective).items()},
        }
        own = _metadata_of(piece)
        if method:
            found |= described.lora(config, alpha=_alpha(own, self.family.denoiser) or config.lora.alpha,
                                    name=str(record.get("name", "")), step=self.step,
                                    base=settings["model"]["base"], rows=self.run.rows_file)
            found |= self.family.lora_words(self.base, config.objective) if self.base else {}
        return {**own, **found}


# ------------------------------------------------------------------------------------------------------- their files


def base_of(run: Run) -> Source | None:
    """The files of a run's base, where they are here."""
    return source.here(run.config().model)


def _base_pieces(family: families.Family, config: config_.Config, base: Source | None) -> list[Piece]:
    """The pipeline without its denoiser; nothing when the base's files are gone."""
    try:
        files = family.pipeline_files(base, config.objective) if base else {}
        return [_plain(name, data) for name, data in files.items()]
    except (families.BaseProblem, FileNotFoundError):
        return []


def _without_ema(piece: Piece) -> Piece:
    """A model's config.json without what only the training's running average reads: diffusers warns about it."""
    found = _json(piece) if piece.name.endswith("/config.json") else None
    if found is None or not _OF_EMA & found.keys():
        return piece
    return _written(piece.name, {key: value for key, value in found.items() if key not in _OF_EMA})


def _json(piece: Piece) -> dict[str, Any] | None:
    """The object in a JSON file; None for one that cannot be read: it spoils this download and not the list."""
    if isinstance(piece.data, Recipe):
        return None
    try:
        found = json.loads(piece.data) if isinstance(piece.data, bytes) else storage.read_json(piece.data)
    except (storage.Corrupt, OSError):
        return None
    return found if isinstance(found, dict) else None


def _tensors(piece: Piece) -> dict[str, Tensor] | None:
    """The tensors of a weight file; None for a file that cannot be read: it spoils this download and not the list."""
    header = _header(piece)
    return header[0] if header else None


def _metadata_of(piece: Piece) -> dict[str, str]:
    """What a weight file of a checkpoint says of itself."""
    header = _header(piece)
    return header[1] if header else {}


def _alpha(metadata: dict[str, str], part: str) -> float | None:
    """The alpha that a LoRA's tensors are read with, where its file says so: the rank where it is folded into them."""
    try:
        alpha = json.loads(metadata.get("lora_adapter_metadata", "{}")).get(f"{part}.lora_alpha")
    except (ValueError, RecursionError, AttributeError):  # of a bundle that came from elsewhere
        return None
    return float(alpha) if isinstance(alpha, int | float) else None


def _header(piece: Piece) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    if not isinstance(piece.data, Path):
        return None
    try:
        return _headers(piece.data, storage.stamp(piece.data))
    except (tensors.NotSafetensors, OSError):
        return None


@lru_cache(maxsize=64)
def _headers(file: Path, stamp: Any) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Of a run's own checkpoint, which was made here or looked at when it came, or of its base."""
    return tensors.headers(file) if file.parents[2].name == "checkpoints" else (families.headers(file), {})


def _plain(name: str, data: bytes | Path) -> Piece:
    if isinstance(data, bytes):
        return Piece(name, data, len(data), {}, zlib.crc32(data))
    size = data.stat().st_size
    return Piece(name, data, size, {data: size})


def _written(name: str, data: dict[str, Any]) -> Piece:
    return _plain(name, json.dumps(data, indent=2, sort_keys=True).encode() + b"\n")


def _in_folder(top: str, pieces: list[Piece]) -> list[Piece]:
    return [replace(piece, name=f"{top}/{piece.name}") for piece in pieces]


def _zip_size(pieces: list[Piece]) -> int:
    return zips.stored_size([zips.Member(p.name, p.size, None) for p in pieces])


def _mark(precision: str) -> str:
    return "" if precision == "fp32" else f"-{precision}"
