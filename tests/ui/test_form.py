"""The form follows the settings: one line in config.py is one field, and what is typed becomes the config."""

from __future__ import annotations

import gradio as gr

from studio import config
from studio.ui.form import EXPERT, Form, read, shown


def every_field() -> Form:
    form = Form()
    with gr.Blocks():
        for path in form.fields:
            form.add(path)
    return form


def test_every_setting_with_a_choice_has_a_field_with_its_label_and_help() -> None:
    form = every_field()
    settings = [f for s in config.schema()["sections"] for f in s["fields"]]
    questions = [f for f in settings if not f["choices"] or len(f["choices"]) > 1]
    assert list(form.components) == [f["path"] for f in questions]
    for field in questions:
        component = form.components[field["path"]]
        assert (component.label, component.info) == (field["label"], field["help"])


def test_an_untouched_form_says_the_defaults() -> None:
    form = every_field()
    untouched = {c: value for c, value in zip(form.components.values(), form.untouched(), strict=True)}
    assert config.load(form.config(untouched)) == config.Config()


def test_what_is_typed_is_read_as_its_kind() -> None:
    fields = every_field().fields
    assert read(fields["optim.learning_rate"], " 1e-4 ") == 1e-4
    assert read(fields["train.max_steps"], "2,000") == 2000
    assert read(fields["train.max_steps"], "") is None
    assert read(fields["train.max_steps"], "many") == "many"
    assert read(fields["sample.prompts"], "one\n\n two ") == ["one", "two"]
    assert read(fields["train.mixed_precision"], "") is None
    assert shown(fields["ema.decay"], 0.9999) == "0.9999"


def test_a_config_fills_the_form_and_is_read_back() -> None:
    form = every_field()
    asked = {"model": {"method": "lora"}, "train": {"max_steps": 20}, "ema": {"enabled": False},
             "sample": {"prompts": ["a", "b"]}, "track": {"report_to": ["wandb"]}, "optim": {"learning_rate": 1e-4}}
    values = dict(zip(form.components.values(), form.filled(asked), strict=True))
    assert config.load(form.config(values)) == config.load(asked)


def test_what_hardly_anybody_touches_stands_in_the_last_group() -> None:
    form = Form()
    groups = dict(form.groups())
    assert list(groups)[-1] == EXPERT
    assert {"compute.linear", "compute.thread_wait", "compute.attention", "ema.power"} <= set(groups[EXPERT])
    drawn = [path for paths in groups.values() for path in paths]
    assert sorted(drawn) == sorted(form.fields)
