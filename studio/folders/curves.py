"""The numbers of a run as columns: one entry a step, or a measurement."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MOST = 1 << 53  # steps and pictures that a number of JSON can count
_COLUMNS = ("step", "loss", "lr", "grad_norm", "seconds", "pictures")


@dataclass
class Curve:
    """The step events of a run, in step order; what a killed attempt did past its checkpoint is dropped.

    Eight bytes a number, since a run may have millions of steps; NaN where an event has none.
    """

    step: array[int] = field(default_factory=lambda: array("q"))
    loss: array[float] = field(default_factory=lambda: array("d"))
    lr: array[float] = field(default_factory=lambda: array("d"))
    grad_norm: array[float] = field(default_factory=lambda: array("d"))
    seconds: array[float] = field(default_factory=lambda: array("d"))
    pictures: array[int] = field(default_factory=lambda: array("q"))

    def append(self, event: Mapping[str, Any]) -> None:
        """Add one step event; one whose numbers are beyond all bounds is passed over."""
        try:
            step = int(event["step"])
            pictures = int(event.get("pictures") or 0)
            loss = _float(event["loss"])
            lr = _float(event["lr"])
            norm = _float(event.get("grad_norm"))
            seconds = float(event["seconds"])
        except (OverflowError, TypeError, ValueError):
            return
        if abs(step) < MOST and abs(pictures) < MOST:
            self.step.append(step)
            self.loss.append(loss)
            self.lr.append(lr)
            self.grad_norm.append(norm)
            self.seconds.append(seconds)
            self.pictures.append(pictures)

    def truncate(self, step: int) -> None:
        """Drop every point after `step`."""
        length = len(self.step)
        while length and self.step[length - 1] > step:
            length -= 1
        for name in _COLUMNS:
            del getattr(self, name)[length:]


@dataclass
class ValidationCurve:
    """The validation losses of one kind of weights, in step order."""

    step: list[int] = field(default_factory=list)
    loss: list[float | None] = field(default_factory=list)

    def append(self, event: Mapping[str, Any]) -> None:
        """Add one validation event; a repeated step replaces what was there."""
        self.truncate(event["step"] - 1)
        self.step.append(event["step"])
        self.loss.append(event["loss"])

    def truncate(self, step: int) -> None:
        """Drop every point after `step`."""
        while self.step and self.step[-1] > step:
            self.step.pop()
            self.loss.pop()


def _float(value: float | str | None) -> float:
    """The number as it is written; NaN for null, which is how a number that is none was written."""
    return math.nan if value is None else float(value)
