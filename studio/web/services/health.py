"""What a viewer can learn about the health of a data set, and put right; and what the model sees of a picture."""

from __future__ import annotations

import threading
from typing import Any

from studio import datasets, families
from studio.bases import source as source_
from studio.datasets import health
from studio.datasets.pictures import measures
from studio.datasets.text import tokens
from studio.folders.names import is_hub_id
from studio.messages import Message
from studio.web.access import Viewer, require
from studio.web.http.errors import WebError, there_are
from studio.web.services.core import Core, Service
from studio.web.services.datasets import DatasetService, brief, image
from studio.web.services.jobs import JobService

MOST_ITEMS = 50


class HealthService(Service):
    """The health of data sets."""

    def __init__(self, core: Core, datasets: DatasetService, jobs: JobService):
        super().__init__(core)
        self.datasets = datasets
        self.jobs = jobs

    def measure(self, viewer: Viewer, dataset_id: str) -> dict[str, Any]:
        """Start measuring the pictures that are not measured yet; returns the job, the running one if there is one."""
        require(viewer, None, "create", "job")
        dataset = self.datasets.find(viewer, dataset_id, "read")
        live = self.jobs.live("measure", dataset.id)
        if live is not None and live.record()["owner"] == viewer.id:
            return self.jobs.get(viewer, live.id)
        return self.jobs.submit(viewer, "measure", {"dataset": dataset.id}, name=f"Measure {dataset.name}", light=True,
                                subject=dataset.id)

    def report(self, viewer: Viewer, dataset_id: str, wanted: dict[str, Any]) -> dict[str, Any]:
        """What may spoil a training with `resolution`, `base` and `trigger`: {count, measured, findings, histograms}.

        `measured` of `count` pictures have a hash and a blur: copies that are not exact, and blur, are found among
        those alone. `encoders` is empty where the base's tokenizers are not on this machine yet."""
        dataset = self.datasets.find(viewer, dataset_id, "read")
        goal, rows, found = self._examined(viewer, dataset, wanted)
        known = measures.known(self.home, dataset.id)
        return {
            "id": dataset.id, "count": len(rows), "measured": sum(row["image"] in known for row in rows),
            "resolution": goal.resolution, "trigger": goal.trigger,
            "encoders": [{"name": e.name, "limit": e.limit} for e in goal.encoders],
            "findings": [self._finding(dataset, finding) for finding in found],
            **health.histograms(rows, goal.resolution)}

    def fix(self, viewer: Viewer, dataset_id: str, code: str, fix: str, wanted: dict[str, Any],
            ids: list[str] | None = None) -> dict[str, Any]:
        """Put a finding right, for all its pictures or those in `ids`, as one step of undo; a shipped set is copied
        first. Returns the data set with `changed`, the number of pictures."""
        require(viewer, None, "create", "data set")
        dataset = self.datasets.find(viewer, dataset_id, "read")
        goal, rows, found = self._examined(viewer, dataset, wanted)
        finding = next((f for f in found if f.code == code), None)
        if finding is None:
            raise WebError(Message("There is no finding {code} in this data set.", code=repr(code[:40])),
                           Message("There are: {names}.", names=", ".join(f.code for f in found) or Message("none")))
        if fix not in finding.fixes:
            raise WebError(Message("{code} has no fix {fix}.", code=code, fix=repr(fix[:40])),
                           there_are(finding.fixes))
        changes = health.changes(rows, finding, fix, goal, None if ids is None else set(ids))
        dataset = self.datasets.editable(viewer, dataset_id)
        changed = dataset.edit(changes, f"{code}/{fix}")
        return {**brief(dataset), "changed": changed}

    def see(self, viewer: Viewer, dataset_id: str, pid: str, wanted: dict[str, Any]) -> dict[str, Any]:
        """Start showing what the model sees of a picture; returns the job, whose results are the pictures."""
        require(viewer, None, "create", "job")
        dataset = self.datasets.find(viewer, dataset_id, "read")
        row, goal = dataset.row(pid), self._goal(viewer, wanted)
        args = {"dataset": dataset.id, "pid": pid, "crop": row.get("crop"), "base": _base(wanted),
                "resolution": goal.resolution, "buckets": bool(wanted.get("buckets"))}
        live = self.jobs.live("see", dataset.id, args)
        if live is not None and live.record()["owner"] == viewer.id:
            return self.jobs.get(viewer, live.id)
        return self.jobs.submit(viewer, "see", args, name=f"What the model sees of {row['name']}", light=True,
                                subject=dataset.id)

    def tokens(self, viewer: Viewer, dataset_id: str, pid: str, wanted: dict[str, Any]) -> dict[str, Any]:
        """A picture's captions as tokens: {"captions": [{caption, encoders: [{encoder, limit, tokens, kept, cut}]}]};
        `tokens` are [start, end] in characters, from character `kept` on nothing is read."""
        row = self.datasets.find(viewer, dataset_id, "read").row(pid)
        encoders = self._goal(viewer, wanted).encoders
        return {"captions": [{"caption": text, "encoders": [encoder.read(text) for encoder in encoders]}
                             for text in row["captions"]]}

    def _goal(self, viewer: Viewer, wanted: dict[str, Any]) -> health.Wanted:
        resolution, base = wanted.get("resolution"), _base(wanted)
        if self.settings.public and base != "embedded":
            if not is_hub_id(base):
                raise WebError(Message("A base model here is `embedded` or a Hub id, no folder of the server."),
                               Message("Choose another."))
            self.repositories.require(viewer, base)
        found = source_.locate(base)
        if resolution is None:  # what a run of this base would train at
            own = families.of(found).defaults(found)["data"] if found is not None else {}
            resolution = own.get("resolution", 512)
        encoders = tuple(tokens.encoders(found)) if found is not None else ()
        return health.Wanted(int(resolution), str(wanted.get("trigger") or "").strip()[:200], encoders)

    def _examined(self, viewer: Viewer, dataset: datasets.Dataset,
                  wanted: dict[str, Any]) -> tuple[health.Wanted, list[dict[str, Any]], list[health.Finding]]:
        """What is wanted, the rows, and the findings, which are kept while neither rows nor measures change."""
        goal, snapshot = self._goal(viewer, wanted), dataset.snapshot()
        measured = measures.known(self.home, dataset.id)
        key = (dataset.path, goal)
        with _lock:
            kept = _kept.get(key)
        if kept is None or kept[0] is not snapshot or kept[1] is not measured:
            same = self._copies(dataset, snapshot, measured)
            kept = snapshot, measured, health.examine(snapshot.rows, measured, goal, same)
            _keep(key, kept)
        return goal, snapshot.rows, kept[2]

    def _copies(self, dataset: datasets.Dataset, snapshot: Any, measured: Any) -> list[health.Finding]:
        """The copies in a data set: another resolution or trigger word does not have them looked for again."""
        with _lock:
            kept = _kept.get(dataset.path)
        if kept is None or kept[0] is not snapshot or kept[1] is not measured:
            kept = snapshot, measured, health.copies(snapshot.rows, measured)
            _keep(dataset.path, kept)
        return kept[2]

    def _finding(self, dataset: datasets.Dataset, finding: health.Finding) -> dict[str, Any]:
        """A finding as it is served: the first MOST_ITEMS pictures, with their addresses and what is wrong."""
        shown = [{**image(dataset, dataset.row(item["pid"])), **{k: v for k, v in item.items() if k != "pid"}}
                 for item in finding.items[:MOST_ITEMS]]
        return {"code": finding.code, "count": len(finding.items), "fixes": list(finding.fixes), "items": shown,
                "groups": finding.groups[:MOST_ITEMS]}


def _base(wanted: dict[str, Any]) -> str:
    return str(wanted.get("base") or "embedded")


def _keep(key: Any, kept: tuple[Any, Any, list[health.Finding]]) -> None:
    with _lock:
        _kept[key] = kept
        while len(_kept) > 16:
            _kept.pop(next(iter(_kept)))


_lock = threading.Lock()
_kept: dict[Any, tuple[Any, Any, list[health.Finding]]] = {}
