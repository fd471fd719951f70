"""Every JSON answer that a test's client gets is held against the model that its route promises: all fields that the
model demands, none that it does not know."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from studio.web.app import create_app
from studio.web.schemas.base import Error
from studio.web.settings import Settings

OURS = ("/api/", "/healthz", "/readyz")


def hold(response: httpx.Response) -> None:
    """Raises AssertionError or ValidationError where an answer is not what is promised."""
    path = response.request.url.path
    kind = response.headers.get("content-type", "")
    if not path.startswith(OURS) or kind != "application/json" or response.request.method == "HEAD":
        return
    response.read()
    model = model_of(response.request.method, path, response.status_code)
    if model is None:  # a file
        return
    adapter = TypeAdapter(model)
    answer = adapter.validate_json(response.content)
    written = adapter.dump_python(answer, mode="json", by_alias=True, exclude_unset=True)
    assert written == response.json(), f"{response.request.method} {path} answers more than its model has"


def model_of(method: str, path: str, status: int) -> Any:
    """What a route promises to answer with such a status."""
    route = next((r for r in routes() if method in r.methods and r.path_regex.fullmatch(path)), None)
    if route is None:
        assert path == "/api/openapi.json" or status >= 400, (method, path, status)
        return dict[str, Any] if status < 400 else Error
    if status == (route.status_code or 200):
        return route.response_model
    promised = route.responses.get(status) or (route.responses["4XX"] if status >= 400 else None)
    assert promised is not None, f"{method} {path} promises no answer with status {status}"
    return promised["model"]


@functools.cache
def routes() -> list[APIRoute]:
    """The API's routes in the order in which they are tried."""
    with tempfile.TemporaryDirectory() as home:
        app = create_app(Settings(home=Path(home)))
    return [route for route in flat(app.routes) if route.include_in_schema]


def flat(found: list[Any]) -> Iterator[APIRoute]:
    """All routes, those of included routers too."""
    for route in found:
        if isinstance(route, APIRoute):
            yield route
        elif inner := getattr(route, "original_router", None):
            yield from flat(inner.routes)
