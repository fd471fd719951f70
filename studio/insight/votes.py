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
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from studio import storage

CHOICES = ("left", "right", "tie")
Z = 1.959964  # of a 95 % interval
_writing = threading.Lock()


@dataclass(frozen=True)
class Pair:
    """Two results of one prompt and seed, as they are shown."""

    id: str
    left: dict[str, Any]
    right: dict[str, Any]


def pairs(job_id: str, results: Iterable[dict[str, Any]]) -> list[Pair]:
    """Every pair, in the order in which they are shown; `results` have `column`, `prompt` and `seed`."""
    rows: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for result in results:
        rows.setdefault((result["prompt"], result["seed"]), []).append(result)
    found = []
    for key, row in rows.items():
        for two in combinations(sorted(row, key=lambda one: one["column"]), 2):
            chance = hashlib.sha256(json.dumps([job_id, key, [one["column"] for one in two]]).encode()).digest()
            found.append(Pair(chance[:8].hex(), *(two if chance[8] & 1 else two[::-1])))
    return sorted(found, key=lambda pair: pair.id)


@dataclass
class Ballot:
    """The votes on one drawing. `pairs` has the columns of the pictures on the left and on the right, in order."""

    pairs: dict[str, tuple[int, int]]
    columns: list[dict[str, Any]] = field(default_factory=list)
    time: float | None = None  # of the first vote
    choices: dict[str, str] = field(default_factory=dict)
    stopped: bool = False

    @property
    def ended(self) -> bool:
        """Whether the names may be told: everything was voted on, or somebody stopped."""
        return self.stopped or bool(self.pairs) and len(self.choices) == len(self.pairs)

    @property
    def following(self) -> str | None:
        """The pair to vote on next."""
        return None if self.ended else next((pair for pair in self.pairs if pair not in self.choices), None)

    @property
    def last(self) -> str | None:
        """The pair that was voted on last."""
        return next(reversed(self.choices), None)

    def take(self, line: dict[str, Any]) -> None:
        """Count one line of the file."""
        if "pairs" in line:
            self.time = line["time"]
        elif line.get("end"):
            self.stopped = True
        else:
            self.choices.pop(line["pair"], None)
            if line["choice"] is not None:
                self.choices[line["pair"]] = line["choice"]

    def tally(self) -> list[dict[str, Any]]:
        """For each two columns: {columns: [a, b], wins: [of a, of b], ties, share (of a among the decided votes), low,
        high (of its 95 % interval), telling: whether that leaves a half out}."""
        counts: dict[tuple[int, int], list[int]] = {}
        for pair, (left, right) in self.pairs.items():
            choice = self.choices.get(pair)
            if choice is not None:
                two = min(left, right), max(left, right)
                place = 2 if choice == "tie" else two.index(left if choice == "left" else right)
                counts.setdefault(two, [0, 0, 0])[place] += 1
        found = []
        for two, (first, second, ties) in sorted(counts.items()):
            low, high = wilson(first, first + second)
            found.append({"columns": list(two), "wins": [first, second], "ties": ties, "low": low, "high": high,
                          "share": first / (first + second) if first + second else None,
                          "telling": not low <= 0.5 <= high})
        return found


def ballots(file: Path) -> dict[str, Ballot]:
    """Every vote of a run, by its drawing's job, oldest first."""
    found: dict[str, Ballot] = {}
    for line in storage.read_lines(file):
        job = line.get("job", "")
        if "pairs" in line and job not in found:
            found[job] = Ballot({pair: (left, right) for pair, left, right in line["pairs"]}, line["columns"])
        if job in found:
            found[job].take(line)
    return found


def ballot(file: Path, job: str, shown: list[Pair], columns: list[dict[str, Any]]) -> Ballot:
    """The votes on one drawing, perhaps none yet."""
    return ballots(file).get(job) or Ballot(
        {pair.id: (pair.left["column"], pair.right["column"]) for pair in shown}, columns)


def cast(file: Path, job: str, votes: Ballot, line: dict[str, Any]) -> None:
    """Keep one more line, before the first one what counting needs."""
    opening = {"time": round(time.time(), 3), "columns": votes.columns,
               "pairs": [[pair, *sides] for pair, sides in votes.pairs.items()]}
    lines = [*([opening] if votes.time is None else []), line]
    with _writing:
        storage.append_lines(file, [{"job": job, **one} for one in lines])
    for one in lines:
        votes.take(one)


def wilson(wins: int, votes: int) -> tuple[float, float]:
    """The 95 % interval of a share (E. B. Wilson 1927); from 0 to 1 without a vote."""
    if not votes:
        return 0.0, 1.0
    share, square = wins / votes, Z * Z / votes
    middle = (share + square / 2) / (1 + square)
    half = Z / (1 + square) * math.sqrt(share * (1 - share) / votes + square / (4 * votes))
    return round(max(0.0, middle - half), 4), round(min(1.0, middle + half), 4)
