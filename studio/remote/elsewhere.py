"""Train a bundle where no page is: on the other machines of a run, in a Slurm job, on any rented one.

    python -m studio.remote.elsewhere BUNDLE [--machine-rank 1] [--result FILE]

The bundle is unpacked into STUDIO_HOME, so nothing is shared with the machine that made it. Machine 0 leaves the run
as a new bundle in FILE, which `POST /api/runs/import` takes back; the others keep nothing but their log.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from studio import bundle, storage
from studio import config as config_
from studio.folders import runs
from studio.folders.runs import Run
from studio.launch import command
from studio.launch.supervisor import supervise
from studio.storage import faults

OWNER = "local"
GOOD = ("finished", "stopped", "paused")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    line = argparse.ArgumentParser(prog="python -m studio.remote.elsewhere", description="Train a bundle of a run.")
    line.add_argument("bundle", type=Path, help="the zip, as `GET /api/runs/ID/bundle` gives it")
    line.add_argument("--machine-rank", type=int, default=0, help="which of the run's machines this is; 0 is the first")
    line.add_argument("--main-address", help="where machine 0 is reached, in place of the run's own setting")
    line.add_argument("--main-port", type=int, help="the port there, in place of the run's own setting")
    line.add_argument("--result", type=Path, help="machine 0 leaves the trained run here, as a bundle")
    return line


def begin(args: argparse.Namespace) -> Run:
    """The bundle as a run of this machine, which trains here whatever it says. Raises what unpacking raises, and
    runs.Refused for a finished run."""
    home = storage.home()
    if args.machine_rank:
        home = home / "machines"
    run = bundle.unpack(home, args.bundle, OWNER)
    data = config_.dump(run.created_config())
    data["compute"]["backend"] = "local"
    if args.main_address is not None:
        data["compute"]["main_address"] = args.main_address
    if args.main_port is not None:
        data["compute"]["main_port"] = args.main_port
    storage.write_json(run.config_file, config_.dump(config_.load(data)))
    run.update(backend="local")
    return run


def main(argv: list[str] | None = None) -> int:
    """0 for finished, stopped, paused, or (on another machine than the first) an orderly end; 1 failed; 2 refused."""
    args = parser().parse_args(argv)
    reader = runs.EventReader()
    try:
        run = begin(args)
        attempt = runs.resume(run, reader)
    except (bundle.BadBundle, config_.ConfigError, runs.Refused, OSError) as error:
        print(f"{args.bundle}: {faults.in_shell(error)}", file=sys.stderr)
        return 2
    print(f"run: {run.path}\nlog: {run.log_file}", flush=True)
    os.environ[command.MACHINE_RANK] = str(args.machine_rank)
    try:
        supervise(run, attempt)
    except OSError as error:
        print(f"{run.path}: {faults.in_shell(error)}", file=sys.stderr)
        return 1
    exit_ = run.exit() or {}
    state, history = reader.state(run)
    if args.machine_rank:
        print(f"machine {args.machine_rank} ended with status {exit_.get('returncode')}")
        return int(exit_.get("returncode") != 0)
    error = (history.end or {}).get("error") or exit_.get("error")
    if error:
        print(f"{error['message']}\n{error['hint']}", file=sys.stderr)
    if args.result:
        bundle.write(run, args.result)
        print(f"result: {args.result}")
    print(f"{state} at step {history.step}", flush=True)
    return int(state not in GOOD)


if __name__ == "__main__":
    sys.exit(main())
