"""What a person takes away from a run: weights and whole pipelines of every kept checkpoint, assembled while sent."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from studio import storage, tensors
from studio.export.offers import Item, Piece, base_of, holds_base, mark, offers, slug
from studio.folders.runs import Run
from studio.messages import Message
from studio.storage import zips
from studio.storage.zips import Download

__all__ = ["Download", "Item", "base_of", "holds_base", "listing", "open_item", "write_item"]

_BYTES = "application/octet-stream"
LISTINGS = 64  # runs whose listing is remembered


def listing(run: Run) -> list[Item]:
    """Everything that can be downloaded now, newest checkpoint first. Reads no weights, only their headers; what was
    listed before and has not changed is not read again."""
    state = _state(run)
    with _lock:
        known_state, items = _listings.pop(run.path, ((), []))
    if known_state != state:
        items = [item for item, _ in offers(run)]
    with _lock:
        _listings[run.path] = state, items
        while len(_listings) > LISTINGS:
            _listings.pop(next(iter(_listings)))
    return items


def _state(run: Run) -> State:
    """What the listing follows from: settings, name, samples, checkpoints, and the base's files."""
    files = [run.config_file, run.edits_file, run.record_file, run.samples, run.checkpoints]
    files += [folder / storage.MANIFEST for folder, _ in run.valid_checkpoints()]
    base = base_of(run)
    if base:
        files += base.folder.rglob("*")
    return tuple((path, storage.stamp(path)) for path in files)


State = tuple[tuple[Path, object], ...]  # files with their stamps
_lock = threading.Lock()
_listings: dict[Path, tuple[State, list[Item]]] = {}


def open_item(run: Run, path: str) -> Download:
    """Open one path of the listing, holding its checkpoint. Raises KeyError for a path that is not there (any more),
    storage.Corrupt for a file that differs from its manifest."""
    with ExitStack() as holds:
        item, pieces = _held(run, path, holds)
        return _download(run, item, pieces, holds)


def write_item(run: Run, path: str, folder: Path) -> None:
    """Write one path of the listing as plain files under `folder`: a zip unpacked, without its top folder. Raises as
    `open_item`."""
    with ExitStack() as holds:
        item, pieces = _held(run, path, holds)
        for piece in pieces:
            target = folder / Path(piece.name).name
            if path.endswith(".zip"):
                target = folder / piece.name.partition("/")[2]
            target.parent.mkdir(parents=True, exist_ok=True)
            spliced = zips.SplicedFile(_opened(piece, item.path, holds))
            with open(target, "wb") as file:
                file.writelines(spliced.read(0, spliced.size))


def _held(run: Run, path: str, holds: ExitStack) -> tuple[Item, list[Piece]]:
    """An item and its pieces, its checkpoint kept from retention until `holds` lets go. Raises KeyError."""
    for item, pieces in offers(run):
        if item.path != path:
            continue
        if item.step is not None:
            lease = storage.Lock(run.checkpoints / f"checkpoint-{item.step}.lease")
            if not lease.acquire(shared=True):
                break
            holds.callback(lease.release)
        return item, pieces
    raise KeyError(path)


def _download(run: Run, item: Item, pieces: list[Piece], holds: ExitStack) -> Download:
    """Every file opened before the first byte is sent; `holds` is handed on to the download."""
    contents = [_opened(piece, item.path, holds) for piece in pieces]
    if item.path.endswith(".zip"):
        return _zip(pieces, contents, run.path.parent.parent / "cache" / "crc32", holds)
    if item.step is None:
        return Download(f"{slug(run)}-{item.path}", "application/json", contents[0], _sha256(contents[0]),
                        holds.pop_all())
    name = f"{slug(run)}-step{item.step}-{item.weights}-{item.kind}{mark(item.precision)}.safetensors"
    return Download(name, _BYTES, contents[0], _fingerprint(pieces[0]), holds.pop_all())


def _zip(pieces: list[Piece], contents: list[list[bytes | zips.Part]], cache: Path, holds: ExitStack) -> Download:
    """The pieces in one zip, stored as they are."""
    members: list[zips.Member] = []
    for piece, content in zip(pieces, contents, strict=True):
        crc = piece.crc32
        if crc is None:
            crc = _crc32(piece, content, cache)
        members.append(zips.Member(piece.name, piece.size, crc))
    parts: list[bytes | zips.Part] = []
    digest = hashlib.sha256()  # in which the contents written anew stand by their CRC-32 alone
    for entry in zips.stored_zip(members):
        if isinstance(entry, int):
            parts += contents[entry]
        else:
            parts.append(entry)
            digest.update(entry)
    return Download(f"{pieces[0].name.partition('/')[0]}.zip", "application/zip", parts, digest.hexdigest(),
                    holds.pop_all())


def _opened(piece: Piece, path: str, holds: ExitStack) -> list[bytes | zips.Part]:
    handles: dict[Path, int] = {}

    def handle_of(file: Path) -> int:
        if file not in handles:
            try:
                handles[file] = os.open(file, os.O_RDONLY)
            except FileNotFoundError:
                raise KeyError(path) from None
            holds.callback(os.close, handles[file])
            size = os.fstat(handles[file]).st_size
            expected = piece.sizes.get(file)
            if expected is not None and size != expected:
                raise storage.Corrupt(Message("{name} has {size} bytes instead of {expected}: it was changed on disk",
                                              name=piece.name, size=size, expected=expected))
        return handles[file]

    return _parts(piece, handle_of)


def _parts(piece: Piece, handle_of: Callable[[Path], int]) -> list[bytes | zips.Part]:
    if isinstance(piece.data, bytes):
        return [piece.data]
    if isinstance(piece.data, tensors.SafetensorsFile):
        return piece.data.opened(handle_of)
    return [zips.Slice(handle_of(piece.data), piece.size)]


def _fingerprint(piece: Piece) -> str | None:
    """What the contents follow from: a recipe's header and the state of its files; None for contents in memory."""
    if isinstance(piece.data, bytes):
        return None
    header = b""
    if isinstance(piece.data, tensors.SafetensorsFile):
        header = piece.data.header
    facts = [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in sorted(piece.sizes)]
    return hashlib.sha256(header + json.dumps([piece.sha256, facts]).encode()).hexdigest()


def _sha256(parts: list[bytes | zips.Part]) -> str:
    digest = hashlib.sha256()
    spliced = zips.SplicedFile(parts)
    for block in spliced.read(0, spliced.size):
        digest.update(block)
    return digest.hexdigest()


def _crc32(piece: Piece, content: list[bytes | zips.Part], cache: Path) -> int:
    """The CRC-32 of the contents, computed once and remembered under `cache`."""
    if isinstance(piece.data, bytes):
        return zlib.crc32(piece.data)
    file = cache / str(_fingerprint(piece))
    remembered = storage.read_json(file)
    if isinstance(remembered, int):
        return remembered
    crc = 0
    spliced = zips.SplicedFile(content)
    for block in spliced.read(0, spliced.size):
        crc = zlib.crc32(block, crc)
    storage.write_cache(file, crc)
    return crc
