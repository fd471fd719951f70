"""README's pictures, shot from a real first run: `python tools/readme_pictures.py` (needs Chromium; five minutes).

Starts the studio on an empty home, presses Start in the browser and writes docs/*.webp as it goes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import httpx  # noqa: E402
import quick_start  # noqa: E402 - the line above makes it importable from any folder

CHROMIUM = os.environ.get("STUDIO_CHROMIUM", "/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]
SIZE = {"width": 1280, "height": 860}
LIVE = 0.75  # of the run's steps: by then two samples of each prompt stand beside the first
# Things of the sample data set that the base has never drawn.
PROMPTS = "a teapot, 3d render\nan avocado, 3d render\na pink flamingo, 3d render"
FIRST_SEED = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    parser.add_argument("--home", type=Path, help="an empty folder that keeps the run (default: one that does not)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="readme-") as folder, sync_playwright() as play:
        home = options.home or Path(folder)
        home.mkdir(parents=True, exist_ok=True)
        port = quick_start.free_port()
        command = [sys.executable, str(ROOT / "app.py"), "--port", str(port), "--home", str(home)]
        with open(home / "server.log", "wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "STUDIO_AUTH": "none"})
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                quick_start.wait_for(client, "/readyz", server)
                browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
                page = browser.new_page(viewport=SIZE, color_scheme="light", locale="en-US")
                shoot(page, client, home, options.out)
                browser.close()
        finally:
            server.terminate()
            server.wait(20)


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
    await_step(page, client, run, None)
    finished(page, client, home, out, run)


def finished(page: Page, client: httpx.Client, home: Path, out: Path, run: str) -> None:
    """What a run leaves: its sample pictures through time, before and after, and drawings of three prompts."""
    # As high as they need: what does not fit would slide below the page's header.
    page.set_viewport_size({"width": SIZE["width"], "height": 1500})
    page.goto(f"{client.base_url}/?run={run}")
    samples = page.locator(".st-card").filter(has=page.locator("#samples"))
    expect(samples.locator("img")).to_have_count(16)
    settled(page)
    keep(samples.screenshot(), out / "samples.webp")
    record = client.get(f"/api/runs/{run}").json()
    quick_start.grid(home / "runs" / run / "samples", record["samples"], out / "before-after.webp")
    page.set_viewport_size({"width": SIZE["width"], "height": 1250})
    draw(page, f"{client.base_url}/?play={run}&at=checkpoint-200")
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


def await_step(page: Page, client: httpx.Client, run: str, part: float | None) -> None:
    """Until that part of the steps is made, or with None until the run has ended. A run that fails is an error."""
    while True:
        record = client.get(f"/api/runs/{run}").json()
        if record["state"] == "finished":
            return
        if record["error"]:
            raise SystemExit(f"the run failed: {record['error']}")
        if part is not None and record["step"] >= part * record["config"]["train"]["max_steps"]:
            return
        page.wait_for_timeout(500)


def settled(page: Page) -> None:
    """Until every picture in sight is there and nothing moves into its place any more."""
    page.wait_for_function("() => [...document.images].every((one) => one.complete || one.loading === 'lazy')")
    page.wait_for_timeout(1000)


def keep(shot: bytes, target: Path) -> None:
    """A screenshot as WebP."""
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        file.write(shot)
        file.flush()
        Image.open(file.name).convert("RGB").save(target, quality=88, method=6)


if __name__ == "__main__":
    main()
