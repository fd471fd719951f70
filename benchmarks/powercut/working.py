"""The operations of jobs and of what goes on beside a run: drawings, results, votes, the webhook, a supervisor."""

from __future__ import annotations

import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from studio import datasets, launch, storage
from studio.folders import work
from studio.folders.events import EventWriter
from studio.insight import votes as votes_
from studio.launch import webhook as webhook_
from studio.web.access import LOCAL
from studio.web.middleware import sessions as sessions_

from .stage import Act, Stage, operation


@operation()
def jobs(stage: Stage) -> Act:
    """A drawing that borrows a checkpoint, a light job; one cancelled, one deleted."""
    made = stage.run()

    def act() -> None:
        drawing = stage.studio.play.draw(LOCAL, made.id, {"prompts": ["a bird"], "seeds": [1]})
        stage.mark("drawing")
        light = stage.studio.health.measure(LOCAL, datasets.every(stage.home)[-1].id)
        stage.mark("measuring")
        stage.studio.jobs.cancel(LOCAL, light["id"])
        stage.mark("cancelled")
        stage.studio.jobs.delete(LOCAL, light["id"])
        stage.mark("deleted")
        stage.studio.jobs.cancel(LOCAL, drawing["id"])
        stage.mark("cancelled")

    return act


@operation()
def job_results(stage: Stage) -> Act:
    """What a job makes."""
    from studio.jobs.running import RunningJob
    from studio.train.control import Controls

    folder = work.submit(stage.home, "measure", {}, name="A job", owner=LOCAL.id, light=True)
    storage.write_json(folder.process_file, {"attempt": 1, "began": time.time()})

    def act() -> None:
        events = EventWriter(folder.events_file)
        job = RunningJob(folder, folder.record(), events, Controls(folder, events, time.time()))
        part = folder.path / "part"
        for n in range(3):
            part.write_bytes(bytes([n]) * 6000)
            job.result(f"{n}.bin", part if n % 2 else bytes([n]) * 6000, "application/octet-stream")
        events.end("finished", 0)
        events.close()

    return act


@operation()
def votes(stage: Stage) -> Act:
    """Three votes."""
    made = stage.run()
    ballot = votes_.Ballot({"a": (0, 1), "b": (0, 1)}, [{"checkpoint": None}, {"checkpoint": "checkpoint-4"}])

    def act() -> None:
        for line in ({"pair": "a", "choice": "left"}, {"pair": "b", "choice": "tie"}, {"pair": "b", "choice": None}):
            votes_.cast(made.votes_file, "0" * 32, ballot, line)
            stage.mark("voted")

    return act


@operation()
def sessions(stage: Stage) -> Act:
    """Somebody signs in twice and out once."""
    store = sessions_.Store(stage.home)

    def act() -> None:
        for _ in range(2):
            secret = store.begin(LOCAL.id, {}, time.time() + 3600)
            stage.mark("signed in")
        store.end(secret)
        stage.mark("signed out")

    return act


@operation()
def webhook(stage: Stage) -> Act:
    """The end of a run is told to an address, and that it was told is kept."""
    class Ear(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    made, server = stage.run(), HTTPServer(("127.0.0.1", 0), Ear)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ["STUDIO_WEBHOOK_URL"] = f"http://127.0.0.1:{server.server_port}/"

    def act() -> None:
        assert webhook_.after(made, 1)
        stage.mark("told")

    return act


@operation()
def supervise(stage: Stage) -> Act:
    """An attempt from its beginning to its end, of a program that ends at once."""
    made = stage.run(state="queued")

    def act() -> None:
        assert launch.supervise(made, 1, [sys.executable, "-c", ""])
        stage.mark("ended")

    return act
