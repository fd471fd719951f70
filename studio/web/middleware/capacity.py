"""How many connections this process takes, and how long each may take: what the system's limit of open files allows."""

from __future__ import annotations

import resource
from dataclasses import dataclass

WANTED_FILES = 65_536


@dataclass(frozen=True)
class Limits:
    """Numbers of one server; seconds and bytes."""

    connections: int
    of_an_address: int | None = None  # None: a proxy stands in front, so all come from a few addresses
    head: float = 15.0
    keep_alive: float = 20.0
    window: float = 60.0  # in which a body must bring `least`, and an answer that is held up must lose as much
    least: int = 16 * 1024
    linger: float = 5.0  # how long a body is still taken after its answer, so that the answer is read
    unsent: int = 48 << 20  # bytes of all answers that wait for readers


def limits(container: bool) -> Limits:
    """What fits this process: the system's limit of open files is raised as far as it goes, and connections may take
    half of what the studio's own files leave."""
    files = raise_open_files()
    connections = max(16, min(1000, (files - min(256, files // 4)) // 2))
    if container:
        return Limits(connections)
    return Limits(connections, of_an_address=max(16, connections // 2))


def raise_open_files() -> int:
    """Raise the soft limit of open files to the hard one (or WANTED_FILES). Returns the new soft limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return WANTED_FILES
    highest = WANTED_FILES
    if hard != resource.RLIM_INFINITY:
        highest = min(hard, WANTED_FILES)
    for files in (highest, 10_240):  # macOS names no hard limit and refuses more than this
        if soft < files <= highest:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
            except (ValueError, OSError):
                continue
            return files
    return soft
