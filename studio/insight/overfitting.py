"""Whether a run overfits: its held-out loss, its previews' nearest training pictures, the checkpoint to take."""

from __future__ import annotations

from operator import attrgetter, itemgetter
from statistics import median
from typing import NamedTuple

from studio.config import PlainConfig
from studio.folders import events, runs
from studio.folders.curves import ValidationCurve
from studio.folders.records import KeptCheckpoint, Row, SampleEvent
from studio.insight import likeness
from studio.insight.likeness import Likeness
from studio.messages import JsonObject

RISEN = 1.01  # a held-out loss this much above its lowest is said to have risen


class Comparison(NamedTuple):
    """A preview, how near it comes to its nearest training picture, and that picture's row."""

    sample: SampleEvent
    likeness: Likeness
    row: Row

    @property
    def step(self) -> int:
        """After how many updates it was generated."""
        return self.sample["step"]

    @property
    def weights(self) -> str:
        """With which weights: "raw" or "ema"."""
        return self.sample["weights"]

    @property
    def distance(self) -> float:
        """How far apart the two are, as in `likeness`."""
        return self.likeness["distance"]

    @property
    def is_copy(self) -> bool:
        """Whether it is a near copy of the training picture."""
        return self.likeness["copy"]


def comparisons(run: runs.Run, history: events.RunHistory) -> list[Comparison]:
    """The previews that were compared with the training pictures, in the order they were compared in."""
    samples = {sample["file"]: sample for sample in history.samples}
    measures = {file: measured for file, measured in likeness.known(run.home, run.id).items() if file in samples}
    if not measures:
        return []
    rows = run.training_rows(map(itemgetter("place"), measures.values()))
    return [Comparison(samples[file], measured, row)
            for (file, measured), row in zip(measures.items(), rows, strict=True)]


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


def recommended(checkpoints: list[KeptCheckpoint], config: PlainConfig, history: events.RunHistory,
                compared: list[Comparison]) -> JsonObject | None:
    """The one of the kept checkpoints to take: {checkpoint, step, weights, why, loss, copies, pictures}; None of none.

    `why`: "validation", the lowest held-out `loss` of all kept ones; "newest", where nothing was held out. `copies` of
    `pictures` previews of it are near copies of training pictures."""
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
    previews = [one for one in compared if one.step == checkpoint["step"] and one.weights == weights]
    return {"checkpoint": checkpoint["name"], "step": checkpoint["step"], "weights": weights, "loss": loss,
            "why": why, "copies": sum(map(attrgetter("is_copy"), previews)), "pictures": len(previews)}


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


def steps(compared: list[Comparison]) -> list[JsonObject]:
    """Per step and weights: {step, weights, count, copies, distance (the median)}."""
    groups: dict[tuple[int, str], list[Comparison]] = {}
    for one in compared:
        groups.setdefault((one.step, one.weights), []).append(one)
    figures: list[JsonObject] = []
    for (step, weights), group in sorted(groups.items()):
        figures.append({"step": step, "weights": weights, "count": len(group),
                        "copies": sum(map(attrgetter("is_copy"), group)),
                        "distance": round(median(map(attrgetter("distance"), group)), 2)})
    return figures


def _at(measured: ValidationCurve, step: int) -> float | None:
    """The held-out loss as it was last measured at or before a step."""
    latest = None
    for measured_step, loss in zip(measured.step, measured.loss, strict=False):
        if measured_step <= step:
            latest = loss
    return latest
