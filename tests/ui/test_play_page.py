"""The page *Try it* with a run that the real trainer made: choose, draw, look, take away."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.ui.test_accessible import serious

if TYPE_CHECKING:
    from tests.ui.conftest import Server

CONFIG = {"train": {"max_steps": 2, "batch_size": 2, "seed": 5}, "checkpoint": {"every_steps": 1, "keep": 2},
          "model": {"method": "lora"}, "lora": {"rank": 4},
          "sample": {"prompts": ["a cat"], "num_inference_steps": 2, "every_steps": 1, "seed": 7}}


def ask(server: Server, path: str, body: dict[str, Any] | None = None) -> Any:
    """The studio's answer."""
    request = urllib.request.Request(f"{server.url}/api/{path}", headers={"content-type": "application/json"},
                                     data=None if body is None else json.dumps(body).encode())
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def run(server: Server) -> Iterator[dict[str, Any]]:
    """A finished run with two checkpoints."""
    made = ask(server, "runs", {"name": "Little <b>cats</b>", "config": CONFIG})
    deadline = time.monotonic() + 240
    while (found := ask(server, f"runs/{made['id']}"))["state"] != "finished":
        assert time.monotonic() < deadline and found["error"] is None, found
        time.sleep(0.5)
    yield found


def test_drawing_from_the_run_page_to_the_file(page: Page, server: Server, run: dict[str, Any]) -> None:
    page.goto(f"{server.url}/?run={run['id']}")
    page.locator("#downloads summary", has_text="Step 1").click()
    page.get_by_role("link", name="Try step 1").click()
    expect(page.get_by_role("heading", name="Try it")).to_be_visible()
    expect(page.get_by_label("Weights 1", exact=True)).to_have_value("checkpoint-1/ema")
    page.get_by_role("button", name="Add weights").click()
    page.get_by_label("Strength of weights 2").fill("0.5")
    page.get_by_label("Prompts, one a line").fill("a <i>cat</i>\na dog")
    page.get_by_label("First seed").fill("7")
    page.get_by_label("Pictures of each").fill("2")
    page.get_by_label("Pictures of each").blur()
    assert not serious(page)
    page.get_by_role("button", name="Draw 12 pictures").click()
    pictures = page.locator("#play-pictures img")
    expect(pictures.first).to_be_visible(timeout=120_000)
    expect(page.locator("#play-status")).to_have_text("12 pictures.", timeout=120_000)
    expect(page.get_by_role("columnheader")).to_have_text(["Base", "Step 1 · EMA", "Step 2 · EMA × 0.5"])
    expect(pictures).to_have_count(12)
    address = page.url
    assert run["id"] in address and "job=" in address

    page.reload()
    expect(pictures).to_have_count(12)
    expect(page.get_by_label("Prompts, one a line")).to_have_value("a <i>cat</i>\na dog")
    page.locator("#play-history summary").click()
    expect(page.locator("#play-history .st-tag")).to_have_text(["a <i>cat</i>", "a dog"])
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download: Step 2 · EMA × 0.5, seed 8: a dog").click()
    assert waiting.value.suggested_filename == "checkpoint-2_ema_0.5_prompt-2_seed-8.png"
    with Image.open(waiting.value.path()) as drawn:
        said = json.loads(drawn.text["studio"])  # type: ignore[attr-defined]
    assert (said["prompt"], said["seed"], said["scale"], said["checkpoint"]) == ("a dog", 8, 0.5, "checkpoint-2")
    assert not serious(page)
    page.get_by_role("button", name="Step 1 · EMA, seed 8: a dog. Open full screen").click()
    viewer = page.get_by_role("dialog")
    expect(viewer).to_contain_text("Step 1 · EMA · Seed 8")
    expect(viewer.get_by_label("Compare with before training")).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Other runs").click()
    expect(page.locator("#play-runs a")).to_contain_text("Little <b>cats</b>")


