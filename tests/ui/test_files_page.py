"""The pages while files travel and after: the column, the encoding, a question before leaving, a broken-off upload."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from .conftest import Server


def picture(folder: Path, name: str, colour: tuple[int, int, int]) -> Path:
    Image.new("RGB", (96, 64), colour).save(folder / name)
    return folder / name


def captions(page: Page, server: Server) -> list[str]:
    match = re.search(r"dataset=(\w+)", page.url)
    assert match is not None
    items = page.request.get(f"{server.url}/api/datasets/{match[1]}/images").json()["items"]
    return [text for row in items for text in row["captions"]]


def send(page: Page, *files: Path) -> None:
    page.locator("#nav-datasets").click()
    page.locator("#dataset-files").set_input_files(files)
    page.locator("#dataset-upload").click()


def test_the_column_is_chosen_on_the_page(page: Page, server: Server, tmp_path: Path) -> None:
    rows = [{"file_name": "a.png", "subject": "a red board on a wall", "setting": "indoors in the morning light"}]
    (tmp_path / "words.jsonl").write_text("\n".join(map(json.dumps, rows)))
    send(page, picture(tmp_path, "a.png", (9, 9, 200)), tmp_path / "words.jsonl")
    headline = page.locator("#import-headline")
    expect(headline).to_contain_text("words.jsonl names 1 of the pictures")
    headline.locator("select").select_option("setting")
    headline.get_by_role("button", name="Take this column").click()
    expect(headline).to_have_count(0)
    expect(page.locator("#pictures figure").first).to_be_visible()
    assert captions(page, server) == ["indoors in the morning light"]


def test_an_encoding_is_shown_and_read_again_by_one_click(page: Page, server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("рыжая лиса на снегу".encode("cp1251"))
    send(page, picture(tmp_path, "a.png", (9, 99, 200)), tmp_path / "a.txt")
    told = page.locator("#import-encodings")
    expect(told).to_contain_text("рыжая лиса на снегу")
    told.locator("summary").click()
    told.get_by_role("button", name="Read as KOI8-U").click()
    expect(told.locator(".st-sample-text").first).not_to_have_text("рыжая лиса на снегу")
    assert captions(page, server) == ["рыжая лиса на снегу".encode("cp1251").decode("koi8_u")]


@pytest.fixture
def many(tmp_path: Path) -> list[Path]:
    """More pictures than one batch takes."""
    return [picture(tmp_path, f"{n:03}.png", (n % 256, 50, n // 2)) for n in range(205)]


def broken_off(page: Page, files: list[Path]) -> list[bool]:
    """Send files of which the second batch never arrives; the list says whether batches may pass."""
    passing, seen = [False], [0]

    def answer(route: Route) -> None:
        seen[0] += 1
        if seen[0] == 2 and not passing[0]:
            route.abort()
        else:
            route.continue_()

    page.route("**/images?commit=false", answer)
    send(page, *files)
    expect(page.locator("#upload-use")).to_be_visible()
    return passing


@pytest.mark.broken_line
def test_an_upload_that_breaks_off_is_sent_on(page: Page, server: Server, many: list[Path]) -> None:
    passing = broken_off(page, many)
    expect(page.locator("#upload")).to_contain_text("200 files arrived")
    passing[0] = True
    page.locator("#dataset-upload", has_text="Send the rest").click()
    page.wait_for_url("**/?dataset=*")
    expect(page.locator("#dataset-title + p")).to_have_text("205 pictures")


@pytest.mark.broken_line
def test_what_arrived_is_used_after_a_reload(page: Page, server: Server, many: list[Path]) -> None:
    broken_off(page, many)
    page.reload()
    page.locator("#dataset-list a", has_text="Receiving files").first.click()
    note = page.locator("#arrived")
    expect(note).to_contain_text("200 files arrived")
    page.locator("#arrived-use").click()
    expect(note).to_have_count(0)
    expect(page.locator("#dataset-title + p")).to_have_text("200 pictures")


def test_the_page_asks_before_it_is_left_while_files_travel(page: Page, server: Server, tmp_path: Path) -> None:
    held: list[Route] = []
    page.route("**/api/datasets", lambda route: held.append(route) if route.request.method == "POST"
               else route.continue_())
    send(page, picture(tmp_path, "a.png", (90, 9, 200)))
    expect(page.locator("#upload-cancel")).to_be_visible()
    asked: list[str] = []
    page.once("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    with page.expect_event("dialog"):
        page.evaluate("() => { setTimeout(() => location.reload(), 0); }")
    assert asked == ["beforeunload"]
    for route in held:
        route.continue_()
    page.wait_for_url("**/?dataset=*")
    page.once("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    page.reload()
    assert asked == ["beforeunload"]
