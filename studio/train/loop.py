"""Trains one run: build, loop, end.

    python -m studio.train.loop RUN_FOLDER, several ranks through studio.launch.ranks; on several machines through
    accelerate launch --config_file RUN/launch.yaml -m ...
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

from studio import storage
from studio.folders import events as events_
from studio.folders.events import EventWriter, trace
from studio.folders.runs import LOST, Run
from studio.messages import Message, listed
from studio.storage import faults
from studio.train import control, live_edits, track
from studio.train.build import Trainer, build
from studio.train.checkpoints import CannotResume, Unsaved
from studio.train.control import Controls, Request
from studio.train.errors import Diverged, RunError, explain
from studio.train.parallel.distributed import Distributed, lost_peer, peak_memory
from studio.train.step import Progress, report, take_step

QUICK = 15.0  # seconds of drawing that a stop still waits for
ENDS = {"cancel": "cancelled", "stop": "stopped", "pause": "paused", "terminate": "terminated"}  # by what was asked
TOLD = {"terminated": "paused"}  # to a person, an end by the machine is a pause
EXIT_CODES = {"finished": 0, "stopped": 0, "paused": 0, "cancelled": 0, "failed": 1, "diverged": 1, "terminated": 143,
              "lost": 1}


class EndRequested(Exception):
    """Somebody asked to end before the first step."""


def train(run: Run, *, supervised: bool = True) -> str:
    """Live through one attempt in this process; returns how it ended (a key of EXIT_CODES).

    With `supervised`, the process leaves as soon as the run's supervisor is gone. Every orderly end, and every error,
    is an `end` event; a traceback goes to stderr (train.log) only. "lost" has none: another process of the run died.
    """
    began = time.time()
    if supervised:
        control.leave_with_supervisor(run)
    main = int(os.environ.get("RANK", "0")) == 0
    lock = control.take_lock(run) if main else None
    events = EventWriter(run.events_file) if main else control.NoEvents()
    progress = Progress()
    try:
        return _attempt(run, events, began, progress)
    except Exception as error:
        if lost_peer(error):  # its supervisor knows why, this process does not
            print(f"{LOST}: {str(error).strip().splitlines()[0][:200]}", file=sys.stderr)
            return "lost"
        trace()
        result = "diverged" if isinstance(error, Diverged) else "failed"
        _end(events, result, progress.step, explain(error, run))
        return result
    finally:
        _close(events)
        if lock is not None:
            lock.release()


def _attempt(run: Run, events: EventWriter, began: float, progress: Progress) -> str:
    """Build, resume, train and say how it ended; returns that, a key of EXIT_CODES."""
    config = run.created_config()
    number = _attempt_number(run, began)
    distributed = Distributed(config)
    try:
        frozen = run.rows()
        rows = [row for row in frozen if row.get("split", "train") == "train"]
        held_out = [row for row in frozen if row.get("split", "train") != "train"]
        events.add("attempt", attempt=number.number, total_steps=run.config().train.max_steps, pictures=len(rows),
                   **distributed.facts())
        if distributed.is_main:
            controls = Controls(run, events, number.began, number.number)
            trackers = track.make(run, config, number.number, events)
        else:
            controls = control.NoControls()
            trackers = track.NoTrackers()
        controls.listen()
        try:
            trainer = build(run, config, rows, held_out, distributed, events, controls, check=lambda: _check(controls))
            _resume(trainer, progress, first=number.number == 1, checkpoint=run.record().get("resume_from"))
            result = _fit(trainer, progress)
        except EndRequested:
            result = _leave_early(controls)
        finally:
            trackers.close(min(track.CLOSING_SECONDS, max(0.5, controls.seconds_left() - 1.0)))
        controls.close(result)
        _end(events, TOLD.get(result, result), progress.step)
        distributed.barrier()  # for rank 0, which has the last word
        return result
    finally:
        distributed.close()


class _Number(NamedTuple):
    number: int
    began: float


def _attempt_number(run: Run, began: float) -> _Number:
    """This attempt's number and start, as the supervisor wrote them; counted from the events when there is none."""
    process = storage.read_json(run.process_file)
    if process:
        return _Number(int(process["attempt"]), float(process["began"]))
    earlier, _ = events_.read(run.events_file)
    return _Number(1 + [event["kind"] for event in earlier].count("attempt"), began)


