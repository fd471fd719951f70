"""Trains one run: build, loop, end.

    python -m studio.train.loop RUN_FOLDER, several ranks through accelerate launch --config_file RUN/launch.yaml -m ...
"""

from __future__ import annotations

import math
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from studio import storage
from studio.folders import events as events_
from studio.folders.events import EventWriter, trace
from studio.folders.runs import LOST, Run
from studio.messages import Message, listed
from studio.storage import faults
from studio.train import control, live_edits, track
from studio.train.batches.feed import Batch
from studio.train.batches.sampler import Sample, key, share
from studio.train.build import Trainer, build
from studio.train.checkpoints import CannotResume, Unsaved
from studio.train.control import Controls, Request
from studio.train.errors import Diverged, explain
from studio.train.parallel.distributed import Host, lost_peer, peak_memory

PATIENCE = 3  # updates in a row that may be non-finite
QUICK = 15.0  # seconds of drawing that a stop still waits for
EXIT_CODES = {"finished": 0, "stopped": 0, "paused": 0, "cancelled": 0, "failed": 1, "diverged": 1, "terminated": 143,
              "lost": 1}


class Leave(Exception):
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
    events = EventWriter(run.events_file) if main else control.Silence()
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


@dataclass
class Progress:
    """How far this attempt is: the last finished step, and the checkpoint it could be continued from."""

    step: int = 0
    bad: int = 0  # non-finite updates in a row
    waiting: list[dict[str, Any]] = field(default_factory=list)  # steps whose numbers are still on the device


def _attempt(run: Run, events: EventWriter, began: float, progress: Progress) -> str:
    config = run.created_config()
    number = _attempt_number(run, began)
    host = Host(config)
    try:
        frozen = run.rows()
        rows = [row for row in frozen if row.get("split", "train") == "train"]
        held = [row for row in frozen if row.get("split", "train") != "train"]
        events.add("attempt", attempt=number.number, total_steps=run.config().train.max_steps, pictures=len(rows),
                   **host.facts())
        controls = Controls(run, events, number.began, number.number) if host.main else control.NoControls()
        trackers = track.make(run, config, number.number, events) if host.main else track.NoTrackers()
        controls.listen()
        try:
            trainer = build(run, config, rows, held, host, events, controls, check=lambda: _check(controls))
            _resume(trainer, progress, first=number.number == 1, checkpoint=run.record().get("resume_from"))
            result = _fit(trainer, progress)
        except Leave:
            result = _leave_early(controls, progress)
        finally:
            trackers.close(min(track.CLOSING_SECONDS, max(0.5, controls.seconds_left() - 1.0)))
        controls.close(result)
        _end(events, "paused" if result == "terminated" else result, progress.step)
        host.wait()  # for rank 0, which has the last word
        return result
    finally:
        host.close()


@dataclass(frozen=True)
class _Number:
    number: int
    began: float


def _attempt_number(run: Run, began: float) -> _Number:
    """This attempt's number and start, as the supervisor wrote them; counted from the events when there is none."""
    process = storage.read_json(run.process_file)
    if process:
        return _Number(int(process["attempt"]), float(process["began"]))
    earlier, _ = events_.read(run.events_file)
    return _Number(1 + sum(e["kind"] == "attempt" for e in earlier), began)


def _resume(trainer: Trainer, progress: Progress, *, first: bool, checkpoint: str | None) -> None:
    """Continue from the checkpoint that was asked for, or the newest good one, or begin at step 0."""
    host = trainer.host
    found = host.tell(_findings(trainer, checkpoint) if host.main else None)
    if isinstance(found, CannotResume):
        raise found
    if found is None:
        if not first:
            note = (Message("no checkpoint is whole any more") if trainer.keeper.damaged else
                    Message("no checkpoint was saved yet"))
            trainer.events.add("resumed", from_step=0, checkpoint=None, exact=True, note=note)
        return
    progress.step, differences = trainer.load(Path(found))
    if checkpoint and host.main:
        trainer.keeper.drop_later()
    if not host.exact:
        differences = [*differences, Message("this GPU's kernels may add in another order each time, unless "
                                             "compute.deterministic is on")]
    origin = trainer.keeper.origin(Path(found))
    further = [words for words in differences if words not in (origin or "")]
    trainer.events.add("resumed", from_step=progress.step, checkpoint=Path(found).name, exact=not differences,
                       note=listed([origin, *further] if origin else further) or None)
    if origin and first:
        trainer.keeper.adopt(Path(found))


def _findings(trainer: Trainer, checkpoint: str | None) -> str | CannotResume | None:
    """The checkpoint to continue from, or why there is none that may be; the ranks all learn it from rank 0."""
    try:
        found = trainer.keeper.named(checkpoint) if checkpoint else trainer.keeper.find()
    except CannotResume as error:
        return error
    return str(found) if found else None


