"""Steering runs on their pages: changing, branching, what puts a failed one right, the queue, being told of the end."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Browser, Page, expect

from studio import config, storage
from studio.folders import events, runs

if TYPE_CHECKING:
    from tests.ui.conftest import Server

QUICK = {"data": {"resolution": 32}, "train": {"max_steps": 4, "batch_size": 1, "mixed_precision": "no"},
         "ema": {"enabled": False}, "checkpoint": {"every_steps": 2},
         "sample": {"prompts": ["a fox"], "num_inference_steps": 2, "every_steps": 0}}


def api(server: Server, path: str, body: Any = None) -> Any:
    request = urllib.request.Request(f"{server.url}/api/{path}", None if body is None else json.dumps(body).encode(),
                                     {"content-type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def test_a_run_is_changed_and_the_change_is_shown(page: Page, server: Server, told: Callable[..., runs.Run]) -> None:
    run = told("Changed")
    page.goto(f"{server.url}/?run={run.id}")
    page.get_by_role("button", name="Change", exact=True).click()
    dialog = page.get_by_role("dialog")
    steps = dialog.get_by_label("Steps", exact=True)
    expect(steps).to_have_value("5000")
    steps.fill("0")
    dialog.get_by_role("button", name="Change", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("train.max_steps")
    steps.fill("6000")
    dialog.get_by_label("Learning rate multiplier").fill("0.5")
    dialog.get_by_label("Sample prompts").fill("a <b>dog</b>\n\na cat")
    dialog.get_by_role("button", name="Change", exact=True).click()
    expect(dialog).to_be_hidden()
    changes = page.locator("#edits")
    for words in ("From step 0 on", "Steps: 6000", "Learning rate multiplier: 0.5", "a <b>dog</b> · a cat"):
        expect(changes).to_contain_text(words)
    expect(page.locator("#run-step dd")).to_have_text("2,500 of 6,000")
    assert run.config().sample.prompts == ["a <b>dog</b>", "a cat"] and run.config().checkpoint.keep == 2


def test_a_checkpoint_is_branched_and_a_finished_run_trained_further(page: Page, server: Server) -> None:
    parent = api(server, "runs", {"name": "Parent", "config": QUICK})["id"]
    page.goto(f"{server.url}/?run={parent}")
    badge = page.locator(".st-run-head .st-badge")
    expect(badge).to_have_text("Finished", timeout=200_000)
    page.get_by_role("button", name="Branch from checkpoint-4").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Run name").fill("A branch")
    dialog.get_by_role("button", name="Start the branch").click()
    expect(dialog.get_by_role("alert")).to_contain_text("set more steps than that")
    dialog.get_by_label("Steps", exact=True).fill("6")
    dialog.get_by_role("button", name="Start the branch").click()
    expect(page).not_to_have_url(re.compile(parent))
    expect(page.locator("#run-title")).to_have_text("A branch")
    expect(badge).to_have_text("Finished", timeout=200_000)
    page.get_by_role("button", name="Train further").click()
    page.get_by_role("dialog").get_by_label("Steps", exact=True).fill("8")
    page.get_by_role("button", name="Change and go on").click()
    expect(page.locator("#run-step dd")).to_have_text("8 of 8", timeout=200_000)
    expect(badge).to_have_text("Finished", timeout=200_000)
    made = api(server, f"runs/{page.url.partition('run=')[2]}")
    assert (made["parent"]["checkpoint"], made["step"], made["edits"][0]["step"]) == ("checkpoint-4", 8, 6)


def fail(run: runs.Run, code: str, message: str, hint: str) -> None:
    """The last word of a told run."""
    writer = events.EventWriter(run.events_file)
    writer.end("failed", 2500, error={"code": code, "message": message, "hint": hint, "evidence": "e"})
    writer.close()


def test_a_failed_run_offers_its_fix(page: Page, server: Server, told: Callable[..., runs.Run]) -> None:
    run = told("Too large")
    fail(run, "out_of_memory", "The training ran out of memory.", "Take less.")
    page.goto(f"{server.url}/?run={run.id}")
    fixes = page.locator("#run-error #fixes")
    expect(fixes).to_contain_text("A new run begins at the first step.")
    fixes.get_by_role("button", name="Gradient checkpointing").click()
    expect(page).not_to_have_url(re.compile(run.id))
    expect(page.locator("#run-title")).to_have_text("Too large")
    made = api(server, f"runs/{page.url.partition('run=')[2]}")
    assert made["config"]["train"]["gradient_checkpointing"] is True and made["config"]["train"]["max_steps"] == 5000
    api(server, f"runs/{made['id']}/cancel", {})


def test_an_edit_of_a_stopped_run_shows_on_every_page_at_once(page: Page, server: Server,
                                                              told: Callable[..., runs.Run]) -> None:
    run = told("Still")
    page.goto(f"{server.url}/?run={run.id}")
    expect(page.locator("#run-step dd")).to_have_text("2,500 of 5,000")
    api(server, f"runs/{run.id}/edit", {"config": {"train": {"max_steps": 6000}}})  # by another page, or a program
    expect(page.locator("#edits")).to_contain_text("6000")
    expect(page.locator("#run-step dd")).to_have_text("2,500 of 6,000")


def test_a_fault_that_only_a_person_can_put_right_opens_the_form_at_it(page: Page, server: Server,
                                                                       told: Callable[..., runs.Run]) -> None:
    run = told("No base")
    fail(run, "base_model", "somebody/model: unet/ has no weights", "Choose another base model.")
    page.goto(f"{server.url}/?run={run.id}")
    page.get_by_role("button", name="Choose another base model").click()
    expect(page.locator("#field-model-base input")).to_be_focused()
    expect(page.get_by_label("Steps", exact=True)).to_have_value("5000")
    assert "view=train" in page.url


@pytest.fixture
def waiting(server: Server, tmp_path: Path) -> Iterator[list[runs.Run]]:
    """Three runs that wait, behind one whose supervisor is this test."""
    first, *rest = (runs.create(tmp_path, name=f"Run <i>{name}</i>", owner="local", config=config.load({}), rows=[])
                    for name in "zabc")
    lock = storage.Lock(first.path / "lock")
    assert lock.acquire()
    (server.home / "runs").mkdir(exist_ok=True)
    moved = [runs.Run(run.path.rename(server.home / "runs" / run.id)) for run in (first, *rest)]
    yield moved[1:]
    for item in api(server, "queue")["items"]:
        api(server, f"runs/{item['id']}/cancel", {})
    storage.write_json(moved[0].process_file, {"attempt": 1, "pid": 1, "start_time": None, "began": 1.0})
    lock.release()


def test_the_queue_is_reordered_by_keyboard(page: Page, server: Server, waiting: list[runs.Run]) -> None:
    page.goto(f"{server.url}/?view=runs")
    names = page.locator("#queue li a")
    expect(names).to_have_text(["Run <i>a</i>", "Run <i>b</i>", "Run <i>c</i>"])
    up = page.get_by_role("button", name="Move Run <i>c</i> up")
    up.focus()
    page.keyboard.press("Enter")
    expect(names).to_have_text(["Run <i>a</i>", "Run <i>c</i>", "Run <i>b</i>"])
    expect(up).to_be_focused()
    page.keyboard.press("Enter")
    expect(names).to_have_text(["Run <i>c</i>", "Run <i>a</i>", "Run <i>b</i>"])
    expect(up).to_be_disabled()
    expect(page.get_by_role("button", name="Move Run <i>c</i> down")).to_be_focused()
    expect(page.locator("#queue [role=status]")).to_have_text("Run <i>c</i> is number 1 now.")
    assert [item["id"] for item in api(server, "queue")["items"]] == [waiting[i].id for i in (2, 0, 1)]


WATCHED = """const Real = window.Notification; window.told = [];
window.Notification = class extends Real { constructor(...words) { super(...words); window.told.push(words); } };"""


def test_the_end_is_told_to_whoever_asked(browser: Browser, server: Server, waiting: list[runs.Run]) -> None:
    context = browser.new_context(permissions=["notifications"])
    context.add_init_script(WATCHED)
    page = context.new_page()
    page.goto(f"{server.url}/?run={waiting[0].id}")
    page.get_by_role("button", name="Tell me when it ends").click()
    expect(page.get_by_role("button", name="You will be told when it ends")).to_have_attribute("aria-pressed", "true")
    page.reload()
    expect(page.get_by_role("button", name="You will be told when it ends")).to_be_visible()
    page.goto(f"{server.url}/?view=train")  # where no run is followed
    api(server, f"runs/{waiting[0].id}/cancel", {})
    page.wait_for_function("window.told.length === 1")
    title, options = page.evaluate("window.told[0]")
    assert title == "Run <i>a</i>" and "Cancelled" in options["body"]
    context.close()
