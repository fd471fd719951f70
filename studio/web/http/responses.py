"""Answering with JSON that is small, in the language that is asked for, and knows when it has not changed."""

from __future__ import annotations

import gzip
import hashlib
import json
import time

from starlette.requests import Request
from starlette.responses import Response

from studio.web.http.headers import names_tag
from studio.web.http.languages import negotiate_language
from studio.web.http.translation import told

GZIP_FROM = 600
CLOCK = "x-studio-time"  # unix seconds: what began when is told by this clock, which no browser's need be


def respond(request: Request, data: object, status: int = 200, tag: str | None = None,
            headers: dict[str, str] | None = None) -> Response:
    """`data`, which is JSON, in compact form, gzipped where that helps; or 304 when the client has it already.

    Sentences in it are in the language that is asked for. `tag` stands for the content where it is known before the
    content is made (`same`); else it is computed.
    """
    extra = {"cache-control": "private, no-cache", "vary": "Accept-Encoding, Accept-Language, Cookie",
             CLOCK: f"{time.time():.3f}",
             **(headers or {})}
    hidden = request.app.state.studio.hidden
    translated = told(data, negotiate_language(request.headers))
    text = _written(translated)
    if hidden.within(text):
        text = _written(hidden.data(translated))
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
    return f"{tag}-{negotiate_language(request.headers)}"


def _named(request: Request, tag: str) -> bool:
    return names_tag(request.headers.get("if-none-match", ""), f'"{tag}"')


def _written(data: object) -> str:
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
