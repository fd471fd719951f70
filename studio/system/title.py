"""What Linux tells of a process that was forked: its own command and environment in place of its parent's.

`ps`, `/proc` and psutil read both from the memory that the parent was started with, as long as that has room.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOM = 6144  # bytes for the command, and as many for the environment: each holds a path, which has 4096 at most
_VARIABLE = "STUDIO_ROOM"
_FIRST = 48  # arg_start, arg_end, env_start and env_end are the fields from this one on, counted from 1 (proc(5))


def with_room(argv: Sequence[str], environment: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """The same command and environment, for a process whose copies are to be told apart."""
    return [*argv, " " * ROOM], {**environment, _VARIABLE: " " * ROOM}


def leave_room(argv: list[str]) -> list[str]:
    """Called in the process that was started so; returns its arguments without the room."""
    os.environ.pop(_VARIABLE, None)
    return [word for word in argv if word.strip(" ")]


def become(argv: Sequence[str], environment: Mapping[str, str]) -> None:
    """Have the system tell this command, and of the environment these variables alone. Raises ValueError where they do
    not fit. What the process itself finds in its environment stays as it is."""
    arguments, variables = _places()
    command = _joined(argv)
    told = _joined([f"{name}={value}" for name, value in environment.items()])
    if len(command) > len(arguments) or len(told) > len(variables):
        raise ValueError("there is no room for so long a command")
    for name, value in os.environ.items():  # the C library reads them where they were when the process began
        os.putenv(name, value)
    rest = len(arguments) - len(command)  # one more argument, of blanks: zeros would be as many empty ones
    if rest:
        command += b" " * (rest - 1) + b"\0"
    ctypes.memmove(arguments.start, command, len(arguments))
    ctypes.memmove(variables.start, told.ljust(len(variables), b"\0"), len(variables))


def _places() -> tuple[range, range]:
    """The addresses of the command and of the environment in this process's memory."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()  # from the third on
    first = _FIRST - 3
    start, end, environment_start, environment_end = map(int, fields[first : first + 4])
    return range(start, end), range(environment_start, environment_end)


def _joined(texts: Sequence[str]) -> bytes:
    """As execve lays them out: each ends with a zero."""
    return b"".join(os.fsencode(text) + b"\0" for text in texts)
