"""What a viewer can do with what was deleted: look, put it back, remove it for good."""

from __future__ import annotations

from typing import Any

from studio import trash
from studio.messages import Message
from studio.web.access import Viewer, may, require
from studio.web.http.errors import WebError
from studio.web.services.core import Service

PLACES = {"run": ("kept run",), "dataset": ("data set",)}  # what one restored takes a place among


class TrashService(Service):
    """The trash."""

    def all(self, viewer: Viewer) -> dict[str, Any]:
        """The viewer's own, newest first: {"items": [{id, kind, subject, name, part_of, owner, deleted, gone_at, bytes,
        restorable}], "next", "bytes"}."""
        entries = [entry for entry, owner in self.stored.discarded() if self._theirs(viewer, owner)]
        sizes, together = self.stored.freed_by(viewer.id, entries)
        items = [_described(entry, size) for entry, size in zip(entries, sizes, strict=True)]
        return {"items": items, "next": None, "bytes": together}

    def restore(self, viewer: Viewer, entry_id: str) -> dict[str, Any]:
        """Put one back where it was; returns what it was. Raises Refused where that cannot be, OverQuota."""
        entry = self._entry(viewer, entry_id)
        said = _described(entry, self.stored.freed_by(viewer.id, [entry])[1])
        with self.quotas.place(viewer, *PLACES.get(entry.kind, ())):
            self.quotas.needs(viewer, said["bytes"])
            trash.restore(entry)
        self.stored.forget(viewer.id)
        return said

    def remove(self, viewer: Viewer, entry_id: str) -> None:
        """Remove one for good."""
        trash.remove(self._entry(viewer, entry_id))
        self.stored.forget(viewer.id)

    def empty(self, viewer: Viewer, ids: list[Any] | None = None, everybody: bool = False) -> dict[str, Any]:
        """Remove all of the viewer's for good, those of `ids`, or what `everybody` deleted (an administrator's);
        {"removed", "bytes"}."""
        require(viewer, None, "administer" if everybody else "create", "trash")
        if everybody and ids is not None:
            raise WebError(Message("Either `ids` or `everybody` says what is to go."),
                           Message("Leave one of them out."))
        if ids is not None and not all(isinstance(entry_id, str) for entry_id in ids):
            raise WebError(Message("The ids of things in the trash are texts."),
                           Message("The list of the trash has them."))
        chosen = [(self._entry(viewer, entry_id), viewer.id) for entry_id in dict.fromkeys(ids or ())]
        if ids is None:
            chosen = [(entry, owner) for entry, owner in self.stored.discarded()
                      if everybody or self._theirs(viewer, owner)]
        freed = 0
        for owner in {owner for _, owner in chosen}:
            entries = [entry for entry, whose in chosen if whose == owner]
            together = self.stored.freed_by(owner, entries)[1]
            try:
                trash.remove(*entries)
            finally:
                self.stored.forget(owner)
            freed += together
        return {"removed": len(chosen), "bytes": freed}

    def _theirs(self, viewer: Viewer, owner: str) -> bool:
        """Whether the viewer may have it; what belongs to nobody any more is the owner's of the machine."""
        if not owner:
            return not self.settings.public and may(viewer, None, "create")
        return may(viewer, owner, "write")

    def _entry(self, viewer: Viewer, entry_id: str) -> trash.Entry:
        entry = next((entry for entry, owner in self.stored.discarded()
                      if entry.id == entry_id and self._theirs(viewer, owner)), None)
        if entry is None:
            require(viewer, None, "write", "thing in the trash")
        assert entry is not None  # `require` raised
        return entry


def _described(entry: trash.Entry, size: int) -> dict[str, Any]:
    """An entry as it is served. `subject` is its own id, or its name where it has none; `part_of` is the id of the run
    or data set that it belongs to, and `name` then that one's."""
    facts = entry.facts()
    return {"id": entry.id, "kind": entry.kind, "subject": entry.name.removesuffix(".json"),
            "name": str(facts.get("name") or ""), "part_of": entry.parent.name if entry.parent else None,
            "owner": str(facts.get("owner") or ""),
            "deleted": entry.deleted, "gone_at": entry.gone_at, "bytes": size,
            "restorable": entry.place is not None}
