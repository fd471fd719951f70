"""What a viewer can do with what was deleted: look, put it back, remove it for good."""

from __future__ import annotations

from studio import trash
from studio.messages import JsonObject, Message
from studio.web.access import Viewer, may, require
from studio.web.http.errors import WebError
from studio.web.services.core import Service

PLACES = {"run": ("kept run",), "dataset": ("data set",)}  # what one restored takes a place among


class TrashService(Service):
    """The trash."""

    def all(self, viewer: Viewer) -> JsonObject:
        """The viewer's own, newest first: {"items": [{id, kind, subject, name, part_of, owner, deleted, gone_at, bytes,
        restorable}], "next", "bytes"}."""
        entries = list(self._of_viewer(viewer))
        sizes, together = self.stored.freed_by(viewer.id, entries)
        return {"items": list(map(_described, entries, sizes)), "next": None, "bytes": together}

    def restore(self, viewer: Viewer, entry_id: str) -> JsonObject:
        """Put one back where it was; returns what it was. Raises Refused where that cannot be, OverQuota."""
        entry = self._entry(viewer, entry_id)
        _, size = self.stored.freed_by(viewer.id, [entry])
        described = _described(entry, size)
        with self.quotas.place(viewer, *PLACES.get(entry.kind, ())):
            self.quotas.needs(viewer, size)
            trash.restore(entry)
        self.stored.forget(viewer.id)
        return described

    def remove(self, viewer: Viewer, entry_id: str) -> None:
        """Remove one for good."""
        trash.remove(self._entry(viewer, entry_id))
        self.stored.forget(viewer.id)

    def empty(self, viewer: Viewer, ids: list[object] | None = None, everybody: bool = False) -> JsonObject:
        """Remove all of the viewer's for good, those of `ids`, or what `everybody` deleted (an administrator's);
        {"removed", "bytes"}."""
        require(viewer, None, "administer" if everybody else "create", "trash")
        if everybody and ids is not None:
            raise WebError(Message("Either `ids` or `everybody` says what is to go."),
                           Message("Leave one of them out."))
        if ids is not None:
            chosen = dict.fromkeys(self._named(viewer, ids), viewer.id)
        elif everybody:
            chosen = dict(self.stored.discarded())
        else:
            chosen = self._of_viewer(viewer)
        by_owner: dict[str, list[trash.Entry]] = {}
        for entry, owner in chosen.items():
            by_owner.setdefault(owner, []).append(entry)
        freed = 0
        for owner, entries in by_owner.items():
            freed += self._remove(owner, entries)
        return {"removed": len(chosen), "bytes": freed}

    def _remove(self, owner: str, entries: list[trash.Entry]) -> int:
        """Remove entries of one owner for good; returns the bytes that it gives back."""
        _, freed = self.stored.freed_by(owner, entries)
        try:
            trash.remove(*entries)
        finally:
            self.stored.forget(owner)
        return freed

    def _named(self, viewer: Viewer, ids: list[object]) -> list[trash.Entry]:
        """The viewer's entries of these ids, each once. Raises WebError, NotFound, LoginNeeded."""
        entry_ids = [entry_id for entry_id in ids if isinstance(entry_id, str)]
        if len(entry_ids) < len(ids):
            raise WebError(Message("The ids of things in the trash are texts."),
                           Message("The list of the trash has them."))
        return [self._entry(viewer, entry_id) for entry_id in dict.fromkeys(entry_ids)]

    def _of_viewer(self, viewer: Viewer) -> dict[trash.Entry, str]:
        """What the viewer may have of the trash, newest first, with its owners."""
        return {entry: owner for entry, owner in self.stored.discarded() if self._theirs(viewer, owner)}

    def _theirs(self, viewer: Viewer, owner: str) -> bool:
        """Whether the viewer may have it; what belongs to nobody any more is the owner's of the machine."""
        if not owner:
            return not self.settings.public and may(viewer, None, "create")
        return may(viewer, owner, "write")

    def _entry(self, viewer: Viewer, entry_id: str) -> trash.Entry:
        for entry in self._of_viewer(viewer):
            if entry.id == entry_id:
                return entry
        require(viewer, None, "write", "thing in the trash")
        raise AssertionError("nobody may write what has no owner")


def _described(entry: trash.Entry, size: int) -> JsonObject:
    """An entry as it is served. `subject` is its own id, or its name where it has none; `part_of` is the id of the run
    or data set that it belongs to, and `name` then that one's."""
    facts = entry.facts()
    part_of = entry.parent.name if entry.parent else None
    return {"id": entry.id, "kind": entry.kind, "subject": entry.name.removesuffix(".json"),
            "name": str(facts.get("name") or ""), "part_of": part_of, "owner": str(facts.get("owner") or ""),
            "deleted": entry.deleted, "gone_at": entry.gone_at, "bytes": size,
            "restorable": entry.place is not None}
