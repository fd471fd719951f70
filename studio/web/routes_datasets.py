"""/api/datasets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from studio.messages import Message
from studio.web import uploads
from studio.web.access import require
from studio.web.answers import fields, json_body, respond, studio_of, viewer
from studio.web.downloads import FileDownload, RangeResponse
from studio.web.errors import WebError
from studio.web.routes_runs import Body, Service, Who

router = APIRouter(prefix="/api/datasets")
READINGS = {"caption_from": str, "image_column": str, "caption_column": str, "encoding": str}
WISHES = {"background": str, **READINGS}  # how pictures are brought in: datasets.Options
PUSH = {"repo": str, "private": bool, "token": str}
_PICTURES = {".webp": "image/webp", ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
_FOREVER = "private, max-age=31536000, immutable"  # the id is the content's hash


@router.get("")
def list_datasets(request: Request, studio: Service, who: Who) -> Response:
    """The shipped set and the viewer's own."""
    return respond(request, studio.list_datasets(who))


@router.post("")
async def create_dataset(request: Request) -> Response:
    """Pictures, captions and zips as multipart `files`, with a `name`: 201 when imported within 20 s, else 202.

    As JSON: {name, source: {kind: "hub" | "folder", ...}, background, caption_from, caption_column, image_column,
    encoding}; without a source the data set waits for batches and `commit`."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        return await _import_source(request)
    return await _import(request, None)


@router.post("/preview")
def preview(request: Request, studio: Service, who: Who, body: Body) -> Response:
    """The columns and the first rows of {source}, a Hub data set."""
    (source,) = fields(body, source=dict)
    return respond(request, studio.preview_source(who, source or {}))


@router.post("/{dataset_id}/images")
async def add_images(request: Request, dataset_id: str, commit: bool = True) -> Response:
    """More pictures for a data set, as multipart `files`; with `commit=false` they wait for `commit`."""
    return await _import(request, dataset_id, commit)


@router.post("/{dataset_id}/commit")
def commit_files(request: Request, studio: Service, who: Who, dataset_id: str, body: Body) -> Response:
    """Import the batches that wait, by {background, caption_from, caption_column, image_column, encoding}."""
    return _answer(request, *studio.commit_files(who, dataset_id, _wishes(body, WISHES, fields(body, **WISHES))))


@router.get("/{dataset_id}/arrived")
def list_arrived(request: Request, studio: Service, who: Who, dataset_id: str) -> Response:
    """The files that came in batches and wait for `commit`, each with its size: what is left of a broken-off upload."""
    return respond(request, studio.arrived_files(who, dataset_id))


@router.post("/{dataset_id}/read-again")
def read_again(request: Request, studio: Service, who: Who, dataset_id: str, body: Body) -> Response:
    """Take the captions of the last import anew from its files, by {caption_column, image_column, encoding,
    caption_from}; what is left out stays as it was. One step of undo."""
    return _answer(request, *studio.read_again(
        who, dataset_id, _wishes(body, READINGS, fields(body, **READINGS))))


@router.post("/{dataset_id}/cancel")
def cancel_import(request: Request, studio: Service, who: Who, dataset_id: str) -> Response:
    """End the import under way; nothing of it is kept."""
    return respond(request, studio.cancel_import(who, dataset_id), 202)


@router.get("/{dataset_id}")
def get_dataset(request: Request, studio: Service, who: Who, dataset_id: str) -> Response:
    """One data set with its report."""
    return respond(request, studio.dataset(who, dataset_id))


@router.patch("/{dataset_id}")
def rename_dataset(request: Request, studio: Service, who: Who, dataset_id: str, body: Body) -> Response:
    """Change {name}."""
    (name,) = fields(body, name=str)
    return respond(request, studio.rename_dataset(who, dataset_id, name or ""))


@router.delete("/{dataset_id}")
def delete_dataset(studio: Service, who: Who, dataset_id: str) -> Response:
    """Move a data set to the trash."""
    studio.delete_dataset(who, dataset_id)
    return Response(status_code=204)


@router.get("/{dataset_id}/report")
def get_report(request: Request, studio: Service, who: Who, dataset_id: str) -> Response:
    """What the last import did with each file."""
    return respond(request, studio.report(who, dataset_id))


@router.get("/{dataset_id}/report.csv")
def get_report_table(request: Request, studio: Service, who: Who, dataset_id: str) -> Response:
    """The last report with every file, as a table to keep."""
    path = studio.report_table(who, dataset_id)
    if not studio.hidden.places:
        return RangeResponse(request, FileDownload(path, "text/csv; charset=utf-8", "import-report.csv"))
    return StreamingResponse(studio.hidden.lines(path), media_type="text/csv; charset=utf-8",
                             headers={"content-disposition": "attachment; filename=import-report.csv"})


@router.get("/{dataset_id}/export")
@router.head("/{dataset_id}/export")
def export_dataset(request: Request, studio: Service, who: Who, dataset_id: str) -> Response:
    """The data set as a zip of an imagefolder, with Range."""
    return RangeResponse(request, studio.export_dataset(who, dataset_id))


@router.post("/{dataset_id}/push")
def push_dataset(request: Request, studio: Service, who: Who, dataset_id: str, body: Body) -> Response:
    """{repo, private, token}: 202 with the job that uploads it to the Hub."""
    given = {name: value for name, value in zip(PUSH, fields(body, **PUSH), strict=True) if value is not None}
    return respond(request, studio.push_dataset(who, dataset_id, **given), 202)


@router.post("/{dataset_id}/undo")
def undo(request: Request, studio: Service, who: Who, dataset_id: str) -> Response:
    """Take the last caption edit back."""
    return respond(request, studio.undo(who, dataset_id))


@router.get("/{dataset_id}/images")
def list_images(request: Request, studio: Service, who: Who, dataset_id: str, offset: Annotated[int, Query(ge=0)] = 0,
                limit: Annotated[int, Query(ge=1, le=500)] = 60,
                q: Annotated[str, Query(max_length=200)] = "") -> Response:
    """Pictures in order, or those whose captions or name contain `q`."""
    return respond(request, studio.images(who, dataset_id, offset, limit, q))


@router.get("/{dataset_id}/images/{pid}")
def get_picture(request: Request, studio: Service, who: Who, dataset_id: str, pid: str) -> Response:
    """The stored picture."""
    path = studio.picture(who, dataset_id, pid)
    return RangeResponse(request, FileDownload(path, _PICTURES[path.suffix]), _FOREVER, attachment=False)


@router.patch("/{dataset_id}/images/{pid}")
def set_captions(request: Request, studio: Service, who: Who, dataset_id: str, pid: str, body: Body) -> Response:
    """Change {caption} or {captions: [...]}, or {crop: [x, y, side] | null}."""
    caption, captions, crop = fields(body, caption=str, captions=list, crop=list)
    if "crop" in body and len(body) == 1:
        return respond(request, studio.set_crop(who, dataset_id, pid, crop))
    if "crop" in body:
        raise WebError(Message("Captions and crop are changed one at a time."), Message("Send two requests."))
    texts = captions if captions is not None else caption or ""
    return respond(request, studio.set_caption(who, dataset_id, pid, texts))


@router.get("/{dataset_id}/images/{pid}/thumb")
def get_thumbnail(request: Request, studio: Service, who: Who, dataset_id: str, pid: str) -> Response:
    """The picture at 256 px at most."""
    path = studio.thumbnail(who, dataset_id, pid)
    return RangeResponse(request, FileDownload(path, _PICTURES[path.suffix]), _FOREVER, attachment=False)


def _wishes(body: dict[str, Any], names: Iterable[str], values: Iterable[Any]) -> dict[str, Any]:
    """What of the body says how pictures are brought in: those of the names that are in it."""
    return {name: value for name, value in zip(names, values, strict=True) if name in body}


async def _import_source(request: Request) -> Response:
    studio, who = studio_of(request), viewer(request)
    body = await json_body(request)
    name, source, *wishes = fields(body, name=str, source=dict, **WISHES)
    if source is None and not name:
        raise WebError(Message("A data set needs a name, and files or a source."),
                       Message("Send files as multipart/form-data, or JSON with a name, or with a source."))
    if source is None:
        return respond(request, await run_in_threadpool(studio.draft_dataset, who, name or ""), 201)
    made = await run_in_threadpool(studio.import_source, who, name or "", source,
                                   _wishes(body, WISHES, wishes))
    return await run_in_threadpool(_answer, request, *made)


async def _import(request: Request, into: str | None, commit: bool = True) -> Response:
    studio, who = studio_of(request), viewer(request)
    if into is None:  # before anything is read from somebody who may not
        require(who, None, "create", "data set")
    else:
        await run_in_threadpool(studio.check_dataset_writable, who, into)
    batch = into is not None and not commit
    arrival = await run_in_threadpool(studio.arriving, who, into, batch, uploads.length(request))
    try:
        upload = await uploads.receive(request, studio.settings, arrival.received)
    except BaseException:
        arrival.close()
        raise

    def done() -> None:
        upload.remove()
        arrival.close()

    if into is not None and batch:
        try:
            return respond(request, await run_in_threadpool(studio.receive_files, who, into, upload.files), 202)
        finally:
            await run_in_threadpool(done)
    name, wishes = upload.fields.get("name", ""), {key: upload.fields.get(key) for key in WISHES}
    made = await run_in_threadpool(studio.import_files, who, name, upload.files, done, into, wishes)
    return await run_in_threadpool(_answer, request, *made)


def _answer(request: Request, found: dict[str, Any], done: bool) -> Response:
    where = {"location": f"/api/datasets/{found['id']}"}  # its report grows there, so the data set is its own job
    if done:
        return respond(request, found, 201, headers=where)
    return respond(request, {**found, "job": found["id"]}, 202, headers=where)
