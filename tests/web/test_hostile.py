"""Hostile uploads through the API of a real server: each costs itself, quickly, and nobody's memory."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from ..datasets import bad, bombs
from ..datasets.bombs import GIB, MIB, Packed
from .conftest import Server
from .test_pictures import picture, send, settled

GOOD = {"good/a.png": picture(1), "good/a.txt": b"first", "good/b.png": picture(2)}
SERVER_MAY_GROW = 30 * MIB
DECODER_MAY_HAVE = 300 * MIB  # a third of its limit
INTAKE_MAY_HAVE = 300 * MIB


class Watch:
    """The most memory that a server, its importing and its decoding processes had while this was open."""

    def __init__(self, server: Server):
        self._server = psutil.Process(server.process.pid)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.before = self._server.memory_info().rss
        self.most = {"server": self.before, "intake": 0, "decoding": 0}

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def grown(self) -> int:
        """How much the server's memory grew."""
        return self.most["server"] - self.before

    def _look(self) -> None:
        while not self._done.wait(0.01):
            self._saw("server", self._server)
            for child in self._server.children(recursive=True):
                try:
                    words = " ".join(child.cmdline())
                except psutil.Error:
                    continue  # it has just ended
                for kind in ("intake", "decoding"):
                    if f".{kind} " in f"{words} ":
                        self._saw(kind, child)

    def _saw(self, kind: str, process: psutil.Process) -> None:
        try:
            self.most[kind] = max(self.most[kind], process.memory_info().rss)
        except psutil.Error:
            return  # it has just ended


@pytest.fixture(scope="module")
def warm(server: Server, api: httpx.Client) -> Iterator[Server]:
    """The server once its pages are loaded and it has imported something."""
    server.wait_ready()
    api.get("/api/machine")  # measured once, in a process of its own
    settled(api, send(api, list(GOOD.items())))
    yield server


def lying(path: Path) -> bytes:
    """1 GiB behind a declared 1,000 bytes, and a picture that claims to be 5 MB."""
    small = picture(3)
    return bombs.zip_of(path, [Packed("lies.png", bombs.deflated(GIB), 1000), Packed("boasts.png", small, 5 * MIB),
                               bombs.stored("true.png", picture(4))]).read_bytes()


def padded(path: Path) -> bytes:
    """1 GiB in entries each small enough, beside noise that hides the ratio of the whole."""
    packed = bombs.deflated(60 * MIB)
    entries = [Packed(f"{n}.png", packed, 60 * MIB) for n in range(17)]
    noise = bombs.stored("noise.png", os.urandom(8 * MIB))
    return bombs.zip_of(path, [*entries, noise, bombs.stored("true.png", picture(4))]).read_bytes()


def nested(path: Path) -> bytes:
    """A bomb in a zip in a zip, under its own name and under a picture's."""
    data = bombs.zip_of(path, [Packed("zeros.png", bombs.deflated(GIB), GIB)]).read_bytes()
    for _ in range(2):
        data = bombs.zip_of(path, [bombs.stored("inner.zip", data), bombs.stored("inner.png", data)]).read_bytes()
    return bombs.zip_of(path, [bombs.stored("inner.zip", data), bombs.stored("inner.png", data),
                               bombs.stored("true.png", picture(4))]).read_bytes()


def overlapping(path: Path) -> bytes:
    """Twenty entries of a harmless ratio, which all point at the same bytes."""
    packed = bombs.deflated(60 * MIB, noise=os.urandom(10_000))
    return bombs.zip_of(path, [Packed(f"{n}.png", packed, 60 * MIB) for n in range(20)], overlapping=True).read_bytes()


# name of the upload -> its bytes, what the report says of which file, and the pictures of it that are taken
CASES: dict[str, tuple[Any, ...]] = {
    "gibibyte.zip": (lambda p: bombs.zip_of(p, [Packed("zeros.png", bombs.deflated(GIB), GIB),
                                                bombs.stored("true.png", picture(4))]).read_bytes(),
                     {"gibibyte.zip": "zip bomb"}),
    "lying.zip": (lying, {"lies.png": "damaged in the zip", "boasts.png": "damaged in the zip"}, "true.png"),
    "padded.zip": (padded, {**{f"{n}.png": "200 times its size" for n in range(17)}, "noise.png": "not a picture"},
                   "true.png"),
    "overlapping.zip": (overlapping, {"overlapping.zip": "zip bomb"}),
    "nested.zip": (nested, {"inner.zip": "a zip inside an archive", "inner.png": "not a picture"}, "true.png"),
    "169-megapixels.png": (lambda p: bad.png(13000, 13000), {"169-megapixels.png": "169 MP"}),
    **{f"{kind.decode()}.png": (lambda p, kind=kind: bombs.png_with(kind, 300 * MIB),
                                {f"{kind.decode()}.png": "unpacks to more than is read"})
       for kind in (b"zTXt", b"iTXt", b"iCCP")},
    "texts.png": (lambda p: bombs.png_of_many_texts(400, MIB - 1), {"texts.png": "unpacks to more than is read"}),
    "rows.png": (lambda p: bombs.png_of_too_many_rows(GIB), {}, "rows.png"),
}


@pytest.mark.parametrize("name", CASES)
def test_it_costs_itself_alone(warm: Server, api: httpx.Client, tmp_path: Path, name: str,
                               capsys: pytest.CaptureFixture[str]) -> None:
    make, refused, *also = CASES[name]
    data = make(tmp_path / "made")
    assert len(data) < 20 * MIB
    with Watch(warm) as watch:
        began = time.monotonic()
        found = settled(api, send(api, [*GOOD.items(), (name, data)]))
        took = time.monotonic() - began
    with capsys.disabled():
        most = {kind: f"{size / MIB:.0f} MiB" for kind, size in watch.most.items()}
        print(f"\n{name}, {len(data) / 1000:.0f} KB: {took:.1f} s, server +{watch.grown / MIB:.1f} MiB, most {most}")
    report: dict[str, Any] = found["report"]
    reasons = {line["file"]: line["reason"] for line in report["skipped"]}
    assert report["error"] is None, report
    assert reasons.keys() == refused.keys(), report
    for file, words in refused.items():
        assert words in reasons[file], reasons
    assert report["seen"] == report["used"] + report["converted"] + len(report["skipped"])
    rows = {row["name"]: row["captions"] for row in api.get(f"/api/datasets/{found['id']}/images").json()["items"]}
    kept = {"good/a.png": ["first"], "good/b.png": [""]} | {file: [""] for file in also}
    assert rows == kept and found["state"] == "ready"
    assert watch.grown < SERVER_MAY_GROW
    assert 0 < watch.most["decoding"] < DECODER_MAY_HAVE and 0 < watch.most["intake"] < INTAKE_MAY_HAVE
    assert not list((warm.home / "cache" / "uploads").iterdir()) and not list((warm.home / "images").glob(".staging*"))
