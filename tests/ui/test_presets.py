"""Settings without typing: goals, presets of one's own, the finder, and a weight file that brings its settings back."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import torch
from playwright.sync_api import Page, expect
from safetensors.torch import save

from .conftest import Server

STEPS = "#field-train-max_steps textarea, #field-train-max_steps input"


def test_a_goal_fills_the_form_and_a_preset_brings_it_back(page: Page, server: Server) -> None:
    page.goto(server.url)
    expect(page.locator("#estimate")).to_contain_text("at least")
    page.get_by_label("A style").check()
    expect(page.locator(STEPS)).to_have_value(re.compile("[0-9]+"))
    expect(page.locator("#field-model-method input")).to_have_value("lora")
    page.locator(STEPS).fill("77")
    page.locator("#run-name textarea, #run-name input").click()
    page.get_by_role("button", name="These settings as JSON").click()
    expect(page.locator("#config-json")).to_contain_text('"max_steps": 77')
    expect(page.locator("#config-command")).to_contain_text("--train.max_steps 77")
    page.locator("#preset-name").fill("<i>mine</i>")
    page.get_by_role("button", name="Keep these settings").click()
    expect(page.locator("#goal")).to_contain_text("<i>mine</i>")
    kept = [json.loads(file.read_text()) for file in (server.home / "presets").glob("*.json")]
    assert [(one["name"], one["config"]["train"]) for one in kept] == [("<i>mine</i>", {"max_steps": 77})]

    page.get_by_label("Try it").check()
    expect(page.locator(STEPS)).to_have_value("")
    expect(page.locator("#field-model-method input")).to_have_value("full")
    page.reload()
    page.get_by_label("<i>mine</i>").check()
    expect(page.locator(STEPS)).to_have_value("77")
    page.get_by_role("button", name="These settings as JSON").click()
    page.get_by_role("button", name="Delete <i>mine</i>").click()
    expect(page.locator("#goal")).not_to_contain_text("mine")
    assert not list((server.home / "presets").glob("*.json"))
    page.get_by_role("button", name="Back to the defaults").click()
    expect(page.locator(STEPS)).to_have_value("")


def test_a_preset_travels_as_a_file_and_what_it_has_wrong_is_named(page: Page, server: Server) -> None:
    page.goto(server.url)
    expect(page.locator("#estimate")).to_be_visible()
    preset = {"studio_preset": 1, "name": "Soft / light", "config": {"train": {"max_steps": 33}}}
    drop(page, "soft.preset.json", json.dumps(preset).encode())
    expect(page.locator("#st-toasts")).to_contain_text("Soft / light")
    page.get_by_label("Soft / light").check()
    expect(page.locator(STEPS)).to_have_value("33")
    page.get_by_role("button", name="These settings as JSON").click()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save Soft / light as a file").click()
    assert saved.value.suggested_filename == "Soft-light.preset.json"
    written = json.loads(Path(saved.value.path()).read_text())
    assert written == preset

    wrong = {**written, "config": {"train": {"max_steps": -1, "colour": "red"}}}
    drop(page, "wrong.json", json.dumps(wrong).encode())
    refused = page.locator("#preset-refused [role=alert]")
    expect(refused).to_contain_text("train.max_steps: ")
    expect(refused).to_contain_text("train.colour: unknown setting")
    assert len(list((server.home / "presets").glob("*.json"))) == 1
    page.get_by_role("button", name="Delete Soft / light").click()
    expect(page.locator("#goal")).not_to_contain_text("Soft")
    page.get_by_role("button", name="Back to the defaults").click()


def test_a_setting_is_found_by_a_word_of_its_help(page: Page, server: Server) -> None:
    page.goto(server.url)
    page.locator("#find-setting").fill("min-snr")
    page.locator("#found-settings").get_by_role("button", name="SNR gamma").click()
    expect(page.locator("#field-objective-snr_gamma").locator("textarea, input")).to_be_focused()
    page.locator("#find-setting").fill("waiting threads")  # which stands in another group than its section's
    page.locator("#found-settings").get_by_role("button", name="Waiting threads").click()
    expect(page.locator("#group-expert #field-compute-thread_wait input")).to_be_focused()
    page.locator("#find-setting").fill("no such word")
    expect(page.locator("#found-settings")).to_contain_text("No setting")


def test_a_weight_file_brings_its_settings_back(page: Page, server: Server, tmp_path: Path) -> None:
    settings = {"train": {"max_steps": 123}, "lora": {"rank": 5}, "model": {"method": "lora"}}
    data = save({"x": torch.zeros(2)}, metadata={"studio_config": json.dumps(settings), "format": "pt"})
    page.goto(server.url)
    expect(page.locator("#estimate")).to_be_visible()
    drop(page, "taken-home.safetensors", data)
    expect(page.locator(STEPS)).to_have_value("123")
    expect(page.locator("#field-model-method input")).to_have_value("lora")
    drop(page, "other.safetensors", save({"x": torch.zeros(2)}))
    expect(page.locator("#st-toasts")).to_contain_text("other.safetensors holds no settings")
    page.get_by_role("button", name="Back to the defaults").click()


def drop(page: Page, name: str, data: bytes) -> None:
    """Drop a file on the page, as a person does."""
    page.evaluate("""([name, text]) => {
        const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
        const transfer = new DataTransfer();
        transfer.items.add(new File([bytes], name));
        document.querySelector('#page-train').dispatchEvent(
          new DragEvent('drop', {dataTransfer: transfer, bubbles: true, cancelable: true}));
    }""", [name, base64.b64encode(data).decode()])
