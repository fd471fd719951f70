"""/api/runs/{id}/draw, votes and overfitting, and /api/jobs/{id}/votes: trying what was trained."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from studio.web.http.dependencies import Service, Who, api_router
from studio.web.http.responses import respond
from studio.web.schemas import jobs as schemas

router = api_router("/api/runs", "runs")
jobs = api_router("/api/jobs", "jobs")


@router.post("/{run_id}/draw", status_code=202, response_model=schemas.Job)
def draw(request: Request, studio: Service, who: Who, run_id: str,
         body: schemas.Drawing = schemas.Drawing()) -> Response:
    """202 with the job that draws, one result for each picture."""
    return respond(request, studio.play.draw(who, run_id, body.given()), 202)


@jobs.get("/{job_id}/votes", response_model=schemas.Standing)
def get_votes(request: Request, studio: Service, who: Who, job_id: str) -> Response:
    """How the blind vote on a drawing stands, with the next pair; the tally once it has ended."""
    return respond(request, studio.play.vote(who, job_id))


@jobs.post("/{job_id}/votes", response_model=schemas.Standing)
def cast_vote(request: Request, studio: Service, who: Who, job_id: str, body: schemas.Vote) -> Response:
    """Vote on a pair, take the last vote back, or end: how it stands then."""
    return respond(request, studio.play.cast_vote(who, job_id, **body.given()))


@router.get("/{run_id}/votes", response_model=schemas.PastVotes)
def list_votes(request: Request, studio: Service, who: Who, run_id: str) -> Response:
    """What the blind votes on this run's drawings said, newest first; they stay when a drawing goes."""
    return respond(request, studio.play.past_votes(who, run_id))


@router.get("/{run_id}/overfitting", response_model=schemas.Overfitting)
def get_overfitting(request: Request, studio: Service, who: Who, run_id: str) -> Response:
    """Held-out loss, the samples' nearest training pictures, and a recommended checkpoint."""
    return respond(request, studio.play.overfitting(who, run_id))


@router.post("/{run_id}/overfitting", status_code=202, response_model=schemas.Job)
def compare_samples(request: Request, studio: Service, who: Who, run_id: str) -> Response:
    """202: the light job that compares the samples with the training pictures."""
    return respond(request, studio.play.compare_samples(who, run_id), 202)
