"""What is asked of a trainer or a job: files in its folder `control/`, which it removes when it has answered.

    <20 digits>-<8 hex digits>.<kind>-<attempt>     a request without arguments: no bytes, so that a full disk takes it
    <20 digits>-<8 hex digits>.json                 {"kind", "args", "attempt"}; both sort by when they were asked

`attempt` is the last one that had begun when it was asked (an older studio did not say).
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypedDict, cast

from studio import storage
from studio.config import PlainConfig

PLAIN = re.compile(r"(\d{20}-[0-9a-f]{8})\.([a-z]+)-(\d+)")


class Args(TypedDict, total=False):
    """What a request says beside its kind."""

    config: PlainConfig  # of an edit: a partial one
    why: str  # where the studio itself asks for an end: a stable code, and what a person is told
    message: str
    hint: str


class Request(NamedTuple):
    """One that is open."""

    id: str
    kind: str
    args: Args
    path: Path
    attempt: int | None

    def earlier_than(self, attempt: int, began: float) -> bool:
        """Whether it was meant for an attempt before this one, which began at `began`."""
        if self.attempt is not None:
            return self.attempt < attempt
        return self.id[:20].isdigit() and int(self.id[:20]) < began * 1e9


def ask(folder: Path, kind: str, args: Mapping[str, object], attempt: int) -> str:
    """Put a request on the disk; returns its id. Raises OSError."""
    storage.make_folder(folder)
    name = storage.following(folder)
    if args:
        storage.write_json(folder / f"{name}.json", {"kind": kind, "args": args, "attempt": attempt})
    else:
        storage.write_empty(folder / f"{name}.{kind}-{attempt}")
    return name


def waiting(folder: Path, kinds: Collection[str]) -> list[Request]:
    """Open requests of these kinds, oldest first; what is none is passed over."""
    return [request for request in _every(folder) if request.kind in kinds]


def _every(folder: Path) -> Iterator[Request]:
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return
    for name in names:
        request = _read(folder / name)
        if request is not None:
            yield request


def _read(path: Path) -> Request | None:
    plain = PLAIN.fullmatch(path.name)
    if plain is not None:
        return Request(plain[1], plain[2], {}, path, int(plain[3]))
    if path.name.startswith(".") or path.suffix != ".json":
        return None
    try:
        data = storage.read_json(path)
    except storage.Corrupt:
        return None
    if not isinstance(data, dict) or not isinstance(data.get("kind"), str):
        return None
    args = data.get("args")
    if not isinstance(args, dict):
        args = {}
    attempt = data.get("attempt")
    if type(attempt) is not int:
        attempt = None
    return Request(path.stem, data["kind"], cast(Args, args), path, attempt)
