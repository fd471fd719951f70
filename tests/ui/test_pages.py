"""What the pages say and keep: faults in words, drafts, empty states, small screens in both schemes, a lost server."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

from studio import config, launch
from studio.folders import runs

if TYPE_CHECKING:
    from tests.ui.conftest import Server


def test_faults_are_named_by_label_and_nothing_typed_is_lost(page: Page) -> None:
    page.get_by_label("Steps", exact=True).fill("many")
    page.get_by_label("Learning rate", exact=True).fill("-1")
    page.get_by_label("Run name").fill("Kept")
    page.get_by_role("button", name="Start training").click()
    alert = page.locator("#notice [role=alert]")
    expect(alert).to_contain_text("Steps")
    expect(alert).to_contain_text("Learning rate")
    assert "Traceback" not in page.content()
    expect(page.get_by_label("Steps", exact=True)).to_have_value("many")
    expect(page.get_by_label("Steps", exact=True)).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Run name")).to_have_value("Kept")
    assert "run=" not in page.url


def test_empty_fields_show_what_they_become(page: Page) -> None:
    expect(page.get_by_label("Steps", exact=True)).to_have_attribute("placeholder", re.compile(r"empty: \d+"))
    expect(page.locator("#notice")).to_contain_text("Nothing is in the way.")


def test_a_missing_base_is_said_at_its_field(page: Page) -> None:
    base = page.locator("#field-model-base input")
    base.fill("/no/such/folder")
    base.press("Enter")
    page.get_by_role("button", name="Start training").click()
    expect(page.locator("#notice [role=alert]")).to_contain_text("Base model")


def test_a_draft_survives_reload_and_a_killed_server(page: Page, server: Server) -> None:
    page.get_by_label("Batch size").fill("7")
    page.get_by_label("Run name").fill("Draft")
    page.locator("#nav-runs").click()
    server.kill()
    expect(page.locator(".st-toast-away")).to_contain_text("reconnecting", timeout=20_000)
    server.start()
    page.goto(server.url)
    expect(page.get_by_label("Batch size")).to_have_value("7")
    expect(page.get_by_label("Run name")).to_have_value("Draft")
    page.get_by_role("button", name="Back to the defaults").click()
    expect(page.get_by_label("Batch size")).to_have_value("")


def test_a_pasted_command_fills_the_form(page: Page) -> None:
    page.get_by_role("button", name="Paste a command").click()
    box = page.locator("#pasted-command textarea")
    box.fill("accelerate launch train_dreambooth.py")
    page.get_by_role("button", name="Fill the form").click()
    expect(page.locator("#unplaced [role=alert]")).to_contain_text("another script")
    box.fill("accelerate launch train_text_to_image.py --pretrained_model_name_or_path=a/b --train_batch_size=3 \\\n"
             "  --hub_token=hf_abcdefghijkl --validation_prompts 'a cat' 'a dog' --output_dir='<img src=x>'")
    page.get_by_role("button", name="Fill the form").click()
    left = page.locator("#unplaced-options")
    expect(left).to_contain_text("--hub_token [secret]: a token is never kept")
    expect(left).to_contain_text("--output_dir <img src=x>")
    expect(page.get_by_label("Batch size")).to_have_value("3")
    expect(page.get_by_label("Sample prompts")).to_have_value("a cat\na dog")
    expect(page.locator("#field-model-base input")).to_have_value("a/b")
    assert "hf_abc" not in page.content()
    kept = "JSON.parse(localStorage.getItem('studio-draft') ?? '{}')['train.batch_size'] === '3'"
    page.wait_for_function(kept)  # the browser keeps what is shown a moment after it is shown
    page.reload()
    expect(page.get_by_label("Batch size")).to_have_value("3")
    page.get_by_role("button", name="Back to the defaults").click()


def test_the_url_says_what_is_shown(page: Page, server: Server) -> None:
    page.locator("#nav-runs").click()
    expect(page.locator("#runs")).to_contain_text("No runs yet")
    page.reload()
    expect(page.locator("#runs")).to_contain_text("No runs yet")
    page.get_by_role("link", name="Set up a run").click()
    expect(page.locator("#start-training")).to_be_visible()
    page.go_back()
    expect(page.locator("#runs")).to_contain_text("No runs yet")
    page.goto(f"{server.url}/?run={'0' * 32}")
    expect(page.locator("#runs [role=alert]")).to_contain_text("not here")
    page.goto(f"{server.url}/?dataset={'0' * 32}")
    expect(page.locator("#datasets [role=alert]")).to_contain_text("not here")


def test_the_shipped_pictures_are_copied_on_the_first_edit(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/?dataset=sample")
    expect(page.locator("#pictures figure")).to_have_count(50)
    page.locator("#dataset-search").fill("fox")
    expect(page.locator("#pictures figure")).not_to_have_count(50)
    caption = page.locator("#pictures textarea").first
    before = caption.input_value()
    caption.fill("a fox of my own")
    caption.press("Enter")
    page.wait_for_url(lambda url: "dataset=sample" not in url)
    page.locator("#dataset-search").fill("of my own")
    expect(page.locator("#pictures figure")).to_have_count(1)
    page.get_by_role("button", name="Undo").click()
    page.locator("#dataset-search").fill(before)
    expect(page.locator("#pictures textarea").first).to_have_value(before)
    page.get_by_role("button", name="Delete").click()
    page.locator("#confirm-yes").click()
    page.wait_for_url("**/?view=datasets")


@pytest.mark.parametrize("width", [1440, 1024, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_is_wider_than_the_screen(browser: Browser, server: Server, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    pages = {"": "#start-training", "?view=runs": "#runs h2:visible", "?dataset=sample": "#pictures figure"}
    for query, ready in pages.items():
        page.goto(f"{server.url}/{query}")
        page.locator(ready).first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, query
        assert page.evaluate("document.body.classList.contains('dark')") is (scheme == "dark")
    context.close()


def test_nothing_lies_over_the_header(page: Page) -> None:
    over = page.evaluate("""() => [...document.querySelectorAll("#page-train [data-testid='block-info']")].filter(
        (label) => {
        const header = document.querySelector("#studio-header").getBoundingClientRect(), middle = header.height / 2;
        scrollTo(0, label.getBoundingClientRect().top + scrollY - middle + 4);
        const box = label.getBoundingClientRect();
        const seen = document.elementFromPoint(box.left + 8, middle);
        return box.height && box.top < middle && !seen.closest("#studio-header");
        }).map((label) => label.textContent)""")
    assert page.locator("#page-train [data-testid='block-info']").count() > 5, "there are labels to look at"
    assert over == []


def test_a_run_is_renamed_by_keyboard(page: Page, server: Server, tmp_path: Path) -> None:
    made = runs.create(tmp_path, name="Before", owner="local", config=config.load({}), rows=[])
    assert launch.cancel(made)  # elsewhere, so that the server does not start it
    (server.home / "runs").mkdir(exist_ok=True)
    run = runs.Run(made.path.rename(server.home / "runs" / made.id))
    try:
        page.goto(f"{server.url}/?run={run.id}")
        page.get_by_role("button", name="Rename").press("Enter")
        field = page.get_by_label("Run name").and_(page.locator("#run-new-name"))
        expect(field).to_have_value("Before")
        field.press("Escape")
        expect(page.locator("#run-title")).to_have_text("Before")
        page.get_by_role("button", name="Rename").press("Enter")
        field.fill("<b>After</b>")
        field.press("Enter")
        expect(page.locator("#run-title")).to_have_text("<b>After</b>")
        expect(page.get_by_role("button", name="Rename")).to_be_focused()
        assert run.record()["name"] == "<b>After</b>"
    finally:
        runs.delete(server.home, run)


def test_the_page_is_in_the_browsers_language_until_another_is_chosen(browser: Browser, server: Server) -> None:
    context = browser.new_context(locale="ja-JP")
    page = context.new_page()
    page.goto(server.url)
    expect(page.locator("#start-training")).to_have_text("学習を開始")
    expect(page.get_by_label("学習率", exact=True)).to_be_visible()
    assert page.evaluate("document.documentElement.lang") == "ja"
    with page.expect_navigation():
        page.locator("#language").select_option("en")
    expect(page.locator("#start-training")).to_have_text("Start training")
    page.goto(f"{server.url}/?view=runs")
    expect(page.locator("#page-runs h1")).to_have_text("Runs")
    context.close()


def test_a_page_nobody_touches_draws_no_frames(page: Page, server: Server) -> None:
    page.add_init_script("""window.frames_asked = 0; const ask = window.requestAnimationFrame;
        window.requestAnimationFrame = (callback) => { window.frames_asked++; return ask.call(window, callback); };""")
    page.goto(server.url)
    page.locator("#start-training").wait_for()
    asked = """() => { const before = window.frames_asked;
        return new Promise((done) => setTimeout(() => done(window.frames_asked - before), 2000)); }"""
    for _ in range(10):  # the form's first check may still be under way
        frames = page.evaluate(asked)
        if frames < 20:
            break
    assert frames < 20


def test_an_animation_that_rested_is_drawn_again(page: Page, server: Server) -> None:
    page.goto(server.url)
    page.locator("#start-training").wait_for()
    calmed, again = page.evaluate("""async () => {
        let frames = 0, on = true;
        const frame = () => { frames++; if (on) requestAnimationFrame(frame); };
        const within = async (ms) => { const before = frames; await new Promise((done) => setTimeout(done, ms));
          return frames - before; };
        requestAnimationFrame(frame);
        let calmed = false;
        for (let i = 0; i < 15 && !calmed; i++) calmed = await within(2000) <= 1;
        on = false;
        await within(500);
        on = true;
        requestAnimationFrame(frame);
        let again = 0;
        for (let i = 0; i < 8 && again < 5; i++) again += await within(1000);
        return [calmed, again]; }""")
    assert calmed, "one that goes on and on is calmed"
    assert again >= 5, "and is drawn again at once after a rest, not a frame in ten seconds"


def test_a_server_nobody_uses_sleeps(page: Page, server: Server) -> None:
    page.goto(server.url)
    page.locator("#start-training").wait_for()
    page.goto("about:blank")
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    before = process.num_ctx_switches().voluntary
    time.sleep(3)
    # Gradio's own queue alone would wake it 3,000 times and more in these three seconds.
    assert process.num_ctx_switches().voluntary - before < 900
