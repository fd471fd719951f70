"""The upload at the end of a run whose config asks for it: a job of its own, started by the run's supervisor.

The supervisor has the token that was lent to the run, and hands it to that job's process and nothing else.
"""

from __future__ import annotations

from studio.folders import runs, work
from studio.launch.queue import spawn

HELD = 120.0  # seconds that the queue leaves the job to its starter, who alone has the token


def after(run: runs.Run, attempt: int, token: str | None) -> work.Job | None:
    """Begin publishing when that attempt finished the run and its config says so; returns the job."""
    settings = run.config().hub
    state, history = runs.EventReader().state(run)
    if not settings.push or state != "finished" or history.attempt != attempt:
        return None
    record = run.record()
    args = {"run": run.id, "repo": "", "private": settings.private, "weights": "", "step": None, "precision": "fp32"}
    job = work.submit(run.home, "publish", args, name=f"Publish {record['name']}", owner=record["owner"], light=True,
                      subject=run.id, held=HELD)
    spawn(job, 1, token)
    return job
