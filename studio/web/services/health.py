"""What a viewer can learn about the health of a data set, and put right; and what the model sees of a picture."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

from studio import datasets, families
from studio.bases import source as source_
from studio.datasets import health
from studio.datasets.edit_log import Snapshot
from studio.datasets.pictures import measures
from studio.datasets.text import tokens
from studio.folders.names import is_hub_id
from studio.messages import JsonObject, Message
from studio.web.access import Viewer, require
from studio.web.http.errors import WebError, there_are
from studio.web.services.core import Core, Service
from studio.web.services.datasets import DatasetService, brief, image
from studio.web.services.jobs import JobService

MOST_ITEMS = 50
MOST_REMEMBERED = 16  # looks at data sets


@dataclass(frozen=True)
class HealthSnapshot:
    """What was found in the rows and the measures of one moment."""

    snapshot: Snapshot
    measured: Mapping[str, object]
    findings: list[health.Finding]


class HealthService(Service):
    """The health of data sets."""

    def __init__(self, core: Core, datasets: DatasetService, jobs: JobService):
        super().__init__(core)
        self.datasets = datasets
        self.jobs = jobs

    def measure(self, viewer: Viewer, dataset_id: str) -> JsonObject:
        """Start measuring the pictures that are not measured yet; returns the job, the running one if there is one."""
        require(viewer, None, "create", "job")
        dataset = self.datasets.find(viewer, dataset_id, "read")
        live = self.jobs.live("measure", dataset.id)
        if live is not None and live.record()["owner"] == viewer.id:
            return self.jobs.get(viewer, live.id)
        return self.jobs.submit(viewer, "measure", {"dataset": dataset.id}, name=f"Measure {dataset.name}", light=True,
                                subject=dataset.id)

    def report(self, viewer: Viewer, dataset_id: str, training: Mapping[str, object]) -> JsonObject:
        """What may spoil a training with `resolution`, `base` and `trigger`: {count, measured, findings, histograms}.

        `measured` of `count` pictures have a hash and a blur: copies that are not exact, and blur, are found among
        those alone. `encoders` is empty where the base's tokenizers are not on this machine yet."""
        dataset = self.datasets.find(viewer, dataset_id, "read")
        goal = self._goal(viewer, training)
        snapshot = dataset.snapshot()
        findings = self._examined(dataset, snapshot, goal)
        known = measures.known(self.home, dataset.id)
        return {
            "id": dataset.id, "count": len(snapshot.rows),
            "measured": sum(row["image"] in known for row in snapshot.rows),
            "resolution": goal.resolution, "trigger": goal.trigger,
            "encoders": [{"name": encoder.name, "limit": encoder.limit} for encoder in goal.encoders],
            "findings": [_served(dataset, finding) for finding in findings],
            **health.histograms(snapshot.rows, goal.resolution)}

    def fix(self, viewer: Viewer, dataset_id: str, code: str, fix: str, training: Mapping[str, object],
            ids: list[str] | None = None) -> JsonObject:
        """Put a finding right, for all its pictures or those in `ids`, as one step of undo; a shipped set is copied
        first. Returns the data set with `changed`, the number of pictures."""
        require(viewer, None, "create", "data set")
        dataset = self.datasets.find(viewer, dataset_id, "read")
        goal = self._goal(viewer, training)
        snapshot = dataset.snapshot()
        findings = {finding.code: finding for finding in self._examined(dataset, snapshot, goal)}
        finding = findings.get(code)
        if finding is None:
            raise WebError(Message("There is no finding {code} in this data set.", code=repr(code[:40])),
                           Message("There are: {names}.", names=", ".join(findings) or Message("none")))
        if fix not in finding.fixes:
            raise WebError(Message("{code} has no fix {fix}.", code=code, fix=repr(fix[:40])),
                           there_are(finding.fixes))
        only = None if ids is None else set(ids)
        changes = health.changes(snapshot.rows, finding, fix, goal, only)
        dataset = self.datasets.editable(viewer, dataset_id)
        changed = dataset.edit(changes, f"{code}/{fix}")
        return {**brief(dataset), "changed": changed}

    def see(self, viewer: Viewer, dataset_id: str, pid: str, training: Mapping[str, object]) -> JsonObject:
        """Start showing what the model sees of a picture; returns the job, whose results are the pictures."""
        require(viewer, None, "create", "job")
        dataset = self.datasets.find(viewer, dataset_id, "read")
        row = dataset.row(pid)
        goal = self._goal(viewer, training)
        args = {"dataset": dataset.id, "pid": pid, "crop": row.get("crop"), "base": _base(training),
                "resolution": goal.resolution, "buckets": bool(training.get("buckets"))}
        live = self.jobs.live("see", dataset.id, args)
        if live is not None and live.record()["owner"] == viewer.id:
            return self.jobs.get(viewer, live.id)
        return self.jobs.submit(viewer, "see", args, name=f"What the model sees of {row['name']}", light=True,
                                subject=dataset.id)

    def tokens(self, viewer: Viewer, dataset_id: str, pid: str, training: Mapping[str, object]) -> JsonObject:
        """A picture's captions as tokens: {"captions": [{caption, encoders: [{encoder, limit, tokens, kept, cut}]}]};
        `tokens` are [start, end] in characters, from character `kept` on nothing is read."""
        row = self.datasets.find(viewer, dataset_id, "read").row(pid)
        encoders = self._goal(viewer, training).encoders
        captions = []
        for text in row["captions"]:
            captions.append({"caption": text, "encoders": [encoder.read(text) for encoder in encoders]})
        return {"captions": captions}

    def _goal(self, viewer: Viewer, training: Mapping[str, object]) -> health.TrainingGoal:
        """What the data set is to be used for; the resolution is by default what a run of the base would train at.
        Raises WebError, NotReadable."""
        base = _base(training)
        if self.settings.public and base != "embedded":
            if not is_hub_id(base):
                raise WebError(Message("A base model here is `embedded` or a Hub id, no folder of the server."),
                               Message("Choose another."))
            self.repositories.require(viewer, base)
        source = source_.locate(base)
        asked = training.get("resolution")
        resolution = 512
        if isinstance(asked, int):
            resolution = asked
        elif source is not None:
            resolution = int(families.of(source).defaults(source)["data"].get("resolution", 512))
        encoders = ()
        if source is not None:
            encoders = tuple(tokens.encoders(source))
        return health.TrainingGoal(resolution, str(training.get("trigger") or "").strip()[:200], encoders)

    def _examined(self, dataset: datasets.Dataset, snapshot: Snapshot,
                  goal: health.TrainingGoal) -> list[health.Finding]:
        """The findings in a data set's rows. The copies hang on no goal: another resolution or trigger word does not
        have them looked for again."""
        measured = measures.known(self.home, dataset.id)

        def look_for_copies() -> list[health.Finding]:
            return health.copies(snapshot.rows, measured)

        def examine() -> list[health.Finding]:
            same = _remembered(dataset.path, snapshot, measured, look_for_copies)
            return health.examine(snapshot.rows, measured, goal, same)

        return _remembered((dataset.path, goal), snapshot, measured, examine)


