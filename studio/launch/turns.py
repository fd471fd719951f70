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
from itertools import chain, zip_longest
from pathlib import Path

from studio import storage
from studio.folders import events
from studio.folders.records import Event
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
        self._read: tuple[object, dict[str, dict[str, float]]] = (None, {})  # the file's stamp, and what it held then

    def last(self, lane: str) -> Mapping[str, float]:
        """When each owner's work was last started in `lane`, in unix seconds."""
        stamp = storage.stamp(self.file)
        with self._lock:
            if self._read[0] != stamp:
                self._read = (stamp, _sound(self.file))
            return self._read[1].get(lane, {})

    def started(self, lane: str, owner: str) -> None:
        """Note that work of `owner` is being started in `lane`."""
        now = time.time()
        lanes: dict[str, dict[str, float]] = {}
        for name, owners in _sound(self.file).items():
            lanes[name] = {who: when for who, when in owners.items() if when > now - FORGET_SECONDS}
        lanes.setdefault(lane, {})[owner] = now
        storage.write_json(self.file, lanes)


def in_turn(waiting: Iterable[Waiting], last: Mapping[str, float], busy: Mapping[str, int]) -> list[Waiting]:
    """What waits in one lane in the order it will start: one of each person, then the second of each, and so on.

    Who has less under way (`busy` counts it) comes first, then who has had no turn for the longest (`last`), then who
    asked first; a person's own things go by their rank.
    """
    owned: dict[str, list[Waiting]] = defaultdict(list)
    for entry in sorted(waiting, key=lambda entry: (entry.rank, entry.work.id)):
        owned[entry.owner].append(entry)

    def before_others(who: str) -> tuple[int, float, float]:
        return busy.get(who, 0), last.get(who, -math.inf), owned[who][0].rank

    queues = [owned[who] for who in sorted(owned, key=before_others)]
    rounds = zip_longest(*queues)  # None where somebody has no more
    return list(filter(None, chain.from_iterable(rounds)))


def making_way(waiting: Iterable[Waiting], live: Iterable[Live], turn: float, now: float) -> list[Live]:
    """Which live work of a full lane has had its turn of `turn` seconds and makes way: for each person who waits with
    less under way than somebody else, the one of that somebody that has been at it for the longest."""
    live = sorted(live, key=lambda entry: entry.began)
    busy = Counter(entry.owner for entry in live)
    chosen: list[Live] = []
    for who in dict.fromkeys(entry.owner for entry in waiting):
        for entry in live:  # who has been at it for the longest comes first
            if now - entry.began >= turn and entry not in chosen and busy[entry.owner] > busy[who]:
                chosen.append(entry)
                busy[entry.owner] -= 1
                busy[who] += 1
                break
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
    if not told:
        return False
    beginnings = [place for place, event in enumerate(told) if event["kind"] == "attempt"]
    if beginnings:
        told = told[beginnings[-1]:]
        if time.time() - told[0]["time"] < turn:
            return False
    kinds = {event["kind"] for event in told}
    if "end" in kinds:
        return False
    if not beginnings:  # it has told more since than is looked at
        return True
    return "step" in kinds or "result" in kinds or _is_in_the_middle(told[-1])


def _is_in_the_middle(event: Event) -> bool:
    """Whether it tells of work that is counted from its beginning, and is partly done."""
    if event["kind"] != "phase" or event["phase"] in IN_TRAINING:
        return False
    return 0 < (event.get("done") or 0) < (event.get("total") or 0)


def _paused(run: Run, attempt: int) -> bool:
    """Whether this attempt, the last one, ended as paused: by its own word, or its supervisor's."""
    exit_ = run.exit() or {}
    if exit_.get("attempt") == attempt and (exit_.get("error") or exit_.get("result")):
        return exit_.get("result") == "paused"
    paused = False
    begun = attempt  # where the tail does not say
    for event in _tail(run):
        if event["kind"] == "attempt":
            begun = event["attempt"]
            paused = False
        elif event["kind"] == "end":
            paused = event["result"] == "paused"
    return paused and begun == attempt


def _tail(work: Work) -> list[Event]:
    """The last events."""
    size = (storage.stamp(work.events_file) or (0, 0, 0))[2]
    return events.read(work.events_file, max(0, size - TAIL_BYTES))[0]


def _sound(file: Path) -> dict[str, dict[str, float]]:
    """The file's content as far as it can be used; a damaged one costs an order, not the queue."""
    try:
        data = storage.read_json(file)
    except storage.Corrupt:
        return {}
    lanes: dict[str, dict[str, float]] = {}
    if not isinstance(data, dict):
        return lanes
    for lane, owners in data.items():
        if isinstance(owners, dict):
            lanes[lane] = {who: float(when) for who, when in owners.items() if isinstance(when, int | float)}
    return lanes
