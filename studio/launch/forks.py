"""The warm server: a process that has imported what a trainer and a job need, and is copied for each that starts.

    python -m studio.launch.forks SOCKET        (started by `warm.py`; Linux without a GPU)

It is asked by a byte and a socket over SOCKET, a pair of which nobody else has an end. For each it forks twice. The
one copy becomes an ordinary supervisor: it reads from that socket which, and executes it. The other is the
supervisor's child, and waits until it is told which trainer or job it is. So nothing that is lent to a run is ever in
the memory of the server, what works is a child of its supervisor as always, and none of them needs the server any more.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from studio.launch import processes
from studio.launch.warm import ASK, JOBS, Request
from studio.system import title

IDLE_SECONDS = 600.0  # without a start, after which the server ends
LOOK_SECONDS = 5.0  # between looks at the memory
LEAST_FREE = 1 << 30  # bytes of memory: where less is free the server ends
OOM_SCORE = Path("/proc/self/oom_score_adj")
PATIENCE = 30.0  # seconds for a request that was announced
# What may differ between the server and what is copied from it: it is read when it is needed, not at the start.
LENT = frozenset({processes.MARK, "HF_TOKEN", "WANDB_API_KEY", "STUDIO_HOME", "CUDA_VISIBLE_DEVICES",
                  "HIP_VISIBLE_DEVICES", "ACCELERATE_USE_CPU", "DS_ACCELERATOR"})
Ending = Callable[[], int]  # what a copy does from here on; returns its exit status


class Server:
    """What the server knows: its own sockets, and the supervisors that it has to tell of."""

    def __init__(self, control: socket.socket):
        self.control = control
        self.awake, self.wake = socket.socketpair()
        self.told: dict[int, socket.socket] = {}  # by process: whoever wants to know how it ends
        self.used = time.monotonic()
        self._oom_score = OOM_SCORE.read_text()

    def serve(self) -> Ending | None:
        """Answer until nobody is left to ask, nobody has asked for long, or memory is short. In a copy: what to do."""
        self._hear_children()
        _offer_to_oom_killer("1000")  # where memory runs out, this is what nobody would miss
        while time.monotonic() - self.used < IDLE_SECONDS:
            readable, _, _ = select.select([self.control, self.awake], [], [], LOOK_SECONDS)
            if self.awake in readable:
                self.awake.recv(1024)
            self._reap()
            if self.control in readable:
                message, handles, _, _ = socket.recv_fds(self.control, 1, 1)
                if not message:
                    return None
                ending = self._answer(message, socket.socket(fileno=handles[0]))
                if ending is not None:
                    return ending
            if psutil.virtual_memory().available < LEAST_FREE:
                return None
        return None

    def _answer(self, message: bytes, asking: socket.socket) -> Ending | None:
        if message == ASK:
            with suppress(OSError), asking:  # whoever asked may have gone
                asking.sendall(b"ready\n")
            return None
        self.used = time.monotonic()
        pid = os.fork()
        if pid == 0:
            self._leave()
            return lambda: _supervise(asking)
        self.told[pid] = asking
        with suppress(OSError):
            asking.sendall(b"started %d\n" % pid)
        return None

    def _hear_children(self) -> None:
        """Have the end of a child wake the server."""
        self.wake.setblocking(False)
        signal.signal(signal.SIGCHLD, _nothing)
        signal.set_wakeup_fd(self.wake.fileno(), warn_on_full_buffer=False)

    def _reap(self) -> None:
        """Tell how each supervisor ended to whoever had it started."""
        while self.told:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            with suppress(OSError), self.told.pop(pid) as asking:
                asking.sendall(b"ended %d\n" % os.waitstatus_to_exitcode(status))

    def _leave(self) -> None:
        """A copy has nothing of the server's."""
        _offer_to_oom_killer(self._oom_score)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for handle in (self.control, self.awake, self.wake, *self.told.values()):
            handle.close()


def _offer_to_oom_killer(score: str) -> None:
    with suppress(OSError):  # not everywhere may a process say so of itself
        OOM_SCORE.write_text(score)


def _nothing(*_: object) -> None:
    """A signal that only wakes."""


def _supervise(asking: socket.socket) -> int:
    """In the first copy: make the second one, read which supervisor this is, and become it."""
    os.setsid()
    gate, waiting = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        asking.close()
        gate.close()
        return _work(waiting)
    waiting.close()
    asking.settimeout(PATIENCE)
    request = _read(asking)
    if request is None:  # whoever asked has gone, or thought better of it: the other copy goes too
        return 0
    asking.close()
    gate.set_inheritable(True)
    os.chdir(request["folder"])
    _write_to(request["log"])
    argv = [*request["argv"], "--worker", f"{gate.fileno()}:{pid}"]
    os.execve(argv[0], argv, request["environment"])


def _work(gate: socket.socket) -> int:
    """In the second copy: wait to be told which trainer or job this is, and be it; or leave with the supervisor."""
    request = _read(gate)
    if request is None:
        return 0
    argv, environment = request["argv"], request["environment"]
    module = argv[2]
    if _at_start(environment) != _at_start(os.environ) or module not in (processes.TRAINER, processes.JOB):
        gate.sendall(b"no\n")
        return 0
    title.become(argv, {processes.MARK: environment[processes.MARK]})
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(request["folder"])
    _write_to(request["log"])
    gate.sendall(b"yes\n")
    gate.close()
    sys.argv = argv[2:]
    return importlib.import_module(_MAIN[module]).main(argv[3:])


_MAIN = {processes.TRAINER: processes.TRAINER, processes.JOB: f"{processes.JOB}.__main__"}


def _at_start(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that is read once: by the C library, by OpenMP, where modules are imported."""
    return {name: value for name, value in environment.items() if name not in LENT}


def _read(asked: socket.socket) -> Request | None:
    """The request: a line of JSON. None where it does not come."""
    data = b""
    try:
        while not data.endswith(b"\n"):
            block = asked.recv(1 << 16)
            if not block:
                return None
            data += block
    except OSError:
        return None
    return json.loads(data)


def _write_to(log: str) -> None:
    """What this process prints goes to the end of `log`."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(handle, stream)
    os.close(handle)


def imports() -> None:
    """Import what nearly every trainer and job needs: no more, since it is kept in memory."""
    from studio import config
    from studio.bases import source
    from studio.system import lean

    for name in (*_MAIN.values(), *(f"studio.jobs.{kind}" for kind in JOBS)):
        importlib.import_module(name)
    for part in source.family_of(config.load({}).model).parts.values():
        if part.role != "scheduler":
            lean.class_of(part.library, part.classes[0])


def _import_aside() -> None:
    """`imports` where it keeps nobody from the cores: in a thread that is nice, since a process that has been nice
    may not be otherwise any more. Raises what it raises."""
    raised: list[BaseException] = []

    def nicely() -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        try:
            imports()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=nicely, name="imports")
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def main(argv: list[str]) -> int:
    """Serve. Returns the exit status, of the server or of what a copy of it has become."""
    (handle,) = title.leave_room(argv)
    control = socket.socket(fileno=int(handle))
    control.set_inheritable(False)
    title.become([sys.executable, "-m", "studio.launch.forks", handle], {})
    _import_aside()
    gc.collect()
    gc.freeze()  # what is shared stays shared
    ending = Server(control).serve()
    return ending() if ending is not None else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
