"""Whether a crash state keeps what was promised: each thing in it must be as the living home had it at some moment
since the last acknowledgement."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .disk import Recording, Tree
from .look import DAMAGED, ReaderCrashed, Seen, look, places
from .states import State

Promise = Callable[[Seen, Seen, list[str]], list[str]]  # what is wrong, by a state, the beginning, and what was said


@dataclass
class Verdict:
    """What is wrong with one state: things acknowledged that are not there, or not as they were; things of which a part
    is shown; a reader that did not bear it."""

    state: State
    lost: list[str] = field(default_factory=list)
    half: list[str] = field(default_factory=list)
    crashed: list[str] = field(default_factory=list)

    @property
    def bad(self) -> bool:
        """Whether anything is."""
        return bool(self.lost or self.half or self.crashed)


class Judge:
    """The life of one recording, to hold states against. `place` is a folder that is made and removed again."""

    def __init__(self, recording: Recording, place: Path, promise: Promise = lambda seen, first, said: []):
        self.recording, self.place, self.promise = recording, place, promise
        self.seen: list[Seen] = []  # of the living home, each time that it changed
        self._moment: list[int] = []  # which of them was the last one after so many changes
        self._acknowledged: list[int] = []  # how many changes had been made at the last acknowledgement
        self._live()

    def _live(self) -> None:
        tree, acknowledged, dirty = self.recording.before.copy(), 0, True
        changes = self.recording.changes
        for place in range(len(changes) + 1):
            last = place == len(changes) or place == 0 or changes[place].call != changes[place - 1].call
            if dirty and last:
                found = self._look(tree)
                if not self.seen or found != self.seen[-1]:
                    self.seen.append(found)
                dirty = False
            self._moment.append(len(self.seen) - 1)
            self._acknowledged.append(acknowledged)
            if place < len(changes):
                change = changes[place]
                dirty = dirty or change.kind in ("name", "write", "cut")
                tree.apply(change)
                if change.kind == "mark":
                    acknowledged = place + 1

    def _look(self, tree: Tree) -> Seen:
        tree.write_to(self.place)
        try:
            return look(self.place)
        finally:
            shutil.rmtree(self.place)

    def judge(self, state: State) -> Verdict:
        """What is wrong with it."""
        verdict = Verdict(state)
        try:
            found = self._look(state.tree)
        except ReaderCrashed as crash:
            verdict.crashed.append(str(crash))
            return verdict
        first, last = self._moment[self._acknowledged[state.after]], self._moment[state.after]
        lives = self.seen[first : last + 1]
        for key in sorted(found.keys() | set().union(*lives)):
            if key.startswith(("at/", "trash/")):
                continue
            allowed = [life.get(key) for life in lives]
            if found.get(key) not in allowed:
                self._name(verdict, key, found.get(key), allowed)
        there, wheres = places(found), [places(life) for life in lives]
        for name in sorted(there.keys() | set().union(*wheres)):
            where = there.get(name, frozenset())
            if not any(one.get(name, frozenset()) <= where for one in wheres):
                verdict.lost.append(f"{name} lies in {sorted(where) or 'no place'}")
        said = [change.name for change in self.recording.changes[: state.after] if change.kind == "mark"]
        verdict.lost += self.promise(found, self.seen[0], said)
        return verdict

    @staticmethod
    def _name(verdict: Verdict, key: str, value: object, allowed: list[object]) -> None:
        text = f"{key} is {value!r} and not {' or '.join(map(repr, dict.fromkeys(map(str, allowed))))}"
        shown = value is not None and (DAMAGED in str(value) or value in ("missing", False))
        (verdict.half if shown else verdict.lost).append(text[:300])
