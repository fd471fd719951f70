"""/api/runs and /api/queue."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from studio.web.http.dependencies import Service, Since, Who, api_router, files
from studio.web.http.downloads import FileDownload, RangeResponse
from studio.web.http.responses import respond, same
from studio.web.schemas import runs as schemas
from studio.web.schemas.jobs import Job

polls = api_router("/api", "runs")  # asked for once a second by every open page: matched before all others
router = api_router("/api/runs", "runs")
queue = api_router("/api/queue", "queue")
FEW = 50  # events that are written down on the event loop
_PICTURES = {".webp": "image/webp", ".png": "image/png", ".jpg": "image/jpeg"}


@router.get("", response_model=schemas.Runs)
def list_runs(request: Request, studio: Service, who: Who, limit: int = 50, after: str | None = None) -> Response:
    """The viewer's runs, newest first."""
    return respond(request, studio.runs.all(who, limit, after))


@router.post("", status_code=201, response_model=schemas.Run)
def create_run(request: Request, studio: Service, who: Who, body: schemas.NewRun) -> Response:
    """Submit a run."""
    record = studio.runs.create(who, body.name or "", body.config or {})
    return respond(request, record, 201, headers={"location": f"/api/runs/{record['id']}"})


@router.get("/{run_id}", response_model=schemas.Run)
def get_run(request: Request, studio: Service, who: Who, run_id: str) -> Response:
    """One run's record."""
    return respond(request, studio.runs.get(who, run_id))


@router.patch("/{run_id}", response_model=schemas.Run)
def rename_run(request: Request, studio: Service, who: Who, run_id: str, body: schemas.NewName) -> Response:
    """Give a run another name."""
    return respond(request, studio.runs.rename(who, run_id, body.name or ""))


@router.delete("/{run_id}", status_code=204)
def delete_run(studio: Service, who: Who, run_id: str) -> Response:
    """Move a run to the trash."""
    studio.runs.delete(who, run_id)
    return Response(status_code=204)


@polls.get("/runs/{run_id}/events", response_model=schemas.Events)
async def get_events(request: Request, studio: Service, who: Who, run_id: str, since: Since = 0,
                     limit: Annotated[int, Query(ge=1, le=1000)] = 1000) -> Response:
    """Status and events after `since`; 304 while nothing is new."""
    token = studio.runs.quick_tag(who, run_id) or await run_in_threadpool(studio.runs.poll_tag, who, run_id)
    tag = f"{token}-{since}-{limit}"
    if same(request, tag):
        return respond(request, None, tag=tag)
    answer = await studio.shared.get((run_id, tag), lambda: studio.runs.events(who, run_id, since, limit))
    if len(answer["events"]) > FEW:
        return await run_in_threadpool(respond, request, answer, tag=tag)
    return respond(request, answer, tag=tag)


@router.get("/{run_id}/log", response_model=schemas.Log)
def get_log(request: Request, studio: Service, who: Who, run_id: str,
            since: Annotated[int | None, Query(ge=0)] = None) -> Response:
    """Lines of the run's output from byte `since` on."""
    return respond(request, studio.runs.log(who, run_id, since))


@router.get("/{run_id}/series", response_model=schemas.Series)
def get_series(request: Request, studio: Service, who: Who, run_id: str, keys: str = "loss,lr",
               from_: Annotated[int, Query(alias="from", ge=0)] = 0, to: Annotated[int | None, Query(ge=0)] = None,
               points: Annotated[int, Query(ge=1)] = 1000) -> Response:
    """The curve as columns of at most `points` entries."""
    tag = f"{studio.runs.poll_tag(who, run_id)}-{keys}-{from_}-{to}-{points}"
    tag = "".join(c for c in tag if c.isalnum() or c in "-,_")
    if same(request, tag):
        return respond(request, None, tag=tag)
    return respond(request, studio.runs.series(who, run_id, keys.split(","), from_, to, points), tag=tag)


