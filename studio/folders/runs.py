"""A run is a folder; this is the only file that knows its layout.

workspace/runs/<id>/   config.json dataset.jsonl run.json launch.yaml process.json lock trainer.lock exit.json
edits.json events.jsonl train.log control/ samples/ checkpoints/       (who writes what: docs/run-folder.md)
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import UnionType
from typing import ClassVar

from studio import config as config_
from studio import storage
from studio.config import PlainConfig
from studio.folders import edits as edits_
from studio.folders import work
from studio.folders.following import EventReader
from studio.folders.records import Row
from studio.folders.work import ID, NotFound, Refused
from studio.messages import Message, word

__all__ = ["ID", "NotFound", "EventReader", "Refused", "Run", "branch", "change", "create", "delete", "every", "find",
           "home", "resume", "resumable"]

home = storage.home
ENDING_SECONDS = 5.0  # how long a change waits for the processes of an attempt that has ended
PICTURES = "pictures.safetensors"  # in a checkpoint: per training row, the sum (in LOSS_UNIT) and count of its losses
LOSS_UNIT = 2.0**-24
LOST = "another process of this run was lost"  # what a trainer prints that cannot go on without it
RENDEZVOUS = "STUDIO_RENDEZVOUS"  # names the file in which the ranks of a run on one machine meet
TURN, QUOTA = "turn", "quota"  # why the studio itself paused a run: `held` in its record
CONTROLS = ("stop", "cancel", "pause", "save", "sample", "edit")
RESUMABLE = ("paused", "stopped", "cancelled", "interrupted", "failed")
NOT_RESUMABLE = {"queued": Message("the run is already waiting in the queue"),
                 "finished": Message("the run finished all its steps: give it more of them first (train.max_steps), "
                                     "then resume it"),
                 "diverged": Message("the run diverged, so its weights lead nowhere: branch it from a checkpoint "
                                     "before that, with a lower learning rate")}


class Run(work.Work):
    """One run's folder and the paths in it."""

    folder = "runs"
    record_name = "run.json"
    record_fields: ClassVar[dict[str, type | UnionType]] = {
        "name": str, "owner": str, "created": float | int, "attempt": int, "rank": float | int}
    worker_lock_name = "trainer.lock"
    log_name = "train.log"
    word = "run"
    worker = "training"
    controls = CONTROLS
    resumable = RESUMABLE

    @property
    def config_file(self) -> Path:
        return self.path / "config.json"

    @property
    def edits_file(self) -> Path:
        return self.path / "edits.json"

    @property
    def told_by(self) -> tuple[Path, ...]:
        return *super().told_by, self.edits_file

    def revision(self) -> str:
        """A short text that changes whenever the record does by what no event tells: a name, an edit at rest, a disk
        that is full."""
        return work.digest(storage.stamp(self.record_file), storage.stamp(self.edits_file), storage.is_full(self.home))

    @property
    def rows_file(self) -> Path:
        return self.path / "dataset.jsonl"

    @property
    def webhook_file(self) -> Path:
        return self.path / "webhook.json"

    @property
    def votes_file(self) -> Path:
        return self.path / "votes.jsonl"

    @property
    def launch_file(self) -> Path:
        return self.path / "launch.yaml"

    @property
    def deepspeed_file(self) -> Path:
        return self.path / "deepspeed.json"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def remote_file(self) -> Path:
        return self.path / "remote.json"

    @property
    def lane(self) -> str:
        """Whether it trains here ("heavy") or on a rented machine ("away")."""
        return "heavy" if self.record().get("backend", "local") == "local" else "away"

    def held_for(self) -> str | None:
        """Why the studio itself asked the last attempt to pause (TURN, QUOTA); None where a person did.
        Raises Corrupt."""
        asked_for, began = self.attempts()
        held = self.record().get("held")
        if asked_for != began or not isinstance(held, dict) or held.get("attempt") != began:
            return None
        return held.get("why")

    def goes_on(self) -> bool:
        """Whether it goes on by itself once it has paused: it makes way for others."""
        return self.held_for() == TURN

    def created_config(self) -> config_.Config:
        """The config that the run was made with. Raises ConfigError, or Corrupt for an unreadable file."""
        return config_.load(self.facts(self.config_file, {}))

    def config(self) -> config_.Config:
        """The config with all edits of the run. Raises as `created_config`."""
        return config_.load(self.settings())

    def settings(self) -> PlainConfig:
        """`config` as JSON, unchecked. Raises Corrupt."""
        return edits_.fold(self.facts(self.config_file, {}), self.edits())

    def edits(self) -> list[edits_.Edit]:
        """What was changed on the way, in order. Raises Corrupt."""
        if not self.edits_file.exists():
            return []
        try:
            return edits_.sound(self.facts(self.edits_file, {"edits": list})["edits"])
        except ValueError as error:
            raise storage.Corrupt(Message("edits.json of run {id} is damaged: {why}", id=self.id, why=error)) from None

    def add_edit(self, edit: edits_.Edit) -> None:
        """Keep one more; by whoever holds the trainer's lock, or the supervisor's while no trainer is there."""
        storage.write_json(self.edits_file, {"edits": [*self.edits(), edit]})

    def kept_requests(self) -> set[str]:
        """The ids of the edits that were asked for while it trained."""
        return {edit["id"] for edit in self.edits()} - {""}

    def next_step(self) -> int:
        """The step that the next attempt goes on from: of the checkpoint asked for, else of the newest; 0 for none."""
        steps = {path.name: manifest["step"] for path, manifest in self.valid_checkpoints()}
        return steps.get(self.record().get("resume_from") or "", max(steps.values(), default=0))

    def rows(self) -> list[Row]:
        """The frozen rows, in order: those of split `train` are trained on, the others are held out."""
        with open(self.rows_file, encoding="utf-8") as file:
            return list(map(json.loads, file))

    def training_count(self) -> int:
        """How many of the rows are trained on."""
        return len(_training_lines(self.rows_file, storage.stamp(self.rows_file)))

    def training_rows(self, places: Iterable[int]) -> list[Row]:
        """Those of the rows that are trained on with these numbers (from 0); no others are read."""
        offsets = _training_lines(self.rows_file, storage.stamp(self.rows_file))
        rows: list[Row] = []
        with open(self.rows_file, "rb") as file:
            for place in places:
                file.seek(offsets[place])
                rows.append(json.loads(file.readline()))
        return rows

    def valid_checkpoints(self) -> Iterator[tuple[Path, storage.Manifest]]:
        """Checkpoint folders whose manifest is readable, newest first, with their manifests (hashes not compared)."""
        by_step: list[tuple[int, Path]] = []
        for path in self.checkpoints.glob("checkpoint-*"):
            step = path.name.rpartition("-")[2]
            if step.isdecimal():
                by_step.append((int(step), path))
        for _, path in sorted(by_step, reverse=True):
            try:
                yield path, storage.manifest(path)
            except storage.Corrupt:
                continue


