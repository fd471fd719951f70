"""Events that another machine, or a stranger, wrote: cut down to the fields and sizes of those written here."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import cast

from studio import messages, secrets
from studio.folders import events
from studio.folders.records import ErrorRecord, Event
from studio.messages import JsonObject

LINE_BYTES = 1 << 20
FACTS_BYTES = 16 << 10
TOLD_BYTES = 24 << 20  # of all events that stay in a reader's memory as they are, so neither steps nor phases
MOST_STEPS = 500_000  # a curve is drawn with 1,500 points
FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}\.(?:webp|png|jpg|json|jsonl|txt|csv|zip|safetensors)")
CHECKPOINT = re.compile(r"checkpoint-[0-9]{1,9}")
WORD = re.compile(r"[A-Za-z0-9_.:+-]{0,80}")

Check = Callable[[object], bool]


def _whole(value: object) -> bool:
    return type(value) is int and abs(cast(int, value)) < 1 << 53


def _number(value: object) -> bool:
    return _whole(value) or isinstance(value, float) and math.isfinite(value)


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _matches(pattern: re.Pattern[str]) -> Check:
    def check(value: object) -> bool:
        return isinstance(value, str) and pattern.fullmatch(value) is not None

    return check


def _text(most: int) -> Check:
    def check(value: object) -> bool:
        return isinstance(value, str) and len(value) <= most

    return check


def _facts(value: object) -> bool:
    """A small JSON object."""
    return isinstance(value, dict) and len(json.dumps(value)) <= FACTS_BYTES


_SENTENCE, _LONG, _NAME, _WORD = _text(4000), _text(20_000), _matches(CHECKPOINT), _matches(WORD)
FIELDS: dict[str, dict[str, Check]] = {  # of each kind; any of them may also be null
    "attempt": {"attempt": _whole, "total_steps": _whole, "pictures": _whole, "device": _text(300), "precision": _WORD,
                "exact": _flag, "threads": _whole, "versions": _facts, "numerics": _facts},
    "resumed": {"from_step": _whole, "checkpoint": _NAME, "exact": _flag, "note": _LONG},
    "phase": {"phase": _WORD, "done": _number, "total": _number, "unit": _WORD},
    "step": {"step": _whole, "loss": _number, "lr": _number, "grad_norm": _number, "pictures": _whole,
             "seconds": _number},
    "validation": {"step": _whole, "loss": _number, "weights": _WORD, "pictures": _whole},
    "sample": {"step": _whole, "prompt_index": _whole, "prompt": _LONG, "weights": _WORD, "file": _matches(FILE),
               "seed": _whole, "guidance_scale": _number, "num_inference_steps": _whole, "requested": _flag},
    "checkpoint": {"step": _whole, "name": _NAME, "bytes": _whole, "seconds": _number, "ok": _flag,
                   "error": _SENTENCE},
    "retired": {"name": _NAME, "step": _whole},
    "control": {"id": _WORD, "control": _WORD, "result": _WORD, "message": _SENTENCE, "step": _whole, "config": _facts},
    "warning": {"code": _WORD, "message": _SENTENCE},
    "end": {"result": _WORD, "step": _whole, "error": _facts, "peak_memory_bytes": _whole},
}
_ERROR = {"code": 80, "message": 2000, "hint": 2000, "evidence": 12_000}  # characters of an end's error
_ALWAYS: dict[str, Check] = {"seq": _whole, "time": _number, "mono": _number, "origin": _whole}


def clean(event: Event) -> Event | None:
    """The event with the fields that its kind has, each of the right type and size; None for one that has no such kind
    or lacks what a reader relies on."""
    kind = event["kind"]
    if kind not in FIELDS:
        return None
    checks = {"kind": _text(20), **_ALWAYS, **FIELDS[kind]}
    told: JsonObject = {**event}
    if kind == "end" and isinstance(told.get("error"), dict):
        told["error"] = error_of(told["error"])
    sound = {name: value for name, value in told.items() if name in checks and (value is None or checks[name](value))}
    if not isinstance(sound.get("seq"), int):
        return None
    for name, type_ in events.NEEDED.get(kind, {}).items():
        if not isinstance(sound.get(name), type_):
            return None
    return cast(Event, sound)


def clean_lines(lines: Iterable[bytes], count: int = 0) -> Iterator[bytes]:
    """The lines of an events file that are sound, cleaned, in order; no more than a reader can hold.

    Of `count` steps (about; as many as the file has) beyond MOST_STEPS, every second, third, ... is kept."""
    told = steps = 0
    every = -(-count // MOST_STEPS) or 1
    for event in _sound(lines):
        line = json.dumps(messages.stored(event), ensure_ascii=False, separators=(",", ":"))
        text = line.encode("utf-8", "replace") + b"\n"
        if event["kind"] == "step":
            steps += 1
            if steps % every == 0 and steps // every <= 2 * MOST_STEPS:
                yield text
            continue
        if event["kind"] != "phase":
            told += len(text)
        if told <= TOLD_BYTES:
            yield text


def _sound(lines: Iterable[bytes]) -> Iterator[Event]:
    """The events among the lines that are not too long, cleaned."""
    for line in lines:
        if len(line) > LINE_BYTES:
            continue
        event = events.parse(line)
        if event is None:
            continue
        cleaned = clean(event)
        if cleaned is not None:
            yield cleaned


def error_of(error: object) -> ErrorRecord | None:
    """An error, as text alone and not too long; None for what is no object."""
    if not isinstance(error, dict):
        return None
    texts = {key: secrets.redact(_cut(error.get(key) or "", most)) for key, most in _ERROR.items()}
    return cast(ErrorRecord, texts)


def _cut(text: object, most: int) -> str:
    """A text of at most so many characters; a Message (which `messages.restored` has judged) stays one."""
    return text if isinstance(text, messages.Message) and len(text) <= most else str(text)[:most]
