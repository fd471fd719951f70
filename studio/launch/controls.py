"""What a person may ask of a run or a job in which state, and cancelling one that still waits in the queue."""

from __future__ import annotations

import os
import time
from typing import Any

from studio import runs
from studio.runs import Refused
from studio.storage.spare import Spare
from studio.work import Reader, Work, as_json

_LIVE = ("stop", "pause", "cancel", "save", "sample", "edit")
_ALLOWED = {"queued": ("cancel",), "starting": ("stop", "pause", "cancel"), "running": _LIVE,
            "stopping": ("stop", "pause", "cancel")}
_ENDINGS = ("stop", "pause", "cancel")


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


def ask(run: Work, kind: str, reader: Reader | None = None, **args: Any) -> str:
    """Ask a run to stop, pause, cancel, save or sample, or a job to cancel; returns the id that its `control` event
    will bear.

    Asking twice for the same ending is one request; a queued run is cancelled at once (id ""). Raises Refused with
    what can be done instead, ValueError for an unknown kind.
    """
    if kind not in run.controls:
        raise ValueError(f"unknown control {kind!r}; there are: {', '.join(run.controls)}")
    state, story = (reader or Reader()).state(run)
    if state == "queued" and kind == "cancel" and cancel(run):
        return ""
    if kind not in _ALLOWED.get(state, _LIVE if state == "queued" and kind == "cancel" else ()):
        raise Refused(_refusal(run, state, kind))
    if kind in _ENDINGS:
        waiting = [id_ for id_, open_kind, *_ in run.requests() if open_kind == kind]
        accepted = [id_ for id_, event in list(story.controls.items()) if event.get("control") == kind == story.ending]
        if waiting or accepted:
            return (waiting or accepted[-1:])[0]
    return run.request(kind, **args)


def cancel(run: Work) -> bool:
    """Take a waiting run or job out of the queue; False when a supervisor is there already.

    For a moment this process is its supervisor: it holds the lock, and records an attempt that ended as it began.
    """
    lock = run.lock
    if not lock.acquire():
        return False
    try:
        wanted, began = run.attempts()
        if began >= wanted:
            return False
        now, spare = time.time(), Spare(run.home)
        # This order: exit.json counts only for the attempt that process.json names, so a cut leaves it in the queue.
        spare.write(run.exit_file, as_json({"attempt": wanted, "returncode": None, "signal": None, "oom_kill": False,
                                            "result": "cancelled", "error": None, "ended": now}))
        spare.write(run.process_file, as_json({"attempt": wanted, "pid": os.getpid(), "start_time": None,
                                               "boot_id": None, "argv": [], "began": now}))
        run.ended()
        return True
    finally:
        lock.release()


def _refusal(run: Work, state: str, kind: str) -> str:
    what = f"the {run.word}"
    if state == "queued":
        return f"{what} has not started, so there is nothing to {kind}: cancel it, or let it wait"
    if state == "starting":
        return f"{what} is still starting: ask to {kind} when its first step is done"
    if state == "stopping":
        return f"{what} is stopping already: wait for it to end before you {kind}"
    if not run.resumable:
        return f"{what} has ended ({state}), so there is nothing to {kind}"
    after = "resume it to train on" if state in run.resumable else "its checkpoints stay as they are"
    return f"{what} has ended ({state}), so there is nothing to {kind}: {after}"
