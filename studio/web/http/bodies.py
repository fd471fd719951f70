"""Reading a request's JSON strictly and within bounds."""

from __future__ import annotations

import json
import math
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from studio.messages import Message
from studio.web.http.errors import TooLarge, WebError

BODY_BYTES = 1 << 20
READ_TIMES = 8  # as many bytes as it has a document takes when it is read
MOST_VALUES = 150_000  # of a document, as its commas and brackets tell
AT_ONCE = 64 * 1024  # bytes of JSON that are read on the event loop
SMALL = 16 * 1024  # bytes of a body that is not counted: there are no more of them than connections


async def json_body(request: Request) -> dict[str, Any]:
    """The request's body, a JSON object of at most 1 MB without duplicate keys or NaN; empty is {}.

    What a large one takes is set aside before it comes, so that of many those are taken that fit. Raises WebError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    data = await _whole(request)
    if not data.strip():
        return {}
    if kind != "application/json":
        raise WebError(Message("The body must be JSON."), Message("Send it with Content-Type: application/json."),
                       code="content_type")
    if len(data) > SMALL:
        values = sum(map(data.count, (b",", b"[", b"{")))
        if values > MOST_VALUES:
            raise TooLarge(Message("The request holds more than {count:,} values.", count=MOST_VALUES),
                           Message("Send them in several requests."))
    document = parse(data) if len(data) <= AT_ONCE else await run_in_threadpool(parse, data)
    if not isinstance(document, dict):
        raise WebError(Message("The body must be a JSON object."),
                       Message('For example {"name": "My run", "config": {}}.'))
    return document


async def _whole(request: Request) -> bytearray:
    """The body's bytes, counted. Raises TooLarge, TooMany, Busy."""
    length, reserved, data = request.headers.get("content-length"), request.state.reserved, bytearray()
    declared = int(length) if length and length.isdigit() else None
    too_large = TooLarge(Message("The request is larger than 1 MB."),
                         Message("Send pictures as files, settings as JSON."))
    if (declared or 0) > BODY_BYTES:
        raise too_large
    if (declared or 0) > SMALL:
        reserved.take(READ_TIMES * (declared or 0))
    async for chunk in request.stream():
        data += chunk
        if len(data) > BODY_BYTES:
            raise too_large
        if declared is None and len(data) > SMALL:
            reserved.take(READ_TIMES * len(chunk))
    return data


def parse(data: bytes | bytearray) -> Any:
    """Strict JSON: no duplicate keys, no NaN, no half characters. Raises WebError."""
    try:
        document = json.loads(bytes(data), object_pairs_hook=_unique, parse_constant=_refuse_constant,
                              parse_float=_finite)
        if b"\\ud" in data or b"\\uD" in data:  # half of a pair is no text that can be written down
            json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise WebError(Message("The body is not valid JSON: {why}", why=str(error)[:200]),
                       Message("Correct it and send it again.")) from None
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:20]} is too large a number")
    return number
