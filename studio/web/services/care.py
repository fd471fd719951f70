"""What a person can learn about the room their things take, and what an administrator looks after."""

from __future__ import annotations

import dataclasses
from operator import itemgetter

from studio import storage
from studio.messages import JsonObject
from studio.web.access import Viewer, may
from studio.web.services.core import Service


class CareService(Service):
    """The server itself."""

    def usage(self, viewer: Viewer) -> JsonObject:
        """What the viewer's things take, and may: {bytes, kinds, trash, waiting, kept, limits, people, free_bytes}.

        `people` is null but for an administrator, who learns how much each person's things take, and nothing of them.
        """
        usage: JsonObject = {**self.quotas.figures(viewer.id), "limits": None, "people": None, "free_bytes": None}
        if self.settings.limits:
            usage["limits"] = dataclasses.asdict(self.settings.limits)
        if may(viewer, None, "administer"):
            usage["people"] = self._people()
            usage["free_bytes"] = storage.free_bytes(self.home)
        return usage

    def _people(self) -> list[JsonObject]:
        """Everybody who has something here, with what it takes; who has the most comes first."""
        people: list[tuple[int, JsonObject]] = []
        for owner in self.stored.owners():
            figures = self.quotas.figures(owner)
            person = {"id": owner, "name": self.people.name(owner), **figures}
            people.append((figures["bytes"] + figures["trash"], person))
        people.sort(key=itemgetter(0), reverse=True)
        return list(map(itemgetter(1), people))
