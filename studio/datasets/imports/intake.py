"""The importing process: from a person's files to rows of a data set.   python -m studio.datasets.imports.intake FOLDER

Started by `importing` with the data set's folder, and a Hub token on stdin where there is one; holds import.lock, reads
incoming.json, writes progress.json and at the end commits rows and report. It reads what was brought and its own data
set alone, and puts pictures into the store without reading any there; pictures are decoded in limited processes of
their own, tables are read in another.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from studio import limited, storage
from studio.datasets import naming
from studio.datasets.imports import meanings, sources, words
from studio.datasets.imports.headline import GivenTable
from studio.datasets.imports.hubsource import Rows, Unreadable
from studio.datasets.imports.layout import MOST_TEXT, Layout, TooMuchText
from studio.datasets.imports.reporting import Report
from studio.datasets.imports.sources import Entry, Given
from studio.datasets.naming import relying
from studio.datasets.options import Options
from studio.datasets.pictures import workers
from studio.datasets.store import FULL, Dataset, picture_path
from studio.datasets.tabular.records import Record
from studio.datasets.text import captions
from studio.limited import confine
from studio.messages import Message
from studio.storage import faults

WORKERS = min(8, max(2, os.cpu_count() or 2))
AHEAD = 2 * WORKERS  # pictures in hand at once
MEMORY = 2 << 30  # bytes of address space for this process
FEW = 100  # files that are opened to an import one by one; of more, the folders they lie in
TOO_LARGE = Message("The import needs more than 2 GB of memory; nothing of it was kept. Import the files in smaller "
                    "parts.")
TOO_MUCH_TEXT = Message("The captions have more than {number} million characters together; nothing of it was kept. "
                        "Shorten them, or import the pictures in smaller parts.", number=MOST_TEXT // 10**6)
UNTRUE = Message("it made its reader say what is not so: damaged, or made to do harm")
CANCELLED = Message("The import was cancelled; nothing of it was kept.")

Tell = Callable[[Callable[[], dict[str, Any]]], None]


class Gone(Exception):
    """The data set was deleted while its import was under way."""


class Cancelled(Exception):
    """Somebody asked the import to end; the message says why, where the studio did."""


class Pool:
    """Decodes pictures in WORKERS limited processes; nothing leaves its staging folder before `file`."""

    def __init__(self, dataset: Dataset, options: Options, readable: Sequence[Path]):
        self.home, self.dataset, self.options = dataset.home, dataset, options
        self.staging = staging_of(dataset)
        for left in self.staging.glob("*"):  # of an interrupted import; the folder itself stays, that may be written to
            storage.clear(left)
        folders = [self.staging / str(number) for number in range(WORKERS)]
        for folder in folders:
            folder.mkdir(parents=True)
        self._free = [workers.Worker(folder, readable) for folder in folders]
        self._threads = ThreadPoolExecutor(WORKERS)
        self._counting = threading.Lock()
        self._counted: set[str] = set()  # names of the pictures that `_bytes` has
        self._bytes = 0

    def decode(self, pictures: Iterable[Entry]) -> Iterator[tuple[Entry, dict[str, Any]]]:
        """Each picture, in order, with its facts; few are in hand at any moment."""
        hand: deque[tuple[Entry, Future[dict[str, Any]]]] = deque()
        for entry in pictures:
            hand.append((entry, self._threads.submit(self.take, entry)))
            if len(hand) > AHEAD:
                entry, facts = hand.popleft()
                yield entry, facts.result()
        for entry, facts in hand:
            yield entry, facts.result()

    def take(self, entry: Entry) -> dict[str, Any]:
        """The picture's facts {sha256, ext, width, height, changes}, or {problem}. Raises OSError for a disk that does
        not take them."""
        check(self.dataset)
        worker = self._free.pop()
        try:
            facts = worker.normalise(entry.on_disk(worker.folder / "spool"), background=self.options.background)
            if facts.get("errno") in faults.KNOWN:
                raise OSError(facts["errno"], facts["problem"])
            return facts if "problem" in facts else self._believed(worker.folder, facts)
        except sources.NotTaken as refusal:
            return {"problem": str(refusal)}
        finally:
            entry.data = None
            self._free.append(worker)

    def _believed(self, folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
        """The facts, where they are of a picture that the decoder wrote: it read a stranger's file, and what it says
        may be that file's words. Raises Cancelled."""
        if not naming.is_picture(facts):
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

    def file(self, rows: list[dict[str, Any]]) -> None:
        """Move the pictures of `rows` to their place, durable before a row names them: two syncs, not thousands."""
        pictures: dict[Path, Path] = {}
        for row in rows:
            for folder in (worker.folder for worker in self._free):
                workers.place(folder / f"{row['image']}.thumb", workers.thumb_path(self.home, row["image"]))
                if (part := folder / f"{row['image']}.{row['ext']}").exists():
                    pictures[picture_path(self.home, row)] = part
        storage.publish_files((part, path) for path, part in pictures.items())

    def close(self) -> None:
        """End the processes and remove what they left."""
        self._threads.shutdown(cancel_futures=True)
        for worker in self._free:
            worker.close()
        storage.clear(self.staging)


