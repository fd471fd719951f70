"""The files of words of an import: read once, decoded as most of them are, and what is told of their encodings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain, filterfalse
from typing import TypedDict

from studio.datasets.imports.sources import Entry
from studio.datasets.text import captions, encodings
from studio.datasets.text.encodings import Decoded, TextDecoder
from studio.messages import Message

KEPT = 64 << 20  # bytes of them that stay in memory, and with the data set to be read again
SHOWN = 120  # characters of a sample
MOST_TOLD = 8  # encodings that are told


@dataclass
class EncodingStats:
    """Files that were read in one encoding that is not UTF-8: how many, and one of them."""

    file: str
    data: bytes
    sample: str
    files: int = 0
    sure: bool = True
    names: set[int] = field(default_factory=set)


class Reading(TypedDict):
    """What a sample is in an encoding."""

    encoding: str
    sample: str


class Encoding(Reading):
    """An encoding that files were read in, with one of them as a sample, and what that one says in others."""

    files: int
    sure: bool
    file: str
    others: list[Reading]


class Texts:
    """Reads and decodes. `codec` is the encoding that a person asked for."""

    def __init__(self, codec: str | None = None):
        self.reader = TextDecoder(codec)
        self.codec = codec
        self.kept: dict[Entry, bytes] = {}
        self._room = KEPT
        self._seen: dict[str, EncodingStats] = {}

    def content(self, entry: Entry) -> bytes:
        """The bytes of a file of words. Raises sources.ImportRejected, OSError."""
        if entry in self.kept:
            return self.kept[entry]
        data = entry.read()
        if len(data) <= self._room:
            self._room -= len(data)
            self.kept[entry] = data
        return data

    def learn(self, entries: Iterable[Entry]) -> dict[Entry, Exception]:
        """Look at files before any is read, so that each is read like the others; those that cannot be, and why."""
        faults: dict[Entry, Exception] = {}
        for entry in entries:
            try:
                self.reader.learn(self.content(entry))
            except Exception as error:  # a damaged archive has many ways to say so: it costs this file alone
                faults[entry] = error
        return faults

    def decode(self, entry: Entry) -> tuple[str, set[str]]:
        """The text of a file and what had to be done to read it. Raises as `content`."""
        data = self.content(entry)
        decoded = self.reader.decode(data)
        return decoded.text, self.changes(entry, data, [decoded])

    def changes(self, entry: Entry, data: bytes, read: Iterable[Decoded]) -> set[str]:
        """What had to be done to read a file in these pieces; it is noted for the report."""
        changes: set[str] = set()
        for decoded in read:
            if decoded.damaged:
                changes.add(captions.DAMAGED)
            if decoded.codec == "utf-8" or not decoded.text.strip() or decoded.text.isascii():
                continue
            changes.add(Message("caption text was not UTF-8 and was read as {encoding}", encoding=decoded.name))
            self._note(entry, data, decoded)
        return changes

    def told(self) -> list[Encoding]:
        """The encodings that are not UTF-8, those of the most files first."""
        told: list[Encoding] = []
        for codec, seen in sorted(self._seen.items(), key=lambda item: -item[1].files)[:MOST_TOLD]:
            others: list[Reading] = []
            for other, text in encodings.others(seen.data, codec).items():
                others.append({"encoding": encodings.name_of(other), "sample": _sample(text)})
            told.append({"encoding": encodings.name_of(codec), "files": seen.files, "sure": seen.sure,
                         "file": seen.file, "sample": seen.sample, "others": others})
        return told

    def _note(self, entry: Entry, data: bytes, decoded: Decoded) -> None:
        sample = _sample(decoded.text)
        seen = self._seen.setdefault(decoded.codec, EncodingStats(entry.shown, data[: encodings.SAMPLE], sample))
        if id(entry) not in seen.names:
            seen.names.add(id(entry))
            seen.files += 1
        was_asked_for = self.codec is not None
        if seen.sure and not decoded.sure and not was_asked_for:  # the one to look at is the one that is not sure
            seen.sure = False
            seen.file = entry.shown
            seen.data = data[: encodings.SAMPLE]
            seen.sample = sample


def _sample(text: str) -> str:
    """The first line of a text that is more than ASCII, where there is one."""
    lines = list(filter(None, map(str.strip, text.splitlines())))
    line = next(chain(filterfalse(str.isascii, lines), lines), "")
    clean, _ = captions.clean(line)
    return clean if len(clean) <= SHOWN else f"{clean[:SHOWN]}…"
