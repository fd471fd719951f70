"""A light job: push a data set to the Hub, with the token that was lent to this process alone.

Arguments: {dataset, repo (a name, or owner/name), private}.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path

from studio import datasets, hub, storage
from studio.datasets.exports import card
from studio.datasets.exports.shards import Shard, shards
from studio.folders import work
from studio.jobs.running import JobError, RunningJob
from studio.messages import Message


def main(job: RunningJob) -> None:
    """Write and upload one file after the other, so that the disk holds one of them; they appear there all at once."""
    token = os.environ.get("HF_TOKEN")
    if not token:
        raise JobError(Message("There is no token to push with."),
                       Message("Push again with a token that may write: none is ever kept, so it is asked for each "
                               "time."), "no_token")
    dataset = datasets.find(job.home, job.args["dataset"])
    private = job.args["private"]
    try:
        parts = shards(dataset)
        total = sum(part.size for part in parts)
        if 1.1 * max(part.size for part in parts) > storage.free_bytes(job.home):
            raise JobError(Message("The disk has no room for a part of the data set."),
                           Message("Free some space, then push again."), "disk_full")
        job.phase("uploading", 0, total, "bytes")
        to = hub.Repository(job.args["repo"], "dataset", private=private, token=token, waiting=job.warn_of_retry)
        done = 0  # bytes
        for part in parts:
            _send(job, to, part)
            done += part.size
            job.phase("uploading", done, total, "bytes")
        splits: Counter[str] = Counter()
        for part in parts:
            splits.update(row["split"] for row, *_ in part.pieces)
        readme = card.repository(dataset.name, splits, dataset.fingerprint(), to.id)
        to.commit("README.md", readme.encode(), replacing="data/*.parquet", message=f"{sum(splits.values())} pictures")
    except datasets.EmptyDataset as problem:
        raise JobError(str(problem), Message("Add pictures first."), "nothing") from None
    except hub.PublishError as problem:
        raise JobError(str(problem), problem.hint, "publish") from None
    job.result("pushed.json", work.as_json({"url": to.url}), "application/json", published=to.url, private=private)


def _send(job: RunningJob, to: hub.Repository, part: Shard) -> None:
    with tempfile.TemporaryDirectory(dir=job.folder.path) as folder:
        to.send(part.name, part.write(Path(folder)))
