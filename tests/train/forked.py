"""Attempts without their imports: a server that has imported what child.py needs, and is copied for each attempt.

    python forked.py SOCKET [MODULE...]        (started by `Server`, two for each process of pytest: one for ZeRO)

A copy has the arguments, the environment, the folder, the output and the exit status of a process started anew. Who
wants another environment at the start of the C library, of OpenMP or of a module than the server had gets such one.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SCRIPT = HERE / "child.py"
READ_LATE = {"ACCELERATE_USE_CPU", "DS_ACCELERATOR", "GLOO_SOCKET_IFNAME", "LOCAL_RANK", "LOCAL_WORLD_SIZE",
             "NCCL_RAS_ENABLE", "NCCL_SOCKET_IFNAME", "PYTEST_CURRENT_TEST", "RANK", "STUDIO_HOME",
             "STUDIO_RENDEZVOUS", "TORCH_EXTENSIONS_DIR", "WORLD_SIZE"}  # when it is needed, not at the start
ZERO = ("studio.train.parallel.zero", "deepspeed.runtime.zero.muon.muon_optimizer")  # which DeepSpeed imports itself
Run = Callable[[], int]  # what a copy does; returns its exit status


def at_start(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that may be read before an attempt begins."""
    return {name: value for name, value in environment.items() if name not in READ_LATE}


def printing() -> IO[str]:
    """A file for what a process prints."""
    return tempfile.TemporaryFile("w+", errors="replace")


class Attempt:
    """A process that runs child.py, copied or started anew; what it prints goes to files."""

    def __init__(self, arguments: list[str], environment: dict[str, str], *, zero: bool = False, cold: bool = False):
        self._files = printing(), printing()
        self._socket: socket.socket | None = None
        server = None if cold else running(environment, zero)
        if server is None:
            self._process = subprocess.Popen([sys.executable, str(SCRIPT), *arguments], cwd=ROOT, env=environment,
                                             stdin=subprocess.DEVNULL, stdout=self._files[0], stderr=self._files[1])
            self.pid = self._process.pid
        else:
            self._socket = server.start({"arguments": arguments, "environment": environment}, self._files)
            self.pid = int(self._line())

    def wait(self, deadline: float) -> subprocess.CompletedProcess[str]:
        """How it has ended; what still runs at `deadline` (monotonic) is killed, and raises TimeoutExpired."""
        rest = max(0.0, deadline - time.monotonic())
        ended = self._ends(rest)
        if not ended:
            os.kill(self.pid, signal.SIGKILL)
        returncode = self._process.wait() if self._socket is None else int(self._line())
        if self._socket is not None:
            self._socket.close()
        printed = [self._text(file) for file in self._files]
        if not ended:
            raise subprocess.TimeoutExpired(str(SCRIPT), rest, *printed)
        return subprocess.CompletedProcess(str(SCRIPT), returncode, *printed)

    def _ends(self, seconds: float) -> bool:
        if self._socket is not None:
            return bool(select.select([self._socket], [], [], seconds)[0])
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    @staticmethod
    def _text(file: IO[str]) -> str:
        with file:
            file.seek(0)
            return file.read()

    def _line(self) -> str:
        assert self._socket is not None
        text = b""
        while not text.endswith(b"\n"):
            block = self._socket.recv(1)
            assert block, "the server of attempts has ended"
            text += block
        return text.decode()


class Server:
    """The server, from outside."""

    def __init__(self, environment: dict[str, str], modules: tuple[str, ...]):
        self.environment = at_start(environment)
        self._control, there = socket.socketpair(type=socket.SOCK_SEQPACKET)
        with there:
            command = [sys.executable, str(HERE / "forked.py"), str(there.fileno()), *modules]
            subprocess.Popen(command, cwd=ROOT, env=environment, pass_fds=[there.fileno()], stdin=subprocess.DEVNULL)

    def start(self, request: dict[str, Any], files: tuple[IO[str], IO[str]]) -> socket.socket:
        """Have it start an attempt; a socket which tells the process and then its exit status, a line each."""
        here, there = socket.socketpair()
        with there:
            handles = [there.fileno(), *(file.fileno() for file in files)]
            socket.send_fds(self._control, [json.dumps(request).encode()], handles)
        return here


_servers: dict[bool, Server] = {}  # of this process, by whether they have DeepSpeed; they end with it


def running(environment: dict[str, str], zero: bool) -> Server | None:
    """The server of this process, where it suits that environment: the first one asked for decides."""
    if zero not in _servers:
        _servers[zero] = Server(environment, ZERO if zero else ())
    server = _servers[zero]
    return server if server.environment == at_start(environment) else None


def serve(control: socket.socket) -> Run | None:
    """Start what is asked for, and tell how it ended, until nobody is left to ask. In a copy: what to do."""
    awake, wake = socket.socketpair()
    wake.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    told: dict[int, socket.socket] = {}
    while True:
        readable, _, _ = select.select([control, awake], [], [])
        if awake in readable:
            awake.recv(1024)
        while told:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            with told.pop(pid) as asking:
                asking.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
        if control not in readable:
            continue
        message, handles, _, _ = socket.recv_fds(control, 1 << 20, 3)
        if not message:
            return None
        asking = socket.socket(fileno=handles[0])
        pid = os.fork()
        if not pid:
            for handle in (control, awake, wake, asking, *told.values()):
                handle.close()
            return lambda: become(json.loads(message), handles[1:])
        told[pid] = asking
        asking.sendall(b"%d\n" % pid)
        for handle in handles[1:]:
            os.close(handle)


def become(request: dict[str, Any], printed: list[int]) -> int:
    """In a copy: be child.py, as it would be started anew."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for handle, stream in zip(printed, (1, 2), strict=True):
        os.dup2(handle, stream)
        os.close(handle)
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = [str(SCRIPT), *request["arguments"]]
    import child

    return child.main()


def main() -> int:
    """Serve. Returns the exit status, of the server or of the attempt that a copy of it has been."""
    from studio.system import lean

    handle, *modules = sys.argv[1:]
    for module in ("child", "studio.train.loop", *modules):
        importlib.import_module(module)
    lean.load_diffusers()
    gc.collect()
    gc.freeze()  # what is shared stays shared
    run = serve(socket.socket(fileno=int(handle)))
    return run() if run is not None else 0


if __name__ == "__main__":
    sys.exit(main())
