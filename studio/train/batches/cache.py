"""What the frozen encoders make of pictures and captions: computed once, kept on disk by content, shared by all runs.

An entry is encoded by itself, so that it never depends on what else was in a batch. A folder of `home/cache` holds the
entries of one encoder (the hash of its weight files) and one preprocessing, in memory-mapped safetensors shards.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from studio import families, storage
from studio.families import Family, Source
from studio.train.batches.sampler import ImageTransform, Row, Sample

Tensors = dict[str, torch.Tensor]
Parts = dict[str, Any]  # loaded parts of a base by their folders: modules of diffusers and transformers, tokenizers
SHARD_BYTES = 64 << 20
DECODING = 2  # threads that decode pictures while one is encoded


def digest(value: object) -> str:
    """32 hex digits for any JSON data."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).hexdigest()


class Shards:
    """Entries (dicts of tensors) by key, in one folder; several processes may add to it at the same time."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._files: dict[str, safe_open] = {}
        self._entries: dict[str, tuple[str, list[str]]] = {}  # the shard of an entry, and its tensors' names
        self._new: dict[str, Tensors] = {}
        self._bytes = 0
        self.refresh()

    def refresh(self) -> None:
        """See what others added. A damaged shard is removed: its entries are made again."""
        for path in sorted(self.folder.glob("*.safetensors")):
            if path.name in self._files:
                continue
            try:
                shard = safe_open(path, framework="pt")
            except FileNotFoundError:  # trimmed meanwhile
                continue
            except SafetensorError:
                storage.clear(path)
                continue
            self._files[path.name] = shard
            for key in shard.keys():  # noqa: SIM118 - not a mapping
                entry, _, name = key.partition("/")
                file, names = self._entries.setdefault(entry, (path.name, []))
                if file == path.name:  # else two processes encoded it, and the first shard counts
                    names.append(name)

    def __contains__(self, entry: str) -> bool:
        return entry in self._entries or entry in self._new

    def __getitem__(self, entry: str) -> Tensors:
        file, names = self._entries[entry]
        return {name: self._files[file].get_tensor(f"{entry}/{name}") for name in names}

    def files(self, entries: Iterable[str]) -> set[Path]:
        """The shards that hold these entries."""
        return {self.folder / self._entries[entry][0] for entry in entries}

    def add(self, entry: str, tensors: Tensors) -> None:
        """Keep an entry; it is readable after `flush`."""
        stored = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        self._new[entry] = stored
        self._bytes += sum(value.nbytes for value in stored.values())
        if self._bytes >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was added as one shard, complete before it has its name."""
        if self._new:
            self._write()
            self._new = {}
            self._bytes = 0
        self.refresh()

    def _write(self) -> None:
        shard: Tensors = {}
        for entry, tensors in self._new.items():
            for name, value in tensors.items():
                shard[f"{entry}/{name}"] = value
        part = self.folder / f".{uuid.uuid4().hex}.part"
        try:
            save_file(shard, part)
            storage.publish(part, part.with_name(f"{part.stem[1:]}.safetensors"))
        finally:
            storage.clear(part)


def part_hashes(home: Path, source: Source, parts: Iterable[str]) -> dict[str, str]:
    """The content of each part's files as one hash; files seen before (path, size, mtime) are not read again."""
    known_file = home / "cache" / "hashes.json"
    known: dict[str, str] = storage.read_json(known_file) or {}
    seen = dict(known)
    hashes = {}
    for part in parts:
        files = []
        for path in sorted(filter(Path.is_file, (source.folder / part).glob("*"))):
            stat = path.stat()
            stamp = f"{path.resolve()}:{stat.st_size}:{stat.st_mtime_ns}"
            seen[stamp] = seen.get(stamp) or storage.sha256_file(path)
            files.append([path.name, families.identity(seen[stamp])])
        hashes[part] = digest([source.variant, files])
    if seen != known:
        storage.write_cache(known_file, seen)
    return hashes


class Encoders:
    """The family's frozen parts, loaded when they are needed and freed when they are not."""

    def __init__(self, family: Family, source: Source, device: torch.device, hashes: dict[str, str]):
        self.family = family
        self.source = source
        self.device = device
        self.hashes = hashes
        self.parts: Parts = {}
        self.kept: Parts = {}  # those that learn

    def load(self, *kinds: str, dtype: str | None = None) -> Parts:
        """Everything loaded by now, with the parts that encode `kinds` ("images", "texts"), on the device; in the types
        they have while frozen, or in `dtype`."""
        for part in self._parts_of(kinds):
            if part not in self.parts:
                loaded = self.family.load(part, self.source, dtype)
                if isinstance(loaded, torch.nn.Module):  # not so a tokenizer
                    loaded = self._placed(loaded)
                self.parts[part] = loaded
        return self.parts

    def keep(self, *kinds: str) -> Parts:
        """The parts that encode `kinds`, in fp32, which stay from now on: they learn, so there is no other copy."""
        loaded = self.load(*kinds, dtype="float32")
        for part in self._parts_of(kinds):
            self.kept[part] = loaded[part]
        return dict(self.kept)

    def _parts_of(self, kinds: Iterable[str]) -> list[str]:
        """The parts that encode `kinds`, each once."""
        of_kind = self.family.encoder_parts(self.source)
        return list(dict.fromkeys(chain.from_iterable(of_kind[kind] for kind in kinds)))

    def _placed(self, module: torch.nn.Module) -> torch.nn.Module:
        """On the device; on a CPU with channels last, in which a VAE's large pictures take a quarter less time, unless
        it convolves frames, for which there is no such layout."""
        convolves_frames = any(parameter.dim() > 4 for parameter in module.parameters())
        module = module.to(self.device)
        if self.device.type == "cpu" and not convolves_frames:
            module = module.to(memory_format=torch.channels_last)
        return module

    def free(self) -> None:
        """Forget the loaded parts that are not kept."""
        self.parts = dict(self.kept)

    def identity(self, kind: str) -> list[object]:
        """What an encoding of this kind depends on, apart from its input."""
        identity: list[object] = [self.family.name]
        identity.extend(self.hashes[part] for part in self.family.encoder_parts(self.source)[kind])
        facts = self.family.encoding_facts(kind, self.source)
        if facts:
            identity.append(facts)
        return identity

    @torch.no_grad()
    def image(self, pixels: torch.Tensor) -> Tensors:
        """The posterior of one picture (1,3,H,W)."""
        posterior = self.family.encode_images(self.load("images"), pixels.to(self.device))
        return {name: value.float().cpu() for name, value in posterior.items()}

    @torch.no_grad()
    def text(self, caption: str) -> Tensors:
        """The conditions of one caption."""
        conditions = self.family.encode_texts(self.load("texts"), [caption])
        return {name: value.cpu() for name, value in conditions.items()}


