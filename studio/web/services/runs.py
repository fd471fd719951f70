"""What a viewer can do with runs: list, create, control, follow, take away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

from studio import config as config_
from studio import datasets, export, launch, prepare, secrets, storage
from studio.config import PlainConfig
from studio.errors import Refused
from studio.folders import events, names, runs
from studio.folders.names import clean_name, is_hub_id
from studio.folders.work import Job, Work
from studio.insight import losses
from studio.messages import JsonObject, Message
from studio.web import logs
from studio.web.access import Viewer, may, require
from studio.web.http import paging, serializers
from studio.web.http.errors import NotFound, Unavailable, WebError, there_are
from studio.web.repositories import NotReadable
from studio.web.services.core import Core, Service
from studio.web.services.fair import FairService
from studio.web.services.jobs import JobService
from studio.web.usage.index import Record

NEWEST = 4  # samples and warnings of a run that lists have
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

    def all(self, viewer: Viewer, limit: int = 50, after: str | None = None) -> JsonObject:
        """The viewer's runs, newest first: {"items": [record without config], "next": token | None}."""
        end = paging.place(after) if after else None
        older = []
        for run, facts in self.index.all():
            place = facts["created"], run.id
            if self._sees(viewer, facts) and (end is None or place < end):
                older.append((*place, run))
        older.sort(reverse=True)
        page = older[: max(1, min(limit, 200))]
        queue = self.index.places()
        items = []
        for _, _, run in page:
            try:
                record = self._record(run, queue)
            except (storage.Corrupt, FileNotFoundError):
                continue  # deleted in this moment, or damaged: its own page says so
            record.pop("config")
            items.append({**record, "samples": record["samples"][-NEWEST:], "warnings": record["warnings"][-NEWEST:]})
        following = None
        if len(older) > len(page):
            created, run_id, _ = page[-1]
            following = paging.token(created, run_id)
        return {"items": items, "next": following}

    def get(self, viewer: Viewer, run_id: str) -> JsonObject:
        """One run's record."""
        return self._record(self.find(viewer, run_id, "read"), self.index.places())

    def queue(self, viewer: Viewer) -> JsonObject:
        """Which runs and jobs wait, in order: {"items": [{id, work, name, state, position}]}, `work` "run" or "job";
        others' are only counted."""
        waiting = self.index.queued()
        records = {work.id: facts for work, facts in (*self.index.all(), *self.index.jobs())}
        items = []
        for position, work in enumerate(waiting, 1):
            facts = records.get(work.id)  # None where it was deleted since
            if facts and self._sees(viewer, facts):
                items.append({"id": work.id, "work": work.word, "name": facts["name"], "state": "queued",
                              "position": position})
        return {"items": items, "next": None, "waiting": len(waiting)}

    def reorder(self, viewer: Viewer, order: list[str]) -> JsonObject:
        """Put the viewer's waiting runs and jobs into `order`; they share out the places they hold now."""
        waiting = {work.id: work for work in self.index.queued()}
        ordered: list[Work] = []
        for id_ in dict.fromkeys(order):
            find = self.jobs.find if isinstance(waiting.get(id_), Job) else self.find
            ordered.append(find(viewer, id_, "write"))
        started = [work.id for work in ordered if work.id not in waiting]
        if started:
            raise Refused(Message("Not waiting any more: {ids}.", ids=", ".join(started)),
                          Message("Look at the queue and try again."))
        ranks = sorted(work.record()["rank"] for work in ordered)
        for work, rank in zip(ordered, ranks, strict=True):
            work.update(rank=rank)
        return self.queue(viewer)

    def events(self, viewer: Viewer, run_id: str, since: int, limit: int = MOST_EVENTS) -> dict[str, Any]:
        """The run's status and its events after number `since`, at most 1,000; `next` is the number to go on from.
        `revision` is another whenever the record changed without an event."""
        run = self.find(viewer, run_id, "read")
        state, history = self.reader.state(run)
        read = []
        if since < history.seq:
            read = events.read_since(run.events_file, since, max(1, min(limit, MOST_EVENTS)))
        revision = run.revision()  # before the rest: a change in between is then told again rather than lost
        place = self._place(run, state)
        note = serializers.note(run.record(), state, place)
        status = serializers.status(run, state, history, self.config_of(run), place, self.usual, note)
        following = read[-1]["seq"] if read else min(since, history.seq)
        return {**status, "revision": revision, "usage": self._usage(run, state), "next": following,
                "last": history.seq, "events": [_shown(run, event) for event in serializers.telling(read)]}

    def poll_tag(self, viewer: Viewer, run_id: str) -> str:
        """A short text that changes whenever `events` would answer something new."""
        return self.index.tag(self.find(viewer, run_id, "read"))

    def quick_tag(self, viewer: Viewer, run_id: str) -> str | None:
        """`poll_tag` from a few looks at files; None where it hangs on others too, since the run waits in the queue."""
        run = self.find(viewer, run_id, "read")
        if self.index.waits(run):
            return None
        return run.change_token()

    def log(self, viewer: Viewer, run_id: str, since: int | None = None) -> JsonObject:
        """Whole lines of the run's output from byte `since` on (by default the last 32 KB), without tokens:
        {"text", "since", "next", "size"}."""
        return logs.lines(self.find(viewer, run_id, "read"), since)

    def series(self, viewer: Viewer, run_id: str, keys: list[str] | None = None, from_: int = 0, to: int | None = None,
               points: int = 1000) -> JsonObject:
        """The run's curve as columns down-sampled to min/mean/max; see `serializers.series`."""
        keys = list(dict.fromkeys(keys or ["loss", "lr"]))
        unknown = [key for key in keys if key not in serializers.SERIES]
        if unknown:
            raise WebError(Message("There is no series {name}.", name=repr(unknown[0][:40])),
                           there_are(serializers.SERIES))
        run = self.find(viewer, run_id, "read")
        state, history = self.reader.state(run)
        points = max(1, min(points, serializers.MOST_POINTS))
        return {"state": state, **serializers.series(history, keys, from_, to, points)}

    def pictures(self, viewer: Viewer, run_id: str, sort: str = "-loss", offset: int = 0,
                 limit: int = 60) -> JsonObject:
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

    def create(self, viewer: Viewer, name: str, config: PlainConfig) -> JsonObject:
        """The record of a new run, which waits in the queue (`Launcher.tick` starts it). Raises ConfigError with every
        problem at once."""
        require(viewer, None, "create", "run")
        with self.quotas.place(viewer, "run", "kept run"):
            self.check_config(viewer, config)
            run = prepare.submit(self.home, name=clean_name(name), owner=viewer.id, config=config, token=viewer.token,
                                 look=lambda plan: self.fair.check_plan(viewer, plan))
        self.launcher.lend(run, viewer.token)
        self.launcher.wake()
        return self.get(viewer, run.id)

    def branch(self, viewer: Viewer, run_id: str, checkpoint: str | None, name: str | None,
               config: PlainConfig) -> JsonObject:
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

    def control(self, viewer: Viewer, run_id: str, kind: str, args: Mapping[str, object] | None = None) -> JsonObject:
        """stop, cancel, pause, save, sample or resume; returns the record."""
        run = self.find(viewer, run_id, "write")
        known = [*runs.CONTROLS, "resume"]
        known.remove("edit")
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
                self.quotas.drawn(self.reader.history(run))
            launch.ask(run, kind, self.reader, **args)
        self.launcher.wake()
        return self.get(viewer, run_id)

    def edit(self, viewer: Viewer, run_id: str, config: PlainConfig, resume: bool = False) -> JsonObject:
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

    def rename(self, viewer: Viewer, run_id: str, name: str) -> JsonObject:
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

    def files(self, viewer: Viewer, run_id: str) -> JsonObject:
        """What can be downloaded now: `schemas.runs.Files`."""
        run = self.find(viewer, run_id, "read")
        may_take_base = self._may_take_base(viewer, run)
        items = []
        for item in export.listing(run):
            if may_take_base or not export.holds_base(item.path):
                items.append({"path": item.path, "size": item.size, "kind": item.kind, "weights": item.weights,
                              "step": item.step, "precision": item.precision, "programs": list(item.programs),
                              "url": f"/api/runs/{run.id}/files/{item.path}"})
        return {"items": items, "next": None}

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
        known = map(itemgetter("file"), self.reader.history(run).samples)
        if name not in known or "/" in name or path.suffix not in _SAMPLE_TYPES or not path.is_file():
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

    def _sees(self, viewer: Viewer, facts: Record) -> bool:
        return may(viewer, facts.get("owner"), "read")

    def _record(self, run: runs.Run, queue: dict[str, int]) -> dict[str, Any]:
        revision = run.revision()
        state, history = self.reader.state(run)
        record = serializers.record(run, run.record(), self.config_of(run), state, history, queue.get(run.id),
                                    self.usual)
        return {**record, "revision": revision, "usage": self._usage(run, state),
                "error": secrets.redact_data(record["error"]),
                "warnings": [*secrets.redact_data(record["warnings"]), *serializers.disk(run, state)]}

    def _usage(self, run: runs.Run, state: str) -> Mapping[str, object] | None:
        """What the processes of a live run take now."""
        return self.meter.read(run) if state in events.ACTIVE else None

    def config_of(self, run: runs.Run) -> PlainConfig:
        """A run's settings with all edits; {} where its file is gone."""
        return run.settings() if run.config_file.exists() else {}

    def _place(self, run: runs.Run, state: str) -> int | None:
        """The place in the queue of a run that waits."""
        return self.index.places().get(run.id) if state == "queued" else None

    def check_config(self, viewer: Viewer, config: object) -> None:
        """Where strangers may sign in, no setting names a path on the server, and data sets are one's own."""
        if not isinstance(config, dict):
            return  # prepare says what is wrong with it
        base = _setting(config, "model", "base", "embedded")
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

    def _check_dataset(self, viewer: Viewer, config: PlainConfig) -> None:
        dataset = _setting(config, "data", "dataset", None)
        if not isinstance(dataset, str):
            return
        try:
            owner = datasets.find(self.home, dataset).owner
        except datasets.NotFound:
            return  # prepare says so
        if not may(viewer, owner, "read"):
            raise config_.fault("data.dataset", Message("there is no data set {name}", name=repr(dataset[:64])))


