"""The supervisor of one attempt: python -m studio.launch FOLDER --attempt N"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from studio.launch import push, webhook
from studio.launch.supervisor import supervise, work_in
from studio.runs import Run
from studio.work import NotFound


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
            push.after(work, args.attempt, os.environ.get("HF_TOKEN"))
            webhook.after(work, args.attempt)
    except NotFound as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
