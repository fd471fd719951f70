"""The API's description at /api/openapi.json, and the page at /docs that shows it; not where strangers sign in."""

from __future__ import annotations

import ast
import builtins
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema
from starlette.responses import HTMLResponse, JSONResponse

from studio.config import Config
from studio.web import shapes

REF = "#/components/schemas/{model}"
FILES = ("create_dataset", "add_images", "import_run")  # their body is multipart, with `files`
ABOUT = """A run, a data set and a job is a JSON record with an `id`. Lists are `{items, next}`. Whatever goes wrong is
`{error: {code, message, hint}}`, its sentences in the language that `Accept-Language` asks for where there is one. Live
data is polled: send the last answer's ETag as `If-None-Match`, and 304 says that nothing is new. Where the studio asks
for a token, open its start-up link with the same client first: it sets a cookie."""


def add_docs(app: FastAPI) -> None:
    """The two routes. The document is made at the first request, when all routes are there."""
    made: dict[str, Any] = {}

    @app.get("/api/openapi.json", include_in_schema=False)
    def openapi() -> JSONResponse:
        """The API as OpenAPI 3.1."""
        if not made:
            made.update(document(app))
        return JSONResponse(made)

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        """The API to read and to try."""
        own = "static/vendor/swagger-ui/swagger-ui"
        return get_swagger_ui_html(
            openapi_url="api/openapi.json", title="Studio API", swagger_js_url=f"{own}-bundle.js",
            swagger_css_url=f"{own}.css", swagger_favicon_url="static/icon.svg")


def document(app: FastAPI) -> dict[str, Any]:
    """What FastAPI knows of the routes, with the bodies that handlers read and the shapes they answer with."""
    found = {**app.openapi(), "info": {"title": "Studio", "version": app.version, "description": ABOUT}}
    models = [(model, "serialization") for model in {shapes.Error, *(m for _, m in shapes.ANSWERS.values())}]
    _, schemas = models_json_schema([*models, (Config, "validation")], ref_template=REF)  # type: ignore[list-item]
    found["components"] = {"schemas": schemas["$defs"]}
    for route in _flat(app.routes):
        for method in route.methods or () if route.include_in_schema else ():
            _describe(found["paths"][route.path_format][method.lower()], route)
    return found


def _describe(operation: dict[str, Any], route: APIRoute) -> None:
    operation["tags"] = [route.path.split("/")[2] if route.path.startswith("/api/") else "server"]
    body = _body(route.endpoint)
    if body:
        operation["requestBody"] = body
    status, shape = shapes.ANSWERS.get(route.name, (200, None))
    if route.path.startswith("/api/jobs") and route.name == "get_events":
        shape = None
    if "DELETE" in (route.methods or ()):
        status = 204
    fault = {"description": "What is wrong, and what to do", "content": _json({"$ref": REF.format(model="Error")})}
    good: dict[str, Any] = {"description": "Good"}
    if shape:
        good["content"] = _json({"$ref": REF.format(model=shape.__name__)})
    operation["responses"] = {str(status): good, "4XX": fault}


def _body(handler: Any) -> dict[str, Any] | None:
    kinds = _kinds(handler)
    if handler.__name__ in FILES:
        properties = {"files": {"type": "array", "items": {"type": "string", "format": "binary"}},
                      "name": {"type": "string"}}
        return {"content": {"multipart/form-data": {"schema": {"type": "object", "properties": properties}}}}
    if not kinds:
        return None
    return {"content": _json({"type": "object", "properties": {k: _schema(k, v) for k, v in kinds.items()}})}


def _kinds(handler: Any) -> dict[str, Any]:
    """The fields a handler takes from its body, from where they are written: its call `fields(body, name=str)`."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(handler)))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    names, found = {**vars(builtins), **handler.__globals__}, {}
    for word in (word for call in calls if call.func.id == "fields" for word in call.keywords):  # type: ignore
        if word.arg is None and isinstance(word.value, ast.Name):
            found |= names.get(word.value.id, {})
        elif word.arg and isinstance(word.value, ast.Name):
            found[word.arg] = names[word.value.id]
        elif word.arg:
            found[word.arg] = object
    return found


def _schema(name: str, kind: Any) -> dict[str, Any]:
    if name == "config":
        return {"$ref": REF.format(model="Config"), "description": "What is left out takes its default."}
    known = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}
    return {"type": known[kind]} if kind in known else {}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _flat(routes: list[Any]) -> Iterator[APIRoute]:
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        elif inner := getattr(route, "original_router", None):
            yield from _flat(inner.routes)