def _setting(config: PlainConfig, section: str, name: str, default: str | None) -> object:
    """A setting of a config that nobody has checked yet; `default` where it has none, or no such section."""
    values = config.get(section)
    if not isinstance(values, dict):
        return default
    return values.get(name, default)


def _control_args(kind: str, args: Mapping[str, object]) -> dict[str, str]:
    """What may come with a control: a prompt for `sample`; for `resume` a checkpoint's name, and a Hub token that the
    attempt is lent and nobody keeps."""
    names = {"sample": {"prompt"}, "resume": {"checkpoint", "token"}}.get(kind, set())
    sent = {key: value for key, value in args.items() if value is not None}
    if set(sent) - names:
        raise WebError(Message("{kind} takes no such settings.", kind=kind),
                       Message("Only sample takes one, prompt, and resume, checkpoint and token."))
    texts = {}
    for name, value in sent.items():
        if not isinstance(value, str) or len(value) > PROMPT_LENGTH:
            raise WebError(Message("The {name} must be text of at most {length} characters.", name=name,
                                   length=PROMPT_LENGTH), Message("Shorten it and try again."))
        texts[name] = value
    return texts


def _shown(run: runs.Run, event: Mapping[str, object]) -> JsonObject:
    """An event as it is served: numbers of the process's own clock stay inside, texts are redacted."""
    shown = serializers.without_clock(event)
    if event["kind"] == "sample":
        shown["url"] = names.sample_url(run.id, event.get("file"))
    if event["kind"] == "step":  # it has no text
        return shown
    return secrets.redact_data(shown)
