"""/api/datasets/{id}: health and its fixes, what the model sees, captions in bulk, suggestions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from studio.datasets.wording import Change
from studio.messages import Message
from studio.web.answers import fields, respond
from studio.web.errors import WebError
from studio.web.routes_runs import Body, Service, Who

router = APIRouter(prefix="/api/datasets/{dataset_id}")
Resolution = Annotated[int | None, Query(ge=8, le=8192)]
Short = Annotated[str, Query(max_length=300)]


@router.get("/health")
def get_health(request: Request, studio: Service, who: Who, dataset_id: str, resolution: Resolution = None,
               base: Short = "embedded", trigger: Short = "") -> Response:
    """What may spoil a training."""
    wanted = {"resolution": resolution, "base": base, "trigger": trigger}
    return respond(request, studio.health(who, dataset_id, wanted))


@router.post("/health")
def measure(request: Request, studio: Service, who: Who, dataset_id: str) -> Response:
    """Measure the pictures that were not measured yet: 202 with the job."""
    return respond(request, studio.measure_dataset(who, dataset_id), 202)


@router.post("/fix")
def fix(request: Request, studio: Service, who: Who, dataset_id: str, body: Body) -> Response:
    """Put {finding} right by {fix}, for all its pictures or {ids}; {resolution, base, trigger} as for the health."""
    finding, name, ids, resolution, base, trigger = fields(body, finding=str, fix=str, ids=list, resolution=int,
                                                           base=str, trigger=str)
    wanted = {"resolution": _resolution(resolution), "base": base, "trigger": trigger}
    return respond(request, studio.fix(who, dataset_id, finding or "", name or "", wanted, _ids(ids)))


@router.post("/images/{pid}/see")
def see(request: Request, studio: Service, who: Who, dataset_id: str, pid: str, body: Body) -> Response:
    """What the model sees of a picture at {resolution} with {base}, perhaps in {buckets}: 202 with the job."""
    resolution, base, buckets = fields(body, resolution=int, base=str, buckets=bool)
    wanted = {"resolution": _resolution(resolution), "base": base, "buckets": buckets}
    return respond(request, studio.see(who, dataset_id, pid, wanted), 202)


@router.get("/images/{pid}/tokens")
def get_tokens(request: Request, studio: Service, who: Who, dataset_id: str, pid: str,
               base: Short = "embedded") -> Response:
    """A picture's captions as the base's text encoders read them, with what is cut off."""
    return respond(request, studio.caption_tokens(who, dataset_id, pid, {"base": base}))


@router.get("/tags")
def get_tags(request: Request, studio: Service, who: Who, dataset_id: str,
             limit: Annotated[int, Query(ge=1, le=5000)] = 200) -> Response:
    """The captions' tags and how many pictures have each."""
    return respond(request, studio.tags(who, dataset_id, limit))


@router.post("/captions")
def edit_captions(request: Request, studio: Service, who: Who, dataset_id: str, body: Body) -> Response:
    """Edit many captions: {find, replace, match_case, whole_words, prefix, suffix, trigger}, of the pictures that {q}
    finds or of {ids}; with {preview} only say what would change."""
    names = ("find", "replace", "prefix", "suffix", "trigger")
    *texts, match_case, whole_words, q, ids, preview = fields(
        body, **dict.fromkeys(names, str), match_case=bool, whole_words=bool, q=str, ids=list, preview=bool)
    change = Change(**{name: text or "" for name, text in zip(names, texts, strict=True)},
                    match_case=bool(match_case), whole_words=bool(whole_words))
    return respond(request, studio.edit_captions(who, dataset_id, change, q=q or "", ids=_ids(ids),
                                                 preview=bool(preview)))


@router.post("/caption")
def caption(request: Request, studio: Service, who: Who, dataset_id: str, body: Body) -> Response:
    """Let {model} suggest captions, of {ids} or, with {missing_only}, of pictures without one: 202 with the job."""
    model, ids, prompt, missing_only, most = fields(body, model=str, ids=list, prompt=str, missing_only=bool,
                                                    max_new_tokens=int)
    found = studio.caption_dataset(who, dataset_id, model or "", ids=_ids(ids), prompt=prompt or "",
                                   missing_only=bool(missing_only), max_new_tokens=64 if most is None else most)
    return respond(request, found, 202)


@router.get("/suggestions")
def get_suggestions(request: Request, studio: Service, who: Who, dataset_id: str,
                    offset: Annotated[int, Query(ge=0)] = 0,
                    limit: Annotated[int, Query(ge=1, le=500)] = 50) -> Response:
    """Suggested captions that wait for a decision."""
    return respond(request, studio.suggestions(who, dataset_id, offset, limit))


@router.post("/suggestions")
def decide(request: Request, studio: Service, who: Who, dataset_id: str, body: Body) -> Response:
    """{apply: true|false} all suggestions or those of {ids}; {how}: replace, append or prepend."""
    apply, ids, how = fields(body, apply=bool, ids=list, how=str)
    return respond(request, studio.decide(who, dataset_id, apply=apply, ids=_ids(ids), how=how or "replace"))


def _ids(given: Any) -> list[str] | None:
    return None if given is None else [str(pid) for pid in given]


def _resolution(given: int | None) -> int | None:
    if given is not None and not 8 <= given <= 8192:
        raise WebError(Message("The resolution must be between 8 and 8192 pixels."),
                       Message("Correct it and try again."))
    return given
