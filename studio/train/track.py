"""Trackers beside the studio's own events: TensorBoard, W&B, Trackio, by Accelerate's tracker classes.

They hear the run's events and write numbers, pictures and settings under the run's `logs/`. They work in a thread of
their own, so that a slow or broken one costs a `warning` and never a step.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker
from PIL import Image

from studio import secrets
from studio.config import Config, dump
from studio.folders.events import EventWriter, trace
from studio.folders.records import Event, SampleEvent, StepEvent, ValidationEvent
from studio.folders.runs import Run
from studio.messages import JsonObject, Message

CLOSING_SECONDS = 60.0  # a tracker that sends things away may need some
WAITING = 10_000  # events that may wait for the trackers; what comes on top is not tracked
Value = str | int | float | bool
PRIVATE = {"prompt", "prompts", "token"}  # words in the names of settings that no tracker gets
CLOCKS = ("seq", "time", "mono", "step", "seconds", "pictures")


class NoTrackers:
    """No tracker was chosen."""

    def close(self, seconds: float = 0.0) -> None:
        """Nothing to close."""


class Trackers:
    """Every tracker of a run. `hear` gets the events; `close` ends the trackers and says what went wrong."""

    def __init__(self, run: Run, config: Config, attempt: int, events: EventWriter):
        self.run = run
        self.settings = flat(config)
        self.attempt = attempt
        self.events = events
        self.project = config.track.project
        self.left = list(dict.fromkeys(config.track.report_to))  # to be started
        self.open: dict[str, GeneralTracker] = {}
        self._waiting: queue.Queue[Event | None] = queue.Queue(WAITING)
        self._faults: deque[tuple[str, str]] = deque()
        self._first = 0  # the step this attempt begins after
        self._slow = False  # whether too much waited once
        self._drawn: list[SampleEvent] = []  # the sample pictures of a step, until all of them are there
        self._thread = threading.Thread(target=self._work, name="trackers", daemon=True)
        self._thread.start()

    def hear(self, event: Event) -> None:
        """Take in one event, which is written by then; called from the training's own thread."""
        if event["kind"] == "resumed":
            self._first = event["from_step"]
        elif _is_tracked(event):
            self._enqueue(event)
        self._tell()

    def _enqueue(self, event: Event) -> None:
        """Leave the event to the trackers' thread; where too many wait already it is lost, which is told once."""
        try:
            self._waiting.put_nowait(event)
        except queue.Full:
            if not self._slow:
                self._faults.append(("tracker_slow", Message("The trackers are too slow: steps are missing in them.")))
            self._slow = True

    def close(self, seconds: float = CLOSING_SECONDS) -> None:
        """End the trackers, waiting at most `seconds` for what they still have to write. Twice is once."""
        if self._thread.is_alive():
            while self._waiting.full():
                self._waiting.get_nowait()
            self._waiting.put(None)
            self._thread.join(seconds)
            if self._thread.is_alive():
                late = Message("The trackers ({names}) did not end within {seconds:.0f} s; what they had not written "
                               "by then is lost.", names=", ".join(self.open), seconds=seconds)
                self._faults.append(("tracker_failed", late))
        self.events.follow(_deaf)
        self._tell()

    def _tell(self) -> None:
        while self._faults:
            self.events.warning(*self._faults.popleft())

    # ------------------------------------------------------------------------------------------- in the own thread

    def _work(self) -> None:
        while (event := self._waiting.get()) is not None:
            while self.left:
                name = self.left.pop(0)
                self._guarded(name, self._start, name)
            for name, tracker in list(self.open.items()):
                self._guarded(name, self._write, tracker, event)
            if event["kind"] == "sample" and not event["requested"]:
                self._drawn.append(event)
            elif event["kind"] == "phase":
                self._drawn.clear()
        for name, tracker in list(self.open.items()):
            self._guarded(name, tracker.finish)

    def _guarded(self, name: str, action: Callable[..., object], *arguments: object) -> None:
        """Do something with a tracker; one that fails is left alone from then on, and the run hears of it once."""
        try:
            action(*arguments)
        except Exception as error:
            trace()
            self.open.pop(name, None)
            why = secrets.redact(f"{type(error).__name__}: {str(error)[:200]}")
            failed = Message("{name} failed and gets nothing more of this run: {why}. Training goes on.", name=name,
                             why=why)
            self._faults.append(("tracker_failed", failed))

    def _write(self, tracker: GeneralTracker, event: Event) -> None:
        """Give a tracker what it shows of an event: numbers, a sample picture, all those of a step on one sheet."""
        if event["kind"] == "step":
            _log(tracker, _of_step(event), event["step"])
        elif event["kind"] == "validation":
            _log(tracker, _of_validation(event), event["step"])
        elif event["kind"] == "sample":
            title = f"samples/{event['prompt_index']}-{event['weights']}"
            self._picture(tracker, event["step"], title, self.run.samples / event["file"])
        elif event["kind"] == "phase" and event["done"] and self._drawn:
            self._picture(tracker, self._drawn[-1]["step"], "samples", self._sheet())

    def _start(self, name: str) -> None:
        title = str(self.run.record()["name"])
        if self.attempt > 1:
            title += f" (attempt {self.attempt})"
        tracker = _MAKERS[name](self.run.path / "logs", self.project, title, self.run.id, self._first)
        tracker.start()
        tracker.store_init_configuration(self.settings)
        self.open[name] = tracker

    def _sheet(self) -> np.ndarray:
        """The pictures of a step side by side: a row for each prompt, the weights in it."""
        import torch
        from torchvision.utils import make_grid

        pictures: list[torch.Tensor] = []
        for event in sorted(self._drawn, key=_place_on_sheet):
            pixels = _pixels(self.run.samples / event["file"])
            pictures.append(torch.from_numpy(pixels.copy()).permute(2, 0, 1))
        columns = len({event["weights"] for event in self._drawn})
        return make_grid(pictures, nrow=columns).permute(1, 2, 0).numpy()

    def _picture(self, tracker: Any, step: int, title: str, picture: Path | np.ndarray) -> None:
        """A picture, a file or (height, width, 3) bytes, where the tracker can show one."""
        if tracker.name == "trackio":
            import trackio

            shown = str(picture) if isinstance(picture, Path) else picture
            tracker.log({title: trackio.Image(shown)}, step=step)
            return
        if isinstance(picture, Path):
            picture = _pixels(picture)
        options = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
        tracker.log_images({title: picture[None]}, step=step, **options)


