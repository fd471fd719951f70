"""The studio's languages, which one somebody is answered in, and the plain pages for when the real one cannot be shown.

The words of the real pages are in `studio/ui/texts/`. A language is there when its catalogue is (translation.py).
"""

from __future__ import annotations

import html

from starlette.datastructures import Headers

from studio.web.http.headers import cookie, languages
from studio.web.http.translation import ENGLISH, LOCALE, catalogue, text

NAMES = {ENGLISH: "English", **{path.stem: catalogue(path.stem).name for path in sorted(LOCALE.glob("*.po"))}}
COOKIE = "studio-language"  # a person's own choice, set by the switch in the page's header

PLAIN = {
    "starting": "Starting…",
    "starting_text": "The studio's page is being loaded. It opens by itself in a moment.",
    "broken": "The page could not be loaded",
    "broken_text": "The studio's log says why. The API and the training are not affected.",
    "token": "This studio asks for its token",
    "token_text": (
        "Open the link that the studio printed when it started, or enter the long word after ?token= in it. After "
        "that this browser is known."),
    "token_wrong": "That is not this studio's token",
    "token_wrong_text": "Copy the whole word after ?token= in the link that the studio printed when it last started.",
    "token_braked": "Too many wrong tokens",
    "token_braked_text": "Wait a minute before you try again. The right token opens the studio at any time.",
    "token_field": "Token",
    "token_button": "Open the studio",
    "sign_out": "Sign out of the studio?",
    "sign_out_text": "This browser forgets who you are. Your runs and data sets stay.",
    "sign_out_button": "Sign out",
}
STYLE = """:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:32rem;margin:18vh auto;
padding:0 1rem}form{display:flex;flex-wrap:wrap;gap:.5rem;align-items:end}label{flex:1 1 14rem}
input{display:block;box-sizing:border-box;width:100%;font:inherit;padding:.5rem .7rem;border-radius:8px;
border:1px solid GrayText}button{font:inherit;padding:.5rem 1rem;border-radius:8px;border:0;color:#fff;
background:#c2410c;cursor:pointer}small{opacity:.7}"""


def negotiate_language(headers: Headers) -> str:
    """The language to answer in: the person's choice, else the first of the browser's that there is, else English."""
    for wish in (cookie(headers, COOKIE), *languages(headers)):
        if wish in NAMES:
            return wish
    return ENGLISH


def plain_page(name: str, language: str, head: str = "", form: str = "") -> str:
    """A page of the table above, for moments when the real one cannot be shown; `form` names what it asks for."""
    title = _plain(name, language)
    content = f"<small>Studio</small><h1>{title}</h1><p>{_plain(f'{name}_text', language)}</p>"
    if form:
        content += _form(form, language)
    return (f"<!doctype html><html lang={language}><meta charset=utf-8>{head}"
            f"<meta name=viewport content='width=device-width'>"
            f"<title>{title}</title><style>{STYLE}</style>"
            f"<main>{content}</main>")


def _plain(name: str, language: str) -> str:
    return html.escape(text(f"plain.{name}", PLAIN[name], language))


def _form(name: str, language: str) -> str:
    """What is sent goes to the page's own address, in the body: a secret in an address is kept by browsers and logs."""
    field = ""
    if name == "token":
        field = (f"<label>{_plain('token_field', language)}<input name=token type=password required autofocus "
                 "autocomplete=current-password></label>")
    return f"<form method=post>{field}<button>{_plain(f'{name}_button', language)}</button></form>"
