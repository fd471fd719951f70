"""What the rooms to the right say, in the language of whoever asks: each English sentence is a row of one table.

Those rooms, the files of a run and the API speak English; here a sentence is found again by its row and said anew, so
that a run made years ago, or on another machine, is worded too. The rows are in `messages_*.py`, their columns in the
order of `languages.NAMES`. In a row `{name}` stands for a value, `{number}` for one of digits, `{name!}` for one that
must be a sentence of the table itself, `{name?}` for one that may be (or one of WORDS). Of several rows that fit, the
one with more words of its own is taken. A sentence without a row (a library's own words) is left in English.

Sentences hold what strangers wrote, so a row's words are searched for literally, in time linear in the text, texts of
more than MOST_CHARACTERS stay English, and so does what is left of an answer that has used up its budget.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any

from studio.web import (
    messages_base,
    messages_data,
    messages_disk,
    messages_fair,
    messages_files,
    messages_runs,
    messages_settings,
    messages_web,
)
from studio.web.languages import NAMES

ROWS: tuple[tuple[str, ...], ...] = (
    *messages_settings.ROWS, *messages_data.ROWS, *messages_files.ROWS, *messages_base.ROWS, *messages_runs.ROWS,
    *messages_fair.ROWS, *messages_web.ROWS, *messages_disk.ROWS)
# Single words that sentences put in; alone they may be somebody's own.
WORDS = (*messages_web.WORDS, *messages_files.WORDS)
LANGUAGES = tuple(NAMES)
SENTENCES = ("message", "hint", "note", "reason", "problem", "why", "error", "headline")  # keys of JSON of a sentence
LISTS = ("warnings", "notes")  # keys of lists of them
THEIRS = ("config", "args", "values")  # keys of what a person wrote
VALUE = re.compile(r"\{(\w+)([!?]?)\}")  # over the table's own rows alone
DIGITS = frozenset("0123456789-+.,e")  # what a {number} is made of
DEPTH = 4  # of sentences within sentences
MOST_CHARACTERS = 4000  # of a sentence
SEARCHES = 100_000  # of a row in a text, for one answer: some 25 ms
REMEMBERED, REMEMBERED_CHARACTERS = 512, 300  # sentences that are kept once worded, and how long one may be


class _Row:
    """A row whose sentence has values in it: literals with a value between each two of them."""

    def __init__(self, cells: tuple[str, ...]):
        self.cells = cells
        parts = VALUE.split(cells[0].removesuffix("."))
        self.literals, self.names = parts[0::3], dict(zip(parts[1::3], parts[2::3], strict=True))
        self.numeric = [name == "number" for name in self.names]
        self.longest = max((part[1:] for part in self.literals), key=len)
        self.known = sum(map(len, self.literals))

    def values(self, text: str) -> dict[str, str] | None:
        """The values of `text` where it is this sentence: each as short as the literals after it allow."""
        if self.longest not in text or not _opens(text, self.literals[0]):
            return None
        for end in (len(text) - 1, len(text)) if text.endswith(".") else (len(text),):
            if (values := self._split(text, end)) is not None:
                return dict(zip(self.names, values, strict=True))
        return None

    def _split(self, text: str, end: int) -> list[str] | None:
        """The values where the sentence ends before `end`, with or without the stop that closes it."""
        values, place = [], len(self.literals[0])
        last = len(self.numeric) - 1
        for at, numeric in enumerate(self.numeric):
            literal = self.literals[at + 1]
            if at == last:
                stop = end - len(literal)
                if stop <= place or not text.startswith(literal, stop):
                    return None
            else:
                stop = self._next(text, at, place, end)
                if stop < 0:
                    return None
            if numeric and not DIGITS.issuperset(text[place:stop]):
                return None
            values.append(text[place:stop])
            place = stop + len(literal)
        return values

    def _next(self, text: str, at: int, place: int, end: int) -> int:
        """Where the literal after value `at` begins, at the first place that the value after it allows; else -1."""
        literal, digits_follow = self.literals[at + 1], self.numeric[at + 1]
        stop = text.find(literal, place + 1, end)
        while stop >= 0 and digits_follow and text[stop + len(literal) : stop + len(literal) + 1] not in DIGITS:
            stop = text.find(literal, stop + 1, end)
        return stop


class _Teller:
    """Words the sentences of one answer in one language, with a bound on the searching for all of them."""

    def __init__(self, language: str):
        self.column = LANGUAGES.index(language)
        self.left = SEARCHES

    def said(self, text: str) -> str:
        """The sentence in that language; as it is where the table does not have it."""
        if len(text) > MOST_CHARACTERS:
            return text
        if (worded := _remembered.get((text, self.column))) is None:
            worded = self._said(text, DEPTH) or text
            if self.left > 0 and len(text) <= REMEMBERED_CHARACTERS:
                _remember(text, self.column, worded)
        return worded

    def told(self, data: Any) -> Any:
        """JSON with its sentences in that language."""
        if isinstance(data, dict):
            return {key: self._value(key, value) for key, value in data.items()}
        if isinstance(data, list) and data and isinstance(data[0], dict):
            return [self.told(value) for value in data]
        return data

    def _value(self, key: str, value: Any) -> Any:
        if key in THEIRS:
            return value
        if key in SENTENCES and isinstance(value, str):
            return self.said(value)
        if key in LISTS and isinstance(value, list):
            return [self.said(one) if isinstance(one, str) else self.told(one) for one in value]
        return self.told(value)

    def _said(self, text: str, depth: int) -> str | None:
        if row := _PLAIN.get(_key(text)):
            return row[self.column]
        if not depth:
            return None
        for row in _FILLED:
            self.left -= 1
            if self.left <= 0:
                return None
            if (worded := self._filled(row, text, depth)) is not None:
                return worded
        return None

    def _filled(self, row: _Row, text: str, depth: int) -> str | None:
        values = row.values(text)
        if values is None:
            return None
        for name, kind in row.names.items():
            if kind == "?" and (word := _INSIDE.get(values[name])):
                inner = word[self.column]
            else:
                inner = self._said(values[name], depth - 1) if kind else None
            if kind == "!" and inner is None:
                return None
            values[name] = inner.removesuffix("。") if inner else values[name]
        return VALUE.sub(lambda place: values[place[1]], row.cells[self.column])


def said(text: str, language: str) -> str:
    """An English sentence in that language; as it is where the table does not have it."""
    return text if language == LANGUAGES[0] else _Teller(language).said(text)


def told(data: Any, language: str) -> Any:
    """JSON with its sentences (SENTENCES, LISTS) in that language; the rest, and what people wrote, as it is."""
    return data if language == LANGUAGES[0] else _Teller(language).told(data)


def _key(text: str) -> str:
    return text[:1].lower() + text[1:].removesuffix(".")


def _opens(text: str, literal: str) -> bool:
    """Whether `text` begins with `literal`; a sentence may have been given a capital."""
    return text.startswith(literal[1:], 1) and text[:1].lower() == literal[:1].lower() if literal else True


def _remember(text: str, column: int, worded: str) -> None:
    _remembered[text, column] = worded
    while len(_remembered) > REMEMBERED:
        _remembered.popitem(last=False)


_PLAIN = {_key(row[0]): row for row in ROWS if not VALUE.search(row[0])}
_INSIDE = {row[0]: row for row in WORDS}
_FILLED = sorted((_Row(row) for row in ROWS if VALUE.search(row[0])), key=lambda row: -row.known)
_remembered: OrderedDict[tuple[str, int], str] = OrderedDict()