def _served(dataset: datasets.Dataset, finding: health.Finding) -> JsonObject:
    """A finding as it is served: the first MOST_ITEMS pictures, with their addresses and what is wrong."""
    items = []
    for item in finding.items[:MOST_ITEMS]:
        flaws = dict(item)
        del flaws["pid"]
        items.append({**image(dataset, dataset.row(item["pid"])), **flaws})
    return {"code": finding.code, "count": len(finding.items), "fixes": list(finding.fixes), "items": items,
            "groups": finding.groups[:MOST_ITEMS]}


def _base(training: Mapping[str, object]) -> str:
    return str(training.get("base") or "embedded")


def _remembered(key: Hashable, snapshot: Snapshot, measured: Mapping[str, object],
                find: Callable[[], list[health.Finding]]) -> list[health.Finding]:
    """What `find` answered under `key` where neither rows nor measures changed since; else what it answers now."""
    with _lock:
        look = _looks.get(key)
    if look is None or look.snapshot is not snapshot or look.measured is not measured:
        look = HealthSnapshot(snapshot, measured, find())
        with _lock:
            _looks[key] = look
            while len(_looks) > MOST_REMEMBERED:
                _looks.pop(next(iter(_looks)))
    return look.findings


_lock = threading.Lock()
_looks: dict[Hashable, HealthSnapshot] = {}
