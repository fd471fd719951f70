"""The form of a run, generated from the settings in `studio/config/__init__.py`: one line there is one field here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import gradio as gr
from gradio.components import Component

from studio import config
from studio.ui import texts

FROM_BASE = ""  # the choice that leaves a setting to the base


class Form:
    """Components by setting path (`optim.learning_rate`), in schema order; reads and writes them as plain values."""

    def __init__(self) -> None:
        self.fields: dict[str, config.SettingSchema] = {
            f["path"]: f for section in config.schema()["sections"] for f in section["fields"] if _asks(f)}
        self.components: dict[str, Component] = {}

    def add(self, path: str, component: Component | None = None) -> Component:
        """Draw the field of a setting here (as `component` when given)."""
        self.components[path] = component or _component(self.fields[path])
        return self.components[path]

    def groups(self) -> Iterable[tuple[str, list[str]]]:
        """The closed groups' sections with the paths not drawn yet, in schema order."""
        for section in config.schema()["sections"]:
            paths = [f["path"] for f in section["fields"]
                     if f["path"] in self.fields and f["path"] not in self.components]
            if paths:
                yield section["name"], paths

    def config(self, values: Mapping[Component, Any]) -> dict[str, Any]:
        """The partial config that the form's values say; empty fields are left out."""
        found: dict[str, dict[str, Any]] = {}
        for path, component in self.components.items():
            value = read(self.fields[path], values.get(component))
            if value is not None:
                section, _, name = path.partition(".")
                found.setdefault(section, {})[name] = value
        return found

    def changed(self, config: Mapping[str, Any], without: Iterable[str] = ()) -> dict[str, Any]:
        """What of a partial config differs from the defaults, apart from the paths in `without`."""
        found: dict[str, dict[str, Any]] = {}
        for section, values in config.items():
            for name, value in values.items():
                path = f"{section}.{name}"
                if path not in without and value != self.fields[path]["default"]:
                    found.setdefault(section, {})[name] = value
        return found

    def untouched(self) -> list[Any]:
        """The components' values as the page opens."""
        return self.filled({})

    def filled(self, config: Mapping[str, Any]) -> list[Any]:
        """The components' values for a partial config; what it leaves out goes back to its default."""
        return [shown(field, config.get(field["section"], {}).get(field["name"], field["default"]))
                for field in (self.fields[path] for path in self.components)]

    def hints(self, resolved: Mapping[str, Any]) -> dict[Component, Any]:
        """Updates that show what an empty field becomes (`resolved` is a complete config)."""
        updates: dict[Component, Any] = {}
        for path, component in self.components.items():
            field = self.fields[path]
            value = resolved.get(field["section"], {}).get(field["name"])
            if not field["nullable"]:
                continue
            if field["kind"] == "choice":
                updates[component] = gr.update(choices=_choices(field, value))
            else:
                updates[component] = gr.update(placeholder=_placeholder(value))
        return updates


def read(field: Mapping[str, Any], value: Any) -> Any:
    """What was typed, as the setting's type; None for empty. Text that is no number stays, for the checks to name."""
    if field["kind"] in ("bool", "choices") or value is None:
        return value
    if field["kind"] == "lines":
        lines = [line.strip() for line in str(value).splitlines() if line.strip()]
        return lines or None
    text = str(value).strip()
    if not text:
        return None
    if field["kind"] in ("int", "float"):
        try:
            number = float(text.replace(",", "")) if field["kind"] == "float" else int(text.replace(",", ""))
        except ValueError:
            return text
        return number
    return text


def shown(field: Mapping[str, Any], value: Any) -> Any:
    """A setting's value as its component shows it."""
    if field["kind"] == "bool":
        return bool(value)
    if field["kind"] == "choices":
        return list(value)
    if value is None:
        return FROM_BASE
    if field["kind"] == "lines":
        return "\n".join(value)
    return number_text(value) if isinstance(value, float) else str(value)


def number_text(value: float) -> str:
    """A number as people write it, with as many digits as it needs to be read back as it was."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _asks(field: Mapping[str, Any]) -> bool:
    """A setting with a single choice is no question."""
    return not field["choices"] or len(field["choices"]) > 1


def _component(field: Mapping[str, Any]) -> Component:
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


def _choices(field: Mapping[str, Any], resolved: Any) -> list[tuple[str, str]]:
    found = [(str(choice), str(choice)) for choice in field["choices"]]
    if field["nullable"]:
        empty = texts.t("form.empty") if resolved is None else texts.t("form.empty_is", value=resolved)
        found.insert(0, (empty, FROM_BASE))
    return found


def _placeholder(value: Any) -> str:
    if value is None:
        return texts.t("form.empty")
    if isinstance(value, list):
        return "\n".join(str(line) for line in value)
    return texts.t("form.empty_is", value=number_text(value) if isinstance(value, float) else value)
