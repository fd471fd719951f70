"""/api/runs/{id}/draw, votes and overfitting, and /api/jobs/{id}/votes: trying what was trained."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from studio.web.answers import fields, respond
from studio.web.routes_runs import Body, Service, Who

router = APIRouter(prefix="/api")
WISHES = {"columns": list, "prompts": list, "negative_prompt": str, "seeds": list, "guidance_scale": (int, float),
          "num_inference_steps": int, "width": int, "height": int, "resolution": int}


@router.post("/runs/{run_id}/draw")
def draw(request: Request, studio: Service, who: Who, run_id: str, body: Body) -> Response:
    """{columns: [{checkpoint, weights, scale}], prompts, negative_prompt, seeds, guidance_scale, num_inference_steps,
    width, height, or resolution for a square}: 202 with the job that draws, one result for each picture."""
    wanted = dict(zip(WISHES, fields(body, **WISHES), strict=True))
    return respond(request, studio.draw(who, run_id, wanted), 202)


@router.get("/jobs/{job_id}/votes")
def get_votes(request: Request, studio: Service, who: Who, job_id: str) -> Response:
    """How the blind vote on a drawing stands, with the next pair; the tally once it has ended."""
    return respond(request, studio.vote(who, job_id))


@router.post("/jobs/{job_id}/votes")
def cast_vote(request: Request, studio: Service, who: Who, job_id: str, body: Body) -> Response:
    """{pair, choice: left, right or tie}, or {undo: true}, or {end: true}: how it stands then."""
    kinds = {"pair": str, "choice": str, "undo": bool, "end": bool}
    given = {name: value for name, value in zip(kinds, fields(body, **kinds), strict=True) if value is not None}
    return respond(request, studio.cast_vote(who, job_id, **given))


@router.get("/runs/{run_id}/votes")
def list_votes(request: Request, studio: Service, who: Who, run_id: str) -> Response:
    """What the blind votes on this run's drawings said, newest first; they stay when a drawing goes."""
    return respond(request, studio.run_votes(who, run_id))


@router.get("/runs/{run_id}/overfitting")
def get_overfitting(request: Request, studio: Service, who: Who, run_id: str) -> Response:
    """Held-out loss, the samples' nearest training pictures, and a recommended checkpoint."""
    return respond(request, studio.overfitting(who, run_id))


@router.post("/runs/{run_id}/overfitting")
def compare_samples(request: Request, studio: Service, who: Who, run_id: str) -> Response:
    """202: the light job that compares the samples with the training pictures."""
    return respond(request, studio.compare_samples(who, run_id), 202)