def _nothing_more(run: Run) -> None:
    """What fills a new run's folder where nothing else belongs in it."""


def create(root: Path, *, name: str, owner: str, config: config_.Config, rows: Iterable[Row],
           parent: Mapping[str, object] | None = None, extra: Mapping[str, object] | None = None,
           fill: Callable[[Run], None] = _nothing_more, held: float = 0.0) -> Run:
    """A new run folder under `root`/runs, complete before it appears, waiting in the queue.

    `config` is resolved; `rows` are the frozen rows. `extra` goes into run.json (the data set's name and fingerprint).
    `fill` puts more into the folder before it appears. `held`: for so many seconds the queue leaves it to the caller,
    who starts it.
    """
    storage.make_folder(root / Run.folder)
    run = Run(root / Run.folder / uuid.uuid4().hex)
    now = time.time()
    record = {"name": name, "owner": owner, "created": now, "parent": parent, "attempt": 1, "rank": now,
              "backend": config.compute.backend, **work.left_to_starter(held, now), **(extra or {})}
    lines = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    files = {"config.json": work.as_json(config_.dump(config)), "dataset.jsonl": lines.encode(),
             run.record_name: work.as_json(record)}

    def fill_staging(staging: Path) -> None:
        fill(Run(staging))

    work.establish(run.path, files, ("control", "samples", "checkpoints"), fill_staging)
    return run


