"""A run's page on a run told by hand: curves, comparing, samples through time, the resume certificate."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from studio.folders import events, runs

if TYPE_CHECKING:
    from tests.ui.conftest import Server

STEPS = 2500  # of a told run


def _read(legend: Locator) -> tuple[int, float]:
    """The step the legend names, and the loss it gives for it."""
    step, _, loss = legend.inner_text().split("\n")[:3]
    return int(step.removeprefix("Step ").replace(",", "")), float(loss)


def test_zoom_shows_true_detail_and_survives_updates(page: Page, server: Server, told: Callable[..., runs.Run]) -> None:
    run = told("Curves")
    page.goto(f"{server.url}/?run={run.id}")
    expect(page.locator("#loss-chart")).to_have_attribute("aria-label", "Loss chart: step 2,500 of 5,000, loss 0.1667, "
                                                          "smoothed 0.168, learning rate 1e-4.")
    panels, first = page.locator("#chart-panels"), page.locator(".st-legend").first
    panels.focus()
    for _ in range(6):
        panels.press("+")
    expect(panels).to_have_attribute("aria-busy", "false")
    assert _read(first) == (2500, pytest.approx(1 / 6, abs=2e-4)), "nothing pointed at: the last step, zoomed in or not"
    panels.press("Home")
    reset = page.get_by_role("button", name="Show all")
    expect(reset).to_be_visible()
    with page.expect_response(lambda r: "from=" in r.url and r.ok):
        panels.press("Shift+ArrowRight")
    panels.press("Home")  # of what is on show, though its detail may not be there yet
    expect(panels).to_have_attribute("aria-busy", "false")
    step, loss = _read(first)
    assert 1239 <= step <= 1243 and loss == pytest.approx(1 / (1 + step / 500), abs=1e-4), "true detail"
    before = first.inner_text()
    writer = events.EventWriter(run.events_file)
    writer.step(STEPS + 1, 0.125, 1e-4, 0.5, 4, 0.1)
    writer.close()
    expect(page.locator("#loss-chart")).to_have_attribute("aria-label", "Loss chart: step 2,501 of 5,000, loss 0.125, "
                                                          "smoothed 0.1637, learning rate 1e-4.", timeout=30_000)
    assert first.inner_text() == before, "the cursor and the zoom stay where they are"
    expect(reset).to_be_visible()
    panels.press("0")
    expect(reset).to_be_hidden()
    panels.press("End")
    expect(first).to_contain_text("Step 2,501")
    with page.expect_download() as waiting:
        page.get_by_role("link", name="CSV").click()
    rows = list(csv.DictReader(Path(waiting.value.path()).read_text().splitlines()))
    assert len(rows) == STEPS + 1 and float(rows[699]["loss"]) == 50.0
    with page.expect_download() as waiting:
        page.get_by_role("button", name="PNG").click()
    with Image.open(waiting.value.path()) as drawn:
        assert drawn.format == "PNG" and drawn.width > 500 and len(drawn.convert("RGB").getcolors(1 << 24) or ()) > 10


def test_another_run_is_shown_beside_and_the_url_keeps_it(page: Page, server: Server,
                                                          told: Callable[..., runs.Run]) -> None:
    own, other = told("Mine"), told("Other <i>one</i>", at=2)
    page.goto(f"{server.url}/?run={own.id}")
    page.get_by_role("button", name="Compare runs").click()
    page.get_by_label("Other <i>one</i>").check()
    page.get_by_role("button", name="Show them").click()
    legend = page.locator(".st-legend").first
    expect(legend).to_contain_text("Other <i>one</i>")
    assert other.id in page.url
    page.reload()
    expect(legend).to_contain_text("Other <i>one</i>0.33")


def test_samples_through_time_and_full_screen(page: Page, server: Server, told: Callable[..., runs.Run]) -> None:
    run = told("Samples", exact=False)
    page.goto(f"{server.url}/?run={run.id}")
    page.get_by_role("button", name="Through time").click()
    picture, slider = page.locator("#samples img"), page.get_by_role("slider", name="Through time")
    expect(picture).to_have_attribute("alt", "Sample at step 2,000, EMA weights: a <b>fox</b>")
    slider.press("ArrowLeft")
    page.get_by_role("button", name="Raw").click()
    expect(picture).to_have_attribute("alt", "Sample at step 1,000, Raw weights: a <b>fox</b>")
    page.locator("#samples .st-shot").click()
    viewer = page.get_by_role("dialog")
    expect(viewer).to_contain_text("Seed 7")
    expect(viewer).to_contain_text("20 drawing steps")
    expect(viewer.get_by_label("Compare with before training")).to_be_visible()
    page.keyboard.press("Escape")
    certificate = page.locator("#resume-certificate")
    expect(certificate).to_contain_text("Resumed at step 1,200 from checkpoint-1200: continues, not bit-identical.")
    expect(certificate).to_contain_text("threads was 2, is 4")
