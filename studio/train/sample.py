"""Sample pictures: drawn from fixed seeds with the weights of the moment, written whole, announced last."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import torch

from studio import faults, storage
from studio.config import Config
from studio.events import EventWriter, trace
from studio.runs import Run
from studio.train.cache import Encoders
from studio.train.ema import Ema
from studio.train.model import Trainee
from studio.train.optim import Updater


def pipeline_of(encoders: Encoders, model: Trainee, objective: Any) -> Any:
    """The family's pipeline with what learns, and the frozen parts around it."""
    parts = {**encoders.load(), **model.parts()}
    return encoders.family.pipeline(parts, encoders.source, objective.prediction_type or "epsilon",
                                    zero_terminal_snr=objective.zero_terminal_snr)


class Sampler:
    """Draws with what `model` has learnt, raw and averaged; between pictures `interrupted` tells of a wish to leave.

    Pictures come from CPU generators of their own (seed + prompt's number), so training's randomness stays untouched.
    """

    def __init__(self, run: Run, config: Config, events: EventWriter, encoders: Encoders, model: Trainee, ema: Ema,
                 update: Updater, interrupted: Callable[[], bool]):
        self.run, self.settings, self.events, self.encoders = run, config.sample, events, encoders
        self.model, self.ema, self.update = model, ema, update
        self.objective, self.interrupted = config.objective, interrupted
        self.resolution = config.data.resolution
        self.seconds = 0.0  # how long the last drawing took

    def draw(self, step: int, prompt: str | None = None) -> bool:
        """Draw the config's prompts, or the one asked for; False when it failed, which is a warning and no more."""
        prompts = [prompt] if prompt else self.settings.prompts or []
        kinds = self.ema.kinds if step else ("raw",)  # before the first update both are the same
        began = time.monotonic()
        try:
            if prompts:
                self._draw(step, prompts, kinds, requested=bool(prompt))
        except Exception as error:  # a picture is never worth a run
            trace()
            self.events.warning("sampling_failed", f"Sample pictures of step {step} could not be drawn: "
                                f"{faults.plain(error)[:220]}. Training goes on.")
            return False
        finally:
            self.seconds = time.monotonic() - began
            self.encoders.free()
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return True

    def _draw(self, step: int, prompts: list[str], kinds: tuple[str, ...], requested: bool) -> None:
        total, done = len(prompts) * len(kinds), 0
        self.events.phase("sampling", 0, total, "pictures")
        pipeline = pipeline_of(self.encoders, self.model, self.objective)
        self.model.eval()
        try:
            for kind in kinds:
                with self.ema.swapped() if kind == "ema" else self.update.drawing():
                    for index, prompt in enumerate(prompts):
                        if self.interrupted():
                            return
                        self._picture(pipeline, step, index, prompt, kind, requested)
                        done += 1
                        self.events.phase("sampling", done, total, "pictures")
        finally:
            self.model.train()

    def _picture(self, pipeline: Any, step: int, index: int, prompt: str, kind: str, requested: bool) -> None:
        settings, seed = self.settings, self.settings.seed + index
        picture = self.encoders.family.draw_pictures(
            pipeline, [prompt], [seed], resolution=self.resolution or 0, steps=settings.num_inference_steps,
            guidance=settings.guidance_scale or 0.0)[0]
        mark = f"r{time.time_ns()}" if requested else f"p{index}"
        name = f"step-{step:06d}-{mark}-{kind}.webp"
        storage.make_folder(self.run.samples)
        with storage.writing(self.run.samples / name) as file:
            picture.save(file, format="WEBP", lossless=True)
        self.events.add(
            "sample", step=step, prompt_index=index, prompt=prompt, weights=kind, file=name, seed=seed,
            guidance_scale=settings.guidance_scale, num_inference_steps=settings.num_inference_steps,
            requested=requested)
