"""What a person takes away from a run: weights and whole pipelines of every kept checkpoint, assembled while sent."""

from __future__ import annotations

import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio import config as config_
from studio import families, storage, zips
from studio.families import source
from studio.runs import Run

WEIGHTS = ("ema", "raw")
LORAS = {"lora": "pytorch_lora_weights.safetensors", "lora-kohya": "kohya.safetensors"}  # kind -> file
_BYTES = "application/octet-stream"
_OF_EMA = {"decay", "min_decay", "optimization_step", "update_after_step", "use_ema_warmup", "inv_gamma", "power"}


@dataclass(frozen=True)
class Item:
    """One download: its path in the run's listing, exact size in bytes, kind, and which weights of which step."""

    path: str
    size: int
    kind: str  # unet, transformer, pipeline, lora, lora-kohya, samples, config
    weights: str = ""
    step: int | None = None


class Download:
    """An open download; its bytes stay the same until `close`, whatever is deleted meanwhile."""

    def __init__(self, filename: str, media_type: str, parts: list[bytes | zips.Slice], etag: str | None,
                 holds: ExitStack):
        self._bytes = zips.Spliced(parts)
        self._holds = holds
        self.filename, self.media_type = filename, media_type
        self.size = self._bytes.size
        self.etag = f'"{etag or self._bytes.digest()}"'

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        """Bytes [start, stop) in blocks of at most 1 MiB."""
        return self._bytes.read(start, stop)

    def close(self) -> None:
        """Close the files and give the checkpoint free for retention."""
        self._holds.close()

    def __enter__(self) -> Download:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class _Piece:
    """One file of a download: contents written anew, or a file with its size and (from a manifest) fingerprint."""

    name: str
    data: bytes | Path
    size: int
    crc32: int | None
    sha256: str | None


def listing(run: Run) -> list[Item]:
    """Everything that can be downloaded now, newest checkpoint first. Reads no weights."""
    return [item for item, _ in _offers(run)]


def open_item(run: Run, path: str) -> Download:
    """Open one path of the listing, holding its checkpoint. Raises KeyError for a path that is not there (any more),
    storage.Corrupt for a file that differs from its manifest."""
    for item, pieces in _offers(run):
        if item.path == path:
            with ExitStack() as holds:
                if item.step is not None:
                    lease = storage.Lock(run.checkpoints / f"checkpoint-{item.step}.lease")
                    if not lease.acquire(shared=True):
                        break
                    holds.callback(lease.release)
                return _download(run, item, pieces, holds)
    raise KeyError(path)


# ---------------------------------------------------------------------------------------------------- what there is


def _offers(run: Run) -> Iterator[tuple[Item, list[_Piece]]]:
    """Every download with the files it is made of."""
    config = run.config()
    family = families.get(config.model.family)
    base = _base_pieces(family, config)
    for folder, manifest in run.valid_checkpoints():
        step = int(folder.name.rpartition("-")[2])
        for weights in WEIGHTS:
            part = family.denoiser + ("_ema" if weights == "ema" else "")
            pieces = _checkpoint_pieces(folder, manifest, part, family.denoiser)
            yield from _lora_offers(folder, manifest, family, weights, step)
            single = [piece for piece in pieces if piece.name.endswith(".safetensors")]
            if len(single) == 1:
                path = f"{folder.name}/{weights}/{family.denoiser}.safetensors"
                yield Item(path, single[0].size, family.denoiser, weights, step), single
            if pieces and base:
                plain = [_without_ema(piece) for piece in pieces]
                whole = _in_folder(f"{_slug(run)}-step{step}-{weights}", [*base, *plain])
                yield Item(f"{folder.name}/pipeline-{weights}.zip", _zip_size(whole), "pipeline", weights, step), whole
    samples = [_piece(path.name, path) for path in sorted(run.samples.glob("*.webp"))]
    if samples:
        whole = _in_folder(f"{_slug(run)}-samples", samples)
        yield Item("samples.zip", _zip_size(whole), "samples"), whole
    found = _piece("config.json", run.config_file)
    yield Item("config.json", found.size, "config"), [found]


def _lora_offers(folder: Path, manifest: dict[str, Any], family: families.Family, weights: str,
                 step: int) -> Iterator[tuple[Item, list[_Piece]]]:
    """A LoRA as diffusers reads it, and as ComfyUI and A1111 do. It is used with its base, so there is no pipeline."""
    part = f"{family.denoiser}_lora" + ("_ema" if weights == "ema" else "")
    for kind, name in LORAS.items():
        for piece in _checkpoint_pieces(folder, manifest, part, part):
            if piece.name == f"{part}/{name}":
                path = f"{folder.name}/lora-{weights}{kind.removeprefix('lora')}.safetensors"
                yield Item(path, piece.size, kind, weights, step), [piece]


