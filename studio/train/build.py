"""From a run's config to the pieces the loop works with."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from studio.bases import source as source_
from studio.config import Config
from studio.families import Family
from studio.folders.events import EventWriter
from studio.folders.runs import Run
from studio.train.batches.cache import Encoders, digest
from studio.train.batches.feed import Feed
from studio.train.batches.sampler import DeterministicSampler, Row, Sample
from studio.train.checkpoints import CannotResume, CheckpointManager, State, Weights
from studio.train.control import Controls
from studio.train.learning import adapters, kernels, objectives, optim
from studio.train.learning.ema import Ema
from studio.train.learning.per_image_loss import PerImageLoss
from studio.train.learning.trainable import TrainableModel
from studio.train.live_edits import LiveEdits
from studio.train.parallel import engine as engines
from studio.train.parallel.distributed import Distributed
from studio.train.parallel.engine import Engine
from studio.train.preparing import prepare
from studio.train.sample import Sampler
from studio.train.validation import Validator


@dataclass
class Trainer:
    """Everything the loop uses. `model`, `ema` and `update` are the engine's: what runs forward and what it changes."""

    distributed: Distributed
    events: EventWriter
    controls: Controls
    family: Family
    engine: Engine
    model: torch.nn.Module
    ema: Ema
    update: optim.Updater
    draws: DeterministicSampler
    feed: Feed
    manager: CheckpointManager
    sampler: Sampler
    validator: Validator
    tally: PerImageLoss
    live_edits: LiveEdits
    total_steps: int
    batch_size: int
    window: int
    sample_every: int
    save_every: int
    validate_every: int
    last_report: float = 0.0
    failed_saves: int = 0  # in a row
    retry_at: int | None = None  # the step after which a save that failed is tried again

    def steer(self, config: Config) -> None:
        """Take over what may change on the way (`edits.EDITABLE`) from `config`."""
        self.total_steps = config.train.max_steps or 0
        self.sampler.settings = config.sample
        self.sample_every = config.sample.every_steps or 0
        self.manager.keep = config.checkpoint.keep
        self.save_every = config.checkpoint.every_steps or self.total_steps
        self.update.rate = optim.rate_of(config.optim, self.window, self.total_steps)

    def global_batches(self, first: int) -> Iterator[tuple[int, list[Sample]]]:
        """The windows from update `first` on; the one after is already being read."""
        coming = self.draws.global_batches(self.window, first)
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
        every = self.validate_every
        if every == 0 or not self.validator.held:
            return False
        return step == self.total_steps or step % every == 0

    def validate(self, step: int) -> bool:
        """Rank 0 measures, the others wait; every rank learns whether it did."""
        if not self.validation_due(step):
            return False
        with self.engine.gathered_parameters():
            return self.distributed.from_main(lambda: self.validator.measure(step))

    def draw(self, step: int, prompt: str | None = None) -> bool:
        """Rank 0 draws, the others wait; every rank learns whether it went well."""
        with self.engine.gathered_parameters():
            return self.distributed.from_main(lambda: self.sampler.draw(step, prompt))

    def save(self, step: int) -> bool:
        """Rank 0 saves, the others wait; every rank learns whether it went well.

        A save that failed is tried again at the next step, then after 2, 4, ... 64 more."""
        self.tally.gather()
        epoch, index = divmod(step, self.draws.windows_in_epoch(self.window))
        with self.engine.gathered_parameters(optimizer=True):
            saved = self.distributed.from_main(lambda: self.manager.save(step, epoch, index * self.window))
        if saved:
            self.failed_saves = 0
            self.retry_at = None
        else:
            self.failed_saves += 1
            self.retry_at = step + min(64, 2 ** (self.failed_saves - 1))
        return saved

    def load(self, path: Path) -> tuple[int, list[str]]:
        """Continue from this checkpoint of rank 0's: `CheckpointManager.load` there, and every rank takes it over.

        Raises CannotResume on every rank."""
        with self.engine.gathered_parameters(optimizer=True):
            loaded = self.distributed.from_main(lambda: self._read(path))
            if isinstance(loaded, CannotResume):
                raise loaded
            self.engine.broadcast_state()
        return loaded

    def _read(self, path: Path) -> tuple[int, list[str]] | CannotResume:
        """`CheckpointManager.load`, or why it must not be, which the other ranks are told too."""
        try:
            return self.manager.load(path)
        except CannotResume as error:
            return error


