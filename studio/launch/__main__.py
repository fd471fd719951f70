"""The supervisor of one attempt: python -m studio.launch FOLDER --attempt N"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from studio.folders import runs, work
from studio.folders.runs import Run
from studio.folders.work import NotFound
from studio.launch import warm, webhook
from studio.launch.queue import spawn
from studio.launch.supervisor import supervise, work_in
from studio.storage import faults

HELD = 120.0  # seconds that the queue leaves a job to its starter, who alone has the token


def _after(run: Run, attempt: int) -> None:
    """What follows an ended attempt; what fails of it is said in the log."""
    try:
        _publish(run, attempt, os.environ.get("HF_TOKEN"))
    except OSError as error:
        print(f"publishing could not begin: {faults.plain(error)}", file=sys.stderr)
    try:
        webhook.after(run, attempt)
    except OSError as error:
        print(f"it was not kept that the webhook was told: {faults.plain(error)}", file=sys.stderr)


def _publish(run: Run, attempt: int, token: str | None) -> None:
    """Begin publishing when that attempt finished the run and its config says so. The `token` that was lent to the run
    goes to that job's process and nothing else."""
    settings = run.config().hub
    state, history = runs.EventReader().state(run)
    if not settings.push or state != "finished" or history.attempt != attempt:
        return
    record = run.record()
    args = {"run": run.id, "repo": "", "private": settings.private, "weights": "", "step": None, "precision": "fp32"}
    job = work.submit(run.home, "publish", args, name=f"Publish {record['name']}", owner=record["owner"], light=True,
                      subject=run.id, held=HELD)
    spawn(job, 1, token)


def main() -> int:
    """Supervise one attempt from start to end. Exits 0, also when another supervisor was first; 2 for a wrong call."""
    parser = argparse.ArgumentParser(prog="python -m studio.launch",
                                     description="Supervise one attempt of a run or a job.")
    parser.add_argument("folder", type=Path, help="the folder of a run or a job")
    parser.add_argument("--attempt", type=int, required=True, help="which attempt, as run.json or job.json counts them")
    parser.add_argument("--worker", metavar="SOCKET:PID", help="what waits to do the work, its imports done")
    args = parser.parse_args()
    worker = warm.Worker(args.worker) if args.worker else None
    try:
        folder = work_in(args.folder.resolve())
        if supervise(folder, args.attempt, worker=worker) and isinstance(folder, Run):
            _after(folder, args.attempt)
    except NotFound as error:
        parser.error(str(error))
    except OSError as error:  # it still waits: the queue tries it again
        print(f"the attempt could not begin: {faults.plain(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
