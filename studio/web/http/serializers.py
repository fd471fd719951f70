"""A run or a job as its viewers see it: the record, the short status of a poll, and the curve drawn to a width."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any, TypedDict, TypeVar, cast

import numpy as np

from studio import launch, storage
from studio.config import PlainConfig
from studio.folders import events, names, phases, runs
from studio.folders.curves import Curve, ValidationCurve
from studio.folders.records import KeptCheckpoint
from studio.folders.work import Job, Work
from studio.insight import fixes
from studio.insight import overfitting as overfitting_
from studio.insight.usual import expected
from studio.launch import turns
from studio.messages import JsonObject, Message

KEYS = ("loss", "lr", "grad_norm", "seconds")
SERIES = (*KEYS, "validation")
MOST_POINTS = 1500
MOST_COMPARED = 60  # samples beside their nearest training pictures
Usual = Callable[[Work, str], float | None]  # the seconds that a phase of such work mostly takes here
Event = TypeVar("Event", bound=Mapping[str, object])


class Sample(TypedDict):
    """One sample picture."""

    step: int
    prompt_index: int | None
    prompt: str
    weights: str
    file: str
    seed: int | None
    guidance_scale: float | None
    num_inference_steps: int | None
    url: str | None


def actions(state: str, step: int, total: int | None) -> list[str]:
    """The buttons of a run in `state`: the controls it answers to, and deleting it once it has ended."""
    buttons = launch.actions(state)
    if state == "finished" and runs.resumable(state, step, total):
        buttons = ["resume", *buttons]
    if state in events.FINAL:
        buttons = [*buttons, "delete"]
    return buttons


def total_steps(history: events.RunHistory, config: PlainConfig) -> int | None:
    """The steps the run is to make."""
    return (config.get("train") or {}).get("max_steps") or history.facts.get("total_steps")


def note(facts: Mapping[str, Any], state: str, queue_position: int | None) -> str | None:
    """What is to be said of a run that the studio itself paused, or None; `facts` is run.json."""
    held = facts.get("held") or {}
    attempt = facts["attempt"]
    of_last = held.get("attempt") == attempt
    goes_on = state == "queued" and held.get("attempt") == attempt - 1  # the attempt after the pause waits
    if held.get("why") == runs.TURN and (goes_on or (of_last and state in ("stopping", "queued"))):
        if queue_position:
            return Message("Paused for others: it goes on by itself, place {number} in the queue.",
                           number=queue_position)
        return turns.TOLD["run"][0]
    if held.get("why") == runs.QUOTA and of_last and state in ("stopping", "paused"):
        return f"{held['message']} {held['hint']}"
    return None


def progress(work: Work, state: str, history: events.RunHistory, usual: Usual) -> JsonObject:
    """How far a run or a job in `state` is; one that does not live has no phase but its state."""
    doing = phases.current(work, state, history)
    return {"state": state, "phase": doing["phase"], "phase_done": doing["done"], "phase_total": doing["total"],
            "phase_unit": doing["unit"], "phase_began": doing["began"],
            "phase_usual_seconds": expected(doing, history, usual(work, doing["phase"] or ""))}


def status(run: runs.Run, state: str, history: events.RunHistory, config: PlainConfig, queue_position: int | None,
           usual: Usual, note: str | None = None) -> JsonObject:
    """What changes while a run lives: state, phase and its progress, step, pace, ETA, last loss. All a poll needs."""
    total = total_steps(history, config)
    pace = history.seconds_per_step
    eta = None
    if state in events.ACTIVE and pace is not None and total is not None:
        eta = round(max(0, total - history.step) * pace, 1)
    curve = history.curve
    return {
        **progress(run, state, history, usual), "step": history.step, "total_steps": total, "eta_seconds": eta,
        "seconds_per_step": pace, "pictures_per_second": _pictures_per_second(curve),
        "validation": {weights: _last(measured.loss) for weights, measured in history.validation.items()},
        "loss": _last(curve.loss), "lr": _last(curve.lr), "queue_position": queue_position,
        "actions": actions(state, history.step, total), "note": note,
    }


def disk(run: runs.Run, state: str) -> list[JsonObject]:
    """What the server itself sees of a full disk, on which a run can say little: a warning for one that goes on."""
    if not (state == "queued" or state in events.ACTIVE) or not storage.is_full(run.home):
        return []
    if state == "queued":
        message = Message("The disk of the studio is full: the run begins when there is room again. Empty the trash, "
                          "or remove other things from the disk.")
    else:
        message = Message("The disk of the studio is full: what it makes is kept when there is room again. Empty the "
                          "trash, or remove other things from the disk.")
    return [{"code": "disk_full", "message": message}]


def record(run: runs.Run, facts: Mapping[str, Any], config: PlainConfig, state: str, history: events.RunHistory,
           queue_position: int | None, usual: Usual) -> dict[str, Any]:
    """Everything about one run but its events: the shape of GET /api/runs/{id}.

    `facts` is run.json, `config` the settings with all edits."""
    error = problem(run, state, history)
    checkpoints = kept_checkpoints(run, history)
    return {
        "id": run.id, "name": facts.get("name", ""), "owner": facts.get("owner", ""), "created": facts.get("created"),
        **status(run, state, history, config, queue_position, usual, note(facts, state, queue_position)),
        "parent": facts.get("parent"), "dataset": facts.get("dataset"), "error": error,
        "fixes": fixes.offers(error, config, list(map(itemgetter("name"), checkpoints))),
        "warnings": _parts(history.warnings, "code", "message"),
        "resumes": _parts(history.resumes, "from_step", "checkpoint", "exact", "note"),
        "edits": [{"step": edit["step"], "time": edit["time"], "config": edit["config"]} for edit in run.edits()],
        "checkpoints": checkpoints,
        "samples": [sample(run, event) for event in history.samples],
        "started": history.first_time, "updated": history.last_time, "seq": history.seq,
        "peak_memory_bytes": (history.end or {}).get("peak_memory_bytes"),
        "command": ["python", "-m", "studio.train", shell_path(run)], "config": config,
    }


def shell_path(run: runs.Run) -> str:
    """The run's folder as a shell finds it that stands where this server was started."""
    path = run.path.absolute()
    try:
        here = Path.cwd()
    except FileNotFoundError:  # it was removed meanwhile
        return str(path)
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def job_status(job: Job, state: str, history: events.RunHistory, queue_position: int | None,
               usual: Usual) -> JsonObject:
    """What changes while a job lives: state, phase and its progress."""
    live = state in ("queued", *events.ACTIVE)
    return {**progress(job, state, history, usual), "queue_position": queue_position,
            "actions": ["cancel" if live else "delete"]}


