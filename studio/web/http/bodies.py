"""Reading a request's JSON strictly and within bounds."""

from __future__ import annotations

import json
import math
from typing import NoReturn

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from studio.messages import JsonObject, Message
from studio.web.http.errors import TooLarge, WebError

BODY_BYTES = 1 << 20
READ_TIMES = 8  # as many bytes as it has a document takes when it is read
MOST_VALUES = 150_000  # of a document, as its commas and brackets tell
AT_ONCE = 64 * 1024  # bytes of JSON that are read on the event loop
SMALL = 16 * 1024  # bytes of a body that is not counted: there are no more of them than connections


async def json_body(request: Request) -> JsonObject:
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
    if len(data) <= AT_ONCE:
        document = parse(data)
    else:
        document = await run_in_threadpool(parse, data)
    if not isinstance(document, dict):
        raise WebError(Message("The body must be a JSON object."),
                       Message('For example {"name": "My run", "config": {}}.'))
    return document


async def _whole(request: Request) -> bytearray:
    """The body's bytes, counted when they are declared, else as they come. Raises TooLarge, TooMany, Busy."""
    reserved = request.state.reserved
    too_large = TooLarge(Message("The request is larger than 1 MB."),
                         Message("Send pictures as files, settings as JSON."))
    length = request.headers.get("content-length") or ""
    is_declared = length.isdigit()
    if is_declared:
        declared = int(length)
        if declared > BODY_BYTES:
            raise too_large
        if declared > SMALL:
            reserved.take(READ_TIMES * declared)
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > BODY_BYTES:
            raise too_large
        if not is_declared and len(data) > SMALL:
            reserved.take(READ_TIMES * len(chunk))
    return data


def parse(data: bytes | bytearray) -> object:
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


def _unique(pairs: list[tuple[str, object]]) -> JsonObject:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return values


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:20]} is too large a number")
    return number
