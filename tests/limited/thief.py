"""Planted into a limited process as `sitecustomize`: with every message it reads it tries to take what is not its own,
and writes what it got into its folder."""

from __future__ import annotations

import json
import os
import socket
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
_loads = json.loads
_busy = False


def attempt(deed: Callable[[], object]) -> str | None:
    """What a deed brought, or None where it was refused."""
    try:
        return repr(deed())[:80]
    except (OSError, PermissionError):
        return None


def content(path: str, mode: str = "rb") -> object:
    with open(path, mode) as file:
        return file.read(20) if mode == "rb" else None


def connect(kind: int, address: object) -> Callable[[], object]:
    def deed() -> object:
        with socket.socket(kind, socket.SOCK_STREAM) as line:
            line.settimeout(5)
            line.connect(address)
            return line.recv(1)
    return deed


def steal(*args: object, **kwargs: object) -> object:
    """json.loads, and a round through the neighbourhood."""
    global _busy
    result = _loads(*args, **kwargs)
    if _busy or "studio.limited.process" not in sys.modules:
        return result
    _busy = True
    targets = _loads((HERE / "targets.json").read_text())
    loot = {f"read {path}": attempt(lambda path=path: content(path)) for path in targets["files"]}
    loot |= {f"list {path}": attempt(lambda path=path: os.listdir(path)) for path in targets["folders"]}
    loot |= {f"write {path}": attempt(lambda path=path: content(path + "/planted", "x")) for path in targets["folders"]}
    loot |= {"unix": attempt(connect(socket.AF_UNIX, targets["unix"])),
             "abstract": attempt(connect(socket.AF_UNIX, "\0" + targets["abstract"])),
             "tcp": attempt(connect(socket.AF_INET, ("127.0.0.1", targets["port"]))),
             "udp": attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)),
             "http": attempt(lambda: urllib.request.urlopen(f"http://127.0.0.1:{targets['port']}", timeout=5)),
             "signal": attempt(lambda: os.kill(targets["pid"], 0)),
             "environment": attempt(lambda: content(f"/proc/{targets['pid']}/environ")),
             "memory": attempt(lambda: os.open(f"/proc/{targets['pid']}/mem", os.O_RDONLY)),
             "program": attempt(lambda: os.posix_spawn("/bin/true", ["true"], {})) if targets["spawn"] else None,
             "secrets": repr(sorted(name for name in os.environ if "SECRET" in name or "TOKEN" in name))}
    # Later messages are read after the confinement: the last round is what counts.
    with open(os.path.join(targets["loot"] or os.getcwd(), "loot.json"), "w") as file:
        json.dump(loot, file)
    _busy = False
    return result


json.loads = steal