class CachedPictures:
    """Posteriors of pictures, from the cache; `fill` makes those that are missing."""

    def __init__(self, home: Path, encoders: Encoders, image_transform: ImageTransform, path_of: Callable[[Row], Path]):
        self.encoders = encoders
        self.image_transform = image_transform
        self.path_of = path_of
        facts = [encoders.identity("images"), image_transform.interpolation]
        self.shards = Shards(home / "cache" / "images" / digest(facts))

    def key(self, sample: Sample) -> str:
        """An entry is one picture in one size and crop, as it is or flipped."""
        return digest([sample.row["image"], sample.row.get("crop"), sample.size, sample.crop, sample.flip])

    def fill(self, samples: list[Sample], progress: Callable[[], None]) -> None:
        """Encode what the cache lacks, one by one, while threads decode the next pictures; `progress` is called once
        for each sample."""
        keyed = {self.key(sample): sample for sample in samples}
        waiting = iter([key for key in keyed if key not in self.shards])
        coming: dict[str, Future[torch.Tensor]] = {}
        pool = ThreadPoolExecutor(DECODING)

        def decode_next(count: int) -> None:
            for key in islice(waiting, count):
                sample = keyed[key]
                coming[key] = pool.submit(self.image_transform.pixels, self.path_of(sample.row), sample)

        try:
            decode_next(2 * DECODING)
            for sample in samples:
                key = self.key(sample)
                pixels = coming.pop(key, None)
                if pixels is not None:
                    self.shards.add(key, self.encoders.image(pixels.result()))
                    decode_next(1)
                progress()
        finally:  # what was encoded so far serves the next attempt
            pool.shutdown(cancel_futures=True)
            self.shards.flush()

    def refresh(self) -> None:
        """See what other ranks encoded."""
        self.shards.refresh()

    def ahead(self, samples: list[Sample]) -> None:
        """Nothing to read ahead."""

    def __call__(self, sample: Sample) -> Tensors:
        return self.shards[self.key(sample)]


class LivePictures(CachedPictures):
    """Posteriors encoded at every step, for random crops; `workers` threads read the next global batch's pictures."""

    def __init__(self, home: Path, encoders: Encoders, image_transform: ImageTransform, path_of: Callable[[Row], Path],
                 workers: int):
        self.encoders = encoders
        self.image_transform = image_transform
        self.path_of = path_of
        self._pool = ThreadPoolExecutor(workers) if workers else None
        self._coming: dict[tuple[int, int], Future[torch.Tensor]] = {}

    def fill(self, samples: list[Sample], progress: Callable[[], None]) -> None:
        """Nothing to keep."""

    def refresh(self) -> None:
        """Nothing to see."""

    def ahead(self, samples: list[Sample]) -> None:
        """Start reading these samples' pictures."""
        if self._pool is not None:
            for sample in samples:
                pixels = self._pool.submit(self.image_transform.pixels, self.path_of(sample.row), sample)
                self._coming[sample.epoch, sample.position] = pixels

    def __call__(self, sample: Sample) -> Tensors:
        coming = self._coming.pop((sample.epoch, sample.position), None)
        if coming is not None:
            return self.encoders.image(coming.result())
        return self.encoders.image(self.image_transform.pixels(self.path_of(sample.row), sample))


class CachedTexts:
    """Conditions of captions, from the cache."""

    def __init__(self, home: Path, encoders: Encoders):
        self.encoders = encoders
        self.shards = Shards(home / "cache" / "texts" / digest(encoders.identity("texts")))

    def fill(self, captions: list[str], progress: Callable[[], None]) -> None:
        """Encode what the cache lacks; `progress` is called once for each caption."""
        try:
            for caption in captions:
                key = digest(caption)
                if key not in self.shards:
                    self.shards.add(key, self.encoders.text(caption))
                progress()
        finally:
            self.shards.flush()

    def refresh(self) -> None:
        """See what other ranks encoded."""
        self.shards.refresh()

    def holds(self, caption: str) -> bool:
        """Whether this caption need not be encoded any more."""
        return digest(caption) in self.shards

    def __call__(self, caption: str) -> Tensors:
        return self.shards[digest(caption)]
