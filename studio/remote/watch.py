"""Stands in for the trainer of a run that trains on a rented machine: python -m studio.remote.watch RUN_FOLDER

To the supervisor, the page and everyone else this process is the trainer: it holds `trainer.lock`, writes the events,
answers what is asked in `control/`, and leaves when the supervisor is gone. It only submits, polls, cancels and tails.
The job outlives it: `remote.json` has the job's handle, by which the next attempt joins it again, and the name under
which it was submitted, by which it is found if nobody lived to keep the handle.
"""

from __future__ import annotations

import argparse
import os
import queue
import signal
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import BinaryIO

from studio import bundle, secrets, storage
from studio.folders import events
from studio.folders.records import ErrorRecord, RemoteRecord
from studio.folders.requests import Args
from studio.folders.runs import EventReader, Run
from studio.folders.work import as_json
from studio.launch import diagnosis
from studio.messages import Message
from studio.remote import relay
from studio.remote.depot import SIGN_IN, RemoteError
from studio.remote.hf_jobs import HfJobs, Status
from studio.remote.job import RESULT
from studio.storage import faults

PLACES = {"hf_jobs": HfJobs}
TICK, POLL, AGAIN = 0.2, 10.0, 5.0  # seconds between looks here, between polls, before a broken line is taken up again
RESULTS = ("finished", "stopped", "paused", "cancelled", "failed", "diverged")


class Detached(Exception):
    """This process ends and the job goes on."""


