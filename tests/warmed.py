"""One process for each of pytest's that has the imports of runs and jobs: the servers of its tests share it."""

from __future__ import annotations

import json
import os
import sys
from functools import cache
from typing import Any
from unittest import mock

from studio.launch import warm
from studio.system import machine

from .measured import facts

CLEAN = dict(os.environ)  # before any test changes it
_servers: list[warm.Server] = []


def sharing(environment: dict[str, str]) -> dict[str, Any]:
    """What `subprocess.Popen` is given beside a command, so that the server it starts has no such process of its own;
    what it starts in other surroundings than these begins as where there is none. Who says what is to be, by
    STUDIO_WARM_START, gets that."""
    if warm.SWITCH in environment or not _suits():
        return {"env": environment}
    if not _servers or not _servers[-1].lives():  # it ends where nobody has asked for long
        with mock.patch.dict(os.environ, CLEAN, clear=True):
            _servers.append(warm.start_server(machine.cores()))
    handle = _servers[-1]._control.fileno()
    return {"env": {**environment, warm.INHERITED: str(handle), warm.SWITCH: "0"}, "pass_fds": [handle]}


@cache
def _suits() -> bool:
    return sys.platform == "linux" and not json.loads(facts().read_text())["facts"]["gpus"]
