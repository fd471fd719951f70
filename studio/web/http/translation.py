"""What the server says, in the language of whoever asks: a Message's template is a row of that language's catalogue.

A catalogue is a file of gettext in `studio/locale`, named by its language; a language is there when its file is. The
pages' own texts are rows with the key as their context. What is no Message (a library's own words, what a run of years
ago has told) is left in English, and so is a Message that the catalogue does not have.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple, TypeVar, cast

import polib

from studio import PACKAGE, messages
from studio.messages import FIELD, Message, Value

Json = TypeVar("Json")
LOCALE = PACKAGE / "locale"
ENGLISH = "en"


class Catalogue(NamedTuple):
    """A language: what it calls itself, its sentences by `messages.key` of the English, the stop that a sentence loses
    within another one, and the pages' texts by their keys."""

    name: str
    sentences: dict[str, str]
    stop: str
    texts: dict[str, str]


@cache
def catalogue(language: str) -> Catalogue:
    """The catalogue of a language of `LOCALE`. Raises OSError where there is none."""
    file = polib.pofile(str(LOCALE / f"{language}.po"))
    sentences: dict[str, str] = {}
    texts: dict[str, str] = {}
    for row in file:
        if not row.msgstr:
            continue
        if row.msgctxt is None:
            sentences[messages.key(row.msgid)] = row.msgstr
        else:
            texts[row.msgctxt] = row.msgstr
    return Catalogue(file.metadata["X-Name"], sentences, file.metadata.get("X-Stop", ""), texts)


def text(key: str, english: str, language: str) -> str:
    """A text of a page in that language, by its key; the English where the catalogue does not have it."""
    if language == ENGLISH:
        return english
    return catalogue(language).texts.get(key, english)


def translated(text: str, language: str) -> str:
    """A Message in that language; any other text, and what its catalogue does not have, as it is."""
    if language == ENGLISH or not isinstance(text, Message):
        return text
    return _translated(text, catalogue(language))


def told(data: Json, language: str) -> Json:
    """JSON-like data with its Messages in that language, and all else as it is."""
    if language == ENGLISH:
        return data
    return cast(Json, _told(data, catalogue(language)))


def _told(data: object, words: Catalogue) -> object:
    if isinstance(data, Message):
        return _translated(data, words)
    if isinstance(data, dict):
        return {key: _told(value, words) for key, value in data.items()}
    # a list of numbers is long and has no Messages
    if isinstance(data, list | tuple) and data and isinstance(data[0], dict | list | str):
        return [_told(value, words) for value in data]
    return data


def _translated(message: Message, words: Catalogue) -> str:
    """The message in those words, with its values put in as they went into the English; else the message itself."""
    template = words.sentences.get(messages.key(message.template))
    if template is None and any(map(str.isalpha, FIELD.sub("", message.template))):
        return message
    if not message.values:
        return template or message
    values = {name: _within(value, words) for name, value in message.values.items()}
    return messages.fill(template or message.template, values, message.template)


def _within(value: Value, words: Catalogue) -> Value:
    """A value of a message in those words; a sentence loses the stop that it would have alone."""
    if not isinstance(value, Message):
        return value
    translation = _translated(value, words)
    if words.stop:
        translation = translation.removesuffix(words.stop)
    return translation
