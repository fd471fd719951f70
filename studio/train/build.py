"""From a run's config to the pieces the loop works with."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio import datasets, families
from studio.config import Config, Data
from studio.datasets.buckets import STEP, Buckets
from studio.events import EventWriter
from studio.families import Family, Source, source
from studio.runs import Run
from studio.train import adapters, kernels, objectives, optim, trim, validation
from studio.train.cache import CachedPictures, CachedTexts, Encoders, LivePictures, digest, part_hashes
from studio.train.checkpoints import Keeper, Weights
from studio.train.control import Controls
from studio.train.data import Draws, Framing, Sample, Size
from studio.train.ema import Ema, average_of
from studio.train.feed import Feed
from studio.train.host import Host
from studio.train.model import Trainee
from studio.train.sample import Sampler
from studio.train.tally import Tally
from studio.train.validation import Validator

PROGRESS_SECONDS = 0.25  # at most so often an event tells how far the caching is


@dataclass
class Trainer:
    """Everything the loop uses. `model` is what runs forward (perhaps wrapped by DDP)."""

    host: Host
    events: EventWriter
    controls: Controls
    family: Family
    model: Any
    ema: Ema
    update: optim.Updater
    draws: Draws
    feed: Feed
    keeper: Keeper
    sampler: Sampler
    validator: Validator
    tally: Tally
    total_steps: int
    batch_size: int
    window: int
    sample_every: int
    save_every: int
    validate_every: int
    last_report: float = 0.0
    failed_saves: int = 0  # in a row
    retry_at: int | None = None  # the step after which a save that failed is tried again

    def windows(self, first: int) -> Iterator[tuple[int, list[Sample]]]:
        """The windows from update `first` on; the one after is already being read."""
        coming = self.draws.windows(self.window, first)
        update, window = next(coming)
        while True:
            following = next(coming)
            self.feed.pictures.ahead(following[1])
            yield update, window
            update, window = following

    def sample_due(self, step: int) -> bool:
        """Whether pictures are drawn after this step."""
        return step == self.total_steps or (self.sample_every > 0 and step % self.sample_every == 0)

    def save_due(self, step: int) -> bool:
        """Whether a checkpoint is saved after this step: its time has come, or the last save failed."""
        return step in (self.total_steps, self.retry_at) or step % self.save_every == 0

    def validation_due(self, step: int) -> bool:
        """Whether the loss on held-out pictures is measured after this step."""
        every = self.validate_every if self.validator.held else 0
        return every > 0 and (step == self.total_steps or step % every == 0)

    def validate(self, step: int) -> bool:
        """Rank 0 measures, the others wait; every rank learns whether it did."""
        if not self.validation_due(step):
            return False
        return self.host.tell(self.validator.measure(step) if self.host.main else None)

    def draw(self, step: int, prompt: str | None = None) -> bool:
        """Rank 0 draws, the others wait; every rank learns whether it went well."""
        return self.host.tell(self.sampler.draw(step, prompt) if self.host.main else None)

    def save(self, step: int) -> bool:
        """Rank 0 saves, the others wait; every rank learns whether it went well.

        A save that failed is tried again at the next step, then after 2, 4, ... 64 more."""
        self.tally.gather()
        per_epoch = -(-len(self.draws.rows) // self.window)
        position = {"epoch": step // per_epoch, "position": step % per_epoch * self.window}
        saved = self.host.tell(self.keeper.save(step, position) if self.host.main else None)
        self.failed_saves = 0 if saved else self.failed_saves + 1
        self.retry_at = None if saved else step + min(64, 2 ** (self.failed_saves - 1))
        return saved


def build(run: Run, config: Config, rows: list[dict[str, Any]], held: list[dict[str, Any]], host: Host,
          events: EventWriter, controls: Controls, check: Callable[[], None]) -> Trainer:
    """Load, cache and prepare everything; `held` are the rows that are only measured.

    `check` is called now and then and may raise to end the build.
    """
    home = run.home
    family = families.get(config.model.family)
    base = _base(config, family, events, host)
    events.phase("loading")
    frozen = [part for kind in family.encoder_parts().values() for part in kind]
    hashes = part_hashes(home, base, dict.fromkeys(frozen)) if host.main else None
    encoders = Encoders(family, base, host.device, host.tell(hashes))
    data = config.data
    draws = Draws(rows, config.train.seed or 0, family.empty_text(), _sizes(data), flips=data.random_flip,
                  random_crops=not data.center_crop, crop_variants=data.crop_variants,
                  caption_dropout=data.caption_dropout)
    framing = Framing(data.interpolation)
    measured = validation.samples(held if config.validation.every_steps else [], draws)
    pictures, fixed, texts = _cached(run, config, encoders, draws, measured, framing, events, host, check)
    encoders.free()

    events.phase("loading")
    prediction_type = config.objective.prediction_type or "epsilon"
    live = encoders.keep("texts") if config.model.train_text_encoder else {}
    trainee = Trainee(family, family.load(family.denoiser, base), live).train()
    if config.train.gradient_checkpointing:
        trainee.enable_gradient_checkpointing()
    trained = adapters.make(family, trainee.parts(), config)
    trainee.to(host.device)
    host.autocast(*trainee.parts().values())
    for part in trainee.parts().values():
        kernels.choose(part, config.compute, host.device)
    parameters = list(trained.named().values())
    ema = average_of(parameters, config.ema)
    model = host.accelerator.prepare_model(trainee)
    total = config.train.max_steps or 0
    peak = (config.optim.learning_rate or 0.0) * (_window(config, host) if config.optim.scale_lr else 1)
    rate = optim.schedule(config.optim.lr_scheduler, peak, config.optim.lr_warmup_steps, total)
    groups = trained.groups(config.optim.text_encoder_learning_rate, config.optim.learning_rate or 1.0)
    update = optim.make(groups, config.optim, rate, host.accelerator.scaler)
    objective = objectives.make(family.schedule(base), prediction_type, config.objective)
    gc.freeze()  # what the imports made lives for ever: collecting after each drawing then takes milliseconds
    facts = {**host.facts(), "data_sha": digest(rows), "base_sha": digest(encoders.hashes)}
    tally = Tally(rows, host)
    feed = Feed(family, objective, objectives.noise_of(config.objective), draws.seed, pictures, texts, framing,
                host.device)
    batch = config.train.batch_size or 1
    return Trainer(
        host=host, events=events, controls=controls, family=family, model=model, ema=ema,
        update=update, draws=draws, feed=feed,
        keeper=Keeper(run, config, events, Weights(trained, ema, update, tally), facts),
        sampler=Sampler(run, config, events, encoders, trainee, ema, update, controls.leaving),
        validator=Validator(events, trainee, ema, update, feed, fixed, measured, batch), tally=tally,
        total_steps=total, batch_size=batch, window=_window(config, host),
        sample_every=config.sample.every_steps or 0, save_every=config.checkpoint.every_steps or total,
        validate_every=config.validation.every_steps or 0)


def _sizes(data: Data) -> Callable[[dict[str, Any]], Size]:
    """The size in pixels at which a row is trained: its bucket, or the square for all."""
    side = data.resolution or 0
    if not data.buckets:
        return lambda row: (side, side)
    return Buckets(side, data.bucket_step or STEP, data.bucket_max_aspect, not data.bucket_no_upscale).of


def _window(config: Config, host: Host) -> int:
    return (config.train.batch_size or 1) * config.train.gradient_accumulation_steps * host.ranks


def _base(config: Config, family: Family, events: EventWriter, host: Host) -> Source:
    """The base's files; rank 0 downloads what is missing, with a phase in bytes. Raises BaseProblem."""
    model = config.model
    found = source.locate(model.base, model.revision, model.variant)
    if found is None and host.main:
        found = source.fetch(family, model.base, model.revision, model.variant, os.environ.get("HF_TOKEN"),
                             lambda done, total: events.phase("downloading", done, total, "bytes"))
    base = host.tell(found)
    family.check(base)
    return base


