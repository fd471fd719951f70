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
from studio.train.batches.collator import Collator
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
from studio.train.previews import PreviewGenerator
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
    sampler: DeterministicSampler
    collator: Collator
    manager: CheckpointManager
    previews: PreviewGenerator
    validator: Validator
    per_image_loss: PerImageLoss
    live_edits: LiveEdits
    total_steps: int
    batch_size: int
    global_batch_size: int
    sample_every: int
    save_every: int
    validate_every: int
    last_report: float = 0.0
    failed_saves: int = 0  # in a row
    retry_at: int | None = None  # the step after which a save that failed is tried again

    def apply(self, config: Config) -> None:
        """Take over what may change on the way (`edits.EDITABLE`) from `config`."""
        self.total_steps = config.train.max_steps or 0
        self.previews.settings = config.sample
        self.sample_every = config.sample.every_steps or 0
        self.manager.keep = config.checkpoint.keep
        self.save_every = config.checkpoint.every_steps or self.total_steps
        self.update.rate = optim.rate_of(config.optim, self.global_batch_size, self.total_steps)

    def global_batches(self, first: int) -> Iterator[tuple[int, list[Sample]]]:
        """(update number, its samples) from update `first` on; the one after is already being read."""
        coming = self.sampler.global_batches(self.global_batch_size, first)
        update, global_batch = next(coming)
        while True:
            following = next(coming)
            self.collator.pictures.ahead(following[1])
            yield update, global_batch
            update, global_batch = following

    def previews_due(self, step: int) -> bool:
        """Whether pictures are drawn after this step."""
        return step == self.total_steps or (self.sample_every > 0 and step % self.sample_every == 0)

    def save_due(self, step: int) -> bool:
        """Whether a checkpoint is saved after this step: its time has come, or the last save failed."""
        return step in (self.total_steps, self.retry_at) or step % self.save_every == 0

    def validation_due(self, step: int) -> bool:
        """Whether the loss on held-out pictures is measured after this step."""
        every = self.validate_every
        if every == 0 or not self.validator.held_out:
            return False
        return step == self.total_steps or step % every == 0

    def validate(self, step: int) -> bool:
        """Rank 0 measures, the others wait; every rank learns whether it did."""
        if not self.validation_due(step):
            return False
        with self.engine.gathered_parameters():
            return self.distributed.from_main(lambda: self.validator.measure(step))

    def generate_previews(self, step: int, prompt: str | None = None) -> bool:
        """Rank 0 generates them, the others wait; every rank learns whether it went well."""
        with self.engine.gathered_parameters():
            return self.distributed.from_main(lambda: self.previews.generate(step, prompt))

    def save(self, step: int) -> bool:
        """Rank 0 saves, the others wait; every rank learns whether it went well.

        A save that failed is tried again at the next step, then after 2, 4, ... 64 more."""
        self.per_image_loss.gather()
        epoch, index = divmod(step, self.sampler.updates_per_epoch(self.global_batch_size))
        with self.engine.gathered_parameters(optimizer=True):
            saved = self.distributed.from_main(lambda: self.manager.save(step, epoch, index * self.global_batch_size))
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


def build(run: Run, config: Config, rows: list[Row], held_out: list[Row], distributed: Distributed, events: EventWriter,
          controls: Controls, check: Callable[[], None]) -> Trainer:
    """Load, cache and prepare everything; `held_out` are the rows that are only measured.

    `check` is called now and then, until the processes meet, and may raise to end the build.
    """
    family = source_.family_of(config.model)
    ready = prepare(run, config, rows, held_out, distributed, events, check)
    base, encoders, sampler = ready.base, ready.encoders, ready.sampler
    events.phase("loading")
    distributed.join()
    trainable, trained = load_trainable(config, encoders, distributed)
    total = config.train.max_steps or 0
    rate = optim.rate_of(config.optim, _global_batch_size(config, distributed), total)
    engine = engines.make(run.deepspeed_file, distributed, trainable, trained, config, rate)
    view = engine.eval_view
    objective = objectives.make(family.schedule(base), config.objective.prediction_type or family.prediction_types[0],
                                config.objective, family.timesteps)
    gc.freeze()  # what the imports made lives for ever: collecting after each drawing then takes milliseconds
    facts: State = {**distributed.facts(), "data_sha": digest(rows), "base_sha": digest(encoders.hashes)}
    per_image_loss = PerImageLoss(rows, distributed)
    collator = Collator(family, objective, objectives.noise_of(config.objective), sampler.seed, ready.pictures,
                        ready.texts, ready.image_transform, distributed.device, config.objective)
    batch_size = config.train.batch_size or 1
    live_edits = LiveEdits(run, config, distributed.from_main(run.edits))
    weights = Weights(view.trained, view.ema, view.update, per_image_loss)
    manager = CheckpointManager(run, config, events, weights, facts, live_edits)
    previews = PreviewGenerator(run, config, events, encoders, view.model, view.ema, view.update, ready.texts,
                                controls.leaving)
    validator = Validator(events, view.model, view.ema, view.update, collator, ready.fixed, ready.measured, batch_size)
    return Trainer(distributed=distributed, events=events, controls=controls, family=family, engine=engine,
                   model=engine.model, ema=engine.ema, update=engine.update, sampler=sampler, collator=collator,
                   manager=manager, previews=previews, validator=validator, per_image_loss=per_image_loss,
                   live_edits=live_edits, total_steps=total, batch_size=batch_size,
                   global_batch_size=_global_batch_size(config, distributed),
                   sample_every=config.sample.every_steps or 0, save_every=config.checkpoint.every_steps or total,
                   validate_every=config.validation.every_steps or 0)


def load_trainable(config: Config, encoders: Encoders,
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


def _global_batch_size(config: Config, distributed: Distributed) -> int:
    """The pictures of one update, over all ranks and micro-batches."""
    return (config.train.batch_size or 1) * config.train.gradient_accumulation_steps * distributed.world_size
