"""What a rented machine prints, written into the run's folder as if it trained here: nothing of it is believed.

Each event that comes from there keeps its number as `origin`, so that what is read twice is written once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import BinaryIO, TypedDict, cast

from studio import storage
from studio.bundle import layout
from studio.folders import edits, events, foreign
from studio.folders.events import EventWriter
from studio.folders.records import EndEvent, ErrorRecord, Event
from studio.folders.runs import Run
from studio.messages import JsonObject, Message
from studio.remote.depot import Depot, RemoteError
from studio.remote.job import MARK

LINE = 1 << 20  # characters of a line that are read at most
COMING = f"{storage.STAGING}coming"  # where downloads lie until they are looked at
PICTURE = 32 << 20  # bytes of a sample picture
OWN = ("seq", "time", "mono", "kind", "origin", "self")  # what the writer here says itself


class EndMessage(TypedDict):
    """The machine's last word."""

    error: ErrorRecord | None


class Relay:
    """A job's output and the run it belongs to. `start` is the number of the run's last event before the job."""

    def __init__(self, run: Run, writer: EventWriter, depot: Depot, place: str, start: int):
        self.run, self.writer, self.depot, self.place = run, writer, depot, place
        self.attempt = run.attempts()[1]
        self.origin = _last_origin(run, start)
        self.caught_up = self.origin == 0
        self.end: EndEvent | None = None  # the trainer's last word, which is kept until its files are here
        self.over: EndMessage | None = None  # the machine's

    def again(self) -> None:
        """The output is read from its beginning once more."""
        self.caught_up = self.origin == 0

    def take(self, line: str, log: BinaryIO) -> None:
        """Take in one line of the output."""
        plain, mark, message = line.partition(MARK)  # what draws a progress bar leaves its line open
        if self.caught_up and (plain.strip() or not mark):
            log.write(f"{plain[:LINE]}\n".encode())
        if not mark or len(message) > LINE:
            return
        try:
            told: object = json.loads(message)
        except (ValueError, RecursionError):
            return
        if not isinstance(told, dict):
            return
        if "over" in told:
            self.over = {"error": foreign.error_of(told["over"])}
        event = events.parse(json.dumps(told.get("event")).encode())
        if event is not None:
            event = foreign.clean(event)
        if event is not None:
            self._take_event(event)

    def _take_event(self, event: Event) -> None:
        """Take in an event that was not seen before."""
        origin = event["seq"]
        if origin <= self.origin:
            self.caught_up = self.caught_up or origin == self.origin
            return
        self.origin = origin
        self.caught_up = True
        fields: JsonObject = {name: value for name, value in event.items() if name not in OWN}
        if event["kind"] == "end":
            self.end = cast(EndEvent, fields)
        elif not self._is_beside_the_point(event):
            self._write(event, fields)

    def _is_beside_the_point(self, event: Event) -> bool:
        """Whether an event says nothing here: that a bundle is resumed there even for its first step, and of a sample
        what is no picture."""
        if event["kind"] == "resumed":
            return self.attempt == 1 and not event["from_step"]
        if event["kind"] == "sample":
            return not self._fetch(event["file"])
        return False

    def _write(self, event: Event, fields: JsonObject) -> None:
        """Write an event as one of this run; a request that it answers goes."""
        answered: list[Path] = []
        if event["kind"] == "attempt":
            fields |= {"attempt": self.attempt, "device": f"{fields.get('device')} ({self.place})"}
        elif event["kind"] == "control":
            answered = self._answered(fields)
        self.writer.add(event["kind"], **fields, origin=event["seq"])
        storage.clear(*answered)

    def _fetch(self, name: str) -> bool:
        """Bring a sample picture here; False for what is none. One that is not there yet comes with the result."""
        if layout.kind_of(f"samples/{name}") != "sample":
            return False
        try:
            path = self.depot.get(f"samples/{name}", self.run.path / COMING)
        except RemoteError:
            return True
        if path is None:
            return True
        with open(path, "rb") as file:
            head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WEBP" or path.stat().st_size > PICTURE:
            return False
        storage.publish(path, self.run.samples / name)
        return True

    def _answered(self, fields: JsonObject) -> list[Path]:
        """The files of a request that has its last word, which go when that is written; an edit is kept here too."""
        if fields.get("result") not in ("done", "refused"):
            return []
        paths: list[Path] = []
        kinds: list[str] = []
        for id_, kind, _, path in self.run.requests():
            if id_ == fields.get("id"):
                paths.append(path)
                kinds.append(kind)
        if fields["result"] == "done" and "edit" in kinds:
            self._edited(str(fields["id"]), fields)
        return paths

    def _edited(self, id_: str, fields: JsonObject) -> None:
        """Keep an edit that holds on the rented machine."""
        if id_ in self.run.kept_requests():  # before a cut
            return
        edit = {"id": id_, "step": fields.get("step"), "time": 0.0, "config": fields.get("config")}
        try:
            sound = edits.sound([*self.run.edits(), edit])
        except (ValueError, storage.Corrupt) as error:
            self.writer.warning("edit_lost",
                                Message("The edit holds on the rented machine, and cannot be kept here: {why}",
                                        why=error))
            return
        self.run.add_edit(sound[-1])


def _last_origin(run: Run, start: int) -> int:
    """The number of the last event that this job's output gave the run."""
    origin = offset = 0
    while True:
        some, end = events.read(run.events_file, offset, 4 << 20)
        for event in some:
            number = event.get("origin")
            if event["seq"] > start and isinstance(number, int):
                origin = max(origin, number)
        if end == offset:
            return origin
        offset = end


def clear(run: Run) -> None:
    """Remove what only a download needed."""
    storage.clear(run.path / COMING)
