"""What a disk may hold after the power went, from the changes that a program made: by ext4, and by the least that POSIX
promises.

ext4, ordered data, delayed allocation: names and folders reach the disk in order (a prefix of them, up to now or to a
commit of the journal before); a flush commits what came before it if what is flushed has changed. What was written into
a file and not flushed is there, or not, or up to some page; its name may be there before it.

The least: each name by itself may be there or not until its folder is flushed, also the two of one rename; the bytes of
a file until it is flushed, any part of them, or zeros in their place.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from .disk import Change, Recording, Tree

PAGE = 4096
MODELS = ("ext4", "posix")
DATA = ("lost", "kept", "torn", "mixed")


@dataclass(frozen=True)
class State:
    """A tree that the disk may hold when the power goes after so many changes."""

    model: str
    after: int  # how many changes were made
    how: str
    tree: Tree


class Crashes:
    """The states of one recording."""

    def __init__(self, recording: Recording, seed: int = 1):
        self.recording, self.changes, self.seed = recording, recording.changes, seed
        self.points = [n + 1 for n, change in enumerate(self.changes)  # between calls, and after each acknowledgement
                       if n + 1 == len(self.changes) or change.kind == "mark"
                       or self.changes[n + 1].call != change.call]

    def states(self, model: str, most: int) -> Iterator[State]:
        """At most so many different ones, spread over all points by chance."""
        chance, seen = random.Random(f"{self.seed} {model}"), set[int]()
        wishes = [(point, way, data) for point in [0, *self.points] for way in range(4) for data in DATA]
        chance.shuffle(wishes)
        for point, way, data in wishes:
            kept = (self._ext4 if model == "ext4" else self._posix)(point, way, chance)
            tree = self._tree(point, kept, data, chance, whole_pages=model == "ext4")
            said = sum(change.kind == "mark" for change in self.changes[:point])
            mark = hash((said, *tree.contents()))  # the same tree may be right before something was said, and not after
            if mark in seen:
                continue
            seen.add(mark)
            yield State(model, point, f"names {way}, data {data}", tree)
            if len(seen) >= most:
                return

    def _ext4(self, point: int, way: int, chance: random.Random) -> set[int]:
        """The changes of names that are on the disk: all up to a moment since the last commit."""
        committed = 0
        changed: set[int | None] = set()
        for place, change in enumerate(self.changes[:point]):
            if change.kind == "flush" and (change.inode is None or change.inode in changed):
                committed, changed = place + 1, set()
            elif change.kind in ("name", "write", "cut"):
                changed |= {change.inode, change.folder}
        calls = sorted({change.call for change in self.changes[committed:point]})
        upto = {0: -1, 1: len(calls)}.get(way, chance.randint(0, len(calls)))
        cut = -1 if upto <= 0 or not calls else calls[min(upto, len(calls)) - 1]
        return {place for place, change in enumerate(self.changes[:point]) if change.kind == "name"
                and (place < committed or change.call <= cut)}

    def _posix(self, point: int, way: int, chance: random.Random) -> set[int]:
        """Each name by itself, until its folder is flushed."""
        free: dict[int, list[int]] = {}
        kept: set[int] = set()
        for place, change in enumerate(self.changes[:point]):
            if change.kind == "name":
                free.setdefault(change.folder, []).append(place)
            elif change.kind == "flush":
                for folder in [change.inode] if change.inode is not None else list(free):
                    kept.update(free.pop(folder, ()))
        left = sorted(place for places in free.values() for place in places)
        if way == 1:
            kept.update(left)
        elif way == 2 and left:
            kept.add(chance.choice(left))
        elif way == 3 and left:
            kept.update(chance.sample(left, chance.randint(0, len(left))))
        return kept

    def _tree(self, point: int, names: set[int], data: str, chance: random.Random, *, whole_pages: bool) -> Tree:
        tree = self.recording.before.copy()
        pending: dict[int, list[Change]] = {}
        for place, change in enumerate(self.changes[:point]):
            if change.kind == "make" or place in names:
                tree.apply(change)
            elif change.kind in ("write", "cut"):
                pending.setdefault(change.inode or -1, []).append(change)
            elif change.kind == "flush":
                for inode in [change.inode] if change.inode is not None else list(pending):
                    for kept in pending.pop(inode or -1, ()):
                        tree.apply(kept)
        for inode, changes in sorted(pending.items()):
            way = chance.choice(DATA[:3]) if data == "mixed" else data
            self._keep(tree, inode, changes, way, chance, whole_pages)
        return tree

    def _keep(self, tree: Tree, inode: int, changes: list[Change], way: str, chance: random.Random,
              whole_pages: bool) -> None:
        """What of the bytes that nobody flushed is there."""
        before = bytes(tree.files.get(inode, b""))
        if way == "lost":
            return
        for change in changes:
            tree.apply(change)
        data = tree.files[inode]
        if way == "kept" or bytes(data) == before:
            return
        torn = chance.randint(min(len(before), len(data)), len(data))
        if whole_pages:
            whole = torn // PAGE * PAGE
            data[whole:] = before[whole:]
        elif chance.random() < 0.5:
            data[torn:] = bytes(len(data) - torn)  # the length was kept, not the bytes
        else:
            del data[torn:]