def _cached(run: Run, config: Config, encoders: Encoders, draws: Draws, held: list[Sample], framing: Framing,
            events: EventWriter, host: Host, check: Callable[[], None]
            ) -> tuple[CachedPictures, CachedPictures, CachedTexts | None]:
    """Every encoding the run needs, each rank making its share of what is missing: of pictures as they are trained,
    of pictures as they are cached (the same, or those held out), and of captions."""

    home = run.home

    def path_of(row: dict[str, Any]) -> Path:
        return datasets.picture_path(home, row)

    texts = None if config.model.train_text_encoder else CachedTexts(home, encoders)
    if texts is None:
        events.warning("texts_not_cached", "The text encoder learns, so every step encodes its captions again.")
    pictures = fixed = CachedPictures(home, encoders, framing, path_of)
    if draws.random_crops and not draws.crop_variants:
        pictures = LivePictures(home, encoders, framing, path_of, config.compute.num_workers)
        events.warning("not_cached", "Random crops cannot be cached: every step encodes its pictures again, which is "
                       "slower. Turn on the centre crop, or set crop variants, for speed.")
    seen = [*(draws.variants() if pictures is fixed else []), *held]
    variants = {fixed.key(sample): sample for sample in seen}
    mine = slice(host.rank, None, host.ranks)
    captions = sorted({*draws.captions(), *(s.caption for s in held)}) if texts else []
    samples, own_captions = list(variants.values())[mine], captions[mine]
    progress = _progress(events, len(samples) + len(own_captions), check)
    if texts:
        texts.fill(own_captions, progress)
    fixed.fill(samples, progress)
    host.wait()
    for cached in (texts, fixed):
        if cached:
            cached.refresh()
    if host.main:
        of_texts = texts.shards.files(map(digest, captions)) if texts else set()
        trim.note_use(run, fixed.shards.files(variants) | of_texts)
        trim.trim(run, events)
    return pictures, fixed, texts


def _progress(events: EventWriter, total: int, check: Callable[[], None]) -> Callable[[], None]:
    """What is called after each encoding: tells how far the caching is, and asks whether somebody wants to leave."""
    done, every, told = 0, max(1, total // 100), 0.0

    def progress() -> None:
        nonlocal done, told
        done += 1
        if done == total or time.monotonic() - told >= PROGRESS_SECONDS:
            told = time.monotonic()
            events.phase("caching", done, total, "encodings")
        if done % every == 0 or done == total:
            check()

    return progress
