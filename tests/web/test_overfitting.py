"""Overfitting through the API: runs told by hand over the sample data set, compared by the real job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from studio import config, datasets, storage
from studio.folders import events, runs

from .conftest import Server
from .test_jobs import ended

LOSSES = {100: (0.50, 0.52), 200: (0.31, 0.30), 300: (0.40, 0.36)}  # raw, EMA


class Told:
    """A run over the sample's pictures that has finished; its samples are drawn by the test."""

    def __init__(self, home: Path, tmp: Path, *, held: bool, flips: bool = False):
        self.home = home
        self.rows = datasets.find(home, "sample").freeze()
        settings = config.load({"train": {"max_steps": 300}, "data": {"resolution": 64, "random_flip": flips}})
        about = {"dataset": {"id": "sample", "name": "Sample", "fingerprint": "f", "count": len(self.rows)}}
        made = runs.create(tmp, name="Told", owner="local", config=settings, rows=self.rows, extra=about)
        storage.write_json(made.process_file, {"attempt": 1, "pid": 1, "start_time": None, "began": 1.0})
        self.run = runs.Run(home / "runs" / made.id)
        (home / "runs").mkdir(exist_ok=True)
        made.path.rename(self.run.path)
        with_events = events.EventWriter(self.run.events_file)
        with_events.add("attempt", attempt=1, total_steps=300, pictures=1, device="cpu", precision="no", threads=1,
                        versions={})
        for step, losses in LOSSES.items():
            for weights, loss in zip(("raw", "ema"), losses, strict=True):
                if held:
                    with_events.validation(step, loss, weights, 8)
            (self.run.checkpoints / f"checkpoint-{step}").mkdir()
            with_events.add("checkpoint", step=step, name=f"checkpoint-{step}", bytes=1, seconds=1.0, ok=True,
                            error=None)
        with_events.close()

    def sample(self, step: int, index: int, picture: Image.Image, weights: str = "ema") -> None:
        """A sample as the trainer leaves it."""
        file = f"step-{step:06d}-p{index}-{weights}.webp"
        picture.save(self.run.samples / file, lossless=True)
        writer = events.EventWriter(self.run.events_file)
        writer.add("sample", step=step, prompt_index=index, prompt="a cat", weights=weights, file=file, seed=1,
                   guidance_scale=4.0, num_inference_steps=5, requested=False)
        writer.close()

    def training(self, place: int) -> Image.Image:
        """A training picture as the model sees it."""
        with Image.open(datasets.picture_path(self.home, self.rows[place])) as opened:
            return ImageOps.fit(opened.convert("RGB"), (64, 64))


@pytest.fixture
def noise() -> Image.Image:
    """A picture like no other."""
    cells = np.random.default_rng(3).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((64, 64), Image.Resampling.BICUBIC)


def compared(api: httpx.Client, told: Told) -> dict[str, Any]:
    """The view once everything is compared."""
    answer = api.post(f"/api/runs/{told.run.id}/overfitting")
    assert answer.status_code == 202 and answer.json()["light"], answer.text
    assert ended(api, answer.json())["state"] == "finished"
    return api.get(f"/api/runs/{told.run.id}/overfitting").json()


def test_the_lowest_held_out_loss_is_recommended_and_copies_are_shown(
        server: Server, api: httpx.Client, tmp_path: Path, noise: Image.Image) -> None:
    told = Told(server.home, tmp_path, held=True)
    copy = ImageEnhance.Brightness(told.training(5)).enhance(0.95)
    for step, index, picture in ((200, 0, copy), (200, 1, noise), (300, 0, noise)):
        told.sample(step, index, picture)
    before = api.get(f"/api/runs/{told.run.id}/overfitting").json()
    assert (before["count"], before["measured"], before["job"]) == (3, 0, None)
    assert before["recommended"] == {"checkpoint": "checkpoint-200", "step": 200, "weights": "ema", "loss": 0.3,
                                     "why": "validation", "copies": 0, "pictures": 0}
    found = compared(api, told)
    assert found["measured"] == 3 and (found["recommended"]["copies"], found["recommended"]["pictures"]) == (1, 2)
    assert found["validation"]["raw"] == {"best": {"step": 200, "loss": 0.31}, "last": {"step": 300, "loss": 0.4},
                                          "risen": True}
    assert [(s["step"], s["prompt_index"], s["copy"]) for s in found["samples"]] == [
        (300, 0, False), (200, 0, True), (200, 1, False)]
    known, other = found["samples"][1:]
    assert known["nearest"]["name"] == told.rows[5]["name"] and known["distance"] < 0.5 * known["usual"] < 30
    assert known["bits"] <= 8 and other["distance"] > known["distance"]
    assert api.get(known["nearest"]["url"]).headers["content-type"].startswith("image/")
    assert found["steps"][0] | {"distance": 0} == {"step": 200, "weights": "ema", "count": 2, "copies": 1,
                                                   "distance": 0}

    told.sample(300, 1, noise)
    file = server.home / "cache" / "likeness" / f"{told.run.id}.jsonl"
    lines = file.read_text()
    assert compared(api, told)["measured"] == 4
    assert file.read_text().startswith(lines) and len(file.read_text().splitlines()) == 4, "only what was missing"
    assert {json.loads(line)["file"] for line in file.read_text().splitlines()} == {
        path.name for path in told.run.samples.iterdir()}


def test_without_held_out_pictures_it_says_so(server: Server, api: httpx.Client, tmp_path: Path) -> None:
    told = Told(server.home, tmp_path, held=False)
    found = api.get(f"/api/runs/{told.run.id}/overfitting").json()
    assert found["validation"] == {} and found["samples"] == [] and found["steps"] == []
    assert {k: found["recommended"][k] for k in ("checkpoint", "weights", "why", "loss")} == {
        "checkpoint": "checkpoint-300", "weights": "ema", "why": "newest", "loss": None}


@pytest.mark.parametrize("flips", [True, False])
def test_a_mirrored_copy_counts_where_pictures_were_mirrored(server: Server, api: httpx.Client, tmp_path: Path,
                                                             flips: bool) -> None:
    told = Told(server.home, tmp_path, held=False, flips=flips)
    def unlike(place: int) -> float:
        return float(np.abs(np.asarray(told.training(place), float)
                            - np.asarray(ImageOps.mirror(told.training(place)), float)).mean())
    place = max(range(len(told.rows)), key=unlike)
    told.sample(300, 0, ImageOps.mirror(told.training(place)))
    assert compared(api, told)["samples"][0]["copy"] is flips
