"""The page *Train*: what to learn from, what to start from, the settings, and the button."""

from __future__ import annotations

import functools
import json
import secrets
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.context import Context

from studio import presets
from studio.ui import parts, texts
from studio.ui.form import Form, number_text
from studio.web.access import viewer_of
from studio.web.http import translation
from studio.web.http.errors import explain
from studio.web.services.service import Studio

SAMPLE = "sample"
BASIC = ("data.dataset", "model.base", "sample.prompts")
KEPT = ("data.dataset", "model.base", "sample.prompts", "model.family", "model.revision", "model.variant")  # by presets


def _spoken(handler: Callable[..., Any]) -> Callable[..., Any]:
    """A handler whose answer has words in it: they are in its page's language."""
    @functools.wraps(handler)
    def speak(page: TrainPage, *given: Any) -> Any:
        with texts.speaking(page.language):
            return handler(page, *given)
    return speak


@dataclass
class TrainPage:
    """The page's components and handlers."""

    studio: Studio
    language: str
    form: Form
    name: gr.Textbox
    goal: gr.Radio  # which preset was taken last
    notice: gr.HTML
    recipe: gr.HTML  # the form as JSON and as a command, and keeping it as a preset
    command: gr.Textbox  # a pasted command line
    unplaced: gr.HTML  # what of it has no place
    checked: gr.HTML  # the check: how far it is, and what came of it
    started: gr.HTML  # of its own, since a check that ends at the same moment would overwrite the notice

    @_spoken
    def datasets(self, chosen: Any, request: gr.Request) -> Any:
        """Reads the chosen data set; writes those this viewer has, with `chosen` selected when it is still there."""
        items = self.studio.datasets.all(viewer_of(request))["items"]
        choices = [(texts.t("train.dataset_choice", name=d["name"], count=d["count"]), d["id"]) for d in items
                   if d.get("state", "ready") == "ready"]
        ids = [value for _, value in choices]
        return gr.update(choices=choices, value=chosen if chosen in ids else SAMPLE)

    @_spoken
    def check(self, values: Mapping[Component, Any], request: gr.Request) -> dict[Component, Any]:
        """Reads the form; writes what empty fields become, and every problem by its field."""
        asked = self.form.config(values)
        own = self.form.changed(asked)
        recipe = {"config": own, "preset": self.form.changed(asked, KEPT), "command": command(own),
                  "turn": secrets.token_hex(4)}
        try:
            found = self.studio.plans.check(viewer_of(request), asked)
        except Exception as error:  # as in `start`
            return {self.notice: self._refused(error), self.recipe: recipe}
        return {**self.form.hints(found["config"] or {}), self.notice: self._notice(found), self.recipe: recipe}

    @_spoken
    def goals(self, request: gr.Request) -> Any:
        """Writes the goals, and the viewer's own presets after them."""
        return gr.update(choices=[(one["name"] if one["own"] else texts.t(f"goal.{one['id']}"), one["id"])
                                  for one in self._presets({}, request)])

    def take(self, values: Mapping[Component, Any], request: gr.Request) -> dict[Component, Any]:
        """Reads the goal, the data set and the base; writes every other field as the goal's preset has it."""
        asked, chosen = self.form.config(values), values.get(self.goal)
        try:
            preset = next(one for one in self._presets(asked, request) if one["id"] == chosen)
        except StopIteration:
            return {}  # deleted on another page
        except Exception as error:  # as in `start`
            return {self.notice: self._refused(error)}
        kept = {section: dict(values) for section, values in preset["config"].items()}
        for path in KEPT:
            section, _, name = path.partition(".")
            if (value := asked.get(section, {}).get(name)) is not None:
                kept.setdefault(section, {}).setdefault(name, value)
        return dict(zip(self.form.components.values(), self.form.filled(kept), strict=True))

    def _presets(self, asked: Mapping[str, Any], request: gr.Request) -> list[dict[str, Any]]:
        dataset, base = asked.get("data", {}).get("dataset", SAMPLE), asked.get("model", {}).get("base", "embedded")
        return self.studio.plans.list_presets(viewer_of(request), dataset, base)["items"]

    def start(self, values: Mapping[Component, Any], request: gr.Request) -> dict[Component, Any]:
        """Reads the form; starts a run and writes which, or everything that is in its way."""
        viewer, config = viewer_of(request), self.form.config(values)
        name = str(values.get(self.name) or "").strip()
        try:
            record = self.studio.runs.create(viewer, name, config)
        except Exception as error:  # every kind is said in words; `explain` logs what it does not know
            return {self.notice: self._refused(error)}
        return {self.started: {"run": record["id"], "turn": secrets.token_hex(4)}}

    def probe(self, values: Mapping[Component, Any], request: gr.Request) -> dict[Component, Any]:
        """Reads the form; starts a check and writes which, or everything that is in its way."""
        try:
            job = self.studio.plans.probe(viewer_of(request), self.form.config(values))
        except Exception as error:  # as in `start`
            return {self.notice: self._refused(error)}
        return {self.checked: {"job": job["id"], "turn": secrets.token_hex(4)}}

    def paste(self, values: Mapping[Component, Any], request: gr.Request) -> dict[Component, Any]:
        """Reads the pasted command or JSON; writes every field of the form, and what has no place in it."""
        return self.filled(str(values.get(self.command) or ""), self.unplaced, request)

    def filled(self, text: str, problems: gr.HTML, request: gr.Request) -> dict[Component, Any]:
        """Every field of the form from a command or JSON, or what is wrong with it in `problems`."""
        try:
            found = ({"config": self.studio.plans.from_json(viewer_of(request), text), "unplaced": []}
                     if text.lstrip().startswith("{") else self.studio.from_command(viewer_of(request), text))
        except Exception as error:  # as in `start`
            return {problems: self._refused(error)}
        filled = dict(zip(self.form.components.values(), self.form.filled(found["config"]), strict=True))
        left = {**self._told({"unplaced": found["unplaced"]}), "turn": secrets.token_hex(4)}
        return {**filled, self.command: "", self.unplaced: left}

    def _refused(self, error: Exception) -> dict[str, Any]:
        body = self._told(explain(error)[1])
        whole = {"field": "", "message": " ".join(body[name] for name in ("message", "hint") if body[name])}
        return self._notice({"problems": body.get("problems") or [whole]})

    def _notice(self, found: Mapping[str, Any]) -> dict[str, Any]:
        said = {name: list(found.get(name) or []) for name in ("problems", "warnings")}
        return {**self._told(said), "facts": facts(found.get("config")), "estimate": found.get("estimate"),
                "turn": secrets.token_hex(4)}

    def _told(self, said: dict[str, Any]) -> dict[str, Any]:
        """What the studio says, in the page's language, and to strangers without the server's paths."""
        return translation.told(self.studio.hidden.data(said), self.language)


