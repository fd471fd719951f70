"""The whole page: a header with the ways to Train, Runs, Datasets and Try it, the four of them, and the trash."""

from __future__ import annotations

import html

import gradio as gr

from studio.ui import gradio_adapter, parts, texts, train
from studio.ui.facts import NAVIGATION
from studio.ui.gate import Gate, Sessions
from studio.web.http.languages import NAMES
from studio.web.services.service import Studio


def make(studio: Studio) -> dict[str, Gate]:
    """The pages of each language as an app."""
    apps: dict[str, Gate] = {}
    sessions = Sessions(one_owner=not studio.settings.public)
    for language in NAMES:
        blocks = build(studio, language)
        apps[language] = Gate(gradio_adapter.mount(blocks, language), blocks.app, studio, sessions)
    return apps


def build(studio: Studio, language: str) -> gr.Blocks:
    """The pages over `studio` in one language. Which one shows is in the URL; `static/kit/route.js` reads it."""
    with texts.speaking(language), gr.Blocks(title=texts.t("app.title"), analytics_enabled=False,
                                             fill_width=True) as blocks:
        gr.HTML(_header(language), container=False, padding=False, elem_id="studio-header")
        with gr.Column(elem_id="page-train", elem_classes="st-page"):
            gr.HTML(_title("train"), container=False)
            train.build(studio, language)
        with gr.Column(elem_id="page-runs", elem_classes="st-page"):
            parts.live("runs", "runs/runs.js")
        with gr.Column(elem_id="page-datasets", elem_classes="st-page"):
            parts.live("datasets", "datasets/datasets.js")
        with gr.Column(elem_id="page-play", elem_classes="st-page"):
            parts.live("play", "play/play.js")
        with gr.Column(elem_id="page-trash", elem_classes="st-page"):
            parts.live("trash", "trash/trash.js")
    return blocks


def _header(language: str) -> str:
    """The header's HTML: to the start, the pages, the languages, light and dark."""
    links = "".join(
        f'<a href="?view={page}" data-page="{page}" id="nav-{page}">{html.escape(texts.t(f"{page}.nav"))}</a>'
        for page in NAVIGATION)
    languages = ""
    for code, name in NAMES.items():
        selected = " selected" if code == language else ""
        languages += f'<option value="{code}" lang="{code}"{selected}>{name}</option>'
    title = html.escape(texts.t("app.title"))
    toggle = html.escape(texts.t("app.theme"))
    return (f'<header class="st-header"><a class="st-brand" href="?view=train" data-page="train" aria-label="{title}">'
            f'<svg viewBox="0 0 32 32" aria-hidden="true"><rect x="3" y="3" width="26" height="26" rx="7"/>'
            f'<circle cx="16" cy="16" r="7.5"/><circle cx="16" cy="16" r="2.5"/></svg>'
            f'<span>{title}</span></a>'
            f'<nav aria-label="{html.escape(texts.t("app.pages"))}">{links}</nav>'
            f'<select id="language" aria-label="{html.escape(texts.t("app.language"))}">{languages}</select>'
            f'<button type="button" id="theme-toggle" aria-label="{toggle}" title="{toggle}">'
            f'<svg viewBox="0 0 24 24" aria-hidden="true"><circle cx="12" cy="12" r="8.5"/>'
            f'<path d="M12 3.5a8.5 8.5 0 0 1 0 17z"/></svg></button></header>')


def _title(page: str) -> str:
    return (f'<div class="st-title"><h1>{html.escape(texts.t(f"{page}.title"))}</h1>'
            f'<p>{html.escape(texts.t(f"{page}.lead"))}</p></div>')
