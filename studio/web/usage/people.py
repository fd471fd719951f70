"""How the people are called whose things lie here: for the administrator, who would see account numbers otherwise.

    <home>/cache/people.json   {owner: the name they signed in with last}
"""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

from studio import storage
from studio.web.access import Viewer


class People:
    """The names of those who have made something here."""

    def __init__(self, home: Path):
        self.file = home / "cache" / "people.json"
        self._lock = threading.Lock()
        self._names: dict[str, str] | None = None

    def name(self, owner: str) -> str:
        """The name of an owner; "" where it is not known."""
        with self._lock:
            return self._read().get(owner, "")

    def met(self, viewer: Viewer) -> None:
        """Remember how a viewer who makes something is called."""
        with self._lock:
            names = self._read()
            if viewer.name and names.get(viewer.id) != viewer.name:
                names[viewer.id] = viewer.name
                storage.write_cache(self.file, names)

    def _read(self) -> dict[str, str]:
        if self._names is None:
            names: dict[str, str] = {}
            with suppress(storage.Corrupt):  # it is filled again
                known = storage.read_json(self.file)
                if isinstance(known, dict):
                    names = {str(owner): str(name) for owner, name in known.items()}
            self._names = names
        return self._names
