"""What a run will take: time, memory and disk, from what runs and checks here really took, before these from figures
that ship with the base; a guess is called one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from statistics import median
from typing import Any

from studio import config as config_
from studio.config import Config, PlainConfig
from studio.folders.events import RunHistory
from studio.insight import shipped
from studio.prepare import Plan
from studio.system.machine import Facts

ENOUGH = 5  # steps that a run must have done to tell how long one takes
# What must agree for one run to tell anything about another.
ALIKE = ("model.family", "model.base", "model.revision", "model.variant", "model.method", "lora.rank", "lora.targets",
         "lora.dora", "train.mixed_precision", "train.gradient_checkpointing", "optim.name", "ema.enabled",
         "compute.backend", "compute.num_processes", "compute.num_threads")


@dataclass(frozen=True)
class Timings:
    """Seconds of one step, of one sample picture, of one save, of everything else together; the most memory, bytes.

    0 where it is not known."""

    step: float
    picture: float
    save: float
    startup: float
    peak: int


@dataclass(frozen=True)
class PastRun:
    """A run that was, or a check: its id and name, its resolved config, the device, and what it took (asked once)."""

    id: str
    name: str
    config: PlainConfig
    device: str
    measure: Callable[[], Timings]


@dataclass
class Estimate:
    """Seconds and bytes, None where nothing is known.

    `time_basis` is "measured" (a run or check with the same settings), "scaled" (one with other sizes), "shipped" (the
    base's own figures at this machine's speed, the truth being mostly within `low_seconds` and `high_seconds`) or
    "unknown"; `memory_basis` the first two, or "weights" for the least that weights, gradients, moments and average
    need.
    """

    steps: int
    pictures: int
    disk_bytes: int | None
    memory_bytes: int | None
    memory_basis: str = "weights"
    seconds: float | None = None
    time_basis: str = "unknown"
    low_seconds: float | None = None
    high_seconds: float | None = None
    source: dict[str, str] | None = None  # {id, name} of the run or the check it is taken from


def estimate(plan: Plan, device: str, past: Iterable[PastRun], facts: Facts) -> Estimate | None:
    """The estimate for a plan from `past` runs and checks, the best first, of which those on `device` count; None
    without a config.

    The first with the same settings is taken, else the first that differs in sizes alone: its time goes with the
    number of pixels, and so does its memory beyond the weights. Where there is none, the shipped base has figures of
    its own, which hold at the speed that `facts` have of this machine.
    """
    if plan.config is None:
        return None
    config = config_.dump(plan.config)
    steps = plan.config.train.max_steps or 0
    answer = Estimate(steps, _pictures(config) * steps, plan.disk_bytes or None, plan.memory_bytes or None)
    nearest = _nearest(config, device, past)
    if nearest is not None:
        _fill_in(answer, nearest, config, plan)
    else:
        _guess(answer, plan.config, plan, facts)
    return answer


def _nearest(config: PlainConfig, device: str, past: Iterable[PastRun]) -> PastRun | None:
    """The first comparable one of the same size, else the first of any size."""
    first: PastRun | None = None
    for run in past:
        if _comparable(run, config, device):
            if _pixels(run.config) == _pixels(config):
                return run
            first = first or run
    return first


def _comparable(run: PastRun, config: PlainConfig, device: str) -> bool:
    return run.device.endswith(device) and all(_at(run.config, path) == _at(config, path) for path in ALIKE)


def _fill_in(answer: Estimate, run: PastRun, config: PlainConfig, plan: Plan) -> None:
    """Put in seconds and memory from what a comparable run took."""
    took = run.measure()
    ratio = _pixels(config) / _pixels(run.config)
    drawing = took.picture * _drawing_work(config) / _drawing_work(run.config) * _drawn(config)
    answer.source = {"id": run.id, "name": run.name}
    answer.seconds = took.startup + answer.steps * took.step * ratio + drawing + took.save * _saves(config)
    answer.time_basis = "measured" if ratio == 1 else "scaled"
    if took.peak:
        beyond = max(0, took.peak - plan.memory_bytes)
        answer.memory_bytes = took.peak if ratio == 1 else int(plan.memory_bytes + beyond * ratio)
        answer.memory_basis = answer.time_basis


def _guess(answer: Estimate, config: Config, plan: Plan, facts: Facts) -> None:
    """Put in the seconds by the figures of the shipped base, where these hold."""
    parts = shipped.parts(config, facts)
    if parts is None:
        return
    plain = config_.dump(config)
    encodings = len(plan.rows) * 2  # a picture and a caption, of which many are there already or twice
    seconds = (parts["starting"] + parts["loading"] + parts["encoding"] * encodings + answer.steps * parts["step"]
               + parts["picture"] * _drawn(plain) + parts["save"] * _saves(plain))
    answer.seconds, answer.time_basis = seconds, "shipped"
    answer.low_seconds, answer.high_seconds = seconds / shipped.SPREAD, seconds * shipped.SPREAD


def _measured(config: PlainConfig, history: RunHistory) -> Timings:
    """What a run took, from its events; medians, so that a pause counts for nothing."""
    saves = [event["seconds"] for event in history.checkpoints if event.get("ok", True) and event.get("seconds")]
    picture = _median(_drawing_seconds(history))
    save = _median(saves)
    startup = 0.0
    if history.attempt == 1 and history.first_time is not None and history.last_time is not None:  # it ran unbroken
        spent = sum(history.curve.seconds) + picture * _drawn(config) + save * _saves(config)
        startup = max(0.0, history.last_time - history.first_time - spent)
    peak = (history.end or {}).get("peak_memory_bytes") or 0
    return Timings(median(history.curve.seconds[-200:]), picture, save, startup, peak)


def _drawing_seconds(history: RunHistory) -> list[float]:
    """The time between each two sample pictures of one step that follow each other."""
    drawn = [event for event in history.samples if event.get("time")]
    drawn.sort(key=itemgetter("seq"))
    return [later["time"] - earlier["time"] for earlier, later in pairwise(drawn) if earlier["step"] == later["step"]]


def _median(seconds: list[float]) -> float:
    return median(seconds) if seconds else 0.0


def _drawing_work(config: PlainConfig) -> float:
    """Steps times pixels of one sample picture."""
    side = _at(config, "data.resolution")
    width = _at(config, "sample.width") or side
    height = _at(config, "sample.height") or side
    return _at(config, "sample.num_inference_steps") * width * height


def _drawn(config: PlainConfig) -> int:
    """How many sample pictures a whole run draws: raw ones at the start, then raw and averaged ones."""
    every = _at(config, "sample.every_steps")
    times = -(-_at(config, "train.max_steps") // every) if every else 1
    prompts = len(_at(config, "sample.prompts") or [])
    return prompts * (1 + times * (1 + bool(_at(config, "ema.enabled"))))


def _saves(config: PlainConfig) -> int:
    return -(-_at(config, "train.max_steps") // _at(config, "checkpoint.every_steps"))


def _pictures(config: PlainConfig) -> int:
    """Pictures of an update, of all processes."""
    return (_at(config, "train.batch_size") * _at(config, "train.gradient_accumulation_steps")
            * _at(config, "compute.num_processes"))


def _pixels(config: PlainConfig) -> int:
    """Pixels of one process's part of an update."""
    return (_at(config, "train.batch_size") * _at(config, "train.gradient_accumulation_steps")
            * _at(config, "data.resolution") ** 2)


