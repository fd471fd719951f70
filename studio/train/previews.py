"""Previews: generated from fixed seeds with the weights of the moment, written whole, announced last."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from studio import config as config_
from studio import storage
from studio.config import Config, Objective
from studio.folders.events import EventWriter, trace
from studio.folders.runs import Run
from studio.messages import Message
from studio.storage import faults
from studio.train.batches.cache import CachedTexts, Encoders, Tensors
from studio.train.learning.ema import Ema
from studio.train.learning.optim import Updater
from studio.train.learning.trainable import TrainableModel
from studio.train.parallel.engine import inference_weights

if TYPE_CHECKING:
    from studio.families import Pipeline


def pipeline_of(encoders: Encoders, model: TrainableModel, objective: Objective) -> Pipeline:
    """The family's pipeline with what learns, and the parts that decode; its prompts come encoded (`PromptEncoder`)."""
    parts = {**encoders.load("images"), **model.parts()}
    return encoders.family.pipeline(parts, encoders.source, objective)


class PromptEncoder:
    """Conditions of prompts for the denoiser: from the cache of captions, or where the text encoders learn (`texts` is
    None) by them as they are at the moment. Encoders are loaded for new words alone, and not kept."""

    def __init__(self, encoders: Encoders, model: TrainableModel, texts: CachedTexts | None):
        self.encoders = encoders
        self.model = model
        self.texts = texts

    def fill(self, prompts: list[str]) -> None:
        """Encode what the cache lacks of these prompts, and of what guidance leads away from where nothing is said."""
        if self.texts is None:
            return
        texts = [*prompts, self.encoders.family.empty_text()]
        if not all(map(self.texts.holds, texts)):
            self.texts.fill(texts, lambda: None)
            self.encoders.free()

    @torch.no_grad()
    def __call__(self, prompt: str) -> Tensors:
        """The conditions of a prompt that `fill` was given, or of the empty one."""
        if self.texts is not None:
            return self.texts(prompt)
        return self.encoders.family.encode_texts(self.model.texts, [prompt])


class PreviewGenerator:
    """Generates previews with the raw and averaged weights; between two, `interrupted` tells of a wish to leave.

    Pictures come from CPU generators of their own (seed + prompt's number), so training's randomness stays untouched.
    """

    def __init__(self, run: Run, config: Config, events: EventWriter, encoders: Encoders, model: TrainableModel,
                 ema: Ema, update: Updater, texts: CachedTexts | None, interrupted: Callable[[], bool]):
        self.run = run
        self.settings = config.sample
        self.objective = config.objective
        self.events = events
        self.encoders = encoders
        self.conditions = PromptEncoder(encoders, model, texts)
        self.model = model
        self.ema = ema
        self.update = update
        self.interrupted = interrupted
        self.size = config_.preview_size(config)
        self.seconds = 0.0  # how long the last drawing took

    def generate(self, step: int, prompt: str | None = None) -> bool:
        """Those of the config's prompts, or the one asked for; False when it failed, which is a warning and no more."""
        prompts = self.settings.prompts or []
        if prompt:
            prompts = [prompt]
        kinds = self.ema.kinds_at(step)
        began = time.monotonic()
        try:
            if prompts:
                self._generate(step, prompts, kinds, requested=bool(prompt))
        except Exception as error:  # a picture is never worth a run
            trace()
            self.events.warning("sampling_failed",
                                Message("Sample pictures of step {step} could not be drawn: {why}. Training goes on.",
                                        step=step, why=faults.plain(error)[:220]))
            return False
        finally:
            self.seconds = time.monotonic() - began
            self.encoders.free()
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return True

    def _generate(self, step: int, prompts: list[str], kinds: tuple[str, ...], requested: bool) -> None:
        done = 0
        total = len(prompts) * len(kinds)
        self.events.phase("sampling", 0, total, "pictures")
        self.conditions.fill(prompts)
        pipeline = pipeline_of(self.encoders, self.model, self.objective)
        self.model.eval()
        try:
            for kind in kinds:
                with inference_weights(kind, self.ema, self.update):
                    for index, prompt in enumerate(prompts):
                        if self.interrupted():
                            return
                        self._generate_one(pipeline, step, index, prompt, kind, requested)
                        done += 1
                        self.events.phase("sampling", done, total, "pictures")
        finally:
            self.model.train()

    def _generate_one(self, pipeline: Pipeline, step: int, index: int, prompt: str, kind: str,
                      requested: bool) -> None:
        """Draw the picture of one prompt, write it as lossless WebP and tell of it."""
        settings = self.settings
        seed = settings.seed + index
        family = self.encoders.family
        picture = family.generate(
            pipeline, self.conditions(prompt), seed, size=self.size, steps=settings.num_inference_steps or 1,
            guidance=settings.guidance_scale or 0.0, negative=self.conditions(family.empty_text()))
        mark = f"r{time.time_ns()}" if requested else f"p{index}"
        name = f"step-{step:06d}-{mark}-{kind}.webp"
        storage.make_folder(self.run.samples)
        with storage.writing(self.run.samples / name) as file:
            picture.save(file, format="WEBP", lossless=True)
        self.events.add(
            "sample", step=step, prompt_index=index, prompt=prompt, weights=kind, file=name, seed=seed,
            guidance_scale=settings.guidance_scale, num_inference_steps=settings.num_inference_steps,
            requested=requested)
