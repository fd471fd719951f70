"""A heavy job: pictures of a run's checkpoints and of its base, the same prompts and seeds for each.

Arguments: {run, columns: [{checkpoint (null: the base), weights, scale}], prompts, negative_prompt, seeds,
guidance_scale, num_inference_steps, width, height}. The weights lie in `inputs/<checkpoint>/`. Results: for each
column, and in it for each prompt and seed, `<number>.png` with `column`, `prompt` (its place), and `seed`; the file
names its settings too. At its training's settings a picture has the very pixels of the trainer's sample.
"""

from __future__ import annotations

import io
import json
import os
from itertools import product
from pathlib import Path
from typing import TypedDict

from PIL.Image import Image
from PIL.PngImagePlugin import PngInfo

from studio import config as config_
from studio import storage
from studio.bases import source as source_
from studio.config import Config
from studio.folders import runs
from studio.jobs.running import JobError, RunningJob
from studio.messages import Message
from studio.system import machine
from studio.train import build
from studio.train.batches.cache import CachedTexts, Encoders
from studio.train.learning.adapters import LoraWeights
from studio.train.parallel.distributed import Distributed, WrongPrecision
from studio.train.preparing import base_of
from studio.train.previews import PromptEncoder, pipeline_of


class Column(TypedDict):
    """Weights to draw with: a checkpoint's (null: the base's), raw or averaged, and at which scale, if it is a LoRA."""

    checkpoint: str | None
    weights: str
    scale: float


class Settings(Column):
    """What a picture was drawn with, as the file itself says it."""

    run: str
    base: str
    prompt: str
    seed: int
    width: int
    height: int
    negative_prompt: str
    guidance_scale: float
    num_inference_steps: int


def main(job: RunningJob) -> None:
    """Build what the run trains, then give it the weights of one column after the other."""
    try:
        run = runs.find(job.home, job.args["run"])
    except runs.NotFound:
        raise JobError(Message("The run is no longer here."), Message("Choose another run, and draw again."),
                       "gone") from None
    config = run.config()
    if not machine.facts(job.home)["gpus"]:
        os.environ["ACCELERATE_USE_CPU"] = "true"  # as a run is started
    distributed = _host(job, config)
    try:
        ImageGenerator(job, run, config, distributed).draw()
    finally:
        distributed.close()


def _host(job: RunningJob, config: Config) -> Distributed:
    """As in training, where this machine can."""
    try:
        return Distributed(config)
    except WrongPrecision as problem:
        job.warn("precision",
                 Message("The run was trained in another precision than this machine has ({why}): the pictures are "
                         "drawn in fp32, and differ a little from the run's own.", why=problem))
        return Distributed(config_.load(config_.merge(config_.dump(config), {"train": {"mixed_precision": "no"}})))


class ImageGenerator:
    """One pipeline for all columns."""

    def __init__(self, job: RunningJob, run: runs.Run, config: Config, distributed: Distributed):
        self.job = job
        self.run = run
        self.config = config
        self.args = job.args
        self.family = source_.family_of(config.model)
        base, hashes = base_of(job.home, config, self.family, job.events)
        job.phase("loading")
        distributed.join()
        encoders = Encoders(self.family, base, distributed.device, hashes)
        self.trainable, self.trained = build.load_trainable(config, encoders, distributed)
        self.trainable.eval()
        cached = None
        if not config.model.train_text_encoder:
            cached = CachedTexts(job.home, encoders)
        self.prompts = PromptEncoder(encoders, self.trainable, cached)
        self.prompts.fill([*self.args["prompts"], self.args["negative_prompt"]])
        self.pipeline = pipeline_of(encoders, self.trainable, config.objective)
        side = self.args.get("resolution")  # of a drawing that was asked for before pictures had two sides
        self.size = self.args.get("width") or side, self.args.get("height") or side
        self.cells = list(product(range(len(self.args["prompts"])), self.args["seeds"]))
        self.done = 0  # pictures
        self.total = len(self.args["columns"]) * len(self.cells)

    def draw(self) -> None:
        """Every picture, the base's first: its weights are there before any other's."""
        columns: list[tuple[int, Column]] = list(enumerate(self.args["columns"]))
        for place, column in sorted(columns, key=lambda entry: entry[1]["checkpoint"] is not None):
            checkpoint = column["checkpoint"]
            if checkpoint is not None and not self._load(checkpoint, column):
                self.done += len(self.cells)
                continue
            for prompt, seed in self.cells:
                self.job.phase("drawing", self.done, self.total, "pictures")
                self._picture(place, column, prompt, seed)
                self.done += 1
        self.job.phase("drawing", self.total, self.total, "pictures")

    def _load(self, name: str, column: Column) -> bool:
        """Take over the column's weights, of the checkpoint `name`; False, with a warning, for damaged ones."""
        folder = self.job.folder.inputs / name
        self.job.phase("loading")
        try:
            storage.verify(folder, runs.parts_of(storage.manifest(folder), column["weights"]))
        except storage.Corrupt as problem:
            self.job.warn("damaged_checkpoint",
                          Message("{name} is damaged, so nothing is drawn with it: {why}", name=name, why=problem))
            return False
        ending = ""
        if column["weights"] == "ema":
            ending = "_ema"
        self.trained.load(folder, ending)
        if isinstance(self.trained, LoraWeights):
            self.trained.scale(column["scale"])
        return True

    def _picture(self, place: int, column: Column, prompt: int, seed: int) -> None:
        """Draw the prompt of that place with the weights that are loaded, and keep the picture as a result."""
        args = self.args
        picture = self.family.generate(
            self.pipeline, self.prompts(args["prompts"][prompt]), seed, size=self.size,
            steps=args["num_inference_steps"], guidance=args["guidance_scale"],
            negative=self.prompts(args["negative_prompt"] or self.family.empty_text()), between=self.job.check)
        png = _png(picture, self._settings(column, prompt, seed), self.family.sampler)
        self.job.result(f"{self.done:04d}.png", png, "image/png", column=place, prompt=prompt, seed=seed)

    def _settings(self, column: Column, prompt: int, seed: int) -> Settings:
        """What the picture was drawn with; a base that is a folder of this machine goes by its last name alone."""
        args = self.args
        base = self.config.model.base
        if base.startswith(("/", "~")):
            base = Path(base).name
        width, height = self.size
        return {"run": self.run.record()["name"], **column, "base": base, "prompt": args["prompts"][prompt],
                "seed": seed, "width": width, "height": height, "negative_prompt": args["negative_prompt"],
                "guidance_scale": args["guidance_scale"], "num_inference_steps": args["num_inference_steps"]}


def _png(picture: Image, settings: Settings, sampler: str) -> bytes:
    """Lossless, with its settings twice: as JSON, and as the line of words that many programs read."""
    model = settings["base"]
    if settings["checkpoint"]:
        model = f"{settings['run']} {settings['checkpoint']} {settings['weights']}"
    negative = ""
    if settings["negative_prompt"]:
        negative = f"\nNegative prompt: {settings['negative_prompt']}"
    said = PngInfo()
    said.add_text("parameters", f"{settings['prompt']}{negative}\nSteps: {settings['num_inference_steps']}, Sampler: "
                  f"{sampler}, CFG scale: {settings['guidance_scale']}, Seed: {settings['seed']}, "
                  f"Size: {picture.width}x{picture.height}, Model: {model}")
    said.add_text("studio", json.dumps(settings, ensure_ascii=False))
    out = io.BytesIO()
    picture.save(out, "PNG", pnginfo=said)
    return out.getvalue()
