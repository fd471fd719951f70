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
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from studio import families, storage
from studio.families import Family, Source
from studio.train.batches.sampler import Framing, Sample

Tensors = dict[str, torch.Tensor]
SHARD_BYTES = 64 << 20
DECODING = 2  # threads that decode pictures while one is encoded


def digest(value: Any) -> str:
    """32 hex digits for any JSON data."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).hexdigest()


class Shards:
    """Entries (dicts of tensors) by key, in one folder; several processes may add to it at the same time."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._files: dict[str, Any] = {}
        self._entries: dict[str, tuple[str, list[str]]] = {}
        self._new: dict[str, Tensors] = {}
        self._bytes = 0
        self.refresh()

    def refresh(self) -> None:
        """See what others added. A damaged shard is removed: its entries are made again."""
        for path in sorted(self.folder.glob("*.safetensors")):
            if path.name in self._files:
                continue
            try:
                self._files[path.name] = opened = safe_open(path, framework="pt")
            except FileNotFoundError:  # trimmed meanwhile
                continue
            except SafetensorError:
                storage.clear(path)
                continue
            for full in opened.keys():  # noqa: SIM118 - not a mapping
                entry, _, name = full.partition("/")
                self._entries.setdefault(entry, (path.name, []))
                if self._entries[entry][0] == path.name:
                    self._entries[entry][1].append(name)

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
        self._new[entry] = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
        self._bytes += sum(v.nbytes for v in self._new[entry].values())
        if self._bytes >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was added as one shard, complete before it has its name."""
        if self._new:
            part = self.folder / f".{uuid.uuid4().hex}.part"
            try:
                save_file({f"{e}/{k}": v for e, tensors in self._new.items() for k, v in tensors.items()}, part)
                storage.publish(part, part.with_name(f"{part.stem[1:]}.safetensors"))
            finally:
                storage.clear(part)
            self._new, self._bytes = {}, 0
        self.refresh()


def part_hashes(home: Path, source: Source, parts: Iterable[str]) -> dict[str, str]:
    """The content of each part's files as one hash; files seen before (path, size, mtime) are not read again."""
    known_file = home / "cache" / "hashes.json"
    known: dict[str, str] = storage.read_json(known_file) or {}
    seen, found = dict(known), {}
    for part in parts:
        files = sorted(p for p in (source.folder / part).glob("*") if p.is_file())
        hashes = []
        for path in files:
            stat = path.stat()
            stamp = f"{path.resolve()}:{stat.st_size}:{stat.st_mtime_ns}"
            seen[stamp] = seen.get(stamp) or storage.sha256_file(path)
            hashes.append([path.name, families.identity(seen[stamp])])
        found[part] = digest([source.variant, hashes])
    if seen != known:
        storage.write_cache(known_file, seen)
    return found


class Encoders:
    """The family's frozen parts, loaded when they are needed and freed when they are not."""

    def __init__(self, family: Family, source: Source, device: torch.device, hashes: dict[str, str]):
        self.family, self.source, self.device, self.hashes = family, source, device, hashes
        self.parts: dict[str, Any] = {}
        self.kept: dict[str, Any] = {}

    def load(self, *kinds: str, dtype: str | None = None) -> dict[str, Any]:
        """Everything loaded by now, with the parts that encode `kinds` ("images", "texts"), on the device; in the types
        they have while frozen, or in `dtype`."""
        of_kind = self.family.encoder_parts(self.source)
        for part in dict.fromkeys(p for kind in kinds for p in of_kind[kind]):
            if part not in self.parts:
                loaded = self.family.load(part, self.source, dtype)
                self.parts[part] = self._placed(loaded) if isinstance(loaded, torch.nn.Module) else loaded
        return self.parts

    def keep(self, *kinds: str) -> dict[str, Any]:
        """The parts that encode `kinds`, in fp32, which stay from now on: they learn, so there is no other copy."""
        loaded, of_kind = self.load(*kinds, dtype="float32"), self.family.encoder_parts(self.source)
        self.kept |= {part: loaded[part] for kind in kinds for part in of_kind[kind]}
        return dict(self.kept)

    def _placed(self, module: torch.nn.Module) -> torch.nn.Module:
        """On the device; on a CPU with channels last, in which a VAE's large pictures take a quarter less time, unless
        it convolves frames, for which there is no such layout."""
        flat = all(parameter.dim() < 5 for parameter in module.parameters())
        layout = torch.channels_last if self.device.type == "cpu" and flat else torch.preserve_format
        return module.to(self.device).to(memory_format=layout)

    def free(self) -> None:
        """Forget the loaded parts that are not kept."""
        self.parts = dict(self.kept)

    def identity(self, kind: str) -> list[Any]:
        """What an encoding of this kind depends on, apart from its input."""
        facts = self.family.encoding_facts(kind, self.source)
        hashes = [self.hashes[part] for part in self.family.encoder_parts(self.source)[kind]]
        return [self.family.name, *hashes, *([facts] if facts else [])]

    @torch.no_grad()
    def image(self, pixels: torch.Tensor) -> Tensors:
        """The posterior of one picture (1,3,H,W)."""
        stats = self.family.encode_images(self.load("images"), pixels.to(self.device))
        return {name: value.float().cpu() for name, value in stats.items()}

    @torch.no_grad()
    def text(self, caption: str) -> Tensors:
        """The conditions of one caption."""
        cond = self.family.encode_texts(self.load("texts"), [caption])
        return {name: value.cpu() for name, value in cond.items()}


