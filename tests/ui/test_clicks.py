"""How few clicks the first visitor needs, and somebody with a zip in hand: each one is the mouse's, and is counted."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

ROOT = Path(__file__).resolve().parents[2]


class Hand:
    """Clicks what is seen where it is seen, and counts."""

    def __init__(self, page: Page):
        self.page, self.clicks = page, 0

    def click(self, what: Locator) -> None:
        what.wait_for()
        what.scroll_into_view_if_needed()
        box = what.bounding_box()
        assert box is not None
        self.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        self.clicks += 1


@pytest.fixture
def hand(page: Page) -> Iterator[Hand]:
    """A fresh visitor's hand; what it has started is cancelled."""
    yield Hand(page)
    page.locator("#action-cancel").click()
    page.get_by_role("button", name="Cancel the run").click()
    expect(page.locator(".st-badge")).to_have_text("Cancelled", timeout=60_000)


def runs(page: Page) -> None:
    """The run is on the page and makes steps."""
    page.wait_for_url("**/?run=*")
    expect(page.locator("#loss-chart")).to_have_attribute("aria-label", re.compile("step [1-9]"), timeout=120_000)


def test_the_first_visitor_trains_with_two_clicks_at_most(page: Page, hand: Hand) -> None:
    hand.click(page.locator("#start-training"))
    runs(page)
    assert hand.clicks <= 2


def test_from_a_zip_to_a_lora_in_six_clicks_at_most(page: Page, hand: Hand, tmp_path: Path) -> None:
    pictures = sorted((ROOT / "studio/assets/sample/images").glob("*.webp"))[:6]
    with zipfile.ZipFile(tmp_path / "fox.zip", "w") as file:
        for number, picture in enumerate(pictures):
            file.write(picture)
            file.writestr(str(picture.with_suffix(".txt")), f"thing number {number}")
    hand.click(page.locator("#nav-datasets"))
    with page.expect_file_chooser() as chooser:
        hand.click(page.locator("#upload .st-drop"))
    chooser.value.set_files(tmp_path / "fox.zip")
    hand.click(page.get_by_role("button", name="Upload"))
    page.wait_for_url("**/?dataset=*")
    hand.click(page.get_by_role("button", name="Train on this"))
    expect(page.locator("#field-data-dataset input")).to_have_value(re.compile("fox"))
    hand.click(page.get_by_text("An object", exact=True))
    expect(page.locator("#field-model-method input")).to_have_value("lora")
    hand.click(page.locator("#start-training"))
    runs(page)
    assert hand.clicks <= 6
    run = page.evaluate("""async () => {
        const id = new URLSearchParams(location.search).get('run');
        return (await fetch('/api/runs/' + id)).json(); }""")
    assert run["config"]["model"]["method"] == "lora"
    assert run["dataset"]["count"] == len(pictures)
