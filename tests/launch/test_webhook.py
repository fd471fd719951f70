"""The end of a run is told to a real receiver: tried again, never redirected, and its address stays unwritten."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from studio import config, storage
from studio.folders import events, runs
from studio.launch import Launcher, cancel, command, webhook
from studio.web.settings import SettingsError, from_environment

from .conftest import ROOT, Bench, wait_for


class Receiver(HTTPServer):
    """Answers each POST with the next of `answers`, and keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[int] = []
        self.heard: list[tuple[str, dict[str, Any]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hooks/s3cret"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        receiver: Any = self.server
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        receiver.heard.append((self.path, body))
        self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
        self.send_header("location", "/elsewhere")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the tests' output."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def test_the_supervisor_tells_of_the_end_and_tries_again(home: Path, receiver: Receiver) -> None:
    settings = config.load({"model": {"base": "/nowhere"}, "train": {"max_steps": 3}})
    run = runs.create(home, name="A <b>run</b>", owner="", config=settings, rows=[])
    receiver.answers = [503]
    done = subprocess.run([sys.executable, "-m", "studio.launch", str(run.path), "--attempt", "1"], cwd=ROOT, text=True,
                          env={**os.environ, webhook.VARIABLE: receiver.url}, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (path, first), (_, body) = receiver.heard
    assert path == "/hooks/s3cret" and {**first, "time": 0} == {**body, "time": 0}
    assert (body["event"], body["run"], body["name"], body["state"]) == ("run.ended", run.id, "A <b>run</b>", "failed")
    assert body["error"].keys() == {"code", "message", "hint"} and body["total_steps"] == 3
    assert "s3cret" not in done.stdout + done.stderr + "".join(p.read_text() for p in run.path.iterdir() if p.is_file())


def test_a_redirect_and_a_refusal_are_not_followed(home: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    run = runs.create(home, name="r", owner="", config=config.load({}), rows=[])
    monkeypatch.setenv(webhook.VARIABLE, receiver.url)
    receiver.answers = [302, 404]
    assert not webhook.after(run, 1) and not webhook.after(run, 2)
    assert [path for path, _ in receiver.heard] == ["/hooks/s3cret"] * 2
    said = capsys.readouterr().err
    assert "it answered 302" in said and "it answered 404" in said and "s3cret" not in said


def told(receiver: Receiver) -> list[tuple[str, int, str]]:
    return [(body["run"], body["attempt"], body["state"]) for _, body in receiver.heard]


def test_the_queue_tells_what_no_supervisor_did_and_nothing_twice(bench: Bench, receiver: Receiver,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(webhook.VARIABLE, receiver.url)
    waited, killed, old = bench.run(), bench.run(), bench.run()
    assert cancel(waited) and cancel(old)
    for path in old.path.iterdir():
        os.utime(path, (1.0, 1.0))
    supervisor = bench.supervise(killed, bench.argv(killed, "train"))
    bench.stepping(killed)
    supervisor.kill()
    supervisor.wait()
    bench.until(killed, "interrupted")
    for _ in range(2):  # a server, and another one after it
        launcher = Launcher(bench.home)
        launcher.tick()
        wait_for(lambda: all(run.webhook_file.exists() for run in (waited, killed)))
        launcher.tick()
        launcher.close()
    assert sorted(told(receiver)) == sorted([(waited.id, 1, "cancelled"), (killed.id, 1, "interrupted")])
    assert not webhook.after(waited, 1) and len(receiver.heard) == 2, "not by a supervisor that comes late either"


def test_a_run_that_was_trained_elsewhere_is_told_of_once_it_is_here(bench: Bench, receiver: Receiver,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(webhook.VARIABLE, receiver.url)
    found = {}
    for name, result in (("done", "finished"), ("moved", "paused")):  # as `bundle.unpack` leaves them
        run = found[name] = bench.run(name)
        writer = events.EventWriter(run.events_file)
        writer.add("attempt", attempt=1)
        writer.end(result, 3)
        writer.close()
        storage.write_json(run.process_file, {"attempt": 1})
        storage.write_json(run.exit_file, {"attempt": 1, "returncode": None, "result": "paused", "error": None})
    launcher = Launcher(bench.home)
    launcher.tick()
    wait_for(found["done"].webhook_file.exists)
    launcher.tick()
    launcher.close()
    assert told(receiver) == [(found["done"].id, 1, "finished")]
    assert webhook.owed(found["moved"]) is None, "it only waits to go on here"


def test_only_a_supervisor_knows_the_address(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(webhook.VARIABLE, "https://example.org/s3cret")
    run = runs.create(home, name="r", owner="", config=config.load({}), rows=[])
    assert command.supervisor_environment()[webhook.VARIABLE]
    assert webhook.VARIABLE not in command.trainer_environment(run, run.config(), 0)
    assert webhook.VARIABLE not in command.environment()


@pytest.mark.parametrize("url", ["ftp://a/b", "example.org", "http://", "file:///etc/passwd", "http://a:x/"])
def test_a_wrong_address_is_said_at_the_start(url: str) -> None:
    with pytest.raises(SettingsError, match="STUDIO_WEBHOOK_URL must be a whole address"):
        from_environment(env={webhook.VARIABLE: url})
