"""Homes that older versions made still open: everything in them is there, imports, and resumes bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from studio import bundle
from studio.folders import runs

from ..train.golden import LAST_BITS, first_difference, maker
from ..web.conftest import start, until
from .make import tensors

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


@pytest.fixture(params=sorted(path.name for path in HERE.glob("*.zip")))
def old(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A home as an older version left it, its caches removed, and what is expected of it."""
    with zipfile.ZipFile(HERE / request.param) as packed:
        packed.extractall(tmp_path)
    return tmp_path / "home", json.loads((tmp_path / "expected.json").read_text())


def check_exact(run: runs.Run, expected: dict[str, Any], processor: str, hub: Path) -> None:
    """Go on with a run to its end: like the unbroken one, in every bit where the processor's maker is the same."""
    done = subprocess.run([sys.executable, "-m", "tests.homes.resume", str(run.path)], cwd=ROOT, capture_output=True,
                          text=True, timeout=280, env={**os.environ, "HF_HOME": str(hub), "HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    reached = json.loads(done.stdout.splitlines()[-1])
    same = processor == maker()
    steps = sorted(expected["losses"], key=int)
    assert list(reached["losses"]) == steps
    difference = first_difference([reached["losses"][step] for step in steps],
                                  [expected["losses"][step] for step in steps], 0.0 if same else LAST_BITS)
    assert difference is None, difference
    for kind in ("weights", "pixels"):
        assert reached[kind].keys() == expected[kind].keys()
        if same and torch.__version__.startswith("2.14.1"):
            assert reached[kind] == expected[kind]


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_paused_run_goes_on(old: tuple[Path, dict[str, Any]], method: str, tmp_path: Path) -> None:
    home, expected = old
    run = runs.find(home, expected[method]["run"])
    assert runs.EventReader().state(run)[0] == "paused" and not (home / "cache").exists()
    check_exact(run, expected[method], expected["processor"], tmp_path / "hub")


def test_its_bundle_imports_and_goes_on(old: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    _, expected = old
    run = bundle.unpack(tmp_path / "elsewhere", tmp_path / "bundle.zip", "local")
    check_exact(run, expected["lora"], expected["processor"], tmp_path / "hub")


@pytest.mark.parametrize("method", ["lora", "full"])
def test_what_is_downloaded_has_the_same_tensors(old: tuple[Path, dict[str, Any]], method: str, tmp_path: Path) -> None:
    """In fp32, fp16 and bf16, for diffusers, kohya's and single-file tools, and whole pipelines."""
    home, expected = old
    server = start(home, tmp_path, HF_HOME=str(tmp_path / "hub"), HF_HUB_OFFLINE="1")
    try:
        api = server.client()
        items = api.get(f"/api/runs/{expected[method]['run']}/files").json()["items"]
        hashes: dict[str, str] = {}
        for item in items:
            hashes |= tensors(item["path"], api.get(item["url"]).content)
    finally:
        server.stop()
    assert hashes == expected[method]["downloads"]


def test_everything_in_it_is_there(old: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    home, expected = old
    server = start(home, tmp_path)
    try:
        api = server.client()
        run = api.get(f"/api/runs/{expected['lora']['run']}").json()
        assert (run["name"], run["state"], run["step"]) == ("Paused", "paused", 3) and "resume" in run["actions"]
        assert [c["name"] for c in run["checkpoints"]] == ["checkpoint-3"]
        assert api.get(run["samples"][0]["url"]).headers["content-type"] == "image/webp"
        items = api.get(f"/api/runs/{run['id']}/files").json()["items"]
        assert {item["kind"] for item in items} >= {"lora", "lora-kohya", "samples", "config"}
        for item in items:
            assert len(api.get(item["url"]).content) == item["size"]
        dataset = api.get(f"/api/datasets/{expected['dataset']}").json()
        assert (dataset["name"], dataset["state"], dataset["count"]) == ("Five things", "ready", 5)
        assert dataset["fingerprint"] == expected["fingerprint"] and dataset["can_undo"]
        shown = api.get(f"/api/datasets/{dataset['id']}/images").json()["items"]
        assert shown[1]["captions"] == ["thing number one", "the first thing"]
        for picture in shown:
            assert api.get(picture["thumb"]).status_code == api.get(picture["url"]).status_code == 200
        draft = f"/api/datasets/{expected['draft']}"
        assert api.get(draft).json()["state"] == "receiving"
        api.post(f"{draft}/commit", json={})
        assert until(lambda: api.get(draft).json()["state"] == "ready", 60) and api.get(draft).json()["count"] == 5
        own = [one for one in api.get("/api/presets").json()["items"] if one["own"]]
        assert [(one["name"], one["config"]) for one in own] == [("Mine", {"lora": {"rank": 2}})]
        branched = api.post(f"/api/runs/{run['id']}/branch", json={"config": {"train": {"max_steps": 9}}})
        assert branched.status_code == 201, branched.text
        api.post(f"/api/runs/{branched.json()['id']}/cancel")
    finally:
        server.stop()
