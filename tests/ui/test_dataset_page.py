"""A data set's page: captions by keyboard, page by page, a whole folder with its report, a cancelled upload."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

if TYPE_CHECKING:
    from tests.ui.conftest import Server


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A zip of 60 small pictures with captions "number 0" to "number 59"; the first has two."""
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as file:
        for i in range(60):
            Image.new("RGB", (48, 32), (i * 4, 90, 255 - i * 4)).save(tmp_path / "one.png")
            file.write(tmp_path / "one.png", f"{i:02}.png")
        lines = [{"file_name": f"{i:02}.png", "text": f"number {i}"} for i in range(60)]
        lines[0]["captions"] = ["number 0", "the very first"]  # type: ignore[assignment]
        del lines[0]["text"]
        file.writestr("metadata.jsonl", "\n".join(json.dumps(line) for line in lines))
    return path


def upload(page: Page, archive: Path) -> None:
    page.locator("#nav-datasets").click()
    page.locator("#dataset-files").set_input_files(archive)
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url("**/?dataset=*")
    expect(page.locator("#pictures figure").first).to_be_visible()


def captions(page: Page, server: Server) -> list[list[str]]:
    """What is on disk, through the API."""
    found = re.search(r"dataset=(\w+)", page.url)
    assert found is not None
    answer = page.request.get(f"{server.url}/api/datasets/{found[1]}/images?limit=100")
    return [row["captions"] for row in answer.json()["items"]]


def test_ten_captions_by_keyboard_and_back(page: Page, server: Server, many: Path) -> None:
    upload(page, many)
    pictures = page.locator("#pictures .st-picture")
    pictures.first.focus()
    page.keyboard.press("ArrowRight")
    expect(pictures.nth(1)).to_be_focused()
    page.keyboard.press("F2")
    for i in range(1, 11):
        expect(page.locator("#pictures figure").nth(i).locator("textarea")).to_be_focused()
        page.keyboard.press("Control+a")
        page.keyboard.type(f"written {i}")
        page.keyboard.press("Enter")
    expect(page.locator(".st-saved").nth(10)).to_have_text("Saved")
    kept = captions(page, server)
    assert kept[0] == ["number 0", "the very first"] and kept[11] == ["number 11"]
    assert [texts[0] for texts in kept[1:11]] == [f"written {i}" for i in range(1, 11)]
    page.keyboard.type("not this")
    page.keyboard.press("Escape")
    expect(pictures.nth(11)).to_be_focused()
    page.keyboard.press("Control+z")
    expect(page.locator("#pictures figure").nth(10).locator("textarea")).to_have_value("number 10")
    page.locator("#pictures figure").first.locator("textarea").nth(1).fill("changed")
    page.keyboard.press("Tab")
    expect(page.locator(".st-saved").first).to_have_text("Saved")
    kept = captions(page, server)
    assert kept[0] == ["number 0", "changed"] and kept[10:12] == [["number 10"], ["number 11"]]
    pictures.nth(49).focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#pictures figure")).to_have_count(10)
    expect(pictures.first).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(pictures.nth(49)).to_be_focused()


def test_a_whole_folder_with_its_report(page: Page, tmp_path: Path) -> None:
    folder = tmp_path / "birds"
    for name in ("train/a", "train/b", "val/c"):
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (200, 10 * len(name), ord(name[-1]))).save(path)
        path.with_suffix(".txt").write_text(f"bird {name}")
    (folder / "train" / "broken.jpg").write_bytes(b"\xff\xd8\xff and then nothing")
    page.locator("#nav-datasets").click()
    page.locator("#dataset-folder").set_input_files(folder)
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url("**/?dataset=*")
    report = page.locator("#import-report")
    expect(report).to_contain_text("train/broken.jpg")
    expect(page.locator("#pictures figure")).to_have_count(3)
    expect(page.locator(".st-split")).to_have_text("validation")
    with page.expect_download() as waiting:
        report.get_by_role("link", name="Download the report").click()
    told = json.loads(Path(waiting.value.path()).read_text())
    assert told["seen"] == told["used"] + told["converted"] + len(told["skipped"])
    shutil.rmtree(folder)