def build(run: Run, config: Config, rows: list[Row], held: list[Row], distributed: Distributed, events: EventWriter,
          controls: Controls, check: Callable[[], None]) -> Trainer:
    """Load, cache and prepare everything; `held` are the rows that are only measured.

    `check` is called now and then, until the processes meet, and may raise to end the build.
    """
    family = source_.family_of(config.model)
    ready = prepare(run, config, rows, held, distributed, events, check)
    base, encoders, draws = ready.base, ready.encoders, ready.draws
    events.phase("loading")
    distributed.join()
    trainable, trained = learner(config, encoders, distributed)
    total = config.train.max_steps or 0
    rate = optim.rate_of(config.optim, _window(config, distributed), total)
    engine = engines.make(run.deepspeed_file, distributed, trainable, trained, config, rate)
    shown = engine.shown
    objective = objectives.make(family.schedule(base), config.objective.prediction_type or family.prediction_types[0],
                                config.objective, family.timesteps)
    gc.freeze()  # what the imports made lives for ever: collecting after each drawing then takes milliseconds
    facts: State = {**distributed.facts(), "data_sha": digest(rows), "base_sha": digest(encoders.hashes)}
    tally = PerImageLoss(rows, distributed)
    feed = Feed(family, objective, objectives.noise_of(config.objective), draws.seed, ready.pictures, ready.texts,
                ready.framing, distributed.device, config.objective)
    batch_size = config.train.batch_size or 1
    live_edits = LiveEdits(run, config, distributed.from_main(run.edits))
    weights = Weights(shown.trained, shown.ema, shown.update, tally)
    manager = CheckpointManager(run, config, events, weights, facts, live_edits)
    sampler = Sampler(run, config, events, encoders, shown.model, shown.ema, shown.update, ready.texts,
                      controls.leaving)
    validator = Validator(events, shown.model, shown.ema, shown.update, feed, ready.fixed, ready.measured, batch_size)
    return Trainer(distributed=distributed, events=events, controls=controls, family=family, engine=engine,
                   model=engine.model, ema=engine.ema, update=engine.update, draws=draws, feed=feed, manager=manager,
                   sampler=sampler, validator=validator, tally=tally, live_edits=live_edits, total_steps=total,
                   batch_size=batch_size, window=_window(config, distributed),
                   sample_every=config.sample.every_steps or 0, save_every=config.checkpoint.every_steps or total,
                   validate_every=config.validation.every_steps or 0)


def learner(config: Config, encoders: Encoders,
            distributed: Distributed) -> tuple[TrainableModel, adapters.FullWeights]:
    """What learns, on the device and with the kernels of this run, as the base has it; and how it is kept."""
    family = encoders.family
    texts = encoders.keep("texts") if config.model.train_text_encoder else {}
    trainable = TrainableModel(family, family.load(family.denoiser, encoders.source, "float32"), texts).train()
    if config.train.gradient_checkpointing:
        trainable.enable_gradient_checkpointing()
    trained = adapters.make(family, trainable.parts(), config)
    trainable.to(distributed.device)
    distributed.autocast(*trainable.parts().values())
    for part in trainable.parts().values():
        kernels.choose(part, config.compute, distributed.device)
    return trainable, trained


def _window(config: Config, distributed: Distributed) -> int:
    """The pictures of one update, over all ranks and micro-batches."""
    return (config.train.batch_size or 1) * config.train.gradient_accumulation_steps * distributed.world_size
