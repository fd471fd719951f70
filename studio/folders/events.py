"""What happens in a run or a job, as lines of `events.jsonl`: the kinds, the one writer, readers, the fold to a state.

A line is one JSON object: `seq` (counts on from 1 over all attempts), `time` (unix seconds), `mono` (monotonic
seconds of this attempt's process), `kind`, and the kind's own fields (see the functions of `EventWriter`).
"""

from __future__ import annotations

import json
import math
import os
import re
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studio import messages, storage
from studio.folders.curves import Curve, Measured
from studio.storage.growing import GrowingFile

FINAL = ("finished", "stopped", "cancelled", "failed", "diverged", "paused", "interrupted")
ACTIVE = ("starting", "running", "stopping")
STATES = ("queued", *ACTIVE, *FINAL)
NEEDED: dict[str, dict[str, Any]] = {  # what a reader relies on; a line without it is foreign
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
_NOTHING: dict[str, Any] = {}
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
        self._hear: Callable[[dict[str, Any]], None] = _nobody

    def follow(self, hear: Callable[[dict[str, Any]], None]) -> None:
        """Let `hear` have every event from now on, as soon as it is written."""
        self._hear = hear

    def add(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Append one event and return it."""
        self._seq += 1
        event = {"seq": self._seq, "time": round(time.time(), 3), "mono": round(time.monotonic(), 3), "kind": kind}
        event.update({key: _finite(value) for key, value in fields.items()})
        line = json.dumps(
            messages.stored(event), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"
        self._file.write(line)
        if kind in DURABLE:
            self._flush()
        self._hear(event)
        return event

    def phase(self, phase: str, done: int | None = None, total: int | None = None, unit: str | None = None) -> None:
        """What the trainer is doing: loading, downloading, caching, training, sampling, validating, saving, ..."""
        self.add("phase", phase=phase, done=done, total=total, unit=unit)

    def step(self, step: int, loss: float, lr: float, grad_norm: float | None, pictures: int, seconds: float) -> None:
        """One update: the mean loss over its window, and the pictures and seconds it took."""
        self.add("step", step=step, loss=loss, lr=lr, grad_norm=grad_norm, pictures=pictures,
                 seconds=round(seconds, 4))

    def validation(self, step: int, loss: float, weights: str, pictures: int) -> None:
        """The mean loss on the held-out pictures with the `weights` (raw, ema) of this step."""
        self.add("validation", step=step, loss=loss, weights=weights, pictures=pictures)

    def warning(self, code: str, message: str) -> None:
        """Something a person should know that does not end the run."""
        self.add("warning", code=code, message=message)

    def end(self, result: str, step: int, error: dict[str, Any] | None = None) -> None:
        """The attempt's last word. `error` is {code, message, hint, evidence}."""
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


def read(path: Path, offset: int = 0, most: int = -1) -> tuple[list[dict[str, Any]], int]:
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
    return [event for event in _parse_all(lines) if event is not None], offset + sum(map(len, lines))


def read_since(path: Path, seq: int, limit: int) -> list[dict[str, Any]]:
    """At most `limit` events numbered above `seq`, in order; found by bisection, since `seq` grows along the file."""
    try:
        with open(path, "rb") as file:
            low, high = 0, file.seek(0, os.SEEK_END)
            while high - low > 1 << 16:
                middle = (low + high) // 2
                file.seek(middle)
                file.readline()  # the rest of a line that began before
                event = next((e for line in file if (e := parse(line))), None)
                low, high = (middle, high) if event and event["seq"] <= seq else (low, middle)
            file.seek(low)
            if low:
                file.readline()
            found: list[dict[str, Any]] = []
            for line in file:
                if len(found) >= limit or not line.endswith(b"\n"):
                    break
                event = parse(line)
                if event is not None and event["seq"] > seq:
                    found.append(event)
            return found
    except FileNotFoundError:
        return []


def last_seq(path: Path) -> int:
    """The highest `seq` in the file (0 when there is none), read from its tail."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            block = 1 << 16
            while True:
                file.seek(max(0, size - block))
                events = [e for line in file.read().splitlines() if (e := parse(line))]
                if events or block >= size:
                    return max((e["seq"] for e in events), default=0)
                block *= 8
    except FileNotFoundError:
        return 0


@dataclass
class Story:
    """Everything a run's events have told so far; `add` is fed each event once, in order."""

    curve: Curve = field(default_factory=Curve)
    validation: dict[str, Measured] = field(default_factory=dict)  # by weights
    phase: dict[str, Any] | None = None
    step: int = 0
    samples: list[dict[str, Any]] = field(default_factory=list)
    checkpoints: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[dict[str, Any]] = field(default_factory=list)
    controls: dict[str, dict[str, Any]] = field(default_factory=dict)
    resumes: list[dict[str, Any]] = field(default_factory=list)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    end: dict[str, Any] | None = None
    attempt: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    seq: int = 0
    first_time: float | None = None
    last_time: float | None = None
    ending: str | None = None

    def add(self, event: dict[str, Any]) -> None:
        """Take in one event; unknown kinds only move the clock."""
        self.seq, self.last_time = event["seq"], event.get("time")
        self.first_time = self.first_time if self.first_time is not None else self.last_time
        handler = getattr(self, f"_on_{event['kind']}", None)
        if handler is not None:
            handler(event)

    def _on_attempt(self, event: dict[str, Any]) -> None:
        self.attempt, self.end, self.ending, self.phase = event["attempt"], None, None, None
        self.facts = event

    def _on_resumed(self, event: dict[str, Any]) -> None:
        self.resumes.append(event)
        self.step = event["from_step"]
        self.curve.truncate(self.step)
        for measured in self.validation.values():
            measured.truncate(self.step)
        self.samples = [s for s in self.samples if s["step"] <= self.step]

    def _on_phase(self, event: dict[str, Any]) -> None:
        self.phase = {k: event.get(k) for k in ("phase", "done", "total", "unit")}

    def _on_step(self, event: dict[str, Any]) -> None:
        self.step = event["step"]
        self.curve.append(event)

    def _on_sample(self, event: dict[str, Any]) -> None:
        self.samples = [s for s in self.samples if s["file"] != event["file"]] + [event]

    def _on_validation(self, event: dict[str, Any]) -> None:
        self.validation.setdefault(event["weights"], Measured()).append(event)

    def _on_checkpoint(self, event: dict[str, Any]) -> None:
        self.checkpoints.append(event)

    def _on_retired(self, event: dict[str, Any]) -> None:
        self.checkpoints = [c for c in self.checkpoints if c.get("name") != event["name"]]

    def _on_result(self, event: dict[str, Any]) -> None:
        self.results[event["name"]] = event

    def _on_warning(self, event: dict[str, Any]) -> None:
        said = [(one.get("code"), one.get("message")) for one in self.warnings]
        if (event.get("code"), event.get("message")) not in said:  # each attempt says what still holds again
            self.warnings.append(event)

    def _on_control(self, event: dict[str, Any]) -> None:
        self.controls[str(event.get("id"))] = event
        if event.get("control") in ("stop", "cancel", "pause") and event.get("result") == "accepted":
            self.ending = event["control"]

    def _on_end(self, event: dict[str, Any]) -> None:
        self.end, self.step = event, max(self.step, event.get("step") or 0)

    @property
    def seconds_per_step(self) -> float | None:
        """The median of the last 50 steps' seconds."""
        recent = sorted(self.curve.seconds[-50:])
        return recent[len(recent) // 2] if recent else None


def state_of(story: Story, *, alive: bool, wanted: int, started: int, exit_: dict[str, Any] | None) -> str:
    """The run's one state, from its events and facts on disk; never stored.

    `wanted` counts the attempts asked for (run.json), `started` the last one a supervisor began (process.json),
    `exit_` is exit.json, whose `result` says how the supervisor itself ended an attempt that has no `end` (a cancel in
    the queue or of a hung trainer, a machine shut down). Lock held = alive; a free lock with neither an `end` nor a
    bad exit is `interrupted`.
    """
    if wanted > started:
        return "starting" if alive else "queued"
    ended = story.end if story.attempt == started else None
    if ended and ended["result"] in FINAL:
        return ended["result"]
    if alive:
        if story.attempt != started:
            return "starting"
        return "stopping" if story.ending else "running"
    if exit_ and exit_.get("attempt") == started:
        if exit_.get("result") in FINAL:
            return exit_["result"]
        if exit_.get("returncode") or exit_.get("error"):
            return "failed"
    return "interrupted"


_SECRETS = re.compile(r"\bhf_[A-Za-z0-9]{8,}|(?<=Bearer )[^\s\"']+|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)")


def redact(text: str) -> str:
    """`text` without Hub tokens, bearer tokens and passwords in URLs: for everything that leaves a log file."""
    return messages.changed(text, _redacted)


def _redacted(text: str) -> str:
    text = _SECRETS.sub("[secret]", text)
    own = os.environ.get("HF_TOKEN", "")
    return text.replace(own, "[secret]") if len(own) >= 8 else text


def _nobody(event: dict[str, Any]) -> None:
    """Whoever follows the events when nobody does."""


def trace() -> None:
    """The traceback of the exception being handled, for the log; without a word where the disk has no room for it."""
    with suppress(OSError):
        traceback.print_exc()


def _parse_all(lines: list[bytes]) -> Iterator[dict[str, Any] | None]:
    """`parse` of every line, three times as fast: a thousand at once, one by one only where a line is torn."""
    for start in range(0, len(lines), 1000):
        block = lines[start : start + 1000]
        try:
            found = _DECODER.decode((b"[" + b",".join(block) + b"]").decode())
        except (ValueError, RecursionError):
            found = []
        if len(found) == len(block):
            if any(_TEMPLATES in line for line in block):
                found = [messages.restored(event) for event in found]
            yield from (event if _sound(event) else None for event in found)
        else:
            yield from map(parse, block)


def _sound(event: Any) -> bool:
    """Whether this is an event with all that readers rely on."""
    if not isinstance(event, dict) or not isinstance(event.get("kind"), str) or not isinstance(event.get("seq"), int):
        return False
    for name, kind in NEEDED.get(event["kind"], _NOTHING).items():  # noqa: SIM110 - all() costs twice the time here
        if not isinstance(event.get(name), kind):
            return False
    return True


def parse(line: bytes) -> dict[str, Any] | None:
    """The event that a line is; None for a torn or foreign one."""
    try:
        event = _DECODER.decode(line.decode())
    except (ValueError, RecursionError):
        return None
    if not _sound(event):
        return None
    return messages.restored(event) if _TEMPLATES in line else event


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
