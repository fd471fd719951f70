"""What a viewer can do with many captions at once: search and replace, tags, and suggestions of a captioning model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from operator import itemgetter
from typing import TypeVar

from studio.datasets.text import caption_edits, suggestions
from studio.folders.names import is_hub_id
from studio.messages import JsonObject, Message
from studio.web.access import Viewer
from studio.web.http.errors import WebError, there_are
from studio.web.http.paging import next_offset
from studio.web.services.core import Core, Service
from studio.web.services.datasets import DatasetService, brief, image
from studio.web.services.jobs import JobService

PREVIEWED = 20
LENGTH = 2000  # characters of a text that is found, put in, or asked with
HOW = ("replace", "append", "prepend")
Row = TypeVar("Row", bound=Mapping[str, object])


class CaptionService(Service):
    """Captions in bulk."""

    def __init__(self, core: Core, datasets: DatasetService, jobs: JobService):
        super().__init__(core)
        self.datasets = datasets
        self.jobs = jobs

    def tags(self, viewer: Viewer, dataset_id: str, limit: int = 200) -> JsonObject:
        """The comma-separated parts of all captions: {"items": [{tag, count}], "total"}, most used first."""
        tags = caption_edits.tags(self.datasets.find(viewer, dataset_id, "read").snapshot().rows)
        return {"items": [{"tag": tag, "count": count} for tag, count in tags[:limit]], "total": len(tags),
                "next": None}

    def edit(self, viewer: Viewer, dataset_id: str, change: caption_edits.Change, *, q: str = "",
             ids: list[str] | None = None, preview: bool = False) -> JsonObject:
        """Edit the captions of all pictures, those that `q` finds, or those in `ids`, as one step of undo.

        With `preview` nothing is changed: {"changed", "examples": [{id, before, after}]}; else the data set (a copy of
        the shipped one) with `changed`."""
        self.datasets.check_writable(viewer, dataset_id)
        texts = (change.find, change.replace, change.prefix, change.suffix, change.trigger)
        if max(map(len, texts)) > LENGTH:
            raise WebError(Message("Each text may have at most {length} characters.", length=LENGTH),
                           Message("Shorten it and try again."))
        if not any((change.find, change.prefix, change.suffix, change.trigger)):
            raise WebError(Message("Nothing to change was given."), Message("Give find, prefix, suffix or trigger."))
        snapshot = self.datasets.find(viewer, dataset_id, "read").snapshot()
        changes = caption_edits.changed(_chosen(snapshot.search(q), ids), change.apply)
        if preview:
            examples = []
            for pid, new in islice(changes.items(), PREVIEWED):
                examples.append({"id": pid, "before": snapshot.by_pid[pid]["captions"], "after": new["captions"]})
            return {"changed": len(changes), "examples": examples}
        dataset = self.datasets.editable(viewer, dataset_id)
        changed = dataset.edit(changes, "captions")
        return {**brief(dataset), "changed": changed}

    def suggest(self, viewer: Viewer, dataset_id: str, model: str, *, ids: list[str] | None = None,
                prompt: str = "", missing_only: bool = False, max_new_tokens: int = 64) -> JsonObject:
        """Start a model on suggesting captions; returns the job (its `subject` is the data set, a copy of the shipped
        one). The suggestions wait until somebody applies them."""
        self.datasets.check_writable(viewer, dataset_id)
        self._check_model(viewer, model, prompt, max_new_tokens)
        dataset = self.datasets.editable(viewer, dataset_id)
        rows = _chosen(dataset.snapshot().rows, ids)
        if missing_only:
            rows = [row for row in rows if not any(map(str.strip, row["captions"]))]
        if not rows:
            raise WebError(Message("There is no picture to caption."),
                           Message("Choose others, or caption those that have one too."))
        pids = None  # all
        if ids is not None or missing_only:
            pids = list(map(itemgetter("pid"), rows))
        args = {"dataset": dataset.id, "model": model, "prompt": prompt, "max_new_tokens": max_new_tokens,
                "pids": pids}
        return self.jobs.submit(viewer, "caption", args, name=f"Caption {dataset.name}", light=False,
                                subject=dataset.id, lend_token=True)

    def _check_model(self, viewer: Viewer, model: str, prompt: str, max_new_tokens: int) -> None:
        """Return if the viewer may caption with this model and prompt. Raises WebError, OverQuota, NotReadable."""
        if not model or len(model) > 300 or len(prompt) > LENGTH or not 1 <= max_new_tokens <= 512:
            raise WebError(Message("A captioning model is a Hub id or a folder; the prompt has at most 2,000 "
                                   "characters; max_new_tokens is between 1 and 512."),
                           Message("Correct it and try again."))
        if self.settings.public:
            if not is_hub_id(model):
                raise WebError(Message("A captioning model here is a Hub id, not a folder of the server."),
                               Message("Choose another."))
            self.quotas.ask(viewer, "job")
            self.repositories.require(viewer, model)

    def suggestions(self, viewer: Viewer, dataset_id: str, offset: int = 0, limit: int = 50) -> JsonObject:
        """Suggestions nobody has decided on: {"items": [picture with `suggestion` and `model`], "total", "next"}."""
        dataset = self.datasets.find(viewer, dataset_id, "read")
        waiting = list(suggestions.waiting(dataset).items())
        items = []
        for pid, entry in waiting[offset : offset + limit]:
            items.append({**image(dataset, dataset.row(pid)), "suggestion": entry["caption"],
                          "model": entry.get("model")})
        return {"items": items, "total": len(waiting), "next": next_offset(offset + len(items), len(waiting))}

    def decide(self, viewer: Viewer, dataset_id: str, *, apply: bool | None, ids: list[str] | None = None,
               how: str = "replace") -> JsonObject:
        """Apply suggestions (all, or those of `ids`) as one step of undo, or dismiss them; returns the data set with
        `changed`."""
        dataset = self.datasets.find(viewer, dataset_id, "write")
        if apply is None:
            raise WebError(Message("Say whether to apply the suggestions."),
                           Message('Send {"apply": true}, or false to dismiss them.'))
        if how not in HOW:
            raise WebError(Message("There is no way {how} to apply a suggestion.", how=repr(how[:20])),
                           there_are(HOW))
        chosen = suggestions.waiting(dataset)
        if ids is not None:
            pids = set(ids)
            chosen = {pid: entry for pid, entry in chosen.items() if pid in pids}
        changed = 0
        if apply:
            self.quotas.little(viewer)
            rows = dataset.snapshot().by_pid
            edits = {}
            for pid, entry in chosen.items():
                if pid in rows:
                    edits[pid] = {"captions": _joined(rows[pid]["captions"], entry["caption"], how)}
            changed = dataset.edit(edits, "suggestions")
        suggestions.settle(dataset, chosen)
        return {**brief(dataset), "changed": changed}


def _chosen(rows: Iterable[Row], ids: list[str] | None) -> list[Row]:
    """The rows of these pictures; of all without `ids`."""
    if ids is None:
        return list(rows)
    pids = set(ids)
    return [row for row in rows if row["pid"] in pids]


def _joined(captions: list[str], suggested: str, how: str) -> list[str]:
    """The captions with the suggested text put in by `how` (HOW); parts without a word are left out."""
    if how == "replace":
        return [suggested]
    joined = []
    for text in captions:
        parts = (text, suggested) if how == "append" else (suggested, text)
        joined.append(", ".join(filter(str.strip, parts)))
    return joined
