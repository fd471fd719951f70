"""A language that is made up of the English in brackets: no word of a page stands outside of them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import polib
import pytest
from playwright.sync_api import Browser, Page

from studio import storage
from studio.datasets import sample
from studio.folders import events, runs
from studio.web.http.languages import COOKIE
from tests.ui.conftest import ROOT, Server, teller

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

LANGUAGE = "xx"
BRACKETED = re.compile(r"⟦[^⟦⟧]*⟧")
WORD = re.compile(r"[^\W\d_]{2,}")
CAPTIONS = set(WORD.findall(" ".join(text for row in sample.Sample(ROOT).freeze() for text in row["captions"])))
# What bases, the shipped data set, trackers, a model and a precision are called, in every language; a clock and a unit.
NAMES = CAPTIONS | {"embedded", "Sample", "tensorboard", "wandb", "trackio", "bf", "Salesforce", "blip", "image",
                    "captioning", "large", "AM", "PM", "kB", "MB"}
# What each block of a page says, and what is read out or shown in place of it; code and a field's value are names that
# people and settings have.
SHOWN = """() => {
    const inline = (node) => getComputedStyle(node).display.startsWith("inline");
    const blocks = new Map();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        let around = walker.currentNode.parentElement;
        if (!around || !around.checkVisibility()) continue;
        if (around.closest("script, style, noscript, textarea, code, pre, [translate=no]")) continue;
        while (inline(around) && around.parentElement) around = around.parentElement;
        blocks.set(around, (blocks.get(around) ?? "") + walker.currentNode.textContent);
    }
    const texts = [document.title, ...blocks.values()];
    for (const name of ["placeholder", "title", "aria-label", "alt"])
        for (const node of document.querySelectorAll(`[${name}]`))
            if (node.checkVisibility()) texts.push(node.getAttribute(name));
    return texts;
}"""


def link(source: str, target: str) -> str:
    """The same file once more under another name, or a copy where that is another disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def made_up(program: Path) -> None:
    """A copy of the program in `program` with one more file: the English of every row, in brackets."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "studio", program / "studio", copy_function=link, ignore=ignored)
    shutil.copy(ROOT / "app.py", program)
    catalogue = polib.POFile()
    catalogue.metadata = {"Language": LANGUAGE, "X-Name": "⟦Brackets⟧", "Content-Type": "text/plain; charset=UTF-8"}
    for row in polib.pofile(str(ROOT / "studio" / "locale" / "ja.po")):
        catalogue.append(polib.POEntry(msgctxt=row.msgctxt, msgid=row.msgid, msgstr=f"⟦{row.msgid}⟧"))
    catalogue.save(str(program / "studio" / "locale" / f"{LANGUAGE}.po"))


@pytest.fixture(scope="module")
def brackets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A studio that has the language too."""
    program = tmp_path_factory.mktemp("program")
    made_up(program)
    home = tmp_path_factory.mktemp("studio") / "home"
    home.mkdir()
    running = Server(home, program)
    running.start()
    yield running
    running.kill()


@pytest.fixture
def reader(browser: Browser, brackets: Server) -> Iterator[BrowserContext]:
    """Somebody who chose that language."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.add_cookies([{"name": COOKIE, "value": LANGUAGE, "url": brackets.url}])
    yield context
    context.close()


def outside(text: str) -> str:
    """What of a text stands outside of the brackets, which may stand within one another."""
    before = None
    while before != text:
        before, text = text, BRACKETED.sub(" ", text)
    return " ".join(text.split())


def left_in_english(page: Page) -> set[str]:
    """The words on the page that stand in no bracket and are nobody's: no caption, no name."""
    words: set[str] = set()
    for text in page.evaluate(SHOWN):
        words.update(WORD.findall(outside(text)))
    return words - NAMES


def fold_out(page: Page) -> None:
    """Open every closed part of the page."""
    for group in page.locator("button.label-wrap:visible").all():
        group.click()
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")


def test_no_page_has_a_word_of_english_left(reader: BrowserContext, brackets: Server, tmp_path: Path) -> None:
    told: Callable[..., runs.Run] = teller(brackets, tmp_path)
    run, other = told("狐", exact=False), told("狸")
    with storage.staged(run.checkpoints / "checkpoint-2000", {"step": 2000}) as folder:
        storage.write_json(folder / "state.json", {})
    writer = events.EventWriter(run.events_file)
    writer.add("checkpoint", step=2000, name="checkpoint-2000", bytes=1, seconds=0.1, ok=True, error=None)
    writer.close()
    page, left = reader.new_page(), {}
    page.set_default_timeout(60_000)
    pages = {"": "#notice dl", "?view=runs": "#run-list a", "?view=datasets": ".st-set", "?view=trash": "#trash h2",
             f"?run={run.id}&with={other.id}": "#loss-chart canvas", "?dataset=sample": "#pictures img",
             "?dataset=sample&part=health": "#health .st-bars", "?dataset=sample&part=bulk": "#tags .st-tag",
             "?dataset=sample&part=suggest": "#suggest form", f"?play={run.id}": "#play-form"}
    for query, ready in pages.items():
        page.goto(f"{brackets.url}/{query}")
        page.locator(ready).first.wait_for()
        fold_out(page)
        left[query] = left_in_english(page)
    assert not any(left.values()), {where: sorted(words) for where, words in left.items() if words}
