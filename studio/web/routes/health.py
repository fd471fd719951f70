"""/api/datasets/{id}: health and its fixes, what the model sees, captions in bulk, suggestions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from studio.datasets.text.caption_edits import Change
from studio.messages import Message
from studio.web.http.dependencies import Service, Who, api_router
from studio.web.http.errors import WebError
from studio.web.http.responses import respond
from studio.web.schemas import health as schemas
from studio.web.schemas.jobs import Job

router = api_router("/api/datasets/{dataset_id}", "datasets")
Resolution = Annotated[int | None, Query(ge=8, le=8192)]
Short = Annotated[str, Query(max_length=300)]


@router.get("/health", response_model=schemas.Health)
def get_health(request: Request, studio: Service, who: Who, dataset_id: str, resolution: Resolution = None,
               base: Short = "embedded", trigger: Short = "") -> Response:
    """What may spoil a training."""
    how = {"resolution": resolution, "base": base, "trigger": trigger}
    return respond(request, studio.health.report(who, dataset_id, how))


@router.post("/health", status_code=202, response_model=Job)
def measure(request: Request, studio: Service, who: Who, dataset_id: str) -> Response:
    """Measure the pictures that were not measured yet: 202 with the job. Then near copies and blur are known, too."""
    return respond(request, studio.health.measure(who, dataset_id), 202)


@router.post("/fix", response_model=schemas.Changed)
def fix(request: Request, studio: Service, who: Who, dataset_id: str, body: schemas.FixRequest) -> Response:
    """Put a finding right by one of its fixes, for all its pictures or `ids`; the rest as for the health."""
    how = {"resolution": _resolution(body.resolution), "base": body.base, "trigger": body.trigger}
    return respond(request, studio.health.fix(who, dataset_id, body.finding or "", body.fix or "", how,
                                              _ids(body.ids)))


@router.post("/images/{pid}/see", status_code=202, response_model=Job)
def see(request: Request, studio: Service, who: Who, dataset_id: str, pid: str, body: schemas.Seeing) -> Response:
    """What the model sees of a picture at a resolution with a base, perhaps in buckets: 202 with the job."""
    how = {"resolution": _resolution(body.resolution), "base": body.base, "buckets": body.buckets}
    return respond(request, studio.health.see(who, dataset_id, pid, how), 202)


@router.get("/images/{pid}/tokens", response_model=schemas.Tokens)
def get_tokens(request: Request, studio: Service, who: Who, dataset_id: str, pid: str,
               base: Short = "embedded") -> Response:
    """A picture's captions as the base's text encoders read them, with what is cut off."""
    return respond(request, studio.health.tokens(who, dataset_id, pid, {"base": base}))


@router.get("/tags", response_model=schemas.Tags)
def get_tags(request: Request, studio: Service, who: Who, dataset_id: str,
             limit: Annotated[int, Query(ge=1, le=5000)] = 200) -> Response:
    """The captions' tags and how many pictures have each."""
    return respond(request, studio.captions.tags(who, dataset_id, limit))


@router.post("/captions", response_model=schemas.Changed | schemas.EditPreview)
def edit_captions(request: Request, studio: Service, who: Who, dataset_id: str, body: schemas.CaptionEdit) -> Response:
    """Edit many captions, of the pictures that `q` finds or of `ids`; with `preview` only say what would change."""
    change = Change(find=body.find or "", replace=body.replace or "", prefix=body.prefix or "",
                    suffix=body.suffix or "", trigger=body.trigger or "", match_case=bool(body.match_case),
                    whole_words=bool(body.whole_words))
    return respond(request, studio.captions.edit(who, dataset_id, change, q=body.q or "", ids=_ids(body.ids),
                                                 preview=bool(body.preview)))


@router.post("/caption", status_code=202, response_model=Job)
def caption(request: Request, studio: Service, who: Who, dataset_id: str, body: schemas.Captioning) -> Response:
    """Let a model suggest captions, of `ids` or, with `missing_only`, of pictures without one: 202 with the job."""
    most = body.max_new_tokens
    if most is None:
        most = 64
    job = studio.captions.suggest(who, dataset_id, body.model or "", ids=_ids(body.ids), prompt=body.prompt or "",
                                  missing_only=bool(body.missing_only), max_new_tokens=most)
    return respond(request, job, 202)


@router.get("/suggestions", response_model=schemas.Suggestions)
def get_suggestions(request: Request, studio: Service, who: Who, dataset_id: str,
                    offset: Annotated[int, Query(ge=0)] = 0,
                    limit: Annotated[int, Query(ge=1, le=500)] = 50) -> Response:
    """Suggested captions that wait for a decision."""
    return respond(request, studio.captions.suggestions(who, dataset_id, offset, limit))


@router.post("/suggestions", response_model=schemas.Changed)
def decide(request: Request, studio: Service, who: Who, dataset_id: str, body: schemas.Decision) -> Response:
    """Apply or dismiss all suggestions, or those of `ids`."""
    return respond(request, studio.captions.decide(who, dataset_id, apply=body.apply, ids=_ids(body.ids),
                                                   how=body.how or "replace"))


def _ids(items: Iterable[object] | None) -> list[str] | None:
    """The ids of pictures as texts, whatever was sent; None for all pictures."""
    if items is None:
        return None
    return list(map(str, items))


def _resolution(pixels: int | None) -> int | None:
    """The resolution itself. Raises WebError for one that nothing is trained at."""
    if pixels is not None and not 8 <= pixels <= 8192:
        raise WebError(Message("The resolution must be between 8 and 8192 pixels."),
                       Message("Correct it and try again."))
    return pixels
