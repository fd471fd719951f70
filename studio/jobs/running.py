"""What a kind of job is given: its arguments, where results go, and the ear for a cancel."""

from __future__ import annotations

import re
import time
from pathlib import Path

from studio import secrets, storage
from studio.datasets import NotFound
from studio.errors import StudioError
from studio.families import BaseProblem
from studio.folders.events import EventWriter
from studio.folders.records import ErrorRecord, WorkRecord
from studio.folders.work import Job, why_ended
from studio.messages import Message, line
from studio.storage import faults
from studio.train.control import Controls

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
EVERY = 0.25  # seconds between two events of progress


class Cancelled(Exception):
    """Somebody asked for the end ("cancelled"), or the machine did ("interrupted"); `why` is the error
    to bear where the studio itself asked."""

    def __init__(self, result: str, why: ErrorRecord | None = None):
        super().__init__(result)
        self.result = result
        self.why = why


class JobError(StudioError):
    """A job that cannot be done."""

    code = "job"


class RunningJob:
    """One attempt at a job, as its kind's `main` sees it."""

    def __init__(self, folder: Job, record: WorkRecord, events: EventWriter, controls: Controls):
        self.folder = folder
        self.events = events
        self.controls = controls
        self.id = folder.id
        self.home = folder.home
        self.owner = record["owner"]
        self.args = record["args"]
        self.light: bool = record["light"]
        self._told = ("", 0.0)  # the phase of the last event of progress, and when that was

    def check(self) -> None:
        """Call between steps of at most some seconds. Raises Cancelled when the job is to end."""
        for request in self.controls.poll():
            why = why_ended(request.args)
            if request.kind == "terminate":
                raise Cancelled("interrupted", why)
            if request.kind == "cancel":
                message = request.args.get("message")
                self.controls.accept(request, message)
                self.controls.answer(request, "done", message)
            raise Cancelled("cancelled", why)

    def phase(self, phase: str, done: int | None = None, total: int | None = None, unit: str | None = None) -> None:
        """Say what is being done and how far it is, at most four times a second and always the last of a phase; then
        as `check`."""
        self.check()
        now = time.monotonic()
        if phase != self._told[0] or done == total or now - self._told[1] >= EVERY:
            self._told = phase, now
            self.events.phase(phase, done, total, unit)

    def warn(self, code: str, message: str) -> None:
        """Something a person should know that does not end the job."""
        self.events.warning(code, message)

    def warn_of_retry(self, why: str) -> None:
        """Say that an upload failed and is tried again."""
        self.warn("upload_retried", Message("The upload is tried again: {why}", why=why))

    def result(self, name: str, data: bytes | Path, media_type: str, **facts: object) -> None:
        """Keep `data` (or the finished file it names, which is moved) as the result file `name`; `facts` are told with
        it. It is complete before it is listed."""
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a result")
        path = self.folder.results / name
        if isinstance(data, Path):
            storage.publish(data, path)
        else:
            storage.write_bytes(path, data)
        self.events.add("result", name=name, media_type=media_type, bytes=path.stat().st_size, facts=facts)


def explain(error: Exception) -> ErrorRecord:
    """{code, message, hint, evidence} of the exception that ended a job; the traceback is in job.log."""
    code, message, hint = _told(error, line(secrets.redact(str(error)), 500) or type(error).__name__)
    evidence = secrets.redact(f"{type(error).__name__}: {str(error)[:500]}")
    return {"code": code, "message": message, "hint": hint, "evidence": evidence}


def _told(error: Exception, sentence: str) -> tuple[str, str, str]:
    """The code, the message and the hint; `sentence` is what the exception says itself."""
    if isinstance(error, JobError):
        return error.code, sentence, error.hint
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower() or "can't allocate" in str(error):
        return ("out_of_memory", Message("The job ran out of memory."),
                Message("Close other programs or choose a smaller model, then start it again."))
    if isinstance(error, BaseProblem):
        return "base_model", sentence, Message("Choose another model, or put its files right.")
    if isinstance(error, NotFound):
        return "gone", sentence, Message("It may have been deleted meanwhile.")
    if isinstance(error, storage.Corrupt):
        return "damaged_file", sentence, Message("Restore the file named here, then start it again.")
    fault = faults.of(error)
    if fault is not None:
        return fault.code, fault.message, Message("{hint} Then start it again.", hint=fault.hint)
    return ("failed", Message("The job stopped on an error: {why}", why=sentence),
            Message("The log has the details."))
