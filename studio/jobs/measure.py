"""A light job: measure the pictures of a data set (perceptual hash, colours, blur) that were not measured yet.

Arguments: {dataset}. No results but the kept measures (datasets/measures.py).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from studio import datasets
from studio.datasets.pictures import measures
from studio.jobs.running import RunningJob
from studio.messages import Message

THREADS = 2  # decoding and resizing happen outside Python's lock
BATCH = 64


def main(job: RunningJob) -> None:
    """Measure what is missing, keeping each batch, so that a job that was cut short goes on where it was."""
    dataset = datasets.find(job.home, job.args["dataset"])
    done = measures.known(job.home, dataset.id)
    missing = {row["image"]: row for row in dataset.rows() if row["image"] not in done}
    todo, bad = list(missing.values()), []
    with ThreadPoolExecutor(THREADS) as threads:
        for start in range(0, len(todo), BATCH):
            job.phase("measuring", start, len(todo), "pictures")
            batch = todo[start : start + BATCH]
            found = list(threads.map(_measure, [dataset.picture(row["pid"]) for row in batch]))
            bad += [row["name"] for row, facts in zip(batch, found, strict=True) if facts is None]
            measures.add(job.home, dataset.id, [{"image": row["image"], **facts}
                                                for row, facts in zip(batch, found, strict=True) if facts is not None])
    job.phase("measuring", len(todo), len(todo), "pictures")
    if bad:
        job.warn("unreadable",
                 Message("{count} stored pictures cannot be read, the first is {name}: import it again", count=len(bad),
                         name=repr(bad[0])))


def _measure(path: Path) -> dict[str, Any] | None:
    try:
        return measures.of(path)
    except OSError:
        return None
