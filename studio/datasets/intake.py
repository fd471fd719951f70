"""The importing process: from a person's files to rows of a data set.   python -m studio.datasets.intake FOLDER

Started by `importing.add` with the data set's folder; holds import.lock, reads incoming.json, writes progress.json
and at the end commits rows and report. Pictures are decoded in two limited processes of their own.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from studio import storage
from studio.datasets import sources, wire, workers
from studio.datasets.layout import Layout
from studio.datasets.reporting import Report
from studio.datasets.sources import Entry
from studio.datasets.store import Dataset, picture_path

WORKERS = 2
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
MEMORY = 2 << 30  # bytes of address space for this process
FULL = "The disk became full during the import; nothing of it was kept. Free some space, then import again."
TOO_LARGE = "The import needs more than 2 GB of memory; nothing of it was kept. Import the files in smaller parts."


class Gone(Exception):
    """The data set was deleted while its import was under way."""


class Pool:
    """Decodes pictures in WORKERS limited processes; nothing leaves its staging folder before `file`."""

    def __init__(self, dataset: Dataset):
        self.home, self.dataset = dataset.home, dataset
        self.staging = dataset.home / "images" / f"{storage.STAGING}{dataset.id}"
        for left in self.staging.parent.glob(f"{storage.STAGING}*"):
            other = Dataset(self.home, left.name.removeprefix(storage.STAGING))
            if other.id == dataset.id or not storage.is_locked(other.lock_file):
                shutil.rmtree(left, ignore_errors=True)  # of an import that was interrupted
        folders = [self.staging / str(number) for number in range(WORKERS)]
        for folder in folders:
            folder.mkdir(parents=True)
        self._free = [workers.Worker(folder) for folder in folders]

    def take(self, entry: Entry) -> dict[str, Any]:
        """The picture's facts {sha256, ext, width, height, changes}, or {problem}. Raises OSError for a full disk."""
        if not self.dataset.path.exists():
            raise Gone
        worker = self._free.pop()
        try:
            facts = worker.normalise(entry.on_disk(worker.folder / "spool"))
            if facts.get("errno") in DISK_FULL:
                raise OSError(facts["errno"], facts["problem"])
            return facts
        except sources.Refused as refusal:
            return {"problem": str(refusal)}
        finally:
            self._free.append(worker)

    def file(self, rows: list[dict[str, Any]]) -> None:
        """Move the pictures of `rows` to their place, durable before a row names them: two syncs, not thousands."""
        os.sync()
        for row in rows:
            for folder in (worker.folder for worker in self._free):
                workers.place(folder / f"{row['image']}.{row['ext']}", picture_path(self.home, row))
                workers.place(folder / f"{row['image']}.thumb", workers.thumb_path(self.home, row["image"]))
        os.sync()

    def close(self) -> None:
        """End the processes and remove what they left."""
        for worker in self._free:
            worker.close()
        shutil.rmtree(self.staging, ignore_errors=True)


def run(dataset: Dataset, files: list[tuple[str, Path]],
        tell: Callable[[Callable[[], dict[str, Any]]], None]) -> dict[str, Any]:
    """Import `files` and commit; returns the report. `tell` may ask for the growing report."""
    report = Report(sources.entries(files))
    layout = Layout(report)
    pictures, rows = layout.pictures, []
    needed = sum(entry.size for entry in pictures)
    if needed * 1.2 > storage.free_bytes(dataset.home):
        report.give_up(f"The disk is too full: the pictures need about {needed * 1.2 / 1e9:.1f} GB. Free some space.")
        pictures = []
    pool, threads = Pool(dataset), ThreadPoolExecutor(WORKERS)
    try:
        found = threads.map(pool.take, pictures)
        for done, (entry, facts) in enumerate(zip(pictures, found, strict=True), 1):
            rows += layout.row(entry, facts)
            tell(lambda done=done: {**report.so_far(), "done": done, "total": len(pictures)})
        rows = layout.finish(rows)
        pool.file(rows)
    finally:
        threads.shutdown(cancel_futures=True)
        pool.close()
    result = report.result(len(rows))
    dataset.add_rows(rows, result)
    return result


def fail(dataset: Dataset, error: str) -> None:
    """Commit nothing but the reason."""
    report = Report([])
    report.give_up(error)
    dataset.add_rows([], report.result(0))


def main() -> None:
    """Run the import that incoming.json describes."""
    folder = Path(sys.argv[1])
    dataset = Dataset(folder.parent.parent, folder.name)
    listed = storage.read_json(folder / "incoming.json") or []
    files = [(name, Path(os.fsdecode(bytes.fromhex(path)))) for name, path in listed]
    last = 0.0

    def tell(progress: Callable[[], dict[str, Any]]) -> None:
        nonlocal last
        if time.monotonic() - last > 0.5:
            last = time.monotonic()
            storage.write_json(folder / "progress.json", progress())

    os.nice(5)  # the page and a running training come first
    wire.limit_memory(MEMORY)
    try:
        run(dataset, files, tell)
    except Gone:
        return
    except MemoryError:
        fail(dataset, TOO_LARGE)
    except OSError as error:
        if not folder.exists():
            return
        if error.errno not in DISK_FULL:
            raise
        fail(dataset, FULL)
    finally:
        for name in ("incoming.json", "progress.json"):
            (folder / name).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
