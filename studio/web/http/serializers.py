"""A run or a job as its viewers see it: the record, the short status of a poll, and the curve drawn to a width."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from studio import launch, storage
from studio.folders import events, names, runs
from studio.folders.records import CheckpointEvent, ErrorRecord, Event, SampleEvent, WorkRecord
from studio.folders.work import Job, Work
from studio.insight import fixes
from studio.launch import turns
from studio.messages import Message

KEYS = ("loss", "lr", "grad_norm", "seconds")
SERIES = (*KEYS, "validation")
MOST_POINTS = 1500
WORDS_OF_STATE = {"starting": "starting", "queued": "waiting", "stopping": "saving"}


def actions(state: str, step: int, total: int | None) -> list[str]:
    """The buttons of a run in `state`: the controls it answers to, and deleting it once it has ended."""
    extended = state == "finished" and runs.resumable(state, step, total)
    return [*(["resume"] if extended else []), *launch.actions(state),
            *(["delete"] if state in events.FINAL else [])]


def total_steps(story: events.Story, config: dict[str, Any]) -> int | None:
    """The steps the run is to make."""
    return (config.get("train") or {}).get("max_steps") or story.facts.get("total_steps")


def note(facts: WorkRecord, state: str, queue_position: int | None) -> str | None:
    """What is to be said of a run that the studio itself paused, or None; `facts` is run.json."""
    held = facts.get("held") or {}
    last, waits = held.get("attempt") == facts["attempt"], held.get("attempt") == facts["attempt"] - 1
    if held.get("why") == runs.TURN and (state in ("stopping", "queued") and last or state == "queued" and waits):
        if queue_position:
            return Message("Paused for others: it goes on by itself, place {number} in the queue.",
                           number=queue_position)
        return turns.TOLD["run"][0]
    if held.get("why") == runs.QUOTA and state in ("stopping", "paused") and last:
        return f"{held['message']} {held['hint']}"
    return None


def status(state: str, story: events.Story, config: dict[str, Any], queue_position: int | None,
           note: str | None = None) -> dict[str, Any]:
    """What changes while a run lives: state, phase and its progress, step, pace, ETA, last loss. All a poll needs."""
    live = state in events.ACTIVE
    phase = (story.phase or {}) if live else {}
    total, pace = total_steps(story, config), story.seconds_per_step
    left = None if total is None else max(0, total - story.step)
    curve = story.curve
    return {
        "state": state, "phase": phase.get("phase") or WORDS_OF_STATE.get(state, state),
        "phase_done": phase.get("done"), "phase_total": phase.get("total"), "phase_unit": phase.get("unit"),
        "step": story.step, "total_steps": total,
        "eta_seconds": round(left * pace, 1) if live and pace is not None and left is not None else None,
        "seconds_per_step": pace, "pictures_per_second": _pictures_per_second(curve),
        "validation": {weights: _last(found.loss) for weights, found in story.validation.items()},
        "loss": _last(curve.loss), "lr": _last(curve.lr), "queue_position": queue_position,
        "actions": actions(state, story.step, total), "note": note,
    }


def disk(run: runs.Run, state: str) -> list[dict[str, str]]:
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


def record(run: runs.Run, facts: WorkRecord, config: dict[str, Any], state: str, story: events.Story,
           queue_position: int | None) -> dict[str, Any]:
    """Everything about one run but its events: the shape of GET /api/runs/{id}.

    `facts` is run.json, `config` the settings with all edits."""
    error, checkpoints = problem(run, state, story), kept(run, story)
    return {
        "id": run.id, "name": facts.get("name", ""), "owner": facts.get("owner", ""), "created": facts.get("created"),
        **status(state, story, config, queue_position, note(facts, state, queue_position)),
        "parent": facts.get("parent"), "dataset": facts.get("dataset"), "error": error,
        "fixes": fixes.offers(error, config, [c["name"] for c in checkpoints]),
        "warnings": [{"code": w.get("code"), "message": w.get("message")} for w in story.warnings],
        "resumes": [{k: r.get(k) for k in ("from_step", "checkpoint", "exact", "note")} for r in story.resumes],
        "edits": [{k: edit[k] for k in ("step", "time", "config")} for edit in run.edits()],
        "checkpoints": [{"name": c["name"], "step": c["step"], "bytes": c.get("bytes")} for c in checkpoints],
        "samples": [sample(run, s) for s in story.samples],
        "started": story.first_time, "updated": story.last_time, "seq": story.seq,
        "peak_memory_bytes": (story.end or {}).get("peak_memory_bytes"),
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


def job_status(state: str, story: events.Story, queue_position: int | None) -> dict[str, Any]:
    """What changes while a job lives: state, phase and its progress."""
    phase = (story.phase or {}) if state in events.ACTIVE else {}
    return {"state": state, "phase": phase.get("phase") or WORDS_OF_STATE.get(state, state),
            "phase_done": phase.get("done"), "phase_total": phase.get("total"), "phase_unit": phase.get("unit"),
            "queue_position": queue_position,
            "actions": ["cancel"] if state in ("queued", *events.ACTIVE) else ["delete"]}


def job(found: Job, facts: WorkRecord, state: str, story: events.Story,
        queue_position: int | None) -> dict[str, Any]:
    """Everything about one job but its events: the shape of GET /api/jobs/{id}. `facts` is job.json."""
    results = [{"name": r["name"], "media_type": r.get("media_type"), "bytes": r["bytes"], **(r.get("facts") or {}),
                "url": f"/api/jobs/{found.id}/files/{r['name']}"}
               for r in story.results.values() if names.is_result(r["name"])]
    return {
        "id": found.id, **{k: facts.get(k) for k in ("kind", "name", "owner", "created", "subject", "light")},
        **job_status(state, story, queue_position), "error": problem(found, state, story),
        "warnings": [{"code": w.get("code"), "message": w.get("message")} for w in story.warnings],
        "results": results, "started": story.first_time, "updated": story.last_time, "seq": story.seq,
    }


def kept(run: runs.Run, story: events.Story) -> list[CheckpointEvent]:
    """The checkpoint events whose folder is still there, oldest first, one per folder."""
    good = {c["name"]: c for c in story.checkpoints if c.get("ok", True) and names.is_checkpoint(c.get("name"))}
    return [c for name, c in sorted(good.items(), key=lambda item: item[1]["step"])
            if (run.checkpoints / name).is_dir()]


def sample(run: runs.Run, event: SampleEvent) -> dict[str, Any]:
    """One sample picture, with the address it is served at; null where its name cannot be one."""
    keys = ("step", "prompt_index", "prompt", "weights", "file", "seed", "guidance_scale", "num_inference_steps")
    return {**{k: event.get(k) for k in keys}, "url": names.sample_url(run.id, event.get("file"))}


def problem(run: Work, state: str, story: events.Story) -> ErrorRecord | None:
    """Why a run or a job ended badly, or was ended by the studio: {code, message, hint, evidence}, by its last word or
    its supervisor's."""
    if state not in ("failed", "diverged", "interrupted", "cancelled"):
        return None
    ended, exit_ = story.end or {}, run.exit() or {}
    if state == "cancelled" and ended.get("result") != state:  # the end is an earlier attempt's
        ended = {}
    return ended.get("error") or exit_.get("error")


