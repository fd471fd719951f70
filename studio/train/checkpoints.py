"""Checkpoints: written whole or not at all, checked by hash before they are used, no pickle anywhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from safetensors.torch import load_file, save_file

from studio import storage
from studio.config import Config, PlainConfig, differs, dump, load
from studio.errors import StudioError
from studio.folders.edits import Edit
from studio.folders.events import EventWriter, trace
from studio.folders.runs import Run
from studio.messages import Message, listed
from studio.storage import faults
from studio.train.batches.cache import digest
from studio.train.learning.adapters import FullWeights
from studio.train.learning.ema import Ema
from studio.train.learning.optim import Numbers, ScalerState, Updater
from studio.train.learning.per_image_loss import PerImageLoss
from studio.train.live_edits import LiveEdits
from studio.train.parallel.distributed import HostFacts

FORMAT = 2  # of what `Weights` and `CheckpointManager` write; 1 had AdamW's moments alone, and no settings
SECTIONS = ("model", "lora", "data", "train", "optim", "objective", "ema")  # that decide what is learnt
CONDITIONS = ("device", "threads", "precision", "versions", "numerics")  # what bit-identity depends on
IN_MANIFEST = ("step", "config_sha", "data_sha", "versions", "device", "threads", "precision")


class CannotResume(StudioError):
    """A checkpoint that this run must not continue from; the message says what differs."""


class Unsaved(StudioError):
    """The last checkpoint could not be written."""

    def __init__(self, why: str):
        super().__init__(Message("the last checkpoint could not be saved: {why}", why=why))


class State(HostFacts, total=False):
    """A checkpoint's `state.json`: what a resume compares, and where training was."""

    data_sha: str
    base_sha: str
    format: int
    settings: PlainConfig
    config_sha: str
    step: int
    epoch: int
    position: int  # at which the next update's global batch begins
    ema_updates: int
    scaler: ScalerState | None
    edits: list[Edit]


def training_fields(config: Config) -> PlainConfig:
    """The part of a config that decides what is learnt; a resume must agree with all of it (see `changes`)."""
    data = dump(config)
    fields = {section: data[section] for section in SECTIONS}
    fields["num_processes"] = config.compute.num_processes
    return fields


def changes(before: PlainConfig, now: PlainConfig) -> list[str]:
    """What differs between two runs' `training_fields`, in words.

    A setting that the older one does not know yet stands at its default there, so that an update of the studio does
    not part a run from its checkpoints; a default that is "from the base" cannot be known, and is passed over.
    """
    defaults = training_fields(load({}))
    changed: list[str] = []
    for section, values in now.items():
        if isinstance(values, dict):
            changed.extend(_changes_in(section, before.get(section, {}), values, defaults[section]))
        elif before.get(section) != values:
            changed.append(differs(section, before.get(section), values))
    return sorted(changed)


def _changes_in(section: str, before: PlainConfig, now: PlainConfig, defaults: PlainConfig) -> Iterator[str]:
    """What differs between two states of a section, in words, in no order."""
    older = {**defaults, **before}
    for name in now.keys() | older.keys():
        if older.get(name) == now.get(name):
            continue
        if name in before or defaults.get(name) is not None:
            yield differs(f"{section}.{name}", older.get(name), now.get(name))


def _together(parts: list[str]) -> str:
    """Things said one after the other, as one: "a and b"."""
    *before, last = parts
    for part in reversed(before):
        last = Message("{first} and {second}", first=part, second=last)
    return last


@dataclass
class Weights:
    """Everything that training changes: what is trained, its average, what the optimizer keeps, the scale,
    and what each picture's loss was."""

    trained: FullWeights
    ema: Ema
    update: Updater
    per_image_loss: PerImageLoss

    def write(self, root: Path) -> None:
        """Write the raw weights, the average (diffusers layout, fp32), `optimizer.*` and `pictures.safetensors`.

        The folders hold the weights one draws with. `optimizer.safetensors` has the optimizer's tensors in their own
        types, `optimizer.json` its numbers.
        """
        with self.update.inference_weights():
            self.trained.write(root, "", None)
        if self.ema.updates:
            with self.ema.average_parameters():
                self.trained.write(root, "_ema", self.ema.facts())
        tensors, numbers = self.update.state_dict(self.trained.named())
        save_file(tensors, root / "optimizer.safetensors", metadata={"format": "pt"})
        storage.write_json(root / "optimizer.json", numbers)
        self.per_image_loss.write(root)

    def read(self, root: Path, updates: int, scale: ScalerState | None) -> None:
        """Take everything over from what `write` wrote; `updates` counts the average's."""
        self.trained.load(root, "")
        if updates:
            with self.ema.average_parameters():
                self.trained.load(root, "_ema")
        self.ema.updates = updates
        numbers = cast(Numbers, storage.read_json(root / "optimizer.json") or {})
        self.update.load_state_dict(self.trained.named(), load_file(root / "optimizer.safetensors"), numbers)
        self.per_image_loss.load(root)
        self.update.take_scaler_state(scale)


