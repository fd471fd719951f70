"""Edits of a run take effect at a step boundary: those of earlier attempts where they did, a new one where it is asked.

Rank 0 keeps an edit on the disk, then tells of it in a `control` event, and only then does it hold: a run that is
killed in between repeats it at the same step.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from studio import storage
from studio.config import Config, ConfigError
from studio.folders import edits, events
from studio.folders.edits import Edit
from studio.folders.runs import Run
from studio.messages import Message
from studio.storage import faults
from studio.train.control import Request

if TYPE_CHECKING:
    from studio.train.build import Trainer


class LiveEdits:
    """The edits of a run and how many of them hold already; `config` is what holds now. The same on every rank."""

    def __init__(self, run: Run, config: Config, known: list[Edit]):
        self.run = run
        self.created = config
        self.config = config
        self.edits = known
        self.applied_count = 0

    def due(self, step: int) -> Iterator[Edit]:
        """The edits that hold from `step` on and do not yet, each before `config` has it."""
        while self.applied_count < len(self.edits) and self.edits[self.applied_count]["step"] <= step:
            edit = self.edits[self.applied_count]
            yield edit
            self.config = edits.edited(self.config, [edit])
            self.applied_count += 1

    def keep(self, request: Request, step: int) -> Edit | str:
        """Rank 0: the edit that was asked for, safely on the disk; or why it cannot be."""
        try:
            edit = edits.make(self.created, self.edits, step, request.args.get("config"), request.id)
            self.run.add_edit(edit)
        except ConfigError as error:
            return str(error)
        except (OSError, storage.Corrupt) as error:
            events.trace()
            fault = faults.of(error)
            if fault and fault.code == "disk_full":
                return Message("it could not be kept, so nothing changed ({why}): free some space and ask again",
                               why=fault.message)
            return Message("it could not be kept, so nothing changed ({why}): put it right and ask again",
                           why=faults.plain(error))
        return edit

    def applied(self) -> list[Edit]:
        """The edits that hold, as a checkpoint remembers them."""
        return self.edits[: self.applied_count]


def follow(trainer: Trainer, step: int) -> None:
    """Let every edit that holds from `step` on take effect, each after an event that says so."""
    live_edits = trainer.live_edits
    for edit in live_edits.due(step):
        if edit["step"] == step:  # an earlier one was told of by the attempt that made the steps after it
            trainer.events.add("control", id=edit["id"], control="edit", result="done", step=step,
                               config=edit["config"], message=edits.words(live_edits.config, edit))
    trainer.apply(live_edits.config)


def serve(trainer: Trainer, request: Request, step: int) -> None:
    """Carry out an `edit` request after `step` steps."""
    live_edits = trainer.live_edits
    answer = trainer.distributed.from_main(lambda: live_edits.keep(request, step))
    if isinstance(answer, str):
        trainer.controls.answer(request, "refused", answer)
        return
    note = None
    if answer["step"] > step:
        note = Message("from step {step} on, where the edit before it holds again", step=answer["step"])
    trainer.controls.accept(request, note)
    live_edits.edits = [*live_edits.edits, answer]
    follow(trainer, step)
    trainer.controls.drop(request)
