"""Pieces the pages share: a title, a heading, and a place that a script of `static/` fills."""

from __future__ import annotations

import html
import json

import gradio as gr

from studio.ui import texts
from studio.web.page import serving


def title(page: str) -> str:
    """A page's title, and what it is for, from the text table."""
    return (f'<div class="st-title"><h1>{html.escape(texts.t(f"{page}.title"))}</h1>'
            f'<p>{html.escape(texts.t(f"{page}.lead"))}</p></div>')


def heading(title: str, help: str | None = None) -> str:
    """A card's heading from the text table."""
    below = ""
    if help:
        below = f"<p>{html.escape(texts.t(help))}</p>"
    return f'<div class="st-heading"><h2>{html.escape(texts.t(title))}</h2>{below}</div>'


def live(name: str, script: str, *events: str) -> gr.HTML:
    """A component whose template never changes and whose content `static/<script>` builds with `textContent`.

    User text never enters a template: Gradio evaluates templates as JavaScript. `events` are those that the script may
    send to the page's handlers; Gradio looks for their names in `js_on_load`.
    """
    bridge = "{value: () => props.value, watch: (then) => watch('value', then), " \
             f"events: {json.dumps(events)}, send: (name, data) => trigger(name, data)}}"
    address = serving.files().address(serving.SCRIPT)  # the page has it already: the same address is the same module
    load = f"import(new URL('{address}', document.baseURI).href).then(" \
           f"({{modules}}) => modules['{script}'].mount(element, {bridge}))"
    return gr.HTML(html_template=f'<div class="st-live" data-part="{name}"></div>', js_on_load=load,
                   elem_id=name, container=False, apply_default_css=False)