def branch(root: Path, parent: Run, checkpoint: Path, *, name: str, owner: str, config: config_.Config,
           changes: list[str], edits: Iterable[edits_.Edit] = (), held: float = 0.0) -> Run:
    """A new run that waits to go on from a checkpoint of `parent`: its rows and that checkpoint, under `config` with
    `edits`.

    The checkpoint's files never change, so they are linked where the disk can, and compared with their manifest.
    `changes` says in words what `config` changes; the run's record keeps it. Raises Corrupt for a damaged checkpoint,
    Refused for one that was retired in this moment.
    """

    all_edits = list(edits)

    def fill(new_run: Run) -> None:
        shutil.copyfile(parent.rows_file, new_run.rows_file)
        if all_edits:
            storage.write_json(new_run.edits_file, {"edits": all_edits})
        target = new_run.checkpoints / checkpoint.name
        try:
            storage.link_tree(checkpoint, target)
        except FileNotFoundError:
            raise Refused(Message("{name} is no longer there: choose another checkpoint",
                                  name=checkpoint.name)) from None
        storage.verify(target)

    with _held(parent, checkpoint.name):
        origin = {"id": parent.id, "checkpoint": checkpoint.name, "changes": changes}
        extra = {"dataset": parent.record().get("dataset")}
        return create(root, name=name, owner=owner, config=config, rows=(), parent=origin, extra=extra, fill=fill,
                      held=held)


@lru_cache(maxsize=64)
def _training_lines(path: Path, stamp: Hashable) -> array[int]:
    """Where the lines of the rows that are trained on begin, in bytes; `stamp` is of the file as it is now.

    A row's split is told without reading the rest of it."""
    offsets = array("Q")
    offset = 0
    with open(path, "rb") as file:
        for line in file:
            if b'"split": "' not in line or b'"split": "train"' in line:  # a quote within a text is written otherwise
                offsets.append(offset)
            offset += len(line)
    return offsets


def parts_of(manifest: storage.Manifest, weights: str) -> set[str]:
    """The folders of a checkpoint that hold its weights: `raw` or `ema`; none when it has not got them."""
    folders = {name.partition("/")[0] for name in manifest["files"] if "/" in name}
    return {folder for folder in folders if folder.endswith("_ema") == (weights == "ema")}


def lend(run: Run, checkpoint: str, weights: str, target: Path) -> None:
    """The files of these weights below `target`/<checkpoint>, which stay when the checkpoint is retired: links, where
    the disk can. Raises Refused when they are not there."""
    source = run.checkpoints / checkpoint
    with _held(run, checkpoint):
        try:
            parts = parts_of(storage.manifest(source), weights)
        except storage.Corrupt:
            parts = set()
        if not parts:
            raise Refused(Message("{name} has no {weights} weights (any more): choose another checkpoint",
                                  name=checkpoint, weights=weights))
        for part in parts:
            storage.link_tree(source / part, target / checkpoint / part)
        if not (target / checkpoint / storage.MANIFEST).exists():
            storage.link(source / storage.MANIFEST, target / checkpoint / storage.MANIFEST)


@contextmanager
def _held(run: Run, checkpoint: str) -> Iterator[None]:
    """The trainer retires nothing that is held. Raises Refused for one that is gone in this moment."""
    lease = storage.Lock(run.checkpoints / f"{checkpoint}.lease")
    if not lease.acquire(shared=True):
        raise Refused(Message("{name} is just being retired: choose a newer checkpoint", name=checkpoint))
    try:
        yield
    finally:
        lease.release()


