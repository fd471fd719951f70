"""Removes what nothing names any more: python -m studio.sweeping HOME   (by the server, once a day)

Stored pictures and thumbnails that no row names, bases of bundles that no run stands on, caches of what is gone, and
what a kill left half done. A row names a picture in a data set, in a run, in either's staging folder, and in the trash;
also one that an edit took out, since an undo may bring it back.

Safe beside everything else: only what is older than a day is looked at, and whoever is about to name something that is
stored already holds `datasets.relying` from before it looks for it until the name can be seen. Here the names are read
again under that lock, alone, just before anything is removed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from studio import storage
from studio.datasets import references
from studio.errors import StudioError
from studio.folders.runs import Run
from studio.folders.work import ID, Job, Work
from studio.messages import JsonObject
from studio.storage import faults

if TYPE_CHECKING:
    from huggingface_hub import CachedRepoInfo

AGE = 86400.0  # seconds that anything is left alone after it was made
PATIENCE = 600.0  # seconds to wait for those who rely on stored pictures
AT_ONCE = 500  # files removed before others get their turn at the lock
RECENT = 3600.0  # seconds that a repository of the Hub stays after it was used
LEAST_HUB_BYTES = 5 * 10**9
ROWS = (("datasets", "rows.jsonl"), ("runs", "dataset.jsonl"), ("jobs", "run/dataset.jsonl"),
        ("trash", "rows.jsonl"), ("trash", "dataset.jsonl"), ("trash", "run/dataset.jsonl"))
CACHES = (("measures", "datasets"), ("likeness", "runs"), ("bundles", "runs"), ("uses", "runs"))  # of what lies where
PLACES = ("runs", "jobs", "datasets", "images", "bases", "cache", "presets")  # where something is made in a staging


class Busy(StudioError):
    """Somebody relies on stored pictures for too long; it is tried again another time."""


class ReferencedPictures:
    """Every stored picture that is named anywhere; a file of rows that only grew is read on where it was."""

    def __init__(self, home: Path):
        self.home = home
        self._readers: dict[Path, references.ReferenceReader] = {}
        self._pictures: set[int] = set()

    def __contains__(self, image: str) -> bool:
        return int(image[:16], 16) in self._pictures

    def update(self) -> None:
        """Read what is new. Living things come before the trash, into which they move while this goes on."""
        for folder, name in ROWS:
            for entry in _entries(self.home / folder):
                self._read(entry / name)

    def _read(self, path: Path) -> None:
        reader = self._readers.setdefault(path, references.ReferenceReader(path))
        try:
            if reader.changed():
                self._pictures.update(int(row["image"][:16], 16) for row in reader.read())
        except (FileNotFoundError, NotADirectoryError):  # moved to the trash meanwhile, where it is read next
            return


class Sweep:
    """One sweep of a home; `age` in seconds. `removed` counts what went, by kind."""

    def __init__(self, home: Path, age: float = AGE):
        self.home, self.age = home, age
        self.removed: Counter[str] = Counter()
        self.errors: list[Exception] = []  # what could not be swept: tried again another time

    def all(self) -> None:
        """Everything but the Hub's cache; what fails keeps nothing else from being swept."""
        for step in (self.pictures, self.bases, self.caches, self.leavings):
            try:
                step()
            except (OSError, Busy) as error:
                self.errors.append(error)

    def pictures(self) -> None:
        """Stored pictures that no row names, and thumbnails."""
        names = ReferencedPictures(self.home)
        names.update()  # the long part, beside everybody else
        self._unnamed("pictures", self.home / "images", names)
        self._unnamed("thumbnails", self.home / "cache" / "thumbs", names)

    def _unnamed(self, kind: str, folder: Path, names: ReferencedPictures) -> None:
        """Remove what no row names from a store by content, some at a time."""
        unnamed = [path for path in _content(folder) if path.stem not in names and self._is_old(path)]
        for at in range(0, len(unnamed), AT_ONCE):
            with _alone(self.home):
                names.update()
                for path in unnamed[at : at + AT_ONCE]:
                    if path.stem not in names and self._is_old(path):
                        storage.clear(path)
                        self.removed[kind] += 1

    def bases(self) -> None:
        """Bases that came with bundles, which no run and no job stands on."""
        old = list(filter(self._is_old, _entries(self.home / "bases")))
        if not old:
            return
        with _alone(self.home):
            needed = set(map(_base, self._configs()))
            for path in old:
                if str(path) not in needed:
                    self._remove("bases", path)

    def caches(self) -> None:
        """What is remembered of data sets and runs that are not there any more, nor in the trash."""
        old: list[tuple[Path, Path]] = []  # what is remembered, and what it is of
        for cache, place in CACHES:
            for path in _entries(self.home / "cache" / cache):
                if ID.fullmatch(path.stem) and self._is_old(path):
                    old.append((path, self.home / place / path.stem))
        names = [path.name for path in _entries(self.home / "trash")]  # before: it may be restored meanwhile
        gone = [path for path, subject in old if not subject.exists()]
        names += [path.name for path in _entries(self.home / "trash")]  # and after: or deleted
        for path in gone:
            if not any(path.stem in name for name in names):
                self._remove("caches", path)

    def leavings(self) -> None:
        """Staging folders and part files of what was killed while it was made."""
        for place in PLACES:
            for path in _entries(self.home / place):
                if path.name.startswith(storage.STAGING) and self._is_untouched(path):
                    self._remove("leavings", path)
        for path in [*self.home.glob(".*.part"), *self.home.glob("presets/.*.part"), *self.home.glob("cache/.*.part")]:
            if self._is_old(path):
                self._remove("leavings", path)
        for folder in _entries(self.home / "datasets"):
            if ID.fullmatch(folder.name):
                self._inside(folder, storage.Lock(folder / "import.lock"), (storage.STAGING, ".spool-"))
        for work in (*Run.every(self.home), *Job.every(self.home)):
            self._of_work(work)

    def _of_work(self, work: Work) -> None:
        """What a killed supervisor, trainer or job left in its folder."""
        if storage.is_locked(work.worker_lock.path):
            return
        self._inside(work.path, work.lock, (storage.STAGING, "tmp"), below=("", "checkpoints"))

    def _inside(self, folder: Path, lock: storage.Lock, beginnings: tuple[str, ...],
                below: tuple[str, ...] = ("",)) -> None:
        """Remove what was half done in a folder, or in those of its folders; not while somebody holds its `lock`."""
        left: list[Path] = []
        for name in below:
            left += [path for path in _entries(folder / name) if self._is_leaving(path, beginnings)]
        if not left or not lock.acquire():
            return
        try:
            for path in left:
                self._remove("leavings", path)
        finally:
            lock.release()

    def _is_leaving(self, path: Path, beginnings: tuple[str, ...]) -> bool:
        half_written = path.name.startswith(".") and path.name.endswith(".part")
        return (half_written or path.name.startswith(beginnings)) and self._is_untouched(path)

    def _is_old(self, path: Path) -> bool:
        try:
            return path.stat().st_mtime <= time.time() - self.age
        except FileNotFoundError:
            return False

    def _is_untouched(self, path: Path) -> bool:
        """Whether nothing in a folder changed for `age`."""
        return self._is_old(path) and all(self._is_old(inner) or not inner.exists() for inner in path.rglob("*"))

    def _configs(self) -> Iterator[object]:
        """Every config that may name a base, also of what lies in the trash or is just being made."""
        for folder in ("runs", "jobs", "trash"):
            for entry in _entries(self.home / folder):
                yield _json(entry / "config.json")
                yield _object(_json(entry / "job.json").get("args")).get("config")
                if entry.is_file():  # a preset that was deleted
                    yield _json(entry).get("config")
        for path in (self.home / "presets").glob("*.json"):
            yield _json(path).get("config")

    def _remove(self, kind: str, path: Path) -> None:
        try:
            storage.erase(path)
        except OSError as error:
            self.errors.append(error)
            return
        self.removed[kind] += 1


