"""/api/trash: what was deleted in the last seven days."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from studio.web.answers import fields, respond
from studio.web.routes_runs import Body, Service, Who

router = APIRouter(prefix="/api/trash")


@router.get("")
def list_trash(request: Request, studio: Service, who: Who) -> Response:
    """What the viewer deleted, newest first, and how much of the disk it holds."""
    return respond(request, studio.list_trash(who))


@router.post("/empty")
def empty_trash(request: Request, studio: Service, who: Who, body: Body) -> Response:
    """Remove all of it for good, or what {ids} names; with {everybody}, an administrator's, what anybody deleted."""
    ids, everybody = fields(body, ids=list, everybody=bool)
    return respond(request, studio.empty_trash(who, ids, bool(everybody)))


@router.post("/{entry_id}/restore")
def restore_trash(request: Request, studio: Service, who: Who, entry_id: str) -> Response:
    """Put it back where it was."""
    return respond(request, studio.restore_trash(who, entry_id))


@router.delete("/{entry_id}")
def remove_trash(studio: Service, who: Who, entry_id: str) -> Response:
    """Remove it for good."""
    studio.remove_trash(who, entry_id)
    return Response(status_code=204)
