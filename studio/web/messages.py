"""What the rooms to the right say, in the language of whoever asks: each English sentence is a row of one table.

Those rooms, the files of a run and the API speak English; here a sentence is found again by its row and said anew, so
that a run made years ago, or on another machine, is worded too. The rows are in `messages_*.py`, their columns in the
order of `languages.NAMES`. In a row `{name}` stands for a value, `{number}` for one of digits, `{name!}` for one that
must be a sentence of the table itself, `{name?}` for one that may be (or one of WORDS). Of several rows that fit, the
one with more words of its own is taken. A sentence without a row (a library's own words) is left in English.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from studio.web import messages_base, messages_data, messages_disk, messages_runs, messages_settings, messages_web
from studio.web.languages import NAMES

ROWS: tuple[tuple[str, ...], ...] = (
    *messages_settings.ROWS, *messages_data.ROWS, *messages_base.ROWS, *messages_runs.ROWS, *messages_web.ROWS,
    *messages_disk.ROWS)
WORDS = messages_web.WORDS  # single words that sentences put in; alone they may be somebody's own
LANGUAGES = tuple(NAMES)
SENTENCES = ("message", "hint", "note", "reason", "problem", "why", "error")  # keys of JSON whose text is a sentence
LISTS = ("warnings", "notes")  # keys of lists of them
THEIRS = ("config", "args", "values")  # keys of what a person wrote
VALUE = re.compile(r"\{(\w+)([!?]?)\}")
NUMBER = r"([-+\d.,e]+)"
DEPTH = 4  # of sentences within sentences


class _Row:
    """A row whose sentence has values in it."""

    def __init__(self, cells: tuple[str, ...]):
        self.cells = cells
        parts = VALUE.split(cells[0].removesuffix("."))
        self.literals, self.names = parts[0::3], dict(zip(parts[1::3], parts[2::3], strict=True))
        groups = [NUMBER if name == "number" else "(.+?)" for name in self.names]
        pattern = "".join(map("".join, zip(map(re.escape, self.literals), [*groups, ""], strict=True)))
        if self.literals[0]:  # a sentence may have been given a capital
            first = self.literals[0][0]
            pattern = f"[{re.escape(first.lower())}{re.escape(first.upper())}]{pattern[len(re.escape(first)):]}"
        self.pattern = re.compile(pattern + r"\.?", re.DOTALL)
        self.longest = max((part[1:] for part in self.literals), key=len)
        self.known = sum(map(len, self.literals))

    def values(self, text: str) -> dict[str, str] | None:
        """The values of `text` where it is this sentence."""
        found = self.pattern.fullmatch(text) if self.longest in text else None
        return dict(zip(self.names, found.groups(), strict=True)) if found else None


def _key(text: str) -> str:
    return text[:1].lower() + text[1:].removesuffix(".")


_PLAIN = {_key(row[0]): row for row in ROWS if not VALUE.search(row[0])}
_INSIDE = {row[0]: row for row in WORDS}
_FILLED = sorted((_Row(row) for row in ROWS if VALUE.search(row[0])), key=lambda row: -row.known)


def said(text: str, language: str) -> str:
    """An English sentence in that language; as it is where the table does not have it."""
    if language == LANGUAGES[0]:
        return text
    return _said(text, LANGUAGES.index(language), DEPTH) or text


def told(data: Any, language: str) -> Any:
    """JSON with its sentences (SENTENCES, LISTS) in that language; the rest, and what people wrote, as it is."""
    if language == LANGUAGES[0]:
        return data
    if isinstance(data, dict):
        return {key: _value(key, value, language) for key, value in data.items()}
    if isinstance(data, list) and data and isinstance(data[0], dict):
        return [told(value, language) for value in data]
    return data


def _value(key: str, value: Any, language: str) -> Any:
    if key in THEIRS:
        return value
    if key in SENTENCES and isinstance(value, str):
        return said(value, language)
    if key in LISTS and isinstance(value, list):
        return [said(one, language) if isinstance(one, str) else told(one, language) for one in value]
    return told(value, language)


@lru_cache(4096)
def _said(text: str, column: int, depth: int) -> str | None:
    if row := _PLAIN.get(_key(text)):
        return row[column]
    return next((found for row in _FILLED if (found := _filled(row, text, column, depth))), None) if depth else None


def _filled(row: _Row, text: str, column: int, depth: int) -> str | None:
    values = row.values(text)
    if values is None:
        return None
    for name, kind in row.names.items():
        inner = _INSIDE[values[name]][column] if kind == "?" and values[name] in _INSIDE else (
            _said(values[name], column, depth - 1) if kind else None)
        if kind == "!" and inner is None:
            return None
        values[name] = inner.removesuffix("。") if inner else values[name]
    return VALUE.sub(lambda found: values[found[1]], row.cells[column])
