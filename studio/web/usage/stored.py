"""What each person's things take on the disk: by kind, each file once, remembered so that a look costs some stats.

A picture counts once for a person, whatever of theirs names it, and a file that several folders link counts once too;
what two people have counts for both. Sizes are whole blocks, as a disk gives them: a million small files are no trifle.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from studio import datasets, storage, trash
from studio.datasets import naming
from studio.datasets.pictures import measures
from studio.folders.runs import Run
from studio.folders.work import ID, Work
from studio.web.usage.index import Index

BLOCK = 4096  # bytes
WITHIN = 20.0  # seconds for which a figure is good enough to empty the trash by: deleting forgets it
Sizes = tuple[np.ndarray, np.ndarray]  # of pictures: the first 64 bits of the SHA-256, each once, sorted; blocks
MOST_BYTES = 256 << 20  # of remembered pictures' sizes
KINDS = ("datasets", "runs", "jobs", "bases")


@dataclass(frozen=True)
class Use:
    """What one person's things take, in bytes. The trash comes on top of `kinds`."""

    kinds: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    trash: int = 0

    @property
    def bytes(self) -> int:
        """All but the trash."""
        return sum(self.kinds.values())


@dataclass
class Tree:
    """A folder's bytes; those of files that other folders may link are apart, by device and number."""

    bytes: int = 0
    links: dict[tuple[int, int], int] = field(default_factory=dict)


@dataclass(frozen=True)
class Discarded:
    """An entry of the trash."""

    path: Path
    time: int  # unix seconds at which it came there
    owner: str  # "" where nothing tells


