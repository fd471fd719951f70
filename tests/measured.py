"""Homes that know this machine from the start: it is measured once for all tests, and the answer kept for later ones.

A server or a command line in a home without that answer measures first, which takes 5 to 10 seconds of a processor.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

from studio import PACKAGE
from studio.storage import sha256_file
from studio.system import machine


def know(home: Path) -> Path:
    """The same home, which need not exist yet, with the facts about this machine; what it knows already stays."""
    file = home / "cache" / "machine.json"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(facts(), file)
    return home


@cache
def facts() -> Path:
    """`machine.json`, in a folder of this user's and of this probe's; processes that ask at once wait for one of them.

    Raises PermissionError where the folder is somebody else's."""
    probe = sha256_file(PACKAGE / "jobs" / "probe.py")[:16]
    folder = Path(tempfile.gettempdir()) / f"studio-tests-{os.getuid()}-{probe}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else: remove it, or set TMPDIR")
    machine.facts(folder)
    return folder / "cache" / "machine.json"
