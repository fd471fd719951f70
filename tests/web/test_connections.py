"""Many connections, slow ones and such as never end: the studio answers others meanwhile, and lets honest ones be."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import resource
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from studio.web.middleware.capacity import Limits
from studio.web.middleware.connections import LimitedProtocol, Pool

from .conftest import until
from .measuring import Measured, request

MIB = 1 << 20
CROWD = 1100
FILES = 1024  # that the server may have open
SECONDS = 2.0  # in which the others are answered
BIG = "/static/vendor/swagger-ui/swagger-ui-bundle.js"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    """A workstation's studio under `ulimit -n 1024`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2 * CROWD:
        pytest.skip("this machine lets no process open that many connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * CROWD), hard))
    tmp = tmp_path_factory.mktemp("connections")
    running = Measured(tmp / "home", tmp, files=FILES)
    running.raw(request("GET", "/"))
    running.raw(request("POST", "/api/runs/check", {"content-type": "application/json"}, b'{"config":{}}'))
    yield running
    running.stop()


def joined(number: int) -> bytes:
    """A page's event, whose session is then listened to by `listening`."""
    body = json.dumps({"data": ["sample"], "fn_index": 22, "session_hash": f"s{number}"}).encode()
    return request("POST", "/gradio_api/queue/join", {"content-type": "application/json"}, body)


def open_line(measured: Measured, kind: str, number: int) -> socket.socket:
    """One connection of a kind, left open."""
    line = socket.socket()
    if kind == "never read":
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.settimeout(20)
    line.connect(("127.0.0.1", measured.port))
    line.sendall({
        "half a head": b"GET / HTTP/1.1\r\nhost: localhost\r\nx: ",
        "nothing": b"",
        "a byte now and then": b"POST /api/runs/check HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                               b"content-length: 5000\r\n\r\n{",
        "a chunk now and then": b"POST /api/datasets HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; "
                                b"boundary=b\r\ntransfer-encoding: chunked\r\n\r\n1\r\n-\r\n",
        "never read": f"GET {BIG} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode() * 3,
        "idle": b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "event streams": f"GET /gradio_api/queue/data?session_hash=s{number % 150} HTTP/1.1\r\nhost: localhost\r\n\r\n"
                         .encode(),
    }[kind])
    return line


@pytest.mark.parametrize("kind", ["half a head", "nothing", "a byte now and then", "a chunk now and then", "never read",
                                  "idle", "event streams"])
def test_a_crowd_keeps_nobody_out(measured: Measured, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    before, lines = measured.memory, []
    if kind == "event streams":  # each is joined twice: an answer that is heard ends its stream, so the other one stays
        for number in range(150):
            measured.raw(joined(number))
    try:
        for number in range(CROWD):
            with contextlib.suppress(ConnectionError):
                lines.append(open_line(measured, kind, number))
        for line in lines if "now and then" in kind else []:
            with contextlib.suppress(OSError):
                line.sendall(b" ")
        asked = (request("GET", "/healthz"), request("GET", "/"), request("GET", "/api/runs?limit=5"),
                 request("POST", "/api/runs/check", {"content-type": "application/json"}, b'{"config":{}}'))
        answers, took = [], []
        for one in asked:
            began = time.monotonic()
            answers.append(measured.raw(one, 30)[:15])
            took.append(time.monotonic() - began)
        files, grown = psutil.Process(measured.process.pid).num_fds(), measured.memory - before
    finally:
        for line in lines:
            line.close()
    with capsys.disabled():
        print(f"\n{CROWD} x {kind}: {', '.join(f'{t:.2f}' for t in took)} s, {files} files, +{grown / MIB:.0f} MiB")
    assert answers == [b"HTTP/1.1 200 OK"] * 4
    assert took[0] < SECONDS and max(took) < 5 * SECONDS  # the others wait for processors that tests share
    assert files < FILES - 100 and grown < 100 * MIB
    assert "Too many open files" not in measured.server.log.read_text()


def test_a_person_at_work_is_not_thrown_out(measured: Measured) -> None:
    """A slow upload and a download under way live through a flood of connections that ask for nothing."""
    part = b"--b\r\ncontent-disposition: form-data; name=files; filename=a.txt\r\n\r\n"
    upload = socket.create_connection(("127.0.0.1", measured.port), timeout=60)
    upload.sendall(b"POST /api/datasets HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: %d\r\n"
                   b"content-type: multipart/form-data; boundary=b\r\n\r\n" % (len(part) + 40_000 + 9) + part)
    download = socket.create_connection(("127.0.0.1", measured.port), timeout=60)
    download.sendall(request("GET", BIG))
    lines = []
    try:
        for number in range(40):
            upload.sendall(b"a" * 1000)
            assert download.recv(5000)
            for _ in range(CROWD // 40):
                lines.append(open_line(measured, "half a head", number))
        upload.sendall(b"\r\n--b--\r\n")
        assert upload.recv(100).startswith(b"HTTP/1.1 201")
        while download.recv(1 << 16):
            pass
    finally:
        for line in (*lines, upload, download):
            line.close()


def test_what_is_no_request_is_refused_in_words(measured: Measured) -> None:
    for data, status, words in (
            (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 200 + b"\r\n", b"431", b"too many lines"),
            (b"GET / HTTP/1.1\r\nx: " + b"y" * 40_000 + b"\r\n\r\n", b"431", b"too large"),
            (b"GET /" + b"y" * 40_000, b"431", b"too large"), (b"\x16\x03\x01\x02", b"400", b"no HTTP request"),
            (b"nonsense\r\n\r\n", b"400", b"no HTTP"), (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"400", b"no HTTP"),
            (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\ncontent-length: 8\r\n\r\n", b"400", b"no HTTP")):
        answer = measured.raw(data)
        assert answer[9:12] == status and words in answer, (data[:60], answer)
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["hint"]


def test_several_requests_at_once_are_answered_in_turn(measured: Measured) -> None:
    one = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
    body = b"POST /api/runs/check HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    whole = body + b"content-length: 13\r\n\r\n" + b'{"config":{}}'
    chunked = body + b"transfer-encoding: chunked\r\n\r\n" + b"".join(
        b"1\r\n%c\r\n" % c for c in b'{"config":{}}') + b"0\r\n\r\n"
    answer = measured.raw(one * 3 + whole + one + chunked + chunked + one * 2 + request("GET", "/api/session"))
    assert answer.count(b"HTTP/1.1 200 OK") == 10 == answer.count(b"HTTP/1.1 "), answer[-300:]
    for size in (1, 7):  # a byte at a time as well
        with socket.create_connection(("127.0.0.1", measured.port), timeout=60) as line:
            for place in range(0, len(data := chunked + whole + request("GET", "/healthz")), size):
                line.sendall(data[place : place + size])
            answer = b""
            while block := line.recv(1 << 16):
                answer += block
        assert answer.count(b"HTTP/1.1 200 OK") == 3, answer


# ------------------------------------------------------------------------------- time-outs, on a server of small ones

QUICK = Limits(connections=8, head=0.6, keep_alive=0.6, window=1.0, least=2000, linger=0.5, unsent=4 << 20)


class Quick:
    """An app of three routes on a server with short limits, in a thread."""

    def __init__(self) -> None:
        self.pool, self.ended = Pool(QUICK), threading.Event()
        config = uvicorn.Config(
            self._app, http=functools.partial(LimitedProtocol, self.pool), loop="asyncio", ws="none", lifespan="off",
            interface="asgi3", log_config=None, access_log=False, timeout_keep_alive=60)
        self.server, self.socket = uvicorn.Server(config), socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)
        self.thread.start()

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path == "/upload":
            data = b"".join([chunk async for chunk in Request(scope, receive).stream()])
            await PlainTextResponse(str(len(data)))(scope, receive, send)
        elif path == "/download":
            try:
                await StreamingResponse(b"a" * 65_536 for _ in range(100))(scope, receive, send)
            finally:
                self.ended.set()
        elif path == "/work":
            await asyncio.sleep(3)
            await PlainTextResponse("done")(scope, receive, send)
        else:
            await PlainTextResponse("early")(scope, receive, send)

    def line(self, data: bytes) -> socket.socket:
        """A connection on which this was sent."""
        line = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        line.sendall(data)
        return line


@pytest.fixture(scope="module")
def quick() -> Iterator[Quick]:
    """Ended at once, whatever is under way."""
    running = Quick()
    yield running
    running.server.should_exit = running.server.force_exit = True
    running.thread.join(20)


def ended(line: socket.socket) -> bytes:
    """What came before the server closed."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        while block := line.recv(1 << 16):
            answer += block
    return answer


HEAD = b"POST /upload HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n"


@pytest.mark.parametrize("data, answer", [
    (b"", b""), (b"GET / HTTP/1.1\r\nx", b"HTTP/1.1 408"), (HEAD, b""), (HEAD + b"a" * 1000, b""),
    (b"POST /upload HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n", b""),
    (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"HTTP/1.1 200"),
    (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\naaa", b"HTTP/1.1 200")])
def test_what_does_not_go_on_ends(quick: Quick, data: bytes, answer: bytes) -> None:
    with quick.line(data) as line:
        assert ended(line).startswith(answer)
    until(lambda: not quick.pool.open)


def test_a_slow_upload_goes_on(quick: Quick) -> None:
    with quick.line(HEAD) as line:
        for _ in range(40):
            line.sendall(b"a" * 2500)
            time.sleep(0.12)
        assert line.recv(100).startswith(b"HTTP/1.1 200")


def test_a_reader_that_stands_still_holds_nothing(quick: Quick) -> None:
    quick.ended.clear()
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.connect(("127.0.0.1", quick.port))
    line.sendall(b"GET /download HTTP/1.1\r\nhost: x\r\n\r\n")
    assert quick.ended.wait(20), "the answer is still open"
    until(lambda: not quick.pool.open)
    line.close()


def test_a_slow_reader_gets_all_of_it(quick: Quick) -> None:
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    line.settimeout(20)
    line.connect(("127.0.0.1", quick.port))
    line.sendall(b"GET /download HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    length, began = 0, time.monotonic()
    while block := line.recv(65_536):
        length += len(block)
        if time.monotonic() - began < 6:
            time.sleep(0.1)
    assert length > 100 * 65_536
    line.close()


def test_work_under_way_is_never_dropped(quick: Quick) -> None:
    """At the cap of eight: seven that work stay, the eighth that idles gives way, a ninth is told to come again."""
    work = [quick.line(b"GET /work HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n") for _ in range(7)]
    idle = quick.line(b"")
    until(lambda: len(quick.pool.open) == 8)
    work.append(quick.line(b"GET /work HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
    assert ended(idle) == b""
    with quick.line(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n") as late:
        told = ended(late)
    assert told.startswith(b"HTTP/1.1 503") and b"retry-after" in told
    assert all(ended(line).endswith(b"done") for line in work)


def test_the_limit_of_open_files_is_raised(tmp_path: Path) -> None:
    measured = Measured(tmp_path / "home", tmp_path)
    try:
        soft, hard = psutil.Process(measured.process.pid).rlimit(psutil.RLIMIT_NOFILE)
        assert soft == min(hard, 65_536) or hard == resource.RLIM_INFINITY
    finally:
        measured.stop()