def _fit(trainer: Trainer, progress: Progress) -> str:
    """All updates that are left; returns how it ended."""
    live_edits.follow(trainer, progress.step)
    if progress.step == 0:
        trainer.draw(0)
        trainer.validate(0)
    if progress.step >= trainer.total_steps:
        return _finish(trainer, progress)
    trainer.events.phase("training", progress.step, trainer.total_steps, "steps")
    for update, window in trainer.windows(progress.step):
        take_step(trainer, update, window, progress)
        progress.step = update + 1
        asked = trainer.host.tell(trainer.controls.poll())
        if left := _boundary(trainer, progress, asked):
            return left
        if progress.step >= trainer.total_steps:
            return _finish(trainer, progress)
    raise AssertionError("the windows never end")


def take_step(trainer: Trainer, update: int, window: list[Sample], progress: Progress) -> None:
    """One update: the mean loss over the window's pictures, its gradient, the step, the average, the event."""
    began, host = time.perf_counter(), trainer.host
    shares = share(window, trainer.batch_size, host.rank, host.ranks)
    # DDP divides by the ranks and nothing divides by the micro-batches, so a picture weighs ranks / window.
    scale = host.ranks / len(window)
    total, told = torch.zeros((), device=host.device), []
    for index, samples in enumerate(shares):
        fed = samples or window[:1]  # a rank without pictures takes part with weight 0
        batch = trainer.feed(fed)
        torch.manual_seed(key(trainer.draws.seed, "dropout", fed[0].epoch, fed[0].position))
        last = index == len(shares) - 1
        with trainer.engine.micro(last):
            batch = _refined(trainer, batch)
            predicted = trainer.model(batch.x_t, batch.time, batch.cond, batch.captions)
            errors = (predicted.float() - batch.target).square().mean(dim=(1, 2, 3)) * batch.weight
            loss = errors.sum() * (scale if samples else 0.0)
            total += loss.detach()
            if last:
                trainer.update.begin(update, total)
            trainer.engine.backward(loss)
        if samples:
            told.append((samples, errors.detach()))
    loss = host.mean(total)
    norm = trainer.update(update, loss)
    trainer.ema.update()
    progress.waiting.append({"step": update + 1, "loss": loss, "lr": trainer.update.rate(update), "grad_norm": norm,
                             "pictures": len(window), "seconds": began, "told": told})
    report(trainer, progress, keep=0 if host.device.type == "cpu" else 1)


def _refined(trainer: Trainer, batch: Batch) -> Batch:
    """The batch after the objective saw what the denoiser makes of it (DREAM), or as it is."""
    refine = trainer.feed.objective.refine
    if refine is None:
        return batch
    with torch.no_grad():
        predicted = trainer.model(batch.x_t, batch.time, batch.cond, batch.captions).float()
        x_t, target = refine(batch.x_t, batch.target, batch.time, predicted)
    return batch._replace(x_t=x_t, target=target)


def report(trainer: Trainer, progress: Progress, keep: int) -> None:
    """Write the events of all but the `keep` newest steps: a GPU works on the next step while the last one is read."""
    while len(progress.waiting) > keep:
        event = progress.waiting.pop(0)
        loss, norm = event["loss"].item(), event["grad_norm"].item()
        for samples, errors in event.pop("told"):
            trainer.tally.add(samples, errors)
        now = time.perf_counter()
        event["seconds"], trainer.last_report = now - max(event["seconds"], trainer.last_report), now
        trainer.events.step(**{**event, "loss": loss, "grad_norm": norm})
        # fp16's gradient scaler looks for its scale by overflowing: only a non-finite loss counts there.
        finite = math.isfinite(loss) and (trainer.update.scaler is not None or math.isfinite(norm))
        progress.bad = 0 if finite else progress.bad + 1
        if not finite:
            trainer.events.warning("skipped_update", _skipped(trainer, event["step"], loss))
        if progress.bad >= PATIENCE:
            raise Diverged(Message("the loss or its gradient was not finite {times} times in a row, last at step "
                                   "{step}", times=PATIENCE, step=event["step"]))


def _skipped(trainer: Trainer, step: int, loss: float) -> Message:
    """What is said of a step whose loss, or else its gradient, was not finite."""
    if not math.isfinite(loss):
        return Message("Step {step} was skipped: its {what} was not finite.", step=step, what=Message("loss"))
    if not trainer.update.partial:
        return Message("Step {step} was skipped: its {what} was not finite.", step=step, what=Message("gradient"))
    return Message("Step {step} was skipped for the weights whose gradient that is: its {what} was not finite.",
                   step=step, what=Message("gradient"))


