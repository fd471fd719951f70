"""What a viewer can do with jobs, the long work that is no run: follow, cancel, take the results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from studio import events, hub, launch, storage, work
from studio.messages import Message
from studio.web import records
from studio.web.access import Viewer, may, require
from studio.web.errors import NotFound
from studio.web.index import Index
from studio.web.quotas import Quotas

MOST_EVENTS = 1000


class JobService:
    """The part of the service that is about jobs."""

    home: Path
    launcher: launch.Launcher
    reader: work.Reader
    index: Index
    quotas: Quotas

    def list_jobs(self, viewer: Viewer, subject: str | None = None, kind: str | None = None,
                  limit: int = 50) -> dict[str, Any]:
        """The viewer's jobs, newest first, perhaps only those about one data set or run, or of one kind."""
        own = [(facts["created"], job.id, job) for job, facts in self.index.jobs()
               if may(viewer, facts["owner"], "read") and subject in (None, facts.get("subject"))
               and kind in (None, facts["kind"])]
        items, places = [], self._queue_places()
        for _, _, job in sorted(own, key=lambda entry: entry[:2], reverse=True)[: max(1, min(limit, 200))]:
            try:
                items.append(self._job_record(job, places))
            except (storage.Corrupt, FileNotFoundError):
                continue  # deleted in this moment, or damaged
        return {"items": items, "next": None}

    def job(self, viewer: Viewer, job_id: str) -> dict[str, Any]:
        """One job's record, its results listed, and what it was asked for."""
        job = self._job(viewer, job_id, "read")
        return {**self._job_record(job, self._queue_places()), "args": job.record()["args"]}

    def job_tag(self, viewer: Viewer, job_id: str) -> str:
        """A short text that changes whenever the job's record or events would."""
        return self._tag(self._job(viewer, job_id, "read"))

    def job_events(self, viewer: Viewer, job_id: str, since: int, limit: int = MOST_EVENTS) -> dict[str, Any]:
        """The job's status and its events after number `since`, at most 1,000; `next` is the number to go on from."""
        job = self._job(viewer, job_id, "read")
        state, story = self.reader.state(job)
        found = []
        if since < story.seq:
            found = events.read_since(job.events_file, since, max(1, min(limit, MOST_EVENTS)))
        shown = [hub.redact_data({k: v for k, v in e.items() if k != "mono"}) for e in found]
        return {**records.job_status(state, story, self._queue_places().get(job.id)), "events": shown,
                "next": found[-1]["seq"] if found else min(since, story.seq), "last": story.seq}

    def cancel_job(self, viewer: Viewer, job_id: str) -> dict[str, Any]:
        """End a job; results that are there already stay. Returns the record."""
        launch.ask(self._job(viewer, job_id, "write"), "cancel", self.reader)
        return self.job(viewer, job_id)

    def delete_job(self, viewer: Viewer, job_id: str) -> None:
        """Move an ended job to the trash. Raises Refused while it is alive."""
        job = self._job(viewer, job_id, "write")
        work.discard(self.home, job)
        self.reader.forget(job)

    def job_file(self, viewer: Viewer, job_id: str, name: str) -> tuple[Path, str]:
        """A result file and its media type; `name` must be one of the job's own results."""
        job = self._job(viewer, job_id, "read")
        known = self.reader.story(job).results.get(name)
        path = job.results / name
        if known is None or Path(name).name != name or not path.is_file():
            raise NotFound(Message("There is no such result in this job."),
                           Message("The job's record lists its results."))
        return path, str(known.get("media_type") or "application/octet-stream")

    def submit_job(self, viewer: Viewer, kind: str, args: dict[str, Any], *, name: str, light: bool,
                   subject: str | None = None, lend_token: bool = False,
                   fill: Callable[[work.Job], None] = lambda job: None) -> dict[str, Any]:
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
        return self.job(viewer, job.id)

    def live_job(self, kind: str, subject: str, args: dict[str, Any] | None = None) -> work.Job | None:
        """A job of that kind about `subject` that waits or runs, with the same `args` where they are given."""
        for job, facts in self.index.jobs():
            if (facts["kind"], facts.get("subject")) == (kind, subject) and args in (None, facts["args"]):
                try:
                    if self.reader.state(job)[0] in ("queued", *events.ACTIVE):
                        return job
                except storage.Corrupt:
                    continue
        return None

    def _job(self, viewer: Viewer, job_id: str, action: str) -> work.Job:
        try:
            job = work.Job.find(self.home, job_id)
        except work.NotFound:
            require(viewer, None, action, "job")
            raise
        require(viewer, self.index.facts(job)["owner"], action, "job")
        return job

    def _tag(self, found: work.Work) -> str:
        """A short text that changes whenever what is told of a run or a job does."""
        return found.pulse() + (f"-{self._queue_places().get(found.id, 0)}" if self.index.waits(found) else "")

    def _job_record(self, job: work.Job, places: dict[str, int]) -> dict[str, Any]:
        state, story = self.reader.state(job)
        found = records.job(job, job.record(), state, story, places.get(job.id))
        return {**found, "error": hub.redact_data(found["error"]), "warnings": hub.redact_data(found["warnings"])}

    def _queue_places(self) -> dict[str, int]:
        return {waiting.id: place for place, waiting in enumerate(self.index.queued(), 1)}
