"""/api/trash: what was deleted in the last seven days."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from studio.web.http.dependencies import Service, Who, api_router
from studio.web.http.responses import respond
from studio.web.schemas import server as schemas

router = api_router("/api/trash", "trash")


@router.get("", response_model=schemas.Trash)
def list_trash(request: Request, studio: Service, who: Who) -> Response:
    """What the viewer deleted, newest first, and how much of the disk it holds."""
    return respond(request, studio.trash.all(who))


@router.post("/empty", response_model=schemas.Emptied)
def empty_trash(request: Request, studio: Service, who: Who, body: schemas.Emptying = schemas.Emptying()) -> Response:
    """Remove all of it for good, or what `ids` names; with `everybody`, an administrator's, what anybody deleted."""
    return respond(request, studio.trash.empty(who, body.ids, bool(body.everybody)))


@router.post("/{entry_id}/restore", response_model=schemas.Deleted)
def restore_trash(request: Request, studio: Service, who: Who, entry_id: str) -> Response:
    """Put it back where it was."""
    return respond(request, studio.trash.restore(who, entry_id))


@router.delete("/{entry_id}", status_code=204)
def remove_trash(studio: Service, who: Who, entry_id: str) -> Response:
    """Remove it for good."""
    studio.trash.remove(who, entry_id)
    return Response(status_code=204)
