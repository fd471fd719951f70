"""A run that ended badly offers what puts it right, through its record."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from studio import storage
from studio.folders import events, runs

from .conftest import Server, make_run, tell


def failed(server: Server, code: str, *, result: str = "failed", checkpoint: bool = False, message: str = "m",
           **config: Any) -> runs.Run:
    """A run that ended with this error, after it perhaps saved a checkpoint."""
    run = make_run(server.home, **config)
    tell(run, 3)
    writer = events.EventWriter(run.events_file)
    if checkpoint:
        with storage.staged(run.checkpoints / "checkpoint-2", {"step": 2}) as folder:
            storage.write_json(folder / "state.json", {})
        writer.add("checkpoint", step=2, name="checkpoint-2", bytes=1, seconds=0.1, ok=True, error=None)
    writer.end(result, 3, error={"code": code, "message": message, "hint": "h", "evidence": "e"})
    writer.close()
    return run


@pytest.mark.parametrize(("code", "wanted"), [
    ("killed", [("resume", "resume", {})]), ("disk_full", [("resume_freed", "resume", {})]),
    ("gated", [("token", "resume", {})]), ("damaged_file", [("resume", "resume", {}), ("again", "again", {})]),
    ("precision", [("full_precision", "again", {"train": {"mixed_precision": "no"}})]),
    ("config", [("correct", "form", {})]), ("base_model", [("other_base", "form", {})]),
    ("cannot_resume", [("again", "again", {})])])
def test_each_cause_has_its_fix(server: Server, api: httpx.Client, code: str, wanted: list[Any]) -> None:
    record = api.get(f"/api/runs/{failed(server, code).id}").json()
    assert [(f["code"], f["how"], f["config"]) for f in record["fixes"]] == wanted
    assert "resume" in record["actions"] or all(f["how"] != "resume" for f in record["fixes"])


def test_the_form_opens_at_the_setting_that_is_faulty(server: Server, api: httpx.Client) -> None:
    said = "optim.lr_warmup_steps: the constant schedule has no warm-up; train.max_steps: set a value"
    fields = [api.get(f"/api/runs/{failed(server, code, message=message).id}").json()["fixes"][0]["field"]
              for code, message in (("config", said), ("config", "edits are no list"), ("base_model", said))]
    assert fields == ["optim.lr_warmup_steps", None, "model.base"]


def test_memory_keeps_the_effect_of_the_batch(server: Server, api: httpx.Client) -> None:
    run = failed(server, "out_of_memory", batch_size=6, gradient_accumulation_steps=2)
    batch, checkpointing, *_ = api.get(f"/api/runs/{run.id}").json()["fixes"]
    assert batch["config"] == {"train": {"batch_size": 3, "gradient_accumulation_steps": 4}}
    assert (batch["how"], batch["checkpoint"], checkpointing["code"]) == ("again", None, "checkpointing")
    odd = failed(server, "out_of_memory", checkpoint=True, batch_size=5, gradient_checkpointing=True)
    batch, *rest = api.get(f"/api/runs/{odd.id}").json()["fixes"]
    assert batch["config"] == {"train": {"batch_size": 1, "gradient_accumulation_steps": 5}}
    assert (batch["how"], batch["checkpoint"]) == ("branch", "checkpoint-2")
    assert "checkpointing" not in [fix["code"] for fix in rest]


def test_a_diverged_run_goes_on_gently_from_its_checkpoint(server: Server, api: httpx.Client) -> None:
    run = failed(server, "diverged", result="diverged", checkpoint=True, mixed_precision="bf16")
    rate, precision = api.get(f"/api/runs/{run.id}").json()["fixes"]
    assert rate["config"] == {"optim": {"learning_rate": 3e-6, "lr_multiplier": 1.0}} and rate["values"] == {
        "rate": "3e-06"}
    assert (rate["how"], rate["checkpoint"], precision["code"]) == ("branch", "checkpoint-2", "full_precision")


def test_a_token_is_lent_and_not_kept(server: Server, api: httpx.Client) -> None:
    run = failed(server, "gated")
    wrong = api.post(f"/api/runs/{run.id}/stop", json={"token": "hf_abcdefghij"})
    assert wrong.status_code == 400
    assert api.post(f"/api/runs/{run.id}/resume", json={"token": "hf_abcdefghij"}).status_code == 200
    api.post(f"/api/runs/{run.id}/cancel", json={})
    assert "hf_abcdefghij" not in "".join(p.read_text() for p in run.path.iterdir() if p.is_file())
