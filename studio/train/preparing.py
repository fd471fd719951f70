"""What a run needs before its processes meet: the base's files, and every encoding, made once on each machine.

The ranks of a machine share the work out by file locks, since their process group is only made afterwards: so no
collective ever waits for a download or an encoder, however slow it is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from studio import datasets, storage
from studio.bases import source
from studio.config import Config, Data
from studio.datasets.pictures.buckets import STEP, Buckets
from studio.families import Family, Source
from studio.folders.events import EventWriter
from studio.folders.runs import Run
from studio.messages import Message
from studio.train import validation
from studio.train.batches import trim
from studio.train.batches.cache import CachedPictures, CachedTexts, Encoders, LivePictures, digest, part_hashes
from studio.train.batches.sampler import DeterministicSampler, ImageTransform, Row, Sample, Size
from studio.train.parallel.distributed import Distributed

PROGRESS_SECONDS = 0.25  # at most so often an event tells how far the caching is
PIECES = 8  # for each rank of a machine: so many parts the encodings are dealt out in


@dataclass
class Prepared:
    """The base, what is drawn of the rows, and their encodings: `pictures` as they are trained, `fixed` as they are
    cached (the same, or those that are only measured)."""

    base: Source
    encoders: Encoders
    sampler: DeterministicSampler
    image_transform: ImageTransform
    measured: list[Sample]
    pictures: CachedPictures
    fixed: CachedPictures
    texts: CachedTexts | None


def prepare(run: Run, config: Config, rows: list[Row], held_out: list[Row], distributed: Distributed,
            events: EventWriter, check: Callable[[], None]) -> Prepared:
    """Everything that can be done before the process group; `held_out` are the rows that are only measured.

    `check` is called now and then and may raise to end it."""
    family = source.family_of(config.model)
    data = config.data
    base, hashes = base_of(run.home, config, family, events)
    encoders = Encoders(family, base, distributed.device, hashes)
    sampler = DeterministicSampler(rows, config.train.seed or 0, family.empty_text(), _sizes(data),
                                   flips=data.random_flip, random_crops=not data.center_crop,
                                   crop_variants=data.crop_variants, caption_dropout=data.caption_dropout)
    image_transform = ImageTransform(data.interpolation)
    measured = validation.samples(held_out, sampler) if config.validation.every_steps else []
    encodings = _encodings(run, config, encoders, sampler, image_transform, events)
    ready = Prepared(base, encoders, sampler, image_transform, measured, *encodings)
    prompts = [*config.sample.prompts, family.empty_text()] if config.sample.prompts else []
    _fill(run, ready, prompts, distributed, events, check)
    encoders.free()
    return ready


def base_of(home: Path, config: Config, family: Family, events: EventWriter) -> tuple[Source, dict[str, str]]:
    """The base's files, downloaded with a phase in bytes where they are missing, and the frozen parts' hashes.

    One process of a machine after the other: the first one downloads and hashes, the rest find what it left. Raises
    BaseProblem."""
    model = config.model
    with storage.Lock(home / "cache" / "locks" / "base.lock"):
        base = source.locate(model.base, model.revision, model.variant) or source.fetch(
            family, model.base, model.revision, model.variant, os.environ.get("HF_TOKEN"),
            lambda done, total: events.phase("downloading", done, total, "bytes"))
        family.check(base)
        events.phase("loading")
        frozen = dict.fromkeys(chain.from_iterable(family.encoder_parts(base).values()))
        return base, part_hashes(home, base, frozen)


def _sizes(data: Data) -> Callable[[Row], Size]:
    """The size in pixels at which a row is trained: its bucket, or the square for all."""
    side = data.resolution or 0
    if not data.buckets:
        return lambda row: (side, side)
    return Buckets(side, data.bucket_step or STEP, data.bucket_max_aspect, not data.bucket_no_upscale).of


def _encodings(run: Run, config: Config, encoders: Encoders, sampler: DeterministicSampler,
               image_transform: ImageTransform,
               events: EventWriter) -> tuple[CachedPictures, CachedPictures, CachedTexts | None]:
    """Where encodings are found: of pictures as they are trained and as they are cached, and of captions, unless the
    text encoder learns. A warning says what cannot be cached."""
    home = run.home

    def path_of(row: Row) -> Path:
        return datasets.picture_path(home, row)

    texts = None
    if config.model.train_text_encoder:
        events.warning("texts_not_cached",
                       Message("The text encoder learns, so every step encodes its captions again."))
    else:
        texts = CachedTexts(home, encoders)
    pictures = fixed = CachedPictures(home, encoders, image_transform, path_of)
    if sampler.random_crops and not sampler.crop_variants:
        pictures = LivePictures(home, encoders, image_transform, path_of, config.compute.num_workers)
        events.warning("not_cached",
                       Message("Random crops cannot be cached: every step encodes its pictures again, which is slower. "
                               "Turn on the centre crop, or set crop variants, for speed."))
    return pictures, fixed, texts


def _fill(run: Run, ready: Prepared, prompts: list[str], distributed: Distributed, events: EventWriter,
          check: Callable[[], None]) -> None:
    """Have every encoding in the cache, noted as this run's, and the cache within its size; `prompts` are the previews'
    with what their guidance leads away from."""
    texts, fixed = ready.texts, ready.fixed
    captions: list[str] = []
    if texts:
        captions = sorted({*ready.sampler.captions(), *(sample.caption for sample in ready.measured), *prompts})
    seen = list(ready.measured)
    if ready.pictures is fixed:
        seen = ready.sampler.variants() + seen
    variants = {fixed.key(sample): sample for sample in seen}
    samples = list(variants.values())
    progress = _progress(events, len(captions) + len(samples), check)
    count = PIECES * distributed.local_ranks if distributed.local_ranks > 1 else 1

    def fill(piece: int) -> None:
        if texts:
            texts.refresh()
            texts.fill(captions[piece::count], progress)
        fixed.refresh()
        fixed.fill(samples[piece::count], progress)

    _share_out(run.home / "cache" / "locks", count, distributed.local_rank, distributed.local_ranks, fill)
    fixed.refresh()
    if texts:
        texts.refresh()
    if distributed.local_rank == 0:
        shards = fixed.shards.files(variants)
        if texts:
            shards |= texts.shards.files(map(digest, captions))
        trim.note_use(run, shards)
        trim.trim(run, events)


def _share_out(locks: Path, count: int, rank: int, ranks: int, fill: Callable[[int], None]) -> None:
    """Call `fill` for every piece, each behind its lock: first for those that nobody works at, then for the rest.

    So each piece is made once, and when this returns all of them are there: `fill` skips what it finds, and does the
    whole piece where the process that began it has died.
    """
    first = count // ranks * rank
    rest: list[int] = []
    for piece in [*range(first, count), *range(first)]:
        lock = storage.Lock(locks / f"encodings-{piece}.lock")
        if not lock.acquire():
            rest.append(piece)
            continue
        try:
            fill(piece)
        finally:
            lock.release()
    for piece in rest:
        with storage.Lock(locks / f"encodings-{piece}.lock"):
            fill(piece)


def _progress(events: EventWriter, total: int, check: Callable[[], None]) -> Callable[[], None]:
    """What is called after each encoding: tells how far the caching is, and asks whether somebody wants to leave."""
    done = 0
    told = 0.0
    every = max(1, total // 100)

    def progress() -> None:
        nonlocal done, told
        done += 1
        if done == total or time.monotonic() - told >= PROGRESS_SECONDS:
            told = time.monotonic()
            events.phase("caching", done, total, "encodings")
        if done % every == 0 or done == total:
            check()

    return progress
