"""The page *Train*: what to learn from, what to start from, the settings, and the button."""

from __future__ import annotations

import functools
import json
import secrets
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

import gradio as gr
from gradio.components import Component
from gradio.context import Context

from studio import presets
from studio.config import PlainConfig
from studio.messages import JsonObject
from studio.ui import parts, texts
from studio.ui.form import Form, number_text
from studio.web.access import viewer_of
from studio.web.http import translation
from studio.web.http.errors import explain
from studio.web.services.service import Studio

SAMPLE = "sample"
BASIC = ("data.dataset", "model.base", "sample.prompts")
KEPT = ("data.dataset", "model.base", "sample.prompts", "model.family", "model.revision", "model.variant")  # by presets


P = ParamSpec("P")
T = TypeVar("T")
Values = Mapping[Component, object]  # of the form, as Gradio hands them to a handler
Updates = dict[Component, object]  # what a handler writes


def _spoken(handler: Callable[Concatenate[TrainPage, P], T]) -> Callable[Concatenate[TrainPage, P], T]:
    """A handler whose answer has words in it: they are in its page's language."""
    @functools.wraps(handler)
    def speak(page: TrainPage, *arguments: P.args, **options: P.kwargs) -> T:
        with texts.speaking(page.language):
            return handler(page, *arguments, **options)
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
    def datasets(self, chosen: str, request: gr.Request) -> object:
        """Reads the chosen data set; writes those this viewer has, with `chosen` selected when it is still there."""
        choices: list[tuple[str, str]] = []
        for dataset in self.studio.datasets.all(viewer_of(request))["items"]:
            if dataset.get("state", "ready") == "ready":
                label = texts.t("train.dataset_choice", name=dataset["name"], count=dataset["count"])
                choices.append((label, str(dataset["id"])))
        if chosen not in [dataset_id for _, dataset_id in choices]:
            chosen = SAMPLE
        return gr.update(choices=choices, value=chosen)

    @_spoken
    def check(self, values: Values, request: gr.Request) -> Updates:
        """Reads the form; writes what empty fields become, and every problem by its field."""
        asked = self.form.config(values)
        changed = self.form.changed(asked)
        recipe = {"config": changed, "preset": self.form.changed(asked, KEPT), "command": command(changed),
                  "turn": secrets.token_hex(4)}
        try:
            answer = self.studio.plans.check(viewer_of(request), asked)
        except Exception as error:  # as in `start`
            return {self.notice: self._refused(error), self.recipe: recipe}
        return {**self.form.hints(answer["config"] or {}), self.notice: self._notice(answer), self.recipe: recipe}

    @_spoken
    def goals(self, request: gr.Request) -> object:
        """Writes the goals, and the viewer's own presets after them."""
        choices: list[tuple[str, str]] = []
        for preset in self._presets({}, request):
            label = preset["name"] if preset["own"] else texts.t(f"goal.{preset['id']}")
            choices.append((label, preset["id"]))
        return gr.update(choices=choices)

    def take(self, values: Values, request: gr.Request) -> Updates:
        """Reads the goal, the data set and the base; writes every other field as the goal's preset has it."""
        asked = self.form.config(values)
        goal = values.get(self.goal)
        try:
            preset = next((preset for preset in self._presets(asked, request) if preset["id"] == goal), None)
        except Exception as error:  # as in `start`
            return {self.notice: self._refused(error)}
        if preset is None:
            return {}  # deleted on another page
        config = {section: dict(settings) for section, settings in preset["config"].items()}
        for path in KEPT:
            section, _, name = path.partition(".")
            value = asked.get(section, {}).get(name)
            if value is not None:
                config.setdefault(section, {}).setdefault(name, value)
        return self._fields(config)

    def _fields(self, config: PlainConfig) -> Updates:
        """Every field of the form as a partial config has it."""
        return dict(zip(self.form.components.values(), self.form.filled(config), strict=True))

    def _presets(self, asked: PlainConfig, request: gr.Request) -> Sequence[Mapping[str, Any]]:
        """The shipped presets for the data set and the base that are asked for, and the viewer's own."""
        dataset = asked.get("data", {}).get("dataset", SAMPLE)
        base = asked.get("model", {}).get("base", "embedded")
        return self.studio.plans.list_presets(viewer_of(request), dataset, base)["items"]

    def start(self, values: Values, request: gr.Request) -> Updates:
        """The Start button: reads the form, starts a run (`RunService.create`), writes which, or what is in its way."""
        viewer = viewer_of(request)
        config = self.form.config(values)
        name = str(values.get(self.name) or "").strip()
        try:
            record = self.studio.runs.create(viewer, name, config)
        except Exception as error:  # every kind is said in words; `explain` logs what it does not know
            return {self.notice: self._refused(error)}
        return {self.started: {"run": record["id"], "turn": secrets.token_hex(4)}}

    def probe(self, values: Values, request: gr.Request) -> Updates:
        """Reads the form; starts a check and writes which, or everything that is in its way."""
        try:
            job = self.studio.plans.probe(viewer_of(request), self.form.config(values))
        except Exception as error:  # as in `start`
            return {self.notice: self._refused(error)}
        return {self.checked: {"job": job["id"], "turn": secrets.token_hex(4)}}

    def paste(self, values: Values, request: gr.Request) -> Updates:
        """Reads the pasted command or JSON; writes every field of the form, and what has no place in it."""
        return self.filled(str(values.get(self.command) or ""), self.unplaced, request)

    def filled(self, text: str, problems: gr.HTML, request: gr.Request) -> Updates:
        """Every field of the form from a command or JSON, or what is wrong with it in `problems`."""
        unplaced: object = []
        try:
            viewer = viewer_of(request)
            if text.lstrip().startswith("{"):
                config = self.studio.plans.from_json(viewer, text)
            else:
                answer = self.studio.from_command(viewer, text)
                config = answer["config"]
                unplaced = answer["unplaced"]
        except Exception as error:  # as in `start`
            return {problems: self._refused(error)}
        left = {**self._told({"unplaced": unplaced}), "turn": secrets.token_hex(4)}
        return {**self._fields(config), self.command: "", self.unplaced: left}

    def _refused(self, error: Exception) -> JsonObject:
        """The notice that says what is wrong: a config's problems by their fields, else the error and what to do."""
        body = self._told(explain(error)[1])
        sentences = filter(None, (body["message"], body["hint"]))
        whole = {"field": "", "message": " ".join(map(str, sentences))}
        return self._notice({"problems": body.get("problems") or [whole]})

    def _notice(self, answer: Mapping[str, Any]) -> JsonObject:
        """What the page's notice shows of the answer to a check, or of problems alone."""
        told = self._told({"problems": list(answer.get("problems") or []),
                           "warnings": list(answer.get("warnings") or [])})
        return {**told, "facts": facts(answer.get("config")), "estimate": answer.get("estimate"),
                "turn": secrets.token_hex(4)}

    def _told(self, said: Mapping[str, object]) -> JsonObject:
        """What the studio says, in the page's language, and to strangers without the server's paths."""
        told = translation.told(self.studio.hidden.data(dict(said)), self.language)
        assert isinstance(told, dict), "of an object comes an object"
        return told


