"""The supervisor of one attempt: python -m studio.launch RUN_FOLDER --attempt N"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from studio import runs
from studio.launch.supervisor import supervise


def main() -> int:
    """Supervise one attempt from start to end. Exits 0, also when another supervisor was first; 2 for a wrong call."""
    parser = argparse.ArgumentParser(prog="python -m studio.launch", description="Supervise one attempt of a run.")
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("--attempt", type=int, required=True, help="which attempt, as run.json counts them")
    args = parser.parse_args()
    run = runs.Run(args.run.resolve())
    if not run.record_file.is_file():
        parser.error(f"{args.run} is not a run's folder: it has no {run.record_file.name}")
    supervise(run, args.attempt)
    return 0


if __name__ == "__main__":
    sys.exit(main())
