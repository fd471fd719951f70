"""What the routes have in common: who asks, the service, and how a router describes itself."""

from __future__ import annotations

from types import UnionType
from typing import Annotated, TypedDict

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from studio.messages import JsonObject
from studio.web.access import Viewer, viewer_of
from studio.web.http.routing import JsonRoute
from studio.web.schemas.base import Error
from studio.web.services.service import Studio

Responses = dict[int | str, JsonObject]  # what FastAPI is told of answers beside the usual one, by status
ERRORS: Responses = {"4XX": {"model": Error, "description": "What is wrong, and what to do"}}


class FileRoute(TypedDict):
    """Options of a route that answers with a file."""

    response_class: type[Response]
    responses: Responses


async def _viewer(request: Request) -> Viewer:
    return viewer_of(request)


async def _studio(request: Request) -> Studio:
    return request.app.state.studio


Who = Annotated[Viewer, Depends(_viewer)]  # async, since FastAPI would send each of the two to a thread and back
Service = Annotated[Studio, Depends(_studio)]
Since = Annotated[int, Query(ge=0)]


def api_router(prefix: str, *tags: str) -> APIRouter:
    """A router whose bodies are read strictly, and whose errors have the one shape."""
    return APIRouter(prefix=prefix, tags=list(tags), route_class=JsonRoute, responses=ERRORS)


def files(*media_types: str) -> FileRoute:
    """What a route says of itself that answers with a file."""
    schema = {"schema": {"type": "string", "format": "binary"}}
    return {"response_class": Response, "responses": {200: {"content": dict.fromkeys(media_types, schema)}}}


def also(status: int, model: type[BaseModel] | UnionType, description: str) -> Responses:
    """A second good answer that a route may give, for its `responses`."""
    return {status: {"model": model, "description": description}}