def _at(config: PlainConfig, path: str) -> Any:
    """A setting by its path (`optim.learning_rate`); None where it, or its section, is missing."""
    section, _, name = path.partition(".")
    return (config.get(section) or {}).get(name)


def of_run(run_id: str, name: str, config: PlainConfig, history: RunHistory) -> PastRun | None:
    """A past run, or None when it took too few steps, or its config is not complete enough, to compare."""
    if len(history.curve.step) < ENOUGH or not _complete(config):
        return None
    return PastRun(run_id, name, config, str(history.facts.get("device", "")), lambda: _measured(config, history))


def of_check(job_id: str, name: str, config: PlainConfig, report: Mapping[str, Any]) -> PastRun | None:
    """What a check reported (jobs/check.py), or None when it took no warm step or its config is not complete."""
    if not report.get("seconds_per_step") or not _complete(config):
        return None
    took = Timings(report["seconds_per_step"], report["seconds_per_picture"] or 0.0, 0.0,
                   report["seconds_to_first_step"], report["peak_gpu_bytes"] or report["peak_memory_bytes"])
    return PastRun(job_id, name, config, str(report["device"]), lambda: took)


def _complete(config: PlainConfig) -> bool:
    """Whether it says, above 0, all that is reckoned with here."""
    needed = ("train.max_steps", "train.batch_size", "data.resolution", "sample.num_inference_steps",
              "checkpoint.every_steps", "compute.num_processes", "train.gradient_accumulation_steps")
    return all(_at(config, path) for path in needed)
