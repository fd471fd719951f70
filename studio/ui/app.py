"""What Gradio draws: the pages Train, Runs, Datasets and Try it, and the trash. Their header stands in frame.py."""

from __future__ import annotations

import gradio as gr

from studio.ui import gradio_adapter, parts, texts, train
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
        with gr.Column(elem_id="page-train", elem_classes="st-page"):
            gr.HTML(parts.title("train"), container=False)
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
