"""The commands of the shell, a file each: python -m studio trash ..."""

from __future__ import annotations

import sys

from studio import storage
from studio.cli import trash
from studio.storage import faults
from studio.system import shell, surroundings

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Do what the words say; returns the exit status: 0 done, 1 could not be done, 2 a wrong call."""
    surroundings.use_utf8()
    parser = shell.Parser(prog="python -m studio", description="The studio from the shell. It works on STUDIO_HOME, by "
                          "default workspace/ beside the program; a running studio may be left as it is.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    trash.add_to(commands)
    args = parser.parse_args(argv)
    try:
        surroundings.whole(storage.home)
        return args.run(args)
    except (surroundings.Unfit, OSError) as error:
        print(faults.in_shell(error), file=sys.stderr)
        return 1
