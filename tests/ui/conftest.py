"""A real server and a real browser for the tests of the pages."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from studio import config, storage
from studio.folders import events, runs

from ..measured import know
from ..warmed import sharing

ROOT = Path(__file__).resolve().parents[2]
TOLD_STEPS = 2500


class Server:
    """`python app.py` on a free port over a home of its own, which knows this machine; may be killed and started again
    on the same port."""

    def __init__(self, home: Path, program: Path = ROOT):
        know(home)
        self.home, self.program, self.port, self.process = home, program, 0, None

    def start(self) -> None:
        """Start it and wait until the pages are there."""
        log = open(self.home.parent / "server.log", "ab")  # noqa: SIM115  the process keeps it
        env = {**os.environ, "STUDIO_HOME": str(self.home), "STUDIO_AUTH": "none"}
        command = [sys.executable, "app.py", "--port", str(self.port), "--home", str(self.home)]
        self.process = subprocess.Popen(command, cwd=self.program, stdout=log, stderr=log, **sharing(env))
        log.close()
        deadline = time.monotonic() + 180  # a shared machine may be slow; nothing here is about time
        while time.monotonic() < deadline:
            text = (self.home.parent / "server.log").read_text()
            found = re.findall(r"http://127\.0\.0\.1:(\d+)/", text)
            if found:
                self.port = int(found[-1])
                if self._ready():
                    return
            assert self.process.poll() is None, text
            time.sleep(0.1)
        raise AssertionError((self.home.parent / "server.log").read_text())

    def kill(self) -> None:
        """End it as a crash would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A studio with nothing in it; live runs are cancelled at the end."""
    home = tmp_path_factory.mktemp("studio") / "home"
    home.mkdir()
    running = Server(home)
    running.start()
    yield running
    _end_runs(running)
    running.kill()


@pytest.fixture
def told(server: Server, tmp_path: Path) -> Callable[..., runs.Run]:
    """Makes a paused run of 2,500 steps that was resumed once, with sample pictures before, at 1,000 and at 2,000."""
    return teller(server, tmp_path)


def teller(server: Server, elsewhere: Path) -> Callable[..., runs.Run]:
    """What makes runs of that kind in the home of `server`, by way of a folder `elsewhere`."""
    def make(name: str, *, exact: bool = True, at: int = 1) -> runs.Run:
        settings = config.load({"train": {"max_steps": 5000}})
        run = runs.create(elsewhere, name=name, owner="local", config=settings, rows=[])  # elsewhere: nobody starts it
        storage.write_json(run.process_file, {"attempt": 1, "pid": 1, "start_time": None, "began": 1.0})
        writer = events.EventWriter(run.events_file)
        writer.add("attempt", attempt=1, total_steps=5000, pictures=1, device="cpu", precision="no", threads=1,
                   versions={})
        for step in range(TOLD_STEPS + 1):
            if step:
                writer.step(step, 50.0 if step == 700 else at / (1 + step / 500), 1e-4, 0.5, 4, 0.1)
            if step % 1000 == 0:
                _draw(run, writer, step)
            if step == 1200:
                writer.add("resumed", from_step=1200, checkpoint="checkpoint-1200", exact=exact,
                           note=None if exact else config.differs("threads", 2, 4))
        writer.end("paused", TOLD_STEPS)
        writer.close()
        (server.home / "runs").mkdir(exist_ok=True)
        return runs.Run(run.path.rename(server.home / "runs" / run.id))
    return make


def _draw(run: runs.Run, writer: events.EventWriter, step: int) -> None:
    run.samples.mkdir(exist_ok=True)
    for weights in ("raw", "ema"):
        name = f"step-{step:06d}-p0-{weights}.webp"
        Image.new("RGB", (64, 64), (step // 10, 90, 120)).save(run.samples / name)
        writer.add("sample", step=step, prompt_index=0, prompt="a <b>fox</b>", weights=weights, file=name, seed=7,
                   guidance_scale=7.5, num_inference_steps=20)


@pytest.fixture
def page(browser: Browser, server: Server, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A fresh visitor. After the test: nothing left this host, no script ran from a text, no error in the console."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    requests: list[str] = []
    errors: list[str] = []
    opened.on("request", lambda sent: requests.append(sent.url))
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    started = server.process
    opened.goto(server.url)
    opened.locator("#notice dl.st-facts >> nth=0").wait_for()  # the form has been checked once
    yield opened
    ours = urlsplit(server.url).netloc
    foreign = [u for u in requests if urlsplit(u).scheme in ("http", "https", "ws") and urlsplit(u).netloc != ours]
    canary = opened.evaluate("window.canary ?? null")
    context.close()
    assert not foreign, foreign
    assert canary is None, "a text was run as a script"
    lost = server.process is not started or request.node.get_closest_marker("broken_line")
    known = EXPECTED + (LOST if lost else ())
    assert not [e for e in errors if not any(k in e for k in known)], errors


# What is written when a test asks for something missing or wrong, leaves a loading page, or kills the server.
EXPECTED = ("400 (Bad Request)", "404 (Not Found)", "422 (Unprocessable Entity)", "AbortError: signal is aborted",
            "Connection errored out")
LOST = ("net::ERR_", "network error", "Unexpected error Connec", "503 (Service Unavailable)")


def _end_runs(running: Server) -> None:
    import json

    with urllib.request.urlopen(f"{running.url}/api/runs") as answer:
        items = json.load(answer)["items"]
    for run in (r for r in items if "cancel" in r["actions"]):
        request = urllib.request.Request(f"{running.url}/api/runs/{run['id']}/cancel", data=b"{}", method="POST",
                                         headers={"content-type": "application/json"})
        urllib.request.urlopen(request).close()
        lock = running.home / "runs" / run["id"]
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and not (lock / "exit.json").exists():
            time.sleep(0.2)
