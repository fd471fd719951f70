"""A light job: measure the pictures of a data set (perceptual hash, colours, blur) that were not measured yet.

Arguments: {dataset}. No results but the kept measures (datasets/measures.py).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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
    rows_by_image = {row["image"]: row for row in dataset.rows() if row["image"] not in done}
    missing = list(rows_by_image.values())
    unreadable = []
    with ThreadPoolExecutor(THREADS) as threads:
        for start in range(0, len(missing), BATCH):
            job.phase("measuring", start, len(missing), "pictures")
            batch = missing[start : start + BATCH]
            pictures = [dataset.picture(row["pid"]) for row in batch]
            lines = []
            for row, facts in zip(batch, threads.map(_measure, pictures), strict=True):
                if facts is None:
                    unreadable.append(row["name"])
                else:
                    lines.append({"image": row["image"], **facts})
            measures.add(job.home, dataset.id, lines)
    job.phase("measuring", len(missing), len(missing), "pictures")
    if unreadable:
        job.warn("unreadable",
                 Message("{count} stored pictures cannot be read, the first is {name}: import it again",
                         count=len(unreadable), name=repr(unreadable[0])))


def _measure(path: Path) -> measures.Measures | None:
    """The measures of a stored picture; None for one that cannot be read."""
    try:
        return measures.of(path)
    except OSError:
        return None