def make(run: Run, config: Config, attempt: int, events: EventWriter) -> Trackers | NoTrackers:
    """The trackers that the config asks for, following `events`."""
    if not config.track.report_to:
        return NoTrackers()
    trackers = Trackers(run, config, attempt, events)
    events.follow(trackers.hear)
    return trackers


def flat(config: Config) -> dict[str, Value]:
    """The settings as `section.name: value`, without prompts and other lists, empty ones, and anything secret."""
    settings: dict[str, Value] = {}
    for section, values in dump(config).items():
        if not isinstance(values, dict):
            continue
        for name, value in values.items():
            if PRIVATE & set(name.split("_")):
                continue
            if isinstance(value, str):
                value = secrets.redact(value)
            if isinstance(value, Value):
                settings[f"{section}.{name}"] = value
    return settings


def _pixels(path: Path) -> np.ndarray:
    """A picture's (height, width, 3) bytes."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _is_tracked(event: Event) -> bool:
    """Whether the trackers hear of it; of phases, that a step's sample pictures begin and that all are there."""
    if event["kind"] == "phase":
        return event["phase"] == "sampling" and event["done"] in (0, event["total"])
    return event["kind"] in ("step", "validation", "sample")


def _place_on_sheet(sample: SampleEvent) -> tuple[int, bool]:
    """A row for each prompt, the average last in it."""
    return sample["prompt_index"], sample["weights"] == "ema"


def _deaf(event: Event) -> None:
    """What follows the events once the trackers are closed."""


def _log(tracker: GeneralTracker, values: dict[str, float], step: int) -> None:
    if values:  # all were not finite otherwise
        tracker.log(values, step=step)


def _of_step(event: StepEvent) -> dict[str, float]:
    values: JsonObject = {"loss": event["loss"], "lr": event["lr"], "grad_norm": event["grad_norm"]}
    if event["seconds"]:
        values["pictures_per_second"] = event["pictures"] / event["seconds"]
    return _numbers(values)


def _of_validation(event: ValidationEvent) -> dict[str, float]:
    return {f"validation/{name}": value for name, value in _numbers(event).items() if name not in CLOCKS}


def _numbers(values: Mapping[str, object]) -> dict[str, float]:
    """Those of the values that are numbers: null stands for what was not finite."""
    return {name: float(value) for name, value in values.items()
            if isinstance(value, int | float) and not isinstance(value, bool)}


# ------------------------------------------------------------------------------------------------------ one by one


# Each gets the folder for its files, the project, what this attempt is called, the run's id, and the step it goes on
# from; a resumed run is a run of its own there, save for TensorBoard, which forgets the steps that are made again.


def _tensorboard(logs: Path, project: str, title: str, run_id: str, first: int) -> GeneralTracker:
    purge_step = first + 1 if first else None
    return LOGGER_TYPE_TO_CLASS["tensorboard"]("tensorboard", str(logs), purge_step=purge_step)


def _wandb(logs: Path, project: str, title: str, run_id: str, first: int) -> GeneralTracker:
    folder = logs / "wandb"
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["WANDB_DIR"] = str(logs)
    os.environ["WANDB_CACHE_DIR"] = str(folder / "cache")
    os.environ["WANDB_DATA_DIR"] = str(folder / "data")
    os.environ["WANDB_ARTIFACT_DIR"] = str(folder / "artifacts")
    os.environ["WANDB_CONFIG_DIR"] = str(folder / "config")
    import wandb

    mode = "online" if wandb.login(prompt=False) else "offline"
    settings = wandb.Settings(console="off", save_code=False, disable_git=True, x_disable_meta=True, silent=True)
    return LOGGER_TYPE_TO_CLASS["wandb"](
        project, name=title, group=run_id, dir=str(logs), mode=mode, settings=settings)


def _trackio(logs: Path, project: str, title: str, run_id: str, first: int) -> GeneralTracker:
    os.environ["TRACKIO_DIR"] = str(logs / "trackio")
    return LOGGER_TYPE_TO_CLASS["trackio"](
        project, name=title, group=run_id, embed=False, auto_log_cpu=False, auto_log_gpu=False)


_MAKERS: dict[str, Callable[[Path, str, str, str, int], GeneralTracker]] = {
    "tensorboard": _tensorboard, "wandb": _wandb, "trackio": _trackio}
