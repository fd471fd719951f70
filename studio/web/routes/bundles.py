"""/api/runs/{id}/bundle and /api/runs/import."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from studio.web.access import require
from studio.web.http import uploads
from studio.web.http.dependencies import Service, Who, api_router, files
from studio.web.http.downloads import RangeResponse
from studio.web.http.responses import respond
from studio.web.schemas.base import multipart
from studio.web.schemas.datasets import Upload
from studio.web.schemas.runs import Run

router = api_router("/api/runs", "runs")


@router.get("/{run_id}/bundle", **files("application/zip"))
@router.head("/{run_id}/bundle", response_class=Response)
def get_bundle(request: Request, studio: Service, who: Who, run_id: str, start: bool = False) -> Response:
    """The run as one zip, with Range; `start` leaves out events, samples and checkpoints."""
    return RangeResponse(request, studio.bundles.pack(who, run_id, start))


@router.post("/import", status_code=201, response_model=Run, openapi_extra=multipart(Upload))
async def import_run(request: Request, studio: Service, who: Who) -> Response:
    """A bundle, as multipart `files`, becomes a run that waits to be resumed: 201 and its record."""
    require(who, None, "create", "run")
    arrival = await run_in_threadpool(studio.bundles.arriving, who, uploads.length(request))
    try:
        upload = await uploads.receive(request, studio.settings, arrival.received)
        try:
            record = await run_in_threadpool(studio.bundles.unpack, who, upload.files)
        finally:
            await run_in_threadpool(upload.remove)
    finally:
        arrival.close()
    return await run_in_threadpool(respond, request, record, 201, headers={"location": f"/api/runs/{record['id']}"})
