"""One operation in a process of its own:  python -m benchmarks.powercut.act NAME HOME [MARKS]

It gets ready, says so, waits for a line on stdin, and acts; each acknowledgement is a line added to the file MARKS.
Without one it is said on stdout, and a line on stdin waited for: nothing happens meanwhile.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_ANY, _SET_PTRACER = ctypes.c_ulong(-1 & (2**64 - 1)), 0x59616D61


def main() -> None:
    """Get ready, act."""
    from . import operations, trainings, working  # noqa: F401 - they fill OPERATIONS
    from .stage import OPERATIONS, Stage

    name, home = sys.argv[1], Path(sys.argv[2])
    handle = os.open(sys.argv[3], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644) if len(sys.argv) > 3 else None

    def mark(what: str) -> None:
        if handle is not None:
            os.write(handle, f"{what}\n".encode())
            return
        print(f"mark {what}", flush=True)
        sys.stdin.readline()

    stage = Stage(home, mark)
    act = OPERATIONS[name].prepare(stage)
    if hasattr(ctypes.CDLL(None), "prctl"):
        ctypes.CDLL(None).prctl(_SET_PTRACER, _ANY, 0, 0, 0)  # so that one who is not root may watch too
    print("ready", flush=True)
    sys.stdin.readline()
    act()
    print("done", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main()