@router.get("/{run_id}/pictures", response_model=schemas.PicturesByLoss)
def get_pictures(request: Request, studio: Service, who: Who, run_id: str, sort: str = "-loss",
                 offset: Annotated[int, Query(ge=0)] = 0, limit: Annotated[int, Query(ge=1, le=500)] = 60) -> Response:
    """The training pictures by their mean loss: -loss (highest first), loss, or place."""
    tag = f"{studio.runs.pictures_tag(who, run_id)}-{sort}-{offset}-{limit}"
    tag = "".join(c for c in tag if c.isalnum() or c == "-")
    if same(request, tag):
        return respond(request, None, tag=tag)
    return respond(request, studio.runs.pictures(who, run_id, sort, offset, limit), tag=tag)


@router.post("/{run_id}/publish", status_code=202, response_model=Job)
def publish_run(request: Request, studio: Service, who: Who, run_id: str,
                body: schemas.Publication) -> Response:
    """202 with the job that uploads a result to the Hub."""
    return respond(request, studio.publish.run(who, run_id, **body.given()), 202)


@router.post("/{run_id}/branch", status_code=201, response_model=schemas.Run)
def branch_run(request: Request, studio: Service, who: Who, run_id: str,
               body: schemas.Branch = schemas.Branch()) -> Response:
    """A new run that goes on from a checkpoint of this one; `config` has what changes."""
    record = studio.runs.branch(who, run_id, body.checkpoint, body.name, body.config or {})
    return respond(request, record, 201, headers={"location": f"/api/runs/{record['id']}"})


@router.post("/{run_id}/edit", response_model=schemas.Run)
def edit_run(request: Request, studio: Service, who: Who, run_id: str, body: schemas.Edit) -> Response:
    """Change what may change on the way; `resume` lets an ended run go on."""
    return respond(request, studio.runs.edit(who, run_id, body.config or {}, bool(body.resume)))


@router.get("/{run_id}/series.csv", **files("text/csv"))
def get_series_csv(studio: Service, who: Who, run_id: str) -> Response:
    """Every step as CSV, for spreadsheets and pandas."""
    name = f"attachment; filename=run-{run_id[:8]}.csv"
    return StreamingResponse(studio.runs.series_csv(who, run_id), media_type="text/csv",
                             headers={"content-disposition": name, "cache-control": "no-store"})


@router.post("/{run_id}/{kind}", response_model=schemas.Run)
def control_run(request: Request, studio: Service, who: Who, run_id: str, kind: str,
                body: schemas.Control = schemas.Control()) -> Response:
    """stop, cancel, pause, resume, save or sample."""
    return respond(request, studio.runs.control(who, run_id, kind, body.model_dump(exclude_unset=True)))


@router.get("/{run_id}/samples/{name}", **files(*_PICTURES.values()))
def get_sample(request: Request, studio: Service, who: Who, run_id: str, name: str) -> Response:
    """A sample picture."""
    path = studio.runs.sample_file(who, run_id, name)
    item = FileDownload(path, _PICTURES[path.suffix])
    return RangeResponse(request, item, cache="private, max-age=300", attachment=False)


@router.get("/{run_id}/files", response_model=schemas.Files)
def list_files(request: Request, studio: Service, who: Who, run_id: str) -> Response:
    """What can be downloaded."""
    return respond(request, studio.runs.files(who, run_id))


@router.get("/{run_id}/files/{path:path}", **files("application/octet-stream"))
@router.head("/{run_id}/files/{path:path}", response_class=Response)
def get_file(request: Request, studio: Service, who: Who, run_id: str, path: str) -> Response:
    """One of them, with Range."""
    return RangeResponse(request, studio.runs.open_file(who, run_id, path))


@queue.get("", response_model=schemas.Queue)
def get_queue(request: Request, studio: Service, who: Who) -> Response:
    """The waiting runs in order."""
    return respond(request, studio.runs.queue(who))


@queue.post("", response_model=schemas.Queue)
def order_queue(request: Request, studio: Service, who: Who, body: schemas.Order) -> Response:
    """Put waiting runs and jobs into another order."""
    return respond(request, studio.runs.reorder(who, list(map(str, body.order or []))))
