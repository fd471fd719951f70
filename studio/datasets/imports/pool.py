"""The pictures of an import: decoded in several limited processes at once, staged, and moved into the store."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from studio import storage
from studio.datasets import references
from studio.datasets.imports import sources
from studio.datasets.imports.sources import Entry
from studio.datasets.options import Options
from studio.datasets.pictures import workers
from studio.datasets.rows import picture_path
from studio.datasets.schema import PictureFacts, Row
from studio.datasets.store import Dataset
from studio.errors import StudioError
from studio.messages import Message
from studio.storage import faults

WORKERS = min(8, max(2, os.cpu_count() or 2))
AHEAD = 2 * WORKERS  # pictures in hand at once
UNTRUE = Message("it made its reader say what is not so: damaged, or made to do harm")


class DatasetDeleted(Exception):
    """The data set was deleted while its import was under way."""


class Cancelled(StudioError):
    """Somebody asked the import to end; the message says why, where the studio did."""


def staging_of(dataset: Dataset) -> Path:
    """Where decoded pictures wait: on the store's disk, so that they can be moved into it."""
    return dataset.home / "images" / f"{storage.STAGING}{dataset.id}"


def check(dataset: Dataset) -> None:
    """Return if the import may go on. Raises DatasetDeleted, Cancelled."""
    if not dataset.path.exists():
        raise DatasetDeleted
    if (dataset.path / "cancel").exists():
        raise Cancelled((dataset.path / "cancel").read_text(encoding="utf-8"))


class Pool:
    """Decodes pictures in WORKERS limited processes; nothing leaves its staging folder before `file`."""

    def __init__(self, dataset: Dataset, options: Options, readable: Sequence[Path]):
        self.home = dataset.home
        self.dataset = dataset
        self.options = options
        self.staging = staging_of(dataset)
        for left in self.staging.glob("*"):  # of an interrupted import; the folder itself stays, that may be written to
            storage.clear(left)
        self._free: list[workers.Worker] = []
        for number in range(WORKERS):
            folder = self.staging / str(number)
            folder.mkdir(parents=True)
            self._free.append(workers.Worker(folder, readable))
        self._threads = ThreadPoolExecutor(WORKERS)
        self._counting = threading.Lock()
        self._counted: set[str] = set()  # names of the pictures that `_bytes` has
        self._bytes = 0

    def decode(self, pictures: Iterable[Entry]) -> Iterator[tuple[Entry, PictureFacts]]:
        """Each picture, in order, with its facts; few are in hand at any moment."""
        hand: deque[tuple[Entry, Future[PictureFacts]]] = deque()
        for entry in pictures:
            hand.append((entry, self._threads.submit(self.take, entry)))
            if len(hand) > AHEAD:
                first, facts = hand.popleft()
                yield first, facts.result()
        for entry, facts in hand:
            yield entry, facts.result()

    def take(self, entry: Entry) -> PictureFacts:
        """The picture's facts {sha256, ext, width, height, changes}, or {problem}. Raises OSError for a disk that does
        not take them."""
        check(self.dataset)
        worker = self._free.pop()
        try:
            facts = worker.normalise(entry.on_disk(worker.folder / "spool"), background=self.options.background)
            if facts.get("errno") in faults.KNOWN:
                raise OSError(facts["errno"], facts["problem"])
            return facts if "problem" in facts else self._believed(worker.folder, facts)
        except sources.ImportRejected as refusal:
            return {"problem": str(refusal)}
        finally:
            entry.data = None
            self._free.append(worker)

    def _believed(self, folder: Path, facts: PictureFacts) -> PictureFacts:
        """The facts, where they are of a picture that the decoder wrote: it read a stranger's file, and what it says
        may be that file's words. Raises Cancelled."""
        if not references.is_picture(facts):
            return {"problem": UNTRUE}
        picture = folder / f"{facts['sha256']}.{facts['ext']}"
        if not picture.is_file() or storage.sha256_file(picture) != facts["sha256"]:
            return {"problem": UNTRUE}
        self._fits(picture)
        return facts

    def _fits(self, picture: Path) -> None:
        """Return if there is room for one more picture. Raises Cancelled."""
        with self._counting:
            if picture.name not in self._counted:
                self._counted.add(picture.name)
                self._bytes += picture.stat().st_size
            if self.options.room is not None and self._bytes > self.options.room:
                raise Cancelled(self.options.no_room)

    def file(self, rows: list[Row]) -> None:
        """Move the pictures of `rows` to their place, durable before a row names them: two syncs, not thousands."""
        parts: dict[Path, Path] = {}  # by the picture's place: each is moved once
        for row in rows:
            for worker in self._free:
                thumb = worker.folder / f"{row['image']}.thumb"
                workers.place(thumb, workers.thumb_path(self.home, row["image"]))
                part = worker.folder / f"{row['image']}.{row['ext']}"
                if part.exists():
                    parts[picture_path(self.home, row)] = part
        storage.publish_files(zip(parts.values(), parts, strict=True))

    def close(self) -> None:
        """End the processes and remove what they left."""
        self._threads.shutdown(cancel_futures=True)
        for worker in self._free:
            worker.close()
        storage.clear(self.staging)
