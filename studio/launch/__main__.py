"""The supervisor of one attempt: python -m studio.launch FOLDER --attempt N"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from studio.folders.runs import Run
from studio.folders.work import NotFound
from studio.launch import push, webhook
from studio.launch.supervisor import supervise, work_in
from studio.storage import faults


def _after(run: Run, attempt: int) -> None:
    """What follows an ended attempt; what fails of it is said in the log."""
    try:
        push.after(run, attempt, os.environ.get("HF_TOKEN"))
    except OSError as error:
        print(f"publishing could not begin: {faults.plain(error)}", file=sys.stderr)
    try:
        webhook.after(run, attempt)
    except OSError as error:
        print(f"it was not kept that the webhook was told: {faults.plain(error)}", file=sys.stderr)


def main() -> int:
    """Supervise one attempt from start to end. Exits 0, also when another supervisor was first; 2 for a wrong call."""
    parser = argparse.ArgumentParser(prog="python -m studio.launch",
                                     description="Supervise one attempt of a run or a job.")
    parser.add_argument("folder", type=Path, help="the folder of a run or a job")
    parser.add_argument("--attempt", type=int, required=True, help="which attempt, as run.json or job.json counts them")
    args = parser.parse_args()
    try:
        work = work_in(args.folder.resolve())
        if supervise(work, args.attempt) and isinstance(work, Run):
            _after(work, args.attempt)
    except NotFound as error:
        parser.error(str(error))
    except OSError as error:  # it still waits: the queue tries it again
        print(f"the attempt could not begin: {faults.plain(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
