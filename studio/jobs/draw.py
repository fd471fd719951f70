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
from pathlib import Path
from typing import Any

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
from studio.train.learning.adapters import Lora
from studio.train.parallel.distributed import Host, WrongPrecision
from studio.train.preparing import base_of
from studio.train.sample import Prompts, pipeline_of


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
    host = _host(job, config)
    try:
        Drawing(job, run, config, host).draw()
    finally:
        host.close()


def _host(job: RunningJob, config: Config) -> Host:
    """As in training, where this machine can."""
    try:
        return Host(config)
    except WrongPrecision as problem:
        job.warn("precision",
                 Message("The run was trained in another precision than this machine has ({why}): the pictures are "
                         "drawn in fp32, and differ a little from the run's own.", why=problem))
        return Host(config_.load(config_.merge(config_.dump(config), {"train": {"mixed_precision": "no"}})))


class Drawing:
    """One pipeline for all columns."""

    def __init__(self, job: RunningJob, run: runs.Run, config: Config, host: Host):
        self.job, self.run, self.config, self.args = job, run, config, job.args
        self.family = source_.family_of(config.model)
        base, hashes = base_of(job.home, config, self.family, job.events)
        job.phase("loading")
        host.join()
        encoders = Encoders(self.family, base, host.device, hashes)
        self.trainee, self.trained = build.learner(config, encoders, host)
        self.trainee.eval()
        self.prompts = Prompts(encoders, self.trainee,
                               None if config.model.train_text_encoder else CachedTexts(job.home, encoders))
        self.prompts.fill([*self.args["prompts"], self.args["negative_prompt"]])
        self.pipeline = pipeline_of(encoders, self.trainee, config.objective)
        side = self.args.get("resolution")  # of a drawing that was asked for before pictures had two sides
        self.size = self.args.get("width") or side, self.args.get("height") or side
        self.cells = [(place, seed) for place in range(len(self.args["prompts"])) for seed in self.args["seeds"]]
        self.done, self.total = 0, len(self.args["columns"]) * len(self.cells)

    def draw(self) -> None:
        """Every picture, the base's first: its weights are there before any other's."""
        columns = list(enumerate(self.args["columns"]))
        for place, column in sorted(columns, key=lambda entry: entry[1]["checkpoint"] is not None):
            if column["checkpoint"] is not None and not self._load(column):
                self.done += len(self.cells)
                continue
            for prompt, seed in self.cells:
                self.job.phase("drawing", self.done, self.total, "pictures")
                self._picture(place, column, prompt, seed)
                self.done += 1
        self.job.phase("drawing", self.total, self.total, "pictures")

    def _load(self, column: dict[str, Any]) -> bool:
        """Take the column's weights over; False, with a warning, for damaged ones."""
        name, weights = column["checkpoint"], column["weights"]
        folder = self.job.folder.inputs / name
        self.job.phase("loading")
        try:
            storage.verify(folder, runs.parts_of(storage.manifest(folder), weights))
        except storage.Corrupt as problem:
            self.job.warn("damaged_checkpoint",
                          Message("{name} is damaged, so nothing is drawn with it: {why}", name=name, why=problem))
            return False
        self.trained.load(folder, "_ema" if weights == "ema" else "")
        if isinstance(self.trained, Lora):
            self.trained.scale(column["scale"])
        return True

    def _picture(self, place: int, column: dict[str, Any], prompt: int, seed: int) -> None:
        args = self.args
        picture = self.family.generate(
            self.pipeline, self.prompts(args["prompts"][prompt]), seed, size=self.size,
            steps=args["num_inference_steps"], guidance=args["guidance_scale"],
            negative=self.prompts(args["negative_prompt"] or self.family.empty_text()), between=self.job.check)
        png = _png(picture, self._settings(column, prompt, seed), self.family.sampler)
        self.job.result(f"{self.done:04d}.png", png, "image/png", column=place, prompt=prompt, seed=seed)

    def _settings(self, column: dict[str, Any], prompt: int, seed: int) -> dict[str, Any]:
        """What the picture was drawn with; a base that is a folder of this machine goes by its last name alone."""
        base = self.config.model.base
        shared = ("negative_prompt", "guidance_scale", "num_inference_steps")
        return {"run": self.run.record()["name"], **column, "base": Path(base).name if base[:1] in "/~" else base,
                "prompt": self.args["prompts"][prompt], "seed": seed, "width": self.size[0],
                "height": self.size[1], **{key: self.args[key] for key in shared}}


def _png(picture: Image, settings: dict[str, Any], sampler: str) -> bytes:
    """Lossless, with its settings twice: as JSON, and as the line of words that many programs read."""
    model = " ".join([settings["run"], settings["checkpoint"], settings["weights"]]
                     if settings["checkpoint"] else [settings["base"]])
    negative = f"\nNegative prompt: {settings['negative_prompt']}" if settings["negative_prompt"] else ""
    said = PngInfo()
    said.add_text("parameters", f"{settings['prompt']}{negative}\nSteps: {settings['num_inference_steps']}, Sampler: "
                  f"{sampler}, CFG scale: {settings['guidance_scale']}, Seed: {settings['seed']}, "
                  f"Size: {picture.width}x{picture.height}, Model: {model}")
    said.add_text("studio", json.dumps(settings, ensure_ascii=False))
    out = io.BytesIO()
    picture.save(out, "PNG", pnginfo=said)
    return out.getvalue()
