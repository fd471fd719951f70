"""How long a phase before the first step mostly takes here: the median of what earlier work of the same kind took,
before there is any the shipped base's own figures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import islice
from statistics import median
from typing import Any

from studio import storage
from studio.config import ConfigError, PlainConfig
from studio.folders import phases
from studio.folders.events import RunHistory
from studio.folders.records import Progress
from studio.folders.runs import Run
from studio.folders.work import Job, Work
from studio.insight import shipped
from studio.system.machine import Facts

ENOUGH = 5  # earlier ones that are looked at, the newest
TIMED = ("starting", "loading", "encoding", "first_step")  # others count what is done, so their time left is seen
FIRST = 1.5  # of another step: what is made once is made in the first
SAME = (("model", "base"), ("model", "revision"), ("model", "method"), ("compute", "num_processes"))


def seconds(work: Work, earlier: Iterable[Work], facts: Facts | None) -> dict[str, float]:
    """The usual seconds of each phase of such work, from those of `earlier` that are like it, newest first; where there
    are none, from what ships with the base at the speed that `facts` have of this machine. {} where nothing is known;
    what cannot be read counts for nothing."""
    spent: dict[str, list[float]] = {}
    for took in islice(filter(None, (_took(work, other) for other in earlier)), ENOUGH):
        for phase in TIMED:
            if phase in took:
                spent.setdefault(phase, []).append(took[phase])
    return {**_shipped(work, facts), **{phase: median(values) for phase, values in spent.items()}}


def expected(doing: Progress, history: RunHistory, whole: float | None) -> float | None:
    """How long a phase that is under way takes from its beginning, if all of its name take `whole` seconds: a part may
    have been done before. None where that is not known, and for a phase after the first step."""
    if whole is None or not phases.opens(doing, history):
        return None
    return round(max(0.0, whole - phases.earlier(doing, history)), 1)


def _shipped(work: Work, facts: Facts | None) -> dict[str, float]:
    """The phases of a run on the shipped base before anything ran here."""
    if facts is None or not isinstance(work, Run):
        return {}
    try:
        parts = shipped.parts(work.created_config(), facts)
    except (storage.Corrupt, ConfigError):
        return {}
    if parts is None:
        return {}
    return {"starting": parts["starting"], "loading": parts["loading"], "first_step": FIRST * parts["step"]}


def _took(work: Work, other: Work) -> dict[str, float]:
    """The phases of a piece of work that is like this one; {} for any other."""
    try:
        return phases.spent(other) if other.path != work.path and _alike(work, other) else {}
    except (storage.Corrupt, FileNotFoundError):  # deleted in this moment, or damaged: its own page says so
        return {}


def _alike(work: Work, other: Work) -> bool:
    if isinstance(work, Job) or isinstance(other, Job):
        return type(work) is type(other) and work.record().get("kind") == other.record().get("kind")
    return isinstance(work, Run) and isinstance(other, Run) and _kind(work) == _kind(other)


def _kind(run: Run) -> Sequence[Any]:
    """What the phases of a run depend on: the base, what learns, where; never its size, which decides little."""
    config: PlainConfig = run.facts(run.config_file, {})
    return [run.lane, *((config.get(section) or {}).get(name) for section, name in SAME)]


def newest(works: Iterable[Work]) -> list[Work]:
    """The works by the age of their folders, the newest first."""
    aged: list[tuple[float, Work]] = []
    for work in works:
        try:
            aged.append((os.stat(work.record_file).st_mtime, work))
        except FileNotFoundError:
            continue
    return [work for _, work in sorted(aged, key=lambda entry: entry[0], reverse=True)]
