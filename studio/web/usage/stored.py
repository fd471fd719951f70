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

import numpy as np

from studio import datasets, storage, trash
from studio.datasets import references
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
class DiskUsage:
    """What one person's things take, in bytes. The trash comes on top of `kinds`."""

    kinds: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    trash: int = 0

    @property
    def bytes(self) -> int:
        """All but the trash."""
        return sum(self.kinds.values())


@dataclass
class FolderSize:
    """A folder's bytes; those of files that other folders may link are apart, by device and number."""

    bytes: int = 0
    links: dict[tuple[int, int], int] = field(default_factory=dict)


@dataclass(frozen=True)
class TrashedEntry:
    """An entry of the trash."""

    path: Path
    time: int  # unix seconds at which it came there
    owner: str  # "" where nothing tells


class StorageUsage:
    """The figures of one home. Safe to use from several threads."""

    def __init__(self, home: Path, index: Index):
        self.home = home
        self.index = index
        self._lock = threading.RLock()
        self._trees: dict[Path, tuple[object, FolderSize]] = {}  # with what stands for the state they were measured in
        self._pictures = _Pictures(home)
        self._bases: dict[Path, str | None] = {}  # which of <home>/bases a run stands on; a run keeps its base
        self._owners: dict[Path, str] = {}  # of data sets, and of what lies in the trash; neither changes
        self._known: dict[str, tuple[float, DiskUsage]] = {}

    def of(self, owner: str, within: float = 0.0) -> DiskUsage:
        """What the things of `owner` take, found out at most `within` seconds ago."""
        with self._lock:
            known = self._known.get(owner)
            now = time.monotonic()
            if known is not None and now - known[0] <= within:
                return known[1]
            use = self._measure(owner)
            self._known[owner] = now, use
            return use

    def forget(self, owner: str) -> None:
        """Find out anew what the things of `owner` take, when next asked. Waits for nothing."""
        self._known.pop(owner, None)

    def owners(self) -> list[str]:
        """Everybody who has anything here."""
        with self._lock:
            owners = set()
            for _, owner in (*self.datasets(), *self.discarded()):
                owners.add(owner)
            for _, facts in (*self.index.all(), *self.index.jobs()):
                owners.add(facts["owner"])
            return sorted(owners - {""})

    def datasets(self) -> list[tuple[Path, str]]:
        """The folder and the owner of every data set that is somebody's."""
        owned = []
        for path in _folders(self.home / "datasets"):
            if ID.fullmatch(path.name):
                owner = self._owner(path, ("dataset.json",))
                if owner is not None:
                    owned.append((path, owner))
        return owned

    def trash(self) -> list[TrashedEntry]:
        """What lies in the trash, oldest first."""
        return [TrashedEntry(entry.path, int(entry.deleted), owner) for entry, owner in reversed(self.discarded())]

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
            mine = [TrashedEntry(entry.path, int(entry.deleted), owner) for entry in entries]
            held = self._held_beside(mine, owner)
            return [self._size_of_trash(held, [entry]) for entry in mine], self._size_of_trash(held, mine)

    def over(self, owner: str, entries: list[TrashedEntry], limit: int) -> list[TrashedEntry]:
        """Which of a person's entries of the trash, given the oldest first, have no room beside their things."""
        with self._lock:
            room = limit - self.of(owner, WITHIN).bytes
            held = self._held_beside(entries, owner)
            count = 0
            while count < len(entries) and self._size_of_trash(held, entries[count:]) > room:
                count += 1
            return entries[:count]

    # ---------------------------------------------------------------------------------------------------- inside

    def _measure(self, owner: str) -> DiskUsage:
        kinds: dict[str, int] = dict.fromkeys(KINDS, 0)
        links: dict[tuple[int, int], int] = {}  # files that several folders may hold count once, for the runs
        folders = self._datasets_of(owner)
        runs = self._runs_of(owner)
        for path in folders:
            kinds["datasets"] += self._dataset(path, links)
        for run in runs:
            kinds["runs"] += self._work(run, links)
        for job, facts in self.index.jobs():
            if facts["owner"] == owner:
                kinds["jobs"] += self._work(job, links)
        for name in set(filter(None, map(self._base, runs))):
            kinds["bases"] += self._settled(self.home / "bases" / name, name).bytes
        in_datasets, in_runs = self._named_by(folders, runs)
        kinds["datasets"] += _total(in_datasets)
        kinds["runs"] += _total(_without(in_runs, in_datasets)) + sum(links.values())
        entries = [entry for entry in self.trash() if entry.owner == owner]
        self._forget_gone()
        return DiskUsage(kinds, self._size_of_trash(self._held_beside(entries, owner), entries))

    def _datasets_of(self, owner: str) -> list[Path]:
        return [path for path, whose in self.datasets() if whose == owner]

    def _runs_of(self, owner: str) -> list[Run]:
        return [run for run, facts in self.index.all() if facts["owner"] == owner]

    def _named_by(self, folders: Iterable[Path], runs: Iterable[Run]) -> tuple[Sizes, Sizes]:
        """The pictures that these data sets name, and those that these runs do."""
        return (self._pictures.of(path / "rows.jsonl" for path in folders),
                self._pictures.of(run.rows_file for run in runs))

    def _dataset(self, path: Path, links: dict[tuple[int, int], int]) -> int:
        """A data set without its pictures: rows, waiting batches, what an import under way has decoded so far."""
        busy = storage.is_locked(path / "import.lock")
        names = (".", "incoming", "rows.jsonl", "report.json", "suggestions.jsonl", "report.csv", "import.log")
        stamp = None
        if not busy:
            stamp = tuple(map(_stamp, map(path.joinpath, names)))
        tree = self._settled(path, stamp)
        links.update(tree.links)
        size = tree.bytes + _blocks(measures.file_of(self.home, path.name))
        if busy:
            size += measure(self.home / "images" / f"{storage.STAGING}{path.name}").bytes
        return size

    def _work(self, work: Work, links: dict[tuple[int, int], int]) -> int:
        """A run's or a job's folder, but for the files that others may link, which go into `links`."""
        stamp = None
        if not work.alive():
            stamp = work.change_token(), _stamp(work.path / "votes.jsonl")
        tree = self._settled(work.path, stamp)
        links.update(tree.links)
        return tree.bytes

    def _settled(self, path: Path, stamp: object) -> FolderSize:
        """`measure`, remembered while `stamp` stays the same; None is never remembered."""
        known_stamp, tree = self._trees.get(path, (None, None))
        if tree is None or stamp is None or known_stamp != stamp:
            tree = measure(path)
            self._trees[path] = stamp, tree
        return tree

    def _held_beside(self, entries: list[TrashedEntry], owner: str) -> Sizes:
        """The pictures that living things of a person name, with which `entries` of their trash are compared; none
        where there are no entries."""
        if not entries:
            return _together([])
        return _together(list(self._named_by(self._datasets_of(owner), self._runs_of(owner))))

    def _size_of_trash(self, held: Sizes, entries: list[TrashedEntry]) -> int:
        """These entries of the trash, with the pictures that are not among those `held`."""
        size = 0
        links: dict[tuple[int, int], int] = {}
        rows_files = []
        for entry in entries:
            tree = self._settled(entry.path, entry.time)
            size += tree.bytes
            links.update(tree.links)
            rows_files += [entry.path / "rows.jsonl", entry.path / "dataset.jsonl"]
        alone = _without(self._pictures.of(rows_files), held)
        return size + sum(links.values()) + _total(alone)

    def _base(self, run: Run) -> str | None:
        """The name of the folder in <home>/bases that a run stands on."""
        if run.path not in self._bases:
            try:
                config = storage.read_json(run.config_file) or {}
                base = Path(str(config.get("model", {}).get("base", "")))
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
            owner = entry.owner
            whole = entry.parent
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
                for path in list(known):
                    if not path.exists():
                        known.pop(path, None)


