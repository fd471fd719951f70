"""Starts through the warm server (`forks.py`): seconds of imports less. Without it everything starts as it always did.

The server is reached by a pair of sockets without a name, so by nobody but who holds its other end: the launcher of a
server, whoever was started with INHERITED, and for one start each a supervisor.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypedDict

import psutil

from studio.launch import command, processes
from studio.system import machine, title

log = logging.getLogger(__name__)
ASK, START = b"?", b"+"  # what is asked of the server: an answer as soon as it can start something; a start
JOBS = ("check", "draw", "likeness", "measure", "see")  # the kinds whose imports it has; others need other libraries
INHERITED = "STUDIO_WARM_SOCKET"  # the number of a socket to a server that is shared with the parent process
ANSWER_SECONDS = 3.0  # what is asked and not answered in this time is started without the server
LEAST_FREE = 3 << 30  # bytes of memory that are free before one is started
RECENT_SECONDS = 60.0  # for which somebody who was seen is still here
AGAIN_SECONDS = 600.0  # before another is started after one that could not
SWITCH = "STUDIO_WARM_START"  # 0: there is none


class Request(TypedDict):
    """What a copy of the server is told to be: a program, in a folder, with a file for what it prints."""

    argv: list[str]
    environment: dict[str, str]
    folder: str
    log: str


class Process(Protocol):
    """What is asked of a process that was started here: as `subprocess.Popen` has it."""

    pid: int
    returncode: int | None

    def poll(self) -> int | None:
        """The exit status, as soon as there is one."""
        ...


class Server:
    """A warm server, from outside."""

    def __init__(self, control: socket.socket, process: subprocess.Popen[bytes] | None = None):
        self._control, self._process = control, process
        self._greeting: socket.socket | None = None
        self.was_ready = False
        self._ended = False

    def ready(self) -> bool:
        """Whether it has imported what it needs. Never waits."""
        if self.was_ready or self._ended:
            return not self._ended
        try:
            if self._greeting is None:
                self._greeting = self._ask(ASK)
                self._greeting.setblocking(False)
            self.was_ready = self._greeting.recv(16) == b"ready\n"
        except OSError:  # not yet, or never: it has ended
            return False
        if self.was_ready:
            self._greeting.close()
        return self.was_ready

    def lives(self) -> bool:
        """Whether there is still one; of one that is shared nobody knows."""
        return self._process is None or self._process.poll() is None

    @property
    def shared(self) -> bool:
        """Whether it is the parent process's, too."""
        return self._process is None

    def start(self, request: Request) -> Started | None:
        """Have it start a supervisor; None where it does not answer, and nothing was started."""
        asking = None
        try:
            asking = self._ask(START)
            asking.settimeout(ANSWER_SECONDS)
            word, _, pid = _line(asking).partition(" ")
            if word == "started":
                started = Started(int(pid), asking)
                _send(asking, request)
                return started
        except (OSError, ValueError, psutil.NoSuchProcess):  # it has ended, or hangs
            pass
        if asking is not None:
            asking.close()
        self.end()
        return None

    def end(self) -> None:
        """It is needed no longer; what it has started goes on."""
        self._ended = True
        if self._greeting is not None:
            self._greeting.close()
        self._control.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _ask(self, what: bytes) -> socket.socket:
        """Send the question with one end of a pair; the other end, at which the answer comes. Raises OSError."""
        here, there = socket.socketpair()
        with there:
            try:
                socket.send_fds(self._control, [what], [there.fileno()], socket.MSG_DONTWAIT)
            except OSError:
                here.close()
                raise
        return here


class Started:
    """A supervisor that a warm server has started: its end is told by the server, as long as that lives."""

    def __init__(self, pid: int, asking: socket.socket):
        self.pid = pid
        self._process = psutil.Process(pid)  # by its number and its start, since numbers are given again
        self.returncode: int | None = None
        self._asking = asking
        self._asking.setblocking(False)
        self._heard = b""

    def poll(self) -> int | None:
        """The exit status; 0 where nobody is left to tell it."""
        if self.returncode is None:
            try:
                self._hear(self._asking.recv(64))
            except BlockingIOError:
                return None
            except OSError:
                self._hear(b"")
        return self.returncode

    def _hear(self, block: bytes) -> None:
        self._heard += block
        if self._heard.endswith(b"\n"):
            self.returncode = int(self._heard.split()[1])
        elif not block:  # its server has gone
            self.returncode = self._status()
        if self.returncode is not None:
            self._asking.close()

    def _status(self) -> int | None:
        """How it has ended, without its server. Where this is the first process of a container it has come to be the
        supervisor's parent, who takes its status: else it would never be seen to end."""
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            return os.waitstatus_to_exitcode(status) if pid else None
        except ChildProcessError:
            return None if processes.lives(self._process) else 0


