"""Branching through the API, with the real trainer."""

from __future__ import annotations

import httpx

from .conftest import until

CONFIG = {"train": {"max_steps": 4, "batch_size": 2, "seed": 5, "mixed_precision": "no"},
          "sample": {"prompts": ["a cat"], "num_inference_steps": 2, "every_steps": 0},
          "checkpoint": {"every_steps": 2}}


def finished(api: httpx.Client, run_id: str) -> dict[str, object]:
    """The run's record once it has finished."""
    until(lambda: api.get(f"/api/runs/{run_id}").json()["state"] in ("finished", "failed", "interrupted"), 240)
    found = api.get(f"/api/runs/{run_id}").json()
    assert found["state"] == "finished", found["error"]
    return found


def test_a_run_is_branched(api: httpx.Client) -> None:
    parent = api.post("/api/runs", json={"name": "Parent", "config": CONFIG}).json()["id"]
    none = api.post(f"/api/runs/{parent}/branch", json={})
    assert none.status_code == 409 and "none yet" in none.json()["error"]["message"]
    finished(api, parent)
    made = api.post(f"/api/runs/{parent}/branch", json={"checkpoint": "checkpoint-2",
                                                        "config": {"optim": {"learning_rate": 3e-5}}})
    assert made.status_code == 201, made.text
    record = made.json()
    assert made.headers["location"] == f"/api/runs/{record['id']}" and record["name"] == "Parent, branched"
    assert record["parent"]["id"] == parent and record["config"]["optim"]["learning_rate"] == 3e-5
    done = finished(api, record["id"])
    resume = done["resumes"][0]  # type: ignore[index]
    assert resume["from_step"] == 2 and ", is 3e-05" in resume["note"]
    wrong = api.post(f"/api/runs/{parent}/branch", json={"config": {"model": {"method": "lora"}}})
    assert wrong.status_code == 422 and wrong.json()["error"]["problems"][0]["field"] == "model.method"
    for objective in ({"prediction_type": "flow"}, {"prediction_type": "banana"}, {"timestep_density": "logit_normal"}):
        learns = api.post(f"/api/runs/{parent}/branch", json={"config": {"objective": objective}})
        told = [problem["field"] for problem in learns.json()["error"]["problems"]]
        assert learns.status_code == 422 and f"objective.{next(iter(objective))}" in told, learns.text
