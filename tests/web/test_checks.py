"""A check through the API: the first steps and a picture in a process of its own, measured, and never a run."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from safetensors.torch import load_file, save_file

from studio.families import EMBEDDED

from .conftest import Server, Space, until
from .test_api import problem
from .test_jobs import ended

SMALL: dict[str, Any] = {"data": {"resolution": 64}, "train": {"batch_size": 2, "max_steps": 40, "seed": 5},
                         "sample": {"prompts": ["a red circle", "a blue square"], "num_inference_steps": 3}}


def test_a_check_measures_steps_and_a_picture_and_leaves_no_run(server: Server, api: httpx.Client) -> None:
    answer = api.post("/api/runs/probe", json={"config": SMALL})
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert (job["kind"], job["light"], job["name"]) == ("check", False, "Check with Sample")
    done = ended(api, job)
    assert done["state"] == "finished" and done["error"] is None and done["warnings"] == [], done
    results = {result["name"]: result for result in done["results"]}
    report, picture = results["report.json"], results["picture.webp"]
    assert 3 <= report["steps"] <= 11 and report["finite"] is True and report["loss"] > 0
    assert report["seconds_per_step"] > 0 and report["seconds_per_picture"] > 0
    assert report["seconds_to_first_step"] > 0 and report["peak_memory_bytes"] > 1e8
    assert Image.open(io.BytesIO(api.get(picture["url"]).content)).size == (64, 64)
    assert picture["prompt"] == "a red circle"

    folder = server.home / "jobs" / job["id"]
    assert sorted(p.name for p in (folder / "results").iterdir()) == ["picture.webp", "report.json"]
    kept = json.loads((folder / "results" / "report.json").read_text())
    assert kept == {name: report[name] for name in kept}
    assert not (folder / "run").exists() and not list(server.home.rglob("checkpoint-*"))
    assert api.get("/api/runs").json()["items"] == [] and not list((server.home / "runs").glob("*"))
    phases = {e["phase"] for e in api.get(f"/api/jobs/{job['id']}/events").json()["events"] if e["kind"] == "phase"}
    assert phases >= {"loading", "caching", "training", "sampling"}

    found = api.post("/api/runs/estimate", json={"config": SMALL}).json()
    assert (found["time_basis"], found["memory_basis"]) == ("measured", "measured")
    assert found["source"] == {"id": job["id"], "name": job["name"]}
    assert found["memory_bytes"] == (report["peak_gpu_bytes"] or report["peak_memory_bytes"])
    assert found["seconds"] > 40 * report["seconds_per_step"] + report["seconds_to_first_step"]


def test_a_check_says_that_the_loss_is_no_number(api: httpx.Client, tmp_path: Path) -> None:
    base = Path(shutil.copytree(EMBEDDED, tmp_path / "base"))
    file = next((base / "unet").glob("*.safetensors"))
    weights = load_file(file)
    weights["conv_in.weight"][0, 0, 0, 0] = float("nan")
    save_file(weights, file, {"format": "pt"})
    answer = api.post("/api/runs/probe", json={"config": {**SMALL, "model": {"base": str(base)}}})
    assert answer.status_code == 202, answer.text
    done = ended(api, answer.json())
    assert done["state"] == "finished", done
    report = next(r for r in done["results"] if r["name"] == "report.json")
    assert (report["finite"], report["loss"]) == (False, None)
    assert "skipped_update" in [warning["code"] for warning in done["warnings"]]


def test_a_check_can_be_cancelled_in_the_middle(server: Server, api: httpx.Client) -> None:
    slow = {**SMALL, "train": {**SMALL["train"], "batch_size": 16, "gradient_accumulation_steps": 4}}
    job = api.post("/api/runs/probe", json={"config": slow}).json()
    until(lambda: api.get(f"/api/jobs/{job['id']}").json()["phase"] in ("caching", "training"), 90)
    assert api.post(f"/api/jobs/{job['id']}/cancel").status_code == 200
    done = ended(api, job)
    assert (done["state"], done["results"], done["error"]) == ("cancelled", [], None)
    assert not (server.home / "jobs" / job["id"] / "run").exists()


def test_a_check_that_cannot_be_names_every_problem(space: Space) -> None:
    ann = space.sign_in("ann")
    answer = ann.post("/api/runs/probe", json={"config": {"train": {"batch_size": 0}, "data": {"dataset": "f" * 32}}})
    assert {p["field"] for p in problem(answer, 422)["problems"]} == {"train.batch_size", "data.dataset"}
    answer = ann.post("/api/runs/probe", json={"config": {"compute": {"num_processes": 2}}})
    assert [p["field"] for p in problem(answer, 422)["problems"]] == ["compute.num_processes"]
    problem(space.server.client().post("/api/runs/probe", json={"config": SMALL}), 401)
    assert ann.get("/api/jobs").json()["items"] == []
