"""What is asked of a running trainer (or job): requests in `control/`, SIGTERM, and the supervisor's death."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from studio import storage
from studio.folders.events import EventWriter
from studio.folders.requests import Args
from studio.folders.work import Work
from studio.messages import JsonObject, Message, word

LEAVING = ("cancel", "stop", "pause", "terminate")  # the strongest first; "terminate" is SIGTERM
SignalHandler = Callable[[int, FrameType | None], object] | int | None  # as the signal module has it
GRACE = 8.0  # seconds from SIGTERM until this process should be gone


@dataclass
class Request:
    """One thing asked for. SIGTERM is a request too, without an id and without a file."""

    kind: str
    id: str = ""
    args: Args = field(default_factory=lambda: Args())  # as somebody asked: a message, a prompt, a partial config
    path: Path | None = None


class Controls:
    """Rank 0's ear. Requests that were meant for an earlier attempt are refused when first seen; an edit among them
    that is kept already only loses its file, since it is told of at its step."""

    def __init__(self, run: Work, events: EventWriter, began: float, attempt: int | None = None):
        self.run = run
        self.events = events
        self._sigterm_at: float | None = None  # when SIGTERM came, monotonic
        self._before: SignalHandler = signal.SIG_DFL
        self._answered_ids: set[str] = set()
        if attempt is None:
            attempt = int(run.process()["attempt"])
        earlier = run.earlier_requests(attempt, began)
        kept_edits = run.kept_requests() if earlier else set()
        for request in self._waiting():
            if request.id in kept_edits:
                self.drop(request)
            elif request.id in earlier:
                self.answer(request, "refused", Message("asked before this attempt began"))

    def listen(self) -> None:
        """Take SIGTERM as a request from now on; a second one changes nothing."""
        self._before = signal.signal(signal.SIGTERM, self._on_sigterm)

    def poll(self) -> list[Request]:
        """Everything asked for and not yet answered, oldest first."""
        if self._sigterm_at is None:
            return self._waiting()
        return [Request("terminate"), *self._waiting()]

    def leaving(self) -> bool:
        """Whether somebody wants the trainer to end."""
        return strongest(self.poll()) is not None

    def seconds_left(self) -> float:
        """How much of the grace after SIGTERM is left; endless when there was none."""
        if self._sigterm_at is None:
            return float("inf")
        return GRACE - (time.monotonic() - self._sigterm_at)

    def accept(self, request: Request, message: str | None = None) -> None:
        """Say that the request was seen and will be carried out."""
        if request.path is not None:
            self.events.add("control", id=request.id, control=request.kind, result="accepted", message=message)

    def answer(self, request: Request, result: str, message: str | None = None) -> None:
        """The last word on a request ("done" or "refused"); its file goes."""
        if request.path is not None:
            self.events.add("control", id=request.id, control=request.kind, result=result, message=message)
            self.drop(request)

    def drop(self, request: Request) -> None:
        """The request is done with. A file that cannot be removed is of no harm: it is of this attempt alone."""
        if request.path is not None:
            self._answered_ids.add(request.id)
            storage.clear(request.path)

    def close(self, result: str) -> None:
        """Refuse what came too late, and hear no more signals."""
        signal.signal(signal.SIGTERM, self._before)
        for request in self._waiting():
            self.answer(request, "refused", Message("the {what} has ended ({state})", what=word(self.run.word),
                                                    state=word(result)))

    def _waiting(self) -> list[Request]:
        """The requests that lie in `control/`, oldest first, without those that are done with."""
        return [Request(kind, id_, args, path) for id_, kind, args, path in self.run.requests()
                if id_[:20].isdigit() and id_ not in self._answered_ids]

    def _on_sigterm(self, *_: object) -> None:
        if self._sigterm_at is None:
            self._sigterm_at = time.monotonic()


class NoControls(Controls):
    """The other ranks: rank 0 tells them, and SIGTERM is for rank 0."""

    def __init__(self) -> None:
        self._sigterm_at = None
        self._before = signal.SIG_DFL

    def poll(self) -> list[Request]:
        """Nothing is asked here."""
        return []

    def accept(self, request: Request, message: str | None = None) -> None:
        """Rank 0 answers."""

    def answer(self, request: Request, result: str, message: str | None = None) -> None:
        """Rank 0 answers."""

    def drop(self, request: Request) -> None:
        """Rank 0 does."""

    def close(self, result: str) -> None:
        """Hear no more signals."""
        signal.signal(signal.SIGTERM, self._before)


class NoEvents(EventWriter):
    """The other ranks' events: none."""

    def __init__(self) -> None:
        pass

    def add(self, kind: str, **fields: object) -> JsonObject:
        """Write nothing."""
        return {}

    def sync(self) -> None:
        """Nothing to flush."""

    def close(self) -> None:
        """Nothing to close."""


def strongest(requests: list[Request]) -> Request | None:
    """The one of the requests by which the trainer ends; None when nobody wants it to."""
    for kind in LEAVING:
        for request in requests:
            if request.kind == kind:
                return request
    return None


def leave_with_supervisor(run: Work) -> None:
    """Watch from a thread and leave the process at once when the supervisor died, so that no trainer is left over."""

    def watch() -> None:
        missed = 0
        while missed < 2:
            time.sleep(1.0)
            missed = 0 if storage.is_locked(run.lock.path, unknown=True) else missed + 1
        os.write(2, b"the supervisor is gone: leaving\n")
        os._exit(1)

    threading.Thread(target=watch, name="supervisor-watch", daemon=True).start()


def take_lock(run: Work) -> storage.Lock:
    """The lock of whoever works on this run or job. Raises RuntimeError when another process holds it."""
    lock = run.worker_lock
    if not lock.acquire():
        raise RuntimeError(f"another process is already working on this {run.word}")
    return lock
