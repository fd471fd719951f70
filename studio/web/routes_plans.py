"""/api/runs/check, /api/runs/probe, /api/runs/estimate and /api/presets: what comes before a run."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from studio.web.answers import fields, respond
from studio.web.routes_runs import Body, Service, Who

router = APIRouter(prefix="/api")


@router.post("/runs/check")
def check_run(request: Request, studio: Service, who: Who, body: Body) -> Response:
    """What submitting {config} would say."""
    _, config = fields(body, name=str, config=dict)
    return respond(request, studio.check_run(who, config or {}))


@router.post("/runs/probe")
def probe_run(request: Request, studio: Service, who: Who, body: Body) -> Response:
    """202: a job that takes the first steps of {config} and draws one picture, and reports seconds and memory."""
    _, config = fields(body, name=str, config=dict)
    return respond(request, studio.probe_run(who, config or {}), 202)


@router.post("/runs/estimate")
def estimate_run(request: Request, studio: Service, who: Who, body: Body) -> Response:
    """Time, memory and disk that {config} would take, and what each figure is taken from."""
    _, config = fields(body, name=str, config=dict)
    return respond(request, studio.estimate_run(who, config or {}))


@router.get("/presets")
def list_presets(request: Request, studio: Service, who: Who, dataset: str = "sample",
                 base: str = "embedded") -> Response:
    """The shipped presets for a data set and a base, and the viewer's own."""
    return respond(request, studio.list_presets(who, dataset, base))


@router.post("/presets")
def save_preset(request: Request, studio: Service, who: Who, body: Body) -> Response:
    """Keep {config} under {name}."""
    name, config = fields(body, name=str, config=dict)
    return respond(request, studio.save_preset(who, name or "", config or {}), 201)


@router.delete("/presets/{preset_id}")
def delete_preset(studio: Service, who: Who, preset_id: str) -> Response:
    """Forget one of the viewer's presets."""
    studio.delete_preset(who, preset_id)
    return Response(status_code=204)
