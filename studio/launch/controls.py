"""What a person may ask of a run or a job in which state, and cancelling one that still waits in the queue."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping

from studio.folders import runs
from studio.folders.events import RunHistory
from studio.folders.following import EventReader
from studio.folders.records import ErrorRecord, ExitRecord, ProcessRecord
from studio.folders.runs import Refused, Run
from studio.folders.work import Work, as_json
from studio.messages import Message, word
from studio.storage.spare import Spare

_LIVE = ("stop", "pause", "cancel", "save", "sample", "edit")
_ALLOWED = {"queued": ("cancel",), "starting": ("stop", "pause", "cancel"), "running": _LIVE,
            "stopping": ("stop", "pause", "cancel")}
_ENDINGS = ("stop", "pause", "cancel")
_asking = threading.Lock()  # a person's own ending and one for others must not pass each other


def actions(state: str) -> list[str]:
    """The controls worth offering in a state, resume included."""
    if state in runs.RESUMABLE:
        return ["resume", "edit"]
    if state == "finished":
        return ["edit"]
    if state == "queued":
        return ["cancel", "edit"]
    if state == "stopping":
        return ["cancel"]
    return list(_ALLOWED.get(state, ()))


def ask(run: Work, kind: str, reader: EventReader | None = None, **args: object) -> str:
    """Ask a run to stop, pause, cancel, save or sample, or a job to cancel; returns the id that its `control` event
    will bear.

    Asking twice for the same ending is one request; a queued run is cancelled at once (id ""). An ending that a person
    asks for is theirs: one that was paused for others then does not go on by itself. Raises Refused with what can be
    done instead, ValueError for an unknown kind.
    """
    with _asking:
        if kind in _ENDINGS and run.record().get("held"):
            run.update(by_all_means=True, held=None)
        return _ask(run, kind, reader, args)


def make_way(work: Work, why: str, message: str, hint: str) -> bool:
    """Ask live work to end for a reason of the studio's own: a run pauses, a job ends and keeps what it has made.

    The run's record says why, so that one paused for others (`runs.TURN`) goes on by itself; the worker tells
    `message`, a job also `hint`. False when somebody has asked for an ending already, or nothing lives any more.
    """
    with _asking:
        attempt = work.attempts()[1]
        if not work.alive() or any(kind in _ENDINGS for _, kind, *_ in work.requests()):
            return False
        kind = "cancel"
        if isinstance(work, Run):
            work.update(held={"attempt": attempt, "why": why, "message": message, "hint": hint})
            kind = "pause"
        work.request(kind, why=why, message=message, hint=hint)
        return True


def pause_for_now(run: Run, reader: EventReader) -> None:
    """Pause a live run since this server ends; whether it then goes on by itself stays as it was. Raises Refused."""
    with _asking:
        _ask(run, "pause", reader, {})


def _ask(run: Work, kind: str, reader: EventReader | None, args: Mapping[str, object]) -> str:
    if kind not in run.controls:
        raise ValueError(f"unknown control {kind!r}; there are: {', '.join(run.controls)}")
    state, history = (reader or EventReader()).state(run)
    if state == "queued" and kind == "cancel" and cancel(run):
        return ""
    if kind not in _ALLOWED.get(state, ()):
        raise Refused(_refusal(run, state, kind))
    if kind in _ENDINGS:
        asked = _asked_before(run, history, kind)
        if asked is not None:
            return asked
    return run.request(kind, **args)


def _asked_before(run: Work, history: RunHistory, kind: str) -> str | None:
    """The id of the same ending, where somebody has asked for it: of the first request that is open, else of the last
    one that was accepted."""
    for id_, open_kind, *_ in run.requests():
        if open_kind == kind:
            return id_
    if history.ending != kind:
        return None
    accepted = [id_ for id_, event in list(history.controls.items()) if event.get("control") == kind]
    return accepted[-1] if accepted else None


def cancel(run: Work, error: ErrorRecord | None = None) -> bool:
    """Take a waiting run or job out of the queue; False when a supervisor is there already. With an `error` it has
    failed by that.

    For a moment this process is its supervisor: it holds the lock, and records an attempt that ended as it began.
    """
    lock = run.lock
    if not lock.acquire():
        return False
    try:
        asked, began = run.attempts()
        if began >= asked:
            return False
        now = time.time()
        ended: ExitRecord = {"attempt": asked, "returncode": None, "signal": None, "oom_kill": False,
                             "result": "failed" if error else "cancelled", "error": error, "ended": now}
        begun: ProcessRecord = {"attempt": asked, "pid": os.getpid(), "start_time": None, "boot_id": None, "argv": [],
                                "began": now}
        spare = Spare(run.home)
        # This order: exit.json counts only for the attempt that process.json names, so a cut leaves it in the queue.
        spare.write(run.exit_file, as_json(ended))
        spare.write(run.process_file, as_json(begun))
        run.ended()
        return True
    finally:
        lock.release()


def _refusal(run: Work, state: str, kind: str) -> str:
    what = word(run.word)
    state_word = word(state)
    kind = word(kind)
    if state == "queued":
        return Message("the {what} has not started, so there is nothing to {kind}: cancel it, or let it wait",
                       what=what, kind=kind)
    if state == "starting":
        return Message("the {what} is still starting: ask to {kind} when its first step is done", what=what, kind=kind)
    if state == "stopping":
        return Message("the {what} is stopping already: wait for it to end before you {kind}", what=what, kind=kind)
    if not run.resumable:
        return Message("the {what} has ended ({state}), so there is nothing to {kind}", what=what, state=state_word,
                       kind=kind)
    if state in run.resumable:
        return Message("the {what} has ended ({state}), so there is nothing to {kind}: resume it to train on",
                       what=what, state=state_word, kind=kind)
    return Message("the {what} has ended ({state}), so there is nothing to {kind}: its checkpoints stay as they are",
                   what=what, state=state_word, kind=kind)
