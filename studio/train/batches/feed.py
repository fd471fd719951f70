"""From samples to what a forward pass needs: cached encodings, noise and times, all keyed by epoch and position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from studio.families import Family
from studio.train.batches.cache import CachedPictures, CachedTexts, Tensors
from studio.train.batches.sampler import Framing, Sample, normal, uniform
from studio.train.learning.objectives import Noise, Objective


class Batch(NamedTuple):
    """Noisy latents x_t (B,c,h,w), what the denoiser is told of the time (B,), the target, and the conditions.

    `captions` are what the conditions lack when no texts are cached."""

    x_t: torch.Tensor
    time: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor
    cond: Tensors
    captions: list[str]


@dataclass
class Feed:
    """Makes batches on the CPU in fp32 and sends them to the device."""

    family: Family
    objective: Objective
    noise: Noise
    seed: int
    pictures: CachedPictures
    texts: CachedTexts | None
    framing: Framing
    device: torch.device
    settings: Any  # the config's `objective` section

    def __call__(self, samples: list[Sample]) -> Batch:
        """The batch of these samples."""
        stats = stack([self.pictures(s) for s in samples])
        shape = tuple(self.family.latent_mode(stats).shape[1:])

        def draw(stream: str, shape: tuple[int, ...]) -> torch.Tensor:
            return torch.stack([normal(shape, self.seed, stream, s.epoch, s.position) for s in samples])

        x0 = self.family.sample_latents(stats, draw("posterior", shape))
        seen, meant = self.noise(draw, shape)
        u = torch.tensor([uniform(self.seed, "timestep", s.epoch, s.position) for s in samples], dtype=torch.float64)
        return self.batch(samples, x0, seen, meant, u)

    def batch(self, samples: list[Sample], x0: torch.Tensor, seen: torch.Tensor, meant: torch.Tensor,
              u: torch.Tensor) -> Batch:
        """The batch of latents x0 (B,c,h,w), the noise seen in x_t and meant by the target, and times u (B,)."""
        send, objective = self._send, self.objective
        t = objective.time(u, self.family.tokens(*x0.shape[-2:]))
        t = t.float() if t.is_floating_point() else t
        return Batch(send(objective.mix(x0, seen, t)), send(objective.model_time(t)),
                     send(objective.target(x0, meant, t)), send(objective.weight(t)),
                     {k: send(v) for k, v in self._conditions(samples).items()}, [s.caption for s in samples])

    def _conditions(self, samples: list[Sample]) -> Tensors:
        cond = self.family.collate_texts([self.texts(s.caption) for s in samples]) if self.texts else {}
        extra = [self.family.added_conditions(self.framing.facts(s), self.settings) for s in samples]
        return {**cond, **{name: torch.tensor([e[name] for e in extra]) for name in extra[0]}}

    def _send(self, value: torch.Tensor) -> torch.Tensor:
        return value.to(self.device, non_blocking=True)


def stack(entries: list[Tensors]) -> Tensors:
    """Encodings of single pictures of one size as one batch."""
    return {name: torch.cat([entry[name] for entry in entries]) for name in entries[0]}