def job(job: Job, facts: Mapping[str, object], state: str, history: events.RunHistory, queue_position: int | None,
        usual: Usual) -> JsonObject:
    """Everything about one job but its events: the shape of GET /api/jobs/{id}. `facts` is job.json."""
    return {
        "id": job.id, **_part(facts, "kind", "name", "owner", "created", "subject", "light"),
        **job_status(job, state, history, queue_position, usual), "error": problem(job, state, history),
        "warnings": _parts(history.warnings, "code", "message"),
        "results": list(_results(job, history)), "started": history.first_time, "updated": history.last_time,
        "seq": history.seq,
    }


def _results(job: Job, history: events.RunHistory) -> Iterator[JsonObject]:
    """The files that a job has made, with the addresses they are served at."""
    for event in history.results.values():
        name = event["name"]
        if names.is_result(name):
            yield {"name": name, "media_type": event.get("media_type"), "bytes": event["bytes"],
                   **(event.get("facts") or {}), "url": f"/api/jobs/{job.id}/files/{name}"}


def kept_checkpoints(run: runs.Run, history: events.RunHistory) -> list[KeptCheckpoint]:
    """The checkpoints whose folder is still there, oldest first."""
    saved = {}
    for event in history.checkpoints:
        named = names.is_checkpoint(event.get("name")) and isinstance(event.get("step"), int)  # a stranger's may not be
        if event.get("ok", True) and named:
            saved[event["name"]] = event
    checkpoints: list[KeptCheckpoint] = []
    for event in sorted(saved.values(), key=itemgetter("step")):
        if (run.checkpoints / event["name"]).is_dir():
            checkpoints.append({"name": event["name"], "step": event["step"], "bytes": event.get("bytes")})
    return checkpoints