def _boundary(trainer: Trainer, progress: Progress, asked: list[Request]) -> str | None:
    """What is due after a step: pictures, a checkpoint, requests. Returns the result when the trainer should leave."""
    step, busy = progress.step, False
    asked = _without_late_pauses(trainer, step, asked)
    leaving = min((r for r in asked if r.kind in control.LEAVING), key=lambda r: control.LEAVING.index(r.kind),
                  default=None)
    if leaving is None:
        if trainer.sample_due(step):
            busy = _draw(trainer, progress)
        if trainer.validation_due(step):
            report(trainer, progress, keep=0)
            busy = trainer.validate(step) or busy
        if trainer.save_due(step):
            busy = _save(trainer, progress) or busy
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


def _without_late_pauses(trainer: Trainer, step: int, asked: list[Request]) -> list[Request]:
    """What is asked, but for pauses for others after the last step: there is nothing left to go on with."""
    late = [r for r in asked if r.kind == "pause" and r.args.get("why")] if step >= trainer.total_steps else []
    for request in late:
        trainer.controls.answer(request, "refused", Message("all its steps are made, so it finishes"))
    return [r for r in asked if r not in late]


def _draw(trainer: Trainer, progress: Progress, prompt: str | None = None) -> bool:
    report(trainer, progress, keep=0)
    return trainer.draw(progress.step, prompt)


def _save(trainer: Trainer, progress: Progress) -> bool:
    report(trainer, progress, keep=0)
    return trainer.save(progress.step)


def _serve(trainer: Trainer, progress: Progress, request: Request) -> None:
    """Carry out "save", "sample" or "edit"."""
    if request.kind == "edit":
        live_edits.serve(trainer, request, progress.step)
        return
    trainer.controls.accept(request)
    if request.kind == "save":
        done, fault = _save(trainer, progress), trainer.keeper.error
    else:
        done, fault = _draw(trainer, progress, request.args.get("prompt") or None), Message("see the warning")
    trainer.controls.answer(request, "done" if done else "refused", None if done else fault)


def _leave(trainer: Trainer, progress: Progress, request: Request) -> str | None:
    """End as asked; None when the run goes on because its weights could not be saved."""
    step = progress.step
    if request.kind == "cancel":
        trainer.controls.answer(request, "done")
        return "cancelled"
    if request.kind == "terminate":
        return _terminate(trainer, progress)
    if not _save(trainer, progress):
        message = Message("not saved, so the run goes on ({why}): put it right, or cancel", why=trainer.keeper.error)
        if (fault := faults.told(trainer.keeper.error)) and fault.code == "disk_full":
            message = Message("not saved, so the run goes on ({why}): free some space, or cancel",
                              why=trainer.keeper.error)
        trainer.controls.answer(request, "refused", message)
        trainer.events.phase("training", step, trainer.total_steps, "steps")
        return None
    if request.kind == "stop" and trainer.host.tell(trainer.sampler.seconds) < QUICK:
        _draw(trainer, progress)
    trainer.controls.answer(request, "done", request.args.get("message"))
    return {"stop": "stopped", "pause": "paused"}[request.kind]


def _terminate(trainer: Trainer, progress: Progress) -> str:
    """SIGTERM: save when the time that is left allows it, then leave to be resumed."""
    enough = trainer.host.tell(trainer.controls.seconds_left() > 1.0 + 1.5 * trainer.keeper.seconds)
    saved = enough and _save(trainer, progress)
    trainer.events.warning("terminated",
                           Message("The machine asked the training to end; step {step} was saved. Resume continues "
                                   "from there.", step=progress.step) if saved else
                           Message("The machine asked the training to end; the last checkpoint is that of step "
                                   "{step}. Resume continues from there.", step=trainer.keeper.saved))
    return "terminated"


def _finish(trainer: Trainer, progress: Progress) -> str:
    """The last checkpoint, unless it is there already: the pictures of the last step came before it."""
    if not _save(trainer, progress):
        raise Unsaved(trainer.keeper.error)
    return "finished"


def _check(controls: Controls) -> None:
    """Leave while the run is prepared, when asked to. Of several ranks rank 0 does; the supervisor ends the others."""
    if controls.leaving():
        raise Leave


def _leave_early(controls: Controls, progress: Progress) -> str:
    leaving = [r for r in controls.poll() if r.kind in control.LEAVING]
    first = min(leaving, key=lambda r: control.LEAVING.index(r.kind))
    controls.accept(first, first.args.get("message"))
    controls.answer(first, "done",
                    first.args.get("message") or Message("before the first step, so there was nothing to save"))
    return {"cancel": "cancelled", "stop": "stopped", "pause": "paused", "terminate": "terminated"}[first.kind]


def _end(events: EventWriter, result: str, step: int, error: dict[str, Any] | None = None) -> None:
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
