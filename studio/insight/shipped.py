"""What the shipped base takes on a machine that has trained nothing yet: its own figures, scaled to this CPU's speed.

`figures.json` beside the base is made by `benchmarks/base_figures.py`.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TypedDict

from studio import config as config_
from studio.config import Config
from studio.families import EMBEDDED
from studio.system.machine import Facts

SPREAD = 2.0  # the true time is mostly between the half and the double: others' machines differ, and share their cores
CHECKPOINTED = 4 / 3  # of a step with gradient checkpointing: the forward pass is made twice


class Line(TypedDict):
    """A step's seconds: those that no picture adds to, and those of each picture."""

    fixed: float
    picture: float


class Figures(TypedDict):
    """Processor seconds of one thread for each second that the probe's step takes: a step in its precision (by method
    and precision), all else in fp32, loading and saving by method. `alone` is the part of a step that more threads do
    not shorten."""

    side: int
    drawing_steps: int
    alone: float
    step: dict[str, dict[str, Line]]
    starting: float
    loading: dict[str, float]
    picture: float
    encoding: float
    save: dict[str, float]


class Parts(TypedDict):
    """Seconds here, where nothing else keeps the cores busy: until the process speaks, for loading, for a step, for a
    picture drawn at the config's settings, for one encoding, for a save."""

    starting: float
    loading: float
    step: float
    picture: float
    encoding: float
    save: float


@lru_cache
def figures() -> Figures:
    """The figures of the shipped base."""
    return json.loads((EMBEDDED / "figures.json").read_text(encoding="utf-8"))


def parts(config: Config, facts: Facts) -> Parts | None:
    """What the parts of a run of `config` take on this machine; None where the figures do not hold: for another base, a
    GPU, several processes, a text encoder that learns."""
    precision = config.train.mixed_precision or facts["precision"]
    speed = facts.get("speed", {})
    known = figures()["step"].get(config.model.method, {}).get(precision)
    model, compute = config.model, config.compute
    alike = (model.base == "embedded" and not model.revision and not model.train_text_encoder
             and compute.backend == "local" and compute.num_processes == 1 and not config.objective.dream)
    if known is None or not alike or facts["gpus"] or not {precision, "no"} <= set(speed):
        return None
    return _scaled(config, known, speed[precision], speed["no"])


def _scaled(config: Config, line: Line, unit: float, plain: float) -> Parts:
    """`unit` is the probe's step in the run's precision, `plain` that in fp32, both in seconds."""
    shipped = figures()
    threads = _threads(config.compute.num_threads or 1)
    side = config.data.resolution or shipped["side"]
    area = (side / shipped["side"]) ** 2
    batch = (config.train.batch_size or 1) * area
    step = (line["fixed"] + line["picture"] * batch) * config.train.gradient_accumulation_steps
    if config.train.gradient_checkpointing:
        step *= CHECKPOINTED
    width, height = config_.preview_size(config)
    steps = (config.sample.num_inference_steps or 0) / shipped["drawing_steps"]
    drawing = width * height / shipped["side"] ** 2 * steps
    if (config.sample.guidance_scale or 0) <= 1:
        drawing /= 2  # without guidance the denoiser is asked once
    return {"starting": shipped["starting"] * plain, "loading": shipped["loading"][config.model.method] * plain,
            "step": step * unit * threads, "picture": shipped["picture"] * drawing * plain * threads,
            "encoding": shipped["encoding"] * (1 + area) / 2 * plain * threads,
            "save": shipped["save"][config.model.method] * plain}


def _threads(count: int) -> float:
    """The part of one thread's time that a step takes `count` of them."""
    alone = figures()["alone"]
    return alone + (1 - alone) / count
