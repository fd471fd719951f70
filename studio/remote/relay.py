"""What a rented machine prints, written into the run's folder as if it trained here: nothing of it is believed.

Each event that comes from there keeps its number as `origin`, so that what is read twice is written once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, BinaryIO

from studio import storage
from studio.bundle import layout
from studio.folders import edits, events, foreign
from studio.folders.events import EventWriter
from studio.folders.runs import Run
from studio.messages import Message
from studio.remote.depot import Depot, RemoteError
from studio.remote.job import MARK

LINE = 1 << 20  # characters of a line that are read at most
COMING = f"{storage.STAGING}coming"  # where downloads lie until they are looked at
PICTURE = 32 << 20  # bytes of a sample picture
OWN = ("seq", "time", "mono", "kind", "origin", "self")  # what the writer here says itself


class Relay:
    """A job's output and the run it belongs to. `start` is the number of the run's last event before the job."""

    def __init__(self, run: Run, writer: EventWriter, depot: Depot, place: str, start: int):
        self.run, self.writer, self.depot, self.place = run, writer, depot, place
        self.attempt = run.attempts()[1]
        self.origin = _last_origin(run, start)
        self.caught_up = self.origin == 0
        self.end: dict[str, Any] | None = None  # the trainer's last word, which is kept until its files are here
        self.over: dict[str, Any] | None = None  # the machine's last word: {"error": ...}

    def again(self) -> None:
        """The output is read from its beginning once more."""
        self.caught_up = self.origin == 0

    def take(self, line: str, log: BinaryIO) -> None:
        """Take in one line of the output."""
        plain, mark, message = line.partition(MARK)  # what draws a progress bar leaves its line open
        if self.caught_up and (plain.strip() or not mark):
            log.write(f"{plain[:LINE]}\n".encode())
        try:
            told = json.loads(message) if mark and len(message) <= LINE else None
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict):
            return
        if "over" in told:
            self.over = {"error": foreign.error_of(told["over"])}
        event = events.parse(json.dumps(told.get("event")).encode())
        if event is not None and (event := foreign.clean(event)) is not None:
            self._take_event(event)

    def _take_event(self, event: dict[str, Any]) -> None:
        origin, kind = event["seq"], event["kind"]
        if origin <= self.origin:
            self.caught_up = origin == self.origin or self.caught_up
            return
        self.origin, self.caught_up = origin, True
        fields = {str(name): value for name, value in event.items() if name not in OWN}
        if kind == "end":
            self.end = fields
            return
        if kind == "resumed" and self.attempt == 1 and not fields["from_step"]:
            return  # a bundle is resumed there even for its first step
        if kind == "attempt":
            fields |= {"attempt": self.attempt, "device": f"{fields.get('device')} ({self.place})"}
        if kind == "sample" and not self._fetch(str(fields["file"])):
            return
        answered = self._answered(fields) if kind == "control" else []
        self.writer.add(kind, **fields, origin=origin)
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
        good = head[:4] == b"RIFF" and head[8:] == b"WEBP" and path.stat().st_size <= PICTURE
        if good:
            storage.publish(path, self.run.samples / name)
        return good

    def _answered(self, fields: dict[str, Any]) -> list[Path]:
        """The files of a request that has its last word, which go when that is written; an edit is kept here too."""
        if fields.get("result") not in ("done", "refused"):
            return []
        asked = [(kind, path) for id_, kind, _, path in self.run.requests() if id_ == fields.get("id")]
        if fields["result"] == "done" and any(kind == "edit" for kind, _ in asked):
            self._edited(str(fields["id"]), fields)
        return [path for _, path in asked]

    def _edited(self, id_: str, fields: dict[str, Any]) -> None:
        if id_ in self.run.kept_requests():  # before a cut
            return
        made = {"id": id_, "step": fields.get("step"), "time": 0.0, "config": fields.get("config")}
        try:
            sound = edits.sound([*self.run.edits(), made])
        except (ValueError, storage.Corrupt) as error:
            self.writer.warning("edit_lost",
                                Message("The edit holds on the rented machine, and cannot be kept here: {why}",
                                        why=error))
            return
        self.run.add_edit(sound[-1])


def _last_origin(run: Run, start: int) -> int:
    """The number of the last event that this job's output gave the run."""
    found, offset = 0, 0
    while True:
        some, end = events.read(run.events_file, offset, 4 << 20)
        found = max([found, *(e["origin"] for e in some if e["seq"] > start and isinstance(e.get("origin"), int))])
        if end == offset:
            return found
        offset = end


def clear(run: Run) -> None:
    """Remove what only a download needed."""
    storage.clear(run.path / COMING)
