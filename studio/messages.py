"""What a person is told: English with the template and the values that it was made of, so that it can be translated.

`Message("The disk {disk} is full.", disk=name)` is the finished English sentence, a str like any other. Its template is
looked up in the catalogue of a language (studio/locale), and the values go into the translation as they went into the
English: once, so that braces in them are never read. Slices, f-strings and `+` give plain text, which stays English.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
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

    def __new__(cls, template: str, /, **values: Any) -> Self:
        """The template must be written out where it is raised: the catalogues are held against the sources."""
        plain = {name: _value(value) for name, value in values.items()}
        message = super().__new__(cls, fill(template, plain) if plain else template)
        message.template, message.values = str.__str__(template), plain
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
        first = FIELD.match(template) if values else None
        if first is None:
            template = template[:1].upper() + template[1:]
        elif isinstance(value := values[first[1]], str):
            values[first[1]] = _capital(value)
        return Message(template, **values)

    def changed(self, change: Callable[[str], str]) -> str:
        """It with `change` made to its values; as plain text where the change concerns more than single values."""
        text = change(str.__str__(self))
        if text == self:
            return self
        values = {name: value.changed(change) if isinstance(value, Message) else
                  change(value) if isinstance(value, str) else value for name, value in self.values.items()}
        message = Message(self.template, **values)
        return message if message == text else text


def fill(template: str, values: Mapping[str, Value], formats: str | None = None) -> str:
    """The template with its values; a field without a format of its own is formatted as in the template `formats`."""
    known = dict(FIELD.findall(formats)) if formats else {}

    def put(field: re.Match[str]) -> str:
        value, spec = values[field[1]], field[2] or known.get(field[1], "")
        return str(value) if isinstance(value, str) else format(value, spec)

    return FIELD.sub(put, template)


def names(template: str) -> set[str]:
    """The names of a template's fields."""
    return {field[1] for field in FIELD.finditer(template)}


def key(template: str) -> str:
    """What a template is looked up by: whether it has a capital, a stop or formats is not asked."""
    template = FIELD.sub(r"{\1}", template)
    return template[:1].lower() + template[1:].removesuffix(".")


def sentence(text: str) -> str:
    """Text with a capital and a stop; a Message stays one."""
    return text.sentence() if isinstance(text, Message) else _ended(_capital(text), text[-1:])


def lowered(text: str) -> str:
    """Text as it goes on within a sentence: without the capital; a Message stays one."""
    lower = text[:1].lower() + text[1:]
    return Message(lowered(text.template), **text.values) if isinstance(text, Message) else lower


def without_stop(text: str) -> str:
    """Text without the stop that it may have; a Message stays one."""
    if isinstance(text, Message):
        return Message(text.template.removesuffix("."), **text.values)
    return text.removesuffix(".")


def line(text: str, most: int) -> str:
    """The first line of a text, at most so many characters of it; a Message stays one where it is that already."""
    lines = text.strip().splitlines() or [""]
    return text if isinstance(text, Message) and text == lines[0][:most] else lines[0][:most]


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
    return text.changed(change) if isinstance(text, Message) else change(text)


_WORDS = {str.__str__(one): one for one in (
    Message("queued"), Message("starting"), Message("running"), Message("stopping"), Message("paused"),
    Message("interrupted"), Message("finished"), Message("stopped"), Message("cancelled"), Message("failed"),
    Message("diverged"), Message("importing"), Message("receiving"), Message("ready"), Message("stop"),
    Message("pause"), Message("cancel"), Message("save"), Message("sample"), Message("edit"), Message("terminate"),
    Message("run"), Message("job"), Message("training"), Message("data set"), Message("picture"), Message("preset"),
    Message("thing in the trash"))}

# ----------------------------------------------------------------------------------------------------------- as JSON


def stored(data: Any) -> Any:
    """JSON-like `data` with what its Messages were made of beside them, under STORED; itself where it has none."""
    if isinstance(data, dict):
        kept = {name: stored(value) for name, value in data.items()}
        templates = {name: one for name, value in data.items() if (one := _templates(value)) is not None}
        if templates:
            kept[STORED] = templates
        return kept if templates or any(kept[name] is not data[name] for name in data) else data
    if isinstance(data, list | tuple):
        kept_list = [stored(value) for value in data]
        return kept_list if any(one is not other for one, other in zip(kept_list, data, strict=True)) else data
    return data


def restored(data: Any) -> Any:
    """JSON that `stored` made, with its Messages; whoever wrote it, none says anything else than the text itself."""
    if isinstance(data, dict):
        templates = data.get(STORED)
        kept = {name: restored(value) if isinstance(value, dict | list) else value for name, value in data.items()}
        if not isinstance(templates, dict):
            return kept
        del kept[STORED]
        return {name: _again(value, templates.get(name)) for name, value in kept.items()}
    return [restored(value) for value in data] if isinstance(data, list) else data


def loads(data: bytes) -> Any:
    """JSON with its Messages. Raises ValueError, and RecursionError for what is nested without end."""
    read = json.loads(data)
    return restored(read) if f'"{STORED}"'.encode() in data else read


def _templates(value: Any) -> Any:
    """What the Message (or the list with some) `value` was made of; None where it is no such thing."""
    if isinstance(value, Message):
        parts = {name: one if (one := _templates(inner)) is not None else inner for name, inner in value.values.items()}
        return {"template": value.template, "values": parts}
    if isinstance(value, list | tuple) and any(isinstance(one, Message) for one in value):
        return [_templates(one) for one in value]
    return None


def _again(value: Any, made_of: Any) -> Any:
    """A text, or a list of texts, as Messages where what they were made of gives just these texts."""
    if isinstance(value, list) and isinstance(made_of, list) and len(value) == len(made_of):
        return [_again(one, parts) for one, parts in zip(value, made_of, strict=True)]
    if not isinstance(value, str) or len(value) > MOST_TEXT:
        return value
    message = _made(made_of, DEPTH)
    return message if message is not None and message == value else value


def _made(made_of: Any, depth: int) -> Message | None:
    """The Message of {template, values}, where that can be one of a bearable size."""
    if not isinstance(made_of, dict) or not depth:
        return None
    template, given = made_of.get("template"), made_of.get("values")
    if not isinstance(template, str) or not isinstance(given, dict) or len(template) > MOST_TEMPLATE:
        return None
    if len(FIELD.findall(template)) > MOST_FIELDS or (given and names(template) != given.keys()):
        return None
    values = {name: _made(value, depth - 1) if isinstance(value, dict) else value for name, value in given.items()}
    sound = all(isinstance(value, Value) and len(str(value)) <= MOST_TEXT for value in values.values())
    try:
        return Message(template, **values) if sound else None
    except (ValueError, OverflowError):  # a number that has no such format
        return None


def _value(value: Any) -> Value:
    if isinstance(value, bool) or not isinstance(value, Value):
        return str(value)
    return value


def _capital(text: str) -> str:
    """Text with a capital; of a Message, as far as it goes."""
    if not isinstance(text, Message):
        return text[:1].upper() + text[1:]
    capital = text.sentence()
    return Message(capital.template.removesuffix(".") if not text.endswith(".") else capital.template, **capital.values)


def _ended(text: str, last: str) -> str:
    return text if last in (".", "!", "?") else f"{text}."
