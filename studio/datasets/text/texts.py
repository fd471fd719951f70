"""The files of words of an import: read once, decoded as most of them are, and what is told of their encodings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from studio.datasets.imports.sources import Entry
from studio.datasets.text import captions, encodings
from studio.datasets.text.encodings import Decoded, Reader
from studio.messages import Message

KEPT = 64 << 20  # bytes of them that stay in memory, and with the data set to be read again
SHOWN = 120  # characters of a sample
MOST_TOLD = 8  # encodings that are told


@dataclass
class Seen:
    """Files that were read in one encoding that is not UTF-8: how many, and one of them."""

    file: str
    data: bytes
    sample: str
    files: int = 0
    sure: bool = True
    names: set[int] = field(default_factory=set)


class Texts:
    """Reads and decodes. `codec` is the encoding that a person asked for."""

    def __init__(self, codec: str | None = None):
        self.reader = Reader(codec)
        self.codec = codec
        self.kept: dict[Entry, bytes] = {}
        self._room = KEPT
        self._seen: dict[str, Seen] = {}

    def content(self, entry: Entry) -> bytes:
        """The bytes of a file of words. Raises sources.NotTaken, OSError."""
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
        found: set[str] = set()
        for decoded in read:
            if decoded.damaged:
                found.add(captions.DAMAGED)
            if decoded.codec == "utf-8" or not decoded.text.strip() or decoded.text.isascii():
                continue
            found.add(Message("caption text was not UTF-8 and was read as {encoding}", encoding=decoded.name))
            self._note(entry, data, decoded)
        return found

    def told(self) -> list[dict[str, Any]]:
        """For each encoding that is not UTF-8: {encoding, files, sure, file, sample, others: [{encoding, sample}]}."""
        return [{"encoding": encodings.name_of(codec), "files": seen.files, "sure": seen.sure, "file": seen.file,
                 "sample": seen.sample, "others": [
                     {"encoding": encodings.name_of(other), "sample": _sample(text)}
                     for other, text in encodings.others(seen.data, codec).items()]}
                for codec, seen in sorted(self._seen.items(), key=lambda item: -item[1].files)[:MOST_TOLD]]

    def _note(self, entry: Entry, data: bytes, decoded: Decoded) -> None:
        sample = _sample(decoded.text)
        seen = self._seen.setdefault(decoded.codec, Seen(entry.shown, data[: encodings.SAMPLE], sample))
        if id(entry) not in seen.names:
            seen.names.add(id(entry))
            seen.files += 1
        asked = self.codec is not None
        if seen.sure and not decoded.sure and not asked:  # the one to look at is the one that is not sure
            seen.sure, seen.file, seen.data, seen.sample = False, entry.shown, data[: encodings.SAMPLE], sample


def _sample(text: str) -> str:
    """The first line of a text that is more than ASCII, where there is one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = next((line for line in lines if not line.isascii()), lines[0] if lines else "")
    clean = captions.clean(line)[0]
    return clean if len(clean) <= SHOWN else f"{clean[:SHOWN]}…"
