"""What a page shows while somebody waits: the phase, its seconds counted without asking, and a first visitor's time."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Locator, Page, expect

from studio.folders import work

from ..fakes.phases import began, phase, say, step, supervised, waiting_run

if TYPE_CHECKING:
    from tests.ui.conftest import Server

WRONG_CLOCK = """
const now = Date.now.bind(Date);
Date.now = () => now() + 3 * 3600 * 1000;
"""
SEEN = """
window.seen = [];
new MutationObserver(() => {
  const text = document.getElementById("handed-in")?.textContent;
  if (text !== undefined && text !== window.seen.at(-1)) window.seen.push(text);
}).observe(document, { childList: true, characterData: true, subtree: true });
"""


def seconds(elapsed: Locator) -> int:
    """What the counter shows, in whole seconds."""
    numbers = [int(number) for number in re.findall(r"\d+", re.split("[·・]", elapsed.inner_text())[0])]
    return numbers[-1] + 60 * sum(numbers[:-1])


@pytest.mark.parametrize(("language", "starting", "loading", "first"), [
    ("en", "Starting …", "Loading the model …", "Making the first step …"),
    ("ja", "起動中 …", "モデルを読み込み中 …", "最初のステップを計算中 …")])
def test_phases_count_by_the_studios_clock_without_news(page: Page, server: Server, language: str, starting: str,
                                                        loading: str, first: str) -> None:
    page.add_init_script(WRONG_CLOCK)
    run = waiting_run(server.home)
    status, elapsed = page.locator("#run-status"), page.locator("#run-elapsed")
    with supervised(run):
        began(run, time.time() - 20)
        page.context.add_cookies([{"name": "studio-language", "value": language, "url": server.url}])
        page.goto(f"{server.url}/?run={run.id}")
        expect(status).to_have_text(starting)
        expect(elapsed).to_have_attribute("role", "timer")
        at, shown = time.time(), seconds(elapsed)
        assert 19 <= shown <= 20 + time.time() - at + 30, "the browser's clock is three hours ahead"
        with page.expect_response(lambda answer: "/events" in answer.url and answer.status == 304):
            pass  # all that was new is there
        shown = seconds(elapsed)
        answers: list[int] = []
        page.on("response", lambda answer: answers.append(answer.status) if "/events" in answer.url else None)
        page.wait_for_function("shown => parseInt(document.getElementById('run-elapsed').textContent) >= shown + 3",
                               arg=shown)
        assert answers and set(answers) == {304}, "the seconds pass, and nothing is new"
        say(run, time.time(), "attempt", attempt=1, total_steps=1)
        phase(run, time.time(), "loading")
        expect(status).to_have_text(loading, timeout=15_000)
        assert seconds(elapsed) < 15
        phase(run, time.time(), "caching", 12, 40)
        expect(status).to_contain_text("12")
        phase(run, time.time(), "training", 0, 1)
        expect(status).to_have_text(first, timeout=15_000)
        expect(elapsed).not_to_be_empty()
        step(run, time.time())
        expect(elapsed).to_be_empty(timeout=15_000)


def test_a_job_shows_its_phase_and_seconds(page: Page, server: Server) -> None:
    job = work.submit(server.home, "measure", {}, name="Measure", owner="local", light=True, held=600, subject="sample")
    with supervised(job):
        began(job, time.time() - 7)
        page.goto(f"{server.url}/?dataset=sample")
        row = page.locator("#jobs .st-job")
        expect(row).to_contain_text("Starting …")
        assert 6 <= seconds(row.get_by_role("timer")) < 60
        say(job, time.time(), "attempt", attempt=1)
        phase(job, time.time(), "measuring", 3, 9)
        expect(row).to_contain_text("Measuring pictures: 3 of 9", timeout=15_000)
        say(job, time.time(), "end", result="finished", step=0, error=None)
    expect(row).to_have_count(0, timeout=15_000)


def test_a_press_is_answered_at_once_and_a_refusal_takes_its_place(page: Page, server: Server) -> None:
    page.add_init_script(SEEN)
    page.goto(server.url)
    expect(page.locator("#estimate")).to_be_visible(timeout=90_000)
    batch = page.locator("#field-train-batch_size input")
    batch.fill("0")
    page.locator("#start-training").click()
    expect(page.locator("#notice")).to_contain_text("Batch size", timeout=30_000)
    expect(page.locator("#handed-in")).to_be_hidden()
    texts = page.evaluate("window.seen")
    assert any(text.startswith("Handing it in …0") for text in texts), texts


def test_a_first_visitor_sees_about_how_long_it_takes(page: Page, server: Server) -> None:
    page.goto(server.url)
    time_ = page.locator("#estimate > div").first
    expect(time_).to_contain_text("figures that ship with the base", timeout=90_000)
    about, low, high = re.findall(r"\d+ (?:min|s)\b(?: \d+ s)?", time_.inner_text())[:3]
    assert about and low != high
    expect(time_).to_contain_text("about")