class Stored:
    """The figures of one home. Safe to use from several threads."""

    def __init__(self, home: Path, index: Index):
        self.home, self.index = home, index
        self._lock = threading.RLock()
        self._trees: dict[Path, tuple[Any, Tree]] = {}
        self._pictures = _Pictures(home)
        self._bases: dict[Path, str | None] = {}  # which of <home>/bases a run stands on; a run keeps its base
        self._owners: dict[Path, str] = {}  # of data sets, and of what lies in the trash; neither changes
        self._known: dict[str, tuple[float, Use]] = {}

    def of(self, owner: str, within: float = 0.0) -> Use:
        """What the things of `owner` take, found out at most `within` seconds ago."""
        with self._lock:
            known, now = self._known.get(owner), time.monotonic()
            if known is None or now - known[0] > within:
                known = self._known[owner] = now, self._measure(owner)
            return known[1]

    def forget(self, owner: str) -> None:
        """Find out anew what the things of `owner` take, when next asked. Waits for nothing."""
        self._known.pop(owner, None)

    def owners(self) -> list[str]:
        """Everybody who has anything here."""
        with self._lock:
            owners = {owner for _, owner in self.datasets()} | {one.owner for one in self.trash()}
            owners |= {facts["owner"] for _, facts in (*self.index.all(), *self.index.jobs())}
            return sorted(owners - {""})

    def datasets(self) -> list[tuple[Path, str]]:
        """The folder and the owner of every data set that is somebody's."""
        owned = []
        for path in _folders(self.home / "datasets"):
            owner = self._owner(path, ("dataset.json",)) if ID.fullmatch(path.name) else None
            if owner is not None:
                owned.append((path, owner))
        return owned

    def trash(self) -> list[Discarded]:
        """What lies in the trash, oldest first."""
        return [Discarded(entry.path, int(entry.deleted), owner) for entry, owner in reversed(self.discarded())]

    def discarded(self) -> list[tuple[trash.Entry, str]]:
        """What lies in the trash, newest first, each with its owner, "" where nothing tells."""
        with self._lock:
            entries = trash.entries(self.home)
            wholes = {entry.name: entry for entry in entries}
            return [(entry, self._discarded_by(entry, wholes)) for entry in entries]

    def freed_by(self, owner: str, entries: list[trash.Entry]) -> tuple[list[int], int]:
        """The bytes that the end of each of a person's entries of the trash gives back, and that of all of them, with
        the pictures that nothing else of theirs names. Nothing in an entry changes, so it is read once."""
        with self._lock:
            mine = [Discarded(entry.path, int(entry.deleted), owner) for entry in entries]
            held = self._held(owner) if mine else _together([])
            return [self._size_of_trash(held, [one]) for one in mine], self._size_of_trash(held, mine)

    def over(self, owner: str, entries: list[Discarded], limit: int) -> list[Discarded]:
        """Which of a person's entries of the trash, given the oldest first, have no room beside their things."""
        with self._lock:
            entries, room, gone = list(entries), limit - self.of(owner, WITHIN).bytes, []
            held = self._held(owner) if entries else _together([])
            while entries and self._size_of_trash(held, entries) > room:
                gone.append(entries.pop(0))
            return gone

    # ---------------------------------------------------------------------------------------------------- inside

    def _measure(self, owner: str) -> Use:
        kinds: dict[str, int] = {}
        links: dict[tuple[int, int], int] = {}
        folders = [path for path, whose in self.datasets() if whose == owner]
        runs = [run for run, facts in self.index.all() if facts["owner"] == owner]
        pictures = self._pictures.of(path / "rows.jsonl" for path in folders)
        kinds["datasets"] = sum(self._dataset(path, links) for path in folders) + _total(pictures)
        kinds["runs"] = sum(self._work(run, links) for run in runs) + _total(
            _without(self._pictures.of(run.rows_file for run in runs), pictures))
        kinds["jobs"] = sum(self._work(job, links) for job, facts in self.index.jobs() if facts["owner"] == owner)
        kinds["runs"] += sum(links.values())
        kinds["bases"] = sum(self._settled(self.home / "bases" / name, name).bytes
                             for name in {self._base(run) for run in runs} if name)
        entries = [one for one in self.trash() if one.owner == owner]
        self._forget_gone()
        return Use(kinds, self._size_of_trash(self._held(owner) if entries else _together([]), entries))

    def _dataset(self, path: Path, links: dict[tuple[int, int], int]) -> int:
        """A data set without its pictures: rows, waiting batches, what an import under way has decoded so far."""
        busy = storage.is_locked(path / "import.lock")
        names = (".", "incoming", "rows.jsonl", "report.json", "suggestions.jsonl", "report.csv", "import.log")
        stamp = None if busy else tuple(_stamp(path / name) for name in names)
        tree = self._settled(path, stamp)
        links.update(tree.links)
        more = measure(self.home / "images" / f"{storage.STAGING}{path.name}").bytes if busy else 0
        return tree.bytes + more + _blocks(measures.file_of(self.home, path.name))

    def _work(self, work: Work, links: dict[tuple[int, int], int]) -> int:
        """A run's or a job's folder, but for the files that others may link, which go into `links`."""
        live = work.alive()
        tree = self._settled(work.path, None if live else (work.pulse(), _stamp(work.path / "votes.jsonl")))
        links.update(tree.links)
        return tree.bytes

    def _settled(self, path: Path, stamp: Any) -> Tree:
        """`measure`, remembered while `stamp` stays the same; None is never remembered."""
        known = self._trees.get(path)
        if known is None or stamp is None or known[0] != stamp:
            known = self._trees[path] = stamp, measure(path)
        return known[1]

    def _held(self, owner: str) -> Sizes:
        """The pictures that living things of a person name."""
        sets = [path / "rows.jsonl" for path, whose in self.datasets() if whose == owner]
        runs = [run.rows_file for run, facts in self.index.all() if facts["owner"] == owner]
        return self._pictures.of([*sets, *runs])

    def _size_of_trash(self, held: Sizes, entries: list[Discarded]) -> int:
        """These entries of the trash, with the pictures that are not among those `held`."""
        trees = [self._settled(one.path, one.time) for one in entries]
        links = {key: size for tree in trees for key, size in tree.links.items()}
        rows = [one.path / name for one in entries for name in ("rows.jsonl", "dataset.jsonl")]
        alone = _without(self._pictures.of(rows), held)
        return sum(tree.bytes for tree in trees) + sum(links.values()) + _total(alone)

    def _base(self, run: Run) -> str | None:
        """The name of the folder in <home>/bases that a run stands on."""
        if run.path not in self._bases:
            try:
                base = Path(str((storage.read_json(run.config_file) or {}).get("model", {}).get("base", "")))
            except (storage.Corrupt, AttributeError):
                return None
            self._bases[run.path] = base.name if base.parent == self.home / "bases" else None
        return self._bases[run.path]

    def _owner(self, path: Path, names: Iterable[str]) -> str | None:
        """The owner that a record in `path` names; None where there is none."""
        if path not in self._owners:
            for name in names:
                try:
                    data = storage.read_json(path / name)
                except (storage.Corrupt, NotADirectoryError):
                    continue
                if isinstance(data, dict) and isinstance(data.get("owner"), str):
                    self._owners[path] = data["owner"]
                    break
        return self._owners.get(path)

    def _discarded_by(self, entry: trash.Entry, wholes: dict[str, trash.Entry]) -> str:
        """The owner of an entry of the trash, also where what it was a part of was deleted after it."""
        if entry.path not in self._owners:
            owner, whole = entry.owner, entry.parent
            if owner is None and whole is not None and whole.name in wholes:
                owner = wholes[whole.name].owner
            if owner is None:
                return ""
            self._owners[entry.path] = owner
        return self._owners[entry.path]

    def _forget_gone(self) -> None:
        """Drop what is remembered of folders that are not there any more, now and then."""
        if len(self._trees) > 2 * (len(self.index.all()) + len(self.index.jobs()) + 1000):
            for known in (self._trees, self._bases, self._owners):
                for path in [path for path in known if not path.exists()]:
                    known.pop(path, None)