class CachedPictures:
    """Posteriors of pictures, from the cache; `fill` makes those that are missing."""

    def __init__(self, home: Path, encoders: Encoders, framing: Framing, path_of: Callable[[dict[str, Any]], Path]):
        self.encoders, self.framing, self.path_of = encoders, framing, path_of
        facts = [encoders.identity("images"), framing.interpolation]
        self.shards = Shards(home / "cache" / "images" / digest(facts))

    def key(self, sample: Sample) -> str:
        """An entry is one picture in one size and crop, as it is or flipped."""
        return digest([sample.row["image"], sample.row.get("crop"), sample.size, sample.crop, sample.flip])

    def fill(self, samples: list[Sample], progress: Callable[[], None]) -> None:
        """Encode what the cache lacks, one by one, while threads decode the next pictures; `progress` is called once
        for each sample."""
        missing = {key: sample for sample in samples if (key := self.key(sample)) not in self.shards}
        waiting, coming = iter(missing.items()), {}
        pool = ThreadPoolExecutor(DECODING)

        def decode(count: int) -> None:
            for key, sample in islice(waiting, count):
                coming[key] = pool.submit(self.framing.pixels, self.path_of(sample.row), sample)

        try:
            decode(2 * DECODING)
            for sample in samples:
                if pixels := coming.pop(key := self.key(sample), None):
                    self.shards.add(key, self.encoders.image(pixels.result()))
                    decode(1)
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
    """Posteriors encoded at every step, for random crops; `workers` threads read the next window's pictures."""

    def __init__(self, home: Path, encoders: Encoders, framing: Framing, path_of: Callable[[dict[str, Any]], Path],
                 workers: int):
        self.encoders, self.framing, self.path_of = encoders, framing, path_of
        self._pool = ThreadPoolExecutor(workers) if workers else None
        self._coming: dict[tuple[int, int], Future[torch.Tensor]] = {}

    def fill(self, samples: list[Sample], progress: Callable[[], None]) -> None:
        """Nothing to keep."""

    def refresh(self) -> None:
        """Nothing to see."""

    def ahead(self, samples: list[Sample]) -> None:
        """Start reading these samples' pictures."""
        if self._pool is not None:
            for s in samples:
                self._coming[s.epoch, s.position] = self._pool.submit(self.framing.pixels, self.path_of(s.row), s)

    def __call__(self, sample: Sample) -> Tensors:
        coming = self._coming.pop((sample.epoch, sample.position), None)
        pixels = coming.result() if coming else self.framing.pixels(self.path_of(sample.row), sample)
        return self.encoders.image(pixels)


class CachedTexts:
    """Conditions of captions, from the cache."""

    def __init__(self, home: Path, encoders: Encoders):
        self.encoders = encoders
        self.shards = Shards(home / "cache" / "texts" / digest(encoders.identity("texts")))

    def fill(self, captions: list[str], progress: Callable[[], None]) -> None:
        """Encode what the cache lacks; `progress` is called once for each caption."""
        try:
            for caption in captions:
                if (key := digest(caption)) not in self.shards:
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
