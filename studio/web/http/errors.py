"""Errors a person sees: what is wrong, where, and what to do; the trace stays in the server's log."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable
from typing import NamedTuple

from studio import bundle, config, datasets, families, secrets, storage
from studio.errors import Refused, StudioError
from studio.folders import work
from studio.messages import JsonObject, Message, sentence
from studio.storage import faults

log = logging.getLogger("studio.web")
_troubles = faults.ThrottledLog(log)


Answer = tuple[int, JsonObject]  # the HTTP status, and the `error` object: code, message, hint, perhaps problems


class WebError(StudioError):
    """An error with the status that it is answered with."""

    status, code = 400, "bad_request"
    retry_after: int | None = None  # seconds after which it may be tried again


class NotFound(WebError):
    """Not there, or not this viewer's: the answer is the same."""

    status, code = 404, "not_found"


class LoginNeeded(WebError):
    """Nobody is signed in and the action needs somebody."""

    status, code = 401, "login_needed"


class TooLarge(WebError):
    """More bytes or files than the studio takes at once."""

    status, code = 413, "too_large"


class Forbidden(WebError):
    """A request that another site made, or that names a foreign host."""

    status, code = 403, "forbidden"


class Unavailable(WebError):
    """Not possible just now."""

    status, code = 503, "unavailable"


class TooMany(WebError):
    """More at once, or in a short time, than one person may ask for."""

    status, code, retry_after = 429, "too_many", 5


class Busy(WebError):
    """More at once than the whole studio takes."""

    status, code, retry_after = 503, "busy", 5


def there_are(names: Iterable[str]) -> Message:
    """A hint that lists what may be asked for instead."""
    return Message("There are: {names}.", names=", ".join(names))


def _config(error: config.ConfigError) -> Answer:
    problems = [{"field": p.field, "message": p.message} for p in error.problems]
    first = {"field": "", "message": Message("the config cannot be used")}
    if problems:
        first = problems[0]
    body = _body("config", _first(**first, more=len(problems) - 1),
                 Message("Change the named settings and try again."))
    return 422, {**body, "problems": problems}


def _first(field: str, message: str, more: int) -> str:
    """The first problem of a config, and how many more there are."""
    if field and more > 0:
        return Message("{field}: {message} (and {count} more)", field=field, message=message, count=more)
    if more > 0:
        return Message("{message} (and {count} more)", message=message, count=more)
    if field:
        return Message("{name}: {fault}", name=field, fault=message)
    return message


def _disk(error: BaseException) -> Answer | None:
    """What the disk refused, in words."""
    fault = faults.of(error)
    if fault is None:
        return None
    status = 503
    if fault.code == "disk_full":
        status = 507
    return status, _body(fault.code, fault.message, Message("{hint} Then try again.", hint=fault.hint))


def _damaged(error: storage.Corrupt) -> Answer:
    hint = Message("Restore it from a backup, or delete what it belongs to.")
    return _disk(error) or (500, _body("corrupt", Message("A file of the studio is damaged: {why}", why=error), hint))


def _body(code: str, message: str, hint: str = "") -> JsonObject:
    return {"code": code, "message": message, "hint": hint}


class _Kind(NamedTuple):
    """How a kind of exception of the rooms below is answered: its own words are the message."""

    error: type[Exception]
    status: int
    code: str
    hint: str = ""


_KINDS = (
    _Kind(work.NotFound, 404, "not_found", Message("It may have been deleted; look at the list.")),
    _Kind(datasets.NotFound, 404, "not_found", Message("It may have been deleted; look at the list.")),
    _Kind(datasets.InvalidOptions, 422, "source", Message("Correct it and try again.")),
    _Kind(datasets.UnreadableTable, 422, "source", Message("Correct it and try again.")),
    _Kind(datasets.EmptyDataset, 409, "refused", Message("Add pictures first.")),
    _Kind(datasets.ReadOnly, 409, "read_only"),
    _Kind(bundle.BadBundle, 422, "bundle", Message("Nothing of it was kept.")),
    _Kind(families.BaseProblem, 422, "base", Message("Choose another base model.")),
)


def _known(error: BaseException) -> Answer | None:
    """The answer to an exception that the rooms below raise on purpose; None for any other."""
    if isinstance(error, WebError):
        return error.status, _body(error.code, error.message, error.hint)
    if isinstance(error, config.ConfigError):
        return _config(error)
    if isinstance(error, Refused):
        return 409, _body(error.code, sentence(str(error)), error.hint)
    if isinstance(error, storage.Corrupt):
        return _damaged(error)
    for kind in _KINDS:
        if isinstance(error, kind.error):
            return kind.status, _body(kind.code, sentence(str(error)), kind.hint)
    if isinstance(error, Exception):
        return _disk(error)
    return None


def explain(error: BaseException, request_id: str | None = None) -> Answer:
    """The HTTP status and the `error` object for any exception; an unknown one is logged with its trace.

    Used by the routes and by Gradio's handlers alike. The object has code, message, hint and request_id, and for a
    config also `problems: [{field, message}]`.
    """
    request_id = request_id or uuid.uuid4().hex[:12]
    answer = _known(error)
    if answer:
        status, body = answer
        if faults.of(error) is not None:
            _troubles.tell("a request was not carried out", error)
        elif status >= 500 and not isinstance(error, WebError):  # those are answers, no faults
            log.error("request %s: %s", request_id, error, exc_info=error)
        return status, {**secrets.redact_data(body), "request_id": request_id}
    log.error("request %s failed", request_id, exc_info=error)
    message = Message("Something went wrong in the studio itself.")
    hint = Message("The studio's log has the details under the request id {id}.", id=request_id)
    return 500, {**_body("internal", message, hint), "request_id": request_id}
