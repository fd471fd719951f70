"""The studio's languages, which one somebody is answered in, and the plain pages for when the real one cannot be shown.

The words of the real pages are in `studio/ui/texts.py`.
"""

from __future__ import annotations

import html

from starlette.datastructures import Headers

from studio.web.headers import cookie, languages

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
    "token_text": ("Open the link that the studio printed when it started, or enter the long word after ?token= in it. "
                   "After that this browser is known.",
                   "起動時に表示されたリンクを開くか、その「?token=」の後の長い文字列を入力してください。"
                   "一度開けば、このブラウザーでは不要になります。"),
    "token_wrong": ("That is not this studio's token", "このスタジオのトークンではありません"),
    "token_wrong_text": ("Copy the whole word after ?token= in the link that the studio printed when it last started.",
                         "最後に起動したときに表示されたリンクの「?token=」の後を、すべてコピーしてください。"),
    "token_braked": ("Too many wrong tokens", "間違ったトークンが続いています"),
    "token_braked_text": ("Wait a minute before you try again. The right token opens the studio at any time.",
                          "1 分ほど待ってから、もう一度試してください。正しいトークンなら、いつでも開けます。"),
    "token_field": ("Token", "トークン"),
    "token_button": ("Open the studio", "スタジオを開く"),
    "sign_out": ("Sign out of the studio?", "サインアウトしますか？"),
    "sign_out_text": ("This browser forgets who you are. Your runs and data sets stay.",
                      "このブラウザーからサインアウトします。実行とデータセットはそのまま残ります。"),
    "sign_out_button": ("Sign out", "サインアウト"),
}
STYLE = """:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:32rem;margin:18vh auto;
padding:0 1rem}form{display:flex;flex-wrap:wrap;gap:.5rem;align-items:end}label{flex:1 1 14rem}
input{display:block;box-sizing:border-box;width:100%;font:inherit;padding:.5rem .7rem;border-radius:8px;
border:1px solid GrayText}button{font:inherit;padding:.5rem 1rem;border-radius:8px;border:0;color:#fff;
background:#c2410c;cursor:pointer}small{opacity:.7}"""


def spoken(headers: Headers) -> str:
    """The language to answer in: the person's choice, else the first of the browser's that there is, else English."""
    wishes = (cookie(headers, COOKIE), *languages(headers))
    return next((one for one in wishes if one in NAMES), next(iter(NAMES)))


def plain_page(name: str, language: str, head: str = "", form: str = "") -> str:
    """A page of the table above, for moments when the real one cannot be shown; `form` names what it asks for."""
    column = list(NAMES).index(language)
    title, text = (html.escape(PLAIN[key][column]) for key in (name, f"{name}_text"))
    return (f"<!doctype html><html lang={language}><meta charset=utf-8>{head}"
            f"<meta name=viewport content='width=device-width'>"
            f"<title>{title}</title><style>{STYLE}</style>"
            f"<main><small>Studio</small><h1>{title}</h1><p>{text}</p>{_form(form, column) if form else ''}</main>")


def _form(name: str, column: int) -> str:
    """What is sent goes to the page's own address, in the body: a secret in an address is kept by browsers and logs."""
    button = html.escape(PLAIN[f"{name}_button"][column])
    field = "" if name != "token" else (
        f"<label>{html.escape(PLAIN['token_field'][column])}<input name=token type=password required autofocus "
        "autocomplete=current-password></label>")
    return f"<form method=post>{field}<button>{button}</button></form>"
