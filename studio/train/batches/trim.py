"""Keeps the cache within its size: the least recently used shards go, never those of a run that can still go on."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from studio import storage
from studio.folders import runs
from studio.folders.events import EventWriter
from studio.folders.runs import Run
from studio.messages import Message

SHARDS = ("images/*/*.safetensors", "texts/*/*.safetensors")
LEAST = 2e9  # bytes
OVER = ("finished", "diverged")  # states that no run comes back from


def note_use(run: Run, shards: Iterable[Path]) -> None:
    """Remember what this run reads, and that it was used now."""
    cache = run.home / "cache"
    used = sorted(shards)
    for path in used:
        os.utime(path)
    uses = cache / "uses"
    uses.mkdir(parents=True, exist_ok=True)
    storage.write_json(uses / f"{run.id}.json", [path.relative_to(cache).as_posix() for path in used])


def trim(run: Run, events: EventWriter) -> None:
    """Remove what is over the limit; a warning says when the runs that can go on need more than that.

    A reader that holds a removed shard open keeps its contents.
    """
    home = run.home
    facts: dict[Path, os.stat_result] = {}
    for pattern in SHARDS:
        for path in (home / "cache").glob(pattern):
            facts[path] = path.stat()
    total = sum(stat.st_size for stat in facts.values())
    limit = _limit(home, total, events)
    if total <= limit:
        return
    needed = _needed(home, run)
    for path, stat in sorted(facts.items(), key=_last_use):
        if total > limit and path not in needed:
            storage.clear(path)
            total -= stat.st_size
    if total > limit:
        events.warning("cache_full",
                       Message("The cache holds {total:.3g} GB where {limit:.3g} GB are allowed, and runs that can go "
                               "on use all of it: delete runs that are not needed any more, or raise STUDIO_CACHE_GB.",
                               total=total / 1e9, limit=limit / 1e9))


def _last_use(entry: tuple[Path, os.stat_result]) -> int:
    """When the shard was last used by a run: `note_use` sets its time."""
    return entry[1].st_mtime_ns


def _limit(home: Path, held: int, events: EventWriter) -> float:
    """Bytes the cache may take: STUDIO_CACHE_GB, or a quarter of what it and the free disk make together."""
    text = os.environ.get("STUDIO_CACHE_GB", "")
    try:
        return float(text) * 1e9
    except ValueError:
        if text:
            events.warning("cache_limit",
                           Message("STUDIO_CACHE_GB must be a number of gigabytes, not {text}; the default is taken.",
                                   text=repr(text[:40])))
    return max(LEAST, (held + storage.free_bytes(home)) / 4)


def _needed(home: Path, run: Run) -> set[Path]:
    """The shards of this run and of every run that lives or can be resumed; notes of others are removed."""
    needed: set[Path] = set()
    for note in (home / "cache" / "uses").glob("*.json"):
        if note.stem == run.id or _may_go_on(home, note.stem):
            needed.update(home / "cache" / name for name in storage.read_json(note) or [])
        else:
            storage.clear(note)
    return needed


def _may_go_on(home: Path, run_id: str) -> bool:
    """Whether that run may still read its shards."""
    try:
        state, _ = runs.EventReader().state(runs.find(home, run_id))
    except runs.NotFound:
        return False
    except storage.Corrupt:
        return True  # somebody may mend it
    return state not in OVER
