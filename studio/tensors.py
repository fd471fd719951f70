"""Safetensors files that exist only while they are read: tensors of other files, renamed, joined, in another precision.

Nothing is loaded: a file's header says where each tensor lies, and its bytes are converted as they pass.
Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TypedDict

import numpy as np

from studio import limited, storage
from studio.errors import StudioError
from studio.messages import JsonObject
from studio.storage import zips

WIDTH = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
FLOATS = ("F32", "F16", "BF16")  # what is converted; everything else stays as it is
LARGEST_HEADER = 16 << 20  # bytes; a file of 20,000 tensors has 3 MB, what programs write beside them may be as much
MOST_TENSORS = 20_000
LONGEST_NAME = 1000  # characters
MEMORY, SECONDS = 1 << 30, 20  # of the limited process that reads a foreign header: address space, processor


class NotSafetensors(StudioError, ValueError):
    """A file whose header is not that of a safetensors file."""


@dataclass(frozen=True)
class Span:
    """The bytes of a tensor: `size` of them from `offset` on in `file`, or `data` itself."""

    file: Path | None
    offset: int
    size: int
    data: bytes = b""


@dataclass(frozen=True)
class Tensor:
    """A tensor still to be read: element type, shape, and the spans that hold its elements one after another."""

    dtype: str
    shape: tuple[int, ...]
    spans: tuple[Span, ...]

    def reshaped(self, *shape: int) -> Tensor:
        """The same elements in another shape."""
        return Tensor(self.dtype, shape, self.spans)


@dataclass(frozen=True)
class Piece:
    """A span of elements of type `dtype` that is sent as type `to`."""

    span: Span
    dtype: str
    to: str

    @property
    def size(self) -> int:
        """Bytes that are sent."""
        return self.span.size // WIDTH[self.dtype] * WIDTH[self.to]


@dataclass(frozen=True)
class Conversion:
    """A piece of an open file, in its new type."""

    source: zips.Slice
    piece: Piece

    @property
    def size(self) -> int:
        """Bytes that are sent."""
        return self.piece.size

    def read(self, start: int, count: int) -> bytes:
        """At most `count` bytes from `start` on: the elements they belong to are read and converted."""
        stored = WIDTH[self.piece.dtype]
        sent = WIDTH[self.piece.to]
        first = start // sent
        stop = -(-min(start + count, self.size) // sent)
        data = self.source.read(first * stored, (stop - first) * stored)
        return converted(data, self.piece.dtype, self.piece.to)[start - first * sent:][:count]


@dataclass(frozen=True)
class SafetensorsFile:
    """A safetensors file: its header, and the pieces that follow it."""

    header: bytes
    pieces: tuple[Piece, ...]

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self.header) + sum(piece.size for piece in self.pieces)

    def opened(self, handle_of: Callable[[Path], int]) -> list[bytes | zips.Part]:
        """The file's parts, its sources opened by `handle_of`."""
        parts: list[bytes | zips.Part] = [self.header]
        for piece in self.pieces:
            if piece.span.file is None:
                parts.append(piece.span.data)
                continue
            source = zips.Slice(handle_of(piece.span.file), piece.span.size, piece.span.offset)
            if piece.dtype == piece.to:
                parts.append(source)
            else:
                parts.append(Conversion(source, piece))
        return parts