class RemoteAttempt:
    """One attempt of a run on a rented machine."""

    def __init__(self, run: Run, writer: events.EventWriter, place: HfJobs):
        self.run, self.writer, self.place = run, writer, place
        self.reader = EventReader()
        self.handle: RemoteRecord = {}
        self.told_to_end = False
        self.lines: queue.Queue[str | None] = queue.Queue()
        self.sent: set[str] = set()
        self.polled = 0.0

    def live(self) -> str:
        """From the job's beginning, or from where an earlier attempt left it, to its end; how the run ended."""
        signal.signal(signal.SIGTERM, self._on_signal)
        self._begin()
        self.relay = relay.Relay(self.run, self.writer, self.place.depot(self.handle),
                                 f"{self.place.title}, {self.run.config().compute.flavor}", self.handle["start"])
        if self.relay.origin:
            self.writer.add("resumed", from_step=self.reader.history(self.run).step, checkpoint=None, exact=True,
                            note=Message("the job on the rented machine went on meanwhile, and was joined again"))
        self._listen()
        with open(self.run.log_file, "ab", buffering=0) as log:
            status = self._follow(log)
        return self._end(status)

    def _on_signal(self, *_: object) -> None:
        self.told_to_end = True

    # ------------------------------------------------------------------------------------------- beginning

    def _begin(self) -> None:
        """The job that is there already, or a new one; what an earlier one left is fetched first."""
        remote: RemoteRecord = storage.read_json(self.run.remote_file) or {"over": True}
        checkpoint = self.run.record().get("resume_from")
        if not remote["over"] and remote.get("job"):
            self.handle = remote
            if checkpoint and not remote.get("cancelled"):
                self._cancel()
            if not self.handle.get("cancelled"):
                return
            fault = self._collect()
            if fault is not None:
                self.writer.warning(fault["code"], fault["message"])
        if self.handle or remote["over"]:
            remote = {"over": False, "backend": self.run.config().compute.backend, "intent": uuid.uuid4().hex,
                      "start": events.last_seq(self.run.events_file)}
            storage.write_json(self.run.remote_file, remote)
        self._drop_later(checkpoint)
        self.writer.phase("uploading")
        self._keep({**remote, **self.place.submit(self.run, remote["intent"])})
        self.writer.phase("renting")
        self.writer.warning("rented",
                            Message("This run trains on a machine rented by your account: {url}",
                                    url=self.handle["url"]))

    def _keep(self, handle: RemoteRecord) -> None:
        self.handle = handle
        storage.write_json(self.run.remote_file, handle)

    def _drop_later(self, checkpoint: str | None) -> None:
        """Where the run goes on from an older checkpoint, later ones go to the trash, as in any resume."""
        if not checkpoint:
            return
        for path, facts in list(self.run.valid_checkpoints()):
            if path.name == checkpoint:
                return
            storage.to_trash(path, self.run.home / "trash")
            self.writer.add("retired", name=path.name, step=facts.get("step"))

    # ------------------------------------------------------------------------------------------- following

    def _listen(self) -> None:
        threading.Thread(target=self._tail, daemon=True).start()

    def _tail(self) -> None:
        """A thread's work: the job's output into the queue; None at its end, also where the line broke."""
        try:
            for line in self.place.tail(self.handle):
                self.lines.put(line)
        except Exception as error:  # of the HTTP client, of any kind: whoever reads the queue takes the line up again
            print(secrets.redact(f"the job's output broke off: {error}")[:400], file=sys.stderr, flush=True)
        self.lines.put(None)

    def _follow(self, log: BinaryIO) -> Status | None:
        """Until the machine has had its last word, or is gone: then how. Raises Detached."""
        again: float | None = None  # when to take up the output again
        while self.relay.over is None:
            if self._read(log):
                again = time.monotonic() + AGAIN
            self._look_around()
            if again is None and time.monotonic() - self.polled > POLL:
                self._poll()
            elif again is not None and time.monotonic() > again:
                again = None
                status = self._poll()
                if status is not None and status.where == "over":
                    return status
                self.relay.again()
                self._listen()
        return None

    def _read(self, log: BinaryIO) -> bool:
        """Take in what the job has printed; whether its output has ended or broken off."""
        try:
            line = self.lines.get(timeout=TICK)
            while line is not None:
                self.relay.take(line, log)
                line = self.lines.get_nowait()
        except queue.Empty:
            return False
        return True

    def _look_around(self) -> None:
        """What is asked of this process. Raises Detached."""
        if not storage.is_locked(self.run.lock.path):
            raise Detached("the supervisor is gone")
        for id_, kind, args, path in self.run.requests():
            if kind == "cancel":
                self._cancel()
                self.writer.add("control", id=id_, control=kind, result="done", message=None)
                storage.clear(path)
                self.relay.over = {"error": None}
                self.relay.end = {"result": "cancelled", "step": self.reader.history(self.run).step}
                return
            if id_ not in self.sent:
                self._ask(id_, kind, args, path)
        if self.told_to_end:
            raise Detached("told to end")

    def _ask(self, id_: str, kind: str, args: Args, path: Path) -> None:
        """Pass a request on; the answer comes with the events."""
        self.sent.add(id_)
        try:
            self.relay.depot.put({f"control/{id_}.json": as_json({"kind": kind, "args": args})}, f"Asked: {kind}")
        except RemoteError as problem:
            self.writer.add("control", id=id_, control=kind, result="refused",
                            message=Message("it did not reach the rented machine: {why}", why=problem))
            storage.clear(path)

    def _poll(self) -> Status | None:
        """Where the job is; None while the line is down."""
        self.polled = time.monotonic()
        try:
            return self.place.poll(self.handle)
        except RemoteError as problem:
            if problem.code != "unreachable":
                raise
            print(f"the job goes on unseen: {problem}", file=sys.stderr, flush=True)
            return None

    def _cancel(self) -> None:
        self.place.cancel(self.handle)
        self._keep({**self.handle, "cancelled": True})

    # ------------------------------------------------------------------------------------------- ending

    def _end(self, status: Status | None) -> str:
        """Fetch what was made, and write the last word."""
        end = self.relay.end or {}
        result = end.get("result")
        if result == "cancelled":  # nothing was saved for it, so nobody waits for files
            self._say("cancelled", None)
            self._collect()
            return "cancelled"
        fault = self._collect()
        if result in RESULTS and fault is None:
            return self._say(result, end["error"], end.get("peak_memory_bytes"))
        return self._say("failed", fault or self._error_there() or self._why(status))

    def _error_there(self) -> ErrorRecord | None:
        """What the machine itself said of its end."""
        return None if self.relay.over is None else self.relay.over["error"]

    def _say(self, result: str, error: ErrorRecord | None, peak: int | None = None) -> str:
        """Write the last word, and return the result."""
        if type(peak) is not int:
            peak = None
        self.writer.add("end", result=result, step=self.reader.history(self.run).step, error=error,
                        peak_memory_bytes=peak)
        return result

    def _collect(self) -> ErrorRecord | None:
        """The newest bundle of results into the run's folder; the repository goes. What was wrong with it, if
        anything."""
        self.writer.phase("fetching")
        depot = self.place.depot(self.handle)
        with tempfile.TemporaryDirectory(dir=self.run.path, prefix=storage.STAGING) as folder:
            try:
                packed = depot.get(RESULT, Path(folder))
                if packed is not None:
                    bundle.take_back(self.run, packed)
            except bundle.BadBundle as error:
                self._keep({**self.handle, "over": True})
                return diagnosis.supervisor_error(
                    "bad_result", Message("What came back from the rented machine was refused: {why}", why=error),
                    Message("It is kept in your repository {repo}. {hint}", repo=self.handle["repo"],
                            hint=diagnosis.what_next(self.run)))
        self._keep({**self.handle, "over": True})
        try:
            depot.delete()
        except RemoteError as problem:
            self.writer.warning("depot_left",
                                Message("The repository {repo} could not be deleted, delete it on the Hub: {why}",
                                        repo=self.handle["repo"], why=problem))
        return None

    def _why(self, status: Status | None) -> ErrorRecord:
        """The cause of an end without a word."""
        if status is None:
            status = Status("over", "COMPLETED")
        tail = diagnosis.tail(self.run.log_file, 0)
        after = diagnosis.what_next(self.run)
        said = status.message.lower()
        if "timeout" in said or "timed out" in said:
            hours = self.run.config().compute.timeout_hours
            return diagnosis.supervisor_error(
                "remote_timeout", Message("The job was ended after {hours} hours, the longest it may last.",
                                          hours=hours),
                Message("{hint} It then has as long again; a new run may have a longer compute.timeout_hours.",
                        hint=after), tail)
        if status.stage == "CANCELED":
            return diagnosis.supervisor_error("remote_cancelled", Message("The job was cancelled on the Hub."), after,
                                              tail)
        if status.stage in ("DELETED", "GONE"):
            return diagnosis.supervisor_error("remote_gone", Message("The job is not on the Hub any more."), after,
                                              tail)
        message = Message("The job ended on the Hub without a result ({stage}).", stage=status.stage)
        if status.message:
            message = Message("The job ended on the Hub without a result ({stage}: {why}).", stage=status.stage,
                              why=status.message)
        return diagnosis.supervisor_error("remote_failed", message,
                                          Message("The end of the log says more. {hint}", hint=after), tail)