def test_a_sample_is_tried_with_its_prompt_seed_and_checkpoint(page: Page, server: Server, run: dict[str, Any]) -> None:
    page.goto(f"{server.url}/?run={run['id']}")
    page.locator("#sample-weights button", has_text="Raw").click()
    page.locator("#samples .st-shot").nth(1).click()
    page.get_by_role("link", name="Try this prompt and seed").click()
    expect(page.get_by_label("Weights 1", exact=True)).to_have_value("checkpoint-1/raw")
    expect(page.get_by_label("Prompts, one a line")).to_have_value("a cat")
    expect(page.get_by_label("First seed")).to_have_value("7")
    page.get_by_role("button", name="Draw 2 pictures").click()
    expect(page.locator("#play-pictures img")).to_have_count(2, timeout=120_000)
    assert "prompt=" not in page.url and "job=" in page.url


def test_voting_blindly_by_keyboard(page: Page, server: Server, run: dict[str, Any]) -> None:
    columns = [{}, *({"checkpoint": f"checkpoint-{step}", "weights": "raw"} for step in (1, 2))]
    job = ask(server, f"runs/{run['id']}/draw", {"columns": columns, "seeds": [1, 2]})
    page.goto(f"{server.url}/?play={run['id']}&job={job['id']}")
    expect(page.locator("#play-status")).to_have_text("6 pictures.", timeout=120_000)
    page.get_by_role("button", name="Vote blind").click()
    vote = page.get_by_role("dialog")
    expect(vote).to_contain_text("Pair 1 of 6")
    assert "Step" not in vote.inner_text() and "Base" not in vote.inner_text(), "the names are unknown"
    assert not serious(page)
    page.keyboard.press("ArrowLeft")
    expect(vote).to_contain_text("Pair 2 of 6")
    page.keyboard.press("Backspace")
    expect(vote).to_contain_text("Pair 1 of 6")
    for number in range(1, 6):
        page.keyboard.press("ArrowRight")
        expect(vote).to_contain_text(f"Pair {number + 1} of 6")
    vote.get_by_role("button", name="No difference").click()
    expect(vote).to_contain_text("6 of 6 pairs voted on.")
    expect(page.locator("#vote-tally li")).to_have_count(3)
    expect(vote).to_contain_text("decided votes")
    assert not serious(page)
    page.keyboard.press("Escape")
    expect(page.locator("#play-votes .st-tally li")).to_have_count(3)
    page.goto(f"{server.url}/?play={run['id']}")
    expect(page.locator("#play-votes")).to_contain_text("6 of 6 pairs voted on.")


def test_overfitting_on_the_run_page(page: Page, server: Server, run: dict[str, Any]) -> None:
    page.goto(f"{server.url}/?run={run['id']}")
    card = page.locator("#overfitting")
    expect(card).to_contain_text("Recommended: step 2, EMA")
    expect(card).to_contain_text("No pictures were held out")
    expect(card).to_contain_text("A recommendation")
    card.get_by_role("button", name="Compare samples with the training pictures").click()
    expect(card.locator("figure")).to_have_count(1, timeout=120_000)
    expect(card).to_contain_text("5 of 5 samples are compared")
    expect(card.locator("figure img")).to_have_count(2)
    expect(card.get_by_role("button", name="Compare samples")).to_be_hidden()
    assert not serious(page)
    card.get_by_role("link", name="Try step 2").click()
    expect(page.get_by_label("Weights 1", exact=True)).to_have_value("checkpoint-2/ema")


def test_the_divider_stays_on_the_picture(page: Page, server: Server, run: dict[str, Any]) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{server.url}/?run={run['id']}")
    page.locator("#samples .st-shot").last.wait_for()
    parts = [page.locator(f"#{name}").bounding_box() for name in ("nav-play", "language", "theme-toggle")]
    edges = [edge for part in parts if part for edge in (part["x"], part["x"] + part["width"])]
    assert len(edges) == 6 and edges == sorted(edges) and edges[-1] <= 390, "the header fits"
    page.locator("#samples .st-shot").last.click()
    stage = page.locator(".st-stage").bounding_box()
    divider = page.locator(".st-divider").bounding_box()
    assert stage and divider
    assert abs(stage["width"] - stage["height"]) < 2 and divider["height"] <= stage["height"] + 1, (stage, divider)


def test_without_a_checkpoint_there_is_nothing_to_try(page: Page, server: Server, told: Any) -> None:
    bare = told("Bare")
    page.goto(f"{server.url}/?play={bare.id}")
    expect(page.locator("#play")).to_contain_text("This run has no checkpoint yet.")
    page.goto(f"{server.url}/?play={'0' * 32}")
    expect(page.locator("#play")).to_contain_text("This run is not here")
