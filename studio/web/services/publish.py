"""What a viewer can publish on the Hub, by their own token: a run's result, a data set."""

from __future__ import annotations

import re
from dataclasses import replace

from studio import datasets, hub
from studio.errors import Refused
from studio.messages import JsonObject, Message
from studio.web.access import Viewer, require
from studio.web.http.errors import WebError
from studio.web.services.core import Core, Service
from studio.web.services.datasets import DatasetService
from studio.web.services.jobs import JobService
from studio.web.services.runs import RunService

REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)
TOKEN = re.compile(r"[\w.-]{8,4000}")
PRECISIONS = ("fp32", "fp16", "bf16")


class PublishService(Service):
    """Publishing."""

    def __init__(self, core: Core, runs: RunService, datasets: DatasetService, jobs: JobService):
        super().__init__(core)
        self.runs = runs
        self.datasets = datasets
        self.jobs = jobs

    def run(self, viewer: Viewer, run_id: str, *, repo: str = "", private: bool = True, weights: str = "",
            step: int | None = None, precision: str = "fp32", token: str | None = None) -> JsonObject:
        """Start publishing a result; returns the job. `token` is lent to that job alone; without one, the viewer's."""
        run = self.runs.find(viewer, run_id, "write")
        self.quotas.ask(viewer, "job")
        lender = _lender(viewer, repo, token)
        self.runs.check_base(viewer, run)
        if precision not in PRECISIONS or weights not in ("", "ema", "raw"):
            raise WebError(Message("There are no such weights."),
                           Message("weights: ema, raw; precision: {names}.", names=", ".join(PRECISIONS)))
        try:
            hub.choose(run, weights, step, precision)
        except hub.PublishError as problem:
            raise Refused(str(problem), problem.hint) from None
        args = {"run": run.id, "repo": repo, "private": private, "weights": weights, "step": step,
                "precision": precision}
        return self.jobs.submit(lender, "publish", args, name=f"Publish {run.record()['name']}", light=True,
                                subject=run.id, lend_token=True)

    def dataset(self, viewer: Viewer, dataset_id: str, *, repo: str = "", private: bool = True,
                token: str | None = None) -> JsonObject:
        """Start pushing a data set; returns the job. Without `repo` it is named after the data set; `token` as above.
        Raises datasets.EmptyDataset."""
        require(viewer, None, "create", "job")
        dataset = self.datasets.find(viewer, dataset_id, "read")
        self.quotas.ask(viewer, "job")
        lender = _lender(viewer, repo, token)
        datasets.ready(dataset)
        named = re.sub(r"[^A-Za-z0-9]+", "-", dataset.name).strip("-")[:60] or "dataset"
        args = {"dataset": dataset.id, "repo": repo or named, "private": private}
        return self.jobs.submit(lender, "push", args, name=f"Push {dataset.name}", light=True, subject=dataset.id,
                                lend_token=True)


def _lender(viewer: Viewer, repo: str, token: str | None) -> Viewer:
    """The viewer with the token that is lent to a job. Raises WebError for a name or a token that cannot be one."""
    token = token or viewer.token
    if repo and (not REPO.fullmatch(repo) or ".." in repo or "--" in repo):
        raise WebError(Message("{repo} is no name of a repository.", repo=repr(repo[:60])),
                       Message("Give `my-name` or `me/my-name`: letters, digits, and single - . _ between them."))
    if not token or not TOKEN.fullmatch(token):
        raise WebError(Message("There is no token to publish with."),
                       Message("Sign in, or give a Hugging Face token that may write as `token`."), code="no_token")
    return replace(viewer, token=token)
