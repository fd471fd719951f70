"""What a viewer can do with jobs, the long work that is no run: follow, cancel, take the results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from pathlib import Path

from studio import launch, secrets, storage
from studio.folders import events, work
from studio.messages import JsonObject, Message
from studio.web.access import Viewer, may, require
from studio.web.http import serializers
from studio.web.http.errors import NotFound
from studio.web.services.core import Service

MOST_EVENTS = 1000


class JobService(Service):
    """Jobs."""

    def all(self, viewer: Viewer, subject: str | None = None, kind: str | None = None,
            limit: int = 50) -> JsonObject:
        """The viewer's jobs, newest first, perhaps only those about one data set or run, or of one kind."""
        jobs = []
        for job, facts in self.index.jobs():
            fits = subject in (None, facts.get("subject")) and kind in (None, facts["kind"])
            if fits and may(viewer, facts["owner"], "read"):
                jobs.append((facts["created"], job.id, job))
        jobs.sort(key=itemgetter(0, 1), reverse=True)
        items = []
        places = self.index.places()
        for _, _, job in jobs[: max(1, min(limit, 200))]:
            try:
                items.append(self._job_record(job, places))
            except (storage.Corrupt, FileNotFoundError):
                continue  # deleted in this moment, or damaged
        return {"items": items, "next": None}

    def get(self, viewer: Viewer, job_id: str) -> JsonObject:
        """One job's record, its results listed, and what it was asked for."""
        job = self.find(viewer, job_id, "read")
        return {**self._job_record(job, self.index.places()), "args": job.record()["args"]}

    def tag(self, viewer: Viewer, job_id: str) -> str:
        """A short text that changes whenever the job's record or events would."""
        return self.index.tag(self.find(viewer, job_id, "read"))

    def events(self, viewer: Viewer, job_id: str, since: int, limit: int = MOST_EVENTS) -> JsonObject:
        """The job's status and its events after number `since`, at most 1,000; `next` is the number to go on from."""
        job = self.find(viewer, job_id, "read")
        state, history = self.reader.state(job)
        read = []
        if since < history.seq:
            read = events.read_since(job.events_file, since, max(1, min(limit, MOST_EVENTS)))
        following = read[-1]["seq"] if read else min(since, history.seq)
        shown = [secrets.redact_data(serializers.without_clock(event)) for event in read]
        status = serializers.job_status(job, state, history, self.index.places().get(job.id), self.usual)
        return {**status, "events": shown, "next": following, "last": history.seq}

    def cancel(self, viewer: Viewer, job_id: str) -> JsonObject:
        """End a job; results that are there already stay. Returns the record."""
        launch.ask(self.find(viewer, job_id, "write"), "cancel", self.reader)
        return self.get(viewer, job_id)

    def delete(self, viewer: Viewer, job_id: str) -> None:
        """Move an ended job to the trash. Raises Refused while it is alive."""
        job = self.find(viewer, job_id, "write")
        work.discard(self.home, job)
        self.reader.forget(job)

    def file(self, viewer: Viewer, job_id: str, name: str) -> tuple[Path, str]:
        """A result file and its media type; `name` must be one of the job's own results."""
        job = self.find(viewer, job_id, "read")
        known = self.reader.history(job).results.get(name)
        path = job.results / name
        if known is None or Path(name).name != name or not path.is_file():
            raise NotFound(Message("There is no such result in this job."),
                           Message("The job's record lists its results."))
        return path, str(known.get("media_type") or "application/octet-stream")

    def submit(self, viewer: Viewer, kind: str, args: JsonObject, *, name: str, light: bool,
               subject: str | None = None, lend_token: bool = False,
               fill: Callable[[work.Job], None] = lambda job: None) -> JsonObject:
        """Start a job, or let it wait for its turn; returns its record. What it is about was checked by the caller;
        `fill` puts its inputs into its folder. Raises OverQuota."""
        require(viewer, None, "create", "job")
        with self.quotas.place(viewer, "job"):
            self.quotas.little(viewer)
            job = work.submit(self.home, kind, args, name=name, owner=viewer.id, light=light, subject=subject,
                              fill=fill)
        if lend_token:
            self.launcher.lend(job, viewer.token)
        self.launcher.wake()
        return self.get(viewer, job.id)

    def live(self, kind: str, subject: str, args: Mapping[str, object] | None = None) -> work.Job | None:
        """A job of that kind about `subject` that waits or runs, with the same `args` where they are given."""
        for job, facts in self.index.jobs():
            if (facts["kind"], facts.get("subject")) == (kind, subject) and args in (None, facts["args"]):
                try:
                    if self.reader.state(job)[0] in ("queued", *events.ACTIVE):
                        return job
                except storage.Corrupt:
                    continue
        return None

    def find(self, viewer: Viewer, job_id: str, action: str) -> work.Job:
        """The job, if the viewer may do `action` ("read", "write") with it. Raises NotFound, LoginNeeded."""
        try:
            job = work.Job.find(self.home, job_id)
        except work.NotFound:
            require(viewer, None, action, "job")
            raise
        require(viewer, self.index.facts(job)["owner"], action, "job")
        return job

    def _job_record(self, job: work.Job, places: dict[str, int]) -> JsonObject:
        state, history = self.reader.state(job)
        record = serializers.job(job, job.record(), state, history, places.get(job.id), self.usual)
        return {**record, "error": secrets.redact_data(record["error"]),
                "warnings": secrets.redact_data(record["warnings"])}