def command(asked: Mapping[str, Any]) -> str:
    """The line that starts the same run in a shell."""
    flags = []
    for section, values in asked.items():
        for name, value in values.items():
            for one in value if isinstance(value, list) else [value]:
                text = number_text(one) if isinstance(one, float) else str(one)
                text = text.lower() if isinstance(one, bool) else text
                flags.append(f"--{section}.{name} {shlex.quote(text)}")
    return " ".join(["python -m studio.train", *flags])


def facts(config: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What a run is at a glance, from its resolved config; the page puts it into words."""
    if not config:
        return None
    train = config["train"]
    batch = train["batch_size"] * train["gradient_accumulation_steps"] * config["compute"]["num_processes"]
    return {"method": config["model"]["method"], "rank": config["lora"]["rank"], "steps": train["max_steps"],
            "batch": batch, "side": config["data"]["resolution"], "lr": config["optim"]["learning_rate"],
            "precision": "fp32" if train["mixed_precision"] == "no" else train["mixed_precision"]}


def build(studio: Studio, language: str) -> TrainPage:
    """Draw the page inside the open Blocks."""
    form = Form()
    with gr.Row(elem_classes="st-columns"):
        with gr.Column(scale=7, elem_classes="st-main"):
            goal = _essentials(form)
            _groups(form)
            recipe = _recipe()
            command, fill, unplaced = _paste()
        with gr.Column(scale=4, elem_classes="st-side"), gr.Column(elem_classes="st-card st-start"):
            gr.HTML(parts.heading("train.start_title"), container=False)
            name = gr.Textbox(label=texts.t("train.name"), placeholder=texts.t("train.name_empty"), max_lines=1,
                              max_length=200, elem_id="run-name", value="",
                              html_attributes=gr.InputHTMLAttributes(autocomplete="off"))
            with gr.Row(elem_classes="st-go"):
                start = gr.Button(texts.t("train.start"), variant="primary", size="lg", elem_id="start-training",
                                  scale=3, min_width=150)
                check = gr.Button(texts.t("train.check"), variant="secondary", size="lg", elem_id="check-training",
                                  scale=1, min_width=90)
            checked = parts.live("checked", "train/check.js")
            notice = parts.live("notice", "train/train.js", "use_dataset", "use_config", "presets_changed")
            started = parts.live("started", "train/started.js")
            reset = gr.Button(texts.t("train.reset"), variant="secondary", size="sm", elem_id="reset-form")
    page = TrainPage(studio, language, form, name, goal, notice, recipe, command, unplaced, checked, started)
    _wire(page, start, check, reset, fill)
    return page


def _essentials(form: Form) -> gr.Radio:
    with gr.Column(elem_classes="st-card"):
        gr.HTML(parts.heading("train.learn_title", "train.learn_help"), container=False)
        form.add("data.dataset", gr.Dropdown(
            choices=[(SAMPLE, SAMPLE)], value=SAMPLE, allow_custom_value=True, label=texts.t("setting.data.dataset"),
            info=texts.t("setting.data.dataset.help"), elem_id="field-data-dataset", interactive=True))
        form.add("model.base", gr.Dropdown(
            choices=[(texts.t("train.embedded"), "embedded")], value="embedded", allow_custom_value=True,
            label=texts.t("setting.model.base"), info=texts.t("train.base_help"), elem_id="field-model-base",
            interactive=True))
        goals = [(texts.t(f"goal.{one.id}"), one.id) for one in presets.GOALS]
        goal = gr.Radio(choices=goals, value=presets.GOALS[0].id,
                        label=texts.t("train.goal"), info=texts.t("train.goal_help"), elem_id="goal", interactive=True)
        form.add("sample.prompts")
    with gr.Column(elem_classes="st-card"):
        gr.HTML(parts.heading("train.settings_title", "train.settings_help"), container=False)
        with gr.Row(elem_classes="st-fields"):
            for path, field in form.fields.items():
                if field["basic"] and path not in BASIC:
                    form.add(path)
    return goal


def _groups(form: Form) -> None:
    with gr.Column(elem_classes="st-card st-groups"):
        gr.HTML(parts.heading("train.more_title", "train.more_help"), container=False)
        parts.live("finder", "train/finder.js")
        for section, paths in form.groups():
            title = texts.t(f"section.{section}")
            with gr.Accordion(title, open=False, elem_id=f"group-{section}"), gr.Row(elem_classes="st-fields"):
                for path in paths:
                    form.add(path)


def _recipe() -> gr.HTML:
    with gr.Column(elem_classes="st-card st-groups"), gr.Accordion(
            texts.t("train.recipe_title"), open=False, elem_id="recipe-card"):
        return parts.live("recipe", "train/recipe.js", "presets_changed")


def _paste() -> tuple[gr.Textbox, gr.Button, gr.HTML]:
    with gr.Column(elem_classes="st-card st-groups"), gr.Accordion(
            texts.t("train.paste_title"), open=False, elem_id="paste-command"):
        command = gr.Textbox(label=texts.t("train.paste_label"), info=texts.t("train.paste_help"), lines=4,
                             max_lines=16, elem_id="pasted-command", value="", html_attributes=gr.InputHTMLAttributes(
                                 autocomplete="off", autocapitalize="off", spellcheck=False))
        fill = gr.Button(texts.t("train.paste_fill"), variant="secondary", size="sm", elem_id="fill-form")
        return command, fill, parts.live("unplaced", "train/unplaced.js")


def _wire(page: TrainPage, start: gr.Button, check: gr.Button, reset: gr.Button, fill: gr.Button) -> None:
    fields = list(page.form.components.values())
    every: list[Component] = [*fields, page.name, page.goal]
    quiet: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "private"}
    # Gradio drops a click that comes while it still draws the answer to the one before, unless told not to.
    never_lost: dict[str, Any] = {"trigger_mode": "always_last", **quiet}
    names = json.dumps([*page.form.components, "name", "goal"])
    defaults = json.dumps([*page.form.untouched(), "", presets.GOALS[0].id])
    keep = f"(...typed) => window.studioDraft.keep({names}, typed)"
    # Every change of the form is checked by one listener: of two, the older answer could come last and stay. Its
    # script sends `apply`: of gr.HTML's events only those that it has by itself may stand beside others.
    again = "window.dispatchEvent(new Event('studio:filled'))"
    filled: dict[str, Any] = {"js": f"(...typed) => {{ window.studioDraft.keep({names}, typed); {again}; }}",
                              "inputs": every}
    recall = f"() => window.studioDraft.recall({names}, {defaults})"
    forget = f"() => {{ window.studioDraft.forget(); return {defaults}; }}"
    hinted = [c for path, c in page.form.components.items() if page.form.fields[path]["nullable"]]
    checked = {"inputs": set(every), "outputs": [*hinted, page.notice, page.recipe], "trigger_mode": "always_last",
               **quiet}

    client: dict[str, Any] = {"fn": None, "show_progress": "hidden", "api_visibility": "private"}
    dataset = page.form.components["data.dataset"]
    gr.on([c.change for c in every], js=keep, inputs=every, **client)  # type: ignore[attr-defined]
    leaves = [c.blur if isinstance(c, gr.Textbox) else c.change for c in fields]  # type: ignore[attr-defined]
    gr.on([*leaves, page.notice.apply], page.check, **checked)
    start.click(page.start, inputs=set(every), outputs=[page.notice, page.started], **quiet)
    check.click(page.probe, inputs=set(every), outputs=[page.notice, page.checked], **quiet)
    reset.click(js=forget, outputs=every, **client).then(js=f"() => {again}", **client)
    page.goal.input(page.take, inputs=set(every), outputs=[*fields, page.notice], **quiet).then(**filled, **client)
    page.recipe.presets_changed(page.goals, outputs=page.goal, **quiet)
    page.notice.presets_changed(page.goals, outputs=page.goal, **quiet)
    given = [*fields, page.command, page.unplaced, page.notice]
    page.notice.use_config(_given(page), outputs=given, **never_lost).then(**filled, **client)
    fill.click(page.paste, inputs={page.command}, outputs=[*fields, page.command, page.unplaced], **never_lost).then(
        **filled, **client)
    page.notice.use_dataset(_chosen(page), outputs=dataset, **never_lost).then(**filled, **client)
    blocks = Context.root_block
    assert blocks is not None, "the page is drawn inside a gr.Blocks"
    blocks.load(js=recall, outputs=every, **client).then(  # type: ignore[attr-defined]
        page.datasets, dataset, dataset, **quiet).then(page.goals, outputs=page.goal, **quiet).then(
        page.check, **checked)


def _given(page: TrainPage) -> Any:
    def use(event: gr.EventData, request: gr.Request) -> dict[Component, Any]:
        """Settings from a file that was dropped on the page."""
        return page.filled(str(getattr(event, "text", "")), page.notice, request)
    return use


def _chosen(page: TrainPage) -> Any:
    def use(event: gr.EventData, request: gr.Request) -> Any:
        """A data set chosen on another page."""
        return page.datasets(str(getattr(event, "id", SAMPLE)), request)
    return use

