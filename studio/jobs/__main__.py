"""Does one attempt of a job: python -m studio.jobs JOB_FOLDER   (started by the supervisor)"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from pathlib import Path

from studio.folders.events import EventWriter
from studio.folders.records import ErrorRecord
from studio.folders.work import Job
from studio.jobs.running import Cancelled, RunningJob, explain
from studio.train import control

EXIT_CODES = {"finished": 0, "cancelled": 0, "failed": 1, "interrupted": 143}


def work(folder: Job, *, supervised: bool = True) -> str:
    """Live through one attempt in this process. Returns how it ended, a key of EXIT_CODES.

    With `supervised`, the process leaves as soon as the supervisor is gone. Every orderly end, and every error, is an
    `end` event; a traceback goes to stderr (job.log) only.
    """
    if supervised:
        control.leave_with_supervisor(folder)
    lock = control.take_lock(folder)
    events = EventWriter(folder.events_file)
    try:
        process = folder.process()
        events.add("attempt", attempt=process["attempt"])
        controls = control.Controls(folder, events, process["began"])
        controls.listen()
        result, error = _do(folder, events, controls)
        controls.close(result)
        events.end(result, 0, error)
        return result
    finally:
        try:
            events.close()
        except OSError:  # not even the room that is held was left: the supervisor says that the disk is full
            traceback.print_exc()
        lock.release()


def _do(folder: Job, events: EventWriter, controls: control.Controls) -> tuple[str, ErrorRecord | None]:
    """Call the kind's `main`. Returns how it ended, and the error where there was one."""
    record = folder.record()
    try:
        importlib.import_module(f"studio.jobs.{record['kind']}").main(RunningJob(folder, record, events, controls))
    except Cancelled as ended:
        return ended.result, ended.why
    except Exception as problem:
        traceback.print_exc()
        return "failed", explain(problem)
    return "finished", None


def main(argv: list[str]) -> int:
    """The command line: one job folder. Returns the exit status of the attempt."""
    os.nice(5)  # the page and a running training come first
    return EXIT_CODES[work(Job(Path(argv[0]).resolve()))]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
