"""Hugging Face Jobs on the loopback, beside the Hub: `with JobsHub(uploads=folder) as hub:`. A job is a process here.

What is submitted really runs: its command, with its environment and secrets, in a folder of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from .hub import WRITER, Hub, _no, _token

OWNER = {"id": "1", "name": "writer", "type": "user"}


@dataclass
class Rented:
    """A job: what was asked for, and the process that it is."""

    spec: dict[str, Any]
    folder: Path
    process: subprocess.Popen[bytes]
    ended: tuple[str, str | None] | None = None  # how the platform ended it: stage, message
    gone: bool = False

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def end(self, stage: str, message: str | None = None) -> None:
        """End it as the platform does: nothing of it is left."""
        self.ended = stage, message
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def status(self) -> dict[str, Any]:
        if self.ended:
            return {"stage": self.ended[0], "message": self.ended[1]}
        code = self.process.poll()
        return {"stage": "RUNNING" if code is None else "ERROR" if code else "COMPLETED", "message": None}


@dataclass
class JobsHub(Hub):
    """The Hub with jobs. `refuse` is the status that answers a submission; `machine` what was measured of this machine,
    so that no job has to measure it again; `library` a folder of packages that every image has."""

    jobs: dict[str, Rented] = field(default_factory=dict)
    refuse: int | None = None
    machine: Path | None = None
    library: Path | None = None

    def __exit__(self, *_: object) -> None:
        for job in self.jobs.values():
            if job.process.poll() is None:
                job.end("CANCELED")
        super().__exit__()

    def _app(self) -> FastAPI:
        app = super()._app()

        @app.get("/api/whoami-v2")
        async def whoami(request: Request) -> Response:
            return JSONResponse(OWNER) if _token(request) == WRITER else _no(401, "", "Invalid user token")

        @app.delete("/api/repos/delete")
        async def delete(request: Request) -> Response:
            asked = await request.json()
            repo = self.repos.pop(f"datasets/writer/{asked['name'].rpartition('/')[2]}")
            shutil.rmtree(repo.revisions["main"])
            return Response()

        @app.post("/api/jobs/writer")
        async def submit(request: Request) -> Response:
            if _token(request) != WRITER or self.refuse:
                return _no(self.refuse or 401, "", "Payment required or not allowed")
            return JSONResponse(self._info_of(self._start(await request.json())))

        @app.get("/api/jobs/writer")
        async def listed(request: Request) -> Response:
            wanted = [label.split("=") for label in request.query_params.getlist("label")]
            return JSONResponse([self._info_of(id_) for id_, job in self.jobs.items()
                                 if all(job.spec["labels"].get(key) == value for key, value in wanted)])

        @app.get("/api/jobs/writer/{job_id}")
        async def info(job_id: str) -> Response:
            found = self.jobs.get(job_id)
            return JSONResponse(self._info_of(job_id)) if found and not found.gone else _no(404, "", "no such job")

        @app.post("/api/jobs/writer/{job_id}/cancel")
        async def cancel(job_id: str) -> Response:
            self.jobs[job_id].end("CANCELED")
            return JSONResponse({})

        @app.get("/api/jobs/writer/{job_id}/logs")
        async def logs(job_id: str) -> Response:
            return StreamingResponse(_lines(self.jobs[job_id]), media_type="text/event-stream")

        return app

    def _start(self, spec: dict[str, Any]) -> str:
        assert self.uploads is not None
        id_ = f"job{len(self.jobs)}"
        folder = self.uploads / id_
        (folder / "home" / "cache").mkdir(parents=True)
        if self.machine:
            shutil.copy(self.machine, folder / "home" / "cache" / "machine.json")
        command = [sys.executable if word == "python" else word for word in spec["command"]]
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("STUDIO_", "PYTHONPATH"))}
        kept |= {"PYTHONPATH": str(self.library)} if self.library else {}
        with open(folder / "log", "wb") as log:
            process = subprocess.Popen(
                command, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
                env={**kept, **self.environment(folder / "hf"), **spec["environment"], **spec.get("secrets", {}),
                     "STUDIO_HOME": str(folder / "home")})
        self.jobs[id_] = Rented(spec, folder, process)
        return id_

    def _info_of(self, id_: str) -> dict[str, Any]:
        job = self.jobs[id_]
        return {"id": id_, "owner": OWNER, "status": job.status(), "labels": job.spec["labels"],
                "dockerImage": job.spec["dockerImage"], "flavor": job.spec["flavor"]}


async def _lines(job: Rented) -> AsyncIterator[str]:
    """What it prints, as server-sent events, until it has ended."""
    with open(job.log, "rb") as file:
        rest = b""
        while True:
            over = job.process.poll() is not None
            rest += file.read()
            *lines, rest = rest.split(b"\n")
            for line in lines:
                yield f"data: {json.dumps({'data': line.decode(), 'timestamp': '2026-01-01T00:00:00.000Z'})}\n\n"
            if over:
                return
            await asyncio.sleep(0.1)