class _Pictures:
    """The pictures that files of rows name, with their sizes; a file that only grew is read on where it was."""

    def __init__(self, home: Path):
        self.home = home
        self._read: OrderedDict[Path, tuple[references.ReferenceReader, Sizes]] = OrderedDict()  # what was named
        self._bytes = 0

    def of(self, files: Iterable[Path]) -> Sizes:
        """Every picture that these files name; those whose file is not there count nothing."""
        return _together(list(map(self._one, files)))

    def _one(self, path: Path) -> Sizes:
        reader, known = self._read.pop(path, (references.ReferenceReader(path), _together([])))
        self._bytes -= _memory(known)
        try:
            if reader.changed():
                new = self._sizes(reader.read())
                if not reader.anew:
                    new = _together([known, new])
                known = new
        except (FileNotFoundError, NotADirectoryError):  # deleted in this moment
            return _together([])
        self._read[path] = reader, known
        self._bytes += _memory(known)
        while self._bytes > MOST_BYTES and len(self._read) > 1:
            _, (_, oldest) = self._read.popitem(last=False)
            self._bytes -= _memory(oldest)
        return known

    def _sizes(self, rows: Iterable[dict[str, str]]) -> Sizes:
        keys = []
        blocks = []
        for row in rows:
            keys.append(int(row["image"][:16], 16))
            blocks.append(_blocks(datasets.picture_path(self.home, row)) // BLOCK)
        return _together([(np.array(keys, np.uint64), np.array(blocks, np.uint32))])


def _together(parts: list[Sizes]) -> Sizes:
    """Each picture of the parts once."""
    nothing = np.empty(0, np.uint64), np.empty(0, np.uint32)
    keys_of_parts, blocks_of_parts = zip(nothing, *parts, strict=True)
    keys, places = np.unique(np.concatenate(keys_of_parts), return_index=True)
    return keys, np.concatenate(blocks_of_parts)[places]


def _without(pictures: Sizes, others: Sizes) -> Sizes:
    alone = ~np.isin(pictures[0], others[0], assume_unique=True)
    return pictures[0][alone], pictures[1][alone]


def _total(pictures: Sizes) -> int:
    """Their bytes."""
    return int(pictures[1].sum(dtype=np.int64)) * BLOCK


def _memory(pictures: Sizes) -> int:
    return pictures[0].nbytes + pictures[1].nbytes


def measure(path: Path) -> FolderSize:
    """The bytes of everything below a folder, in whole blocks, with a block for each folder; nothing where it is not
    there. Links are not followed."""
    if path.is_file():
        return FolderSize(_blocks(path))
    tree = FolderSize()
    folders = [path]
    while folders:
        try:
            entries = list(os.scandir(folders.pop()))
        except (FileNotFoundError, NotADirectoryError):
            continue
        tree.bytes += BLOCK
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                    continue
                stat = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # removed in this moment
                continue
            if stat.st_nlink > 1:
                tree.links[stat.st_dev, stat.st_ino] = _in_blocks(stat.st_size)
            else:
                tree.bytes += _in_blocks(stat.st_size)
    return tree


def _in_blocks(size: int) -> int:
    """Bytes, rounded up to whole blocks."""
    return -(-size // BLOCK) * BLOCK


def _blocks(path: Path) -> int:
    """A file's bytes in whole blocks; 0 where there is none."""
    try:
        return _in_blocks(path.stat().st_size)
    except FileNotFoundError:
        return 0


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_size


def _folders(path: Path) -> Iterator[Path]:
    """The folders in a folder; none where it is not there."""
    try:
        entries = list(os.scandir(path))
    except FileNotFoundError:
        return
    yield from filter(Path.is_dir, map(Path, entries))
