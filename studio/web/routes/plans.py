"""/api/runs/check, /api/runs/probe, /api/runs/estimate and /api/presets: what comes before a run."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from studio.web.http.dependencies import Service, Who, api_router
from studio.web.http.responses import respond
from studio.web.schemas import plans as schemas
from studio.web.schemas.jobs import Job

router = api_router("/api/runs", "runs")
presets = api_router("/api/presets", "presets")


@router.post("/check", response_model=schemas.Check)
def check_run(request: Request, studio: Service, who: Who, body: schemas.Plan) -> Response:
    """What submitting `config` would say."""
    return respond(request, studio.plans.check(who, body.config or {}))


@router.post("/probe", status_code=202, response_model=Job)
def probe_run(request: Request, studio: Service, who: Who, body: schemas.Plan) -> Response:
    """202: a job that takes the first steps of `config` and draws one picture, and reports seconds and memory."""
    return respond(request, studio.plans.probe(who, body.config or {}), 202)


@router.post("/estimate", response_model=schemas.Estimate)
def estimate_run(request: Request, studio: Service, who: Who, body: schemas.Plan) -> Response:
    """Time, memory and disk that `config` would take, and what each figure is taken from."""
    return respond(request, studio.plans.estimate(who, body.config or {}))


@presets.get("", response_model=schemas.Presets)
def list_presets(request: Request, studio: Service, who: Who, dataset: str = "sample",
                 base: str = "embedded") -> Response:
    """The shipped presets for a data set and a base, and the viewer's own."""
    return respond(request, studio.plans.list_presets(who, dataset, base))


@presets.post("", status_code=201, response_model=schemas.Preset)
def save_preset(request: Request, studio: Service, who: Who, body: schemas.NewPreset) -> Response:
    """Keep `config` under `name`."""
    return respond(request, studio.plans.save_preset(who, body.name or "", body.config or {}), 201)


@presets.delete("/{preset_id}", status_code=204)
def delete_preset(studio: Service, who: Who, preset_id: str) -> Response:
    """Forget one of the viewer's presets."""
    studio.plans.delete_preset(who, preset_id)
    return Response(status_code=204)
