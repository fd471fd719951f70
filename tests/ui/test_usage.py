"""The room that things take, on the pages, and emptying the trash."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from studio import datasets

from .conftest import Server


def test_what_is_deleted_is_told_and_erased_for_good(server: Server, page: Page) -> None:
    datasets.draft(server.home, "for the trash", "local").delete()
    trash = server.home / "trash"
    assert list(trash.iterdir())
    page.goto(f"{server.url}/?view=datasets")
    expect(page.locator("#usage-own")).to_contain_text(re.compile(r"Your things take .*B\. .*B lie in the trash\."))
    page.goto(f"{server.url}/?view=trash")
    page.locator("#trash-empty").click()
    page.locator("#confirm-yes").click()
    expect(page.locator("#st-toasts")).to_contain_text("Emptied:")
    expect(page.locator("#trash-empty")).to_have_count(0)
    assert not list(trash.iterdir())
    page.goto(f"{server.url}/?view=runs")
    expect(page.locator("#usage")).to_have_count(1)
