"""The page *Train*: what to learn from, what to start from, the settings, and the button."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.context import Context

from studio.ui import parts, texts
from studio.ui.form import Form
from studio.web.access import viewer_of
from studio.web.errors import explain
from studio.web.service import Studio

SAMPLE = "sample"
BASIC = ("data.dataset", "model.base", "sample.prompts")


@dataclass
class TrainPage:
    """The page's components and handlers."""

    studio: Studio
    form: Form
    name: gr.Textbox
    notice: gr.HTML
    command: gr.Textbox  # a pasted command line
    unplaced: gr.HTML  # what of it has no place
    started: gr.HTML  # of its own, since a check that ends at the same moment would overwrite the notice

    def datasets(self, chosen: Any, request: gr.Request) -> Any:
        """Reads the chosen data set; writes those this viewer has, with `chosen` selected when it is still there."""
        items = self.studio.list_datasets(viewer_of(request))["items"]
        choices = [(texts.t("train.dataset_choice", name=d["name"], count=d["count"]), d["id"]) for d in items
                   if d.get("state", "ready") == "ready"]
        ids = [value for _, value in choices]
        return gr.update(choices=choices, value=chosen if chosen in ids else SAMPLE)

    def check(self, values: Mapping[Component, Any], request: gr.Request) -> dict[Component, Any]:
        """Reads the form; writes what empty fields become, and every problem by its field."""
        try:
            found = self.studio.check_run(viewer_of(request), self.form.config(values))
        except Exception as error:  # as in `start`
            return {self.notice: self._refused(error)}
        return {**self.form.hints(found["config"] or {}), self.notice: self._notice(found)}

    def start(self, values: Mapping[Component, Any], request: gr.Request) -> dict[Component, Any]:
        """Reads the form; starts a run and writes which, or everything that is in its way."""
        viewer, config = viewer_of(request), self.form.config(values)
        name = str(values.get(self.name) or "").strip()
        try:
            record = self.studio.create_run(viewer, name, config)
        except Exception as error:  # every kind is said in words; `explain` logs what it does not know
            return {self.notice: self._refused(error)}
        return {self.started: {"run": record["id"], "turn": secrets.token_hex(4)}}

    def paste(self, values: Mapping[Component, Any], request: gr.Request) -> dict[Component, Any]:
        """Reads the pasted command; writes every field of the form, and what has no place in it."""
        try:
            found = self.studio.from_command(viewer_of(request), str(values.get(self.command) or ""))
        except Exception as error:  # as in `start`
            return {self.unplaced: self._refused(error)}
        filled = dict(zip(self.form.components.values(), self.form.filled(found["config"]), strict=True))
        left = {"unplaced": found["unplaced"], "turn": secrets.token_hex(4)}
        return {**filled, self.command: "", self.unplaced: left}

    def _refused(self, error: Exception) -> dict[str, Any]:
        _, body = explain(error)
        whole = {"field": "", "message": " ".join(filter(None, (body["message"], body["hint"])))}
        return self._notice({"problems": body.get("problems") or [whole]})

    def _notice(self, found: Mapping[str, Any]) -> dict[str, Any]:
        problems = [{"field": p["field"], "label": self.form.label(p["field"]), "message": p["message"]}
                    for p in found.get("problems") or []]
        return {"problems": problems, "warnings": list(found.get("warnings") or []),
                "facts": facts(found.get("config")), "turn": secrets.token_hex(4)}


def facts(config: Mapping[str, Any] | None) -> list[list[str]]:
    """The run in a few words, from its resolved config: pairs of name and value."""
    if not config:
        return []
    train, data = config["train"], config["data"]
    batch = train["batch_size"] * train["gradient_accumulation_steps"] * config["compute"]["num_processes"]
    method = texts.t(f"train.method_{config['model']['method']}", rank=config["lora"]["rank"])
    return [
        [texts.t("train.fact_method"), method],
        [texts.t("train.fact_steps"), f"{train['max_steps']:,}"],
        [texts.t("train.fact_batch"), f"{batch:,}"],
        [texts.t("train.fact_seen"), f"{batch * train['max_steps']:,}"],
        [texts.t("train.fact_side"), texts.t("train.pixels", side=data["resolution"])],
        [texts.t("train.fact_lr"), f"{config['optim']['learning_rate']:g}"],
        [texts.t("train.fact_precision"), str(train["mixed_precision"]).replace("no", "fp32")],
    ]


