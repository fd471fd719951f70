"""Turns go round between the people of a Space: nobody's work, however much and long, keeps another's from its turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from studio import launch
from studio.folders import runs

from ..fakes.hub import Hub
from ..families import tiny
from .conftest import Space, open_space, until

TURN = 8.0  # seconds
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
    supervisor, reader = launch.spawn(whole, 1), runs.EventReader()
    until(lambda: reader.history(whole).step >= steps, 120)
    launch.ask(whole, "cancel", reader)
    supervisor.wait(60)
    return {step: loss for step, loss in zip(*_columns(reader.history(whole).curve), strict=True) if step <= steps}


def _columns(curve: Any) -> tuple[list[int], list[float]]:
    return list(curve.step), list(curve.loss)


def test_work_makes_way_while_it_encodes_or_draws(crowded: Space) -> None:
    """B's run encodes for long before its first step, then B's drawing takes long: neither keeps A from a turn, and
    what each has made stays."""
    ada, bob = crowded.sign_in("ada"), crowded.sign_in("bob")
    slow = submit(bob, "encodes", 1, data={"resolution": 1024}).json()
    until(lambda: (one := record(bob, slow["id"]))["phase"] == "caching" and (one["phase_done"] or 0) > 2, 120)
    mine = submit(ada, "A's", 1).json()
    until(lambda: record(ada, mine["id"])["state"] == "finished", 200)
    said = [event for event in events(bob, slow["id"], "control") if event["result"] == "done"]
    assert said and said[0]["control"] == "pause" and "goes on by itself" in said[0]["message"]
    assert list((crowded.server.home / "cache" / "images").glob("*/*.safetensors")), "what is encoded is not lost"
    bob.post(f"/api/runs/{slow['id']}/cancel")
    until(lambda: record(bob, slow["id"])["state"] == "cancelled", 60)
    trained = submit(bob, "to draw with", 1).json()
    until(lambda: record(bob, trained["id"])["state"] == "finished", 200)
    asked = {"prompts": ["a cat"], "seeds": list(range(60)), "num_inference_steps": 50, "columns": [{}],
             "resolution": 64}
    job = bob.post(f"/api/runs/{trained['id']}/draw", json=asked).json()
    until(lambda: bob.get(f"/api/jobs/{job['id']}").json()["results"], 120)
    again = submit(ada, "A's again", 1).json()
    ended = until(lambda: (one := bob.get(f"/api/jobs/{job['id']}").json())["state"] not in LIVE and one, 120)
    assert ended["state"] == "cancelled" and ended["error"]["code"] == "turn", ended["error"]
    assert "others wait" in ended["error"]["message"] and "again" in ended["error"]["hint"]
    assert 0 < len(ended["results"]) < 60
    assert bob.get(ended["results"][0]["url"]).headers["content-type"] == "image/png"
    japanese = bob.get(f"/api/jobs/{job['id']}", headers={"accept-language": "ja"}).json()["error"]
    assert "ほかの人が待っている" in japanese["message"]
    until(lambda: record(ada, again["id"])["state"] == "finished", 120)


def test_a_download_makes_way_too(tmp_path: Path) -> None:
    """It hangs, so that nothing in the trainer hears of anything; afterwards it goes on by itself."""
    with Hub() as hub:
        hub.add("org/tiny", tiny.make(tmp_path / "tiny"))
        hub.stall_after = 1000
        network = {name: value for name, value in hub.environment(tmp_path / "hf").items() if name.startswith("HF_")}
        network.pop("HF_TOKEN", None)
        with open_space(tmp_path, STUDIO_TURN_HOURS=str(TURN / 3600), **network) as opened:
            ada, bob = opened.sign_in("ada"), opened.sign_in("bob")
            made = submit(bob, "downloads", 1, model={"base": "org/tiny"})
            assert made.status_code == 201, made.text
            slow = made.json()
            until(lambda: record(bob, slow["id"])["phase"] == "downloading", 120)
            mine = submit(ada, "A's", 1).json()
            until(lambda: record(ada, mine["id"])["state"] == "finished", 200)
            hub.stall_after = None
            done = until(lambda: (one := record(bob, slow["id"]))["state"] not in LIVE and one, 200)
            assert done["state"] == "finished" and done["step"] == 1, done["error"]
