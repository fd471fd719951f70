"""/api/runs and /api/queue."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from studio.web.access import Viewer
from studio.web.answers import fields, json_body, respond, same, studio_of, viewer
from studio.web.downloads import FileDownload, RangeResponse
from studio.web.service import Studio

polls = APIRouter(prefix="/api")  # asked for once a second by every open page: matched before all others
router = APIRouter(prefix="/api")


async def _viewer(request: Request) -> Viewer:
    return viewer(request)


async def _studio(request: Request) -> Studio:
    return studio_of(request)


Who = Annotated[Viewer, Depends(_viewer)]  # async, since FastAPI would send each of the two to a thread and back
Service = Annotated[Studio, Depends(_studio)]
Body = Annotated[dict[str, Any], Depends(json_body)]
Since = Annotated[int, Query(ge=0)]
FEW = 50  # events that are written down on the event loop
PUBLICATION = {"repo": str, "private": bool, "weights": str, "step": int, "precision": str, "token": str}
_PICTURES = {".webp": "image/webp", ".png": "image/png", ".jpg": "image/jpeg"}


@router.get("/runs")
def list_runs(request: Request, studio: Service, who: Who, limit: int = 50, after: str | None = None) -> Response:
    """The viewer's runs, newest first."""
    return respond(request, studio.list_runs(who, limit, after))


@router.post("/runs")
def create_run(request: Request, studio: Service, who: Who, body: Body) -> Response:
    """Submit a run: {name, config}."""
    name, config = fields(body, name=str, config=dict)
    record = studio.create_run(who, name or "", config or {})
    return respond(request, record, 201, headers={"location": f"/api/runs/{record['id']}"})


@router.get("/runs/{run_id}")
def get_run(request: Request, studio: Service, who: Who, run_id: str) -> Response:
    """One run's record."""
    return respond(request, studio.run(who, run_id))


@router.patch("/runs/{run_id}")
def rename_run(request: Request, studio: Service, who: Who, run_id: str, body: Body) -> Response:
    """Change {name}."""
    (name,) = fields(body, name=str)
    return respond(request, studio.rename_run(who, run_id, name or ""))


@router.delete("/runs/{run_id}")
def delete_run(studio: Service, who: Who, run_id: str) -> Response:
    """Move a run to the trash."""
    studio.delete_run(who, run_id)
    return Response(status_code=204)


@polls.get("/runs/{run_id}/events")
async def get_events(request: Request, studio: Service, who: Who, run_id: str, since: Since = 0,
                     limit: Annotated[int, Query(ge=1, le=1000)] = 1000) -> Response:
    """Status and events after `since`; 304 while nothing is new."""
    pulse = studio.quick_tag(who, run_id) or await run_in_threadpool(studio.poll_tag, who, run_id)
    tag = f"{pulse}-{since}-{limit}"
    if same(request, tag):
        return respond(request, None, tag=tag)
    answer = await studio.shared.get((run_id, tag), lambda: studio.events(who, run_id, since, limit))
    if len(answer["events"]) > FEW:
        return await run_in_threadpool(respond, request, answer, tag=tag)
    return respond(request, answer, tag=tag)


@router.get("/runs/{run_id}/log")
def get_log(request: Request, studio: Service, who: Who, run_id: str,
            since: Annotated[int | None, Query(ge=0)] = None) -> Response:
    """Lines of the run's output from byte `since` on."""
    return respond(request, studio.log(who, run_id, since))


@router.get("/runs/{run_id}/series")
def get_series(request: Request, studio: Service, who: Who, run_id: str, keys: str = "loss,lr",
               from_: Annotated[int, Query(alias="from", ge=0)] = 0, to: Annotated[int | None, Query(ge=0)] = None,
               points: Annotated[int, Query(ge=1)] = 1000) -> Response:
    """The curve as columns of at most `points` entries."""
    tag = f"{studio.poll_tag(who, run_id)}-{keys}-{from_}-{to}-{points}"
    tag = "".join(c for c in tag if c.isalnum() or c in "-,_")
    data = None if same(request, tag) else studio.series(who, run_id, keys.split(","), from_, to, points)
    return respond(request, data, tag=tag)


