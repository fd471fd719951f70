"""What happens in a run or a job, as lines of `events.jsonl`: the kinds, the one writer, readers, the fold to a state.

A line is one JSON object (`records.Event`): `seq` (counts on from 1 over all attempts), `time` (unix seconds), `mono`
(monotonic seconds of this attempt's process), `kind`, and the kind's own fields.
"""

from __future__ import annotations

import json
import math
import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeGuard, cast

from studio import messages, storage
from studio.folders import records
from studio.folders.curves import Curve, ValidationCurve
from studio.folders.records import Event, ExitRecord
from studio.messages import JsonObject
from studio.storage.growing import GrowingFile

FINAL = ("finished", "stopped", "cancelled", "failed", "diverged", "paused", "interrupted")
ACTIVE = ("starting", "running", "stopping")
STATES = ("queued", *ACTIVE, *FINAL)
NEEDED: dict[str, dict[str, type | tuple[type, ...]]] = {  # what a reader relies on; a line without it is foreign
    "attempt": {"attempt": int},
    "resumed": {"from_step": int},
    "step": {"step": int, "loss": (float, int, type(None)), "lr": (float, int, type(None)), "seconds": (float, int)},
    "validation": {"step": int, "loss": (float, int, type(None)), "weights": str},
    "sample": {"step": int, "file": str},
    "retired": {"name": str},
    "result": {"name": str, "bytes": int},
    "end": {"result": str, "step": int},
}
DURABLE = ("resumed", "sample", "checkpoint", "retired", "control", "warning", "result", "end")  # flushed at once
OPENING = 16  # phases before the first step that are remembered
_NOTHING: dict[str, type | tuple[type, ...]] = {}
_DECODER = json.JSONDecoder(parse_constant=lambda _: None)
_TEMPLATES = f'"{messages.STORED}"'.encode()


