"""What the server sends of a page by itself, before any script has run: its head, its header, and its shape.

Gradio draws a page a while after its document has come. Until then the browser shows the header, which is the real one,
and below it the shape of what the address asks for (`static/kit/shapes.js` takes it away), laid out by the same styles
as the page, so that nothing moves when that comes.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping

from studio.ui import facts, parts, texts
from studio.web.http.languages import NAMES
from studio.web.page import serving


def head(language: str) -> str:
    """The page's head: icon, styles, words and facts for the scripts, and the scripts."""
    files = serving.files()
    return "\n".join((
        '<meta name="color-scheme" content="light dark">',
        f'<link rel="stylesheet" href="{files.address(serving.STYLES)}">',
        f'<link rel="icon" type="image/svg+xml" href="{files.address("icon.svg")}">',
        f'<script type="application/json" id="studio-texts" data-language="{language}">'
        f'{_json(texts.table(language))}</script>',
        f'<script type="application/json" id="studio-facts">{_json(facts.table())}</script>',
        f'<script type="module" src="{files.address(serving.SCRIPT)}"></script>',
    ))


def body(language: str) -> str:
    """What stands in the page's body before Gradio's place: the first script, the header, the pages' shapes."""
    with texts.speaking(language):
        shapes = "".join(f'<div id="shape-{name}" class="st-live">{shape}</div>' for name, shape in _shapes().items())
        return (f'<script>{serving.files().first}</script>{_header(language)}'
                f'<div id="shapes" aria-hidden="true">{shapes}</div>')


def _json(data: Mapping[str, object]) -> str:
    """Data for a script's element, which only "</script>" could end."""
    return json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")


def _header(language: str) -> str:
    """The header: to the start, the pages, the languages, light and dark."""
    links = "".join(
        f'<a href="?view={page}" data-page="{page}" id="nav-{page}">{html.escape(texts.t(f"{page}.nav"))}</a>'
        for page in facts.NAVIGATION)
    languages = ""
    for code, name in NAMES.items():
        selected = " selected" if code == language else ""
        languages += f'<option value="{code}" lang="{code}"{selected}>{name}</option>'
    title = html.escape(texts.t("app.title"))
    toggle = html.escape(texts.t("app.theme"))
    return (f'<div id="studio-header"><header class="st-header">'
            f'<a class="st-brand" href="?view=train" data-page="train" aria-label="{title}">'
            f'<svg viewBox="0 0 32 32" aria-hidden="true"><rect x="3" y="3" width="26" height="26" rx="7"/>'
            f'<circle cx="16" cy="16" r="7.5"/><circle cx="16" cy="16" r="2.5"/></svg>'
            f'<span>{title}</span></a>'
            f'<nav aria-label="{html.escape(texts.t("app.pages"))}">{links}</nav>'
            f'<select id="language" aria-label="{html.escape(texts.t("app.language"))}">{languages}</select>'
            f'<button type="button" id="theme-toggle" aria-label="{toggle}" title="{toggle}">'
            f'<svg viewBox="0 0 24 24" aria-hidden="true"><circle cx="12" cy="12" r="8.5"/>'
            f'<path d="M12 3.5a8.5 8.5 0 0 1 0 17z"/></svg></button></header></div>')


# ------------------------------------------------------------------------------------------------------------- shapes


def _shapes() -> dict[str, str]:
    """The shape of each page, and of one run and one data set, by the names that `static/kit/shapes.js` knows."""
    return {
        "train": parts.title("train") + _columns("st-columns", _form(), _start()),
        "runs": parts.title("runs") + _table(),
        "datasets": parts.title("datasets") + _columns(
            "st-set-columns", _div("st-sets", _set() * 3), _card(_bar("9em", "1.2em"), _lines(4), _box("150px"))),
        "play": parts.title("play") + _card(_bar("12em", "1.2em"), _lines(3)),
        "trash": parts.title("trash") + _table(),
        "run": _back() + _named() + _card(_lines(2), _box("10px"), _lines(2)) + _columns(
            "st-run-grid", _card(_bar("8em", "1.2em"), _box("250px")), _card(_lines(5))),
        "dataset": _back() + _named() + _card(_div("st-sets", _set() * 6)),
    }


def _form() -> str:
    """The form's first card: a choice, a choice, goals, prompts."""
    return _card(parts.heading("train.learn_title", "train.learn_help"),
                 _field(66, 40), _field(66, 40), _field(47, 35), _field(66, 104))


def _start() -> str:
    """What is beside the form: the name, the buttons, the run at a glance."""
    return _card(parts.heading("train.start_title"), _field(23, 43), _box("54px"),
                 _div("st-facts", _div("", _bar("60%"), _bar("40%")) * 8))


def _table() -> str:
    return _div("st-card st-table", _div("st-row", *map(_bar, ("60%", "80%", "70%", "60%", "80%"))) * 4)


def _set() -> str:
    """A data set, or a picture of one."""
    return _card(_box("88px"), _bar("60%"), _bar("80%"))


def _named() -> str:
    """The name of a run or a data set, not known yet."""
    return _div("st-run-head", _div("", _bar("14em", "32px"), _bar("22em")))


def _back() -> str:
    return _div("st-back", _bar("7em"))


def _field(above: int, height: int) -> str:
    """A field of the form: its label and help, `above` pixels of them, and a box."""
    return f'<div style="height:{above}px">{_bar("8em")}{_bar("75%") if above > 30 else ""}</div>{_box(f"{height}px")}'


def _lines(count: int) -> str:
    return "".join(map(_bar, ("92%", "84%", "96%", "60%", "75%")[:count]))


def _columns(name: str, main: str, side: str) -> str:
    return _div(name, _div("st-main", main), _div("st-side", side))


def _card(*inner: str) -> str:
    return _div("st-card", *inner)


def _bar(width: str, height: str = ".9em") -> str:
    """Where words will stand."""
    return f'<i class="st-bar" style="width:{width};height:{height}"></i>'


def _box(height: str) -> str:
    """Where a field, a picture or a curve will stand."""
    return f'<i class="st-box" style="height:{height}"></i>'


def _div(name: str, *inner: str) -> str:
    return f'<div class="{name}">{"".join(inner)}</div>'
