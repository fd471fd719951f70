"""What a viewer can do with runs: list, make, steer, follow, take away."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studio import config as config_
from studio import datasets, export, hub, launch, prepare, storage
from studio.errors import Refused
from studio.folders import events, runs
from studio.folders.names import clean_name, is_hub_id
from studio.folders.records import Event, WorkRecord
from studio.folders.work import Job
from studio.insight import losses
from studio.launch.usage import Usage
from studio.messages import Message
from studio.web.access import Viewer, may, require
from studio.web.http import serializers
from studio.web.http.errors import NotFound, Unavailable, WebError, there_are
from studio.web.repositories import NotReadable
from studio.web.services.core import Core, Service
from studio.web.services.fair import FairService
from studio.web.services.jobs import JobService

LOG_BYTES = 64 * 1024
MOST_EVENTS = 1000
PROMPT_LENGTH = 2000
_SAMPLE_TYPES = {".webp", ".png", ".jpg"}


class RunService(Service):
    """Runs, and the queue."""

    def __init__(self, core: Core, jobs: JobService, fair: FairService):
        super().__init__(core)
        self.jobs = jobs
        self.fair = fair
        self.meter = launch.Meter()

    # ------------------------------------------------------------------------------------------------- looking

    def all(self, viewer: Viewer, limit: int = 50, after: str | None = None) -> dict[str, Any]:
        """The viewer's runs, newest first: {"items": [record without config], "next": token | None}."""
        own = sorted(((facts["created"], run.id, run) for run, facts in self.index.all() if self._sees(viewer, facts)),
                     reverse=True)
        if after:
            own = [entry for entry in own if entry[:2] < _place(after)]
        page, queue = own[: max(1, min(limit, 200))], self.index.places()
        items = []
        for _, _, run in page:
            try:
                found = self._record(run, queue)
            except (storage.Corrupt, FileNotFoundError):
                continue  # deleted in this moment, or damaged: its own page says so
            found.pop("config")
            items.append({**found, "samples": found["samples"][-4:], "warnings": found["warnings"][-4:]})
        more = len(own) > len(page)
        return {"items": items, "next": _token(page[-1][0], page[-1][1]) if page and more else None}

    def get(self, viewer: Viewer, run_id: str) -> dict[str, Any]:
        """One run's record."""
        return self._record(self.find(viewer, run_id, "read"), self.index.places())

    def queue(self, viewer: Viewer) -> dict[str, Any]:
        """Which runs and jobs wait, in order: {"items": [{id, work, name, state, position}]}, `work` "run" or "job";
        others' are only counted."""
        items, waiting = [], self.index.queued()
        known = {found.id: facts for found, facts in (*self.index.all(), *self.index.jobs())}  # none: deleted since
        for position, found in enumerate(waiting, 1):
            facts = known.get(found.id)
            if facts and self._sees(viewer, facts):
                items.append({"id": found.id, "work": found.word, "name": facts["name"], "state": "queued",
                              "position": position})
        return {"items": items, "next": None, "waiting": len(waiting)}

    def reorder(self, viewer: Viewer, order: list[str]) -> dict[str, Any]:
        """Put the viewer's waiting runs and jobs into `order`; they share out the places they hold now."""
        waiting = {found.id: found for found in self.index.queued()}
        own = [self.jobs.find(viewer, id_, "write") if isinstance(waiting.get(id_), Job)
               else self.find(viewer, id_, "write") for id_ in dict.fromkeys(order)]
        started = [found.id for found in own if found.id not in waiting]
        if started:
            raise Refused(Message("Not waiting any more: {ids}.", ids=", ".join(started)),
                          Message("Look at the queue and try again."))
        ranks = sorted(run.record()["rank"] for run in own)
        for run, rank in zip(own, ranks, strict=True):
            run.update(rank=rank)
        return self.queue(viewer)

    def events(self, viewer: Viewer, run_id: str, since: int, limit: int = MOST_EVENTS) -> dict[str, Any]:
        """The run's status and its events after number `since`, at most 1,000; `next` is the number to go on from.
        `revision` is another whenever the record changed without an event."""
        run = self.find(viewer, run_id, "read")
        state, story = self.reader.state(run)
        found = []
        if since < story.seq:
            found = events.read_since(run.events_file, since, max(1, min(limit, MOST_EVENTS)))
        revision = run.revision()  # before the rest: a change in between is then told again rather than lost
        place = self._place(run, state)
        note = serializers.note(run.record(), state, place)
        status = serializers.status(state, story, self.config_of(run), place, note)
        following = found[-1]["seq"] if found else min(since, story.seq)
        return {**status, "revision": revision, "usage": self._usage(run, state), "next": following, "last": story.seq,
                "events": [_shown(run, e) for e in serializers.telling(found)]}

    def poll_tag(self, viewer: Viewer, run_id: str) -> str:
        """A short text that changes whenever `events` would answer something new."""
        return self.index.tag(self.find(viewer, run_id, "read"))

    def quick_tag(self, viewer: Viewer, run_id: str) -> str | None:
        """`poll_tag` from a few looks at files; None where it hangs on others too, since the run waits in the queue."""
        run = self.find(viewer, run_id, "read")
        return None if self.index.waits(run) else run.pulse()

    def log(self, viewer: Viewer, run_id: str, since: int | None = None) -> dict[str, Any]:
        """Whole lines of the run's output from byte `since` on (by default the last 32 KB), without tokens:
        {"text", "since", "next", "size"}."""
        run = self.find(viewer, run_id, "read")
        try:
            with open(run.log_file, "rb") as file:
                size = file.seek(0, 2)
                start = max(0, size - LOG_BYTES // 2) if since is None else min(max(0, since), size)
                file.seek(start)
                data = file.read(LOG_BYTES)
        except FileNotFoundError:
            return {"text": "", "since": 0, "next": 0, "size": 0}
        whole = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if whole == 0 and (len(data) == LOG_BYTES or not run.alive()):
            whole = len(data)
        if since is None and start > 0:  # the tail begins at a line
            first = data.find(b"\n", 0, whole) + 1
            start, data, whole = start + first, data[first:], whole - first
        text = hub.redact(data[:whole].decode("utf-8", "replace"))
        return {"text": text, "since": start, "next": start + whole, "size": size}

    def series(self, viewer: Viewer, run_id: str, keys: list[str] | None = None, from_: int = 0, to: int | None = None,
               points: int = 1000) -> dict[str, Any]:
        """The run's curve as columns down-sampled to min/mean/max; see `serializers.series`."""
        keys = list(dict.fromkeys(keys or ["loss", "lr"]))
        unknown = [key for key in keys if key not in serializers.SERIES]
        if unknown:
            raise WebError(Message("There is no series {name}.", name=repr(unknown[0][:40])),
                           there_are(serializers.SERIES))
        run = self.find(viewer, run_id, "read")
        state, story = self.reader.state(run)
        points = max(1, min(points, serializers.MOST_POINTS))
        return {"state": state, **serializers.series(story, keys, from_, to, points)}

    def pictures(self, viewer: Viewer, run_id: str, sort: str = "-loss", offset: int = 0, limit: int = 60
                 ) -> dict[str, Any]:
        """The run's training pictures with what each cost the model so far; see `losses.pictures`."""
        run = self.find(viewer, run_id, "read")
        if sort not in losses.SORTS:
            raise WebError(Message("Pictures cannot be sorted by {name}.", name=repr(sort[:40])),
                           there_are(losses.SORTS))
        dataset = run.record().get("dataset") or {}
        return losses.pictures(run, dataset.get("id"), sort, max(0, offset), max(1, min(limit, 500)))

    def pictures_tag(self, viewer: Viewer, run_id: str) -> str:
        """A short text that changes whenever `pictures` would answer something new."""
        return losses.newest(self.find(viewer, run_id, "read"))

    def series_csv(self, viewer: Viewer, run_id: str) -> Iterator[str]:
        """Every step of the run's curve as lines of CSV."""
        return serializers.csv_lines(self.reader.state(self.find(viewer, run_id, "read"))[1])

    # ------------------------------------------------------------------------------------------------- making

    def create(self, viewer: Viewer, name: str, config: dict[str, Any]) -> dict[str, Any]:
        """Submit a run; returns its record. Raises ConfigError with every problem at once."""
        require(viewer, None, "create", "run")
        with self.quotas.place(viewer, "run", "kept run"):
            self.check_config(viewer, config)
            run = prepare.submit(self.home, name=clean_name(name), owner=viewer.id, config=config, token=viewer.token,
                                 look=lambda plan: self.fair.check_plan(viewer, plan))
        self.launcher.lend(run, viewer.token)
        self.launcher.wake()
        return self.get(viewer, run.id)

    def branch(self, viewer: Viewer, run_id: str, checkpoint: str | None, name: str | None,
               config: dict[str, Any]) -> dict[str, Any]:
        """A new run that goes on from a checkpoint of this one; returns its record. Raises ConfigError, Refused."""
        parent = self.find(viewer, run_id, "write")
        self.check_base(viewer, parent)
        name = clean_name(name or f"{parent.record()['name']}, branched")
        with self.quotas.place(viewer, "run", "kept run"):
            run = prepare.branch(self.home, parent, name=name, owner=viewer.id, checkpoint=checkpoint, config=config,
                                 look=lambda plan: self.fair.check_plan(viewer, plan))
        self.launcher.lend(run, viewer.token)
        self.launcher.wake()
        return self.get(viewer, run.id)

    # ------------------------------------------------------------------------------------------------- steering

    def control(self, viewer: Viewer, run_id: str, kind: str, args: dict[str, Any] | None = None) -> dict[str, Any]:
        """stop, cancel, pause, save, sample or resume; returns the record."""
        run = self.find(viewer, run_id, "write")
        known = [*(control for control in runs.CONTROLS if control != "edit"), "resume"]
        if kind not in known:
            raise WebError(Message("There is no control {name}.", name=repr(kind[:40])),
                           there_are(known))
        args = _control_args(kind, args or {})
        if kind == "resume":
            self.check_base(viewer, run, args.get("token"))
            self.fair.resume(viewer, run, args.get("checkpoint"))
            self.launcher.lend(run, args.get("token") or viewer.token)
        else:
            if kind in ("sample", "save"):
                self.quotas.request(run)
            if kind == "sample":
                self.quotas.drawn(self.reader.story(run))
            launch.ask(run, kind, self.reader, **args)
        self.launcher.wake()
        return self.get(viewer, run_id)

    def edit(self, viewer: Viewer, run_id: str, config: dict[str, Any], resume: bool = False) -> dict[str, Any]:
        """Change settings of a run on its way, and with `resume` let it go on with them; returns its record."""
        run = self.find(viewer, run_id, "write")
        self.quotas.request(run)
        self.quotas.edits(run)
        self.fair.check_edit(run, config)
        if resume:
            self.quotas.ask(viewer, "run")
            self.fair.check_resume(viewer, run)
            self.check_base(viewer, run)
        runs.change(run, config, self.reader)
        if resume:
            self.fair.resume(viewer, run)
            self.launcher.lend(run, viewer.token)
            self.launcher.wake()
        return self.get(viewer, run_id)

    def rename(self, viewer: Viewer, run_id: str, name: str) -> dict[str, Any]:
        """Give a run another name."""
        run = self.find(viewer, run_id, "write")
        run.update(name=clean_name(name))
        return self.get(viewer, run_id)

    def delete(self, viewer: Viewer, run_id: str) -> None:
        """Move a run to the trash, where it stays for seven days. Raises Refused while it is alive."""
        run = self.find(viewer, run_id, "write")
        runs.delete(self.home, run)
        self.reader.forget(run)
        self.quotas.stored.forget(viewer.id)

    # ------------------------------------------------------------------------------------------------- taking away

    def files(self, viewer: Viewer, run_id: str) -> dict[str, Any]:
        """What can be downloaded now: `schemas.runs.Files`."""
        run = self.find(viewer, run_id, "read")
        allowed = self._may_take_base(viewer, run)
        return {"items": [{"path": i.path, "size": i.size, "kind": i.kind, "weights": i.weights, "step": i.step,
                           "precision": i.precision, "programs": list(i.programs),
                           "url": f"/api/runs/{run.id}/files/{i.path}"}
                          for i in export.listing(run) if allowed or not export.holds_base(i.path)], "next": None}

    def open_file(self, viewer: Viewer, run_id: str, path: str) -> export.Download:
        """An item of `files`, open for reading; the caller closes it."""
        run = self.find(viewer, run_id, "read")
        if export.holds_base(path):
            self.check_base(viewer, run)
        try:
            return export.open_item(run, path)
        except KeyError:
            raise NotFound(Message("There is no such file in this run."),
                           Message("The run's list of files has what there is.")) from None

    def sample_file(self, viewer: Viewer, run_id: str, name: str) -> Path:
        """Where a sample picture lies; `name` must be one of the run's own samples."""
        run = self.find(viewer, run_id, "read")
        path = run.samples / name
        known = any(s["file"] == name for s in self.reader.story(run).samples)
        if not known or "/" in name or path.suffix not in _SAMPLE_TYPES or not path.is_file():
            raise NotFound(Message("There is no such sample picture in this run."),
                           Message("The run's record lists its samples."))
        return path

    # ------------------------------------------------------------------------------------------------- inside

    def find(self, viewer: Viewer, run_id: str, action: str) -> runs.Run:
        """The run, if the viewer may do `action` ("read", "write") with it. Raises NotFound, LoginNeeded."""
        try:
            run = runs.find(self.home, run_id)
        except runs.NotFound:
            require(viewer, None, action, "run")
            raise
        require(viewer, self.index.facts(run).get("owner"), action, "run")
        return run

    def _may_take_base(self, viewer: Viewer, run: runs.Run) -> bool:
        """Whether downloads with the base's files are listed; where the Hub is silent they are, and opening asks."""
        try:
            self.check_base(viewer, run)
        except NotReadable:
            return False
        except Unavailable:
            return True
        return True

    def _sees(self, viewer: Viewer, facts: WorkRecord) -> bool:
        return may(viewer, facts.get("owner"), "read")

    def _record(self, run: runs.Run, queue: dict[str, int]) -> dict[str, Any]:
        revision = run.revision()
        state, story = self.reader.state(run)
        found = serializers.record(run, run.record(), self.config_of(run), state, story, queue.get(run.id))
        return {**found, "revision": revision, "usage": self._usage(run, state),
                "error": hub.redact_data(found["error"]),
                "warnings": [*hub.redact_data(found["warnings"]), *serializers.disk(run, state)]}

    def _usage(self, run: runs.Run, state: str) -> Usage | None:
        return self.meter.read(run) if state in events.ACTIVE else None

    def config_of(self, run: runs.Run) -> dict[str, Any]:
        """A run's settings with all edits; {} where its file is gone."""
        return run.settings() if run.config_file.exists() else {}

    def _place(self, run: runs.Run, state: str) -> int | None:
        return self.index.places().get(run.id) if state == "queued" else None

    def check_config(self, viewer: Viewer, config: Any) -> None:
        """Where strangers may sign in, no setting names a path on the server, and data sets are one's own."""
        if not isinstance(config, dict):
            return  # prepare says what is wrong with it
        section = config.get("model")
        base = section.get("base", "embedded") if isinstance(section, dict) else "embedded"
        if self.settings.public and isinstance(base, str) and base != "embedded" and not is_hub_id(base):
            raise config_.fault("model.base",
                                Message("a base model here is `embedded` or a Hub id such as "
                                        "`stable-diffusion-v1-5/stable-diffusion-v1-5`, not a folder of the server"))
        if isinstance(base, str) and (reason := self.why_not(viewer, base)):
            raise config_.fault("model.base", reason)
        self._check_dataset(viewer, config)

    def why_not(self, viewer: Viewer, base: str, token: str | None = None) -> str | None:
        """Why this base is not the viewer's to use; None where it is. Raises Unavailable where the Hub is silent.

        Where the machine is its owner's, so is its cache; where strangers sign in, the Hub is asked."""
        if not self.settings.public or not is_hub_id(base):
            return None
        return self.repositories.why_not(viewer, base, token=token)

    def check_base(self, viewer: Viewer, run: runs.Run, token: str | None = None) -> None:
        """Return if the viewer may (still) use the base of a run of theirs. Raises NotReadable, Unavailable."""
        base = run.config().model.base
        if self.settings.public and is_hub_id(base):
            self.repositories.require(viewer, base, token=token)

    def _check_dataset(self, viewer: Viewer, config: dict[str, Any]) -> None:
        section = config.get("data")
        wanted = section.get("dataset") if isinstance(section, dict) else None
        if not isinstance(wanted, str):
            return
        try:
            owner = datasets.find(self.home, wanted).owner
        except datasets.NotFound:
            return  # prepare says so
        if not may(viewer, owner, "read"):
            raise config_.fault("data.dataset", Message("there is no data set {name}", name=repr(wanted[:64])))


def _control_args(kind: str, args: dict[str, Any]) -> dict[str, str]:
    """What may come with a control: a prompt for `sample`; for `resume` a checkpoint's name, and a Hub token that the
    attempt is lent and nobody keeps."""
    names = {"sample": {"prompt"}, "resume": {"checkpoint", "token"}}.get(kind, set())
    args = {key: value for key, value in args.items() if value is not None}
    if set(args) - names:
        raise WebError(Message("{kind} takes no such settings.", kind=kind),
                       Message("Only sample takes one, prompt, and resume, checkpoint and token."))
    for name, value in args.items():
        if not isinstance(value, str) or len(value) > PROMPT_LENGTH:
            raise WebError(Message("The {name} must be text of at most {length} characters.", name=name,
                                   length=PROMPT_LENGTH), Message("Shorten it and try again."))
    return args


def _shown(run: runs.Run, event: Event) -> dict[str, Any]:
    """An event as it is served: numbers of the process's own clock stay inside, texts are redacted."""
    shown = {k: v for k, v in event.items() if k != "mono"}
    if event["kind"] == "sample":
        shown["url"] = serializers.sample(run, event)["url"]
    return shown if event["kind"] == "step" else hub.redact_data(shown)


def _token(created: float, run_id: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([created, run_id]).encode()).decode()


def _place(token: str) -> tuple[float, str]:
    try:
        created, run_id = json.loads(base64.urlsafe_b64decode(token.encode()))
        return float(created), str(run_id)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise WebError(Message("`after` is not a token of this list."),
                       Message("Use `next` of the page before.")) from None
