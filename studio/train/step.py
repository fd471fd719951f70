"""One update of the weights: the mean loss over a global batch, its gradient, the step, and its event."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import torch

from studio.messages import Message
from studio.train.batches.collator import Batch
from studio.train.batches.sampler import Sample, split_microbatches, stream_seed
from studio.train.build import Trainer
from studio.train.errors import Diverged

PATIENCE = 3  # updates in a row that may be non-finite


@dataclass(frozen=True)
class Update:
    """One update whose loss and gradient norm are still on the device, scalars both."""

    step: int
    loss: torch.Tensor
    grad_norm: torch.Tensor
    lr: float
    pictures: int
    began: float
    errors: list[tuple[list[Sample], torch.Tensor]]  # of this rank's micro-batches: the loss of each picture (B,)


@dataclass
class Progress:
    """How far this attempt is: the last finished step, and the updates that are still to be told of."""

    step: int = 0
    nonfinite: int = 0  # such updates in a row
    unreported: list[Update] = field(default_factory=list)  # those not yet told of


def take_step(trainer: Trainer, update: int, global_batch: list[Sample], progress: Progress) -> None:
    """One update: the mean loss over the global batch, its gradient, the step, the average, the event."""
    began = time.perf_counter()
    distributed = trainer.distributed
    micro_batches = split_microbatches(global_batch, trainer.batch_size, distributed.rank, distributed.world_size)
    total = torch.zeros((), device=distributed.device)
    picture_errors: list[tuple[list[Sample], torch.Tensor]] = []
    for index, samples in enumerate(micro_batches):
        # DDP divides by the ranks and nothing divides by the micro-batches, so a picture weighs world_size over the
        # global batch.
        scale = distributed.world_size / len(global_batch) if samples else 0.0  # no pictures, no weight
        shown = samples or global_batch[:1]
        batch = trainer.collator(shown)
        torch.manual_seed(stream_seed(trainer.sampler.seed, "dropout", shown[0].epoch, shown[0].position))
        last = index == len(micro_batches) - 1
        with trainer.engine.accumulate(sync=last):
            batch = _refined(trainer, batch)
            predicted = trainer.model(batch.noisy_latents, batch.timesteps, batch.conditions, batch.captions)
            errors = (predicted.float() - batch.target).square().mean(dim=(1, 2, 3)) * batch.weight
            loss = errors.sum() * scale
            total += loss.detach()
            if last:
                trainer.update.begin(update, total)
            trainer.engine.backward(loss)
        if samples:
            picture_errors.append((samples, errors.detach()))
    loss = distributed.mean(total)
    norm = trainer.update(update, loss)
    trainer.ema.update()
    progress.unreported.append(Update(update + 1, loss, norm, trainer.update.rate(update), len(global_batch), began,
                                      picture_errors))
    # A GPU works on the next step while the last one is read.
    report(trainer, progress, keep=int(distributed.device.type != "cpu"))


def _refined(trainer: Trainer, batch: Batch) -> Batch:
    """The batch after the objective saw what the denoiser makes of it (DREAM), or as it is."""
    refine = trainer.collator.objective.refine
    if refine is None:
        return batch
    with torch.no_grad():
        predicted = trainer.model(batch.noisy_latents, batch.timesteps, batch.conditions, batch.captions).float()
        x_t, target = refine(batch.noisy_latents, batch.target, batch.timesteps, predicted)
    return batch._replace(noisy_latents=x_t, target=target)


def report(trainer: Trainer, progress: Progress, keep: int) -> None:
    """Write the events of all but the `keep` newest steps. Raises Diverged when too many in a row were not finite."""
    while len(progress.unreported) > keep:
        update = progress.unreported.pop(0)
        loss = update.loss.item()
        norm = update.grad_norm.item()
        for samples, errors in update.errors:
            trainer.per_image_loss.add(samples, errors)
        now = time.perf_counter()
        seconds = now - max(update.began, trainer.last_report)
        trainer.last_report = now
        trainer.events.step(step=update.step, loss=loss, lr=update.lr, grad_norm=norm, pictures=update.pictures,
                            seconds=seconds)
        # fp16's gradient scaler looks for its scale by overflowing: only a non-finite loss counts there.
        if math.isfinite(loss) and (trainer.update.scaler is not None or math.isfinite(norm)):
            progress.nonfinite = 0
            continue
        progress.nonfinite += 1
        trainer.events.warning("skipped_update", _skipped(trainer, update.step, loss))
        if progress.nonfinite >= PATIENCE:
            raise Diverged(Message("the loss or its gradient was not finite {times} times in a row, last at step "
                                   "{step}", times=PATIENCE, step=update.step))


def _skipped(trainer: Trainer, step: int, loss: float) -> Message:
    """What is said of a step whose loss, or else its gradient, was not finite."""
    if not math.isfinite(loss):
        return Message("Step {step} was skipped: its {what} was not finite.", step=step, what=Message("loss"))
    if not trainer.update.partial:
        return Message("Step {step} was skipped: its {what} was not finite.", step=step, what=Message("gradient"))
    return Message("Step {step} was skipped for the weights whose gradient that is: its {what} was not finite.",
                   step=step, what=Message("gradient"))
