"""On a rented machine: trains the bundle of a run, prints what happens there, and leaves what it makes in the depot.

    python -m studio.remote.job BUNDLE REPO

What follows MARK in a line is JSON for the watcher of the run (`watch.py`, `relay.py`): `{"event": ...}`, at the end
`{"over": error or null}`; everything else is the log. Sample pictures are in the depot before their event is printed; a
bundle with the newest checkpoint follows each save, so that little is lost when the machine is.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import threading
import time
from pathlib import Path

from studio import bundle, config, secrets, storage
from studio.folders import events, runs
from studio.folders.records import ErrorRecord, Event
from studio.folders.runs import Run
from studio.launch.supervisor import supervise
from studio.messages import Message
from studio.remote import elsewhere
from studio.remote.depot import Depot, RemoteError
from studio.storage import faults

MARK = "@studio "
RESULT = "result.zip"
REQUEST = re.compile(r"[0-9]{20}-[0-9a-f]{8}\.json")
TICK, LISTEN = 0.5, 5.0  # seconds between looks at the run's files, and at what was asked of it
_printing = threading.Lock()


def say(text: str) -> None:
    """Print one whole line."""
    with _printing:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def tell(**message: object) -> None:
    """Print a message for the watcher."""
    say(MARK + json.dumps(message, ensure_ascii=False, separators=(",", ":")))


class JobReporter:
    """Prints a run's events and log as they grow, and hears what is asked of it. `live` is a thread's work."""

    def __init__(self, run: Run, depot: Depot):
        self.run, self.depot = run, depot
        self.ended = threading.Event()
        self.saved = threading.Event()
        self.events_at = 0
        if run.events_file.exists():
            self.events_at = run.events_file.stat().st_size
        self.log_at = 0
        self.heard = set[str]()  # requests that were handed on
        self.listened = 0.0  # when, monotonic

    def live(self) -> None:
        """Until the run has ended, and once more after that."""
        while True:
            last = self.ended.wait(TICK)
            try:
                self._listen()
                self._speak(last)
            except (RemoteError, OSError, storage.Corrupt) as problem:  # the run goes on; this is said later
                say(f"the depot could not be used: {problem}")
            if last:
                return

    def leave_results(self) -> None:
        """A thread's work: what the run has made so far into the depot, after each save."""
        while not self.ended.is_set():
            if self.saved.wait(TICK):
                self.saved.clear()
                try:
                    self.leave_result()
                except (RemoteError, OSError, storage.Corrupt) as problem:
                    say(f"what was made so far could not be sent: {problem}")

    def leave_result(self) -> None:
        """What the run has made so far into the depot."""
        packed = self.run.path / RESULT
        bundle.write(self.run, packed, result=True)
        self.depot.put({RESULT: packed}, "What the run has made")
        storage.clear(packed)

    def _listen(self) -> None:
        """Hand on what was asked since the last look."""
        if time.monotonic() - self.listened < LISTEN:
            return
        self.listened = time.monotonic()
        for name in self.depot.names("control"):
            if name in self.heard or not REQUEST.fullmatch(name):
                continue
            path = self.depot.get(f"control/{name}", self.run.path / "asked")
            if path is not None:
                storage.write_json(self.run.control / name, storage.read_json(path))
            self.heard.add(name)

    def _speak(self, last: bool) -> None:
        """Print what is new; the log first, so that an event's cause stands before it."""
        self._speak_log(last)
        new, end = events.read(self.run.events_file, self.events_at)
        self._leave_pictures(new)
        for event in new:
            tell(event=event)
        self.events_at = end
        if not last and any(event["kind"] == "checkpoint" and event.get("ok", True) for event in new):
            self.saved.set()

    def _leave_pictures(self, new: list[Event]) -> None:
        """The sample pictures that these events tell of into the depot."""
        pictures: dict[str, Path] = {}
        for event in new:
            if event["kind"] == "sample" and (self.run.samples / event["file"]).is_file():
                pictures[f"samples/{event['file']}"] = self.run.samples / event["file"]
        if pictures:
            self.depot.put(pictures, "Sample pictures")

    def _speak_log(self, last: bool) -> None:
        try:
            with open(self.run.log_file, "rb") as file:
                if self.log_at <= os.fstat(file.fileno()).st_size:  # else it was emptied meanwhile
                    file.seek(self.log_at)
                data = file.read()
        except FileNotFoundError:
            return
        if not last:
            data = data[: data.rfind(b"\n") + 1]
        self.log_at += len(data)
        for line in data.decode("utf-8", "replace").splitlines():
            say(secrets.redact(line.replace(MARK, MARK.strip())))


def main(argv: list[str] | None = None) -> int:
    """0 for a run that ended in order and whose result is in the depot, else 1."""
    parser = argparse.ArgumentParser(prog="python -m studio.remote.job", description="Train on a rented machine.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("repo")
    args = parser.parse_args(argv)
    begun = elsewhere.parser().parse_args([str(args.bundle)])
    reader = runs.EventReader()
    try:
        run = elsewhere.begin(begun)
        attempt = runs.resume(run, reader)
        voice = JobReporter(run, Depot(args.repo, os.environ["HF_TOKEN"]))
    except (bundle.BadBundle, config.ConfigError, runs.Refused, OSError, KeyError) as problem:
        tell(over={"code": "remote_failed",
                   "message": Message("The rented machine could not begin: {why}", why=problem),
                   "hint": Message("Resume tries it again."), "evidence": ""})
        return 1
    _train(run, attempt, voice)
    state, history = reader.state(run)
    error: ErrorRecord | None = None
    if history.end is None:
        error = (run.exit() or {}).get("error")
    try:
        if state != "cancelled":
            voice.leave_result()
    except (RemoteError, OSError, storage.Corrupt) as problem:
        error = {"code": "remote_failed",
                 "message": Message("What the run made could not be sent back: {why}", why=problem),
                 "hint": Message("Resume goes on from what came back before."), "evidence": ""}
    tell(over=error)
    return int(state not in elsewhere.GOOD or error is not None)


def _train(run: Run, attempt: int, voice: JobReporter) -> None:
    """Live through the attempt while its voice tells of it."""
    threads = [threading.Thread(target=work, daemon=True) for work in (voice.live, voice.leave_results)]
    for thread in threads:
        thread.start()
    try:
        supervise(run, attempt)
    except OSError as problem:  # not even that it began could be written
        say(f"the attempt could not begin: {faults.plain(problem)}")
    voice.ended.set()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
