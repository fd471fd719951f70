"""Before a run: estimates from what runs here took, presets for a goal and one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from studio import config, presets, storage
from studio.folders import runs
from studio.presets import GOALS, PresetInputs, config_for
from studio.system import machine

from .conftest import ROWS, Server

STEP, PICTURE, SAVE, BEGIN, PEAK = 0.5, 0.25, 2.0, 7.0, 2 << 30  # seconds, bytes
SHORT = {"train": {"max_steps": 8, "batch_size": 2}, "sample": {"prompts": ["a"], "every_steps": 4},
         "checkpoint": {"every_steps": 4}}


def past(home: Path, api: httpx.Client, device: str, asked: dict[str, Any]) -> runs.Run:
    """A finished run of these settings whose events a clock of its own has stamped."""
    resolved = api.post("/api/runs/check", json={"config": asked}).json()["config"]
    run = runs.create(home, name="An earlier run", owner="local", config=config.load(resolved), rows=ROWS)
    lines, clock = [], 1000.0

    def say(after: float, kind: str, **fields: Any) -> None:
        nonlocal clock
        clock += after
        lines.append(json.dumps({"seq": len(lines) + 1, "time": clock, "mono": clock, "kind": kind, **fields}))

    def draw(after: float, step: int, weights: str) -> None:
        say(after, "sample", step=step, prompt_index=0, prompt="a", weights=weights, file=f"{step}-{weights}.webp")

    say(0, "attempt", attempt=1, total_steps=8, pictures=1, device=device, precision="no", threads=1, versions={})
    draw(BEGIN + PICTURE, 0, "raw")
    for step in range(1, 9):
        say(STEP, "step", step=step, loss=1.0, lr=1e-4, grad_norm=1.0, pictures=2, seconds=STEP)
        if step % 4 == 0:
            draw(PICTURE, step, "raw")
            draw(PICTURE, step, "ema")
            say(SAVE, "checkpoint", step=step, name=f"checkpoint-{step}", bytes=1, seconds=SAVE, ok=True, error=None)
    say(0, "end", result="finished", step=8, error=None, peak_memory_bytes=PEAK)
    run.events_file.write_text("\n".join(lines) + "\n")
    storage.write_json(run.process_file, {"attempt": 1, "pid": 1, "start_time": None, "boot_id": None, "argv": [],
                                          "began": 0.0})
    storage.write_json(run.exit_file, {"attempt": 1, "returncode": 0, "signal": None, "oom_kill": False, "error": None,
                                       "ended": 0.0})
    return run


def estimate(api: httpx.Client, asked: dict[str, Any]) -> dict[str, Any]:
    answer = api.post("/api/runs/estimate", json={"config": asked})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_estimates_come_from_runs_that_were(server: Server, api: httpx.Client) -> None:
    first = estimate(api, SHORT)
    assert first["memory_basis"] == "weights" and first["memory_bytes"] > 1e8 and first["disk_bytes"] > 1e8
    past(server.home, api, "cpu: another processor", SHORT)
    assert estimate(api, SHORT) == first

    run = past(server.home, api, f"cpu: {machine.device(server.home)}", SHORT)
    same = estimate(api, SHORT)
    assert same["seconds"] == pytest.approx(BEGIN + 8 * STEP + 5 * PICTURE + 2 * SAVE, abs=0.02)
    assert (same["time_basis"], same["memory_basis"], same["memory_bytes"]) == ("measured", "measured", PEAK)
    assert same["source"] == {"id": run.id, "name": "An earlier run"} and same["pictures"] == 16

    longer = config.merge(SHORT, {"train": {"max_steps": 80}, "sample": {"every_steps": 0}})
    assert estimate(api, longer)["seconds"] == pytest.approx(BEGIN + 80 * STEP + 3 * PICTURE + 20 * SAVE, abs=0.02)
    wider = estimate(api, config.merge(SHORT, {"train": {"batch_size": 4}}))
    assert wider["seconds"] == pytest.approx(BEGIN + 16 * STEP + 5 * PICTURE + 2 * SAVE, abs=0.02)
    assert wider["time_basis"] == wider["memory_basis"] == "scaled" and wider["memory_bytes"] > PEAK
    assert estimate(api, config.merge(SHORT, {"model": {"method": "lora"}}))["time_basis"] == "shipped"


def test_a_first_visitor_gets_a_time_from_what_ships_with_the_base(api: httpx.Client, server: Server) -> None:
    """At the machine's measured speed, by what costs: pictures, steps, drawings; none where the figures do not hold."""
    lora = {"model": {"method": "lora"}}
    fresh = {name: config.merge(lora, asked) for name, asked in {
        "usual": {}, "twice": {"train": {"batch_size": 32}}, "longer": {"train": {"max_steps": 1200}},
        "fp32": {"train": {"mixed_precision": "no"}}, "bf16": {"train": {"mixed_precision": "bf16"}},
        "undrawn": {"sample": {"every_steps": 0}}, "text": {"model": {"train_text_encoder": True}},
        "one thread": {"compute": {"num_threads": 1}}, "two threads": {"compute": {"num_threads": 2}},
        "ranks": {"compute": {"num_processes": 2}}}.items()}
    told = {name: estimate(api, asked) for name, asked in fresh.items() if name != "ranks" or machine.cores() > 1}
    usual = told.pop("usual")
    assert usual["time_basis"] == "shipped" and usual["source"] is None
    assert 0 < usual["low_seconds"] < usual["seconds"] < usual["high_seconds"]
    assert 1.4 < told["longer"]["seconds"] / usual["seconds"] < 2 and told["twice"]["seconds"] > usual["seconds"]
    assert told["undrawn"]["seconds"] < usual["seconds"]
    assert told["one thread"]["seconds"] > told["two threads"]["seconds"]
    for unknown in filter(None, (told["text"], told.get("ranks"))):
        assert (unknown["seconds"], unknown["time_basis"], unknown["high_seconds"]) == (None, "unknown", None)
    file = server.home / "cache" / "machine.json"
    known = storage.read_json(file)
    slower = {name: 3 * seconds for name, seconds in known["facts"]["speed"].items()}
    try:
        storage.write_json(file, {**known, "facts": {**known["facts"], "speed": slower}})
        assert estimate(api, fresh["usual"])["seconds"] == pytest.approx(3 * usual["seconds"])
    finally:
        storage.write_json(file, known)


