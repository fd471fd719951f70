"""What a run will take: time, memory and disk, from what runs and checks here really took; a guess is called one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from studio import config as config_
from studio.folders.events import Story
from studio.prepare import Plan

ENOUGH = 5  # steps that a run must have done to tell how long one takes
# What must agree for one run to tell anything about another.
ALIKE = ("model.family", "model.base", "model.revision", "model.variant", "model.method", "lora.rank", "lora.targets",
         "lora.dora", "train.mixed_precision", "train.gradient_checkpointing", "optim.name", "ema.enabled",
         "compute.backend", "compute.num_processes", "compute.num_threads")


@dataclass(frozen=True)
class Measured:
    """Seconds of one step, of one sample picture, of one save, of everything else together; the most memory, bytes.

    0 where it is not known."""

    step: float
    picture: float
    save: float
    startup: float
    peak: int


@dataclass(frozen=True)
class Past:
    """A run that was, or a check: its id and name, its resolved config, the device, and what it took (asked once)."""

    id: str
    name: str
    config: dict[str, Any]
    device: str
    measure: Callable[[], Measured]


@dataclass
class Estimate:
    """Seconds and bytes, None where nothing is known.

    `time_basis` is "measured" (a run or check with the same settings), "scaled" (one with other sizes) or "unknown";
    `memory_basis` the same, or "weights" for the least that weights, gradients, moments and average need.
    """

    steps: int
    pictures: int
    disk_bytes: int | None
    memory_bytes: int | None
    memory_basis: str = "weights"
    seconds: float | None = None
    time_basis: str = "unknown"
    source: dict[str, str] | None = None  # {id, name} of the run or the check it is taken from


def estimate(plan: Plan, device: str, past: Iterable[Past]) -> Estimate | None:
    """The estimate for a plan from `past` runs and checks, the best first, of which those on `device` count; None
    without a config.

    The first with the same settings is taken, else the first that differs in sizes alone: its time goes with the
    number of pixels, and so does its memory beyond the weights.
    """
    if plan.config is None:
        return None
    config = config_.dump(plan.config)
    found = Estimate(plan.config.train.max_steps or 0, _pictures(config) * (plan.config.train.max_steps or 0),
                     plan.disk_bytes or None, plan.memory_bytes or None)
    comparable = (one for one in past if _comparable(one, config, device))
    nearest: Past | None = None
    for one in comparable:
        if _pixels(one.config) == _pixels(config):
            nearest = one
            break
        nearest = nearest or one
    if nearest is not None:
        _take(found, nearest, config, plan)
    return found


def _comparable(one: Past, config: dict[str, Any], device: str) -> bool:
    return one.device.endswith(device) and all(_at(one.config, path) == _at(config, path) for path in ALIKE)


def _take(found: Estimate, one: Past, config: dict[str, Any], plan: Plan) -> None:
    ratio, took = _pixels(config) / _pixels(one.config), one.measure()
    basis = "measured" if ratio == 1 else "scaled"
    drawing = took.picture * _drawing_work(config) / _drawing_work(one.config) * _drawn(config)
    found.source, found.time_basis = {"id": one.id, "name": one.name}, basis
    found.seconds = took.startup + found.steps * took.step * ratio + drawing + took.save * _saves(config)
    if took.peak:
        beyond = max(0, took.peak - plan.memory_bytes)
        found.memory_bytes = took.peak if ratio == 1 else int(plan.memory_bytes + beyond * ratio)
        found.memory_basis = basis


def _measured(config: dict[str, Any], story: Story) -> Measured:
    """What a run took, from its events; medians, so that a pause counts for nothing."""
    drawn = sorted((s for s in story.samples if s.get("time")), key=lambda s: s["seq"])
    gaps = [later["time"] - earlier["time"] for earlier, later in zip(drawn, drawn[1:], strict=False)
            if earlier["step"] == later["step"]]
    saves = [c["seconds"] for c in story.checkpoints if c.get("ok", True) and c.get("seconds")]
    picture, save = (median(gaps) if gaps else 0.0), (median(saves) if saves else 0.0)
    startup = 0.0
    if story.attempt == 1 and story.first_time is not None and story.last_time is not None:  # it ran unbroken
        spent = sum(story.curve.seconds) + picture * _drawn(config) + save * _saves(config)
        startup = max(0.0, story.last_time - story.first_time - spent)
    return Measured(median(story.curve.seconds[-200:]), picture, save, startup,
                    (story.end or {}).get("peak_memory_bytes") or 0)


def _drawing_work(config: dict[str, Any]) -> float:
    side = _at(config, "data.resolution")
    width, height = _at(config, "sample.width") or side, _at(config, "sample.height") or side
    return _at(config, "sample.num_inference_steps") * width * height


def _drawn(config: dict[str, Any]) -> int:
    """How many sample pictures a whole run draws: raw ones at the start, then raw and averaged ones."""
    steps, every = _at(config, "train.max_steps"), _at(config, "sample.every_steps")
    times = (-(-steps // every) if every else 1)
    prompts = len(_at(config, "sample.prompts") or [])
    return prompts * (1 + times * (2 if _at(config, "ema.enabled") else 1))


def _saves(config: dict[str, Any]) -> int:
    return -(-_at(config, "train.max_steps") // _at(config, "checkpoint.every_steps"))


def _pictures(config: dict[str, Any]) -> int:
    return (_at(config, "train.batch_size") * _at(config, "train.gradient_accumulation_steps")
            * _at(config, "compute.num_processes"))


def _pixels(config: dict[str, Any]) -> int:
    """Pixels of one process's part of an update."""
    return (_at(config, "train.batch_size") * _at(config, "train.gradient_accumulation_steps")
            * _at(config, "data.resolution") ** 2)


def _at(config: dict[str, Any], path: str) -> Any:
    section, _, name = path.partition(".")
    return (config.get(section) or {}).get(name)


def of_run(run_id: str, name: str, config: dict[str, Any], story: Story) -> Past | None:
    """A past run, or None when it took too few steps, or its config is not complete enough, to compare."""
    if len(story.curve.step) < ENOUGH or not _complete(config):
        return None
    return Past(run_id, name, config, str(story.facts.get("device", "")), lambda: _measured(config, story))


def of_check(job_id: str, name: str, config: dict[str, Any], report: Mapping[str, Any]) -> Past | None:
    """What a check reported (jobs/check.py), or None when it took no warm step or its config is not complete."""
    if not report.get("seconds_per_step") or not _complete(config):
        return None
    took = Measured(report["seconds_per_step"], report["seconds_per_picture"] or 0.0, 0.0,
                    report["seconds_to_first_step"], report["peak_gpu_bytes"] or report["peak_memory_bytes"])
    return Past(job_id, name, config, str(report["device"]), lambda: took)


def _complete(config: dict[str, Any]) -> bool:
    needed = ("train.max_steps", "train.batch_size", "data.resolution", "sample.num_inference_steps",
              "checkpoint.every_steps", "compute.num_processes", "train.gradient_accumulation_steps")
    return all(_at(config, path) for path in needed)
