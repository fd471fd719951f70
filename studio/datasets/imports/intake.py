"""The importing process: from a person's files to rows of a data set.   python -m studio.datasets.imports.intake FOLDER

Started by `importing` with the data set's folder, and a Hub token on stdin where there is one; holds import.lock, reads
incoming.json, writes progress.json and at the end commits rows and report. It reads what was brought and its own data
set alone, and puts pictures into the store without reading any there; pictures are decoded in limited processes of
their own, tables are read in another.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import starmap
from operator import attrgetter
from pathlib import Path
from typing import Any, TypedDict

from studio import limited, storage
from studio.datasets import references
from studio.datasets.imports import meanings, sources, words
from studio.datasets.imports.headline import PictureTable
from studio.datasets.imports.hubsource import Rows, UnreadableTable
from studio.datasets.imports.layout import MOST_TEXT, Layout, TooMuchText
from studio.datasets.imports.pool import Cancelled, DatasetDeleted, Pool, check, staging_of
from studio.datasets.imports.reporting import Report
from studio.datasets.imports.sources import Annotations, Entry
from studio.datasets.options import Options
from studio.datasets.references import relying
from studio.datasets.schema import ImportReport, PictureFacts, Row
from studio.datasets.store import FULL, Dataset
from studio.datasets.tabular.records import Record
from studio.datasets.text import captions
from studio.limited import confine
from studio.messages import JsonObject, Message
from studio.storage import faults

MEMORY = 2 << 30  # bytes of address space for this process
FEW = 100  # files that are opened to an import one by one; of more, the folders they lie in
TOO_LARGE = Message("The import needs more than 2 GB of memory; nothing of it was kept. Import the files in smaller "
                    "parts.")
TOO_MUCH_TEXT = Message("The captions have more than {number} million characters together; nothing of it was kept. "
                        "Shorten them, or import the pictures in smaller parts.", number=MOST_TEXT // 10**6)
CANCELLED = Message("The import was cancelled; nothing of it was kept.")

Tell = Callable[[Callable[[], ImportReport]], None]


class Task(TypedDict, total=False):
    """incoming.json: what an import brings in: `files`, or those in a `folder`, or the rows of `hub`, or (`again`) the
    words of the last import. Paths are as `_path` reads them."""

    files: list[tuple[str, str]]  # relative name, path
    folder: str
    hub: JsonObject  # HubSource.wish()
    again: bool
    batches: list[str]  # that the files are of
    options: dict[str, Any]  # the fields of `Options`


def _read_from(source: str, table: Rows) -> Message:
    """What a report says of the columns of a Hub data set."""
    commit = table.head["sha"][:12]
    image = repr(table.head["image"])
    caption = table.head["caption"]
    if not caption:
        return Message("Read from {name} at {commit}: pictures of the column {image}, captions of no column.",
                       name=source, commit=commit, image=image)
    return Message("Read from {name} at {commit}: pictures of the column {image}, captions of {caption}.",
                   name=source, commit=commit, image=image, caption=repr(caption))


class Intake:
    """One import: files, and tables of pictures, through the pool into rows. `readable` is where the files lie,
    `pictures` the lock of `relying`, opened."""

    def __init__(self, dataset: Dataset, options: Options, tell: Tell, pictures: storage.Lock,
                 token: str | None = None, readable: Sequence[Path] = (), batches: Iterable[str] = ()):
        self.dataset = dataset
        self.options = options
        self.tell = tell
        self.token = token
        self.readable = readable
        self.pictures = pictures
        self.batches = batches
        self.tables: list[tuple[Entry, Rows]] = []  # parquet files with pictures in them
        self.done = 0  # of `total` pictures
        self.total = 0

    def files(self, files: list[tuple[str, Path]]) -> ImportReport:
        """Import files and commit; returns the report."""
        report = Report(sources.entries(files))
        try:
            layout = Layout(report, self.options, self._records)
            pictures = layout.pictures
            self.total = len(pictures)
            source_bytes = sum(map(attrgetter("size"), pictures))
            for entry, table in self.tables:
                self.total += table.head.get("total", 0)
                source_bytes += entry.size
            needed = 1.2 * source_bytes
            if needed > storage.free_bytes(self.dataset.home):
                report.give_up(Message("The disk is too full: the pictures need about {size:.1f} GB. Free some space.",
                                       size=needed / 1e9))
                return self._commit(layout, [], [])
            return self._commit(layout, pictures, list(starmap(partial(self._of_file, layout), self.tables)))
        finally:
            for _, table in self.tables:
                table.close()

    def hub(self, wish: JsonObject) -> ImportReport:
        """Import the rows of a Hub data set and commit; returns the report."""
        report = Report([])
        layout = Layout(report, self.options)
        name = str(wish["name"])
        try:
            with Rows(self.dataset.path, {"hub": wish}, self.token) as table:
                self.total = table.head["total"]
                report.note(_read_from(name, table))
                return self._commit(layout, [], [self._of_table(layout, name, table)])
        except UnreadableTable as problem:
            report.give_up(str(problem))
            return self._commit(layout, [], [])

    def _records(self, entry: Entry) -> list[Record] | None:
        """The records of a parquet file that names its pictures; one that holds them is kept for later (None)."""
        spool = self.dataset.path / f".spool-{len(self.tables)}.parquet"
        try:
            path = entry.on_disk(spool).absolute()
            wish = {"parquet": os.fsencode(path).hex(), "image_column": self.options.image_column,
                    "caption_column": self.options.caption_column}
            table = Rows(self.dataset.path, wish, read=[path])
            if not table.head["table"]:
                self.tables.append((entry, table))
                return None
            with table:
                return [Record(row["number"], row["line"]) for row in table]
        except UnreadableTable as problem:
            raise sources.ImportRejected(str(problem)) from None

    def _of_file(self, layout: Layout, entry: Entry, table: Rows) -> Iterator[Entry]:
        """The pictures in a parquet file, which counts as its rows, as an archive does."""
        report = layout.report
        place = report.entries.index(entry)
        del report.entries[place]
        split = meanings.split_of_file(entry.key) or meanings.split_of_folders(entry.key)
        try:
            yield from self._of_table(layout, entry.shown, table, f"{entry.name}/", split)
        except UnreadableTable as problem:
            report.entries.insert(place, entry)
            report.skip(entry, str(problem))

    def _of_table(self, layout: Layout, name: str, table: Rows, prefix: str = "", split: str = "") -> Iterator[Entry]:
        """The pictures in a table, each with what its row says; `prefix` is put before their names, and `split` is of
        those that have none. Raises UnreadableTable."""
        report = layout.report
        layout.given.append(PictureTable(name, table.head["columns"], table.head["image"], table.head["caption"],
                                         table.head["samples"]))
        for row in table:
            texts, _ = captions.of_texts(row["captions"])
            entry = Entry(prefix + row["name"], data=row.get("bytes"), problem=row.get("problem", ""))
            entry.given = Annotations(list(texts), row["split"] or split or "train", row.get("more", {}),
                                      row.get("texts", {}))
            report.add(entry)
            if row.get("several", 1) > 1:
                report.count(Message("first picture of several in a row taken"))
            if not entry.problem:
                report.tried += 1
                yield entry

    def _commit(self, layout: Layout, pictures: list[Entry], tables: list[Iterator[Entry]]) -> ImportReport:
        """Decode the pictures and those of the tables, and make rows of them that are seen from then on, all or none.
        Returns the report. Raises DatasetDeleted, Cancelled, TooMuchText, OSError."""
        report = layout.report
        pool = Pool(self.dataset, self.options, self.readable)
        try:
            rows, taken = self._rows(layout, pool, [pictures, *tables])
            if len(rows) == 1 and not self.dataset.count:
                report.note(Message("It is the only picture of the set: what is trained on it will draw little else."))
            check(self.dataset)
            with relying(self.dataset.home, self.pictures):
                pool.file(rows)
                result: ImportReport = {**report.result(len(rows)), "read_as": words.read_as(self.options)}
                batch, pids = self.dataset.add_rows(rows, result, report.table(), self.batches)
        finally:
            pool.close()
        if rows:
            with suppress(OSError, MemoryError):  # it is committed: its words cannot be read again, as the page says
                words.keep(self.dataset, batch, layout, dict(zip(taken, pids, strict=True)), taken)
        return result

    def _rows(self, layout: Layout, pool: Pool,
              streams: Iterable[Iterable[Entry]]) -> tuple[list[Row], dict[Entry, PictureFacts]]:
        """The rows of the pictures that can be taken, and in the same order these pictures with their facts."""
        rows: list[Row] = []
        taken: dict[Entry, PictureFacts] = {}
        for stream in streams:
            for entry, facts in pool.decode(stream):
                for row in layout.row(entry, facts):  # one, or none
                    rows.append(row)
                    taken[entry] = facts
                self.done += 1
                self.tell(lambda: self._progress(layout.report))
        return layout.finish(rows), taken

    def _progress(self, report: Report) -> ImportReport:
        return {**report.so_far(), "done": self.done, "total": max(self.total, self.done)}


def fail(dataset: Dataset, task: Task, error: str) -> None:
    """Commit nothing but the reason; of an import that is read again the report stays."""
    if "again" in task:
        storage.write_json(dataset.path / "report.json", {**dataset.commit(), "error": error})
        return
    report = Report([])
    report.give_up(error)
    dataset.add_rows([], report.result(0), report.table())


def run(dataset: Dataset, task: Task, tell: Tell, pictures: storage.Lock, token: str | None) -> None:
    """The import that incoming.json describes."""
    wishes = task["options"]
    options = Options(**{**wishes, "roots": tuple(map(_path, wishes["roots"]))})
    if "again" in task:
        words.read_again(dataset, options)
        return
    intake = Intake(dataset, options, tell, pictures, token, readable(task), task.get("batches", ()))
    if "hub" in task:
        intake.hub(task["hub"])
    elif "folder" in task:
        intake.files(list(sources.walk(_path(task["folder"]))))
    else:
        intake.files([(name, _path(path)) for name, path in task["files"]])


def readable(task: Task) -> list[Path]:
    """Where the files of an import lie: what of them its processes may read."""
    places: list[Path] = []
    if "options" in task:
        places += map(_path, task["options"]["roots"])
    if "folder" in task:
        places.append(_path(task["folder"]))
    files = [_path(path) for _, path in task.get("files", ())]
    if len(files) <= FEW:
        return [*places, *files]
    return [*places, *set(map(attrgetter("parent"), files))]


def _path(text: str) -> Path:
    """A path of incoming.json: its bytes in hex, since a name may be no text."""
    return Path(os.fsdecode(bytes.fromhex(text)))


def _confine(dataset: Dataset, task: Task) -> None:
    """From here on this process sees what was brought, its data set, and a place in the store to put pictures."""
    store = [dataset.home / "images", dataset.home / "cache" / "thumbs"]
    for folder in (*store, staging_of(dataset)):
        folder.mkdir(parents=True, exist_ok=True)
    limited.limit_memory(MEMORY)
    ports = confine.hub_ports() if "hub" in task else None
    confine.confine(readable(task), [dataset.path, staging_of(dataset)], store, ports, children=True)


def main() -> None:
    """Run the import that incoming.json describes."""
    folder = Path(sys.argv[1])
    token = sys.stdin.read() or None
    dataset = Dataset(folder.parent.parent, folder.name)
    task: Task = storage.read_json(folder / "incoming.json") or {"files": []}
    last = 0.0

    def tell(progress: Callable[[], ImportReport]) -> None:
        nonlocal last
        if time.monotonic() - last > 0.5:
            last = time.monotonic()
            storage.write_json(folder / "progress.json", progress())

    os.nice(10)  # the page and a running training come first
    pictures = references.lock(dataset.home)
    pictures.open()
    _confine(dataset, task)
    try:
        attempt(dataset, task, tell, pictures, token)
        if folder.exists():
            storage.remove(dataset.task_file)  # the report says how it ended; without it the import counts as cut
            dataset.drop_imported()
    finally:
        storage.clear(folder / "progress.json", folder / "cancel", *folder.glob(".spool-*"))


def attempt(dataset: Dataset, task: Task, tell: Tell, pictures: storage.Lock, token: str | None) -> None:
    """`run`; what ends it early is what the report says. Raises OSError where not even that can be written."""
    try:
        run(dataset, task, tell, pictures, token)
    except DatasetDeleted:
        return
    except Cancelled as ended:
        fail(dataset, task, str(ended) or CANCELLED)
    except MemoryError:
        fail(dataset, task, TOO_LARGE)
    except TooMuchText:
        fail(dataset, task, TOO_MUCH_TEXT)
    except OSError as error:
        if not dataset.path.exists():
            return
        fault = faults.of(error)
        if fault is None:
            raise
        if error.errno in storage.FULL:
            fail(dataset, task, FULL)
        else:
            fail(dataset, task, Message("{message} Nothing of the import was kept. {hint} Then import again.",
                                        message=fault.message, hint=fault.hint))


if __name__ == "__main__":
    main()
