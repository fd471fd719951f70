"""What a viewer can publish: a run's result, on the Hub, by their own token."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from studio import hub
from studio.web.access import Viewer
from studio.web.errors import Refused, WebError
from studio.web.service_jobs import JobService
from studio.web.service_runs import RunService

REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")
TOKEN = re.compile(r"[\w.-]{8,4000}")
PRECISIONS = ("fp32", "fp16", "bf16")


class PublishService(RunService, JobService):
    """The part of the service that is about publishing."""

    def publish_run(self, viewer: Viewer, run_id: str, *, repo: str = "", private: bool = True, weights: str = "",
                    step: int | None = None, precision: str = "fp32", token: str | None = None) -> dict[str, Any]:
        """Start publishing a result; returns the job. `token` is lent to that job alone; without one, the viewer's."""
        run = self._run(viewer, run_id, "write")
        token = token or viewer.token
        if repo and not REPO.fullmatch(repo):
            raise WebError(f"{repo[:60]!r} is no name of a repository.", "Give `my-model` or `me/my-model`.")
        if precision not in PRECISIONS or weights not in ("", "ema", "raw"):
            raise WebError("There are no such weights.", f"weights: ema, raw; precision: {', '.join(PRECISIONS)}.")
        if not token or not TOKEN.fullmatch(token):
            raise WebError("There is no token to publish with.", "Sign in, or give a Hugging Face token that may write "
                           "as `token`.", code="no_token")
        try:
            hub.choose(run, weights, step, precision)
        except hub.PublishProblem as problem:
            raise Refused(str(problem), problem.hint) from None
        args = {"run": run.id, "repo": repo, "private": private, "weights": weights, "step": step,
                "precision": precision}
        return self.submit_job(replace(viewer, token=token), "publish", args, name=f"Publish {run.record()['name']}",
                               light=True, subject=run.id, lend_token=True)
