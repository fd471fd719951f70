"""/api/datasets/{id}/health: what is wrong with a data set, and the fixes."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from studio.web.answers import respond
from studio.web.routes_runs import Service, Who

router = APIRouter(prefix="/api/datasets/{dataset_id}")


@router.post("/health")
def measure(request: Request, studio: Service, who: Who, dataset_id: str) -> Response:
    """Measure the pictures that were not measured yet: 202 with the job."""
    return respond(request, studio.measure_dataset(who, dataset_id), 202)
