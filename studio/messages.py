"""What a person is told: English with the template and the values that it was made of, so that it can be translated.

`Message("The disk {disk} is full.", disk=name)` is the finished English sentence, a str like any other. Its template is
looked up in the catalogue of a language (studio/locale), and the values go into the translation as they went into the
English: once, so that braces in them are never read. Slices, f-strings and `+` give plain text, which stays English.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from operator import is_
from typing import Any, Self

Value = str | int | float  # Messages among the str
JsonObject = dict[str, object]  # JSON whose keys are not ours, or pass through unseen
FIELD = re.compile(r"\{([a-z_][a-z0-9_]*)(?::(,?(?:\.[0-9]{1,2}[efg%])?))?\}")  # {name}, {count:,}, {seconds:.1f}
STORED = "_templates"  # the key beside the texts of a JSON object that has what they were made of
DEPTH = 4  # of Messages in Messages that are read back
MOST_TEMPLATE, MOST_TEXT, MOST_FIELDS = 2000, 20_000, 20  # characters and fields of one that is read back


class Message(str):
    """A sentence for a person: `template` with `values` put in. Values that are no numbers are put in as text."""

    template: str
    values: Mapping[str, Value]

    def __new__(cls, template: str, /, **values: object) -> Self:
        """The template must be written out where it is raised: the catalogues are held against the sources."""
        plain = {name: _value(value) for name, value in values.items()}
        english = template
        if plain:
            english = fill(template, plain)
        message = super().__new__(cls, english)
        message.template = str.__str__(template)
        message.values = plain
        return message

    def __str__(self) -> str:
        """Itself: `str(error)` of an exception that was raised with a Message is the Message."""
        return self

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, Value]]:
        return (self.template,), dict(self.values)

    def sentence(self) -> Message:
        """It with a capital and a stop, as a sentence stands alone."""
        values = dict(self.values)
        template = _ended(self.template, self[-1:])
        first_field = FIELD.match(template)
        if first_field is None or not values:
            return Message(template[:1].upper() + template[1:], **values)
        name = first_field[1]
        value = values[name]
        if isinstance(value, str):
            values[name] = _capital(value)
        return Message(template, **values)

    def changed(self, change: Callable[[str], str]) -> str:
        """It with `change` made to its values; as plain text where the change concerns more than single values."""
        text = change(str.__str__(self))
        if text == self:
            return self
        values = dict(self.values)
        for name, value in values.items():
            if isinstance(value, str):
                values[name] = changed(value, change)
        message = Message(self.template, **values)
        if message != text:
            return text
        return message


def fill(template: str, values: Mapping[str, Value], formats: str | None = None) -> str:
    """The template with its values; a field without a format of its own is formatted as in the template `formats`."""
    formats_by_name = dict(FIELD.findall(formats or ""))

    def put(field: re.Match[str]) -> str:
        value = values[field[1]]
        if isinstance(value, str):
            return str(value)
        return format(value, field[2] or formats_by_name.get(field[1], ""))

    return FIELD.sub(put, template)


def names(template: str) -> set[str]:
    """The names of a template's fields."""
    return {name for name, _ in FIELD.findall(template)}


def key(template: str) -> str:
    """What a template is looked up by: whether it has a capital, a stop or formats is not asked."""
    template = FIELD.sub(r"{\1}", template)
    return template[:1].lower() + template[1:].removesuffix(".")


def sentence(text: str) -> str:
    """Text with a capital and a stop; a Message stays one."""
    if isinstance(text, Message):
        return text.sentence()
    return _ended(_capital(text), text[-1:])


def lowered(text: str) -> str:
    """Text as it goes on within a sentence: without the capital; a Message stays one."""
    if isinstance(text, Message):
        return Message(lowered(text.template), **text.values)
    return text[:1].lower() + text[1:]


def without_stop(text: str) -> str:
    """Text without the stop that it may have; a Message stays one."""
    if isinstance(text, Message):
        return Message(text.template.removesuffix("."), **text.values)
    return text.removesuffix(".")


def line(text: str, most: int) -> str:
    """The first line of a text, at most so many characters of it; a Message stays one where it is that already."""
    lines = text.strip().splitlines() or [""]
    first = lines[0][:most]
    if isinstance(text, Message) and text == first:
        return text
    return first


def word(name: str) -> str:
    """The word of a state, a control or a thing of the studio, as a Message; any other text as it is."""
    return _WORDS.get(name, name)


def listed(texts: Iterable[str]) -> str:
    """Texts with semicolons between them; "" of none."""
    *before, last = list(texts) or [""]
    for text in reversed(before):
        last = Message("{first}; {rest}", first=text, rest=last)
    return last


def changed(text: str, change: Callable[[str], str]) -> str:
    """`change` made to a text; a Message stays one where that can be."""
    if isinstance(text, Message):
        return text.changed(change)
    return change(text)