def test_an_estimate_of_what_cannot_run_names_the_faults(api: httpx.Client) -> None:
    answer = api.post("/api/runs/estimate", json={"config": {"train": {"batch_size": 0}}})
    assert answer.status_code == 422 and answer.json()["error"]["problems"][0]["field"] == "train.batch_size"


def test_every_goal_has_a_preset_that_can_run(api: httpx.Client) -> None:
    items = api.get("/api/presets", params={"dataset": "sample", "base": "embedded"}).json()["items"]
    shipped = [one for one in items if not one["own"]]
    assert [one["id"] for one in shipped] == [goal.id for goal in GOALS] and all(one["help"] for one in shipped)
    for one in shipped:
        checked = api.post("/api/runs/check", json={"config": one["config"]}).json()
        assert checked["problems"] == [], one
    assert api.get("/api/presets", params={"dataset": "0" * 32}).status_code == 404


def test_presets_follow_pictures_and_memory() -> None:
    few, many = (config_for("style", PresetInputs(n, 860_000_000, 24 << 30, "a/b")) for n in (4, 80))
    assert few["train"]["max_steps"] == 300 and many["train"]["max_steps"] == 2000
    tight, roomy = (config_for("full", PresetInputs(500, 860_000_000, size << 30, "a/b")) for size in (16, 80))
    assert tight["train"]["gradient_checkpointing"] and tight["optim"] == {"name": "adamw8bit"}
    assert "gradient_checkpointing" not in roomy["train"] and "optim" not in roomy


def test_own_presets_are_kept_and_forgotten(server: Server, api: httpx.Client) -> None:
    made = api.post("/api/presets", json={"name": "  my\nfavourite ", "config": {"lora": {"rank": 4}}})
    assert made.status_code == 201 and made.json()["name"] == "my favourite"
    file = server.home / "presets" / f"{made.json()['id']}.json"
    assert json.loads(file.read_text())["config"] == {"lora": {"rank": 4}}
    listed = [one for one in api.get("/api/presets").json()["items"] if one["own"]]
    assert [(one["name"], one["config"]) for one in listed] == [("my favourite", {"lora": {"rank": 4}})]
    wrong = api.post("/api/presets", json={"name": "x", "config": {"lora": {"rank": -1}}})
    assert wrong.status_code == 422 and wrong.json()["error"]["problems"][0]["field"] == "lora.rank"
    assert api.post("/api/presets", json={"name": " ", "config": {}}).status_code in (400, 422)
    assert api.delete(f"/api/presets/{made.json()['id']}").status_code == 204 and not file.exists()
    assert api.delete(f"/api/presets/{made.json()['id']}").status_code == 404
    assert api.delete("/api/presets/..%2f..%2fx").status_code == 404


def test_others_presets_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose a preset is, is found out once: what others keep makes nobody's list slow."""
    for number in range(3):
        presets.save(tmp_path, name=f"Eve's {number}", owner="eve", config={})
    presets.save(tmp_path, name="Ada's", owner="ada", config={})
    assert [one["name"] for one in presets.of(tmp_path, "ada")] == ["Ada's"]
    read: list[Path] = []
    monkeypatch.setattr(storage, "read_json", lambda path, real=storage.read_json: (read.append(path), real(path))[1])
    assert [one["name"] for one in presets.of(tmp_path, "ada")] == ["Ada's"] and len(read) == 1
    assert len(presets.of(tmp_path, "eve")) == 3 and len(read) == 4
