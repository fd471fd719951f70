"""Bundles from a shell: python -m studio.bundle pack RUN_FOLDER FILE, or unpack FILE."""

from __future__ import annotations

import sys
from pathlib import Path

from studio import bundle, storage
from studio.config import ConfigError
from studio.folders.runs import Run
from studio.storage import faults
from studio.system import shell, surroundings

OWNER = "local"  # who uses this machine without signing in


def main(argv: list[str] | None = None) -> int:
    """0 when done; 2 for a bundle or a folder that is refused, with the reason on stderr."""
    surroundings.use_utf8()
    parser = shell.Parser(prog="python -m studio.bundle", description="A run as one zip, and back.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    packing = verbs.add_parser("pack", help="write a run's bundle")
    packing.add_argument("run", type=Path, help="the run's folder")
    packing.add_argument("file", type=Path, help="the zip to write")
    packing.add_argument("--start", action="store_true", help="only what a first step needs")
    unpacking = verbs.add_parser("unpack", help="make a run of a bundle, in STUDIO_HOME")
    unpacking.add_argument("file", type=Path, help="the zip")
    args = parser.parse_args(argv)
    try:
        if args.verb == "unpack":
            surroundings.whole(storage.home)
            print(bundle.unpack(storage.home(), args.file, OWNER, bundle.as_a_strangers).path)
        else:
            bundle.write(Run(args.run.resolve()), args.file, start=args.start)
    except (bundle.BadBundle, ConfigError, storage.Corrupt, surroundings.UnusableEnvironment, OSError) as error:
        print(faults.in_shell(error), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
