"""The whole page: a header with the ways to Train, Runs and Datasets, and the three of them."""

from __future__ import annotations

import html
from typing import Any

import gradio as gr

from studio.ui import parts, texts, theme, train
from studio.web.service import Studio

PAGES = ("train", "runs", "datasets")


def build(studio: Studio) -> gr.Blocks:
    """The pages over `studio`. Which one shows is in the URL; `static/app.js` reads it."""
    with gr.Blocks(title=texts.t("app.title"), analytics_enabled=False, fill_width=True) as blocks:
        gr.HTML(_header(), container=False, padding=False, elem_id="studio-header")
        with gr.Column(elem_id="page-train", elem_classes="st-page"):
            gr.HTML(_title("train"), container=False)
            train.build(studio)
        with gr.Column(elem_id="page-runs", elem_classes="st-page"):
            parts.live("runs", "runs.js")
        with gr.Column(elem_id="page-datasets", elem_classes="st-page"):
            parts.live("datasets", "datasets.js")
    return blocks


def mount_options() -> dict[str, Any]:
    """What `gr.mount_gradio_app` needs besides the Blocks."""
    return {"theme": theme.theme(), "head": theme.head(), "footer_links": [], "run_history": False,
            "enable_monitoring": False, "show_error": False}


def _header() -> str:
    links = "".join(
        f'<a href="?view={page}" data-page="{page}" id="nav-{page}">{html.escape(texts.t(f"{page}.nav"))}</a>'
        for page in PAGES)
    title = html.escape(texts.t("app.title"))
    toggle = html.escape(texts.t("app.theme"))
    return (f'<header class="st-header"><a class="st-brand" href="?view=train" data-page="train" aria-label="{title}">'
            f'<svg viewBox="0 0 32 32" aria-hidden="true"><rect x="3" y="3" width="26" height="26" rx="7"/>'
            f'<circle cx="16" cy="16" r="7.5"/><circle cx="16" cy="16" r="2.5"/></svg>'
            f'<span>{title}</span></a>'
            f'<nav aria-label="{html.escape(texts.t("app.pages"))}">{links}</nav>'
            f'<button type="button" id="theme-toggle" aria-label="{toggle}" title="{toggle}">'
            f'<svg viewBox="0 0 24 24" aria-hidden="true"><circle cx="12" cy="12" r="8.5"/>'
            f'<path d="M12 3.5a8.5 8.5 0 0 1 0 17z"/></svg></button></header>')


def _title(page: str) -> str:
    return (f'<div class="st-title"><h1>{html.escape(texts.t(f"{page}.title"))}</h1>'
            f'<p>{html.escape(texts.t(f"{page}.lead"))}</p></div>')
