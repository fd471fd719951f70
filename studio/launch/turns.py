"""Whose turn it is: what waits is taken from persons in turn, and who has been at it for a turn makes way for others.

    <home>/turns.json   {lane: {owner: when work of theirs was last started there}}, by the server that holds the queue
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio import storage
from studio.folders import events
from studio.folders.runs import Run
from studio.folders.work import Work
from studio.messages import Message

FORGET_SECONDS = 90 * 86400  # who had no turn for so long waits like somebody who never had one
TAIL_BYTES = 1 << 18  # of the events, in which the last attempt's end is looked for
IN_TRAINING = ("training", "sampling", "validating", "saving")  # phases that count from where a resume goes on
TOLD = {  # what work that makes way for others says, and what a person can do
    "run": (Message("Paused for others: it goes on by itself when its turn comes."), Message("Wait, or cancel it.")),
    "job": (Message("It had its turn and others wait, so it was ended: what it has made so far is kept."),
            Message("Start it again for the rest.")),
}


@dataclass(frozen=True)
class Waiting:
    """Work that waits for its turn."""

    work: Work
    owner: str
    rank: float
    lane: str
    attempt: int


@dataclass(frozen=True)
class Live:
    """Work whose supervisor or worker lives."""

    work: Work
    owner: str
    lane: str
    began: float  # unix seconds at which the attempt did


class Turns:
    """When each person's work was last started, lane by lane; kept in a file, so that a restart changes no order."""

    def __init__(self, home: Path):
        self.file = home / "turns.json"
        self._lock = threading.Lock()
        self._read: tuple[Any, dict[str, dict[str, float]]] = (None, {})

    def last(self, lane: str) -> Mapping[str, float]:
        """When each owner's work was last started in `lane`, in unix seconds."""
        stamp = storage.stamp(self.file)
        with self._lock:
            if self._read[0] != stamp:
                self._read = stamp, _sound(self.file)
            return self._read[1].get(lane, {})

    def started(self, lane: str, owner: str) -> None:
        """Note that work of `owner` is being started in `lane`."""
        now = time.time()
        lanes = {name: {who: when for who, when in known.items() if when > now - FORGET_SECONDS}
                 for name, known in _sound(self.file).items()}
        lanes.setdefault(lane, {})[owner] = now
        storage.write_json(self.file, lanes)


def in_turn(waiting: Iterable[Waiting], last: Mapping[str, float], busy: Mapping[str, int]) -> list[Waiting]:
    """What waits in one lane in the order it will start: one of each person, then the second of each, and so on.

    Who has less under way (`busy` counts it) comes first, then who has had no turn for the longest (`last`), then who
    asked first; a person's own things go by their rank.
    """
    owned: dict[str, list[Waiting]] = defaultdict(list)
    for one in sorted(waiting, key=lambda one: (one.rank, one.work.id)):
        owned[one.owner].append(one)
    persons = sorted(owned, key=lambda who: (busy.get(who, 0), last.get(who, -math.inf), owned[who][0].rank))
    longest = max(map(len, owned.values()), default=0)
    return [owned[who][place] for place in range(longest) for who in persons if place < len(owned[who])]


def making_way(waiting: Iterable[Waiting], live: Iterable[Live], turn: float, now: float) -> list[Live]:
    """Which live work of a full lane has had its turn of `turn` seconds and makes way: for each person who waits with
    less under way than somebody else, the one of that somebody that has been at it for the longest."""
    busy = Counter(one.owner for one in live)
    over = sorted((one for one in live if now - one.began >= turn), key=lambda one: one.began)
    chosen: list[Live] = []
    for who in dict.fromkeys(one.owner for one in waiting):
        longest = next((one for one in over if one not in chosen and busy[one.owner] > busy[who]), None)
        if longest is not None:
            chosen.append(longest)
            busy[longest.owner] -= 1
            busy[who] += 1
    return chosen


def go_on(run: Run) -> bool:
    """Ask for another attempt of a run that was paused for others; True when that was done.

    It keeps its rank among its owner's. Raises Corrupt.
    """
    attempt = run.attempts()[1]
    if not run.goes_on() or not _paused(run, attempt):
        return False
    run.update(attempt=attempt + 1, resume_from=None)
    return True


def can_make_way(work: Work, turn: float) -> bool:
    """Whether its last attempt has not ended, has been at work for `turn` seconds, and has done anything: made a step
    or a result, or is in the middle of a download, of encoding, or of whatever a job does one by one.

    Loading programs and weights is no work: with turns shorter than a start nobody would ever come further."""
    told = _tail(work)
    begun = [place for place, event in enumerate(told) if event["kind"] == "attempt"]
    moved = not begun and bool(told)  # it has told more since than is looked at
    told = told[begun[-1] if begun else 0:]
    if begun and time.time() - told[0]["time"] < turn:
        return False
    last = told[-1] if told and told[-1]["kind"] == "phase" and told[-1]["phase"] not in IN_TRAINING else {}
    done, total = last.get("done") or 0, last.get("total") or 0
    kinds = {event["kind"] for event in told}
    return "end" not in kinds and (moved or 0 < done < total or bool(kinds & {"step", "result"}))


def _paused(run: Run, attempt: int) -> bool:
    """Whether this attempt, the last one, ended as paused: by its own word, or its supervisor's."""
    exit_ = run.exit() or {}
    if exit_.get("attempt") == attempt and (exit_.get("error") or exit_.get("result")):
        return exit_.get("result") == "paused"
    told = [event for event in _tail(run) if event["kind"] in ("attempt", "end")]
    begun = [event["attempt"] for event in told if event["kind"] == "attempt"]
    return bool(told) and told[-1].get("result") == "paused" and begun[-1:] in ([], [attempt])


def _tail(work: Work) -> list[dict[str, Any]]:
    """The last events."""
    size = (storage.stamp(work.events_file) or (0, 0, 0))[2]
    return events.read(work.events_file, max(0, size - TAIL_BYTES))[0]


def _sound(file: Path) -> dict[str, dict[str, float]]:
    """The file's content as far as it can be used; a damaged one costs an order, not the queue."""
    try:
        data = storage.read_json(file)
    except storage.Corrupt:
        return {}
    lanes = data if isinstance(data, dict) else {}
    return {lane: {who: float(when) for who, when in known.items() if isinstance(when, int | float)}
            for lane, known in lanes.items() if isinstance(known, dict)}
