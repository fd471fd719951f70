"""Publishing on a loopback Hub by real huggingface_hub: what arrives loads in diffusers, and no token stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from studio.folders import runs, work

from ..fakes.hub import STRANGER, WRITER, Hub
from .conftest import ROOT, Server, until

CONFIG = {"train": {"max_steps": 2, "batch_size": 2, "seed": 5, "mixed_precision": "no"},
          "sample": {"prompts": ["a <b>cat</b> | ![x](y)"], "num_inference_steps": 2, "every_steps": 0}}
ENDED = ("finished", "failed", "cancelled", "interrupted")
DRAW = """
import sys
import torch
from diffusers import DiffusionPipeline
pipeline = DiffusionPipeline.from_pretrained(sys.argv[1], use_safetensors=True, torch_dtype=torch.float32)
if len(sys.argv) > 2: pipeline.load_lora_weights(sys.argv[2], weight_name="pytorch_lora_weights.safetensors")
assert pipeline("a cat", num_inference_steps=2, height=64, width=64).images[0].size == (64, 64)
"""


@pytest.fixture(scope="module")
def api(studio: Server) -> httpx.Client:
    """A client of it."""
    return studio.client()


@pytest.fixture(scope="module")
def run_id(api: httpx.Client) -> str:
    """A real run, trained to its end."""
    made = api.post("/api/runs", json={"name": "My [cat]", "config": CONFIG}).json()
    until(lambda: api.get(f"/api/runs/{made['id']}").json()["state"] in ENDED, 240)
    assert api.get(f"/api/runs/{made['id']}").json()["state"] == "finished"
    return made["id"]


def publish(api: httpx.Client, run_id: str, **asked: Any) -> dict[str, Any]:
    """The ended job of a publication."""
    made = api.post(f"/api/runs/{run_id}/publish", json=asked)
    assert made.status_code == 202, made.text
    until(lambda: api.get(f"/api/jobs/{made.json()['id']}").json()["state"] in ENDED, 120)
    return api.get(f"/api/jobs/{made.json()['id']}").json()


def draws(*folders: Path) -> None:
    """diffusers draws with what was uploaded."""
    done = subprocess.run([sys.executable, "-c", DRAW, *map(str, folders)], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]


def holding(folder: Path, secret: str) -> list[str]:
    """The files below that hold the secret."""
    return [str(p) for p in folder.rglob("*") if p.is_file() and secret.encode() in p.read_bytes()]


def test_a_whole_model_is_published_and_loads(api: httpx.Client, studio: Server, hub: Hub, run_id: str) -> None:
    hub.busy_commits = 1
    job = publish(api, run_id, repo="writer/cats", token=WRITER)
    assert job["state"] == "finished", job
    repo = hub.repos["writer/cats"]
    folder = repo.revisions["main"]
    assert repo.private and (folder / "unet/diffusion_pytorch_model.safetensors").is_file()
    assert {p.suffix for p in folder.rglob("*") if p.is_file() and p.name != ".gitattributes"} <= {
        ".safetensors", ".json", ".txt", ".md", ".webp"}
    card = (folder / "README.md").read_text()
    assert "license: apache-2.0" in card and "# My \\[cat\\]" in card and "EMA weights of step 2" in card
    assert "<b>" not in card and "![x](y)" not in card and "`train.max_steps`" in card
    assert list((folder / "samples").glob("step-000002-p0-ema.webp"))
    draws(folder)
    assert not holding(studio.home, WRITER) and WRITER not in studio.log.read_text()
    results = {r["name"]: r for r in job["results"]}
    assert results["published.json"]["published"].endswith("writer/cats")


def test_refusals_are_in_words(api: httpx.Client, studio: Server, hub: Hub, run_id: str) -> None:
    bare = api.post(f"/api/runs/{run_id}/publish", json={"repo": "writer/x"})
    assert bare.status_code == 400 and bare.json()["error"]["code"] == "no_token"
    assert api.post(f"/api/runs/{run_id}/publish", json={"repo": "../x", "token": WRITER}).status_code == 400
    assert api.post(f"/api/runs/{run_id}/publish", json={"step": 77, "token": WRITER}).status_code == 409
    job = publish(api, run_id, repo="writer/x", token=STRANGER + "-token")
    assert job["state"] == "failed" and "may write" in job["error"]["hint"]
    assert "writer/x" not in hub.repos and not holding(studio.home, STRANGER + "-token")


# The server over the same home looks at its queue twice a second; it has no token, so the shell's own start must count.
LATE = """
import sys, time
from studio.cli import train as shell
start = shell.supervise
def late(run, attempt):
    time.sleep(3)
    return start(run, attempt)
shell.supervise = late
sys.exit(shell.main(sys.argv[1:]))
"""


def test_a_lora_is_published_at_the_end_of_its_run(studio: Server, hub: Hub, tmp_path: Path) -> None:
    config = {**CONFIG, "model": {"method": "lora"}, "hub": {"push": True, "model_id": "writer/lora", "private": False}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    env = {**os.environ, **hub.environment(tmp_path / "hf"), "STUDIO_HOME": str(studio.home)}
    bare = subprocess.run([sys.executable, "-m", "studio.train", "--config", str(tmp_path / "config.json")], cwd=ROOT,
                          capture_output=True, text=True, env={k: v for k, v in env.items() if k != "HF_TOKEN"})
    assert bare.returncode == 2 and "hub.push: there is no Hugging Face token" in bare.stderr
    done = subprocess.run([sys.executable, "-c", LATE, "--config", str(tmp_path / "config.json")], cwd=ROOT,
                          capture_output=True, text=True, env={**env, "HF_TOKEN": WRITER}, timeout=240)
    assert done.returncode == 0, done.stderr
    run = max(runs.every(studio.home), key=lambda r: r.record()["created"])
    job = until(lambda: next((j for j in work.Job.every(studio.home) if j.record()["subject"] == run.id), None))
    until(lambda: job.exit(), 120)
    assert runs.EventReader().state(job)[0] == "finished", job.log_file.read_text()
    folder = hub.repos["writer/lora"].revisions["main"]
    assert not hub.repos["writer/lora"].private and "load_lora_weights" in (folder / "README.md").read_text()
    draws(ROOT / "studio/assets/base", folder)
    assert not holding(studio.home, WRITER) and WRITER not in done.stdout + done.stderr
