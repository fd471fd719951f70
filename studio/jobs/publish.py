"""A light job: publish a result of a run on the Hub, with the token that was lent to this process alone.

Arguments: {run, repo (a name, or owner/name; empty is named after the run), private, weights, step, precision}.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from studio import hub, storage
from studio.folders import runs, work
from studio.jobs.running import JobError, RunningJob
from studio.messages import Message


def main(job: RunningJob) -> None:
    """Assemble the files beside the job, upload them, and keep the address as the result."""
    token = os.environ.get("HF_TOKEN")
    if not token:
        raise JobError(Message("There is no token to publish with."),
                       Message("Publish again with a token that may write: none is ever kept, so it is asked for each "
                               "time."), "no_token")
    try:
        run = runs.find(job.home, job.args["run"])
        job.phase("assembling")
        items = hub.choose(run, job.args["weights"], job.args["step"], job.args["precision"])
        needed = sum(item.size for item in items)
        if needed > storage.free_bytes(job.home):
            raise JobError(Message("The disk has no room to assemble the files."),
                           Message("Free some space, then publish again."), "disk_full")
        with tempfile.TemporaryDirectory(dir=job.folder.path) as name:
            repo = job.args["repo"] or hub.name_of(run)
            hub.assemble(run, repo, items, Path(name))
            job.phase("uploading", 0, needed, "bytes")
            to = hub.Repository(repo, "model", private=job.args["private"], token=token, waiting=job.warn_of_retry)
            to.upload(Path(name), f"Step {items[0].step} ({items[0].weights})")
        job.phase("uploading", needed, needed, "bytes")
    except hub.PublishError as problem:
        raise JobError(str(problem), problem.hint, "publish") from None
    job.result("published.json", work.as_json({"url": to.url}), "application/json", published=to.url,
               private=job.args["private"])
