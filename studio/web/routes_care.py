"""/api/usage: the room that things take."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from studio.web.answers import respond
from studio.web.routes_runs import Service, Who

router = APIRouter(prefix="/api")


@router.get("/usage")
def usage(request: Request, studio: Service, who: Who) -> Response:
    """What the viewer's things take and may take; for an administrator, everybody's."""
    return respond(request, studio.usage(who))
