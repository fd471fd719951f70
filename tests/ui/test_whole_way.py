"""From a folder as people have them to the first loss, in a real browser: drop, report, copies, captions, what the
model sees with which base, and a run of it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, Route, expect

from ..families import tiny

if TYPE_CHECKING:
    from tests.ui.conftest import Server

SHOTS = os.environ.get("STUDIO_SHOTS")  # a folder for screenshots, to look at


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Captions beside the pictures, in metadata.jsonl, and as the name of kohya's folder; a copy and a broken one."""
    root = tmp_path / "holiday"

    def draw(name: str, number: int) -> Path:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.effect_noise((160, 80), 90).convert("RGB")
        image.paste((number * 20 % 256, 90, 200), (0, 0, 80, 80))
        image.save(path)
        return path

    for n in range(5):
        draw(f"beside/{n}.png", n).with_suffix(".txt").write_text(f"beside {n}")
        draw(f"listed/{n}.png", n + 5)
        draw(f"3_blue boat/{n}.png", n + 10)
    lines = [{"file_name": f"{n}.png", "text": f"listed {n}"} for n in range(5)]
    (root / "listed" / "metadata.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    (root / "beside" / "copy.png").write_bytes((root / "beside" / "0.png").read_bytes())
    (root / "beside" / "copy.txt").write_text("a copy")
    (root / "beside" / "broken.jpg").write_bytes(b"\xff\xd8\xff and then nothing")
    return root


@pytest.mark.timeout(280)
def test_from_a_dropped_folder_to_the_first_loss(page: Page, server: Server, folder: Path, tmp_path: Path) -> None:
    drop(page, folder)
    read_the_report(page)
    fix_the_copies(page)
    edit_ten_captions(page, server)
    see_with_a_chosen_base(page, tiny.make(tmp_path / "tiny"))
    train(page)


def shot(page: Page, name: str) -> None:
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png")


def drop(page: Page, folder: Path) -> None:
    """Drop the folder as a file manager does, and let its folders' names be captions."""
    page.locator("#nav-datasets").click()
    upload = page.locator("#upload")
    upload.get_by_text("How pictures are read").click()
    upload.get_by_label("A picture without a caption takes").select_option("folder name")
    box = upload.locator(".st-drop").bounding_box()
    assert box is not None
    line = page.context.new_cdp_session(page)
    where = {"x": box["x"] + 20, "y": box["y"] + 20, "data": {"items": [], "files": [str(folder)],
                                                              "dragOperationsMask": 1}}
    for kind in ("dragEnter", "dragOver", "drop"):
        line.send("Input.dispatchDragEvent", {"type": kind, **where})
    expect(page.locator("#upload")).to_contain_text("24 files")
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url("**/?dataset=*")


def read_the_report(page: Page) -> None:
    report = page.locator("#import-report")
    for words in ("24 files seen", "beside/broken.jpg", "counted 3 times", "exactly like another"):
        expect(report).to_contain_text(words)
    expect(page.locator("#pictures figure")).to_have_count(16)
    values = [area.input_value() for area in page.locator("#pictures textarea").all()]
    assert sorted(values) == sorted([f"beside {n}" for n in range(5)] + [f"listed {n}" for n in range(5)]
                                    + ["blue boat"] * 5 + ["a copy"])
    shot(page, "report")


def fix_the_copies(page: Page) -> None:
    page.get_by_role("button", name="Health").click()
    finding = page.locator("#finding-exact_duplicates")
    expect(finding).to_contain_text("1")
    shot(page, "health")
    finding.locator("[data-fix='exclude']").click()
    expect(finding).to_have_count(0)
    page.get_by_role("button", name="Pictures", exact=True).click()
    expect(page.locator("#pictures figure")).to_have_count(15)


def edit_ten_captions(page: Page, server: Server) -> None:
    page.locator("#pictures .st-picture").first.focus()
    page.keyboard.press("F2")
    for n in range(10):
        expect(page.locator("#pictures figure").nth(n).locator("textarea")).to_be_focused()
        page.keyboard.press("Control+a")
        page.keyboard.type(f"my boat {n}")
        page.keyboard.press("Enter")
    expect(page.locator(".st-saved").nth(9)).to_have_text("Saved")
    found = re.search(r"dataset=(\w+)", page.url)
    assert found is not None
    rows = page.request.get(f"{server.url}/api/datasets/{found[1]}/images").json()["items"]
    assert [row["captions"] for row in rows[:10]] == [[f"my boat {n}"] for n in range(10)]
    page.keyboard.press("Escape")


def see_with_a_chosen_base(page: Page, base: Path) -> None:
    """The embedded base first; then another, whose tokenizer and VAE are its own, in buckets; health follows it."""
    page.locator("#pictures .st-picture").first.click()
    figures = page.locator("#seen figure")
    expect(figures).to_have_count(3, timeout=120_000)
    expect(figures.first).to_contain_text("64 × 64")
    expect(page.locator("#tokens")).to_contain_text("30 are read")
    shot(page, "see")
    dialog = page.locator("#see")
    height = dialog.get_by_label("Picture size").bounding_box()
    assert height is not None and height["height"] <= 44
    dialog.get_by_label("Picture size").fill("256")
    page.keyboard.press("Tab")
    # The size alone was asked for before: that request may still be on its way.
    with page.expect_request(lambda r: r.url.endswith("/see") and r.post_data_json["buckets"]) as asked:
        dialog.get_by_label("Aspect-ratio buckets").check()
    assert asked.value.post_data_json == {"resolution": 256, "buckets": True}
    expect(figures.first).to_contain_text("384 × 192", timeout=120_000)
    with page.expect_response(lambda r: "/see" in r.url and r.ok):
        dialog.get_by_label("Base model").fill(str(base))
        page.keyboard.press("Tab")
    expect(page.locator("#tokens")).to_contain_text("75 are read")
    expect(figures.nth(1)).to_contain_text("latents 4", timeout=120_000)
    shot(page, "see-other-base")
    page.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Health").click()
    expect(page.locator("#health").get_by_label("Base model")).to_have_value(str(base))
    with page.expect_response(lambda r: "/health?base=" in r.url and r.ok):
        page.get_by_role("button", name="Look again").click()
    page.locator("#health").get_by_label("Base model").fill("nobody/nothing")
    page.keyboard.press("Tab")
    expect(page.locator("#health")).to_contain_text("This base is not on this machine yet")


def train(page: Page) -> None:
    page.get_by_role("button", name="Train on this").click()
    expect(page.locator("#field-data-dataset input")).to_have_value(re.compile("holiday"))
    page.get_by_label("Steps", exact=True).fill("500")
    page.get_by_label("Batch size").fill("2")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/?run=*")
    expect(page.locator("#loss-chart")).to_have_attribute("aria-label", re.compile(r"step [1-9]"), timeout=120_000)
    shot(page, "run")
    page.get_by_role("button", name="Cancel", exact=True).click()


def test_what_the_form_has_is_what_pictures_are_looked_at_for(page: Page) -> None:
    page.get_by_label("Resolution").fill("256")
    page.keyboard.press("Tab")
    page.wait_for_function("() => JSON.parse(localStorage.getItem('studio-draft'))['data.resolution'] == 256")
    page.goto(f"{page.url.split('?')[0]}?dataset=sample&part=health")
    expect(page.locator("#health").get_by_label("Picture size")).to_have_value("256")
    expect(page.locator("#finding-too_small")).to_be_visible()


def test_an_answer_that_comes_late_does_not_cover_a_newer_one(page: Page) -> None:
    """One base asked for, then another; the answer for the first is held back until the second's stands there."""
    held: list[Route] = []
    page.route(re.compile(r"/(health|tokens)\?.*base=embedded"), lambda route: held.append(route))
    page.goto(f"{page.url.split('?')[0]}?dataset=sample&part=health")
    health = page.locator("#health")
    overtake(page, health.get_by_label("Base model"), health, "This base is not on this machine yet", held)
    page.get_by_role("button", name="Pictures", exact=True).click()
    page.locator("#pictures .st-picture").first.click()
    overtake(page, page.locator("#see").get_by_label("Base model"), page.locator("#tokens"),
             "There is no tokenizer of this base on this machine yet", held)


def overtake(page: Page, base: Locator, shown: Locator, words: str, held: list[Route]) -> None:
    with page.expect_request(re.compile(r"/(health|tokens)\?.*base=embedded")):
        base.fill("embedded")
        page.keyboard.press("Tab")
    base.fill("nobody/nothing")
    page.keyboard.press("Tab")
    expect(shown).to_contain_text(words)
    with page.expect_response(re.compile(r"/(health|tokens)\?.*base=embedded")) as late:
        held.pop().continue_()
    late.value.finished()
    page.evaluate("() => new Promise((done) => setTimeout(done, 200))")  # time for a wrong page to draw it
    assert words in shown.inner_text()  # at once: a later look would draw it again
    assert not held