def _place_of(run: Run) -> HfJobs:
    token = os.environ.get("HF_TOKEN")
    if not token:
        raise RemoteError(Message("There is no Hugging Face token to rent a machine with: none is ever kept, so one is "
                                  "needed at each start."), SIGN_IN, "no_token")
    return PLACES[run.config().compute.backend](token)


def main() -> int:
    """0 for an orderly end, 1 for a failed one, 3 when the supervisor is gone."""
    parser = argparse.ArgumentParser(prog="python -m studio.remote.watch", description="Watch a run's rented machine.")
    parser.add_argument("folder", type=Path)
    run = Run(parser.parse_args().folder.resolve())
    with run.worker_lock:
        writer = events.EventWriter(run.events_file)
        config = run.config()
        writer.add("attempt", attempt=run.process()["attempt"], total_steps=config.train.max_steps, exact=False,
                   pictures=sum(row.get("split", "train") == "train" for row in run.rows()),
                   device=config.compute.flavor, precision=config.train.mixed_precision,
                   threads=config.compute.num_threads, versions={}, numerics={})
        try:
            result = RemoteAttempt(run, writer, _place_of(run)).live()
            return int(result in ("failed", "diverged"))
        except Detached as left:
            if storage.is_locked(run.lock.path):
                writer.warning("detached",
                               Message("The job goes on without this machine ({why}): resume joins it again.",
                                       why=left))
                writer.add("end", result="interrupted", step=EventReader().history(run).step, error=None)
            return 3
        except (RemoteError, storage.Corrupt, OSError) as problem:
            error = diagnosis.of_disk(run, faults.of(problem), "")
            if error is None and isinstance(problem, RemoteError):
                error = diagnosis.supervisor_error(problem.code, str(problem), problem.hint)
            elif error is None:
                error = diagnosis.supervisor_error("supervisor_failed", str(problem), diagnosis.what_next(run))
            writer.add("end", result="failed", step=EventReader().history(run).step, error=error)
            return 1
        finally:
            relay.clear(run)
            writer.close()


if __name__ == "__main__":
    sys.exit(main())
