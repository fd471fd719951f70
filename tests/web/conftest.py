"""Real servers in processes of their own, homes with runs made through the public doors, and people signed in."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from studio import config
from studio.folders import events, runs

from ..fakes.hub import Hub
from ..measured import know
from ..warmed import sharing
from . import promised

ROOT = Path(__file__).resolve().parents[2]
FAKES = ROOT / "tests" / "fakes"
ROWS = [{"image": "ab" * 32, "ext": "webp", "width": 64, "height": 64, "captions": ["a cat"], "split": "train",
         "name": "cat.png"}]
CLEARED = ("SPACE_ID", "SPACE_CREATOR_USER_ID", "STUDIO_ADMINS", "STUDIO_AUTH", "STUDIO_HOST", "STUDIO_PORT",
           "STUDIO_TOKEN", "STUDIO_SPACE", "STUDIO_CONTAINER",
           "GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT", "HF_TOKEN")
DRAW = """
import sys
from diffusers import DiffusionPipeline
picture = DiffusionPipeline.from_pretrained(sys.argv[1])("a cat", num_inference_steps=2, height=64, width=64).images[0]
assert picture.size == (64, 64)
"""

# What asks without saying how long it waits: five seconds are too few where the cores are shared.
PATIENCE: httpx.Timeout = inspect.signature(httpx.request).parameters["timeout"].default
PATIENCE.connect = PATIENCE.read = PATIENCE.write = PATIENCE.pool = 60.0


@dataclass
class Server:
    """A running `python app.py`."""

    process: subprocess.Popen[str]
    url: str
    home: Path
    log: Path
    first_line: str
    answered_after: float
    clients: list[httpx.Client] = field(default_factory=list)

    def client(self, **options: Any) -> httpx.Client:
        """A client of this server, whose every answer is held against its model."""
        hooks = {"response": [promised.hold]}
        self.clients.append(httpx.Client(base_url=self.url, timeout=60, event_hooks=hooks, **options))
        return self.clients[-1]

    def wait_ready(self, seconds: float = 180) -> None:
        """Until the Gradio pages answer too."""
        until(lambda: httpx.get(f"{self.url}/readyz", timeout=30).status_code == 200, seconds)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End the server; its exit status."""
        for client in self.clients:
            client.close()
        self.process.send_signal(how)
        return self.process.wait(90)


def until(true: Callable[[], Any], seconds: float = 90) -> Any:
    """What `true` returns once it is true; fails with what it said last."""
    end, last = time.monotonic() + seconds, None
    while time.monotonic() < end:
        last = true()
        if last:
            return last
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s; last: {last!r}")


def start(home: Path, tmp: Path, *args: str, root: Path = ROOT, measured: bool = True, **env: str) -> Server:
    """`python app.py` of the studio in `root` on a free port, once /healthz answers; unless told otherwise it knows
    this machine, and shares the process from which runs and jobs start with the others of this test process."""
    if measured:
        know(home)
    environment = {k: v for k, v in os.environ.items() if k not in CLEARED} | env
    log, began = tmp / f"server-{time.monotonic_ns()}.log", time.monotonic()
    process = subprocess.Popen([sys.executable, "app.py", "--port", "0", "--home", str(home), *args], cwd=root,
                               stdout=subprocess.PIPE, stderr=log.open("w"), text=True,
                               **sharing(environment))
    assert process.stdout
    line = process.stdout.readline()
    assert "http://" in line, log.read_text()
    place = urlsplit(next(word for word in line.split() if word.startswith("http://")))
    url = f"http://127.0.0.1:{place.port}"
    until(lambda: _answers(url), 180)
    return Server(process, url, home, log, line, time.monotonic() - began)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=30).status_code == 200
    except httpx.TransportError:
        return False


def make_run(home: Path, owner: str = "local", name: str = "A run", steps: int = 0, **train: Any) -> runs.Run:
    """A run folder as its creator makes it, finished after `steps` steps where that is not 0."""
    settings = config.load({"train": {"max_steps": max(steps, 1), **train}})
    run = runs.create(home, name=name, owner=owner, config=settings, rows=ROWS,
                      extra={"dataset": {"id": "sample", "name": "Sample", "fingerprint": "f", "count": 1}})
    if steps:
        tell(run, steps)
        finish(run, steps)
    return run


def tell(run: runs.Run, steps: int, attempt: int = 1) -> None:
    """The trainer's events of an attempt with `steps` steps, without its end."""
    from studio import storage

    storage.write_json(run.process_file, {"attempt": attempt, "pid": 1, "start_time": None, "boot_id": None, "argv": [],
                                          "began": time.time()})
    writer = events.EventWriter(run.events_file)
    writer.add("attempt", attempt=attempt, total_steps=steps, pictures=1, device="cpu", precision="no", threads=1,
               versions={})
    writer.phase("training")
    for step in range(1, steps + 1):
        writer.step(step, 1.0 / step, 1e-5, 0.5, 8, 0.25)
    writer.close()


