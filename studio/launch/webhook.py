"""Tells a program of the operator's that a run has ended: one JSON POST for each end, tried a few times.

The run's supervisor tells of it, else the server's queue: of a run that was cancelled while it waited, whose supervisor
was killed, or that was trained elsewhere and imported. Whoever tells holds `webhook.lock`, and writes `webhook.json`
when it is done, so that nobody else does. A cut in between lets an end be told twice: `id`, the same both times, tells
the receiver. `STUDIO_WEBHOOK_URL` is set by whoever runs the server (or the shell), so
where it points is theirs to choose; it may bear a secret, so it is written nowhere and reaches neither the trainer nor
a job.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import TypedDict
from urllib.parse import urlsplit

from studio import secrets, storage
from studio.folders import runs
from studio.folders.records import ErrorRecord
from studio.system import retry

VARIABLE = "STUDIO_WEBHOOK_URL"
SECONDS = 10.0  # that one try may take
WAITS = (1.0, 5.0, 25.0)  # seconds before each further try
NEWS_SECONDS = 24 * 3600.0  # an end that is longer ago is no news: a new address does not hear of the past


class WebhookPayload(TypedDict):
    """What is sent."""

    event: str
    id: str  # of this end, the same at each try
    run: str
    name: str
    attempt: int
    state: str
    step: int
    total_steps: int | None
    error: ErrorRecord | None  # without evidence
    time: float


class DeliveryError(Exception):
    """The address did not take a POST, in words without the address; `may_pass`: another try may help."""

    def __init__(self, why: str, *, may_pass: bool):
        super().__init__(why)
        self.may_pass = may_pass


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is a refusal: the run's name goes where the operator said, and nowhere else."""

    def redirect_request(self, *_: object) -> None:
        return None


def wrong(url: str) -> str | None:
    """What is wrong with such an address, in words; None for a good one."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    return None if good else f"{VARIABLE} must be a whole address that begins with http:// or https://"


def owed(run: runs.Run) -> int | None:
    """The attempt whose end is still to be told; None where there is none. Raises Corrupt."""
    if not os.environ.get(VARIABLE):
        return None
    attempt = run.process()["attempt"]
    ended = 0  # unix time in ns
    for file in (run.exit_file, run.events_file, run.process_file):
        stamp = storage.stamp(file)
        if stamp is not None:
            ended = max(ended, stamp[0])
    if _told(run) >= attempt or time.time() - ended / 1e9 > NEWS_SECONDS:
        return None
    waits_here = (run.exit() or {}).get("result") == "paused"  # an import that is to go on: nothing has ended
    return None if waits_here and runs.EventReader().state(run)[0] == "paused" else attempt


def after(run: runs.Run, attempt: int) -> bool:
    """POST the end of that attempt where an address is set and nobody has told of it yet. Returns True when accepted.
    What fails is said in the log. Raises Corrupt, ConfigError, OSError."""
    url = os.environ.get(VARIABLE, "")
    lock = storage.Lock(run.path / "webhook.lock")
    if not url or not lock.acquire():
        return False
    try:
        if _told(run) >= attempt:
            return False
        taken = _tell(url, json.dumps(told(run, attempt)).encode())
        storage.write_json(run.webhook_file, {"attempt": attempt, "taken": taken})
        return taken
    finally:
        lock.release()


def _told(run: runs.Run) -> int:
    """The last attempt whose end was told."""
    if not run.webhook_file.exists():
        return 0
    return run.facts(run.webhook_file, {"attempt": int})["attempt"]


def _tell(url: str, body: bytes) -> bool:
    """POST the `body`, with further tries where they may help. Returns True when accepted; else the log says why."""
    fault = wrong(url)
    if fault is None:
        try:
            retry.patiently(lambda: _post(url, body), WAITS, _may_pass)
            return True
        except DeliveryError as refusal:
            fault = str(refusal)
    print(f"the webhook did not take the end of this run: {fault}", file=sys.stderr, flush=True)
    return False


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, DeliveryError) and error.may_pass


def told(run: runs.Run, attempt: int) -> WebhookPayload:
    """What is sent of the end of that attempt."""
    state, history = runs.EventReader().state(run)
    error = (history.end or {}).get("error") or (run.exit() or {}).get("error")
    said = _without_secrets(error) if error else None
    return {"event": "run.ended", "id": f"{run.id}-{attempt}", "run": run.id, "name": run.record()["name"],
            "attempt": attempt, "state": state, "step": history.step, "total_steps": run.config().train.max_steps,
            "error": said, "time": time.time()}


def _without_secrets(error: Mapping[str, object]) -> ErrorRecord:
    def text(key: str) -> str:
        return secrets.redact(str(error.get(key, "")))

    return {"code": text("code"), "message": text("message"), "hint": text("hint")}


def _post(url: str, body: bytes) -> None:
    """POST once. Raises DeliveryError."""
    request = urllib.request.Request(url, body, {"content-type": "application/json", "user-agent": "studio"})
    try:
        urllib.request.build_opener(_NoRedirects).open(request, timeout=SECONDS).close()
    except urllib.error.HTTPError as error:
        raise DeliveryError(f"it answered {error.code}", may_pass=error.code >= 500 or error.code == 429) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise DeliveryError(f"{type(reason).__name__} on the way to {urlsplit(url).hostname}", may_pass=True) from None
