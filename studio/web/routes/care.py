"""/api/usage: the room that things take."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from studio.web.http.dependencies import Service, Who, api_router
from studio.web.http.responses import respond
from studio.web.schemas.server import Usage

router = api_router("/api/usage", "usage")


@router.get("", response_model=Usage)
def usage(request: Request, studio: Service, who: Who) -> Response:
    """What the viewer's things take and may take; for an administrator, everybody's."""
    return respond(request, studio.care.usage(who))
