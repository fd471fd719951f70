"""What a run or a job is doing now, since when, and how long each phase took until its first step.

Before the work's own process speaks, its folder tells: run.json when it was asked for, process.json when it began.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from studio.folders import events
from studio.folders.events import RunHistory
from studio.folders.records import Progress
from studio.folders.runs import Run
from studio.folders.work import Work

WAITING, STARTING, FIRST_STEP = "waiting", "starting", "first_step"
HEAD_BYTES = 1 << 16  # of events.jsonl: what comes before the first step lies in these


def current(work: Work, state: str, history: RunHistory) -> Progress:
    """What work in `state` is doing; work that does not live only has its state. Raises Corrupt."""
    if state == "queued":
        return _plain(WAITING, _asked(work))
    if state not in events.ACTIVE:
        return _plain(state, None)
    if state == "starting" or history.phase is None:
        return _plain("saving" if state == "stopping" else STARTING, _began(work))
    if isinstance(work, Run) and history.phase["phase"] == "training" and history.first_step is None:
        return _plain(FIRST_STEP, history.phase["began"])
    return history.phase


def opens(doing: Progress, history: RunHistory) -> bool:
    """Whether this is a phase before the attempt's first step."""
    return doing["phase"] in (STARTING, FIRST_STEP) or (history.first_step is None and history.phase is doing)


def earlier(doing: Progress, history: RunHistory) -> float:
    """The seconds that this attempt spent in the same phase before: a model is loaded before and after the caching."""
    return sum(seconds for phase, seconds in _between(history.opening) if phase == doing["phase"])


def spent(work: Work) -> dict[str, float]:
    """The seconds of each phase of the work's first attempt until its first step, or its end; {} where its files do not
    tell. Only the head of the events is read. Raises Corrupt."""
    history = RunHistory()
    for event in events.read(work.events_file, most=HEAD_BYTES)[0]:
        history.add(event)
        if history.first_step is not None or history.end is not None:
            break
    ended = history.first_step or (history.end or {}).get("time")
    process = work.process()
    if ended is None or process["attempt"] != 1 or not process.get("argv"):  # one from a bundle was started elsewhere
        return {}
    marks = [_plain(STARTING, process.get("began")), *history.opening, _plain("", ended)]
    seconds: dict[str, float] = {}
    for phase, took in _between(marks):
        if isinstance(work, Run) and phase == "training":
            phase = FIRST_STEP
        seconds[phase] = seconds.get(phase, 0.0) + took
    return seconds


def _between(marks: list[Progress]) -> Iterator[tuple[str, float]]:
    """Each phase but the last, with the seconds until the next one began; none of which a time is missing."""
    for mark, following in pairwise(marks):
        began, ended = mark["began"], following["began"]
        if mark["phase"] is not None and began is not None and ended is not None and ended >= began:
            yield mark["phase"], ended - began


def _plain(phase: str, began: float | None) -> Progress:
    return {"phase": phase, "done": None, "total": None, "unit": None, "began": began}


def _began(work: Work) -> float | None:
    """When the supervisor of the newest attempt began, or the attempt was asked for."""
    process = work.process()
    if process["attempt"] < work.record()["attempt"]:
        return _asked(work)
    return process.get("began")


def _asked(work: Work) -> float | None:
    """When the newest attempt was asked for; a later one takes its place in the queue from then on."""
    record = work.record()
    return record["created"] if record["attempt"] == 1 else record["rank"]
