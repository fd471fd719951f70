"""A data set's page: captions by keyboard, page by page, whole folders in batches, health and its
fixes, captions in bulk, what the model sees."""

from __future__ import annotations

import csv
import json
import re
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
            Image.new("RGB", (96, 64), (i * 4, 90, 255 - i * 4)).save(tmp_path / "one.png")
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
        Image.new("RGB", (80, 80), (200, 10 * len(name), ord(name[-1]))).save(path)
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
    told = list(csv.DictReader(Path(waiting.value.path()).read_text("utf-8-sig").splitlines()))
    assert len(told) == 7
    assert [line["file"] for line in told if line["verdict"] == "skipped"] == ["birds/train/broken.jpg"]
    expect(report).to_contain_text("validation: 1")


def test_many_files_go_in_batches_and_a_cancelled_upload_leaves_nothing(page: Page, server: Server,
                                                                        tmp_path: Path) -> None:
    folder = tmp_path / "batches"
    folder.mkdir()
    for i in range(230):
        Image.new("RGB", (64, 64), (i, 255 - i, i // 2)).save(folder / f"{i:03}.png")
    page.locator("#nav-datasets").click()
    before = len(page.request.get(f"{server.url}/api/datasets").json()["items"])
    page.route("**/images?commit=false", lambda route: None)  # never answered, so that the upload is under way
    page.locator("#dataset-folder").set_input_files(folder)
    page.get_by_role("button", name="Upload").click()
    page.get_by_role("button", name="Cancel the upload").click()
    expect(page.locator("#upload")).to_contain_text("Cancelled; nothing was kept.")
    page.unroute("**/images?commit=false")
    assert len(page.request.get(f"{server.url}/api/datasets").json()["items"]) == before
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.url.endswith("commit=false") else None)
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url("**/?dataset=*")
    expect(page.locator("#import-report")).to_contain_text("230 files seen", timeout=60_000)
    expect(page.locator("#dataset-title")).to_have_text("batches")
    assert len(sent) == 2


def test_health_is_fixed_and_taken_back_and_captions_change_in_bulk(page: Page, server: Server, many: Path) -> None:
    upload(page, many)
    page.get_by_role("button", name="Health").click()
    page.get_by_label("Trigger word").fill("qxq")
    page.get_by_role("button", name="Look again").click()
    finding = page.locator("#finding-no_trigger")
    expect(finding).to_contain_text("Without the trigger word: 60")
    finding.get_by_role("button", name="Put it first").click()
    expect(finding).to_have_count(0)
    assert captions(page, server)[5] == ["qxq, number 5"]
    page.get_by_role("button", name="Undo").click()
    expect(finding).to_contain_text("Without the trigger word: 60")
    assert captions(page, server)[5] == ["number 5"]
    page.get_by_role("button", name="Many captions").click()
    page.get_by_label("Find", exact=True).fill("number")
    page.get_by_label("Replace by").fill("picture")
    page.get_by_role("button", name="Show what would change").click()
    expect(page.locator("#bulk-preview")).to_contain_text("Captions of 60 pictures would change.")
    assert captions(page, server)[5] == ["number 5"]
    page.get_by_role("button", name="Change them").click()
    expect(page.locator("#tags")).to_contain_text("picture 5")
    assert captions(page, server)[5] == ["picture 5"]


def test_what_the_model_sees_and_a_crop_by_keyboard(page: Page, server: Server, many: Path) -> None:
    upload(page, many)
    page.locator("#pictures .st-picture").nth(2).click()
    seen = page.locator("#seen figure")
    expect(seen).to_have_count(3, timeout=120_000)
    words = page.locator("#tokens .st-token").all_inner_texts()
    assert len(words) > 1 and "".join(words) == "number2"
    crop = page.get_by_role("slider", name="Part of the picture that is learned from")
    expect(crop).to_have_attribute("aria-valuetext", "64 pixels square, 16 from the left, 0 from the top")
    with page.expect_response(lambda r: r.request.method == "PATCH" and r.ok):
        crop.press("ArrowLeft")
    expect(crop).to_have_attribute("aria-valuetext", "64 pixels square, 15 from the left, 0 from the top")
    found = re.search(r"dataset=(\w+)", page.url)
    assert found is not None
    rows = page.request.get(f"{server.url}/api/datasets/{found[1]}/images").json()["items"]
    assert rows[2]["crop"] == [15, 0, 64] and "crop" not in rows[1]
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#see")).to_have_count(0)


def test_it_is_taken_away_and_a_push_says_what_it_needs(page: Page, server: Server, many: Path) -> None:
    upload(page, many)
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download", exact=True).click()
    with zipfile.ZipFile(waiting.value.path()) as taken:
        assert len(taken.namelist()) == 62 and "number 59" in taken.read("train/metadata.jsonl").decode()
    page.get_by_role("button", name="Push to the Hub").click()
    asked = page.get_by_role("dialog", name="Push to the Hugging Face Hub")
    expect(asked.get_by_label("Repository")).to_be_focused()
    expect(asked.get_by_label("Private: only you see it")).to_be_checked()
    asked.get_by_label("Repository").fill("a/b/c")
    asked.get_by_label("Token").fill("hf_nobodysTokenAtAll")
    asked.get_by_role("button", name="Push", exact=True).click()
    expect(asked.get_by_role("alert")).to_contain_text("'a/b/c' is no name of a repository.")
    asked.get_by_role("button", name="Close").click()
    expect(asked).to_have_count(0)


def test_a_hub_id_to_train_on_leads_to_its_import(page: Page) -> None:
    page.locator("#field-data-dataset input").fill("someone/birds")
    page.keyboard.press("Enter")
    page.locator("#import-it").click()
    expect(page.locator("#hub-name")).to_have_value("someone/birds")
    expect(page.locator("#hub-form")).to_be_visible()