def build(studio: Studio) -> TrainPage:
    """Draw the page inside the open Blocks."""
    form = Form()
    with gr.Row(elem_classes="st-columns"):
        with gr.Column(scale=7, elem_classes="st-main"):
            _essentials(form)
            _groups(form)
            command, fill, unplaced = _paste()
        with gr.Column(scale=4, elem_classes="st-side"), gr.Column(elem_classes="st-card st-start"):
            gr.HTML(parts.heading("train.start_title"), container=False)
            name = gr.Textbox(label=texts.t("train.name"), placeholder=texts.t("train.name_empty"), max_lines=1,
                              max_length=200, elem_id="run-name", value="",
                              html_attributes=gr.InputHTMLAttributes(autocomplete="off"))
            start = gr.Button(texts.t("train.start"), variant="primary", size="lg", elem_id="start-training")
            notice, started = parts.live("notice", "train.js"), parts.live("started", "started.js")
            reset = gr.Button(texts.t("train.reset"), variant="secondary", size="sm", elem_id="reset-form")
    page = TrainPage(studio, form, name, notice, command, unplaced, started)
    _wire(page, start, reset, fill)
    return page


def _essentials(form: Form) -> None:
    with gr.Column(elem_classes="st-card"):
        gr.HTML(parts.heading("train.learn_title", "train.learn_help"), container=False)
        form.add("data.dataset", gr.Dropdown(
            choices=[(SAMPLE, SAMPLE)], value=SAMPLE, allow_custom_value=True, label=form.label("data.dataset"),
            info=form.fields["data.dataset"]["help"], elem_id="field-data-dataset", interactive=True))
        form.add("model.base", gr.Dropdown(
            choices=[(texts.t("train.embedded"), "embedded")], value="embedded", allow_custom_value=True,
            label=form.label("model.base"), info=texts.t("train.base_help"), elem_id="field-model-base",
            interactive=True))
        form.add("sample.prompts")
    with gr.Column(elem_classes="st-card"):
        gr.HTML(parts.heading("train.settings_title", "train.settings_help"), container=False)
        with gr.Row(elem_classes="st-fields"):
            for path, field in form.fields.items():
                if field["basic"] and path not in BASIC:
                    form.add(path)


def _groups(form: Form) -> None:
    with gr.Column(elem_classes="st-card st-groups"):
        gr.HTML(parts.heading("train.more_title", "train.more_help"), container=False)
        for title, paths in form.groups():
            with gr.Accordion(title, open=False), gr.Row(elem_classes="st-fields"):
                for path in paths:
                    form.add(path)


def _paste() -> tuple[gr.Textbox, gr.Button, gr.HTML]:
    with gr.Column(elem_classes="st-card st-groups"), gr.Accordion(
            texts.t("train.paste_title"), open=False, elem_id="paste-command"):
        command = gr.Textbox(label=texts.t("train.paste_label"), info=texts.t("train.paste_help"), lines=4,
                             max_lines=16, elem_id="pasted-command", value="", html_attributes=gr.InputHTMLAttributes(
                                 autocomplete="off", autocapitalize="off", spellcheck=False))
        fill = gr.Button(texts.t("train.paste_fill"), variant="secondary", size="sm", elem_id="fill-form")
        return command, fill, parts.live("unplaced", "unplaced.js")


def _wire(page: TrainPage, start: gr.Button, reset: gr.Button, fill: gr.Button) -> None:
    fields = list(page.form.components.values())
    every: list[Component] = [*fields, page.name]
    quiet: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "private"}
    names = json.dumps([*page.form.components, "name"])
    defaults = json.dumps([*page.form.untouched(), ""])
    keep = f"(...typed) => window.studioDraft.keep({names}, typed)"
    recall = f"() => window.studioDraft.recall({names}, {defaults})"
    forget = f"() => {{ window.studioDraft.forget(); return {defaults}; }}"
    hinted = [c for path, c in page.form.components.items() if page.form.fields[path]["nullable"]]
    checked = {"inputs": set(every), "outputs": [*hinted, page.notice], "trigger_mode": "always_last", **quiet}

    client: dict[str, Any] = {"fn": None, "show_progress": "hidden", "api_visibility": "private"}
    dataset = page.form.components["data.dataset"]
    gr.on([c.change for c in every], js=keep, inputs=every, **client)  # type: ignore[attr-defined]
    leaves = [c.blur if isinstance(c, gr.Textbox) else c.change for c in fields]  # type: ignore[attr-defined]
    gr.on(leaves, page.check, **checked)
    start.click(page.start, inputs=set(every), outputs=[page.notice, page.started], **quiet)
    reset.click(js=forget, outputs=every, **client).then(page.check, **checked)
    fill.click(page.paste, inputs={page.command}, outputs=[*fields, page.command, page.unplaced], **quiet).then(
        js=keep, inputs=every, **client).then(page.check, **checked)
    page.notice.use_dataset(_chosen(page), outputs=dataset, **quiet).then(
        js=keep, inputs=every, **client).then(page.check, **checked)
    blocks = Context.root_block
    assert blocks is not None, "the page is drawn inside a gr.Blocks"
    blocks.load(js=recall, outputs=every, **client).then(  # type: ignore[attr-defined]
        page.datasets, dataset, dataset, **quiet).then(page.check, **checked)


def _chosen(page: TrainPage) -> Any:
    def use(event: gr.EventData, request: gr.Request) -> Any:
        """A data set chosen on another page."""
        return page.datasets(str(getattr(event, "id", SAMPLE)), request)
    return use