def sample(run: runs.Run, event: Mapping[str, object]) -> Sample:
    """One sample picture, with the address it is served at; null where its name cannot be one."""
    facts = _part(event, "step", "prompt_index", "prompt", "weights", "file", "seed", "guidance_scale",
                  "num_inference_steps")
    return cast(Sample, {**facts, "url": names.sample_url(run.id, event.get("file"))})


def overfitting(run: runs.Run, config: PlainConfig, history: events.RunHistory) -> JsonObject:
    """What tells of overfitting (`schemas.jobs.Overfitting`); of the compared samples the newest step's come first, its
    copies before the others, then by distance."""
    compared = overfitting_.comparisons(run, history)
    dataset = (run.record().get("dataset") or {}).get("id")
    ordered = sorted(compared, key=lambda one: (-one.step, not one.is_copy, one.distance))
    return {"validation": overfitting_.validation(history),
            "recommended": overfitting_.recommended(kept_checkpoints(run, history), config, history, compared),
            "count": len({event["file"] for event in history.samples}), "measured": len(compared),
            "steps": overfitting_.steps(compared),
            "samples": [_compared_sample(run, dataset, one) for one in ordered[:MOST_COMPARED]]}


def _compared_sample(run: runs.Run, dataset: str | None, one: overfitting_.Comparison) -> JsonObject:
    """A sample with its nearest training picture (`schemas.jobs.ComparedSample`), from the data set, which may be gone
    by now."""
    row, likeness = one.row, one.likeness
    nearest = {"name": row.get("name", ""), "captions": row.get("captions") or [], "image": row["image"],
               "url": names.thumb_url(dataset, row["image"])}
    return {**sample(run, one.sample), "distance": likeness["distance"], "bits": likeness["bits"],
            "usual": likeness["usual"], "copy": likeness["copy"], "nearest": nearest}


def _part(event: Mapping[str, object], *keys: str) -> JsonObject:
    """These fields of an event or a record; null where it has none."""
    return {key: event.get(key) for key in keys}


def _parts(told: Iterable[Mapping[str, object]], *keys: str) -> list[JsonObject]:
    return [_part(event, *keys) for event in told]


def problem(run: Work, state: str, history: events.RunHistory) -> Mapping[str, object] | None:
    """Why a run or a job ended badly, or was ended by the studio: {code, message, hint, evidence}, by its last word or
    its supervisor's."""
    if state not in ("failed", "diverged", "interrupted", "cancelled"):
        return None
    ended = history.end or {}
    supervisor_exit = run.exit() or {}
    if state == "cancelled" and ended.get("result") != state:  # the end is an earlier attempt's
        ended = {}
    return ended.get("error") or supervisor_exit.get("error")


def series(history: events.RunHistory, keys: list[str], start: int, stop: int | None, points: int) -> JsonObject:
    """The curve between two steps (both included) as columns of at most `points` entries.

    `step` is the last step of each entry; every key has `min`, `mean` and `max` over its steps (null: no finite value
    there). `count` is how many steps there are, `seq` the event after which a poll goes on. `validation` has steps of
    its own: {"raw": {"step", "loss": {min, mean, max}}, "ema": ...}.
    """
    seq = history.seq  # before the columns: what arrives in between is polled again rather than lost
    columns = {"seq": seq, **_columns(history.curve, [key for key in keys if key in KEYS], start, stop, points)}
    if "validation" in keys:
        by_weights = {}
        for weights, measured in list(history.validation.items()):
            losses = _columns(measured, ["loss"], start, stop, points)
            by_weights[weights] = {"step": losses["step"], "loss": losses["loss"]}
        columns["validation"] = by_weights
    return columns