def _read_from(name: str, head: dict[str, Any]) -> Message:
    """What a report says of the columns of a Hub data set."""
    facts = {"name": name, "commit": head["sha"][:12], "image": repr(head["image"])}
    if head["caption"]:
        return Message("Read from {name} at {commit}: pictures of the column {image}, captions of {caption}.", **facts,
                       caption=repr(head["caption"]))
    return Message("Read from {name} at {commit}: pictures of the column {image}, captions of no column.", **facts)


def staging_of(dataset: Dataset) -> Path:
    """Where decoded pictures wait: on the store's disk, so that they can be moved into it."""
    return dataset.home / "images" / f"{storage.STAGING}{dataset.id}"


def check(dataset: Dataset) -> None:
    """Return if the import may go on. Raises Gone, Cancelled."""
    if not dataset.path.exists():
        raise Gone
    if (dataset.path / "cancel").exists():
        raise Cancelled((dataset.path / "cancel").read_text(encoding="utf-8"))


class Intake:
    """One import: files, and tables of pictures, through the pool into rows. `readable` is where the files lie,
    `pictures` the lock of `relying`, opened."""

    def __init__(self, dataset: Dataset, options: Options, tell: Tell, pictures: storage.Lock,
                 token: str | None = None, readable: Sequence[Path] = (), batches: Iterable[str] = ()):
        self.dataset, self.options, self.tell, self.token = dataset, options, tell, token
        self.readable, self.pictures, self.batches = readable, pictures, batches
        self.tables: list[tuple[Entry, Rows]] = []  # parquet files with pictures in them
        self.done = self.total = 0

    def files(self, files: list[tuple[str, Path]]) -> dict[str, Any]:
        """Import files and commit; returns the report."""
        report = Report(sources.entries(files))
        try:
            layout = Layout(report, self.options, self._records)
            pictures = layout.pictures
            self.total = len(pictures) + sum(table.head.get("total", 0) for _, table in self.tables)
            needed = 1.2 * sum(entry.size for entry in (*pictures, *(entry for entry, _ in self.tables)))
            if needed > storage.free_bytes(self.dataset.home):
                report.give_up(Message("The disk is too full: the pictures need about {size:.1f} GB. Free some space.",
                                       size=needed / 1e9))
                return self._commit(layout, [], [])
            return self._commit(layout, pictures, [self._of_file(layout, *table) for table in self.tables])
        finally:
            for _, table in self.tables:
                table.close()

    def hub(self, wish: dict[str, Any]) -> dict[str, Any]:
        """Import the rows of a Hub data set and commit; returns the report."""
        report = Report([])
        layout = Layout(report, self.options)
        try:
            with Rows(self.dataset.path, {"hub": wish}, self.token) as table:
                self.total = table.head["total"]
                report.note(_read_from(wish["name"], table.head))
                return self._commit(layout, [], [self._of_table(layout, wish["name"], table)])
        except Unreadable as problem:
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
        except Unreadable as problem:
            raise sources.NotTaken(str(problem)) from None

    def _of_file(self, layout: Layout, entry: Entry, table: Rows) -> Iterator[Entry]:
        """The pictures in a parquet file, which counts as its rows, as an archive does."""
        report, place = layout.report, layout.report.entries.index(entry)
        del report.entries[place]
        split = meanings.split_of_file(entry.key) or meanings.split_of_folders(entry.key)
        try:
            yield from self._of_table(layout, entry.shown, table, f"{entry.name}/", split)
        except Unreadable as problem:
            report.entries.insert(place, entry)
            report.skip(entry, str(problem))

    def _of_table(self, layout: Layout, name: str, table: Rows, prefix: str = "", split: str = "") -> Iterator[Entry]:
        report = layout.report
        layout.given.append(GivenTable(name, table.head["columns"], table.head["image"], table.head["caption"],
                                       table.head["samples"]))
        for row in table:
            entry = Entry(prefix + row["name"], data=row.get("bytes"), problem=row.get("problem", ""))
            said, _ = captions.of_texts(row["captions"])
            entry.given = Given(list(said), row["split"] or split or "train", row.get("more", {}), row.get("texts", {}))
            report.add(entry)
            if row.get("several", 1) > 1:
                report.count(Message("first picture of several in a row taken"))
            if not entry.problem:
                report.tried += 1
                yield entry

    def _commit(self, layout: Layout, pictures: list[Entry], tables: list[Iterator[Entry]]) -> dict[str, Any]:
        report, pool, rows = layout.report, Pool(self.dataset, self.options, self.readable), []
        taken: list[tuple[Entry, dict[str, Any]]] = []
        try:
            for source in (iter(pictures), *tables):
                for entry, facts in pool.decode(source):
                    found = layout.row(entry, facts)
                    rows += found
                    taken += [(entry, facts)] if found else []
                    self.done += 1
                    self.tell(lambda: {**report.so_far(), "done": self.done, "total": max(self.total, self.done)})
            rows = layout.finish(rows)
            if len(rows) == 1 and not self.dataset.count:
                report.note(Message("It is the only picture of the set: what is trained on it will draw little else."))
            check(self.dataset)
            with relying(self.dataset.home, self.pictures):
                pool.file(rows)
                result = {**report.result(len(rows)), "read_as": words.read_as(self.options)}
                batch, pids = self.dataset.add_rows(rows, result, report.table(), self.batches)
        finally:
            pool.close()
        if rows:
            pid_of = dict(zip((entry for entry, _ in taken), pids, strict=True))
            with suppress(OSError, MemoryError):  # it is committed: its words cannot be read again, as the page says
                words.keep(self.dataset, batch, layout, pid_of, dict(taken))
        return result


