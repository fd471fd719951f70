"""axe-core finds nothing serious on any page and nothing is cut: light and dark, wide and narrow, in both languages."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from studio import storage
from studio.folders import events, runs

if TYPE_CHECKING:
    from tests.ui.conftest import Server


def serious(page: Page) -> list[str]:
    """What axe-core calls serious or critical on what is visible now."""
    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return [f"{v['id']}: {v['help']}: {node['html'][:160]}" for v in found if v["impact"] in ("serious", "critical")
            for node in v["nodes"]]


def spilled(page: Page) -> list[str]:
    """What is visible and reaches beyond its card, or beyond the window, where it cannot be scrolled to."""
    return page.evaluate("""() => {
        const scrolls = (node) => ["auto", "scroll", "hidden", "clip"].includes(getComputedStyle(node).overflowX);
        const holds = (node) => node.matches(".st-card, .st-dialog, dialog, body");
        const looked = "button, a, label, input, select, textarea, summary, h1, h2, h3, p, li, img";
        return [...document.querySelectorAll(looked)]
          .filter((one) => one.checkVisibility() && one.getBoundingClientRect().width > 0)
          .filter((one) => {
            let around = one.parentElement;
            while (!holds(around) && !scrolls(around)) around = around.parentElement;
            const [inner, outer] = [one, around].map((node) => node.getBoundingClientRect());
            return !scrolls(around) && (inner.right > outer.right + 1 || inner.left < outer.left - 1);
          }).map((one) => `reaches out of its card: ${one.outerHTML.slice(0, 160)}`); }""")


def _keep_a_checkpoint(run: runs.Run) -> None:
    with storage.staged(run.checkpoints / "checkpoint-2000", {"step": 2000}) as folder:
        storage.write_json(folder / "state.json", {})
    writer = events.EventWriter(run.events_file)
    writer.add("checkpoint", step=2000, name="checkpoint-2000", bytes=1, seconds=0.1, ok=True, error=None)
    writer.close()


@pytest.mark.parametrize("width, scheme, locale", [
    (1440, "light", "en-GB"), (1440, "dark", "ja-JP"), (390, "light", "ja-JP"), (390, "dark", "en-GB")])
def test_nothing_serious_on_any_page(browser: Browser, server: Server, told: Callable[..., runs.Run], width: int,
                                     scheme: str, locale: str) -> None:
    run, other = told("A run", exact=False), told("Another")
    _keep_a_checkpoint(run)
    context = browser.new_context(viewport={"width": width, "height": 900}, locale=locale,
                                  color_scheme=scheme)  # type: ignore[arg-type]
    page, found = context.new_page(), {}
    pages = {"": "#notice dl", "?view=runs": "#run-list a", "?view=datasets": ".st-set",
             f"?run={run.id}&with={other.id}": "#loss-chart canvas", "?dataset=sample": "#pictures img",
             "?dataset=sample&part=health": "#health .st-bars", "?dataset=sample&part=bulk": "#tags .st-tag",
             "?dataset=sample&part=suggest": "#suggest form", f"?play={run.id}": "#play-form"}
    for query, ready in pages.items():
        page.goto(f"{server.url}/{query}")
        page.locator(ready).first.wait_for()
        if not query:
            for group in page.locator("#page-train button.label-wrap").all():
                group.click()
        found[query] = [*serious(page), *spilled(page)]
    page.goto(f"{server.url}/?dataset=sample")
    page.locator("#dataset-push").click()
    page.locator("#push-go").wait_for()
    found["push"] = [*serious(page), *spilled(page)]
    page.keyboard.press("Escape")
    page.locator("#pictures .st-picture").first.click()
    page.locator("#seen figure").nth(2).wait_for(timeout=120_000)
    found["see"] = [*serious(page), *spilled(page)]
    page.goto(f"{server.url}/?run={run.id}")
    page.locator("#chart-compare").click()
    page.locator(".st-pick").first.wait_for()
    found["compare"] = [*serious(page), *spilled(page)]
    page.keyboard.press("Escape")
    page.locator("#samples .st-shot").last.click()
    page.locator(".st-viewer").wait_for()
    found["viewer"] = [*serious(page), *spilled(page)]
    context.close()
    assert not any(found.values()), {where: problems for where, problems in found.items() if problems}
