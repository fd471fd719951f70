"""README's pictures, shot from a real first run: `python tools/readme_pictures.py` (needs Chromium; five minutes).

Starts the studio on an empty home, presses Start in the browser and writes docs/*.webp as it goes.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from playwright.sync_api import Page, expect

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from pages import browser_page, studio
from quick_start import grid

WIDTH, HEIGHT = 1280, 860
LIVE = 0.75  # of the run's steps: by then two samples of each prompt stand beside the first
# Things of the sample data set that the base has never drawn.
PROMPTS = "a teapot, 3d render\nan avocado, 3d render\na pink flamingo, 3d render"
FIRST_SEED = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    parser.add_argument("--home", type=Path, help="an empty folder that keeps the run (default: one that does not)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="readme-") as folder:
        home = options.home or Path(folder)
        home.mkdir(parents=True, exist_ok=True)
        with studio(home) as (client, _), browser_page() as page:
            page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
            shoot(page, client, home, options.out)


def shoot(page: Page, client: httpx.Client, home: Path, out: Path) -> None:
    """Every picture, in the order in which a visitor would see them."""
    address = str(client.base_url)
    page.goto(f"{address}/?dataset=sample")
    expect(page.locator("#pictures figure").nth(11)).to_be_visible()
    settled(page)
    keep(page.screenshot(), out / "dataset.webp")
    page.goto(address)
    expect(page.get_by_text("Nothing is in the way.")).to_be_visible(timeout=60_000)
    settled(page)
    keep(page.screenshot(), out / "train.webp")
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/?run=*")
    run = page.url.split("run=")[1]
    await_step(page, client, run, LIVE)
    settled(page)
    keep(page.screenshot(), out / "run.webp")
    finished(page, client, home, out, await_step(page, client, run, 1))


def finished(page: Page, client: httpx.Client, home: Path, out: Path, run: dict[str, Any]) -> None:
    """What a run leaves: its sample pictures through time, before and after, and drawings of three prompts."""
    # As high as they need: what does not fit would slide below the page's header.
    page.set_viewport_size({"width": WIDTH, "height": 1500})
    page.goto(f"{client.base_url}/?run={run['id']}")
    samples = page.locator(".st-card").filter(has=page.locator("#samples"))
    shown = [sample for sample in run["samples"] if sample["weights"] == "ema" or not sample["step"]]
    expect(samples.locator("img")).to_have_count(len(shown))
    settled(page)
    keep(samples.screenshot(), out / "samples.webp")
    grid(home / "runs" / run["id"] / "samples", run["samples"], out / "before-after.webp")
    page.set_viewport_size({"width": WIDTH, "height": 1250})
    draw(page, f"{client.base_url}/?play={run['id']}&at={run['checkpoints'][0]['name']}")
    keep(page.screenshot(), out / "play.webp")


def draw(page: Page, address: str) -> None:
    """Three prompts with the base and both checkpoints."""
    page.goto(address)
    page.get_by_role("button", name="Add weights").click()
    page.get_by_label("Prompts, one a line").fill(PROMPTS)
    page.get_by_label("First seed").fill(str(FIRST_SEED))
    page.get_by_label("Pictures of each").fill("1")
    page.get_by_label("Pictures of each").blur()
    page.get_by_role("button", name="Draw 9 pictures").click()
    expect(page.locator("#play-status")).to_have_text("9 pictures.", timeout=120_000)
    page.evaluate("scrollTo(0, 0)")
    settled(page)


def await_step(page: Page, client: httpx.Client, run: str, part: float) -> dict[str, Any]:
    """The run's record once that part of its steps is made, of all of them once it is finished."""
    while True:
        record = client.get(f"/api/runs/{run}").json()
        steps = record["config"]["train"]["max_steps"]
        if record["state"] == "finished" or part < 1 and record["step"] >= part * steps:
            return record
        if record["state"] not in ("queued", "starting", "running"):
            raise SystemExit(f"the run is {record['state']}: {record['error']}")
        page.wait_for_timeout(500)


def settled(page: Page) -> None:
    """Until every picture of the page is there and nothing moves into its place any more."""
    page.wait_for_load_state("networkidle")
    page.wait_for_function("""() => [...document.images].every((one) => one.complete || one.loading === "lazy")
        && document.getAnimations().every((one) => one.playState !== "running")""")


def keep(shot: bytes, target: Path) -> None:
    """A screenshot as WebP."""
    Image.open(io.BytesIO(shot)).convert("RGB").save(target, quality=88, method=6)


if __name__ == "__main__":
    main()