def _columns(curve: Curve | ValidationCurve, keys: list[str], start: int, stop: int | None, points: int) -> JsonObject:
    """{count, step, and {min, mean, max} of each of `keys`}: the steps from `start` to `stop` in `points` entries."""
    columns = {name: np.array(getattr(curve, name)[:], dtype=float) for name in ("step", *keys)}
    length = min(map(len, columns.values()))
    steps = columns.pop("step")[:length]
    low = int(np.searchsorted(steps, start, side="left"))
    high = length
    if stop is not None:
        high = int(np.searchsorted(steps, stop, side="right"))
    steps = steps[low:high]
    count = max(0, high - low)
    edges = np.unique(np.linspace(0, count, min(points, count) + 1).astype(int))  # of the entries; [0] where none is
    drawn: JsonObject = {"count": count, "step": steps[edges[1:] - 1].astype(int).tolist()}
    for name, column in columns.items():
        drawn[name] = _extremes(column[low:high], edges)
    return drawn


def csv_lines(history: events.RunHistory) -> Iterator[str]:
    """The curve's columns as lines of CSV with a header; an empty cell is no finite value. A hundred steps at once."""
    names = ("step", "loss", "lr", "grad_norm", "seconds", "pictures")
    columns = [getattr(history.curve, name)[:] for name in names]
    yield ",".join(names) + "\n"
    rows = zip(*columns, strict=False)  # a step may arrive while the columns are copied
    while some := list(islice(rows, 100)):
        yield "".join(map(_csv_line, some))


def _csv_line(row: Iterable[float]) -> str:
    return ",".join("" if value != value else repr(value) for value in row) + "\n"


def _extremes(values: np.ndarray, edges: np.ndarray) -> dict[str, list[float | None]]:
    """The least, the mean and the largest finite value of `values` (n,) from each of `edges` (k + 1,) up to the next:
    k entries each; null where none is finite."""
    starts = edges[:-1]
    if not len(starts):
        return {"min": [], "mean": [], "max": []}
    good = np.isfinite(values)
    number = np.add.reduceat(good.astype(float), starts)
    total = np.add.reduceat(np.where(good, values, 0.0), starts)
    low = np.minimum.reduceat(np.where(good, values, np.inf), starts)
    high = np.maximum.reduceat(np.where(good, values, -np.inf), starts)
    mean = np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)
    return {"min": _numbers(low), "mean": _numbers(mean), "max": _numbers(high)}


def _numbers(values: np.ndarray) -> list[float | None]:
    return [float(f"{v:.6g}") if np.isfinite(v) else None for v in values.tolist()]


def _last(column: Sequence[float | None]) -> float | None:
    """The last value of a column; None where it is not a number, or there is none."""
    if not len(column):
        return None
    value = column[-1]
    if value is None or value != value:
        return None
    return value


def _pictures_per_second(curve: Curve) -> float | None:
    """Over the last 50 steps."""
    seconds = sum(curve.seconds[-50:])
    if seconds > 0:
        return round(sum(curve.pictures[-50:]) / seconds, 3)
    return None


def telling(read: list[Event]) -> list[Event]:
    """`read` without progress that the event right after it replaces: a poll stays small while pictures are cached."""
    told = []
    for event, following in pairwise(read):
        of_phases = event["kind"] == following["kind"] == "phase"
        if not (of_phases and event.get("phase") == following.get("phase")):
            told.append(event)
    return told + read[-1:]


def without_clock(event: Mapping[str, object]) -> JsonObject:
    """An event as it is served: numbers of the process's own clock stay inside."""
    return {name: value for name, value in event.items() if name != "mono"}