def headers(file: Path, most: int = MOST_TENSORS) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file by name, and its metadata; reads the header alone. Raises NotSafetensors."""
    try:
        with open(file, "rb") as opened:
            size = int.from_bytes(opened.read(8), "little")
            if size > LARGEST_HEADER:
                raise ValueError("its header is too large")
            text = opened.read(size)
            # Each tensor is one object with two lists: what has more is no header, and is not made into objects first.
            if max(text.count(b"{") - 2, text.count(b"[") // 2) > most:
                raise ValueError(f"it has more than {most:,} tensors")
            described = json.loads(text)
        metadata = {str(key): str(value) for key, value in described.pop("__metadata__", {}).items()}
        if max(map(len, described), default=0) > LONGEST_NAME:
            raise ValueError(f"a tensor's name has more than {LONGEST_NAME} characters")
        return {name: _tensor(facts, file, 8 + size) for name, facts in described.items()}, metadata
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NotSafetensors(f"{file.name} is not a safetensors file ({error})") from None


def foreign_headers(file: Path) -> dict[str, Tensor]:
    """The tensors of a file that comes from anywhere; a limited process reads its header. Raises NotSafetensors."""
    stamp = storage.stamp(file)
    if stamp is None:
        raise NotSafetensors(f"{file.name} is not there")
    return _foreign(file, stamp)


@lru_cache(maxsize=64)
def _foreign(file: Path, stamp: tuple[int, int, int]) -> dict[str, Tensor]:
    request = {"file": os.fsencode(file.absolute()).hex()}
    try:
        answer = limited.ask_once("studio.tensors", request, None, [file.resolve()])
    except limited.NoAnswer as stopped:
        raise NotSafetensors(f"{file.name} cannot be read: {stopped}") from None
    if "problem" in answer:
        raise NotSafetensors(answer["problem"])
    tensors: dict[str, Tensor] = {}
    for name, (dtype, shape, offset, size) in answer["tensors"].items():
        tensors[name] = Tensor(dtype, tuple(shape), (Span(file, offset, size),))
    return tensors


def _answer(request: dict[str, str], folder: Path) -> JsonObject:
    """In the limited process: the header of a file, as {"tensors": {name: [dtype, shape, offset, size]}}, or
    {"problem"}."""
    file = Path(os.fsdecode(bytes.fromhex(request["file"])))
    described: JsonObject = {}
    try:
        check(file)
        for name, tensor in headers(file)[0].items():
            described[name] = [tensor.dtype, tensor.shape, tensor.spans[0].offset, tensor.spans[0].size]
    except NotSafetensors as error:
        return {"problem": str(error)}
    return {"tensors": described}


def check(file: Path, most: int = MOST_TENSORS) -> None:
    """Raise NotSafetensors for a file whose tensors do not lie in it one after another, each as large as its shape."""
    tensors, _ = headers(file, most)
    spans = [(span.offset, span.size) for span in _spans(tensors.values())]
    with open(file, "rb") as opened:
        place = 8 + int.from_bytes(opened.read(8), "little")
        end = opened.seek(0, 2)
    spans.sort()
    for offset, size in spans:
        if offset != place or size < 0:
            raise NotSafetensors(f"{file.name} is not a safetensors file (its tensors overlap, or have gaps)")
        place += size
    if place != end:
        raise NotSafetensors(f"{file.name} is not a safetensors file (it is cut short, or has more than its tensors)")


def _spans(tensors: Iterable[Tensor]) -> tuple[Span, ...]:
    """All their spans, in order."""
    return tuple(chain.from_iterable(tensor.spans for tensor in tensors))


class _HeaderEntry(TypedDict):
    """A tensor as a header has it; nothing is sure of one that came from outside."""

    dtype: str
    shape: list[int]
    data_offsets: list[int]  # its first byte after the header, and the one after its last


def _tensor(facts: _HeaderEntry, file: Path, base: int) -> Tensor:
    """The tensor of a header that ends at `base`. Raises ValueError, KeyError or TypeError for what is none."""
    shape = tuple(facts["shape"])
    start, stop = facts["data_offsets"]
    if not all(map(_is_size, (*shape, start, stop))) or len(shape) > 16:
        raise ValueError("a tensor's shape or place is no list of whole numbers")
    if facts["dtype"] in WIDTH and math.prod(shape) * WIDTH[facts["dtype"]] != stop - start:
        raise ValueError("a tensor's size is not that of its shape")
    return Tensor(str(facts["dtype"]), shape, (Span(file, base + start, stop - start),))


def _is_size(number: object) -> bool:
    return type(number) is int and 0 <= number < 1 << 48


def joined(tensors: list[Tensor]) -> Tensor:
    """Tensors of one type, one after the other along their first axis."""
    rows = sum(tensor.shape[0] for tensor in tensors)
    return Tensor(tensors[0].dtype, (rows, *tensors[0].shape[1:]), _spans(tensors))


def numbers(values: np.ndarray) -> Tensor:
    """A small tensor of int64."""
    data = values.astype("<i8").tobytes()
    return Tensor("I64", values.shape, (Span(None, 0, len(data), data),))


def recipe(tensors: dict[str, Tensor], to: str, metadata: dict[str, str]) -> SafetensorsFile:
    """A file of these tensors with its floats as `to` (one of FLOATS); the same arguments give the same bytes.

    The widest elements come first, so that every tensor lies on a multiple of its element's size.
    """
    types: dict[str, str] = {}
    for name, tensor in tensors.items():
        types[name] = to if tensor.dtype in FLOATS else tensor.dtype

    def widest_first(name: str) -> tuple[int, str]:
        return -WIDTH[types[name]], name

    described: JsonObject = {}
    if metadata:
        described["__metadata__"] = metadata
    pieces: list[Piece] = []
    at = 0
    for name in sorted(tensors, key=widest_first):
        start = at
        for span in tensors[name].spans:
            piece = Piece(span, tensors[name].dtype, types[name])
            pieces.append(piece)
            at += piece.size
        described[name] = {"dtype": types[name], "shape": list(tensors[name].shape), "data_offsets": [start, at]}
    text = json.dumps(described, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return SafetensorsFile(len(text).to_bytes(8, "little") + text, tuple(pieces))


def converted(data: bytes, dtype: str, to: str) -> bytes:
    """Little-endian floats in another precision, rounded to the nearest, ties to even, as torch rounds."""
    if dtype == to:
        return data
    if dtype == "BF16":
        wide = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    else:
        wide = np.frombuffer(data, "<f2" if dtype == "F16" else "<f4").astype("<f4")
    if to == "F32":
        return wide.tobytes()
    if to == "F16":
        with np.errstate(over="ignore"):  # beyond 65504 is infinity, in torch too
            return wide.astype("<f2").tobytes()
    bits = wide.view("<u4").astype("<u8")
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(wide), 0x7FC0, rounded).astype("<u2").tobytes()


if __name__ == "__main__":
    limited.serve(_answer, memory=MEMORY, seconds=SECONDS, file_bytes=0)
