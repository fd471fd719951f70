"""What a viewer can do with many captions at once: search and replace, tags, and suggestions of a captioning model."""

from __future__ import annotations

from typing import Any

from studio.datasets.text import caption_edits, suggestions
from studio.folders.names import is_hub_id
from studio.messages import Message
from studio.web.access import Viewer
from studio.web.http.errors import WebError, there_are
from studio.web.services.core import Core, Service
from studio.web.services.datasets import DatasetService, brief, image
from studio.web.services.jobs import JobService

PREVIEWED = 20
LENGTH = 2000  # characters of a text that is found, put in, or asked with
HOW = ("replace", "append", "prepend")


class CaptionService(Service):
    """Captions in bulk."""

    def __init__(self, core: Core, datasets: DatasetService, jobs: JobService):
        super().__init__(core)
        self.datasets = datasets
        self.jobs = jobs

    def tags(self, viewer: Viewer, dataset_id: str, limit: int = 200) -> dict[str, Any]:
        """The comma-separated parts of all captions: {"items": [{tag, count}], "total"}, most used first."""
        found = caption_edits.tags(self.datasets.find(viewer, dataset_id, "read").snapshot().rows)
        return {"items": [{"tag": tag, "count": count} for tag, count in found[:limit]], "total": len(found),
                "next": None}

    def edit(self, viewer: Viewer, dataset_id: str, change: caption_edits.Change, *, q: str = "",
             ids: list[str] | None = None, preview: bool = False) -> dict[str, Any]:
        """Edit the captions of all pictures, those that `q` finds, or those in `ids`, as one step of undo.

        With `preview` nothing is changed: {"changed", "examples": [{id, before, after}]}; else the data set (a copy of
        the shipped one) with `changed`."""
        self.datasets.check_writable(viewer, dataset_id)
        texts = (change.find, change.replace, change.prefix, change.suffix, change.trigger)
        if any(len(text) > LENGTH for text in texts):
            raise WebError(Message("Each text may have at most {length} characters.", length=LENGTH),
                           Message("Shorten it and try again."))
        if not any((change.find, change.prefix, change.suffix, change.trigger)):
            raise WebError(Message("Nothing to change was given."), Message("Give find, prefix, suffix or trigger."))
        snapshot = self.datasets.find(viewer, dataset_id, "read").snapshot()
        only = None if ids is None else set(ids)
        rows = [row for row in snapshot.search(q) if only is None or row["pid"] in only]
        changes = caption_edits.changed(rows, change.apply)
        if preview:
            examples = [{"id": pid, "before": snapshot.by_pid[pid]["captions"], "after": new["captions"]}
                        for pid, new in list(changes.items())[:PREVIEWED]]
            return {"changed": len(changes), "examples": examples}
        dataset = self.datasets.editable(viewer, dataset_id)
        changed = dataset.edit(changes, "captions")
        return {**brief(dataset), "changed": changed}

    def suggest(self, viewer: Viewer, dataset_id: str, model: str, *, ids: list[str] | None = None,
                prompt: str = "", missing_only: bool = False, max_new_tokens: int = 64) -> dict[str, Any]:
        """Start a model on suggesting captions; returns the job (its `subject` is the data set, a copy of the shipped
        one). The suggestions wait until somebody applies them."""
        self.datasets.check_writable(viewer, dataset_id)
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
        dataset, only = self.datasets.editable(viewer, dataset_id), None if ids is None else set(ids)
        rows = [row for row in dataset.snapshot().rows if (only is None or row["pid"] in only)
                and not (missing_only and any(text.strip() for text in row["captions"]))]
        if not rows:
            raise WebError(Message("There is no picture to caption."),
                           Message("Choose others, or caption those that have one too."))
        args = {"dataset": dataset.id, "model": model, "prompt": prompt, "max_new_tokens": max_new_tokens,
                "pids": [row["pid"] for row in rows] if ids is not None or missing_only else None}
        return self.jobs.submit(viewer, "caption", args, name=f"Caption {dataset.name}", light=False,
                                subject=dataset.id, lend_token=True)

    def suggestions(self, viewer: Viewer, dataset_id: str, offset: int = 0, limit: int = 50) -> dict[str, Any]:
        """Suggestions nobody has decided on: {"items": [picture with `suggestion` and `model`], "total", "next"}."""
        dataset = self.datasets.find(viewer, dataset_id, "read")
        waiting = list(suggestions.waiting(dataset).items())
        items = [{**image(dataset, dataset.row(pid)), "suggestion": entry["caption"], "model": entry.get("model")}
                 for pid, entry in waiting[offset : offset + limit]]
        following = offset + len(items)
        return {"items": items, "total": len(waiting), "next": following if following < len(waiting) else None}

    def decide(self, viewer: Viewer, dataset_id: str, *, apply: bool | None, ids: list[str] | None = None,
               how: str = "replace") -> dict[str, Any]:
        """Apply suggestions (all, or those of `ids`) as one step of undo, or dismiss them; returns the data set with
        `changed`."""
        dataset = self.datasets.find(viewer, dataset_id, "write")
        if apply is None:
            raise WebError(Message("Say whether to apply the suggestions."),
                           Message('Send {"apply": true}, or false to dismiss them.'))
        if how not in HOW:
            raise WebError(Message("There is no way {how} to apply a suggestion.", how=repr(how[:20])),
                           there_are(HOW))
        only = None if ids is None else set(ids)
        chosen = {pid: entry for pid, entry in suggestions.waiting(dataset).items() if only is None or pid in only}
        changed = 0
        if apply:
            self.quotas.little(viewer)
            rows = dataset.snapshot().by_pid
            changed = dataset.edit({pid: {"captions": _joined(rows[pid]["captions"], entry["caption"], how)}
                                    for pid, entry in chosen.items() if pid in rows}, "suggestions")
        suggestions.settle(dataset, chosen)
        return {**brief(dataset), "changed": changed}


def _joined(captions: list[str], suggested: str, how: str) -> list[str]:
    if how == "replace":
        return [suggested]
    parts = [(text, suggested) if how == "append" else (suggested, text) for text in captions]
    return [", ".join(part for part in pair if part.strip()) for pair in parts]
