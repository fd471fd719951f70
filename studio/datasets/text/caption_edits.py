"""Edits of many captions at once, and what tags they hold. Pure text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from studio.datasets.schema import Row, RowChange
from studio.datasets.text.captions import LONGEST, clean

MOST = 4 * LONGEST  # characters that an edit makes of a caption before it is cut


@dataclass(frozen=True)
class Change:
    """One edit of captions. `find` is plain text, never a pattern; `trigger` is put first where it is not there yet."""

    find: str = ""
    replace: str = ""
    match_case: bool = False
    whole_words: bool = False
    prefix: str = ""
    suffix: str = ""
    trigger: str = ""

    def apply(self, captions: list[str]) -> list[str]:
        """The captions after the edit; an empty one gets no suffix of punctuation alone, but prefix and trigger do."""
        return [clean(self._one(text))[0] for text in captions]

    def _one(self, text: str) -> str:
        if self.find:
            text = "".join(self._replaced(text))
        text = f"{self.prefix}{text}{self.suffix}"
        if not self.trigger or self.trigger.casefold() in text.casefold():
            return text
        if not text.strip():
            return self.trigger
        return f"{self.trigger}, {text}"

    def _replaced(self, text: str) -> Iterator[str]:
        """The parts of the text after the replacement; no more of it than `clean` keeps."""
        searched = text if self.match_case else _folded(text)
        done = place = length = 0  # up to where it was replaced and searched; how many characters were yielded
        while length <= MOST:
            match = self._pattern.search(searched, place)
            if match is None:
                break
            start, end = match.span()
            place = end
            if self.whole_words and (_in_word(text[start - 1 : start]) or _in_word(text[end : end + 1])):
                place = start + 1
                continue
            yield text[done:start]
            yield self.replace
            length += start - done + len(self.replace)
            done = end
        yield text[done:]

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        """The text to find and nothing else: such a pattern is searched for in linear time, one for any case is not."""
        return re.compile(re.escape(self.find if self.match_case else _folded(self.find)))


def _folded(text: str) -> str:
    """The text in lower case, each character at its place."""
    lower = text.lower()
    if len(lower) == len(text):
        return lower
    return "".join(map(_lower, text))


def _lower(character: str) -> str:
    """It in lower case, where that is one character."""
    lower = character.lower()
    return lower if len(lower) == 1 else character


def _in_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def changed(rows: Iterable[Row], edit: Callable[[list[str]], list[str]]) -> dict[str, RowChange]:
    """What `Dataset.edit` is to do: the rows whose captions the edit changes."""
    changes: dict[str, RowChange] = {}
    for row in rows:
        captions = edit(row["captions"])
        if captions != row["captions"]:
            changes[row["pid"]] = {"captions": captions}
    return changes


def tags(rows: Iterable[Row]) -> list[tuple[str, int]]:
    """The comma-separated parts of the captions with the number of pictures that have each, most used first."""
    users: Counter[str] = Counter()
    for row in rows:
        parts = ",".join(row["captions"]).split(",")
        users.update(set(filter(None, map(str.strip, parts))))
    return sorted(users.items(), key=lambda entry: (-entry[1], entry[0]))
