"""A blind vote on the pictures of a drawing: which pair is shown next, and what the votes say.

    <job>/votes.jsonl    append-only lines {"pair", "choice"} (null: taken back; the last one counts), {"end": true}

A pair is one prompt and seed drawn with two of the columns. Which pair comes when, and which of its pictures stands on
the left, follows from a hash: it is the same after a reload, and looks like chance.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from studio import storage

CHOICES = ("left", "right", "tie")
Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True)
class Pair:
    """Two results of one prompt and seed, as they are shown."""

    id: str
    left: dict[str, Any]
    right: dict[str, Any]

    @property
    def columns(self) -> tuple[int, int]:
        """Which columns they are of, in the drawing's order."""
        return min(self.left["column"], self.right["column"]), max(self.left["column"], self.right["column"])


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


class Votes:
    """The votes on one drawing, from its file."""

    def __init__(self, file: Path, shown: list[Pair]):
        self.file, self.pairs = file, shown
        self.choices: dict[str, str] = {}
        self.stopped = False
        for line in storage.read_lines(file):
            self._take(line)

    @property
    def ended(self) -> bool:
        """Whether the names may be told: everything was voted on, or somebody stopped."""
        return self.stopped or bool(self.pairs) and len(self.choices) == len(self.pairs)

    @property
    def following(self) -> Pair | None:
        """The pair to vote on next."""
        return None if self.ended else next((p for p in self.pairs if p.id not in self.choices), None)

    @property
    def last(self) -> str | None:
        """The pair that was voted on last."""
        return next(reversed(self.choices), None)

    def add(self, line: dict[str, Any]) -> None:
        """Keep one line."""
        storage.append_lines(self.file, [line])
        self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        if line.get("end"):
            self.stopped = True
            return
        self.choices.pop(line["pair"], None)
        if line["choice"] is not None:
            self.choices[line["pair"]] = line["choice"]

    def tally(self) -> list[dict[str, Any]]:
        """For each two columns: {columns: [a, b], wins: [of a, of b], ties, share (of a among the decided votes), low,
        high (of its 95 % interval), telling: whether that leaves a half out}."""
        counts: dict[tuple[int, int], list[int]] = {}
        for pair in self.pairs:
            choice = self.choices.get(pair.id)
            if choice is not None:
                won = {"left": pair.left, "right": pair.right}.get(choice)
                place = 2 if won is None else pair.columns.index(won["column"])
                counts.setdefault(pair.columns, [0, 0, 0])[place] += 1
        found = []
        for columns, (first, second, ties) in sorted(counts.items()):
            low, high = wilson(first, first + second)
            found.append({"columns": list(columns), "wins": [first, second], "ties": ties, "low": low, "high": high,
                          "share": first / (first + second) if first + second else None,
                          "telling": not low <= 0.5 <= high})
        return found


def wilson(wins: int, votes: int) -> tuple[float, float]:
    """The 95 % interval of a share (E. B. Wilson 1927); from 0 to 1 without a vote."""
    if not votes:
        return 0.0, 1.0
    share, square = wins / votes, Z * Z / votes
    middle = (share + square / 2) / (1 + square)
    half = Z / (1 + square) * math.sqrt(share * (1 - share) / votes + square / (4 * votes))
    return round(max(0.0, middle - half), 4), round(min(1.0, middle + half), 4)