class CheckpointManager:
    """Saves, retires and finds this run's checkpoints. `facts` (what a resume compares) are recorded in each."""

    def __init__(self, run: Run, config: Config, events: EventWriter, weights: Weights, facts: State,
                 live_edits: LiveEdits):
        self.run = run
        self.keep = config.checkpoint.keep
        self.events = events
        self.weights = weights
        self.live_edits = live_edits
        settings = training_fields(config)
        self.facts: State = {**facts, "format": FORMAT, "settings": settings, "config_sha": digest(settings)}
        self.saved: int | None = None  # the step of the newest one
        self.seconds = 0.0  # how long the last save took
        self.error = ""  # why the last save failed
        self.damaged = False  # whether `find` met a checkpoint that is not whole
        self.later: set[Path] = set()  # what the run no longer goes on from, and could not be put away

    def save(self, step: int, epoch: int, position: int) -> bool:
        """Save at this step; False when it failed, with a `checkpoint` event that says why."""
        if self.saved == step:
            return True
        began = time.monotonic()
        path = self.run.checkpoints / f"checkpoint-{step}"
        self.events.phase("saving")
        state: State = {
            **self.facts, "step": step, "epoch": epoch, "position": position,
            "ema_updates": self.weights.ema.updates, "scaler": self.weights.update.scaler_state(),
            "edits": self.live_edits.applied()}
        try:
            self._write(path, state)
        except Exception as error:  # a full disk also arrives as RuntimeError or SafetensorError
            trace()
            self.error = faults.plain(error)
            self.events.add("checkpoint", step=step, name=path.name, bytes=0, seconds=time.monotonic() - began,
                            ok=False, error=self.error)
            return False
        self.saved = step
        self.seconds = time.monotonic() - began
        self.events.add("checkpoint", step=step, name=path.name, bytes=_size(path), seconds=round(self.seconds, 3),
                        ok=True, error=None)
        self._retire()
        return True

    def _write(self, path: Path, state: State) -> None:
        """Write the checkpoint whole, in the place of one that is there. Raises whatever a disk or a library does."""
        manifest_facts = {key: state[key] for key in IN_MANIFEST}
        self._put_away(path)
        with storage.staged(path, manifest_facts) as folder:
            self.weights.write(folder)
            storage.write_json(folder / "state.json", state)
            self.events.sync()

    def find(self) -> Path | None:
        """The newest checkpoint whose every hash agrees. Damaged newer ones are named in a warning and put aside.

        Raises CannotResume where a branch has none: its base's weights would be another run."""
        storage.sweep_staging(self.run.checkpoints)
        promised = (self.run.record().get("parent") or {}).get("checkpoint")
        for step, path in self._numbered():
            try:
                storage.verify(path)
            except storage.Corrupt as error:
                if path.name == promised:
                    raise CannotResume(Message("{name}, from which this run goes on, is damaged ({why}): branch it "
                                               "once more, or restore that checkpoint", name=promised,
                                               why=error)) from None
                self._drop_damaged(path, error)
                continue
            self.saved = step
            return path
        if promised:
            raise CannotResume(Message("{name}, from which this run goes on, is not here: branch it once more, or "
                                       "restore that checkpoint", name=promised))
        return None

    def _numbered(self) -> list[tuple[int, Path]]:
        """The checkpoint folders with their steps, whole or not, the newest first."""
        numbered = []
        for path in self.run.checkpoints.glob("checkpoint-*"):
            if path.is_dir() and path.name.rpartition("-")[2].isdigit():
                numbered.append((_step_of(path), path))
        return sorted(numbered, reverse=True)

    def _drop_damaged(self, path: Path, why: storage.Corrupt) -> None:
        self.damaged = True
        try:
            storage.to_trash(path, self.run.home / "trash")
        except OSError as error:
            self.events.warning("damaged_checkpoint",
                                Message("{name} is damaged ({why}) and could not be put into the trash: {error}",
                                        name=path.name, why=why, error=faults.plain(error)))
            return
        self.events.add("retired", name=path.name)
        self.events.warning("damaged_checkpoint",
                            Message("{name} is damaged and was put into the trash: {why}", name=path.name, why=why))

    def named(self, name: str) -> Path:
        """The whole checkpoint of that name. Raises CannotResume, saying which there are."""
        storage.sweep_staging(self.run.checkpoints)
        paths = {path.name: path for path, _ in self.run.valid_checkpoints()}
        there = ", ".join(paths) or "none"
        path = paths.get(name)
        if path is None:
            raise CannotResume(Message("there is no checkpoint {name} in this run; there are: {names}",
                                       name=repr(name[:40]), names=there))
        try:
            storage.verify(path)
        except storage.Corrupt as error:
            raise CannotResume(Message("{name} is damaged ({why}); choose another, there are: {names}", name=name,
                                       why=error, names=there)) from None
        return path

    def drop_later(self) -> None:
        """Put the checkpoints after the one that was loaded into the trash: the run goes on from that one."""
        for path, _ in list(self.run.valid_checkpoints()):
            if _step_of(path) > (self.saved or 0):
                self.later.add(path)
        self._drop_later()

    def _drop_later(self) -> None:
        for path in sorted(self.later, key=_step_of, reverse=True):
            try:
                self._put_away(path)
            except OSError as error:
                self._not_removed(path.name, error)

    def _put_away(self, path: Path) -> None:
        """Into the trash with a checkpoint that may still be there. Raises OSError."""
        if path.exists():
            storage.to_trash(path, self.run.home / "trash")
            self.events.add("retired", name=path.name)
        self.later.discard(path)

    def _not_removed(self, name: str, error: OSError) -> None:
        """What cannot be removed now is no reason to end the training."""
        trace()
        self.events.warning("not_removed",
                            Message("{name} could not be removed ({why}); it is tried again at the next save.",
                                    name=name, why=faults.plain(error)))

    def load(self, path: Path) -> tuple[int, list[str]]:
        """Continue from `path`: its step, and what makes the continuation not bit-identical (nothing, mostly).

        Raises CannotResume."""
        state = cast(State, storage.read_json(path / "state.json") or {})
        if state.get("format") != FORMAT:
            raise CannotResume(Message("{name} was saved by studio {version} in checkpoint format {format}, and this "
                                       "one reads format {own}: resume with the studio that saved it, or start a new "
                                       "run", name=path.name,
                                       version=state.get("versions", {}).get("studio") or Message("unknown"),
                                       format=state.get("format", 1), own=FORMAT))
        differences = changes(state["settings"], self.facts["settings"])
        if self.origin(path) is None:  # a branch may have other settings
            edits_then = state.get("edits") or []
            if edits_then != self.live_edits.edits[: len(edits_then)]:
                differences.append(Message("the edits made before it are not those of this run"))
            self._refuse_changes(path, state, differences)
        else:
            self._refuse_changes(path, state, [])
        self.weights.read(path, state["ema_updates"], state["scaler"])
        self.saved = state["step"]
        for key in CONDITIONS:
            if state.get(key) != self.facts[key]:
                differences.append(differs(key, state.get(key), self.facts[key]))
        return state["step"], differences

    def _refuse_changes(self, path: Path, state: State, changed_settings: list[str]) -> None:
        """Raises CannotResume where the settings, the pictures or the base are not those of the checkpoint."""
        wrong: list[str] = []
        if changed_settings:
            wrong.append(Message("the run's settings changed ({what})", what=listed(changed_settings)))
        if state.get("data_sha") != self.facts["data_sha"]:
            wrong.append(Message("the run's pictures changed"))
        if state.get("base_sha") != self.facts["base_sha"]:
            wrong.append(Message("the base model's files changed"))
        if wrong:
            raise CannotResume(Message("{what} since {name} was saved; restore what it was, or start a new run",
                                       what=_together(wrong), name=path.name))

    def origin(self, path: Path) -> str | None:
        """Where a checkpoint that came with a branch comes from, and what the branch changed; None for any other."""
        parent = self.run.record().get("parent") or {}
        if path.name != parent.get("checkpoint"):
            return None
        changed = parent.get("changes") or []
        if not changed:
            return Message("branched from {name} of run {id}", name=path.name, id=parent["id"])
        return Message("branched from {name} of run {id}: {changes}", name=path.name, id=parent["id"],
                       changes=listed(changed))

    def adopt(self, path: Path) -> None:
        """Tell of a checkpoint that was there before the run began."""
        self.events.add("checkpoint", step=self.saved, name=path.name, bytes=_size(path), seconds=0.0, ok=True,
                        error=None)

    def _retire(self) -> None:
        """Remove all but the newest `keep`; one that is being downloaded waits for the next save."""
        self._drop_later()
        newest_first = [path for path, _ in self.run.valid_checkpoints() if path not in self.later]
        for path in newest_first[self.keep :]:
            try:
                self._retire_one(path)
            except OSError as error:
                self._not_removed(path.name, error)

    def _retire_one(self, path: Path) -> None:
        lease = storage.Lock(self.run.checkpoints / f"{path.name}.lease")
        if not lease.acquire():
            return
        try:
            storage.erase(path)
            self.events.add("retired", name=path.name)
            storage.clear(lease.path)
        finally:
            lease.release()


def _step_of(path: Path) -> int:
    """The step of `checkpoint-500`."""
    return int(path.name.rpartition("-")[2])


def _size(folder: Path) -> int:
    """The bytes of all files in it."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
