"""The studio's languages, which one somebody is answered in, and the plain pages for when the real one cannot be shown.

The words of the real pages are in `studio/ui/texts.py`.
"""

from __future__ import annotations

import html

from starlette.datastructures import Headers
from starlette.requests import cookie_parser

NAMES = {"en": "English", "ja": "日本語"}  # the columns of every text table, in their order; the first is the default
COOKIE = "studio-language"  # a person's own choice, set by the switch in the page's header

PLAIN: dict[str, tuple[str, ...]] = {
    "starting": ("Starting…", "起動しています…"),
    "starting_text": ("The studio's page is being loaded. It opens by itself in a moment.",
                      "ページを読み込んでいます。まもなく自動的に開きます。"),
    "broken": ("The page could not be loaded", "ページを読み込めませんでした"),
    "broken_text": ("The studio's log says why. The API and the training are not affected.",
                    "原因はスタジオのログにあります。API と学習には影響ありません。"),
    "token": ("This studio asks for its token", "このスタジオを開くにはトークンが必要です"),
    "token_text": ("Open the link that the studio printed when it started: it ends in ?token= and a long word. After "
                   "that this browser is known.",
                   "起動時に表示されたリンク（末尾が「?token=」と長い文字列）を開いてください。一度開けば、このブラウザーでは不要になります。"),
}


def spoken(headers: Headers) -> str:
    """The language to answer in: the person's choice, else the first of the browser's that there is, else English."""
    chosen = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
    return next((one for one in (chosen, *_accepted(headers.get("accept-language", ""))) if one in NAMES),
                next(iter(NAMES)))


def _accepted(header: str) -> list[str]:
    """`de-AT,ja;q=0.8` as [de, ja], the most wanted first."""
    found: list[tuple[float, str]] = []
    for part in header.split(","):
        tag, _, quality = part.partition(";")
        try:
            wish = float(quality.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
        if wish > 0:
            found.append((wish, tag.strip().partition("-")[0].lower()))
    return [tag for _, tag in sorted(found, key=lambda one: -one[0])]


def plain_page(name: str, language: str, head: str = "") -> str:
    """A page of the table above, for moments when the real one cannot be shown."""
    column = list(NAMES).index(language)
    title, text = (html.escape(PLAIN[key][column]) for key in (name, f"{name}_text"))
    return (f"<!doctype html><html lang={language}><meta charset=utf-8>{head}"
            f"<meta name=viewport content='width=device-width'>"
            f"<title>{title}</title><style>body{{font:16px/1.5 system-ui,sans-serif;"
            f"color-scheme:light dark;max-width:32rem;margin:20vh auto;padding:0 1rem}}</style>"
            f"<h1>{title}</h1><p>{text}</p>")
