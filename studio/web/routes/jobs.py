"""/api/jobs: following and ending long work that is no run. What starts a job stands with what it is about."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from studio.web.http.dependencies import Service, Since, Who, api_router, files
from studio.web.http.downloads import FileDownload, RangeResponse
from studio.web.http.responses import respond, same
from studio.web.schemas import jobs as schemas

router = api_router("/api/jobs", "jobs")


@router.get("", response_model=schemas.Jobs)
def list_jobs(request: Request, studio: Service, who: Who, subject: str | None = None, kind: str | None = None,
              limit: Annotated[int, Query(ge=1, le=200)] = 50) -> Response:
    """The viewer's jobs, newest first; `subject` is the id of a data set or a run."""
    return respond(request, studio.jobs.all(who, subject, kind, limit))


@router.get("/{job_id}", response_model=schemas.Job)
def get_job(request: Request, studio: Service, who: Who, job_id: str) -> Response:
    """One job's record with its results; 304 while nothing is new."""
    tag = studio.jobs.tag(who, job_id)
    if same(request, tag):
        return respond(request, None, tag=tag)
    return respond(request, studio.jobs.get(who, job_id), tag=tag)


@router.delete("/{job_id}", status_code=204)
def delete_job(studio: Service, who: Who, job_id: str) -> Response:
    """Move an ended job to the trash."""
    studio.jobs.delete(who, job_id)
    return Response(status_code=204)


@router.get("/{job_id}/events", response_model=schemas.JobEvents)
def get_events(request: Request, studio: Service, who: Who, job_id: str, since: Since = 0,
               limit: Annotated[int, Query(ge=1, le=1000)] = 1000) -> Response:
    """Status and events after `since`; 304 while nothing is new."""
    tag = f"{studio.jobs.tag(who, job_id)}-{since}"
    if same(request, tag):
        return respond(request, None, tag=tag)
    return respond(request, studio.jobs.events(who, job_id, since, limit), tag=tag)


@router.post("/{job_id}/cancel", response_model=schemas.Job)
def cancel_job(request: Request, studio: Service, who: Who, job_id: str) -> Response:
    """End it."""
    return respond(request, studio.jobs.cancel(who, job_id))


@router.get("/{job_id}/files/{name}", **files("application/octet-stream", "image/*"))
@router.head("/{job_id}/files/{name}", response_class=Response)
def get_file(request: Request, studio: Service, who: Who, job_id: str, name: str) -> Response:
    """One of its results, with Range; pictures are shown, everything else is a download."""
    path, media_type = studio.jobs.file(who, job_id, name)
    return RangeResponse(request, FileDownload(path, media_type, name), cache="private, max-age=300",
                         attachment=not media_type.startswith("image/"))
