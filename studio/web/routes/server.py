"""/healthz, /readyz, /api/config, /api/machine and /api/session; and what answers where there is no route."""

from __future__ import annotations

import os

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from studio import __version__
from studio.messages import Message
from studio.web.http.dependencies import Service, Who, also, api_router
from studio.web.http.errors import NotFound
from studio.web.http.responses import respond
from studio.web.schemas import plans
from studio.web.schemas import server as schemas

health = api_router("", "server")
config = api_router("/api/config", "config")
machine = api_router("/api/machine", "machine")
session = api_router("/api/session", "session")
last = APIRouter()  # after all others


@health.get("/healthz", response_model=schemas.Alive)
async def healthz(request: Request) -> Response:
    """The process answers."""
    return respond(request, {"status": "ok", "version": __version__})


@health.get("/readyz", response_model=schemas.Ready, responses=also(503, schemas.Ready, "Not yet"))
def readyz(request: Request, studio: Service) -> Response:
    """Everything a person needs is there: the pages, and a home that can be written to."""
    waiting = []
    if not request.app.state.pages.ready:
        waiting.append("pages")
    if not os.access(studio.home, os.W_OK):
        waiting.append("home is not writable")
    if waiting:
        return respond(request, {"status": "waiting", "waiting_for": waiting}, 503)
    return respond(request, {"status": "ok", "waiting_for": waiting})


@config.get("/schema", response_model=plans.SettingsSchema)
def schema(request: Request, studio: Service, who: Who) -> Response:
    """Every setting."""
    return respond(request, studio.schema(who))


@config.post("/from-command", response_model=plans.CommandRead)
def from_command(request: Request, studio: Service, who: Who, body: plans.Command) -> Response:
    """A command line of train_text_to_image.py as a partial config."""
    return respond(request, studio.from_command(who, body.command or ""))


@machine.get("", response_model=schemas.Machine)
def facts(request: Request, studio: Service, who: Who) -> Response:
    """Facts about this machine."""
    return respond(request, studio.machine(who))


@session.get("", response_model=schemas.Session)
def looking(request: Request, studio: Service, who: Who) -> Response:
    """Who is looking."""
    return respond(request, studio.session(who))


@last.api_route("/api/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
def nothing(path: str) -> Response:
    """Whatever else is asked for under /api."""
    raise NotFound(Message("There is no such address."), Message("The README shows how a program uses the API."))