def find(root: Path, run_id: str) -> Run:
    """The run of that id. Raises NotFound, for anything that is not an id too."""
    return Run.find(root, run_id)


def every(root: Path) -> list[Run]:
    """All runs, in no order; never reads inside them."""
    return Run.every(root)


def delete(root: Path, run: Run) -> None:
    """Move a run to the trash. Raises Refused while it is alive, here or on a rented machine; holds its lock, so that
    no supervisor begins now."""
    rented = storage.read_json(run.remote_file) or {"over": True}
    if not rented["over"] and rented.get("job") and not rented.get("cancelled"):
        until = run.remote_file.stat().st_mtime + 3600 * run.config().compute.timeout_hours
        if until > time.time():
            raise Refused(Message("its job still runs on a rented machine, and costs: resume the run, then cancel it, "
                                  "or cancel the job at {url}", url=rented.get("url")))
    work.discard(root, run)


def resume(run: Run, reader: EventReader, checkpoint: str | None = None, *, held: float = 0.0) -> int:
    """Ask for another attempt, which waits in the queue; returns its number. Raises Refused, saying what can be done.
    `held` as for `create`.

    It continues from the newest checkpoint, or from the one named: what came after that goes to the trash. Requests
    that the last attempt never answered are dropped: they were not meant for this one.
    """
    state, history = reader.state(run)
    if not resumable(state, history.step, run.config().train.max_steps):
        busy = Message("the run is {state}: stop it first, then resume it", state=word(state))
        raise Refused(NOT_RESUMABLE.get(state, busy))
    names = [path.name for path, _ in run.valid_checkpoints()]
    if checkpoint is not None and checkpoint not in names:
        raise Refused(Message("the run has no checkpoint {name}; there are: {names}", name=repr(checkpoint[:40]),
                              names=", ".join(names) or Message("none")))
    storage.clear(*(path for *_, path in run.requests()))  # one that a power cut brings back is of another attempt
    attempt = run.attempts()[1] + 1
    now = time.time()
    changes = {"attempt": attempt, "rank": now, "resume_from": checkpoint, **work.left_to_starter(held, now)}
    run.update(**changes)
    return attempt


def resumable(state: str, step: int, total: int | None) -> bool:
    """Whether a run in `state` after `step` steps can go on; a finished one can once it was given more of them."""
    return state in RESUMABLE or (state == "finished" and (total or 0) > step)


def change(run: Run, changes: PlainConfig, reader: EventReader) -> str:
    """Change settings of a run on its way (`edits.EDITABLE`; `changes` is a partial config).

    While it trains that is a request, whose id is returned: it holds from the next step on. Else it is kept at once
    (""), and holds from the step on that the run will go on from. Raises ConfigError, Refused.
    """
    state, history = reader.state(run)
    if state in ("starting", "running"):
        edits_.make(run.created_config(), run.edits(), history.step, changes)  # told now rather than at the next step
        return run.request("edit", config=changes)
    if state not in (*RESUMABLE, "queued", "finished"):
        busy = Message("the run is {state}: change it once it has ended", state=word(state))
        raise Refused(NOT_RESUMABLE.get(state, busy))
    lock = _at_rest(run)
    try:
        run.add_edit(edits_.make(run.created_config(), run.edits(), run.next_step(), changes))
    finally:
        lock.release()
    return ""


def _at_rest(run: Run) -> storage.Lock:
    """The supervisor's lock of a run that does not train; after the last event a supervisor takes a moment to go."""
    lock = run.lock
    latest = time.monotonic() + ENDING_SECONDS
    while True:
        if lock.acquire():
            if not storage.is_locked(run.worker_lock.path):
                return lock
            lock.release()
        if time.monotonic() > latest:
            raise Refused(Message("a process of the run is just starting or ending: try again in a moment"))
        time.sleep(0.05)
