"""A run's output as a page follows it: whole lines from a byte on, without tokens."""

from __future__ import annotations

from studio import secrets
from studio.folders import runs
from studio.messages import JsonObject

LOG_BYTES = 64 * 1024  # that are read at once


def lines(run: runs.Run, since: int | None = None) -> JsonObject:
    """Whole lines of the run's output from byte `since` on (by default the last 32 KB), without tokens:
    {"text", "since", "next", "size"}."""
    try:
        with open(run.log_file, "rb") as file:
            size = file.seek(0, 2)
            start = max(0, size - LOG_BYTES // 2) if since is None else min(max(0, since), size)
            file.seek(start)
            data = file.read(LOG_BYTES)
    except FileNotFoundError:
        return {"text": "", "since": 0, "next": 0, "size": 0}
    whole = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
    if whole == 0 and (len(data) == LOG_BYTES or not run.alive()):
        whole = len(data)
    if since is None and start > 0:  # the tail begins at a line
        first = data.find(b"\n", 0, whole) + 1
        data = data[first:]
        start += first
        whole -= first
    text = secrets.redact(data[:whole].decode("utf-8", "replace"))
    return {"text": text, "since": start, "next": start + whole, "size": size}
