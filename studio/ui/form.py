"""The form of a run, generated from the settings in `studio/config/__init__.py`: one line there is one field here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import gradio as gr
from gradio.components import Component

from studio import config
from studio.config import PlainConfig
from studio.ui import texts

EXPERT = "expert"  # the last closed group
FROM_BASE = ""  # the choice that leaves a setting to the base
NUMBERS: dict[str, Callable[[str], float]] = {"int": int, "float": float}  # by a setting's kind
Setting = Mapping[str, Any]  # one of `config.schema()`
Shown = str | bool | list[str]  # a component's value


class Form:
    """Components by setting path (`optim.learning_rate`), in schema order; reads and writes them as plain values."""

    def __init__(self) -> None:
        self.fields: dict[str, Setting] = {}
        self.components: dict[str, Component] = {}
        for section in config.schema()["sections"]:
            for field in filter(_asks, section["fields"]):
                self.fields[field["path"]] = field

    def add(self, path: str, component: Component | None = None) -> Component:
        """Draw the field of a setting here (as `component` when given)."""
        self.components[path] = component or _component(self.fields[path])
        return self.components[path]

    def groups(self) -> Iterable[tuple[str, list[str]]]:
        """The closed groups with the paths not drawn yet: a section each, in schema order, and EXPERT for what hardly
        anybody touches."""
        left = [path for path in self.fields if path not in self.components]
        expert = [path for path in left if self.fields[path]["expert"]]
        for section in config.schema()["sections"]:
            prefix = f"{section['name']}."
            paths = [path for path in left if path.startswith(prefix) and path not in expert]
            if paths:
                yield section["name"], paths
        yield EXPERT, expert

    def config(self, values: Mapping[Component, object]) -> PlainConfig:
        """The partial config that the form's values say; empty fields are left out."""
        partial: PlainConfig = {}
        for path, component in self.components.items():
            value = read(self.fields[path], values.get(component))
            if value is not None:
                section, _, name = path.partition(".")
                partial.setdefault(section, {})[name] = value
        return partial

    def changed(self, config: PlainConfig, without: Iterable[str] = ()) -> PlainConfig:
        """What of a partial config differs from the defaults, apart from the paths in `without`."""
        different: PlainConfig = {}
        for section, values in config.items():
            for name, value in values.items():
                path = f"{section}.{name}"
                if path not in without and value != self.fields[path]["default"]:
                    different.setdefault(section, {})[name] = value
        return different

    def untouched(self) -> list[Shown]:
        """The components' values as the page opens."""
        return self.filled({})

    def filled(self, config: PlainConfig) -> list[Shown]:
        """The components' values for a partial config; what it leaves out goes back to its default."""
        values: list[Shown] = []
        for path in self.components:
            field = self.fields[path]
            value = config.get(field["section"], {}).get(field["name"], field["default"])
            values.append(shown(field, value))
        return values

    def hints(self, resolved: PlainConfig) -> dict[Component, object]:
        """Updates that show what an empty field becomes (`resolved` is a complete config)."""
        updates: dict[Component, object] = {}
        for path, component in self.components.items():
            field = self.fields[path]
            if not field["nullable"]:
                continue
            value = resolved.get(field["section"], {}).get(field["name"])
            if field["kind"] == "choice":
                updates[component] = gr.update(choices=_choices(field, value))
            else:
                updates[component] = gr.update(placeholder=_placeholder(value))
        return updates


def read(field: Setting, value: object) -> object:
    """What was typed, as the setting's type; None for empty. Text that is no number stays, for the checks to name."""
    if field["kind"] in ("bool", "choices") or value is None:
        return value
    if field["kind"] == "lines":
        lines = map(str.strip, str(value).splitlines())
        return list(filter(None, lines)) or None
    text = str(value).strip()
    if not text:
        return None
    number_of = NUMBERS.get(field["kind"])
    if number_of is None:
        return text
    try:
        return number_of(text.replace(",", ""))
    except ValueError:
        return text


def shown(field: Setting, value: Any) -> Shown:  # of whatever type the setting is
    """A setting's value as its component shows it."""
    if field["kind"] == "bool":
        return bool(value)
    if field["kind"] == "choices":
        return list(value)
    if value is None:
        return FROM_BASE
    if field["kind"] == "lines":
        return "\n".join(value)
    if isinstance(value, float):
        return number_text(value)
    return str(value)


def number_text(value: float) -> str:
    """A number as people write it, with as many digits as it needs to be read back as it was."""
    short = f"{value:g}"
    if float(short) == value:
        return short
    return repr(value)


def _asks(field: Setting) -> bool:
    """A setting with a single choice is no question."""
    return not field["choices"] or len(field["choices"]) > 1


def _component(field: Setting) -> Component:
    """The field of a setting, with its default in it."""
    common: dict[str, Any] = {"label": texts.t(f"setting.{field['path']}"),
                              "info": texts.t(f"setting.{field['path']}.help"), "value": shown(field, field["default"]),
                              "elem_id": f"field-{field['path'].replace('.', '-')}", "interactive": True}
    if field["kind"] == "bool":
        return gr.Checkbox(**common)
    if field["kind"] == "choice":
        return gr.Dropdown(choices=_choices(field, None), filterable=False, **common)
    if field["kind"] == "choices":
        return gr.CheckboxGroup(choices=list(field["choices"]), **common)
    if field["kind"] == "lines":
        return gr.Textbox(lines=4, max_lines=12, **common)
    plain = gr.InputHTMLAttributes(autocomplete="off", autocapitalize="off", spellcheck=False)
    return gr.Textbox(max_lines=1, html_attributes=plain, **common)


def _choices(field: Setting, resolved: object) -> list[tuple[str, str]]:
    """What can be chosen, each as what is read and what is meant; `resolved` is what an empty choice becomes."""
    choices = [(str(choice), str(choice)) for choice in field["choices"]]
    if field["nullable"]:
        choices.insert(0, (_empty(resolved), FROM_BASE))
    return choices


def _placeholder(value: object) -> str:
    """What an empty field shows of what it becomes."""
    if isinstance(value, list):
        return "\n".join(map(str, value))
    if isinstance(value, float):
        return _empty(number_text(value))
    return _empty(value)


def _empty(resolved: object) -> str:
    if resolved is None:
        return texts.t("form.empty")
    return texts.t("form.empty_is", value=resolved)