def series(story: events.Story, keys: list[str], start: int, stop: int | None, points: int) -> dict[str, Any]:
    """The curve between two steps (both included) as columns of at most `points` entries.

    `step` is the last step of each entry; every key has `min`, `mean` and `max` over its steps (null: no finite value
    there). `count` is how many steps there are, `seq` the event after which a poll goes on. `validation` has steps of
    its own: {"raw": {"step", "loss": {min, mean, max}}, "ema": ...}.
    """
    seq = story.seq  # before the columns: what arrives in between is polled again rather than lost
    found = {"seq": seq, **_columns(story.curve, [key for key in keys if key in KEYS], start, stop, points)}
    if "validation" in keys:
        found["validation"] = {}
        for weights, measured in list(story.validation.items()):
            own = _columns(measured, ["loss"], start, stop, points)
            found["validation"][weights] = {"step": own["step"], "loss": own["loss"]}
    return found


def _columns(curve: Any, keys: list[str], start: int, stop: int | None, points: int) -> dict[str, Any]:
    columns = {name: np.array(getattr(curve, name)[:], dtype=float) for name in ("step", *keys)}
    length = min(map(len, columns.values()))
    steps = columns.pop("step")[:length]
    low = int(np.searchsorted(steps, start, side="left"))
    high = length if stop is None else int(np.searchsorted(steps, stop, side="right"))
    steps, count = steps[low:high], max(0, high - low)
    edges = np.unique(np.linspace(0, count, min(points, count) + 1).astype(int)) if count else np.array([0])
    found: dict[str, Any] = {"count": count, "step": [int(s) for s in steps[edges[1:] - 1]]}
    for name, column in columns.items():
        found[name] = _extremes(column[low:high], edges)
    return found


def csv_lines(story: events.Story) -> Iterator[str]:
    """The curve's columns as lines of CSV with a header; an empty cell is no finite value. A hundred steps at once."""
    names = ("step", "loss", "lr", "grad_norm", "seconds", "pictures")
    columns = [getattr(story.curve, name)[:] for name in names]
    yield ",".join(names) + "\n"
    rows = zip(*columns, strict=False)  # a step may arrive while the columns are copied
    while some := list(islice(rows, 100)):
        yield "".join(",".join("" if v != v else repr(v) for v in row) + "\n" for row in some)


def _extremes(values: np.ndarray, edges: np.ndarray) -> dict[str, list[float | None]]:
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


def _last(column: Any) -> float | None:
    value = column[-1] if len(column) else None
    return None if value is None or value != value else value


def _pictures_per_second(curve: events.Curve) -> float | None:
    seconds = sum(curve.seconds[-50:])
    return round(sum(curve.pictures[-50:]) / seconds, 3) if seconds > 0 else None


def telling(read: list[Event]) -> list[Event]:
    """`read` without progress that the event right after it replaces: a poll stays small while pictures are cached."""
    kept = [e for e, after in pairwise(read)
            if e["kind"] != "phase" or (after["kind"], after.get("phase")) != ("phase", e.get("phase"))]
    return kept + read[-1:]
