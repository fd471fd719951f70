"""A limited process from outside (start, ask, wait with a limit) and from inside (limits, confinement, answers)."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO, BinaryIO

from studio.errors import StudioError
from studio.limited import confine, ipc
from studio.limited.ipc import Received
from studio.messages import Message

NOWHERE = Path("/")  # where a process works that writes nothing
SECONDS = 30.0  # that an answer may take, whatever it waits for


class NoAnswer(StudioError):
    """A limited process that gave no answer; the message says why, of what it was given: "it took longer than ..."."""


class LimitedProcess:
    """The program `module`, which `serve`s or `enter`s, started when first asked. Not for several threads at once.

    It can change `folder` (None: nothing) and read `read`, beside its own program; with `network` it reaches the Hub
    and nothing else. `settings` are more variables for its environment.
    """

    def __init__(self, module: str, folder: Path | None, read: Sequence[Path] = (), *, network: bool = False,
                 seconds: float = SECONDS, settings: Mapping[str, str] = MappingProxyType({})):
        self.module, self.folder, self.read = module, folder, read
        self.network, self.seconds, self.settings = network, seconds, settings
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: Mapping[str, object]) -> Received:
        """The answer to a request. Raises NoAnswer; the next request then starts a new process."""
        process = self.started()
        assert process.stdin and process.stdout
        answer: Received | None = None
        late = threading.Event()

        def end_late() -> None:
            late.set()
            process.kill()

        watch = threading.Timer(self.seconds, end_late)
        watch.start()
        try:
            with contextlib.suppress(BrokenPipeError):
                ipc.send(process.stdin, request)
                answer = ipc.receive(process.stdout)
        finally:
            watch.cancel()
        if answer is None:
            why = self._death(process)
            if late.is_set():
                why = Message("it took longer than {seconds:.0f} s", seconds=self.seconds)
            raise NoAnswer(why)
        return answer

    def started(self) -> subprocess.Popen[bytes]:
        """The process, started and confined where it was not yet."""
        if self._process is not None:
            return self._process
        folder = self.folder or NOWHERE
        self._process = subprocess.Popen(
            command(self.module), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=folder,
            env={**confine.environment(folder, network=self.network), **self.settings})
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # it is asked next, and then found dead
            ipc.send(self._process.stdin, {"folder": _hex(folder), "writes": bool(self.folder),
                                           "read": list(map(_hex, self.read)), "network": self.network})
        return self._process

    def close(self) -> None:
        """End the process."""
        if self._process is None:
            return
        self._process.kill()
        close(self._process.stdin)
        close(self._process.stdout)
        self._process.wait()
        self._process = None

    def __enter__(self) -> LimitedProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _death(self, process: subprocess.Popen[bytes]) -> str:
        """Why a process that says nothing more is gone; one that lives on after nonsense is ended."""
        deadline = time.monotonic() + 1.0
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        code = process.poll()
        self.close()
        if code == -signal.SIGXCPU:
            return Message("it took too much processor time")
        return Message("it made its reader stop (exit {code}): damaged, or made to do harm", code=code)


class LimitedProcessPool:
    """Limited processes of one program that read a folder each, and stay for a while after their last answer. For any
    number of threads."""

    def __init__(self, module: str, most: int = 2, idle: float = 60.0, seconds: float = SECONDS):
        self.module, self.most, self.idle, self.seconds = module, most, idle, seconds
        self._lock = threading.Lock()
        self._open: dict[Path, _PooledProcess] = {}

    def ask(self, folder: Path, request: Mapping[str, object]) -> Received:
        """The answer of the process that reads `folder`. Raises NoAnswer."""
        with self._lock:
            reader = self._open.pop(folder, None) or _PooledProcess(
                LimitedProcess(self.module, None, [folder], seconds=self.seconds))
            self._open[folder] = reader  # the last used at the end
            unused = [self._open.pop(first) for first in list(self._open)[: -self.most]]
        for idle in unused:
            idle.end_later(0.0)
        with reader.lock:
            try:
                return reader.process.ask(request)
            finally:
                reader.end_later(self.idle)


class _PooledProcess:
    """A process that is asked by one thread at a time."""

    def __init__(self, process: LimitedProcess):
        self.process = process
        self.lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def end_later(self, seconds: float) -> None:
        """End it when nobody asks for so long; it starts again when somebody does."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(seconds, self.end)
        self._timer.daemon = True
        self._timer.start()

    def end(self) -> None:
        """End it once it is idle."""
        with self.lock:
            self.process.close()


def command(module: str, *arguments: str) -> list[str]:
    """What starts a module of this package in a process that may not look at the folder above it."""
    return [sys.executable, "-P", str(Path(__file__).with_name("boot.py")), module, *arguments]


def ask_once(module: str, request: Mapping[str, object], folder: Path | None, read: Sequence[Path] = (), *,
             seconds: float = SECONDS) -> Received:
    """The answer of a limited process that is started for one request and ended. Raises NoAnswer."""
    with LimitedProcess(module, folder, read, seconds=seconds) as process:
        return process.ask(request)


def close(pipe: IO[bytes] | None) -> None:
    """Close a pipe, where there is one, to a process that may be dead."""
    if pipe is None:
        return
    with contextlib.suppress(BrokenPipeError):  # what was buffered for the dead process
        pipe.close()


# ---------------------------------------------------------------------------------------------------------- from inside


def enter(*, memory: int, file_bytes: int | None = None) -> tuple[Path, BinaryIO, BinaryIO]:
    """Limit and confine this process by the scope that comes first on stdin; its folder, the stream of requests and the
    stream of answers. To be called before any thread is started and before anything of a stranger's is read."""
    requests = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the messages
    scope = ipc.receive(requests)
    if scope is None:
        sys.exit(0)
    folder = _path(scope["folder"])
    limit_memory(memory)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    write: list[Path] = []
    if scope["writes"]:
        write.append(folder)
    ports: set[int] | None = None
    if scope["network"]:
        ports = confine.hub_ports()
    confine.confine(list(map(_path, scope["read"])), write, ports=ports)
    return folder, requests, answers


def serve(answer: Callable[[Received, Path], Mapping[str, object]], *, memory: int, seconds: int,
          file_bytes: int | None = None) -> None:
    """Answer requests until stdin ends, each within `seconds` of processor time."""
    folder, requests, answers = enter(memory=memory, file_bytes=file_bytes)
    while (request := ipc.receive(requests)) is not None:
        allow_processor(seconds)
        ipc.send(answers, answer(request, folder))


def limit_memory(size: int) -> None:
    """Limit this process and its children to `size` bytes of address space, where the system can (macOS cannot)."""
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (size, size))


def allow_processor(seconds: int) -> None:
    """Let this process use so many seconds of processor time from now on."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + seconds + 1, hard))


def _hex(path: Path) -> str:
    return os.fsencode(path.absolute()).hex()


def _path(text: str) -> Path:
    return Path(os.fsdecode(bytes.fromhex(text)))
