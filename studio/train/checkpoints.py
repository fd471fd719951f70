"""Checkpoints: written whole or not at all, checked by hash before they are used, no pickle anywhere."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from studio import storage
from studio.config import Config
from studio.events import EventWriter, trace
from studio.runs import Run
from studio.train.adapters import Whole
from studio.train.cache import digest
from studio.train.ema import Ema
from studio.train.optim import Updater
from studio.train.tally import Tally


class CannotResume(Exception):
    """A checkpoint that this run must not continue from; the message says what differs."""


class Unsaved(Exception):
    """The last checkpoint could not be written; `full` when the disk has no room for it."""

    def __init__(self, why: str):
        super().__init__(f"the last checkpoint could not be saved: {why}")
        self.full = any(sign in why for sign in ("No space left", "quota exceeded", "unexpected pos"))  # torch's words


def training_fields(config: Config) -> dict[str, Any]:
    """The part of a config that decides what is learnt; a resume must agree with all of it.

    Defaults are left out, so that a setting which a newer studio adds does not end older runs.
    """
    data = config.model_dump(mode="json", exclude_defaults=True)
    sections = ("model", "lora", "data", "train", "optim", "objective", "ema")
    fields = {section: data.get(section, {}) for section in sections}
    return {**fields, "num_processes": config.compute.num_processes}


@dataclass
class Weights:
    """Everything that training changes: what is trained, its average, what the optimizer keeps, the scale,
    and what each picture's loss was."""

    trained: Whole
    ema: Ema
    update: Updater
    tally: Tally

    def write(self, root: Path) -> None:
        """Write the raw weights, the average (diffusers layout, fp32), `optimizer.*` and `pictures.safetensors`.

        The folders hold the weights one draws with. `optimizer.safetensors` has the optimizer's tensors in their own
        types, `optimizer.json` its numbers.
        """
        with self.update.drawing():
            self.trained.write(root, "", {})
        if self.ema.updates:
            with self.ema.swapped():
                self.trained.write(root, "_ema", self.ema.facts())
        tensors, numbers = self.update.state(self.trained.named())
        save_file(tensors, root / "optimizer.safetensors", metadata={"format": "pt"})
        storage.write_json(root / "optimizer.json", numbers)
        self.tally.write(root)

    def read(self, root: Path, updates: int, scale: dict[str, Any] | None) -> None:
        """Take everything over from what `write` wrote; `updates` counts the average's."""
        self.trained.load(root, "")
        if updates:
            with self.ema.swapped():
                self.trained.load(root, "_ema")
        self.ema.updates = updates
        self.update.take(self.trained.named(), load_file(root / "optimizer.safetensors"),
                         storage.read_json(root / "optimizer.json") or {})
        self.tally.load(root)
        if self.update.scaler is not None and scale:
            self.update.scaler.load_state_dict(scale)


class Keeper:
    """Saves, retires and finds this run's checkpoints. `facts` (what a resume compares) are recorded in each."""

    def __init__(self, run: Run, config: Config, events: EventWriter, weights: Weights, facts: dict[str, Any]):
        self.run, self.keep, self.events, self.weights = run, config.checkpoint.keep, events, weights
        self.facts = {**facts, "config_sha": digest(training_fields(config)), "optimizer": config.optim.name}
        self.saved: int | None = None  # the step of the newest one
        self.seconds = 0.0  # how long the last save took
        self.error = ""  # why the last save failed

    def save(self, step: int, position: dict[str, int]) -> bool:
        """Save at this step; False when it failed, with a `checkpoint` event that says why."""
        if self.saved == step:
            return True
        name, began = f"checkpoint-{step}", time.monotonic()
        final = self.run.checkpoints / name
        self.events.phase("saving")
        scaler = self.weights.update.scaler
        scale = scaler.state_dict() if scaler is not None else None
        state = {**self.facts, "step": step, **position, "ema_updates": self.weights.ema.updates, "scaler": scale}
        manifest_facts = {key: state[key] for key in ("step", "config_sha", "data_sha", "versions", "device",
                                                      "threads", "precision")}
        try:
            with storage.staged(final, manifest_facts) as folder:
                self.weights.write(folder)
                storage.write_json(folder / "state.json", state)
                self.events.sync()
        except Exception as error:  # a full disk also arrives as RuntimeError or SafetensorError
            trace()
            self.error = f"{type(error).__name__}: {str(error)[:300]}"
            self.events.add("checkpoint", step=step, name=name, bytes=0, seconds=time.monotonic() - began, ok=False,
                            error=self.error)
            return False
        self.saved, self.seconds = step, time.monotonic() - began
        size = sum(p.stat().st_size for p in final.rglob("*") if p.is_file())
        self.events.add("checkpoint", step=step, name=name, bytes=size, seconds=round(self.seconds, 3), ok=True,
                        error=None)
        self._retire()
        return True

    def find(self) -> Path | None:
        """The newest checkpoint whose every hash agrees. Damaged newer ones are named in a warning and put aside."""
        storage.sweep_staging(self.run.checkpoints)
        numbered = [(int(p.name.rpartition("-")[2]), p) for p in self.run.checkpoints.glob("checkpoint-*")
                    if p.is_dir() and p.name.rpartition("-")[2].isdigit()]
        for step, path in sorted(numbered, reverse=True):
            try:
                storage.verify(path)
            except storage.Corrupt as error:
                storage.to_trash(path, self.run.path.parent.parent / "trash")
                self.events.add("retired", name=path.name)
                self.events.warning("damaged_checkpoint", f"{path.name} is damaged and was put into the trash: {error}")
                continue
            self.saved = step
            return path
        return None

    def load(self, path: Path) -> tuple[int, list[str]]:
        """Continue from `path`: its step, and what makes the continuation not bit-identical (nothing, mostly).

        Raises CannotResume."""
        state = storage.read_json(path / "state.json") or {}
        for key, what in (("config_sha", "the run's settings"), ("data_sha", "the run's pictures"),
                          ("base_sha", "the base model's files"), ("optimizer", "the optimizer")):
            if state.get(key) != self.facts[key]:
                raise CannotResume(f"{what} changed since {path.name} was saved; restore what it was, or start a "
                                   "new run")
        self.weights.read(path, state["ema_updates"], state["scaler"])
        self.saved = state["step"]
        differences = [f"{key} was {state.get(key)}, is {self.facts[key]}"
                       for key in ("device", "threads", "precision", "versions") if state.get(key) != self.facts[key]]
        return state["step"], differences

    def _retire(self) -> None:
        """Remove all but the newest `keep`; one that is being downloaded waits for the next save."""
        for path, _ in list(self.run.valid_checkpoints())[self.keep :]:
            lease = storage.Lock(self.run.checkpoints / f"{path.name}.lease")
            if not lease.acquire():
                continue
            try:
                gone = path.with_name(f"{storage.STAGING}{path.name}")
                path.rename(gone)
                self.events.add("retired", name=path.name)
                shutil.rmtree(gone, ignore_errors=True)
                lease.path.unlink(missing_ok=True)
            finally:
                lease.release()