class _Pictures:
    """The pictures that files of rows name, with their sizes; a file that only grew is read on where it was."""

    def __init__(self, home: Path):
        self.home = home
        self._read: OrderedDict[Path, tuple[naming.Reader, Sizes]] = OrderedDict()  # with what was named so far
        self._bytes = 0

    def of(self, files: Iterable[Path]) -> Sizes:
        """Every picture that these files name; those whose file is not there count nothing."""
        return _together([self._one(path) for path in files])

    def _one(self, path: Path) -> Sizes:
        reader, known = self._read.pop(path, (naming.Reader(path), _together([])))
        self._bytes -= _memory(known)
        try:
            if reader.changed():
                new = self._sizes(reader.read())
                known = new if reader.anew else _together([known, new])
        except (FileNotFoundError, NotADirectoryError):  # deleted in this moment
            return _together([])
        self._read[path] = reader, known
        self._bytes += _memory(known)
        while self._bytes > MOST_BYTES and len(self._read) > 1:
            self._bytes -= _memory(self._read.popitem(last=False)[1][1])
        return known

    def _sizes(self, rows: Iterable[dict[str, Any]]) -> Sizes:
        keys, blocks = [], []
        for row in rows:
            keys.append(int(row["image"][:16], 16))
            blocks.append(_blocks(datasets.picture_path(self.home, row)) // BLOCK)
        return _together([(np.array(keys, np.uint64), np.array(blocks, np.uint32))])


def _together(parts: list[Sizes]) -> Sizes:
    """Each picture of the parts once."""
    keys = np.concatenate([np.empty(0, np.uint64), *(part[0] for part in parts)])
    blocks = np.concatenate([np.empty(0, np.uint32), *(part[1] for part in parts)])
    keys, places = np.unique(keys, return_index=True)
    return keys, blocks[places]


def _without(pictures: Sizes, others: Sizes) -> Sizes:
    alone = ~np.isin(pictures[0], others[0], assume_unique=True)
    return pictures[0][alone], pictures[1][alone]


def _total(pictures: Sizes) -> int:
    """Their bytes."""
    return int(pictures[1].sum(dtype=np.int64)) * BLOCK


def _memory(pictures: Sizes) -> int:
    return pictures[0].nbytes + pictures[1].nbytes


def measure(path: Path) -> Tree:
    """The bytes of everything below a folder, in whole blocks, with a block for each folder; nothing where it is not
    there. Links are not followed."""
    if path.is_file():
        return Tree(_blocks(path))
    tree, todo = Tree(), [path]
    while todo:
        folder = todo.pop()
        try:
            entries = list(os.scandir(folder))
        except (FileNotFoundError, NotADirectoryError):
            continue
        tree.bytes += BLOCK
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    todo.append(Path(entry.path))
                    continue
                stat = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # removed in this moment
                continue
            size = -(-stat.st_size // BLOCK) * BLOCK
            if stat.st_nlink > 1:
                tree.links[stat.st_dev, stat.st_ino] = size
            else:
                tree.bytes += size
    return tree


def _blocks(path: Path) -> int:
    """A file's size in whole blocks; 0 where there is none."""
    try:
        return -(-path.stat().st_size // BLOCK) * BLOCK
    except FileNotFoundError:
        return 0


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_size


def _folders(path: Path) -> Iterator[Path]:
    return (entry for entry in _entries(path) if entry.is_dir())


def _entries(path: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(path)]
    except FileNotFoundError:
        return []
