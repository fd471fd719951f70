"""The loss on held-out pictures: the same pictures, times and noise each time, so that only the weights differ."""

from __future__ import annotations

import traceback

import torch

from studio.folders.events import EventWriter
from studio.messages import Message
from studio.train.batches.cache import CachedPictures
from studio.train.batches.collator import Batch, Collator, stack
from studio.train.batches.sampler import CENTRE, DeterministicSampler, Row, Sample, normal, split_microbatches, uniform
from studio.train.learning.ema import Ema
from studio.train.learning.optim import Updater
from studio.train.learning.trainable import TrainableModel
from studio.train.parallel.engine import inference_weights

STRATA = 4  # times at which each picture is measured, one in each quarter of the noise levels


def samples(rows: list[Row], sampler: DeterministicSampler) -> list[Sample]:
    """Held-out rows as they are always seen: first caption, centre crop, no flip."""
    seen = []
    for row in rows:
        caption = sampler.captions_of(row)[0]
        seen.append(Sample(row, 0, 0, caption, False, CENTRE, sampler.size_of(row)))
    return seen


class Validator:
    """Measures the mean squared error of `held_out`, with the raw weights and the average.

    Times and noise follow from the picture alone, not from the run's seed, and latents are the posterior's mean: runs
    on the same held-out pictures compare. Weights of the times, offsets and perturbations of training have no part.
    """

    def __init__(self, events: EventWriter, model: TrainableModel, ema: Ema, update: Updater, collator: Collator,
                 pictures: CachedPictures, held_out: list[Sample], batch_size: int):
        self.events = events
        self.model = model
        self.ema = ema
        self.update = update
        self.collator = collator
        self.pictures = pictures
        self.held_out = held_out
        self.batches = split_microbatches(held_out, batch_size, 0, 1)

    def measure(self, step: int) -> bool:
        """Write the `validation` events of this step; False when it failed, which is a warning and no more."""
        try:
            self._measure(step)
        except Exception as error:  # a number is never worth a run
            traceback.print_exc()
            self.events.warning("validation_failed",
                                Message("The validation loss of step {step} could not be measured: {kind}: {why}. "
                                        "Training goes on.", step=step, kind=type(error).__name__,
                                        why=str(error)[:200]))
            return False
        return True

    def _measure(self, step: int) -> None:
        self.events.phase("validating")
        self.model.eval()
        try:
            for kind in self.ema.kinds_at(step):
                with inference_weights(kind, self.ema, self.update):
                    loss = self._loss()
                self.events.validation(step=step, loss=loss, weights=kind, pictures=len(self.held_out))
        finally:
            self.model.train()

    @torch.no_grad()
    def _loss(self) -> float:
        """The mean over all held-out pictures and STRATA times of the squared error, with the weights of the moment."""
        errors = []
        for stratum in range(STRATA):
            for pictures in self.batches:
                batch = self._batch(pictures, stratum)
                predicted = self.model(batch.noisy_latents, batch.timesteps, batch.conditions, batch.captions)
                errors.append((predicted.float() - batch.target).square().mean(dim=(1, 2, 3)))
        return torch.cat(errors).double().mean().item()

    def _batch(self, samples: list[Sample], stratum: int) -> Batch:
        """These pictures with their noise and times of a stratum, which follow from their names."""
        x0 = self.collator.family.latent_mode(stack(list(map(self.pictures, samples))))
        shape = tuple(x0.shape[1:])
        noises: list[torch.Tensor] = []
        times: list[float] = []
        for sample in samples:
            name = sample.row["image"]
            noises.append(normal(shape, 0, f"validation-noise/{name}", stratum, 0))
            times.append((stratum + uniform(0, f"validation-time/{name}", stratum, 0)) / STRATA)
        eps = torch.stack(noises)
        return self.collator.batch(samples, x0, eps, eps, torch.tensor(times, dtype=torch.float64))
