"""The supervisor of one attempt: python -m studio.launch FOLDER --attempt N"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from studio import runs
from studio.launch.supervisor import supervise
from studio.work import Job


def main() -> int:
    """Supervise one attempt from start to end. Exits 0, also when another supervisor was first; 2 for a wrong call."""
    parser = argparse.ArgumentParser(prog="python -m studio.launch",
                                     description="Supervise one attempt of a run or a job.")
    parser.add_argument("folder", type=Path, help="the folder of a run or a job")
    parser.add_argument("--attempt", type=int, required=True, help="which attempt, as run.json or job.json counts them")
    args = parser.parse_args()
    path = args.folder.resolve()
    found = next((work for work in (runs.Run(path), Job(path)) if work.record_file.is_file()), None)
    if found is None:
        parser.error(f"{args.folder} is no folder of a run or a job: it has no run.json or job.json")
    supervise(found, args.attempt)
    return 0


if __name__ == "__main__":
    sys.exit(main())