def command(asked: PlainConfig) -> str:
    """The line that starts the same run in a shell."""
    words = ["python -m studio.train"]
    for section, values in asked.items():
        for name, value in values.items():
            items = value if isinstance(value, list) else [value]
            words += [f"--{section}.{name} {shlex.quote(_flag_value(item))}" for item in items]
    return " ".join(words)


def _flag_value(value: object) -> str:
    """One value of a flag, as `python -m studio.train` reads it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return number_text(value)
    return str(value)


def facts(config: PlainConfig | None) -> JsonObject | None:
    """What a run is at a glance, from its resolved config; the page puts it into words."""
    if not config:
        return None
    train = config["train"]
    precision = train["mixed_precision"]
    if precision == "no":
        precision = "fp32"
    batch = train["batch_size"] * train["gradient_accumulation_steps"] * config["compute"]["num_processes"]
    return {"method": config["model"]["method"], "rank": config["lora"]["rank"], "steps": train["max_steps"],
            "batch": batch, "side": config["data"]["resolution"], "lr": config["optim"]["learning_rate"],
            "precision": precision}


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
            started = parts.live("started", "train/started.js")
            checked = parts.live("checked", "train/check.js")
            notice = parts.live("notice", "train/train.js", "use_dataset", "use_config", "presets_changed")
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
    client: dict[str, Any] = {"fn": None, "show_progress": "hidden", "api_visibility": "private"}
    quiet: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "private"}
    # Gradio drops a click that comes while it still draws the answer to the one before, unless told not to.
    never_lost = dict(quiet, trigger_mode="always_last")
    names = json.dumps([*page.form.components, "name", "goal"])
    defaults = json.dumps([*page.form.untouched(), "", presets.GOALS[0].id])
    keep = f"(...typed) => window.studioDraft.keep({names}, typed)"
    # Every change of the form is checked by one listener: of two, the older answer could come last and stay. Its
    # script sends `apply`: of gr.HTML's events only those that it has by itself may stand beside others.
    again = "window.dispatchEvent(new Event('studio:filled'))"
    filled = dict(client, js=f"(...typed) => {{ window.studioDraft.keep({names}, typed); {again}; }}", inputs=every)
    recall = f"() => window.studioDraft.recall({names}, {defaults})"
    forget = f"() => {{ window.studioDraft.forget(); return {defaults}; }}"
    hinted = [component for path, component in page.form.components.items() if page.form.fields[path]["nullable"]]
    checked = dict(never_lost, inputs=set(every), outputs=[*hinted, page.notice, page.recipe])

    dataset = page.form.components["data.dataset"]
    changes = [component.change for component in every]  # type: ignore[attr-defined]
    gr.on(changes, js=keep, inputs=every, **client)
    leaves = []  # what tells that a person is done with a field
    for component in fields:
        if isinstance(component, gr.Textbox):
            leaves.append(component.blur)
        else:
            leaves.append(component.change)  # type: ignore[attr-defined]
    gr.on([*leaves, page.notice.apply], page.check, **checked)
    start.click(page.start, inputs=set(every), outputs=[page.notice, page.started], **quiet)
    check.click(page.probe, inputs=set(every), outputs=[page.notice, page.checked], **quiet)
    reset.click(js=forget, outputs=every, **client).then(js=f"() => {again}", **client)
    page.goal.input(page.take, inputs=set(every), outputs=[*fields, page.notice], **quiet).then(**filled)
    page.recipe.presets_changed(page.goals, outputs=page.goal, **quiet)
    page.notice.presets_changed(page.goals, outputs=page.goal, **quiet)
    of_config = [*fields, page.command, page.unplaced, page.notice]
    page.notice.use_config(_dropped(page), outputs=of_config, **never_lost).then(**filled)
    fill.click(page.paste, inputs={page.command}, outputs=[*fields, page.command, page.unplaced], **never_lost).then(
        **filled)
    page.notice.use_dataset(_chosen(page), outputs=dataset, **never_lost).then(**filled)
    blocks = Context.root_block
    assert blocks is not None, "the page is drawn inside a gr.Blocks"
    blocks.load(js=recall, outputs=every, **client).then(  # type: ignore[attr-defined]
        page.datasets, dataset, dataset, **quiet).then(page.goals, outputs=page.goal, **quiet).then(
        page.check, **checked)


def _dropped(page: TrainPage) -> Callable[[gr.EventData, gr.Request], Updates]:
    def use(event: gr.EventData, request: gr.Request) -> Updates:
        """Settings from a file that was dropped on the page."""
        return page.filled(str(getattr(event, "text", "")), page.notice, request)
    return use


def _chosen(page: TrainPage) -> Callable[[gr.EventData, gr.Request], object]:
    def use(event: gr.EventData, request: gr.Request) -> object:
        """A data set chosen on another page."""
        return page.datasets(str(getattr(event, "id", SAMPLE)), request)
    return use