def _resume(trainer: Trainer, progress: Progress, *, first: bool, checkpoint: str | None) -> None:
    """Continue from the checkpoint that was asked for, or the newest good one, or begin at step 0."""
    manager = trainer.manager
    path = trainer.distributed.from_main(lambda: _checkpoint_of(trainer, checkpoint))
    if isinstance(path, CannotResume):
        raise path
    if path is not None:
        progress.step, differences = trainer.load(path)
        if checkpoint and trainer.distributed.is_main:
            manager.drop_later()
        origin = manager.origin(path)
        _tell_of_resume(trainer, path, origin, differences)
        if origin and first:
            manager.adopt(path)
    elif not first:
        note = Message("no checkpoint was saved yet")
        if manager.damaged:
            note = Message("no checkpoint is whole any more")
        trainer.events.add("resumed", from_step=0, checkpoint=None, exact=True, note=note)


def _checkpoint_of(trainer: Trainer, name: str | None) -> Path | CannotResume | None:
    """The checkpoint to continue from, or why there is none that may be; the ranks all learn it from rank 0."""
    try:
        if name:
            return trainer.manager.named(name)
        return trainer.manager.find()
    except CannotResume as error:
        return error


def _tell_of_resume(trainer: Trainer, path: Path, origin: str | None, differences: list[str]) -> None:
    """The `resumed` event: where from, and what keeps the continuation from being bit-identical, each thing once."""
    if not trainer.distributed.exact:
        differences = [*differences, Message("this GPU's kernels may add in another order each time, unless "
                                             "compute.deterministic is on")]
    notes = differences
    if origin:
        notes = [origin, *(difference for difference in differences if difference not in origin)]
    trainer.events.add("resumed", from_step=trainer.manager.saved, checkpoint=path.name, exact=not differences,
                       note=listed(notes) or None)


def _fit(trainer: Trainer, progress: Progress) -> str:
    """All updates that are left; returns how it ended."""
    live_edits.follow(trainer, progress.step)
    if progress.step == 0:
        trainer.generate_previews(0)
        trainer.validate(0)
    if progress.step >= trainer.total_steps:
        return _finish(trainer, progress)
    trainer.events.phase("training", progress.step, trainer.total_steps, "steps")
    for update, global_batch in trainer.global_batches(progress.step):
        take_step(trainer, update, global_batch, progress)
        progress.step = update + 1
        asked = trainer.distributed.broadcast_object(trainer.controls.poll())
        result = _boundary(trainer, progress, asked)
        if result is not None:
            return result
        if progress.step >= trainer.total_steps:
            return _finish(trainer, progress)
    raise AssertionError("the global batches never end")


def _boundary(trainer: Trainer, progress: Progress, asked: list[Request]) -> str | None:
    """What is due after a step: pictures, a checkpoint, requests. Returns the result when the trainer should leave."""
    step = progress.step
    asked = _without_late_pauses(trainer, step, asked)
    leaving = control.strongest(asked)
    if leaving is None:
        busy = _do_what_is_due(trainer, progress)
        live_edits.follow(trainer, step)
        for request in asked:
            _serve(trainer, progress, request)
        if busy or asked:
            trainer.events.phase("training", step, trainer.total_steps, "steps")
        return None
    for request in asked:
        if request is not leaving:
            trainer.controls.answer(request, "refused", Message("the run is leaving ({kind})", kind=leaving.kind))
    trainer.controls.accept(leaving, leaving.args.get("message"))
    return _leave(trainer, progress, leaving)


def _do_what_is_due(trainer: Trainer, progress: Progress) -> bool:
    """Draw, measure and save, each where its time has come; returns whether anything came of it."""
    busy = False
    if trainer.previews_due(progress.step):
        busy = _generate_previews(trainer, progress)
    if trainer.validation_due(progress.step):
        report(trainer, progress, keep=0)
        busy = trainer.validate(progress.step) or busy
    if trainer.save_due(progress.step):
        busy = _save(trainer, progress) or busy
    return busy


def _without_late_pauses(trainer: Trainer, step: int, asked: list[Request]) -> list[Request]:
    """What is asked, but for pauses for others after the last step: there is nothing left to go on with."""
    if step < trainer.total_steps:
        return asked
    rest: list[Request] = []
    for request in asked:
        if request.kind == "pause" and request.args.get("why"):
            trainer.controls.answer(request, "refused", Message("all its steps are made, so it finishes"))
        else:
            rest.append(request)
    return rest