# --------------------------------------------------------------------------------------------------------- the Hub


def hub_cache(home: Path, limit: int | None = None) -> int:
    """Bring the Hub's cache below `limit` bytes (None: a quarter of it and of the free disk); how many went.

    Only where it lies in this home: one's own cache elsewhere is never touched. Those that no run or job names go
    first, then those of runs that only could go on, each time the least recently used; never one in use.
    """
    from huggingface_hub import CacheNotFound, constants, scan_cache_dir

    folder = Path(constants.HF_HUB_CACHE).resolve()
    if not folder.is_relative_to(home.resolve()):
        return 0
    try:
        cache = scan_cache_dir(folder)
    except CacheNotFound:
        return 0
    if limit is None:
        limit = max(LEAST_HUB_BYTES, (cache.size_on_disk + storage.free_bytes(home)) // 4)
    named, used = _repositories(home)

    def least_needed_first(repo: CachedRepoInfo) -> tuple[bool, float]:
        return repo.repo_id in named, repo.last_accessed

    size = cache.size_on_disk
    gone: list[Path] = []
    for repo in sorted(cache.repos, key=least_needed_first):
        recent = time.time() - max(repo.last_accessed, repo.last_modified) < RECENT
        if size > limit and repo.repo_id not in used and not recent:
            gone.append(repo.repo_path)  # whole: by a commit's hash one would hit those it was copied to as well
            size -= repo.size_on_disk
    lock = storage.Lock(home / "cache" / "locks" / "base.lock")  # whoever finds or downloads a base holds it
    if not gone or not lock.acquire():
        return 0
    try:
        for path in gone:
            storage.erase(path)
        return len(gone)
    finally:
        lock.release()


def _repositories(home: Path) -> tuple[set[str], set[str]]:
    """The repositories that any run or job names, and those that are in use or about to be."""
    named: set[str] = set()
    used: set[str] = set()
    for work in (*Run.every(home), *Job.every(home)):
        args = _object(_json(work.record_file).get("args"))
        bases = {_base(_json(work.path / "config.json")), _base(args.get("config"))}
        texts = {value for value in (*bases, args.get("model"), args.get("base")) if isinstance(value, str)}
        named |= texts
        if _is_busy(work):
            used |= texts
            base = _base_of_run(home, args.get("run"))
            if base:
                used.add(base)
    return named, used


def _is_busy(work: Work) -> bool:
    """Whether it waits or lives; somebody may mend a damaged one."""
    try:
        asked, began = work.attempts()
        return asked > began or work.alive()
    except storage.Corrupt:
        return True


def _base_of_run(home: Path, run_id: object) -> str | None:
    """The base of the run that a job is about."""
    if not isinstance(run_id, str) or not ID.fullmatch(run_id):
        return None
    return _base(_json(home / "runs" / run_id / "config.json"))


# ------------------------------------------------------------------------------------------------------------ inside


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Nobody relies on what is stored and not named yet. Raises Busy."""
    lock = references.lock(home)
    latest = time.monotonic() + PATIENCE
    while not lock.acquire():
        if time.monotonic() > latest:
            raise Busy("pictures are being brought in all the time: the sweep waits for another day")
        time.sleep(0.05)
    try:
        yield
    finally:
        lock.release()


def _content(folder: Path) -> Iterator[Path]:
    """The files of a store by content: <two digits>/<64 hex digits>.<ext>."""
    for part in _entries(folder):
        if len(part.name) == 2:
            for path in _entries(part):
                if references.IMAGE.fullmatch(path.stem):
                    yield path


def _base(config: object) -> str | None:
    """The base that a config names."""
    base = _object(_object(config).get("model")).get("base")
    return base if isinstance(base, str) else None


def _json(path: Path) -> JsonObject:
    """An object in a file; empty for anything else, damaged or gone."""
    try:
        return _object(storage.read_json(path))
    except (storage.Corrupt, NotADirectoryError):
        return {}


def _object(data: object) -> JsonObject:
    """`data` where it is an object, else an empty one."""
    return data if isinstance(data, dict) else {}


def _entries(folder: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(folder)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def main(argv: list[str] | None = None) -> int:
    """Sweep a home, and print what went as JSON. Returns 0, or 1 where it has to be tried again."""
    parser = argparse.ArgumentParser(prog="python -m studio.sweeping", description="Remove what nothing names.")
    parser.add_argument("home", type=Path)
    parser.add_argument("--age", type=float, default=AGE, help="seconds that anything is left alone after it was made")
    parser.add_argument("--hub-cache", metavar="BYTES", help="also bring the Hub's cache in this home below so much; "
                        "`default` is a quarter of the disk")
    args = parser.parse_args(argv)
    sweep = Sweep(args.home.resolve(), args.age)
    sweep.all()
    if args.hub_cache:
        limit = None if args.hub_cache == "default" else int(args.hub_cache)
        try:
            sweep.removed["repositories"] = hub_cache(sweep.home, limit)
        except OSError as error:
            sweep.errors.append(error)
    print(json.dumps(sweep.removed))
    if sweep.errors:
        print(faults.in_shell(sweep.errors[0]), file=sys.stderr)
        return 1
    stamp = sweep.home / "cache" / "swept"
    storage.make_folder(stamp.parent)
    stamp.touch()
    return 0


if __name__ == "__main__":
    os.nice(15)  # it has all day
    sys.exit(main())
