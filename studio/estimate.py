"""What a run will take: time, memory and disk, from what runs on this machine really took; a guess is called one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from studio import config as config_
from studio.events import Story
from studio.prepare import Plan

ENOUGH = 5  # steps that a run must have done to tell how long one takes
# What must agree for one run to tell anything about another.
ALIKE = ("model.family", "model.base", "model.revision", "model.variant", "model.method", "lora.rank", "lora.targets",
         "lora.dora", "train.mixed_precision", "train.gradient_checkpointing", "optim.name", "ema.enabled",
         "compute.num_processes", "compute.num_threads")


@dataclass(frozen=True)
class Past:
    """A run that was: its id and name, its resolved config, and what its events told."""

    id: str
    name: str
    config: dict[str, Any]
    story: Story


@dataclass
class Estimate:
    """Seconds and bytes, None where nothing is known.

    `time_basis` is "measured" (a run with the same settings), "scaled" (one with other sizes) or "unknown";
    `memory_basis` the same, or "weights" for the least that weights, gradients, moments and average need.
    """

    steps: int
    pictures: int
    disk_bytes: int | None
    memory_bytes: int | None
    memory_basis: str = "weights"
    seconds: float | None = None
    time_basis: str = "unknown"
    source: dict[str, str] | None = field(default=None)  # {id, name} of the run it is taken from


def estimate(plan: Plan, device: str, past: Iterable[Past]) -> Estimate | None:
    """The estimate for a plan from `past` runs, newest first, of which those on `device` count; None without a config.

    The first run with the same settings is taken, else the first that differs in sizes alone: its time goes with the
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
    return (str(one.story.facts.get("device", "")).endswith(device) and len(one.story.curve.step) >= ENOUGH
            and all(_at(one.config, path) == _at(config, path) for path in ALIKE))


def _take(found: Estimate, one: Past, config: dict[str, Any], plan: Plan) -> None:
    ratio = _pixels(config) / _pixels(one.config)
    basis = "measured" if ratio == 1 else "scaled"
    found.source, found.time_basis = {"id": one.id, "name": one.name}, basis
    found.seconds = _startup(one) + found.steps * _per_step(one.story) * ratio + _drawing(one, config) + _saving(
        one.story, config)
    peak = (one.story.end or {}).get("peak_memory_bytes")
    if peak:
        beyond = max(0, peak - plan.memory_bytes)
        found.memory_bytes = peak if ratio == 1 else int(plan.memory_bytes + beyond * ratio)
        found.memory_basis = basis


def _per_step(story: Story) -> float:
    """Seconds of a step: the median, so that a pause counts for nothing."""
    return median(story.curve.seconds[-200:])


def _startup(one: Past) -> float:
    """Seconds of one unbroken run that went neither into steps nor into pictures nor into saves."""
    story = one.story
    if story.attempt != 1 or story.first_time is None or story.last_time is None:
        return 0.0
    spent = sum(story.curve.seconds) + _drawing(one, one.config) + _saving(story, one.config)
    return max(0.0, story.last_time - story.first_time - spent)


def _drawing(one: Past, config: dict[str, Any]) -> float:
    """Seconds that the sample pictures of `config` take, at the pace of those of `one`."""
    drawn = sorted((s for s in one.story.samples if s.get("time")), key=lambda s: s["seq"])
    gaps = [later["time"] - earlier["time"] for earlier, later in zip(drawn, drawn[1:], strict=False)
            if earlier["step"] == later["step"]]
    if not gaps:
        return 0.0
    work = _at(config, "sample.num_inference_steps") * _at(config, "data.resolution") ** 2
    own = _at(one.config, "sample.num_inference_steps") * _at(one.config, "data.resolution") ** 2
    return median(gaps) * work / own * _drawn(config)


def _drawn(config: dict[str, Any]) -> int:
    """How many sample pictures a whole run draws: raw ones at the start, then raw and averaged ones."""
    steps, every = _at(config, "train.max_steps"), _at(config, "sample.every_steps")
    times = (-(-steps // every) if every else 1)
    prompts = len(_at(config, "sample.prompts") or [])
    return prompts * (1 + times * (2 if _at(config, "ema.enabled") else 1))


def _saving(story: Story, config: dict[str, Any]) -> float:
    seconds = [c["seconds"] for c in story.checkpoints if c.get("ok", True) and c.get("seconds")]
    saves = -(-_at(config, "train.max_steps") // _at(config, "checkpoint.every_steps"))
    return median(seconds) * saves if seconds else 0.0


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
    """A past run, or None when its config is not complete enough to compare."""
    needed = ("train.max_steps", "train.batch_size", "data.resolution", "sample.num_inference_steps",
              "checkpoint.every_steps", "compute.num_processes", "train.gradient_accumulation_steps")
    return Past(run_id, name, config, story) if all(_at(config, path) for path in needed) else None
