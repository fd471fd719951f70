"""How much may be in hand at once: uploads of any kind cost the server little memory and leave nothing, requests that
are too many are told to wait, and nobody's crowd is somebody's loss."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from studio.web.http.errors import Busy, TooMany
from studio.web.middleware import limits

from .conftest import Space, until
from .measuring import Measured, cookie_of, request, signing_in
from .nasty import PART

MIB = 1 << 20
MAY_GROW = 100 * MIB
TYPE = {"content-type": "multipart/form-data; boundary=b"}
FIELD = PART.replace(b"; filename=%s", b"")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Measured, Space]]:
    """A studio in which people sign in, warmed up."""
    tmp = tmp_path_factory.mktemp("limits")
    with signing_in(tmp / "home", tmp, STUDIO_QUOTA_IMPORTS="1000") as (measured, space):  # quotas: test_quotas.py
        ada = space.sign_in("ada")
        ada.get("/")
        ada.post("/api/runs/check", json={"config": {}})
        ada.post("/api/datasets", files=[("files", ("a.txt", b"a"))])
        yield measured, space


@pytest.fixture(scope="module")
def ada(place: tuple[Measured, Space]) -> dict[str, str]:
    """Somebody's cookie, as a header."""
    return {"cookie": cookie_of(place[1].sign_in("ada"))}


class Watch:
    """The most memory that the server had while this was open."""

    def __init__(self, measured: Measured):
        self.measured, self.done = measured, threading.Event()
        self.before = self.most = measured.memory
        self.thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()

    @property
    def grown(self) -> int:
        return self.most - self.before

    def _look(self) -> None:
        while not self.done.wait(0.01):
            self.most = max(self.most, self.measured.memory)


