"""From samples to what a forward pass needs: cached encodings, noise and times, all keyed by epoch and position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from studio.config import Objective as ObjectiveSettings
from studio.families import Family
from studio.train.batches.cache import CachedPictures, CachedTexts, Tensors
from studio.train.batches.sampler import ImageTransform, Sample, normal, uniform
from studio.train.learning.objectives import Noise, Objective


class Batch(NamedTuple):
    """Noisy latents x_t (B,c,h,w), what the denoiser is told of the time (B,), the target, and the conditions.

    `captions` are what the conditions lack when no texts are cached."""

    noisy_latents: torch.Tensor
    timesteps: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor
    conditions: Tensors
    captions: list[str]


@dataclass
class Collator:
    """Makes batches on the CPU in fp32 and sends them to the device."""

    family: Family
    objective: Objective
    noise: Noise
    seed: int
    pictures: CachedPictures
    texts: CachedTexts | None
    image_transform: ImageTransform
    device: torch.device
    settings: ObjectiveSettings

    def __call__(self, samples: list[Sample]) -> Batch:
        """The batch of these samples, which are of one size."""
        posterior = stack(list(map(self.pictures, samples)))
        latent_shape = tuple(self.family.latent_mode(posterior).shape[1:])

        def draw(stream: str, shape: tuple[int, ...]) -> torch.Tensor:
            """Standard normal numbers (B, *shape), which each sample has for itself."""
            return torch.stack([normal(shape, self.seed, stream, s.epoch, s.position) for s in samples])

        x0 = self.family.sample_latents(posterior, draw("posterior", latent_shape))
        input_noise, target_noise = self.noise(draw, latent_shape)
        u = torch.tensor([uniform(self.seed, "timestep", s.epoch, s.position) for s in samples], dtype=torch.float64)
        return self.batch(samples, x0, input_noise, target_noise, u)

    def batch(self, samples: list[Sample], x0: torch.Tensor, input_noise: torch.Tensor,
              target_noise: torch.Tensor, u: torch.Tensor) -> Batch:
        """The batch of latents x0 (B,c,h,w), the noise in x_t, the noise of the target, and times u (B,)."""
        send, objective = self._send, self.objective
        t = objective.time(u, self.family.tokens(*x0.shape[-2:]))
        if t.is_floating_point():
            t = t.float()
        conditions = {name: send(value) for name, value in self._conditions(samples).items()}
        return Batch(send(objective.mix(x0, input_noise, t)), send(objective.model_time(t)),
                     send(objective.target(x0, target_noise, t)), send(objective.weight(t)),
                     conditions, [sample.caption for sample in samples])

    def _conditions(self, samples: list[Sample]) -> Tensors:
        """What the denoiser is conditioned on: the cached encodings of the captions, and the numbers a family adds."""
        conditions: Tensors = {}
        if self.texts:
            conditions |= self.family.collate_texts([self.texts(sample.caption) for sample in samples])
        added = [self.family.added_conditions(self.image_transform.facts(sample), self.settings) for sample in samples]
        for name in added[0]:
            conditions[name] = torch.tensor([numbers[name] for numbers in added])
        return conditions

    def _send(self, value: torch.Tensor) -> torch.Tensor:
        return value.to(self.device, non_blocking=True)


def stack(entries: list[Tensors]) -> Tensors:
    """Encodings of single pictures of one size as one batch."""
    return {name: torch.cat([entry[name] for entry in entries]) for name in entries[0]}
