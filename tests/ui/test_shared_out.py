"""A run whose weights are shared out over two processes, through the page alone: set up, watched, stopped, resumed,
downloaded and drawn."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, expect

from studio.system import machine

from .test_main_path import STEPS_SEEN, download, draw

if TYPE_CHECKING:
    from tests.ui.conftest import Server

STEPS = 60
SHOTS = os.environ.get("STUDIO_SHOTS")  # a folder for screenshots, to look at


@pytest.mark.timeout(295)
@pytest.mark.skipif(machine.cores() < 2, reason="two processes need two cores")
def test_zero_3_from_the_page(page: Page, server: Server, tmp_path: Path) -> None:
    fill(page)
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/?run=*")
    expect(page.locator("#loss-chart")).to_have_attribute("aria-label", STEPS_SEEN, timeout=150_000)
    picture = page.locator("#samples img[alt^='Sample at step']").first
    expect(picture).to_be_attached(timeout=60_000)
    picture.scroll_into_view_if_needed()
    page.wait_for_function("() => [...document.querySelectorAll('#samples img')].some((i) => i.naturalWidth > 0)")
    shot(page, "zero3-live")
    page.get_by_role("button", name="Stop and save").click()
    expect(page.locator(".st-badge")).to_have_text("Stopped", timeout=60_000)
    record = page.request.get(f"{server.url}/api/runs/{page.url.rpartition('=')[2]}").json()
    assert 0 < record["step"] < STEPS and record["checkpoints"], record["state"]
    run = server.home / "runs" / record["id"]
    assert json.loads((run / "deepspeed.json").read_text())["zero_optimization"]["stage"] == 3
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".st-badge")).to_have_text("Finished", timeout=150_000)
    expect(page.locator("#resume-certificate")).to_be_visible()
    shot(page, "zero3-finished")
    draw(download(page, tmp_path))


def fill(page: Page) -> None:
    """The form, for two processes at stage 3."""
    page.get_by_label("Run name").fill("Shared out")
    page.get_by_label("Steps", exact=True).fill(str(STEPS))
    page.get_by_label("Batch size").fill("1")
    page.get_by_label("Resolution").fill("32")
    page.get_by_label("Sample prompts").fill("a cat")
    page.get_by_role("button", name="Sample pictures").click()
    page.get_by_label("Drawing steps").fill("2")
    page.get_by_label("Sample every").fill("20")
    page.get_by_role("button", name="Compute").click()
    page.get_by_label("Processes", exact=True).fill("2")
    page.get_by_label("DeepSpeed ZeRO stage").fill("3")
    page.keyboard.press("Tab")
    shot(page, "zero3-form")


def shot(page: Page, name: str) -> None:
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)