def _base_pieces(family: families.Family, config: config_.Config) -> list[_Piece]:
    """The pipeline without its denoiser; nothing when the base's files are gone."""
    model, prediction_type = config.model, config.objective.prediction_type
    try:
        base = source.locate(model.base, model.revision, model.variant)
        files = family.pipeline_files(base, prediction_type) if base and prediction_type else {}
        return [_piece(name, data) for name, data in files.items()]
    except (families.BaseProblem, FileNotFoundError):
        return []


def _checkpoint_pieces(folder: Path, manifest: dict[str, Any], part: str, name: str) -> list[_Piece]:
    return [_Piece(f"{name}/{path.partition('/')[2]}", folder / path, facts["size"], facts["crc32"], facts["sha256"])
            for path, facts in sorted(manifest["files"].items()) if path.startswith(f"{part}/")]


def _without_ema(piece: _Piece) -> _Piece:
    """A model's config.json without what only the training's running average reads: diffusers warns about it."""
    if not (isinstance(piece.data, Path) and piece.name.endswith("/config.json")):
        return piece
    try:
        found = storage.read_json(piece.data)
    except storage.Corrupt:
        return piece  # taken away as it is; it spoils this download and not the list
    if not isinstance(found, dict) or not _OF_EMA & found.keys():
        return piece
    kept = {key: value for key, value in found.items() if key not in _OF_EMA}
    return _piece(piece.name, json.dumps(kept, indent=2).encode() + b"\n")


def _piece(name: str, data: bytes | Path) -> _Piece:
    if isinstance(data, bytes):
        return _Piece(name, data, len(data), zlib.crc32(data), None)
    return _Piece(name, data, data.stat().st_size, None, None)


def _in_folder(top: str, pieces: list[_Piece]) -> list[_Piece]:
    return [_Piece(f"{top}/{p.name}", p.data, p.size, p.crc32, p.sha256) for p in pieces]


def _zip_size(pieces: list[_Piece]) -> int:
    return zips.stored_size([zips.Member(p.name, p.size, None) for p in pieces])


def _slug(run: Run) -> str:
    """The run's name as a file name everywhere."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", str(run.record().get("name", ""))).strip("-")[:60] or "run"


# ---------------------------------------------------------------------------------------------------------- opening it


def _download(run: Run, item: Item, pieces: list[_Piece], holds: ExitStack) -> Download:
    """Every file opened before the first byte is sent; `holds` is handed on to the download."""
    contents = [_opened(piece, item.path, holds) for piece in pieces]
    if not item.path.endswith(".zip"):
        name, kind = f"{_slug(run)}-{item.path}", "application/json"
        if item.step is not None:
            name, kind = f"{_slug(run)}-step{item.step}-{item.weights}-{item.kind}.safetensors", _BYTES
        return Download(name, kind, contents, pieces[0].sha256 or _sha256(contents[0]), holds.pop_all())
    cache = run.path.parent.parent / "cache" / "crc32"
    crcs = [piece.crc32 if piece.crc32 is not None else _crc32(content, cache)
            for piece, content in zip(pieces, contents, strict=True)]
    members = [zips.Member(piece.name, piece.size, crc) for piece, crc in zip(pieces, crcs, strict=True)]
    layout = zips.stored_zip(members)
    parts = [contents[part] if isinstance(part, int) else part for part in layout]
    top = pieces[0].name.partition("/")[0]
    return Download(f"{top}.zip", "application/zip", parts, None, holds.pop_all())


def _opened(piece: _Piece, path: str, holds: ExitStack) -> bytes | zips.Slice:
    if isinstance(piece.data, bytes):
        return piece.data
    try:
        handle = os.open(piece.data, os.O_RDONLY)
    except FileNotFoundError:
        raise KeyError(path) from None
    holds.callback(os.close, handle)
    size = os.fstat(handle).st_size
    if size != piece.size:
        raise storage.Corrupt(f"{piece.name} has {size} bytes instead of {piece.size}: it was changed on disk")
    return zips.Slice(handle, size)


def _sha256(content: bytes | zips.Slice) -> str:
    digest, spliced = hashlib.sha256(), zips.Spliced([content])
    for block in spliced.read(0, spliced.size):
        digest.update(block)
    return digest.hexdigest()


def _crc32(content: bytes | zips.Slice, cache: Path) -> int:
    """The CRC-32 of an open file, read once per file and remembered under `cache`."""
    if isinstance(content, bytes):
        return zlib.crc32(content)
    facts = os.fstat(content.handle)
    key = json.dumps([facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns])
    known = cache / hashlib.sha256(key.encode()).hexdigest()
    found = storage.read_json(known)
    if isinstance(found, int):
        return found
    crc, spliced = 0, zips.Spliced([content])
    for block in spliced.read(0, spliced.size):
        crc = zlib.crc32(block, crc)
    cache.mkdir(parents=True, exist_ok=True)
    storage.write_json(known, crc)
    return crc