class Worker:
    """A trainer or a job that waits below its supervisor to be told which it is."""

    def __init__(self, told: str):
        handle, pid = map(int, told.split(":"))
        self.pid = pid
        self.returncode: int | None = None
        self._gate = socket.socket(fileno=handle)
        self._gate.set_inheritable(False)

    def begin(self, request: Request) -> bool:
        """Have it do this; where it cannot (it was started for other surroundings) it has ended, and nothing was
        done."""
        try:
            self._gate.settimeout(ANSWER_SECONDS)
            _send(self._gate, request)
            if _line(self._gate) == "yes":
                return True
        except OSError:  # it is gone, or hangs
            pass
        finally:
            self._gate.close()
        self.end()
        return False

    def poll(self) -> int | None:
        """The exit status, as soon as there is one."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
            except ChildProcessError:  # somebody else has taken it
                self.returncode = 0
        return self.returncode

    def end(self) -> None:
        """It is not needed."""
        self._gate.close()
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(self.pid, 0)
            self.returncode = -signal.SIGKILL


class Standby:
    """The warm server of a launcher: there while somebody is who may start something."""

    def __init__(self, home: Path):
        self.server = inherited()
        self._home = home
        self._expected: float | None = None  # when somebody was last seen
        self._again = 0.0  # not before, monotonic: the last one ended before it was ready

    def expect(self) -> None:
        """Somebody is here who may start something."""
        self._expected = time.monotonic()

    def look(self, training: bool) -> None:
        """Start the server where it is of use. Its imports never take the cores from a run (`training`)."""
        if self.server is not None:
            self._look_at(self.server, training)
        if self.server is None and not training and self._is_expected() and self._can_start():
            self._expected = None
            self.server = start_server(machine.cores())

    def _look_at(self, server: Server, training: bool) -> None:
        """Let go of a server that has ended, or that would import while a run trains; one that is shared is its
        owner's."""
        if server.shared or (server.lives() and (server.ready() or not training)):
            return
        if not server.was_ready and not training:
            self._again = time.monotonic() + AGAIN_SECONDS
            log.warning("the process that holds imports for others ended before it had them: see what it printed")
        server.end()
        self.server = None

    def close(self) -> None:
        """The launcher ends."""
        if self.server is not None:
            self.server.end()
            self.server = None

    def _is_expected(self) -> bool:
        if self._expected is None or time.monotonic() < self._again:
            return False
        return time.monotonic() - self._expected < RECENT_SECONDS

    def _can_start(self) -> bool:
        """With a GPU there is no server: what drives it cannot be copied. Nor where the machine is not known yet, since
        it is being measured then."""
        if sys.platform != "linux" or psutil.virtual_memory().available < LEAST_FREE:
            return False
        facts = machine.known_facts(self._home)
        return facts is not None and not facts["gpus"] and os.environ.get(SWITCH) != "0"


def start_server(threads: int) -> Server:
    """Start a server for the environment of this process, and for trainers of that many threads."""
    here, there = socket.socketpair(type=socket.SOCK_SEQPACKET)
    with there:
        argv, environment = title.with_room(
            [sys.executable, "-m", "studio.launch.forks", str(there.fileno())], command.warm_environment(threads))
        process = subprocess.Popen(argv, env=environment, pass_fds=[there.fileno()], stdin=subprocess.DEVNULL,
                                   start_new_session=True)
    return Server(here, process)


def inherited() -> Server | None:
    """The server that this process shares with its parent, where there is one."""
    handle = os.environ.get(INHERITED)
    if handle is None:
        return None
    return Server(socket.socket(fileno=os.dup(int(handle))))


def _send(asked: socket.socket, request: Request) -> None:
    asked.sendall(json.dumps(request).encode() + b"\n")


def _line(asked: socket.socket) -> str:
    """The next line of an answer, without its end; "" where none comes any more. Raises OSError after the time."""
    data = b""
    while not data.endswith(b"\n"):
        block = asked.recv(1)
        if not block:
            return ""
        data += block
    return data.decode().rstrip("\n")
