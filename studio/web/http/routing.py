"""How the API reads the JSON of a request: strictly and within bounds, into the model that its route names."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response

from studio import config
from studio.messages import JsonObject, Message
from studio.web.http.bodies import json_body
from studio.web.http.errors import WebError
from studio.web.schemas.base import UNKNOWN_FIELD

JSON = "application/json"
WORDS = {"string_type": "str", "bool_type": "bool", "int_type": "int", "float_type": "int or float",
         "list_type": "list", "dict_type": "dict"}  # the types that fields have, by the errors of pydantic

Handle = Callable[[Request], Coroutine[Any, Any, Response]]


class JsonRoute(APIRoute):
    """A route whose body, where it takes one, is read by `json_body`; FastAPI would take any size, double keys, NaN."""

    def get_route_handler(self) -> Handle:
        """FastAPI's own handler, which is given what was read."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def read(request: Request) -> Response:
            return await handle(_ParsedRequest(request, await json_body(request)))

        return read


class JsonOrFilesRoute(JsonRoute):
    """A route that takes JSON, or else files, which its handler reads from the request's stream."""

    def get_route_handler(self) -> Handle:
        """As above, but for files."""
        handle_json = super().get_route_handler()
        handle_files = APIRoute.get_route_handler(self)

        async def choose(request: Request) -> Response:
            if is_json(request):
                return await handle_json(request)
            return await handle_files(_StreamingRequest(request.scope, request.receive))

        return choose


class _ParsedRequest(Request):
    """A request whose body is read already; an empty one counts as {}."""

    def __init__(self, request: Request, document: JsonObject):
        super().__init__({**request.scope, "headers": list(request.scope["headers"])}, request.receive)
        MutableHeaders(scope=self.scope)["content-type"] = JSON
        self._document = document

    async def body(self) -> bytes:
        """Something, for FastAPI to go on."""
        return b"{}"

    async def json(self) -> JsonObject:
        """The document."""
        return self._document


class _StreamingRequest(Request):
    """A request whose body is for the handler alone."""

    async def body(self) -> bytes:
        """Nothing, for FastAPI."""
        return b""


def is_json(request: Request) -> bool:
    """Whether the body is said to be JSON."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == JSON


def refusal(error: RequestValidationError) -> WebError:
    """What to say of a request that does not fit its model: its first fault."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"] if part not in ("query", "path", "body"))
    if first["type"] == UNKNOWN_FIELD:
        return WebError(Message("Unknown field {name}.", name=repr(first["ctx"]["field"][:60])),
                        Message("There are: {names}.", names=", ".join(first["ctx"]["known"])))
    if first["loc"][0] == "body" and first["type"] in WORDS:
        return WebError(Message("The field {name} must be of type {kind}.", name=repr(name),
                                kind=WORDS[first["type"]]),
                        Message("Correct it and send it again."))
    return WebError(Message("{name}: {fault}.", name=name, fault=config.refusal(first)),
                    Message("Correct it and try again."))
