"""What a person can learn about the room their things take, and what an administrator looks after."""

from __future__ import annotations

import dataclasses
from typing import Any

from studio import storage
from studio.web.access import Viewer, may
from studio.web.services.core import Service


class CareService(Service):
    """The server itself."""

    def usage(self, viewer: Viewer) -> dict[str, Any]:
        """What the viewer's things take, and may: {bytes, kinds, trash, waiting, kept, limits, people, free_bytes}.

        `people` is null but for an administrator, who learns how much each person's things take, and nothing of them.
        """
        limits = dataclasses.asdict(self.settings.limits) if self.settings.limits else None
        everybody = may(viewer, None, "administer")
        return {**self.quotas.figures(viewer.id), "limits": limits, "people": self._people() if everybody else None,
                "free_bytes": storage.free_bytes(self.home) if everybody else None}

    def _people(self) -> list[dict[str, Any]]:
        """Everybody who has something here, with what it takes; who has the most comes first."""
        people = [{"id": owner, "name": self.people.name(owner), **self.quotas.figures(owner)}
                 for owner in self.stored.owners()]
        return sorted(people, key=lambda one: one["bytes"] + one["trash"], reverse=True)