def finish(run: runs.Run, steps: int, result: str = "finished", **more: Any) -> None:
    """The trainer's last word and the supervisor's."""
    from studio import storage

    writer = events.EventWriter(run.events_file)
    writer.end(result, steps, **more)
    writer.close()
    storage.write_json(run.exit_file, {"attempt": 1, "returncode": 0, "signal": None, "oom_kill": False, "error": None,
                                       "ended": time.time()})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A workstation's studio (STUDIO_AUTH=none)."""
    tmp = tmp_path_factory.mktemp("server")
    found = start(tmp / "home", tmp)
    yield found
    found.stop()


@pytest.fixture(scope="module")
def api(server: Server) -> httpx.Client:
    """A client of it."""
    return server.client()


@dataclass
class Space:
    """A studio with Hugging Face sign-in, and the way to sign somebody in."""

    server: Server

    def sign_in(self, name: str) -> httpx.Client:
        """A browser in which `name` has signed in. Its session cookie is Secure, so it is carried by hand here."""
        browser = Browser(self.server)
        answer = browser.get("/oauth/huggingface/login")
        assert answer.status_code in (302, 307), answer.text
        answer = httpx.get(answer.headers["location"] + f"&as={name}")
        answer = browser.get(answer.headers["location"])
        assert answer.status_code in (302, 307), answer.text
        return self.server.client(headers={"cookie": browser.cookie})


class Browser:
    """Just enough of one: follows nothing, keeps cookies whether Secure or not."""

    def __init__(self, server: Server):
        self.server, self.cookie = server, ""

    def get(self, url: str) -> httpx.Response:
        """GET with the cookies so far."""
        answer = httpx.get(url if url.startswith("http") else self.server.url + url, headers={"cookie": self.cookie},
                           timeout=60)
        for line in answer.headers.get_list("set-cookie"):
            self.cookie = "; ".join(f"{m.key}={m.value}" for m in SimpleCookie(line).values())
        return answer


@contextmanager
def open_space(tmp: Path, home: Path | None = None, **env: str) -> Iterator[Space]:
    """A Space with the Hub's sign-in played by tests/fakes/oauth.py, and more variables of its environment."""
    with subprocess.Popen([sys.executable, str(FAKES / "oauth.py")], stdout=subprocess.PIPE, text=True) as fake:
        assert fake.stdout
        port = fake.stdout.readline().strip()
        found = start(home or tmp / "home", tmp, SPACE_ID="somebody/studio", OAUTH_CLIENT_ID="studio-client",
                      OAUTH_CLIENT_SECRET="studio-client-secret-of-the-fake-0123456789", OAUTH_SCOPES="openid profile",
                      OPENID_PROVIDER_URL=f"http://127.0.0.1:{port}", **{"HF_TOKEN": "hf_OWNEROFTHESPACE0123", **env})
        found.wait_ready()
        yield Space(found)
        found.stop()
        fake.terminate()


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    """A Space."""
    with open_space(tmp_path_factory.mktemp("space")) as opened:
        yield opened


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A Hub that takes uploads."""
    with Hub(uploads=tmp_path_factory.mktemp("uploads")) as running:
        yield running


@pytest.fixture(scope="module")
def studio(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A workstation's studio without a token of its own, before that Hub."""
    tmp = tmp_path_factory.mktemp("studio")
    found = start(tmp / "home", tmp, **{k: v for k, v in hub.environment(tmp / "hf").items() if k.startswith("HF_")})
    yield found
    found.stop()


def draw_elsewhere(api: httpx.Client, run_id: str, tmp: Path) -> None:
    """Download the newest checkpoint's EMA pipeline and draw with it in diffusers, in a process of its own."""
    items = api.get(f"/api/runs/{run_id}/files").json()["items"]
    newest = next(i for i in items if i["path"].endswith(".zip") and "ema" in i["path"])
    place = tmp / "pipeline.zip"
    with api.stream("GET", newest["url"]) as answer, open(place, "wb") as file:
        for block in answer.iter_bytes():
            file.write(block)
    assert place.stat().st_size == newest["size"]
    with zipfile.ZipFile(place) as packed:
        assert packed.testzip() is None
        packed.extractall(tmp / "out")
    (top,) = (tmp / "out").iterdir()
    drawn = subprocess.run([sys.executable, "-c", DRAW, str(top)], capture_output=True, text=True, timeout=200)
    assert drawn.returncode == 0, drawn.stderr[-2000:]
