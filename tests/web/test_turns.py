"""Turns go round between the people of a Space: nobody's work, however much and long, keeps another's from its turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from studio import launch, runs

from .conftest import Space, open_space, until

TURN = 3.0  # seconds
TINY = {"data": {"resolution": 32}, "train": {"batch_size": 1, "seed": 5, "mixed_precision": "no"},
        "sample": {"prompts": [], "every_steps": 0}, "checkpoint": {"every_steps": 100_000}}
LIVE = ("queued", "starting", "running", "stopping")


def config(steps: int, **sections: dict[str, Any]) -> dict[str, Any]:
    """A small run of so many steps."""
    whole = {**TINY, "train": {**TINY["train"], "max_steps": steps}}
    return {**whole, **{name: {**whole.get(name, {}), **values} for name, values in sections.items()}}


def submit(client: httpx.Client, name: str, steps: int, **sections: dict[str, Any]) -> httpx.Response:
    """Ask for a run."""
    return client.post("/api/runs", json={"name": name, "config": config(steps, **sections)})


def record(client: httpx.Client, run_id: str) -> dict[str, Any]:
    """A run as its owner sees it."""
    return client.get(f"/api/runs/{run_id}").json()


def events(client: httpx.Client, run_id: str, kind: str) -> list[dict[str, Any]]:
    """A run's events of one kind."""
    told, since = [], 0
    while True:
        page = client.get(f"/api/runs/{run_id}/events?since={since}").json()
        told += [event for event in page["events"] if event["kind"] == kind]
        if page["next"] >= page["last"]:
            return told
        since = page["next"]


def losses(client: httpx.Client, run_id: str) -> dict[int, float]:
    """Each step's loss; of one that was made twice, the later one."""
    return {event["step"]: event["loss"] for event in events(client, run_id, "step")}


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    """A Space with turns of seconds, on which one person may have very many runs waiting."""
    turn = str(TURN / 3600)
    with open_space(tmp_path_factory.mktemp("crowded"), STUDIO_TURN_HOURS=turn, STUDIO_QUOTA_RUNS="60",
                    STUDIO_QUOTA_KEPT="500") as opened:
        yield opened


def test_sixty_long_runs_keep_nobody_waiting(crowded: Space, tmp_path: Path) -> None:
    """B asks for 60 long runs while one of theirs trains, then A for a run of one step: A's ends, and B's goes on
    afterwards as if nothing had been."""
    ada, bob = crowded.sign_in("ada"), crowded.sign_in("bob")
    first = submit(bob, "B's first", 100_000).json()
    until(lambda: record(bob, first["id"])["step"] > 3, 120)
    answers = [submit(bob, f"B's {n}", 10_000_000) for n in range(61)]
    assert [answer.status_code for answer in answers] == [201] * 60 + [429]
    assert "60 runs waiting, and 60 may wait" in answers[-1].json()["error"]["message"]
    mine = submit(ada, "A's only", 1).json()
    assert record(ada, mine["id"])["queue_position"] in (None, 1)  # None: it has begun already
    done = until(lambda: (one := record(ada, mine["id"]))["state"] not in LIVE and one, 120)
    assert done["state"] == "finished" and done["step"] == 1, done["error"]
    seen = record(bob, first["id"])
    assert seen["state"] in LIVE, "B's run goes on by itself"
    resumed = until(lambda: events(bob, first["id"], "resumed"), 120)
    assert resumed[0]["exact"] is True and resumed[0]["from_step"] > 3
    said = [event["message"] for event in events(bob, first["id"], "control") if event["control"] == "pause"]
    assert set(said) == {"Paused for others: it goes on by itself when its turn comes."}
    further = resumed[0]["from_step"] + 5
    until(lambda: record(bob, first["id"])["step"] >= further, 120)
    unbroken = alone(crowded, first["id"], further, tmp_path)
    broken = losses(bob, first["id"])
    assert len(unbroken) == further and {step: broken[step] for step in unbroken} == unbroken
    for waiting in bob.get("/api/queue").json()["items"]:
        bob.post(f"/api/runs/{waiting['id']}/cancel")
    bob.post(f"/api/runs/{first['id']}/cancel")


def alone(crowded: Space, run_id: str, steps: int, tmp: Path) -> dict[int, float]:
    """The first losses of the same run in a home of its own, where nothing interrupts it."""
    source, home = runs.find(crowded.server.home, run_id), tmp / "alone"
    for part in ("images", "cache/machine.json"):
        (home / part).parent.mkdir(parents=True, exist_ok=True)
        (home / part).symlink_to(crowded.server.home / part)
    whole = runs.create(home, name="unbroken", owner="local", config=source.created_config(), rows=source.rows())
    supervisor, reader = launch.spawn(whole, 1), runs.Reader()
    until(lambda: reader.story(whole).step >= steps, 120)
    launch.ask(whole, "cancel", reader)
    supervisor.wait(60)
    return {step: loss for step, loss in zip(*_columns(reader.story(whole).curve), strict=True) if step <= steps}


def _columns(curve: Any) -> tuple[list[int], list[float]]:
    return list(curve.step), list(curve.loss)
