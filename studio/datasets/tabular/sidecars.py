"""Files of words that belong to one picture each: beside it under its name, or in a folder of captions."""

from __future__ import annotations

import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, product, takewhile
from pathlib import PurePosixPath

from studio.datasets.imports.matching import Names
from studio.datasets.imports.sources import Entry
from studio.datasets.tabular import columns, records
from studio.datasets.text import captions
from studio.datasets.text.texts import Texts
from studio.messages import JsonObject, Message

# The endings of such files, those that come first where a picture has several; a `.json` may be a table as well.
SUFFIXES = (".txt", ".caption", ".captions", ".description", ".text", ".cap", ".prompt", ".tags", ".tag", ".json")
LARGEST_JSON = 1 << 20  # bytes
TAGS = (".tags", ".tag")
DRAWN = Message("settings of a program that draws, behind a caption: left out")


@dataclass(frozen=True)
class SidecarText:
    """What a file says of its picture, and what was changed to read it; or why nothing can be taken from it."""

    captions: tuple[str, ...] = ()
    changes: frozenset[str] = frozenset()
    problem: str = ""


class Sidecars:
    """Finds the files of words of each picture. `asked` is the column that a person named, for JSON."""

    def __init__(self, pictures: Sequence[Entry], words: Sequence[Entry], names: Names, texts: Texts,
                 asked: str | None = None):
        self.texts, self.asked = texts, asked
        self._places: dict[tuple[int, str], list[Entry]] = defaultdict(list)
        self._stems: dict[str, list[Entry]] = defaultdict(list)
        for entry in words:
            stem = entry.key[: -len(entry.suffix)].casefold()
            self._places[entry.source, stem].append(entry)
            self._stems[stem].append(entry)
        self._of: dict[Entry, list[Entry]] = {}
        self.owners: dict[Entry, list[Entry]] = defaultdict(list)  # file -> its pictures
        for picture in pictures:
            self._claim(picture, list(dict.fromkeys(self._beside(picture))))
        for entry in words:
            if entry in self.owners:
                continue
            mirrored = names.mirrored(entry.key[: -len(entry.suffix)])
            if len(mirrored) == 1:
                self._claim(mirrored[0], [*self.of(mirrored[0]), entry])
        self.unclaimed = [entry for entry in words if entry not in self.owners]
        self.columns: Counter[str] = Counter()  # of JSON files: columns that captions were taken from
        self.left: Counter[str] = Counter()  # and columns of words that were not
        self.unfit: dict[Entry, dict[str, str]] = {}  # JSON files without a column of captions: a value of each column

    def of(self, picture: Entry) -> list[Entry]:
        """The files of a picture, the one that comes first before the others."""
        return self._of.get(picture, [])

    def read(self, entry: Entry) -> SidecarText:
        """What one says. Raises sources.ImportRejected, OSError."""
        text, changes = self.texts.decode(entry)
        if entry.suffix == ".json":
            return self._of_json(entry, text, changes)
        text, changes = _prompt(text, changes)
        if entry.suffix in TAGS and "," not in text:
            text = ", ".join(text.split("\n"))
        caption, more = captions.clean(text)
        return SidecarText((caption,), frozenset(changes | more))

    def _claim(self, picture: Entry, files: list[Entry]) -> None:
        if not files:
            return
        self._of[picture] = sorted(files, key=lambda entry: SUFFIXES.index(entry.suffix))
        for entry in files:
            if picture not in self.owners[entry]:
                self.owners[entry].append(picture)

    def _beside(self, picture: Entry) -> Iterator[Entry]:
        """The files under a picture's name: without its ending, with it, or (in a tar, as WebDataset counts) without
        all its endings; of its own source, of loose files, else of another archive."""
        stem = picture.key[: len(picture.key) - len(PurePosixPath(picture.key).suffix)]
        stems = [stem.casefold(), picture.key.casefold()]
        if picture.part is not None:
            folder, name = posixpath.split(picture.key)
            stems.append(posixpath.join(folder, name.partition(".")[0]).casefold())
        places = product((picture.source, 0), stems)
        near = list(chain.from_iterable(self._places.get(place, ()) for place in places))
        anywhere = chain.from_iterable(self._stems.get(stem, ()) for stem in stems)
        yield from near or [entry for entry in anywhere if entry.source != 0]

    def _of_json(self, entry: Entry, text: str, changes: set[str]) -> SidecarText:
        try:
            document = records.parsed(text[:LARGEST_JSON])
        except (ValueError, RecursionError):
            return SidecarText(problem=Message("it is not JSON"))
        if isinstance(document, dict):
            return self._of_object(entry, dict(records.flat(document)), changes)
        texts = records.texts_of(document)
        if not texts:
            return SidecarText(problem=Message("it holds no object"))
        said, more = captions.of_texts(texts)
        return SidecarText(said, frozenset(changes | more))

    def _of_object(self, entry: Entry, fields: JsonObject, changes: set[str]) -> SidecarText:
        chosen = columns.caption_columns({name: [value] for name, value in fields.items()}, self.asked)
        self.left.update(chosen.left)
        for name in chosen.taken:
            texts = records.texts_of(fields.get(name), joined=columns.is_tags(name))
            if texts is None:
                return SidecarText(problem=Message("its caption is neither text nor a list of texts"))
            if any(map(str.strip, texts)):
                self.columns[name] += 1
                said, more = captions.of_texts(texts)
                return SidecarText(said, frozenset(changes | more))
        if chosen.taken:
            return SidecarText(("",), frozenset(changes))
        self.unfit[entry] = {name: captions.clean(str(value))[0][:80] for name, value in fields.items()}
        return SidecarText(problem=Message("it has none of {names}; it has: {columns}", names=columns.LOOKED_FOR,
                                           columns=", ".join(fields)[:300] or Message("nothing")))


def _prompt(text: str, changes: set[str]) -> tuple[str, set[str]]:
    """A caption without what A1111 and its kin write below a prompt when they draw a picture."""
    lines = text.splitlines()
    settings = list(map(_is_settings, lines))
    if True not in settings:
        return text, changes
    written = lines[: settings.index(True)]
    prompt = takewhile(lambda line: not line.startswith("Negative prompt:"), written)
    return "\n".join(prompt), changes | {DRAWN}


def _is_settings(line: str) -> bool:
    return line.startswith("Steps: ") and ("Sampler:" in line or "Seed:" in line)
