"""What the studio's own readers find in a home: each thing under a key of its own, with a value to be compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from studio import config, datasets, presets, storage, trash
from studio.folders import events, runs
from studio.folders.work import Job, Work
from studio.insight import votes
from studio.web.middleware.sessions import Store

Seen = dict[str, Any]
DAMAGED = "damaged"


class ReaderCrashed(Exception):
    """A reader of the studio raised what none of its doors expects."""


def look(home: Path) -> Seen:
    """Everything that there is. Raises ReaderCrashed."""
    seen: Seen = {}
    for what, find in (("runs", _runs), ("jobs", _jobs), ("datasets", _datasets), ("presets", _presets),
                       ("trash", _trash), ("sessions", _sessions)):
        try:
            seen.update(find(home))
        except Exception as error:
            raise ReaderCrashed(f"{what}: {type(error).__name__}: {error}") from error
    return seen


def _safe(read: Callable[[], Any]) -> Any:
    """What `read` returns; DAMAGED where the studio says so itself."""
    try:
        return read()
    except (storage.Corrupt, config.ConfigError):
        return DAMAGED


def _work(work: Work, record: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    key, reader = f"{work.word}/{work.id}", runs.EventReader()
    state, answers = _safe(lambda: reader.state(work)), reader.history(work).controls
    yield f"at/{work.id}", ("here",)
    yield f"{key}/name", record["name"]
    yield f"{key}/attempt", (record["attempt"], record.get("resume_from"))
    yield f"{key}/state", state if state == DAMAGED else state[0]
    yield f"{key}/asked", tuple((kind, json.dumps(args, sort_keys=True)) for id_, kind, args, _ in work.requests()
                                if answers.get(id_, {}).get("result") not in ("done", "refused"))


def _runs(home: Path) -> Iterator[tuple[str, Any]]:
    for run in runs.every(home):
        record = _safe(run.record)
        if record == DAMAGED:
            yield f"run/{run.id}", DAMAGED
            continue
        yield from _work(run, record)
        key, history = f"run/{run.id}", runs.EventReader().history(run)
        yield f"{key}/config", _safe(lambda run=run: digest(config.dump(run.created_config())))
        yield f"{key}/rows", _safe(lambda run=run: rows(home, run.rows()))
        yield f"{key}/edits", _safe(lambda run=run: json.dumps([edit["config"] for edit in run.edits()]))
        yield f"{key}/webhook", _safe(lambda run=run: storage.read_json(run.webhook_file))
        for path, _ in run.valid_checkpoints():
            yield f"at/{run.id}/{path.name}", ("here",)
            yield f"{key}/{path.name}", _whole(path)
        for sample in history.samples:
            yield f"{key}/{sample['file']}", _picture(run.samples / sample["file"])
        for control in history.controls.values():
            yield f"{key}/answer/{control['id']}", control["result"]
        for job, ballot in votes.ballots(run.votes_file).items():
            if not ballot.choices and not ballot.stopped:
                continue  # shown nowhere
            yield f"{key}/votes/{job}", (tuple(ballot.choices.items()), ballot.stopped)


def _jobs(home: Path) -> Iterator[tuple[str, Any]]:
    for job in Job.every(home):
        record = _safe(job.record)
        if record == DAMAGED:
            yield f"job/{job.id}", DAMAGED
            continue
        yield from _work(job, record)
        ended = _safe(lambda job=job: runs.EventReader().state(job)[0]) in events.FINAL
        for folder in sorted(job.inputs.iterdir()) if job.inputs.is_dir() and not ended else ():
            yield f"job/{job.id}/inputs/{folder.name}", _whole(folder, sorted(
                path.name for path in folder.iterdir() if path.is_dir()))
        for name, result in runs.EventReader().history(job).results.items():
            path = job.results / name
            yield f"job/{job.id}/{name}", path.is_file() and path.stat().st_size == result["bytes"]


def _datasets(home: Path) -> Iterator[tuple[str, Any]]:
    for dataset in datasets.every(home):
        if dataset.read_only:
            continue
        key = f"dataset/{dataset.id}"
        yield f"at/{dataset.id}", ("here",)
        yield f"{key}/name", dataset.name
        yield f"{key}/state", _safe(lambda dataset=dataset: dataset.state)
        yield f"{key}/rows", _safe(lambda dataset=dataset: rows(home, dataset.rows()))
        yield f"{key}/count", dataset.count
        yield f"{key}/error", _safe(lambda dataset=dataset: dataset.report()["error"])
        yield f"{key}/waiting", tuple(
            (tuple(names), tuple(_sha(dataset.incoming / batch / f"{n:06d}") for n in range(len(names))))
            for batch, names in _safe(dataset.batches) or ())


def _presets(home: Path) -> Iterator[tuple[str, Any]]:
    for preset in presets.of(home, "local"):
        yield f"at/{preset['id']}", ("here",)
        yield f"preset/{preset['id']}", (preset["name"], digest(preset["config"]))


def _trash(home: Path) -> Iterator[tuple[str, Any]]:
    for entry in trash.entries(home):
        if entry.kind in ("run", "dataset", "job", "preset", "checkpoint"):
            of = f"{entry.parent.name}/" if entry.parent else ""
            yield f"trash/{of}{entry.name.removesuffix('.json')}", entry.title


def _sessions(home: Path) -> Iterator[tuple[str, Any]]:
    for name, owner_and_end in Store(home).known().items():
        yield f"session/{name}", owner_and_end


def _whole(folder: Path, parts: list[str] | None = None) -> str:
    try:
        storage.verify(folder, parts)
    except storage.Corrupt:
        return DAMAGED
    return "whole"


def _picture(path: Path) -> str:
    try:
        with Image.open(path) as picture:
            picture.load()
    except OSError:
        return DAMAGED if path.exists() else "missing"
    return "whole"


def rows(home: Path, found: list[dict[str, Any]]) -> Any:
    """What rows say, with whether each picture is the one that is meant."""
    pictures = [_sha(datasets.picture_path(home, row)) == row["image"] for row in found]
    return digest(found) if all(pictures) else f"{DAMAGED}: {pictures.count(False)} of {len(found)} pictures"


def _sha(path: Path) -> str:
    return storage.sha256_file(path) if path.is_file() else "missing"


def digest(data: Any) -> str:
    """A short text that stands for JSON data."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]


def places(seen: Seen) -> dict[str, frozenset[str]]:
    """In which of the two places each thing lies: here, or in the trash."""
    found: dict[str, set[str]] = {}
    for key in seen:
        kind, _, name = key.partition("/")
        if kind in ("at", "trash"):
            found.setdefault(name, set()).add("here" if kind == "at" else "trash")
    return {name: frozenset(where) for name, where in found.items()}