class EventWriter:
    """Appends events; used by global rank 0 of the trainer (or a job's worker) alone.

    Each event is one `write`, so that a reader never sees two mixed; what the disk does not take waits in memory for
    the next. What people rely on (DURABLE) is flushed at once and all before it, the rest at each save and at the end.
    Non-finite numbers are written as null, since JSON has none.
    """

    def __init__(self, path: Path):
        self.path, self._seq = path, last_seq(path)
        self._file = GrowingFile(path)
        self._hear: Callable[[Event], None] = _nobody

    def follow(self, hear: Callable[[Event], None]) -> None:
        """Let `hear` have every event from now on, as soon as it is written."""
        self._hear = hear

    def add(self, kind: str, **fields: object) -> Event:
        """Append one event and return it. Raises OSError for what is no fault of the disk, or where too much waits."""
        self._seq += 1
        told: JsonObject = {"seq": self._seq, "time": round(time.time(), 3), "mono": round(time.monotonic(), 3),
                            "kind": kind}
        for name, value in fields.items():
            told[name] = _finite(value)
        line = json.dumps(messages.stored(told), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        self._file.write(line.encode() + b"\n")
        if kind in DURABLE:
            self._flush()
        event = cast(Event, told)
        self._hear(event)
        return event

    def phase(self, phase: str, done: int | None = None, total: int | None = None, unit: str | None = None) -> None:
        """What the trainer is doing: loading, downloading, caching, training, sampling, validating, saving, ..."""
        self.add("phase", phase=phase, done=done, total=total, unit=unit)

    def step(self, step: int, loss: float, lr: float, grad_norm: float | None, pictures: int, seconds: float) -> None:
        """One update: the mean loss over its global batch, and the pictures and seconds it took."""
        self.add("step", step=step, loss=loss, lr=lr, grad_norm=grad_norm, pictures=pictures,
                 seconds=round(seconds, 4))

    def validation(self, step: int, loss: float, weights: str, pictures: int) -> None:
        """The mean loss on the held-out pictures with the `weights` (raw, ema) of this step."""
        self.add("validation", step=step, loss=loss, weights=weights, pictures=pictures)

    def warning(self, code: str, message: str) -> None:
        """Something a person should know that does not end the run."""
        self.add("warning", code=code, message=message)

    def end(self, result: str, step: int, error: Mapping[str, object] | None = None) -> None:
        """The attempt's last word. `error` is a `records.ErrorRecord`."""
        self.add("end", result=result, step=step, error=error)

    def sync(self) -> None:
        """Flush everything written so far to the disk (before a checkpoint is committed). Raises OSError."""
        self._file.flush()

    def close(self) -> None:
        """Flush and close."""
        self._file.close()

    def _flush(self) -> None:
        """`sync` of one event. A disk that does not take it now is no reason to end the work: a save asks again."""
        try:
            self._file.flush()
        except OSError as error:
            if error.errno not in storage.UNWRITABLE:
                raise


def read(path: Path, offset: int = 0, most: int = -1) -> tuple[list[Event], int]:
    """The complete events from byte `offset` on, and the offset after them; torn or foreign lines are passed over.

    About `most` bytes at once where that is given."""
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            lines = file.readlines(most)
    except FileNotFoundError:
        return [], offset
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    return list(_parse_all(lines)), offset + sum(map(len, lines))


def read_since(path: Path, seq: int, limit: int) -> list[Event]:
    """At most `limit` events numbered above `seq`, in order; found by bisection, since `seq` grows along the file."""
    newer: list[Event] = []
    try:
        with open(path, "rb") as file:
            _seek_before(file, seq)
            for line in file:
                if len(newer) >= limit or not line.endswith(b"\n"):
                    break
                event = parse(line)
                if event is not None and event["seq"] > seq:
                    newer.append(event)
    except FileNotFoundError:
        return []
    return newer


def _seek_before(file: BinaryIO, seq: int) -> None:
    """Move to the beginning of a line at or shortly before the first event numbered above `seq`."""
    low = 0
    high = file.seek(0, os.SEEK_END)
    while high - low > 1 << 16:
        middle = (low + high) // 2
        file.seek(middle)
        file.readline()  # the rest of a line that began before
        event = next(filter(None, map(parse, file)), None)
        if event is not None and event["seq"] <= seq:
            low = middle
        else:
            high = middle
    file.seek(low)
    if low:
        file.readline()


def last_seq(path: Path) -> int:
    """The highest `seq` in the file (0 when there is none), read from its tail."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            block = 1 << 16
            while True:
                file.seek(max(0, size - block))
                events = list(filter(None, map(parse, file.read().splitlines())))
                if events or block >= size:
                    return max((event["seq"] for event in events), default=0)
                block *= 8
    except FileNotFoundError:
        return 0


@dataclass
class RunHistory:
    """Everything a run's events have told so far; `add` is fed each event once, in order."""

    curve: Curve = field(default_factory=Curve)
    validation: dict[str, ValidationCurve] = field(default_factory=dict)  # by weights
    phase: records.Progress | None = None
    opening: list[records.Progress] = field(default_factory=list)  # phases of the attempt before its first step
    first_step: float | None = None  # when the attempt told of its first step
    step: int = 0
    samples: list[records.SampleEvent] = field(default_factory=list)
    checkpoints: list[records.CheckpointEvent] = field(default_factory=list)
    warnings: list[records.WarningEvent] = field(default_factory=list)
    controls: dict[str, records.ControlEvent] = field(default_factory=dict)  # by request: its newest answer
    resumes: list[records.ResumedEvent] = field(default_factory=list)
    results: dict[str, records.ResultEvent] = field(default_factory=dict)  # by name
    end: records.EndEvent | None = None
    attempt: int = 0
    facts: records.AttemptEvent = field(default_factory=records.AttemptEvent)
    seq: int = 0
    first_time: float | None = None
    last_time: float | None = None
    ending: str | None = None  # which ending was asked for, and accepted

    def add(self, event: Event) -> None:
        """Take in one event; unknown kinds only move the clock."""
        self.seq = event["seq"]
        self.last_time = event.get("time")
        if self.first_time is None:
            self.first_time = self.last_time
        handler = getattr(self, f"_on_{event['kind']}", None)
        if handler is not None:
            handler(event)

    def _on_attempt(self, event: records.AttemptEvent) -> None:
        self.attempt = event["attempt"]
        self.facts = event
        self.end = self.ending = self.phase = self.first_step = None
        self.opening = []

    def _on_resumed(self, event: records.ResumedEvent) -> None:
        self.resumes.append(event)
        self.step = event["from_step"]
        self.curve.truncate(self.step)
        for measured in self.validation.values():
            measured.truncate(self.step)
        self.samples = [sample for sample in self.samples if sample["step"] <= self.step]

    def _on_phase(self, event: records.PhaseEvent) -> None:
        phase, began = event.get("phase"), event.get("time")
        goes_on = self.phase is not None and self.phase["phase"] == phase
        if self.phase is not None and goes_on:
            began = self.phase["began"]
        self.phase = {"phase": phase, "done": event.get("done"), "total": event.get("total"),
                      "unit": event.get("unit"), "began": began}
        if self.first_step is None and not goes_on and len(self.opening) < OPENING:
            self.opening.append(self.phase)

    def _on_step(self, event: records.StepEvent) -> None:
        self.step = event["step"]
        if self.first_step is None:
            self.first_step = event.get("time") or 0.0  # a stranger's may have no time
        self.curve.append(event)

    def _on_sample(self, event: records.SampleEvent) -> None:
        others = [sample for sample in self.samples if sample["file"] != event["file"]]
        self.samples = [*others, event]

    def _on_validation(self, event: records.ValidationEvent) -> None:
        self.validation.setdefault(event["weights"], ValidationCurve()).append(event)

    def _on_checkpoint(self, event: records.CheckpointEvent) -> None:
        self.checkpoints.append(event)

    def _on_retired(self, event: records.RetiredEvent) -> None:
        self.checkpoints = [saved for saved in self.checkpoints if saved.get("name") != event["name"]]

    def _on_result(self, event: records.ResultEvent) -> None:
        self.results[event["name"]] = event

    def _on_warning(self, event: records.WarningEvent) -> None:
        for known in self.warnings:  # each attempt says what still holds again
            if (known.get("code"), known.get("message")) == (event.get("code"), event.get("message")):
                return
        self.warnings.append(event)

    def _on_control(self, event: records.ControlEvent) -> None:
        self.controls[str(event.get("id"))] = event
        if event.get("control") in ("stop", "cancel", "pause") and event.get("result") == "accepted":
            self.ending = event["control"]

    def _on_end(self, event: records.EndEvent) -> None:
        self.end = event
        self.step = max(self.step, event.get("step") or 0)

    @property
    def seconds_per_step(self) -> float | None:
        """The median of the last 50 steps' seconds."""
        recent = sorted(self.curve.seconds[-50:])
        return recent[len(recent) // 2] if recent else None


def state_of(history: RunHistory, *, alive: bool, wanted: int, started: int, exit_: ExitRecord | None) -> str:
    """The run's one state, from its events and facts on disk; never stored.

    `wanted` counts the attempts asked for (run.json), `started` the last one a supervisor began (process.json),
    `exit_` is exit.json, whose `result` says how the supervisor itself ended an attempt that has no `end` (a cancel in
    the queue or of a hung trainer, a machine shut down). Lock held = alive; a free lock with neither an `end` nor a
    bad exit is `interrupted`.
    """
    if wanted > started:
        return "starting" if alive else "queued"
    if history.end and history.attempt == started and history.end["result"] in FINAL:
        return history.end["result"]
    if alive:
        return _state_of_living(history, started)
    if exit_ and exit_.get("attempt") == started:
        return _state_of_ended(exit_)
    return "interrupted"


def _state_of_living(history: RunHistory, started: int) -> str:
    if history.attempt != started:
        return "starting"
    return "stopping" if history.ending else "running"


def _state_of_ended(exit_: ExitRecord) -> str:
    """The state by the supervisor's word, of an attempt that has none of its own."""
    result = exit_.get("result")
    if result in FINAL:
        return result
    return "failed" if exit_.get("returncode") or exit_.get("error") else "interrupted"


def _nobody(event: Event) -> None:
    """Whoever follows the events when nobody does."""


def trace() -> None:
    """The traceback of the exception being handled, for the log; without a word where the disk has no room for it."""
    with suppress(OSError):
        traceback.print_exc()


def _parse_all(lines: list[bytes]) -> Iterator[Event]:
    """The events among the lines, as `parse` has them, three times as fast: a thousand at once, one by one only where a
    line is torn."""
    for start in range(0, len(lines), 1000):
        block = lines[start : start + 1000]
        try:
            parsed: list[object] = _DECODER.decode((b"[" + b",".join(block) + b"]").decode())
        except (ValueError, RecursionError):
            parsed = []
        if len(parsed) != len(block):
            yield from filter(None, map(parse, block))
            continue
        if any(_TEMPLATES in line for line in block):
            parsed = list(map(messages.restored, parsed))
        yield from filter(_is_event, parsed)


def _is_event(data: object) -> TypeGuard[Event]:
    """Whether this is an event with all that readers rely on."""
    if not isinstance(data, dict) or not isinstance(data.get("kind"), str) or not isinstance(data.get("seq"), int):
        return False
    for name, kind in NEEDED.get(data["kind"], _NOTHING).items():  # noqa: SIM110 - all() costs twice the time here
        if not isinstance(data.get(name), kind):
            return False
    return True


def parse(line: bytes) -> Event | None:
    """The event that a line is; None for a torn or foreign one."""
    try:
        data: object = _DECODER.decode(line.decode())
    except (ValueError, RecursionError):
        return None
    if not _is_event(data):
        return None
    return messages.restored(data) if _TEMPLATES in line else data


def _finite(value: object) -> object:
    """JSON-like `value` with None for each number that is not finite."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return list(map(_finite, value))
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
