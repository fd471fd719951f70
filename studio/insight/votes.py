"""A blind vote on the pictures of a drawing: which pair is shown next, and what the votes say.

    <run>/votes.jsonl    append-only lines, each with the drawing's job: first {"time", "columns", "pairs"}, then
                         {"pair", "choice"} (null: taken back; the last one counts), {"end": true}

A pair is one prompt and seed drawn with two of the columns. Which pair comes when, and which of its pictures stands on
the left, follows from a hash: it is the same after a reload, and looks like chance. A drawing goes after some days, so
the votes are with the run, and the first line has all that counting them needs.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
import time
import typing
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from operator import itemgetter
from pathlib import Path
from typing import TypedDict

from studio import storage
from studio.messages import JsonObject

CHOICES = ("left", "right", "tie")
Z = 1.959964  # of a 95 % interval
_writing = threading.Lock()


class Column(TypedDict):
    """Weights that are drawn with; a checkpoint of null is the base."""

    checkpoint: str | None
    weights: str | None  # raw or ema
    scale: float | None  # of a LoRA


class Picture(TypedDict):
    """A result of a drawing: its file's name, and what it was drawn with; column and prompt by their numbers."""

    name: str
    column: int
    prompt: int
    seed: int


class VoteRecord(TypedDict, total=False):
    """A line of the file: the first of a drawing's has `time`, `columns` and `pairs`."""

    job: str
    time: float  # unix seconds
    columns: list[Column]
    pairs: list[tuple[str, int, int]]  # id, number of the left column, of the right one
    pair: str
    choice: str | None
    end: bool


@dataclass(frozen=True)
class Pair:
    """Two results of one prompt and seed, as they are shown."""

    id: str
    left: Picture
    right: Picture


def pairs(job_id: str, results: Iterable[Picture]) -> list[Pair]:
    """Every two results of one prompt and seed, in the order in which they are shown."""
    rows: dict[tuple[int, int], list[Picture]] = {}
    for result in results:
        rows.setdefault((result["prompt"], result["seed"]), []).append(result)
    shown = []
    for key, row in rows.items():
        for left, right in combinations(sorted(row, key=itemgetter("column")), 2):
            compared = [job_id, key, [left["column"], right["column"]]]
            digest = hashlib.sha256(json.dumps(compared).encode()).digest()
            if not digest[8] & 1:
                left, right = right, left
            shown.append(Pair(digest[:8].hex(), left, right))
    return sorted(shown, key=lambda pair: pair.id)


@dataclass
class Ballot:
    """The votes on one drawing. `pairs` has the columns of the pictures on the left and on the right, in order."""

    pairs: dict[str, tuple[int, int]]
    columns: list[Column] = field(default_factory=list)
    time: float | None = None  # of the first vote
    choices: dict[str, str] = field(default_factory=dict)
    stopped: bool = False

    @property
    def ended(self) -> bool:
        """Whether the names may be told: everything was voted on, or somebody stopped."""
        if self.stopped:
            return True
        return bool(self.pairs) and len(self.choices) == len(self.pairs)

    @property
    def following(self) -> str | None:
        """The pair to vote on next."""
        if self.ended:
            return None
        return next((pair for pair in self.pairs if pair not in self.choices), None)

    @property
    def last(self) -> str | None:
        """The pair that was voted on last."""
        return next(reversed(self.choices), None)

    def take(self, line: VoteRecord) -> None:
        """Count one line of the file."""
        if "pairs" in line:
            self.time = line["time"]
        elif line.get("end"):
            self.stopped = True
        else:
            self.choices.pop(line["pair"], None)
            if line["choice"] is not None:
                self.choices[line["pair"]] = line["choice"]

    def tally(self) -> list[JsonObject]:
        """For each two columns a < b that were voted on: {columns: [a, b], wins: [of a, of b], ties, share (of a among
        the decided votes), low, high (of its 95 % interval), telling: whether that leaves a half out}."""
        votes: dict[tuple[int, int], Counter[int | None]] = {}  # by two columns: how often each won, and None a tie
        for pair, (left, right) in self.pairs.items():
            choice = self.choices.get(pair)
            if choice is not None:
                winner = {"left": left, "tie": None}.get(choice, right)
                votes.setdefault((min(left, right), max(left, right)), Counter())[winner] += 1
        return [_tally(first, second, counts) for (first, second), counts in sorted(votes.items())]


def _tally(first: int, second: int, votes: Counter[int | None]) -> JsonObject:
    """`votes` on two columns, in figures."""
    wins = votes[first]
    decided = wins + votes[second]
    low, high = wilson(wins, decided)
    return {"columns": [first, second], "wins": [wins, votes[second]], "ties": votes[None], "low": low, "high": high,
            "share": wins / decided if decided else None, "telling": not low <= 0.5 <= high}


def ballots(file: Path) -> dict[str, Ballot]:
    """Every vote of a run, by its drawing's job, oldest first."""
    by_job: dict[str, Ballot] = {}
    for line in typing.cast(Iterator[VoteRecord], storage.read_lines(file)):
        job = line.get("job", "")
        if "pairs" in line and job not in by_job:
            by_job[job] = Ballot({pair: (left, right) for pair, left, right in line["pairs"]}, line["columns"])
        if job in by_job:
            by_job[job].take(line)
    return by_job


def ballot(file: Path, job: str, shown: list[Pair], columns: list[Column]) -> Ballot:
    """The votes on one drawing, perhaps none yet."""
    begun = ballots(file).get(job)
    if begun is not None:
        return begun
    return Ballot({pair.id: (pair.left["column"], pair.right["column"]) for pair in shown}, columns)


def cast(file: Path, job: str, votes: Ballot, line: VoteRecord) -> None:
    """Keep one more line, before the first one what counting needs."""
    lines: list[VoteRecord] = [{"job": job, **line}]
    if votes.time is None:
        sides = [(pair, left, right) for pair, (left, right) in votes.pairs.items()]
        lines.insert(0, {"job": job, "time": round(time.time(), 3), "columns": votes.columns, "pairs": sides})
    with _writing:
        storage.append_lines(file, map(dict, lines))
    for added in lines:
        votes.take(added)


def wilson(wins: int, votes: int) -> tuple[float, float]:
    """The 95 % interval of a share (E. B. Wilson 1927); from 0 to 1 without a vote."""
    if not votes:
        return 0.0, 1.0
    share, square = wins / votes, Z * Z / votes
    middle = (share + square / 2) / (1 + square)
    half = Z / (1 + square) * math.sqrt(share * (1 - share) / votes + square / (4 * votes))
    return round(max(0.0, middle - half), 4), round(min(1.0, middle + half), 4)
