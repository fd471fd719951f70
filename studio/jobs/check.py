"""A heavy job: the first steps and one picture of a run, with the very trainer, and what they took.

Arguments: {config}, resolved. Results: `picture.webp`, where it could be drawn, and `report.json`, told as facts too:
`device`; `steps` taken; `seconds_to_first_step` from the start of the process, with the encoding of the few pictures
used; `seconds_per_step`, of those after the first; `seconds_per_picture`, with loading what decodes again; `loss` of
the last step; `finite`; `peak_memory_bytes` of the process, `peak_gpu_bytes`. What is not known is null.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch

from studio import config as config_
from studio import datasets, prepare, storage
from studio.config import Config
from studio.folders import work
from studio.folders.events import EventWriter
from studio.folders.records import Event, Row
from studio.folders.runs import Run
from studio.jobs.running import JobError, RunningJob
from studio.messages import Message
from studio.system import machine
from studio.train import errors, loop
from studio.train.build import Trainer, build
from studio.train.parallel.distributed import Distributed, peak_memory

WARM = 2  # steps after the first, which is slower: at least
MOST = 10  # and at most
SECONDS = 3.0  # beyond WARM, steps are added until they took this long together, so that quick ones are measured well


class TemporaryRun(Run):
    """A run's folder inside the job's: in no list of runs, and gone when the job ends."""

    @property
    def home(self) -> Path:
        """The home its job lies in."""
        return self.path.parents[2]


class Picture(NamedTuple):
    """A sample picture that was drawn."""

    file: str
    prompt: str
    seed: int


@dataclass
class EventCollector:
    """What the trainer's events told; phases and warnings become the job's own."""

    job: RunningJob
    seconds: list[float] = field(default_factory=list)  # of each step
    losses: list[float | None] = field(default_factory=list)  # of each step; None for one that is not finite
    pictures: list[Picture] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        """Take in one event. A cancel is noticed elsewhere: an exception in here would pass for the trainer's own."""
        if event["kind"] == "phase":
            self.job.events.phase(event["phase"], event["done"], event["total"], event["unit"])
        elif event["kind"] == "warning":
            self.job.warn(event["code"], event["message"])
        elif event["kind"] == "step":
            self.seconds.append(event["seconds"])
            self.losses.append(event["loss"])
        elif event["kind"] == "sample":
            self.pictures.append(Picture(event["file"], event["prompt"], event["seed"]))


def main(job: RunningJob) -> None:
    """Train and draw in a folder that goes, and keep the picture and the numbers."""
    config, rows = _asked(job)
    if not machine.facts(job.home)["gpus"]:
        os.environ["ACCELERATE_USE_CPU"] = "true"  # as a run is started
    run = TemporaryRun(job.folder.path / "run")
    run.path.mkdir()
    storage.write_json(run.config_file, config_.dump(config))
    try:
        _measure(job, run, config, rows)
    except Exception as error:
        told = errors.explain(error, run)
        if told["code"] == "out_of_memory":
            raise JobError(told["message"], told["hint"], told["code"]) from error
        raise
    finally:
        storage.clear(run.path)


def _asked(job: RunningJob) -> tuple[Config, list[Row]]:
    """The config with one prompt, and the rows of the first steps: encoding a whole data set may take hours."""
    config = config_.load(job.args["config"])
    dataset = datasets.find(job.home, config.data.dataset)
    chosen = prepare.chosen_rows(dataset.freeze(), config.data, config.validation, config.train.seed or 0)
    rows = [row for row in chosen if row["split"] == "train"]
    if not rows:
        raise JobError(Message("The data set has no pictures to train on."), Message("Add some, then check again."))
    prompts = [*(config.sample.prompts or []), *rows[0]["captions"], ""][:1]
    global_batch_size = (config.train.batch_size or 1) * config.train.gradient_accumulation_steps
    asked = config_.merge(job.args["config"], {"sample": {"prompts": prompts}})
    return config_.load(asked), rows[: (1 + WARM) * global_batch_size]


def _measure(job: RunningJob, run: Run, config: Config, rows: list[Row]) -> None:
    """Train and draw in `run`, and tell what it took."""
    heard = EventCollector(job)
    began = float(job.folder.process()["began"])
    distributed = Distributed(config)
    events = EventWriter(run.events_file)
    events.follow(heard)
    try:
        trainer = build(run, config, rows, [], distributed, events, job.controls, check=job.check)
        ready = time.time() - began
        job.phase("training")
        finite = _train(job, trainer, heard)
        trainer.generate_previews(0)  # of step 0, where there is one picture: the averaged weights are still the others
        job.check()
    finally:
        events.close()
        distributed.close()
    width, height = config_.preview_size(config)
    for picture in heard.pictures:
        job.result("picture.webp", run.samples / picture.file, "image/webp", prompt=picture.prompt, seed=picture.seed,
                   width=width, height=height)
    report: dict[str, str | float | None] = {
        "device": distributed.facts()["device"], "steps": len(heard.seconds), "seconds_to_first_step": round(ready, 3),
        "seconds_per_step": None, "seconds_per_picture": None, "loss": None, "finite": finite,
        "peak_memory_bytes": peak_memory(), "peak_gpu_bytes": None}
    if len(heard.seconds) > 1:
        report["seconds_per_step"] = round(median(heard.seconds[1:]), 4)
    if heard.pictures:
        report["seconds_per_picture"] = round(trainer.previews.seconds, 3)
    if heard.losses:
        report["loss"] = heard.losses[-1]
    if distributed.device.type == "cuda":
        report["peak_gpu_bytes"] = torch.cuda.max_memory_reserved(distributed.device)
    job.result("report.json", work.as_json(report), "application/json", **report)


def _train(job: RunningJob, trainer: Trainer, heard: EventCollector) -> bool:
    """Take the first step and the warm ones. Returns whether every loss was finite."""
    progress = loop.Progress()
    since = 0.0
    try:
        for update, global_batch in trainer.global_batches(0):
            job.check()
            loop.take_step(trainer, update, global_batch, progress)
            if update == 0:
                loop.report(trainer, progress, keep=0)
                since = time.monotonic()
            progress.step = update + 1
            if progress.step in (trainer.total_steps, 1 + MOST) or (
                    update >= WARM and time.monotonic() - since >= SECONDS):
                break
        loop.report(trainer, progress, keep=0)
    except errors.Diverged:
        return False
    return None not in heard.losses
