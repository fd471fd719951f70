"""The operations of the trainer: the real one, on the tests' toy family. What it acknowledges are its events."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from studio import config, storage
from studio.folders import runs
from studio.folders.events import DURABLE, EventWriter

from .stage import Act, Stage, operation


def _toy() -> None:
    """The tests' toy family, on the CPU."""
    import studio.families

    studio.families.__path__.append(str(Path(__file__).resolve().parents[2] / "tests" / "families" / "toys"))
    os.environ["ACCELERATE_USE_CPU"] = "true"


TOY: dict[str, Any] = {
    "model": {"family": "toy", "base": "embedded"}, "data": {"resolution": 32},
    "train": {"max_steps": 8, "batch_size": 2, "mixed_precision": "no", "seed": 7},
    "optim": {"learning_rate": 1e-2, "lr_scheduler": "constant"}, "objective": {"prediction_type": "epsilon"},
    "sample": {"prompts": ["a red thing"], "every_steps": 3, "num_inference_steps": 2, "guidance_scale": 1.0},
    "checkpoint": {"every_steps": 2, "keep": 2}, "compute": {"num_threads": 1}}


def _tell(stage: Stage) -> None:
    """Let the stage hear of the events that people rely on, when they are on the disk."""
    written = EventWriter.add

    def add(self: EventWriter, kind: str, **fields: Any) -> dict[str, Any]:
        event = written(self, kind, **fields)
        if kind in DURABLE:
            stage.mark(kind)
        return event

    EventWriter.add = add  # type: ignore[method-assign]


def _trained(made: runs.Run, attempt: int) -> str:
    from accelerate.state import AcceleratorState

    from studio.train import loop

    storage.write_json(made.process_file, {"attempt": attempt, "began": time.time()})
    AcceleratorState._reset_state(True)
    return loop.train(made, supervised=False)


@operation()
def train(stage: Stage) -> Act:
    """A run of the real trainer: saves, retirement, pictures, a live edit and a save that are asked for, a stop."""
    _toy()
    made = stage.run(state="queued", **TOY)
    written = EventWriter.step
    asked = {2: ("edit", {"config": {"train": {"max_steps": 12}}}), 5: ("save", {}), 10: ("stop", {})}

    def step(self: EventWriter, *args: Any, **fields: Any) -> None:
        written(self, *args, **fields)
        if fields.get("step") in asked:
            kind, given = asked[fields["step"]]
            made.request(kind, **given)

    EventWriter.step = step  # type: ignore[method-assign]
    _tell(stage)

    def act() -> None:
        assert _trained(made, 1) == "stopped"

    return act


@operation()
def resume_named(stage: Stage) -> Act:
    """A run goes on from an older checkpoint: the later ones go to the trash, and new ones come."""
    _toy()
    made = stage.run(state="queued", **config.merge(TOY, {"train": {"max_steps": 5}, "checkpoint": {"keep": 3}}))
    assert _trained(made, 1) == "finished"
    made.add_edit({"id": "", "step": 5, "time": 0.0, "config": {"train": {"max_steps": 7}}})
    _tell(stage)

    def act() -> None:
        made.update(attempt=2, resume_from="checkpoint-2")
        stage.mark("resumed")
        assert _trained(made, 2) == "finished"

    return act
