"""Reading a request's JSON strictly, and answering with JSON that is small and knows when it has not changed."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from studio.messages import Message
from studio.web.access import Viewer, viewer_of
from studio.web.errors import TooLarge, WebError, there_are
from studio.web.languages import spoken
from studio.web.service import Studio
from studio.web.translation import told

BODY_BYTES = 1 << 20
READ_TIMES = 8  # as many bytes as it has a document takes when it is read
MOST_VALUES = 150_000  # of a document, as its commas and brackets tell
AT_ONCE = 64 * 1024  # bytes of JSON that are read on the event loop
SMALL = 16 * 1024  # bytes of a body that is not counted: there are no more of them than connections
GZIP_FROM = 600


def studio_of(request: Request) -> Studio:
    """The service."""
    return request.app.state.studio


def viewer(request: Request) -> Viewer:
    """Who asks, as the middleware found out."""
    return viewer_of(request)


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


def fields(body: dict[str, Any], **kinds: type | tuple[type, ...]) -> list[Any]:
    """The named fields of a body in order, None where absent. Raises WebError for a wrong type or an unknown name."""
    unknown = min(body.keys() - kinds.keys(), default=None)
    if unknown is not None:
        raise WebError(Message("Unknown field {name}.", name=repr(unknown[:60])),
                       there_are(kinds))
    for name, kind in kinds.items():
        if body.get(name) is not None and not isinstance(body[name], kind):
            wanted = kind.__name__ if isinstance(kind, type) else " or ".join(k.__name__ for k in kind)
            raise WebError(Message("The field {name} must be of type {kind}.", name=repr(name), kind=wanted),
                           Message("Correct it and send it again."))
    return [body.get(name) for name in kinds]


def respond(request: Request, data: Any, status: int = 200, tag: str | None = None,
            headers: dict[str, str] | None = None) -> Response:
    """`data` as compact JSON, gzipped where that helps, or 304 when the client has it already.

    Sentences in it are in the language that is asked for. `tag` stands for the content where it is known before the
    content is made (`same`); else it is computed.
    """
    extra = {"cache-control": "private, no-cache", "vary": "Accept-Encoding, Accept-Language, Cookie",
             **(headers or {})}
    hidden, data = studio_of(request).hidden, told(data, spoken(request.headers))
    text = _written(data)
    if hidden.within(text):
        text = _written(hidden.data(data))
    body = text.encode()
    if request.method == "GET" and status == 200:
        tag = _spoken(request, tag) if tag else hashlib.blake2b(body, digest_size=12).hexdigest()
        extra["etag"] = f'W/"{tag}"'
        if _named(request, tag):
            return Response(status_code=304, headers=extra)
    if len(body) >= GZIP_FROM and "gzip" in request.headers.get("accept-encoding", ""):
        body = gzip.compress(body, 5)
        extra["content-encoding"] = "gzip"
    return Response(body, status, extra, media_type="application/json")


def same(request: Request, tag: str) -> bool:
    """Whether the client has the content that `tag` stands for, in the language it asks for."""
    return _named(request, _spoken(request, tag))


def _spoken(request: Request, tag: str) -> str:
    return f"{tag}-{spoken(request.headers)}"


def _named(request: Request, tag: str) -> bool:
    known = request.headers.get("if-none-match", "")
    return f'"{tag}"' in [part.strip().removeprefix("W/") for part in known.split(",")]


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


def _written(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