def parts(part: bytes, count: int) -> Iterator[bytes]:
    """A part again and again."""
    for _ in range(count // 100):
        yield part * 100
    yield b"--b--\r\n"


def block(size: int, byte: bytes = b"a") -> Iterator[bytes]:
    """So many bytes of one kind."""
    for _ in range(size // MIB):
        yield byte * MIB


# what is sent, where it goes, and whether it is taken
UPLOADS: dict[str, tuple[Callable[[], Iterator[bytes]], str, tuple[int, ...]]] = {
    "a large file": (lambda: iter([PART % b"a.bin" + b"\r\n", *block(150 * MIB), b"\r\n--b--\r\n"]), "/api/datasets",
                     (201, 202)),
    "files without end": (lambda: parts(PART % b"a.txt", 20_000), "/api/datasets", (413,)),
    "fields without end": (lambda: parts(FIELD, 100_000), "/api/datasets", (413,)),
    "a field without end": (lambda: iter([FIELD, *block(100 * MIB)]), "/api/datasets", (413,)),
    "a part's head without end": (lambda: iter([b"--b\r\n", *block(100 * MIB)]), "/api/datasets", (400,)),
    "heads without end": (lambda: iter([b"--b\r\n", *(b"x: y\r\n" * 10_000 for _ in range(1000))]), "/api/datasets",
                          (400,)),
    "a name without end": (lambda: iter([b'--b\r\ncontent-disposition: form-data; name="', *block(100 * MIB)]),
                           "/api/datasets", (400,)),
    "before the first part": (lambda: block(100 * MIB), "/api/datasets", (400,)),
    "ends that are none": (lambda: iter([PART % b"a.bin", *block(64 * MIB, b"\r"), b"\r\n--b--\r\n"]), "/api/datasets",
                           (201, 202)),
    "a bundle of noise": (lambda: iter([PART % b"a.zip", *(os.urandom(MIB) for _ in range(64)), b"\r\n--b--\r\n"]),
                          "/api/runs/import", (422,)),
    "many bundles": (lambda: parts(PART % b"a.zip", 900), "/api/runs/import", (400,)),
    "a batch": (lambda: parts(PART % b"a.txt", 20_000), "/api/datasets/{draft}/images?commit=false", (413,)),
}
JSONS: dict[str, Callable[[], bytes]] = {
    "lists": lambda: b'{"config":{"a":[' + b"[]," * 330_000 + b"1]}}",
    "objects": lambda: b'{"config":{"a":[' + b"{}," * 330_000 + b"1]}}",
    "keys": lambda: json.dumps({"config": {f"k{i}": i for i in range(70_000)}}).encode(),
    "texts": lambda: b'{"config":{"a":[' + b'"\xf0\x9f\x98\x80",' * 140_000 + b"1]}}",
    "a text": lambda: b'{"name":"' + "😀".encode() * 250_000 + b'"}',
    "more than a megabyte": lambda: b'{"name":"' + b"a" * (50 * MIB) + b'"}',
}


@pytest.mark.parametrize("kind", UPLOADS)
def test_no_upload_costs_memory_or_leaves_anything(place: tuple[Measured, Space], ada: dict[str, str], kind: str,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    measured, _ = place
    send, path, statuses = UPLOADS[kind]
    if "{draft}" in path:
        draft = httpx.post(measured.server.url + "/api/datasets", headers=ada, json={"name": "draft"}).json()
        path = path.format(draft=draft["id"])
    with Watch(measured) as watch:
        answer = httpx.post(measured.server.url + path, headers={**ada, **TYPE}, content=send(), timeout=120)
    with capsys.disabled():
        print(f"\n{kind}: {answer.status_code}, +{watch.grown / MIB:.0f} MiB")
    assert answer.status_code in statuses, answer.text
    assert watch.grown < MAY_GROW
    if answer.status_code >= 400:
        assert answer.json()["error"]["hint"]
        assert not list((measured.server.home / "cache" / "uploads").iterdir())


@pytest.mark.parametrize("path", ["/api/runs/check", "/gradio_api/queue/join", "/api/presets", "/api/datasets"])
@pytest.mark.parametrize("kind", JSONS)
def test_no_crowd_of_documents_costs_memory(place: tuple[Measured, Space], kind: str, path: str,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    """Sixty at once, of somebody who has not signed in."""
    measured, _ = place
    body = JSONS[kind]()
    asked = request("POST", path, {"content-type": "application/json"}, body)
    answers: list[bytes] = []
    senders = [threading.Thread(target=lambda: answers.append(measured.raw(asked, 120))) for _ in range(60)]
    with Watch(measured) as watch:
        for one in senders:
            one.start()
        for one in senders:
            one.join()
    with capsys.disabled():
        print(f"\n60 x {kind} to {path}: +{watch.grown / MIB:.0f} MiB, {sorted({a[9:12] for a in answers})}")
    assert watch.grown < MAY_GROW
    assert {answer[9:12] for answer in answers} <= {b"200", b"400", b"401", b"413", b"422", b"429", b"503", b""}
    assert measured.raw(request("GET", "/healthz")).startswith(b"HTTP/1.1 200")


def test_three_uploads_of_a_person_at_once_and_others_are_served(place: tuple[Measured, Space],
                                                                 ada: dict[str, str]) -> None:
    measured, space = place
    head = request("POST", "/api/datasets", {**ada, **TYPE, "content-length": "100000"})
    lines = []
    for _ in range(3):
        line = socket.create_connection(("127.0.0.1", measured.port), timeout=60)
        line.sendall(head + PART % b"a.txt")
        lines.append(line)

    def refused() -> httpx.Response | None:  # as soon as the server has read that the three have begun
        answer = httpx.post(measured.server.url + "/api/datasets", headers=ada, files=[("files", ("a.txt", b"a"))])
        return answer if answer.status_code == 429 else None

    fourth = until(refused)
    assert fourth.headers["retry-after"] and fourth.json()["error"]["hint"]
    bob = space.sign_in("bob").post("/api/datasets", files=[("files", ("a.txt", b"a"))])
    assert bob.status_code == 201
    for line in lines:
        line.close()
    deadline = time.monotonic() + 30
    while (again := httpx.post(measured.server.url + "/api/datasets", headers=ada, files=[("files", ("a.txt", b"a"))])
           ).status_code == 429 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert again.status_code == 201


def test_nobodys_slow_bodies_are_nobodys_loss(place: tuple[Measured, Space], ada: dict[str, str]) -> None:
    """A crowd that has not signed in and sends a byte now and then keeps nobody's place but its own."""
    measured, _ = place
    head = request("POST", "/api/runs/check", {"content-type": "application/json", "content-length": "900000"})
    lines = []
    try:
        for _ in range(150):
            line = socket.create_connection(("127.0.0.1", measured.port), timeout=60)
            line.sendall(head + b"{" + b" " * 10)
            lines.append(line)
        answer = httpx.post(measured.server.url + "/api/runs/check", headers=ada, json={"config": {}}, timeout=60)
        assert answer.status_code == 200
        assert httpx.post(measured.server.url + "/api/runs/check", json={"config": {}}, timeout=60).status_code == 200
    finally:
        for line in lines:
            line.close()


def test_a_body_over_its_limit_is_refused_before_it_is_all_there(place: tuple[Measured, Space],
                                                                 ada: dict[str, str]) -> None:
    """A declared length, or too many files, are known at once: the answer comes while the body would still come."""
    measured, _ = place
    for headers, body, status in (({"content-length": str(3 << 30)}, PART % b"a.bin", b"413"),
                                  ({"content-length": "100000000"}, (PART % b"a.txt") * 1100, b"413"),
                                  ({"content-length": "100000000"}, FIELD * 40, b"413")):
        with socket.create_connection(("127.0.0.1", measured.port), timeout=30) as line:
            line.sendall(request("POST", "/api/datasets", {**ada, **TYPE, **headers}) + body)
            answer = b""
            with contextlib.suppress(ConnectionError):
                while b"}}" not in answer and (part := line.recv(1 << 16)):
                    answer += part
        assert answer[9:12] == status, answer
    assert not list((measured.server.home / "cache" / "uploads").iterdir())


@pytest.mark.parametrize("body, words", [
    (b'{"name": "\\ud800"}', "not valid JSON"), (b'{"name": 1e999}', "not valid JSON"), (b'{"name": NaN}', "not valid"),
    (b"[" * 100_000, "not valid JSON"), (b'{"a":' * 100_000, "not valid JSON"), (b"9" * 5000, "not valid JSON"),
    (b'{"a": 1, "a": 2}', "twice"), (b"\xff", "not valid JSON"), (b"1", "must be a JSON object")])
def test_documents_that_are_none(place: tuple[Measured, Space], body: bytes, words: str) -> None:
    answer = httpx.post(place[0].server.url + "/api/runs/check", content=body,
                        headers={"content-type": "application/json"})
    assert answer.status_code == 400 and words in answer.json()["error"]["message"], answer.text


def test_a_budget_is_of_one_and_of_all() -> None:
    budget = limits.Budget(of_all=100, of_one=60)
    budget.take("ada", 60)
    with pytest.raises(TooMany):
        budget.take("ada", 1)
    with pytest.raises(Busy):
        budget.take("bob", 41)
    budget.take("bob", 40)
    budget.give_back("ada", 60)
    budget.take("bob", 20)
    budget.give_back("bob", 60)
    assert not budget.taken


def test_two_uploads_do_not_fill_the_disk_together(place: tuple[Measured, Space], tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would fit alone."""
    from studio import storage
    from studio.web.http import uploads
    from studio.web.http.errors import TooLarge
    from studio.web.settings import Settings

    monkeypatch.setattr(storage, "free_bytes", lambda path: uploads.SPARE_BYTES + 100)
    first = uploads._SpaceReservation(Settings(home=tmp_path), 70)
    with pytest.raises(TooLarge, match="not enough room"):
        uploads._SpaceReservation(Settings(home=tmp_path), 70)
    first.leave()
    uploads._SpaceReservation(Settings(home=tmp_path), 70).leave()