_WORDS = {str.__str__(message): message for message in (
    Message("queued"), Message("starting"), Message("running"), Message("stopping"), Message("paused"),
    Message("interrupted"), Message("finished"), Message("stopped"), Message("cancelled"), Message("failed"),
    Message("diverged"), Message("importing"), Message("receiving"), Message("ready"), Message("stop"),
    Message("pause"), Message("cancel"), Message("save"), Message("sample"), Message("edit"), Message("terminate"),
    Message("run"), Message("job"), Message("training"), Message("data set"), Message("picture"), Message("preset"),
    Message("thing in the trash"))}

# ----------------------------------------------------------------------------------------------------------- as JSON


def stored(data: object) -> object:
    """JSON-like `data` with what its Messages were made of beside them, under STORED; itself where it has none."""
    if isinstance(data, dict):
        return _stored_object(data)
    if isinstance(data, list | tuple):
        values = list(map(stored, data))
        if all(map(is_, values, data)):
            return data
        return values
    return data


def _stored_object(data: JsonObject) -> JsonObject:
    """`stored` of an object."""
    values = {name: stored(value) for name, value in data.items()}
    templates: JsonObject = {}
    for name, value in data.items():
        parts = _templates(value)
        if parts is not None:
            templates[name] = parts
    if templates:
        values[STORED] = templates
    elif all(map(is_, values.values(), data.values())):
        return data
    return values


def restored(data: object) -> Any:
    """JSON that `stored` made, with its Messages; whoever wrote it, none says anything else than the text itself."""
    if isinstance(data, list):
        return list(map(restored, data))
    if not isinstance(data, dict):
        return data
    templates = data.get(STORED)
    values = {name: restored(value) for name, value in data.items()}
    if not isinstance(templates, dict):
        return values
    del values[STORED]
    return {name: _again(value, templates.get(name)) for name, value in values.items()}


def loads(data: bytes) -> Any:
    """JSON with its Messages. Raises ValueError, and RecursionError for what is nested without end."""
    read = json.loads(data)
    if f'"{STORED}"'.encode() in data:
        return restored(read)
    return read


def _templates(value: object) -> object:
    """What the Message (or the list with some) `value` was made of; None where it is no such thing."""
    if isinstance(value, Message):
        parts: JsonObject = dict(value.values)
        for name, inner in value.values.items():
            made_of = _templates(inner)
            if made_of is not None:
                parts[name] = made_of
        return {"template": value.template, "values": parts}
    if isinstance(value, list | tuple) and any(isinstance(item, Message) for item in value):
        return list(map(_templates, value))
    return None


def _again(value: object, made_of: object) -> object:
    """A text, or a list of texts, as Messages where what they were made of gives just these texts."""
    if isinstance(value, list) and isinstance(made_of, list) and len(value) == len(made_of):
        return list(map(_again, value, made_of))
    if not isinstance(value, str) or len(value) > MOST_TEXT:
        return value
    message = _message_of(made_of, DEPTH)
    if message is None or message != value:
        return value
    return message


def _message_of(made_of: object, depth: int) -> Message | None:
    """The Message of {template, values}, where that can be one of a bearable size."""
    if not isinstance(made_of, dict) or not depth:
        return None
    template = made_of.get("template")
    parts = made_of.get("values")
    if not isinstance(template, str) or not isinstance(parts, dict) or not _is_bearable(template, parts.keys()):
        return None
    values: dict[str, Value] = {}
    for name, value in parts.items():
        if isinstance(value, dict):
            value = _message_of(value, depth - 1)
        if not isinstance(value, Value) or len(str(value)) > MOST_TEXT:
            return None
        values[name] = value
    try:
        return Message(template, **values)
    except (ValueError, OverflowError):  # a number that has no such format
        return None


def _is_bearable(template: str, given_names: Collection[str]) -> bool:
    """Whether a template that was read is short enough, and has the fields of the values beside it, if there are."""
    if len(template) > MOST_TEMPLATE or len(FIELD.findall(template)) > MOST_FIELDS:
        return False
    return not given_names or names(template) == given_names


def _value(value: object) -> Value:
    """A number that is no bool, or text."""
    if isinstance(value, bool) or not isinstance(value, Value):
        return str(value)
    return value


def _capital(text: str) -> str:
    """Text with a capital; of a Message, as far as it goes."""
    if not isinstance(text, Message):
        return text[:1].upper() + text[1:]
    capital = text.sentence()
    if text.endswith("."):
        return capital
    return Message(capital.template.removesuffix("."), **capital.values)


def _ended(text: str, last: str) -> str:
    """Text with a stop, where `last`, the last character of what it becomes, is no such sign already."""
    if last in (".", "!", "?"):
        return text
    return f"{text}."
