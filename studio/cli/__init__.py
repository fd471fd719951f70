"""The shell, a file for each command: python -m studio train | datasets | bundle | trash ..."""

from __future__ import annotations

import sys
from importlib import import_module

from studio import storage
from studio.cli import trash
from studio.storage import faults
from studio.system import shell, surroundings

__all__ = ["main"]

PROGRAMS = {  # each reads its own words, as under its older name: python -m studio.train
    "train": "train a model in this shell",
    "datasets": "bring pictures in, and take a data set away",
    "bundle": "a run as one zip, and back",
}


def main(argv: list[str] | None = None) -> int:
    """Do what the words say; returns the exit status: 0 done, 1 could not be done, 2 a wrong call."""
    words = sys.argv[1:] if argv is None else argv
    if words and words[0] in PROGRAMS:
        return import_module(f"studio.cli.{words[0]}").main(words[1:])
    surroundings.use_utf8()
    parser = shell.Parser(prog="python -m studio", description="The studio from the shell. It works on STUDIO_HOME, by "
                          "default workspace/ beside the program; a running studio may be left as it is.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, help_ in PROGRAMS.items():
        commands.add_parser(name, help=help_)
    trash.add_to(commands)
    args = parser.parse_args(words)
    try:
        surroundings.whole(storage.home)
        return args.run(args)
    except (surroundings.UnusableEnvironment, OSError) as error:
        print(faults.in_shell(error), file=sys.stderr)
        return 1
