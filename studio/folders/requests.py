"""What is asked of a trainer or a job: files in its folder `control/`, which it removes when it has answered.

    <20 digits>-<8 hex digits>.<kind>-<attempt>     a request without arguments: no bytes, so that a full disk takes it
    <20 digits>-<8 hex digits>.json                 {"kind", "args", "attempt"}; both sort by when they were asked

`attempt` is the last one that had begun when it was asked (an older studio did not say).
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from studio import storage

PLAIN = re.compile(r"(\d{20}-[0-9a-f]{8})\.([a-z]+)-(\d+)")


class Request(NamedTuple):
    """One that is open."""

    id: str
    kind: str
    args: dict[str, Any]
    path: Path
    attempt: int | None

    def earlier_than(self, attempt: int, began: float) -> bool:
        """Whether it was meant for an attempt before this one, which began at `began`."""
        if self.attempt is not None:
            return self.attempt < attempt
        return self.id[:20].isdigit() and int(self.id[:20]) < began * 1e9


def ask(folder: Path, kind: str, args: dict[str, Any], attempt: int) -> str:
    """Ask; returns the request's id. It is on the disk then."""
    storage.make_folder(folder)
    name = storage.following(folder)
    if args:
        storage.write_json(folder / f"{name}.json", {"kind": kind, "args": args, "attempt": attempt})
    else:
        storage.write_empty(folder / f"{name}.{kind}-{attempt}")
    return name


def waiting(folder: Path, kinds: Collection[str]) -> list[Request]:
    """Open requests of these kinds, oldest first; what is none is passed over."""
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    found = (_read(folder / name) for name in names)
    return [request for request in found if request is not None and request.kind in kinds]


def _read(path: Path) -> Request | None:
    if plain := PLAIN.fullmatch(path.name):
        return Request(plain[1], plain[2], {}, path, int(plain[3]))
    if path.name.startswith(".") or path.suffix != ".json":
        return None
    try:
        data = storage.read_json(path)
    except storage.Corrupt:
        return None
    if not isinstance(data, dict) or not isinstance(data.get("kind"), str):
        return None
    args, attempt = data.get("args"), data.get("attempt")
    return Request(path.stem, data["kind"], args if isinstance(args, dict) else {}, path,
                   attempt if type(attempt) is int else None)
