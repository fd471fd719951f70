"""A real server that tells what its requests cost it, and raw requests to send it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

from ..measured import know
from .conftest import CLEARED, FAKES, ROOT, Server, Space, until

RUN_AS = ["bash", "-c", 'ulimit -n "$0" && exec "$@"']  # a program with so many open files


@dataclass
class Cost:
    """What requests cost: seconds of the server's processor, and the longest time its loop was held."""

    held: float
    cpu: float


class Measured:
    """A server of tests/fakes/measured.py."""

    def __init__(self, home: Path, tmp: Path, *, files: int | None = None, **env: str):
        environment = {k: v for k, v in os.environ.items() if k not in CLEARED} | {"STUDIO_WARM_START": "0"} | env
        words = [sys.executable, str(FAKES / "measured.py"), "--port", "0", "--home", str(home)]
        know(home)
        log = tmp / f"measured-{time.monotonic_ns()}.log"
        self.process = subprocess.Popen([*RUN_AS, str(files), *words] if files else words, cwd=ROOT, env=environment,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log.open("w"), text=True)
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert "http://" in line, log.read_text()
        self.port = urlsplit(next(word for word in line.split() if word.startswith("http://"))).port or 0
        self.server = Server(self.process, f"http://127.0.0.1:{self.port}", home, log, line, 0.0)
        until(lambda: self.raw(request("GET", "/readyz")).startswith(b"HTTP/1.1 200"), 120)

    def ask(self, question: str) -> dict[str, Any]:
        """One question to the meter."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{question}\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("{"):  # others are what libraries print
                return json.loads(line)
        raise AssertionError(f"the server has ended: {self.server.log.read_text()[-2000:]}")

    @contextmanager
    def measure(self) -> Iterator[Cost]:
        """What is asked inside costs so much, known when it is over."""
        spent = Cost(0.0, 0.0)
        self.ask("begin")
        yield spent
        time.sleep(0.05)  # what goes on behind an answer
        told = self.ask("end")
        spent.held, spent.cpu = told["held"], told["cpu"]

    def cost(self, *requests: bytes) -> Cost:
        """The cost of some requests, one after the other."""
        with self.measure() as spent:
            for one in requests:
                self.raw(one)
        return spent

    def raw(self, data: bytes, seconds: float = 60) -> bytes:
        """The answer to what is sent on a connection of its own, a stream's until a handler of the page has ended; what
        came of it where it breaks off."""
        answer = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as line:
            try:
                line.sendall(data)
                while (block := line.recv(1 << 16)) and b'"msg":"process_completed"' not in answer[-4096:] + block:
                    answer += block
            except ConnectionError:
                return answer
        return answer

    @property
    def memory(self) -> int:
        """Resident bytes of the server."""
        return psutil.Process(self.process.pid).memory_info().rss

    def stop(self) -> None:
        """End it."""
        self.server.stop(signal.SIGTERM)


def request(method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None) -> bytes:
    """A request as it goes over the line, after whose answer the connection ends."""
    named = {"host": "localhost", "connection": "close", **(headers or {})}
    if body is not None and "transfer-encoding" not in named:
        named["content-length"] = str(len(body))
    lines = "\r\n".join(f"{name}: {value}" for name, value in named.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n\r\n".encode("latin-1", "replace") + (body or b"")


@contextmanager
def signing_in(home: Path, tmp: Path, **env: str) -> Iterator[tuple[Measured, Space]]:
    """A measured studio with the Hub's sign-in played by tests/fakes/oauth.py, and the way to sign somebody in."""
    fake = subprocess.Popen([sys.executable, str(FAKES / "oauth.py")], stdout=subprocess.PIPE, text=True)
    assert fake.stdout
    port = fake.stdout.readline().strip()
    measured = Measured(
        home, tmp, SPACE_ID="somebody/studio", OAUTH_CLIENT_ID="studio-client", OAUTH_SCOPES="openid profile",
        OAUTH_CLIENT_SECRET="studio-client-secret-of-the-fake-0123456789",
        OPENID_PROVIDER_URL=f"http://127.0.0.1:{port}", files=None, **env)
    try:
        yield measured, Space(measured.server)
    finally:
        measured.stop()
        fake.terminate()
        fake.wait()


def cookie_of(client: httpx.Client) -> str:
    """The cookie that a client of `Space.sign_in` sends."""
    return client.headers["cookie"]
