"""What a viewer can do with data sets: bring pictures in, look, edit captions, rename, delete."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypedDict

from studio import datasets, storage
from studio.datasets.schema import ImportReport
from studio.errors import Refused
from studio.messages import JsonObject, Message, sentence
from studio.storage import zips
from studio.web.access import Viewer, may, require
from studio.web.http.errors import NotFound, WebError
from studio.web.http.paging import next_offset
from studio.web.services.core import Service
from studio.web.usage.quotas import UploadAllowance

log = logging.getLogger("studio.web")
CAPTION_LENGTH = 10_000
MOST_IMAGES = 500
IMAGE_KEYS = ("width", "height", "captions", "split", "name", "crop", "repeats")  # of a row, that are served
Import = Callable[[Callable[[], None]], object]  # an import; it calls what it is given when it has begun


class DatasetList(TypedDict):
    """All of a list at once."""

    items: list[JsonObject]
    next: None


class DatasetService(Service):
    """Data sets."""

    def all(self, viewer: Viewer) -> DatasetList:
        """The shipped set and the viewer's own: {"items": [{id, name, state, count, ...}], "next": None}."""
        items = []
        for dataset in datasets.every(self.home):
            try:
                if may(viewer, dataset.owner, "read"):
                    items.append(brief(dataset))
            except datasets.NotFound:
                continue  # deleted in this moment
        return {"items": items, "next": None}

    def get(self, viewer: Viewer, dataset_id: str) -> JsonObject:
        """One data set with its import's report, which grows while the import is under way."""
        dataset = self.find(viewer, dataset_id, "read")
        splits = Counter(row.get("split", "train") for row in dataset.snapshot().rows)
        return {**brief(dataset), "fingerprint": dataset.fingerprint(), "report": dataset.report(), "splits": splits,
                "waiting": sum(len(names) for _, names in dataset.batches()),
                "can_read_again": datasets.can_read_again(dataset)}

    def report(self, viewer: Viewer, dataset_id: str) -> ImportReport:
        """The last import's report."""
        return self.find(viewer, dataset_id, "read").report()

    def arriving(self, viewer: Viewer, into: str | None, batch: bool, size: int | None) -> UploadAllowance:
        """A place for an upload of `size` bytes, before it is received: for a new data set or one that is there, to be
        imported at once or as a `batch` that waits. Raises OverQuota."""
        kinds = []
        if not batch:
            kinds.append("import")
            if into is None:
                kinds.append("data set")
        return self.quotas.arriving(viewer, size, *kinds)

    def import_files(self, viewer: Viewer, name: str, files: list[tuple[str, Path]], done: Callable[[], None],
                     into: str | None = None, wishes: Mapping[str, object] | None = None) -> tuple[JsonObject, bool]:
        """A new data set from files on disk (relative name, path), or with `into` more pictures for one; True when
        the import ended within 20 s. `done()` is called when the files may go."""
        try:
            if into is None:
                require(viewer, None, "create", "data set")
            if not files:
                raise WebError(Message("No pictures were sent."),
                               Message("Choose pictures, or a zip of pictures, and send them again."))
            options = self._options(viewer, wishes)
            dataset = datasets.begin(self.home, name, viewer.id) if into is None else self.editable(viewer, into)
        except BaseException:
            done()
            raise
        admitted = self._admitted(dataset)
        return self._started(
            viewer, dataset, lambda begun: datasets.add(dataset, files, None, options, begun, admitted), done,
            new=into is None)

    def import_source(self, viewer: Viewer, name: str, source: Mapping[str, object],
                      wishes: Mapping[str, object] | None = None) -> tuple[JsonObject, bool]:
        """A new data set from {"kind": "hub", "name": "user/name", ...}, or {"kind": "folder", "path": ...} inside the
        configured roots; True when the import ended within 20 s. Raises datasets.InvalidOptions."""
        require(viewer, None, "create", "data set")
        options = self._options(viewer, wishes)
        arrival = self.quotas.arriving(viewer, 1, "import", "data set")
        try:
            dataset, work = self._source(viewer, name, dict(source), options)
        except BaseException:
            arrival.close()
            raise
        return self._started(viewer, dataset, work, arrival.close, new=True)

    def _source(self, viewer: Viewer, name: str, source: JsonObject,
                options: datasets.Options) -> tuple[datasets.Dataset, Import]:
        """A new data set, and what fills it from a source."""
        if source.get("kind") == "folder":
            folder = self._folder(source.get("path"))
            dataset = datasets.begin(self.home, name or folder.name, viewer.id, {"kind": "folder", "path": str(folder)})
            admitted = self._admitted(dataset)
            return dataset, lambda begun: datasets.add_folder(dataset, folder, None, options, begun, admitted)
        hub, token = self._hub(viewer, source)
        dataset = datasets.begin(self.home, name or hub.name, viewer.id, {"kind": "hub", **hub.wish()})
        admitted = self._admitted(dataset)
        return dataset, lambda begun: datasets.add_hub(dataset, hub, token, None, options, begun, admitted)

    def preview(self, viewer: Viewer, source: Mapping[str, object]) -> JsonObject:
        """What a Hub data set holds, before anything large is fetched: datasets.preview."""
        require(viewer, None, "create", "data set")
        with self.quotas.place(viewer, "import"):  # it starts a process, as an import does
            return datasets.preview(self.home, *self._hub(viewer, dict(source)))

    def draft(self, viewer: Viewer, name: str) -> JsonObject:
        """A new data set that receives files in batches until `commit`."""
        require(viewer, None, "create", "data set")
        with self.quotas.place(viewer, "draft", "data set"):
            self.quotas.needs(viewer)
            return self.get(viewer, datasets.draft(self.home, name, viewer.id).id)

    def receive(self, viewer: Viewer, dataset_id: str, files: list[tuple[str, Path]]) -> JsonObject:
        """One more batch for `commit`; {id, waiting}."""
        dataset = self.editable(viewer, dataset_id)
        if not files:
            raise WebError(Message("No pictures were sent."),
                           Message("Choose pictures, or a zip of pictures, and send them again."))
        return {"id": dataset.id, "waiting": dataset.receive(files)}

    def commit(self, viewer: Viewer, dataset_id: str, wishes: Mapping[str, object]) -> tuple[JsonObject, bool]:
        """Import every batch that waits; True when that ended within 20 s."""
        dataset = self.find(viewer, dataset_id, "write")
        options = self._options(viewer, wishes)
        if not dataset.batches():
            raise Refused(Message("No files wait to be imported."), Message("Send some first."))
        arrival = self.quotas.arriving(viewer, 1, "import")
        admitted = self._admitted(dataset)
        return self._started(viewer, dataset, lambda begun: datasets.commit(dataset, None, options, begun, admitted),
                             arrival.close)

    def arrived(self, viewer: Viewer, dataset_id: str) -> JsonObject:
        """The files that wait for `commit`: {"items": [{name, bytes}], "next": None}."""
        dataset = self.find(viewer, dataset_id, "write")
        items = []
        for batch, names in dataset.batches():
            for number, name in enumerate(names):
                path = dataset.incoming / batch / f"{number:06d}"
                items.append({"name": name, "bytes": path.stat().st_size})
        return {"items": items, "next": None}

    def read_again(self, viewer: Viewer, dataset_id: str, wishes: Mapping[str, object]) -> tuple[JsonObject, bool]:
        """Captions anew from the files of the last import, by these wishes and otherwise those of before; True when
        that ended within 20 s."""
        dataset = self.find(viewer, dataset_id, "write")
        if not datasets.can_read_again(dataset):
            raise Refused(Message("The files of words of this data set are not kept."),
                          Message("Import it again to read them otherwise."))
        options = self._options(viewer, {**datasets.read_before(dataset), **wishes})
        arrival = self.quotas.arriving(viewer, 1, "import")
        admitted = self._admitted(dataset)
        return self._started(
            viewer, dataset, lambda begun: datasets.read_again(dataset, options, None, begun, admitted), arrival.close)

    def cancel(self, viewer: Viewer, dataset_id: str) -> JsonObject:
        """End an import under way; nothing of it is kept."""
        dataset = self.find(viewer, dataset_id, "write")
        if not dataset.cancel():
            raise Refused(Message("No import is under way."), "")
        return brief(dataset)

    def report_table(self, viewer: Viewer, dataset_id: str) -> Path:
        """Where the last report lies, file by file, as CSV."""
        path = self.find(viewer, dataset_id, "read").path / "report.csv"
        if not path.is_file():
            raise NotFound(Message("There is no report of this data set."),
                           Message("It appears when an import has ended."))
        return path

    def _options(self, viewer: Viewer, wishes: Mapping[str, object] | None) -> datasets.Options:
        """How pictures are brought in: as the person wishes, within what they may. Raises datasets.InvalidOptions."""
        texts = {key: str(value) for key, value in (wishes or {}).items() if value not in (None, "")}
        return datasets.Options(**texts, roots=self.settings.import_roots, **self.quotas.for_import(viewer))

    def _folder(self, path: object) -> Path:
        """A folder of this machine, inside the roots. Raises WebError."""
        roots = self.settings.import_roots
        if not roots:
            raise WebError(Message("Folders of this machine are not open to imports here."),
                           Message("Start the studio with STUDIO_IMPORT_ROOTS=/path/to/pictures, or upload the "
                                   "pictures."))
        folder = Path()
        if isinstance(path, str) and "\0" not in path:
            folder = Path(path).expanduser()
        if not folder.is_absolute() or not datasets.within(folder, roots) or not folder.is_dir():
            raise WebError(Message("There is no such folder inside the folders that are open to imports."),
                           Message("Give a folder inside: {roots}.", roots=", ".join(map(str, roots))))
        return folder.resolve()

    def _hub(self, viewer: Viewer, source: JsonObject) -> tuple[datasets.HubSource, str | None]:
        """A Hub source and the token to read it with: the one sent along, else the viewer's."""
        kind = source.pop("kind", "hub")
        token = source.pop("token", None) or viewer.token
        if kind != "hub":
            raise WebError(Message("There is no source {kind}.", kind=repr(str(kind)[:40])),
                           Message("There are: hub, folder."))
        if token is not None and not isinstance(token, str):
            raise WebError(Message("The token must be text."), Message("Copy it from your Hugging Face settings."))
        return datasets.HubSource.of(source), token

    def _started(self, viewer: Viewer, dataset: datasets.Dataset, work: Import, done: Callable[[], None], *,
                 new: bool = False) -> tuple[JsonObject, bool]:
        """Import in the background; waits until it has begun for sure, then a little, and tells whether it has ended.
        Raises what kept it from beginning; a `new` data set, made for it, goes then."""
        begun = threading.Event()
        failures: list[Exception] = []  # at most one, of before it has begun

        def run() -> None:
            try:
                work(begun.set)
            except datasets.NotFound:
                log.info("data set %s was deleted before its import began", dataset.id)
            except Exception as error:  # once it has begun the report says it to the person; the trace is for the log
                if not begun.is_set():
                    failures.append(error)
                log.exception("importing into data set %s failed", dataset.id)
            finally:
                begun.set()
                done()

        worker = threading.Thread(target=run, name=f"import-{dataset.id[:8]}", daemon=True)
        worker.start()
        begun.wait()
        if failures:
            if new:
                storage.erase(dataset.path)
            raise failures[0]
        worker.join(self.settings.import_wait)
        return self.get(viewer, dataset.id), not worker.is_alive()

    def _admitted(self, dataset: datasets.Dataset) -> datasets.Place:
        """A place for an import among those that work at once; one that has to wait has begun all the same."""
        return lambda waits: self.quotas.imports.through(dataset.owner, waits)

    def check_writable(self, viewer: Viewer, dataset_id: str) -> None:
        """Return if the viewer may add to this data set (a shipped one is copied then)."""
        require(viewer, None, "create", "data set")
        dataset = self.find(viewer, dataset_id, "read")
        if not dataset.read_only:
            require(viewer, dataset.owner, "write", "data set")

    def export(self, viewer: Viewer, dataset_id: str) -> zips.Download:
        """The data set as a zip, open for reading; the caller closes it. Raises datasets.EmptyDataset."""
        return datasets.pack(self.find(viewer, dataset_id, "read"))

    def images(self, viewer: Viewer, dataset_id: str, offset: int = 0, limit: int = 60, q: str = "") -> JsonObject:
        """Pictures in order: {"items": [row with id, url, thumb], "total", "next": offset | None}."""
        dataset = self.find(viewer, dataset_id, "read")
        offset = max(0, offset)
        limit = max(1, min(limit, MOST_IMAGES))
        total = dataset.total(q)
        items = [image(dataset, row) for row in dataset.rows(offset, limit, q)]
        return {"items": items, "total": total, "next": next_offset(offset + len(items), total)}

    def set_caption(self, viewer: Viewer, dataset_id: str, pid: str, text: str | list[str]) -> JsonObject:
        """Replace a picture's caption (or captions); returns the row and the `dataset` it is in.

        The shipped set is copied first: the answer then names the copy."""
        texts = [text] if isinstance(text, str) else text
        if not all(isinstance(t, str) and len(t) <= CAPTION_LENGTH for t in texts) or len(texts) > 100:
            raise WebError(Message("A caption is text of at most {length} characters.", length=CAPTION_LENGTH),
                           Message("Shorten it and save again."))
        require(viewer, None, "create", "data set")
        self.find(viewer, dataset_id, "read").row(pid)  # before anything is copied
        dataset = self.editable(viewer, dataset_id)
        return {**image(dataset, dataset.set_captions(pid, texts)), "dataset": dataset.id}

    def set_crop(self, viewer: Viewer, dataset_id: str, pid: str, crop: list[int] | None) -> JsonObject:
        """Train on the square [x, y, side] of a picture (its pixels), or on all of it (None); as `set_caption`."""
        if crop is not None and (len(crop) != 3 or set(map(type, crop)) != {int}):
            raise WebError(Message("A crop is [x, y, side] in whole pixels of the picture, or null."),
                           Message("Correct it."))
        require(viewer, None, "create", "data set")
        self.find(viewer, dataset_id, "read").row(pid)
        dataset = self.editable(viewer, dataset_id)
        try:
            return {**image(dataset, dataset.set_crop(pid, crop)), "dataset": dataset.id}
        except ValueError as error:
            raise WebError(sentence(str(error)), Message("Move it into the picture.")) from None

    def undo(self, viewer: Viewer, dataset_id: str) -> JsonObject:
        """Take the last caption edit back."""
        dataset = self.find(viewer, dataset_id, "write")
        if not dataset.undo():
            raise Refused(Message("There is no edit to take back."), "")
        return brief(dataset)

    def rename(self, viewer: Viewer, dataset_id: str, name: str) -> JsonObject:
        """Give a data set another name."""
        dataset = self.find(viewer, dataset_id, "write")
        dataset.rename(name)
        return brief(dataset)

    def delete(self, viewer: Viewer, dataset_id: str) -> None:
        """Move a data set to the trash; runs that use its pictures keep them."""
        self.find(viewer, dataset_id, "write").delete()
        self.quotas.stored.forget(viewer.id)

    def picture(self, viewer: Viewer, dataset_id: str, pid: str) -> Path:
        """Where a stored picture lies."""
        return self.find(viewer, dataset_id, "read").picture(pid)

    def thumbnail(self, viewer: Viewer, dataset_id: str, pid: str) -> Path:
        """Where a picture's thumbnail lies; made now if it is missing."""
        return self.find(viewer, dataset_id, "read").thumbnail(pid)

    def find(self, viewer: Viewer, dataset_id: str, action: str) -> datasets.Dataset:
        """The data set, if the viewer may do `action` ("read", "write") with it. Raises NotFound, LoginNeeded,
        Refused."""
        try:
            dataset = datasets.find(self.home, dataset_id)
            owner = dataset.owner
        except datasets.NotFound:
            require(viewer, None, action, "data set")
            raise
        if dataset.read_only and action == "write" and may(viewer, None, "create"):
            raise Refused(Message("The sample data set is shipped with the studio and stays as it is."),
                          Message("Edit a caption: that makes a copy of your own."))
        require(viewer, owner, action, "data set")
        return dataset

    def editable(self, viewer: Viewer, dataset_id: str) -> datasets.Dataset:
        """The data set, or for a read-only one the viewer's fresh copy of it."""
        require(viewer, None, "create", "data set")
        dataset = self.find(viewer, dataset_id, "read")
        if not dataset.read_only:
            dataset = self.find(viewer, dataset_id, "write")
            self.quotas.little(viewer)
            return dataset
        with self.quotas.place(viewer, "data set"):
            self.quotas.needs(viewer)
            return dataset.copy(f"{dataset.name} (copy)", viewer.id)


def brief(dataset: datasets.Dataset) -> JsonObject:
    """A data set as lists show it."""
    return {"id": dataset.id, "name": dataset.name, "owner": dataset.owner, "created": dataset.created,
            "read_only": dataset.read_only, "state": dataset.state, "count": dataset.count,
            "can_undo": dataset.can_undo, "last_edit": dataset.last_edit,
            "cover": [f"{_address(dataset, row)}/thumb" for row in dataset.rows(0, 4)]}


def image(dataset: datasets.Dataset, row: Mapping[str, object]) -> JsonObject:
    """A picture as it is served: its row with its addresses."""
    url = _address(dataset, row)
    facts = {key: row[key] for key in IMAGE_KEYS if key in row}
    return {"id": _pid(row), "url": url, "thumb": f"{url}/thumb", **facts}


def _address(dataset: datasets.Dataset, row: Mapping[str, object]) -> str:
    """Where a picture is served."""
    return f"/api/datasets/{dataset.id}/images/{_pid(row)}"


def _pid(row: Mapping[str, object]) -> object:
    return row.get("pid", row["image"])