def fail(dataset: Dataset, task: dict[str, Any], error: str) -> None:
    """Commit nothing but the reason; of an import that is read again the report stays."""
    if "again" in task:
        storage.write_json(dataset.path / "report.json", {**dataset.commit(), "error": error})
        return
    report = Report([])
    report.give_up(error)
    dataset.add_rows([], report.result(0), report.table())


def run(dataset: Dataset, task: dict[str, Any], tell: Tell, pictures: storage.Lock, token: str | None) -> None:
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


def readable(task: dict[str, Any]) -> list[Path]:
    """Where the files of an import lie: what of them its processes may read."""
    places = [*map(_path, task.get("options", {}).get("roots", ())), *map(_path, filter(None, [task.get("folder")]))]
    files = [_path(path) for _, path in task.get("files", ())]
    return [*places, *(files if len(files) <= FEW else {path.parent for path in files})]


def _path(text: str) -> Path:
    return Path(os.fsdecode(bytes.fromhex(text)))


def _confine(dataset: Dataset, task: dict[str, Any]) -> None:
    """From here on this process sees what was brought, its data set, and a place in the store to put pictures."""
    store = [dataset.home / "images", dataset.home / "cache" / "thumbs"]
    for folder in (*store, staging_of(dataset)):
        folder.mkdir(parents=True, exist_ok=True)
    limited.limit_memory(MEMORY)
    confine.confine(readable(task), [dataset.path, staging_of(dataset)], store,
                    confine.hub_ports() if "hub" in task else None, children=True)


def main() -> None:
    """Run the import that incoming.json describes."""
    folder = Path(sys.argv[1])
    token = sys.stdin.read() or None
    dataset = Dataset(folder.parent.parent, folder.name)
    task = storage.read_json(folder / "incoming.json") or {"files": []}
    last = 0.0

    def tell(progress: Callable[[], dict[str, Any]]) -> None:
        nonlocal last
        if time.monotonic() - last > 0.5:
            last = time.monotonic()
            storage.write_json(folder / "progress.json", progress())

    os.nice(10)  # the page and a running training come first
    pictures = naming.lock(dataset.home)
    pictures.open()
    _confine(dataset, task)
    try:
        attempt(dataset, task, tell, pictures, token)
        if folder.exists():
            storage.remove(dataset.task_file)  # the report says how it ended; without it the import counts as cut
            dataset.drop_imported()
    finally:
        storage.clear(folder / "progress.json", folder / "cancel", *folder.glob(".spool-*"))


def attempt(dataset: Dataset, task: dict[str, Any], tell: Tell, pictures: storage.Lock, token: str | None) -> None:
    """`run`; what ends it early is what the report says. Raises OSError where not even that can be written."""
    try:
        run(dataset, task, tell, pictures, token)
    except Gone:
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
        fail(dataset, task,
             FULL
             if error.errno in storage.FULL else Message("{message} Nothing of the import was kept. {hint} Then import "
                                                         "again.", message=fault.message, hint=fault.hint))


if __name__ == "__main__":
    main()