def _generate_previews(trainer: Trainer, progress: Progress, prompt: str | None = None) -> bool:
    """Generate the previews, or one of the prompt asked for, after all steps were told of; False when it failed."""
    report(trainer, progress, keep=0)
    return trainer.generate_previews(progress.step, prompt)


def _save(trainer: Trainer, progress: Progress) -> bool:
    """Save a checkpoint after all steps were told of; False when it failed."""
    report(trainer, progress, keep=0)
    return trainer.save(progress.step)


def _serve(trainer: Trainer, progress: Progress, request: Request) -> None:
    """Carry out "save", "sample" or "edit"."""
    if request.kind == "edit":
        live_edits.serve(trainer, request, progress.step)
        return
    trainer.controls.accept(request)
    if request.kind == "save":
        done = _save(trainer, progress)
        fault = trainer.manager.error
    else:
        done = _generate_previews(trainer, progress, request.args.get("prompt") or None)
        fault = Message("see the warning")
    if done:
        trainer.controls.answer(request, "done")
    else:
        trainer.controls.answer(request, "refused", fault)


def _leave(trainer: Trainer, progress: Progress, request: Request) -> str | None:
    """End as asked; None when the run goes on because its weights could not be saved."""
    step = progress.step
    if request.kind == "cancel":
        trainer.controls.answer(request, "done")
        return "cancelled"
    if request.kind == "terminate":
        return _terminate(trainer, progress)
    if not _save(trainer, progress):
        message = Message("not saved, so the run goes on ({why}): put it right, or cancel", why=trainer.manager.error)
        fault = faults.told(trainer.manager.error)
        if fault and fault.code == "disk_full":
            message = Message("not saved, so the run goes on ({why}): free some space, or cancel",
                              why=trainer.manager.error)
        trainer.controls.answer(request, "refused", message)
        trainer.events.phase("training", step, trainer.total_steps, "steps")
        return None
    if request.kind == "stop" and trainer.distributed.broadcast_object(trainer.previews.seconds) < QUICK:
        _generate_previews(trainer, progress)
    trainer.controls.answer(request, "done", request.args.get("message"))
    return ENDS[request.kind]


def _terminate(trainer: Trainer, progress: Progress) -> str:
    """SIGTERM: save when the time that is left allows it, then leave to be resumed."""
    enough = trainer.distributed.broadcast_object(trainer.controls.seconds_left() > 1.0 + 1.5 * trainer.manager.seconds)
    if enough and _save(trainer, progress):
        message = Message("The machine asked the training to end; step {step} was saved. Resume continues "
                          "from there.", step=progress.step)
    else:
        message = Message("The machine asked the training to end; the last checkpoint is that of step "
                          "{step}. Resume continues from there.", step=trainer.manager.saved)
    trainer.events.warning("terminated", message)
    return "terminated"


def _finish(trainer: Trainer, progress: Progress) -> str:
    """The last checkpoint, unless it is there already: the pictures of the last step came before it."""
    if not _save(trainer, progress):
        raise Unsaved(trainer.manager.error)
    return "finished"


def _check(controls: Controls) -> None:
    """Leave while the run is prepared, when asked to. Of several ranks rank 0 does; the supervisor ends the others."""
    if controls.leaving():
        raise EndRequested


def _leave_early(controls: Controls) -> str:
    """Answer who asked to end before the first step; returns how it ended."""
    leaving = control.strongest(controls.poll())
    assert leaving is not None  # `_check` saw it
    message = leaving.args.get("message")
    controls.accept(leaving, message)
    controls.answer(leaving, "done", message or Message("before the first step, so there was nothing to save"))
    return ENDS[leaving.kind]


def _end(events: EventWriter, result: str, step: int, error: RunError | None = None) -> None:
    events.add("end", result=result, step=step, error=error, peak_memory_bytes=peak_memory())


def _close(events: EventWriter) -> None:
    """The last flush. Where even the room that is held is used up the supervisor says that the disk is full."""
    try:
        events.close()
    except OSError:
        trace()


def main(argv: list[str]) -> int:
    """The command line: one run folder. Returns the exit code."""
    if len(argv) != 1 or not (Path(argv[0]) / "run.json").is_file():
        print("usage: python -m studio.train.loop RUN_FOLDER  (a folder with a run.json)", file=sys.stderr)
        return 2
    return EXIT_CODES[train(Run(Path(argv[0]).resolve()))]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
