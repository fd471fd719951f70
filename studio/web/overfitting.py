"""Whether a run begins to learn its pictures by heart: its held-out loss, its samples' nearest training pictures, and
the checkpoint that these recommend."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from statistics import median

from studio.config import PlainConfig
from studio.folders import events, names, runs
from studio.folders.curves import ValidationCurve
from studio.insight import likeness
from studio.messages import JsonObject
from studio.web.http import serializers
from studio.web.http.serializers import KeptCheckpoint, Sample

MOST_SHOWN = 60
RISEN = 1.01  # a held-out loss this much above its lowest is said to have risen


class ComparedSample(Sample, total=False):
    """A sample and its nearest training picture; distances as in `likeness`."""

    distance: float
    bits: float
    usual: float | None
    copy: bool
    nearest: JsonObject  # {name, captions, image, url}


def view(run: runs.Run, config: PlainConfig, history: events.RunHistory) -> JsonObject:
    """{validation, recommended, count, measured, steps, samples} (`schemas.jobs.Overfitting`): see the functions below.

    `samples` are the measured ones, copies first, then by distance, of the newest step first."""
    samples = {sample["file"]: sample for sample in history.samples}
    pictures = _compared(run, samples)
    ordered = sorted(pictures, key=lambda p: (-p["step"], not p["copy"], p["distance"]))
    return {"validation": validation(history), "recommended": recommended(run, config, history, pictures),
            "count": len(samples), "measured": len(pictures),
            "steps": steps(pictures), "samples": ordered[:MOST_SHOWN]}


def validation(history: events.RunHistory) -> dict[str, JsonObject]:
    """By weights: the lowest held-out loss and the last, each {step, loss}, and whether it has risen between them."""
    by_weights: dict[str, JsonObject] = {}
    for weights, measured in history.validation.items():
        losses = [(loss, step) for step, loss in zip(measured.step, measured.loss, strict=False) if loss is not None]
        if losses:
            lowest, best_step = min(losses)
            last, last_step = losses[-1]
            by_weights[weights] = {"best": {"step": best_step, "loss": lowest},
                                   "last": {"step": last_step, "loss": last},
                                   "risen": last > RISEN * lowest and last_step > best_step}
    return by_weights


def recommended(run: runs.Run, config: PlainConfig, history: events.RunHistory,
                pictures: list[ComparedSample]) -> JsonObject | None:
    """The kept checkpoint to take: {checkpoint, step, weights, why, loss, copies, pictures}; None before the first.

    `why`: "validation", the lowest held-out `loss` of all kept ones; "newest", where nothing was held out. `copies` of
    `pictures` samples drawn with it are near copies of training pictures."""
    checkpoints = serializers.kept(run, history)
    if not checkpoints:
        return None
    validated = _best_validated(checkpoints, history)
    if validated is not None:
        why = "validation"
        loss, _, weights, checkpoint = validated
    else:
        why, loss = "newest", None
        averaged = (config.get("ema") or {}).get("enabled", True)
        weights = "ema" if averaged else "raw"
        checkpoint = checkpoints[-1]
    drawn = [p for p in pictures if p["step"] == checkpoint["step"] and p["weights"] == weights]
    return {"checkpoint": checkpoint["name"], "step": checkpoint["step"], "weights": weights, "loss": loss,
            "why": why, "copies": sum(map(itemgetter("copy"), drawn)), "pictures": len(drawn)}


def _best_validated(checkpoints: list[KeptCheckpoint],
                    history: events.RunHistory) -> tuple[float, int, str, KeptCheckpoint] | None:
    """(held-out loss, -step, weights, checkpoint) of the lowest loss, of equals the latest step; None where nothing was
    held out."""
    candidates = []
    for checkpoint in checkpoints:
        for weights, measured in history.validation.items():
            loss = _at(measured, checkpoint["step"])
            if loss is not None:
                candidates.append((loss, -checkpoint["step"], weights, checkpoint))
    return min(candidates, key=itemgetter(0, 1, 2), default=None)


def steps(pictures: list[ComparedSample]) -> list[JsonObject]:
    """Per step and weights: {step, weights, count, copies, distance (the median)}."""
    groups: dict[tuple[int, str], list[ComparedSample]] = {}
    for picture in pictures:
        groups.setdefault((picture["step"], picture["weights"]), []).append(picture)
    figures: list[JsonObject] = []
    for (step, weights), group in sorted(groups.items()):
        figures.append({"step": step, "weights": weights, "count": len(group),
                        "copies": sum(map(itemgetter("copy"), group)),
                        "distance": round(median(map(itemgetter("distance"), group)), 2)})
    return figures


def _at(measured: ValidationCurve, step: int) -> float | None:
    """The held-out loss as it was last measured at or before a step."""
    latest = None
    for measured_step, loss in zip(measured.step, measured.loss, strict=False):
        if measured_step <= step:
            latest = loss
    return latest


def _compared(run: runs.Run, samples: Mapping[str, Mapping[str, object]]) -> list[ComparedSample]:
    """The `samples` (events by file) that were measured, each with its nearest training picture, in the order they were
    measured in."""
    measures = {file: measured for file, measured in likeness.known(run.home, run.id).items() if file in samples}
    if not measures:
        return []
    rows = run.training_rows(map(itemgetter("place"), measures.values()))
    dataset = (run.record().get("dataset") or {}).get("id")
    compared: list[ComparedSample] = []
    for (file, measured), row in zip(measures.items(), rows, strict=True):
        nearest = {"name": row.get("name", ""), "captions": row.get("captions") or [], "image": row["image"],
                   "url": names.thumb_url(dataset, row["image"])}  # it lasts as long as the data set
        compared.append({**serializers.sample(run, samples[file]), "distance": measured["distance"],
                         "bits": measured["bits"], "usual": measured["usual"], "copy": measured["copy"],
                         "nearest": nearest})
    return compared
