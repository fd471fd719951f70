"""/api/datasets."""

from __future__ import annotations

from typing import Annotated, TypedDict

from fastapi import Query
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from studio.messages import JsonObject, Message
from studio.web.access import Viewer, require
from studio.web.http import uploads
from studio.web.http.dependencies import Responses, Service, Who, also, api_router, files
from studio.web.http.downloads import FileDownload, RangeResponse
from studio.web.http.errors import WebError
from studio.web.http.responses import respond
from studio.web.http.routing import JsonOrFilesRoute, is_json
from studio.web.schemas import datasets as schemas
from studio.web.schemas.base import multipart
from studio.web.schemas.jobs import Job
from studio.web.schemas.runs import NewName
from studio.web.services.service import Studio


class ImportRoute(TypedDict):
    """Options of a route that imports pictures."""

    status_code: int
    response_model: type[BaseModel]
    responses: Responses


router = api_router("/api/datasets", "datasets")
uploads_or_json = api_router("/api/datasets", "datasets")
uploads_or_json.route_class = JsonOrFilesRoute
IMPORTED: ImportRoute = {"status_code": 201, "response_model": schemas.Dataset,
                         "responses": also(202, schemas.Dataset, "The import goes on; `job` is its id")}
WISHES = tuple(schemas.HowToImport.model_fields)  # how pictures are brought in: datasets.Options
_PICTURES = {".webp": "image/webp", ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
_FOREVER = "private, max-age=31536000, immutable"  # the id is the content's hash


@router.get("", response_model=schemas.Datasets)
def list_datasets(request: Request, studio: Service, who: Who) -> Response:
    """The shipped set and the viewer's own."""
    return respond(request, studio.datasets.all(who))


@uploads_or_json.post("", **IMPORTED, openapi_extra=multipart(schemas.NewUpload))
async def create_dataset(request: Request, studio: Service, who: Who,
                         body: schemas.NewDataset | None = None) -> Response:
    """Pictures, captions and zips as multipart `files`, with a `name`: 201 when imported within 20 s, else 202.

    As JSON, from a `source`; without one the data set waits for batches and `commit`."""
    if body is not None and is_json(request):
        return await _import_source(request, studio, who, body)
    return await _import(request, studio, who, None)


@router.post("/preview", response_model=schemas.Preview)
def preview(request: Request, studio: Service, who: Who, body: schemas.Source) -> Response:
    """The columns and the first rows of a Hub data set."""
    return respond(request, studio.datasets.preview(who, body.source or {}))


@router.post("/{dataset_id}/images", status_code=201, response_model=schemas.Dataset,
             responses=also(202, schemas.Dataset | schemas.Received, "It is imported, or with `commit=false` waits"),
             openapi_extra=multipart(schemas.Upload))
async def add_images(request: Request, studio: Service, who: Who, dataset_id: str, commit: bool = True) -> Response:
    """More pictures for a data set, as multipart `files`; with `commit=false` they wait for `commit`."""
    return await _import(request, studio, who, dataset_id, commit)


@router.post("/{dataset_id}/commit", **IMPORTED)
def commit_files(request: Request, studio: Service, who: Who, dataset_id: str,
                 body: schemas.HowToImport = schemas.HowToImport()) -> Response:
    """Import the batches that wait."""
    return _answer(request, *studio.datasets.commit(who, dataset_id, body.sent()))


@router.get("/{dataset_id}/arrived", response_model=schemas.Arrived)
def list_arrived(request: Request, studio: Service, who: Who, dataset_id: str) -> Response:
    """The files that came in batches and wait for `commit`, each with its size: what is left of a broken-off upload."""
    return respond(request, studio.datasets.arrived(who, dataset_id))


@router.post("/{dataset_id}/read-again", **IMPORTED)
def read_again(request: Request, studio: Service, who: Who, dataset_id: str,
               body: schemas.HowToRead = schemas.HowToRead()) -> Response:
    """Take the captions of the last import anew from its files; what is left out stays as it was. One step of undo."""
    return _answer(request, *studio.datasets.read_again(who, dataset_id, body.sent()))


@router.post("/{dataset_id}/cancel", status_code=202, response_model=schemas.Brief)
def cancel_import(request: Request, studio: Service, who: Who, dataset_id: str) -> Response:
    """End the import under way; nothing of it is kept."""
    return respond(request, studio.datasets.cancel(who, dataset_id), 202)


@router.get("/{dataset_id}", response_model=schemas.Dataset)
def get_dataset(request: Request, studio: Service, who: Who, dataset_id: str) -> Response:
    """One data set with its report."""
    return respond(request, studio.datasets.get(who, dataset_id))


@router.patch("/{dataset_id}", response_model=schemas.Brief)
def rename_dataset(request: Request, studio: Service, who: Who, dataset_id: str, body: NewName) -> Response:
    """Give a data set another name."""
    return respond(request, studio.datasets.rename(who, dataset_id, body.name or ""))


@router.delete("/{dataset_id}", status_code=204)
def delete_dataset(studio: Service, who: Who, dataset_id: str) -> Response:
    """Move a data set to the trash."""
    studio.datasets.delete(who, dataset_id)
    return Response(status_code=204)


@router.get("/{dataset_id}/report", response_model=schemas.Report)
def get_report(request: Request, studio: Service, who: Who, dataset_id: str) -> Response:
    """What the last import did with each file."""
    return respond(request, studio.datasets.report(who, dataset_id))


@router.get("/{dataset_id}/report.csv", **files("text/csv"))
def get_report_table(request: Request, studio: Service, who: Who, dataset_id: str) -> Response:
    """The last report with every file, as a table to keep."""
    path = studio.datasets.report_table(who, dataset_id)
    if not studio.hidden.places:
        return RangeResponse(request, FileDownload(path, "text/csv; charset=utf-8", "import-report.csv"))
    return StreamingResponse(studio.hidden.lines(path), media_type="text/csv; charset=utf-8",
                             headers={"content-disposition": "attachment; filename=import-report.csv"})


@router.get("/{dataset_id}/export", **files("application/zip"))
@router.head("/{dataset_id}/export", response_class=Response)
def export_dataset(request: Request, studio: Service, who: Who, dataset_id: str) -> Response:
    """The data set as a zip of an imagefolder, with Range."""
    return RangeResponse(request, studio.datasets.export(who, dataset_id))


@router.post("/{dataset_id}/push", status_code=202, response_model=Job)
def push_dataset(request: Request, studio: Service, who: Who, dataset_id: str,
                 body: schemas.Push = schemas.Push()) -> Response:
    """202 with the job that uploads it to the Hub; its result `pushed.json` has the address as `published`."""
    return respond(request, studio.publish.dataset(who, dataset_id, **body.given()), 202)


@router.post("/{dataset_id}/undo", response_model=schemas.Brief)
def undo(request: Request, studio: Service, who: Who, dataset_id: str) -> Response:
    """Take the last change back; the data set's `last_edit` names it."""
    return respond(request, studio.datasets.undo(who, dataset_id))


@router.get("/{dataset_id}/images", response_model=schemas.Images)
def list_images(request: Request, studio: Service, who: Who, dataset_id: str, offset: Annotated[int, Query(ge=0)] = 0,
                limit: Annotated[int, Query(ge=1, le=500)] = 60,
                q: Annotated[str, Query(max_length=200)] = "") -> Response:
    """Pictures in order, or those whose captions or name contain `q`."""
    return respond(request, studio.datasets.images(who, dataset_id, offset, limit, q))


@router.get("/{dataset_id}/images/{pid}", **files(*sorted({*_PICTURES.values()})))
def get_picture(request: Request, studio: Service, who: Who, dataset_id: str, pid: str) -> Response:
    """The stored picture."""
    path = studio.datasets.picture(who, dataset_id, pid)
    return RangeResponse(request, FileDownload(path, _PICTURES[path.suffix]), _FOREVER, attachment=False)


@router.patch("/{dataset_id}/images/{pid}", response_model=schemas.ChangedImage)
def set_captions(request: Request, studio: Service, who: Who, dataset_id: str, pid: str,
                 body: schemas.ImageChange) -> Response:
    """Change the caption or the captions, or the crop."""
    if body.model_fields_set == {"crop"}:
        return respond(request, studio.datasets.set_crop(who, dataset_id, pid, body.crop))
    if "crop" in body.model_fields_set:
        raise WebError(Message("Captions and crop are changed one at a time."), Message("Send two requests."))
    texts = body.captions
    if texts is None:
        texts = body.caption or ""
    return respond(request, studio.datasets.set_caption(who, dataset_id, pid, texts))


@router.get("/{dataset_id}/images/{pid}/thumb", **files("image/webp"))
def get_thumbnail(request: Request, studio: Service, who: Who, dataset_id: str, pid: str) -> Response:
    """The picture at 256 px at most."""
    path = studio.datasets.thumbnail(who, dataset_id, pid)
    return RangeResponse(request, FileDownload(path, _PICTURES[path.suffix]), _FOREVER, attachment=False)


async def _import_source(request: Request, studio: Studio, who: Viewer, body: schemas.NewDataset) -> Response:
    if body.source is None and not body.name:
        raise WebError(Message("A data set needs a name, and files or a source."),
                       Message("Send files as multipart/form-data, or JSON with a name, or with a source."))
    if body.source is None:
        return respond(request, await run_in_threadpool(studio.datasets.draft, who, body.name or ""), 201)
    wishes = {name: value for name, value in body.sent().items() if name in WISHES}
    record, done = await run_in_threadpool(studio.datasets.import_source, who, body.name or "", body.source, wishes)
    return await run_in_threadpool(_answer, request, record, done)


async def _import(request: Request, studio: Studio, who: Viewer, into: str | None, commit: bool = True) -> Response:
    """Receive files for the data set `into`, for a new one where that is None, and import them or let them wait."""
    if into is None:  # before anything is read from somebody who may not
        require(who, None, "create", "data set")
    else:
        await run_in_threadpool(studio.datasets.check_writable, who, into)
    batch = into is not None and not commit
    arrival = await run_in_threadpool(studio.datasets.arriving, who, into, batch, uploads.length(request))
    try:
        upload = await uploads.receive(request, studio.settings, arrival.received)
    except BaseException:
        arrival.close()
        raise

    def end_upload() -> None:
        upload.remove()
        arrival.close()

    if into is not None and batch:
        try:
            return respond(request, await run_in_threadpool(studio.datasets.receive, who, into, upload.files), 202)
        finally:
            await run_in_threadpool(end_upload)
    name = upload.fields.get("name", "")
    wishes = {key: upload.fields.get(key) for key in WISHES}
    record, done = await run_in_threadpool(studio.datasets.import_files, who, name, upload.files, end_upload, into,
                                           wishes)
    return await run_in_threadpool(_answer, request, record, done)


def _answer(request: Request, record: JsonObject, done: bool) -> Response:
    """201 with the data set, or 202 while its import goes on: its report grows, so the data set is its own job."""
    headers = {"location": f"/api/datasets/{record['id']}"}
    if done:
        return respond(request, record, 201, headers=headers)
    return respond(request, {**record, "job": record["id"]}, 202, headers=headers)
