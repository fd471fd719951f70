"""Whether a run begins to learn its pictures by heart: its held-out loss, its samples' nearest training pictures, and
the checkpoint that these recommend."""

from __future__ import annotations

from statistics import median
from typing import Any

from studio.folders import events, names, runs
from studio.folders.records import SampleEvent
from studio.insight import likeness
from studio.web.http import serializers

MOST_SHOWN = 60
RISEN = 1.01  # a held-out loss this much above its lowest is said to have risen


def view(run: runs.Run, config: dict[str, Any], story: events.Story) -> dict[str, Any]:
    """{validation, recommended, count, measured, steps, samples}: see the functions below.

    `samples` are the measured ones, copies first, then by distance, of the newest step first."""
    known = likeness.known(run.home, run.id)
    drawn = {s["file"]: s for s in story.samples}
    pictures = [_compared(run, drawn[file], found) for file, found in known.items() if file in drawn]
    _name(run, pictures)
    held = validation(story)
    return {"validation": held, "recommended": recommended(run, config, story, pictures), "count": len(drawn),
            "measured": len(pictures), "steps": steps(pictures),
            "samples": sorted(pictures, key=lambda p: (-p["step"], not p["copy"], p["distance"]))[:MOST_SHOWN]}


def validation(story: events.Story) -> dict[str, Any]:
    """By weights: the lowest held-out loss and the last, each {step, loss}, and whether it has risen between them."""
    found = {}
    for weights, measured in story.validation.items():
        pairs = [(loss, step) for step, loss in zip(measured.step, measured.loss, strict=False) if loss is not None]
        if pairs:
            (low, at), (last, end) = min(pairs), pairs[-1]
            found[weights] = {"best": {"step": at, "loss": low}, "last": {"step": end, "loss": last},
                              "risen": last > RISEN * low and end > at}
    return found


def recommended(run: runs.Run, config: dict[str, Any], story: events.Story,
                pictures: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The kept checkpoint to take: {checkpoint, step, weights, why, loss, copies, pictures}; None before the first.

    `why`: "validation", the lowest held-out `loss` of all kept ones; "newest", where nothing was held out. `copies` of
    `pictures` samples drawn with it are near copies of training pictures."""
    kept = serializers.kept(run, story)
    if not kept:
        return None
    losses = [(loss, -c["step"], weights, c) for c in kept for weights, measured in story.validation.items()
              if (loss := _at(measured, c["step"])) is not None]
    if losses:
        loss, _, weights, chosen = min(losses, key=lambda entry: entry[:3])
    else:
        averaged = (config.get("ema") or {}).get("enabled", True)
        loss, weights, chosen = None, "ema" if averaged else "raw", kept[-1]
    own = [p for p in pictures if (p["step"], p["weights"]) == (chosen["step"], weights)]
    return {"checkpoint": chosen["name"], "step": chosen["step"], "weights": weights, "loss": loss,
            "why": "newest" if loss is None else "validation", "copies": sum(p["copy"] for p in own),
            "pictures": len(own)}


def steps(pictures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per step and weights: {step, weights, count, copies, distance (the median)}."""
    groups: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for picture in pictures:
        groups.setdefault((picture["step"], picture["weights"]), []).append(picture)
    return [{"step": step, "weights": weights, "count": len(own), "copies": sum(p["copy"] for p in own),
             "distance": round(median(p["distance"] for p in own), 2)}
            for (step, weights), own in sorted(groups.items())]


def _at(measured: Any, step: int) -> float | None:
    """The held-out loss as it was last measured at or before a step."""
    found = None
    for at, loss in zip(measured.step, measured.loss, strict=False):
        if at <= step:
            found = loss
    return found


def _compared(run: runs.Run, sample: SampleEvent, found: dict[str, Any]) -> dict[str, Any]:
    measured = {key: found[key] for key in ("place", "distance", "bits", "usual", "copy")}
    return {**serializers.sample(run, sample), **measured}


def _name(run: runs.Run, pictures: list[dict[str, Any]]) -> None:
    """Say which training picture each one's nearest is; its thumbnail lasts as long as the data set."""
    if not pictures:
        return
    rows = run.training_rows(picture.pop("place") for picture in pictures)
    dataset = (run.record().get("dataset") or {}).get("id")
    for picture, row in zip(pictures, rows, strict=True):
        picture["nearest"] = {
            "name": row.get("name", ""), "captions": row.get("captions") or [], "image": row["image"],
            "url": names.thumb_url(dataset, row["image"])}
