"""Which of its files Gradio's page will ask for, so that a browser hears of all of them at once.

Gradio's page is many small modules, each of which is known only when another has come and names it: six in a row before
the first field stands. The names are in the modules (as its bundler writes them, seen in 6.31): a table of files at the
start of each, and for what is loaded later the places in it, by kind of component. Where a version writes them in
another way less is known beforehand, and the page comes as Gradio brings it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import gradio

FOLDER = Path(gradio.__file__).parent / "templates" / "frontend"
ENTRY = re.compile(r'<script type="module"[^>]* src="\./assets/([\w.-]+\.js)"')
TABLE = re.compile(r"\.f\|\|\(\w+\.f=\[([^\]]*)\]\)")
LATER = re.compile(r"import\(`\./([\w.-]+\.js)`\)[^\[\]]{0,80}__vite__mapDeps\(\[([\d,]*)\]\)")
COMPONENT = re.compile(r"component:\(\)=>[\w$]+\(\(\)=>" + LATER.pattern)
KINDS = re.compile(r"[{,](\w+):\{(?:base|example|component):")
ROW = ("Index-", "Blocks-")  # what the first module loads, and what that one does, by how their names begin


def links(kinds: Iterable[str]) -> str:
    """Link elements for what a page with components of these kinds asks for; "" where nothing is known of it."""
    written = ""
    for name in _files(frozenset(kinds)):
        if name.endswith(".js"):
            written += f'<link rel="modulepreload" crossorigin href="./assets/{name}">'
        else:
            written += f'<link rel="preload" as="style" crossorigin href="./assets/{name}">'
    return written


def _files(kinds: frozenset[str]) -> list[str]:
    """The names below `assets/`, in the order in which they are needed."""
    entry = ENTRY.search((FOLDER / "index.html").read_text())
    if entry is None:
        return []
    names: dict[str, None] = {}  # in order, each once
    module = entry[1]
    for begin in ROW:
        for name, needed in _later(_text(module)):
            if name.startswith(begin):
                names |= dict.fromkeys([*needed, name])
                module = name
    for name in list(names):
        for needed in _components(_text(name), kinds):
            names |= dict.fromkeys(needed)
    names.pop(entry[1], None)  # the document names it
    return [name for name in names if (FOLDER / "assets" / name).is_file()]


def _text(name: str) -> str:
    path = FOLDER / "assets" / name
    return path.read_text() if path.is_file() else ""


def _later(text: str) -> Iterator[tuple[str, list[str]]]:
    """What a module may load later, each with what that needs."""
    table = _table(text)
    for match in LATER.finditer(text):
        yield match[1], _named(table, match[2])


def _components(text: str, kinds: frozenset[str]) -> Iterator[list[str]]:
    """What the components of these kinds need, by a module that has the table of components."""
    table = _table(text)
    begins = list(KINDS.finditer(text))
    for place, begin in enumerate(begins):
        end = begins[place + 1].start() if place + 1 < len(begins) else len(text)
        component = COMPONENT.search(text, begin.start(), end)
        if begin[1] in kinds and component:
            yield _named(table, component[2])


def _table(text: str) -> list[str]:
    """The files that a module names by their places."""
    table = TABLE.search(text[:100_000])
    return [name.strip('"').removeprefix("./") for name in table[1].split(",")] if table else []


def _named(table: list[str], places: str) -> list[str]:
    return [table[int(place)] for place in places.split(",") if place and int(place) < len(table)]
