"""The main job through the page, in a real browser: pictures in, train, watch, reload, stop, take the model away."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

ROOT = Path(__file__).resolve().parents[2]
CANARY = "<img src=x onerror=\"window.canary=1\"> ${window.canary=2} {{canary}}"
STEPS_SEEN = re.compile(r"step [1-9]")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A zip of six pictures with captions, one of which is hostile, and a file that is no picture."""
    pictures = sorted((ROOT / "studio/assets/sample/images").glob("*.webp"))[:6]
    path = tmp_path / "things.zip"
    with zipfile.ZipFile(path, "w") as file:
        for i, picture in enumerate(pictures):
            file.write(picture, f"things/{picture.name}")
            file.writestr(f"things/{picture.stem}.txt", CANARY if i == 0 else f"thing number {i}")
        file.writestr("things/broken.png", b"\x89PNG\r\n\x1a\n and then nothing")
    return path


@pytest.mark.timeout(280)
def test_upload_train_watch_reload_stop_download(page: Page, archive: Path, tmp_path: Path) -> None:
    upload(page, archive)
    start(page)
    watch(page)
    page.reload()
    watch(page)
    page.get_by_role("button", name="Stop and save").click()
    expect(page.locator(".st-badge")).to_have_text("Stopped", timeout=60_000)
    folder = download(page, tmp_path)
    draw(folder)


def upload(page: Page, archive: Path) -> None:
    page.locator("#nav-datasets").click()
    page.locator("#dataset-files").set_input_files(archive)
    page.locator("#dataset-name").fill(f"My things {CANARY}")
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url("**/?dataset=*")
    expect(page.locator("#import-report")).to_contain_text("broken.png")
    expect(page.locator("#pictures figure")).to_have_count(6)
    captions = page.locator("#pictures textarea")
    expect(captions.first).to_have_value(CANARY)
    captions.nth(1).fill("a caption written here")
    captions.nth(2).focus()
    expect(page.locator(".st-saved").nth(1)).to_have_text("Saved")
    page.get_by_role("button", name="Train on this").click()
    expect(page.locator("#field-data-dataset input")).to_have_value(re.compile("My things"))


def start(page: Page) -> None:
    page.get_by_label("Run name").fill(f"Try {CANARY}")
    page.get_by_label("Steps", exact=True).fill("900")
    page.get_by_label("Batch size").fill("2")
    page.get_by_label("Sample prompts").fill(CANARY)
    page.get_by_role("button", name="Sample pictures").click()
    page.get_by_label("Drawing steps").fill("2")
    page.get_by_label("Sample every").fill("3")
    page.get_by_label("Guidance").click()
    page.reload()
    page.locator("#start-training").wait_for()
    expect(page.get_by_label("Steps", exact=True)).to_have_value("900")
    expect(page.get_by_label("Sample prompts")).to_have_value(CANARY)
    expect(page.locator("#field-data-dataset input")).to_have_value(re.compile("My things"))
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/?run=*")


def watch(page: Page) -> None:
    """Loss points and pictures of later steps arrive, and the pictures are really there."""
    expect(page.locator("#loss-chart")).to_have_attribute("aria-label", STEPS_SEEN, timeout=120_000)
    later = page.locator("#samples img[alt^='Sample at step']").first
    expect(later).to_be_attached(timeout=60_000)
    assert page.locator("#loss-chart canvas").count() == 1
    # What moves all the time is drawn all the time, by the processor that trains where there is no GPU.
    assert page.evaluate("""() => document.getAnimations().filter((one) => one.effect.getTiming().iterations > 9)
        .map((one) => one.animationName)""") == []
    later.scroll_into_view_if_needed()
    page.wait_for_function("() => [...document.querySelectorAll('#samples img')].some((i) => i.naturalWidth > 0)")
    expect(page.locator("#run-title")).to_have_text(f"Try {CANARY}")


def download(page: Page, tmp_path: Path) -> Path:
    """The EMA pipeline through the page's own link, unpacked."""
    link = page.locator("#download-model")
    expect(link).to_have_attribute("data-path", re.compile("pipeline-ema.zip$"))
    with page.expect_download(timeout=60_000) as waiting:
        link.click()
    target = tmp_path / "model.zip"
    waiting.value.save_as(target)
    with zipfile.ZipFile(target) as file:
        assert file.testzip() is None
        file.extractall(tmp_path / "model")
    (folder,) = (tmp_path / "model").iterdir()
    return folder


def draw(folder: Path) -> None:
    import torch
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    picture = pipeline("a red fox", num_inference_steps=2, generator=torch.Generator().manual_seed(0)).images[0]
    low, high = picture.convert("L").getextrema()
    assert high > low