@router.get("/runs/{run_id}/pictures")
def get_pictures(request: Request, studio: Service, who: Who, run_id: str, sort: str = "-loss",
                 offset: Annotated[int, Query(ge=0)] = 0, limit: Annotated[int, Query(ge=1, le=500)] = 60) -> Response:
    """The training pictures by their mean loss: -loss (highest first), loss, or place."""
    tag = "".join(c for c in f"{studio.pictures_tag(who, run_id)}-{sort}-{offset}-{limit}" if c.isalnum() or c == "-")
    data = None if same(request, tag) else studio.pictures(who, run_id, sort, offset, limit)
    return respond(request, data, tag=tag)


@router.post("/runs/{run_id}/publish")
def publish_run(request: Request, studio: Service, who: Who, run_id: str, body: Body) -> Response:
    """{repo, private, weights, step, precision, token}: 202 with the job that uploads."""
    given = {name: value for name, value in zip(PUBLICATION, fields(body, **PUBLICATION), strict=True)
             if value is not None}
    return respond(request, studio.publish_run(who, run_id, **given), 202)


@router.post("/runs/{run_id}/branch")
def branch_run(request: Request, studio: Service, who: Who, run_id: str, body: Body) -> Response:
    """{checkpoint, name, config}: 201 with the new run that goes on from there; `config` has what changes."""
    checkpoint, name, config = fields(body, checkpoint=str, name=str, config=dict)
    record = studio.branch_run(who, run_id, checkpoint, name, config or {})
    return respond(request, record, 201, headers={"location": f"/api/runs/{record['id']}"})


@router.post("/runs/{run_id}/edit")
def edit_run(request: Request, studio: Service, who: Who, run_id: str, body: Body) -> Response:
    """{config, resume}: change what may change on the way; `resume` lets an ended run go on."""
    config, resume = fields(body, config=dict, resume=bool)
    return respond(request, studio.edit_run(who, run_id, config or {}, bool(resume)))


@router.get("/runs/{run_id}/series.csv")
def get_series_csv(studio: Service, who: Who, run_id: str) -> Response:
    """Every step as CSV, for spreadsheets and pandas."""
    name = f"attachment; filename=run-{run_id[:8]}.csv"
    return StreamingResponse(studio.series_csv(who, run_id), media_type="text/csv",
                             headers={"content-disposition": name, "cache-control": "no-store"})


@router.post("/runs/{run_id}/{kind}")
def control_run(request: Request, studio: Service, who: Who, run_id: str, kind: str, body: Body) -> Response:
    """stop, cancel, pause, resume, save or sample."""
    return respond(request, studio.control(who, run_id, kind, body))


@router.get("/runs/{run_id}/samples/{name}")
def get_sample(request: Request, studio: Service, who: Who, run_id: str, name: str) -> Response:
    """A sample picture."""
    path = studio.sample_file(who, run_id, name)
    item = FileDownload(path, _PICTURES[path.suffix])
    return RangeResponse(request, item, cache="private, max-age=300", attachment=False)


@router.get("/runs/{run_id}/files")
def list_files(request: Request, studio: Service, who: Who, run_id: str) -> Response:
    """What can be downloaded."""
    return respond(request, studio.files(who, run_id))


@router.get("/runs/{run_id}/files/{path:path}")
@router.head("/runs/{run_id}/files/{path:path}")
def get_file(request: Request, studio: Service, who: Who, run_id: str, path: str) -> Response:
    """One of them, with Range."""
    return RangeResponse(request, studio.open_file(who, run_id, path))


@router.get("/queue")
def get_queue(request: Request, studio: Service, who: Who) -> Response:
    """The waiting runs in order."""
    return respond(request, studio.queue(who))


@router.post("/queue")
def order_queue(request: Request, studio: Service, who: Who, body: Body) -> Response:
    """Put waiting runs into another order: {order: [id, ...]}."""
    (order,) = fields(body, order=list)
    return respond(request, studio.reorder_queue(who, [str(i) for i in order or []]))
