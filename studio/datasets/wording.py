"""Edits of many captions at once, and what tags they hold. Pure text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from studio.datasets.captions import clean


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
            text = self._pattern().sub(lambda _: self.replace, text)
        text = f"{self.prefix}{text}{self.suffix}"
        if self.trigger and self.trigger.casefold() not in text.casefold():
            text = f"{self.trigger}, {text}" if text.strip() else self.trigger
        return text

    def _pattern(self) -> re.Pattern[str]:
        plain = re.escape(self.find)
        plain = rf"(?<!\w){plain}(?!\w)" if self.whole_words else plain
        return re.compile(plain, 0 if self.match_case else re.IGNORECASE)


def changed(rows: Iterable[dict[str, Any]], edit: Callable[[list[str]], list[str]]) -> dict[str, dict[str, Any]]:
    """What `Dataset.edit` is to do: the rows whose captions the edit changes."""
    found = {}
    for row in rows:
        captions = edit(row["captions"])
        if captions != row["captions"]:
            found[row["pid"]] = {"captions": captions}
    return found


def tags(rows: Iterable[dict[str, Any]]) -> list[tuple[str, int]]:
    """The comma-separated parts of the captions with the number of pictures that have each, most used first."""
    found: Counter[str] = Counter()
    for row in rows:
        found.update({part for text in row["captions"] for tag in text.split(",") if (part := tag.strip())})
    return sorted(found.items(), key=lambda entry: (-entry[1], entry[0]))
