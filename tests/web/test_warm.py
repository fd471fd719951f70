"""The warm server of a studio: there for whoever is on the page, and gone with it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from studio.system import machine

from .conftest import Server, start, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no warm server elsewhere")
ENDLESS = {"data": {"resolution": 32}, "train": {"max_steps": 100_000, "batch_size": 2, "mixed_precision": "no"},
           "sample": {"prompts": []}, "checkpoint": {"every_steps": 100_000}}


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Server]:
    """A workstation's studio on a machine that is known."""
    machine.facts(tmp_path / "home")
    server = start(tmp_path / "home", tmp_path, STUDIO_WARM_START="1", STUDIO_AUTH="none")
    yield server
    if server.process.poll() is None:
        server.stop()


def warm_servers(server: Server) -> list[psutil.Process]:
    return [child for child in psutil.Process(server.process.pid).children()
            if "studio.launch.forks" in child.cmdline()]


def test_whoever_is_on_the_page_is_expected(studio: Server) -> None:
    api = studio.client()
    assert api.get("/healthz").status_code == 200 and warm_servers(studio) == []
    assert api.get("/api/session").status_code == 200
    (process,) = until(lambda: warm_servers(studio))
    until(lambda: process.num_threads() <= 2 and process.status() == psutil.STATUS_SLEEPING
          and process.memory_info().rss > 500 << 20, 120)
    job = api.post("/api/datasets/sample/health").json()
    until(lambda: api.get(f"/api/jobs/{job['id']}").json()["state"] == "finished", 120)

    run = api.post("/api/runs", json={"name": "warm", "config": ENDLESS}).json()
    until(lambda: api.get(f"/api/runs/{run['id']}").json()["step"] >= 1, 120)
    (supervisor,) = process.children()
    assert "--worker" in supervisor.cmdline() and run["id"] in " ".join(supervisor.cmdline())
    assert len(warm_servers(studio)) == 1, "one is enough"
    studio.stop()
    assert process.wait(30) is None or not process.is_running()
    assert supervisor.is_running(), "what runs lives on"
    again = start(studio.home, studio.home.parent, STUDIO_WARM_START="0", STUDIO_AUTH="none")
    client = again.client()
    client.get("/api/session")
    client.post(f"/api/runs/{run['id']}/cancel")
    until(lambda: client.get(f"/api/runs/{run['id']}").json()["state"] == "cancelled", 60)
    until(lambda: not supervisor.is_running() or supervisor.status() == psutil.STATUS_ZOMBIE)
    assert warm_servers(again) == []
    again.stop()
