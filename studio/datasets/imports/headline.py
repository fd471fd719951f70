"""What an import says first: which words did not arrive, where they were looked for, and what a person can answer."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from studio.datasets.imports import matching, meanings
from studio.datasets.imports.reporting import Report
from studio.datasets.imports.sources import Entry
from studio.datasets.tabular import columns
from studio.datasets.tabular.listed import Table
from studio.datasets.text import captions
from studio.messages import Message

if TYPE_CHECKING:
    from studio.datasets.imports.layout import Layout

@dataclass(frozen=True)
class GivenTable:
    """A table that holds pictures: its name, the kinds of its columns, those taken, and a value of each."""

    name: str
    kinds: dict[str, str]
    image: str | None
    caption: str | None
    samples: dict[str, str]

    @property
    def words(self) -> list[str]:
        """The columns of words that captions were not taken from."""
        return [name for name, kind in self.kinds.items() if kind in (columns.TEXT, columns.TEXTS) and name not in (
            self.caption, *columns.PLAIN[:2], *captions.MORE_KEYS, "split")]


MOST_ASKS = 10
MOST_COLUMNS = 60  # of a table that are shown to choose from
WORDY = (".yaml", ".yml", ".toml", ".xml", ".xlsx", ".xls", ".ods", ".numbers")  # may hold words, and are not read here
NOT_WORDS = ("settings of another program", "is a report of an import", "holds the rows of a data set")
NUMBERS = re.compile(r"[-+\d.,;:/()\[\]% \t]*\d[-+\d.,;:/()\[\]% \t]*")
NAMED = 3  # files or folders that are named in a sentence
Rows = Sequence[dict[str, Any]]


def tell(layout: Layout, rows: Rows) -> None:
    """Fill the report's headline, the asks that a person can answer by naming a column or choosing names, and the
    encodings that were not UTF-8.

    An ask is {kind, file, files, columns: [{name, sample}], message}: kind `column` is answered by `caption_column`,
    `image_column` by that, `folder name` by `caption_from`, `names` and `orphans` by other names of the files."""
    report, bare = layout.report, sum(not any(row["captions"]) for row in rows)
    asks = list(_asks(layout, rows)) if bare else []
    asked = layout.options.caption_column
    if asked and not _is_there(layout, asked):
        there = _columns_of(layout)
        names = ", ".join(column["name"] for column in there)[:600] or Message("none")
        asks.insert(0,
                    _ask("column", "", 0, there,
                         Message("No table here has a column {name}; there are: {columns}.", name=repr(asked[:100]),
                                 columns=names)))
    head = asks[0]["message"] if asks else None
    if head and bare:
        head = Message("{bare} of {pictures} came without words. {rest}", bare=bare, pictures=pictures(len(rows)),
                       rest=head)
    report.more = {"headline": head, "asks": asks[:MOST_ASKS], "encodings": layout.texts.told()}
    for note in _of_columns(layout):
        report.note(note)


def remarks(report: Report, rows: Rows) -> Iterator[str]:
    """Names that mean something elsewhere and were not obeyed; placeholders that other trainers fill."""
    keys = [entry.key for entry in report.entries if report.is_taken(entry)]
    for folder, number in list(meanings.unclear_splits(keys).items())[:NAMED]:
        yield Message("{pictures} of the folder {folder} trained on: call it test or validation to hold them out.",
                      pictures=pictures(number), folder=repr(Entry(folder).shown))
    if like := meanings.named_like_splits([key for key in keys if posixpath.splitext(key)[1][1:].casefold()
                                               in matching.PICTURE_SUFFIXES]):
        counts = ", ".join(f"{number} {split}" for split, number in like.items())
        yield Message("Pictures are named like splits ({counts}) and are all trained on: put them into folders train, "
                      "test or validation to part them.", counts=counts)
    for folder, number in list(meanings.regularisation(keys).items())[:NAMED]:
        yield Message("{pictures} of the folder {folder}, which other trainers take for regularisation: trained on "
                      "like any other.", pictures=pictures(number), folder=repr(Entry(folder).shown))
    numbers = [text for row in rows for text in row["captions"] if NUMBERS.fullmatch(text)]
    if numbers:
        yield Message("{number} captions are numbers alone, such as {what}: perhaps what another program notes of its "
                      "pictures.", number=len(numbers), what=repr(numbers[0][:60]))
    held = [match[0] for row in rows for text in row["captions"] if (match := meanings.PLACEHOLDER.search(text))]
    if held:
        yield Message("{number} captions hold {what}, which other trainers fill in and this one learns as it stands: "
                      "replace it.", number=len(held), what=repr(held[0]))


def _asks(layout: Layout, rows: Rows) -> Iterator[dict[str, Any]]:
    """What may hold the words of the pictures that have none."""
    for table in layout.tables:
        if table.named and not table.words.taken:
            yield _ask("column", table.entry.shown, 1, _of_words(table),
                       Message("{file} names {number} of the pictures, and none of its columns is known to hold "
                               "captions ({names} were looked for): it has {columns}. Name the column.",
                               file=table.entry.shown, number=table.named, names=columns.LOOKED_FOR,
                               columns=_listed(table)))
        elif not table.named and table.rows:
            yield _ask("image_column", table.entry.shown, 1, _columns(table),
                       Message("{file} names none of the pictures: it has {columns}, and a column of their file names "
                               "was looked for.", file=table.entry.shown, columns=_listed(table)))
    for given in layout.given:
        if not given.caption:
            shown = [{"name": name, "sample": given.samples.get(name, "")} for name in given.words]
            yield _ask("column", given.name, 1, shown,
                       Message("{file} has pictures, and none of its columns is known to hold captions ({names} were "
                               "looked for): it has {columns}. Name the column.", file=given.name,
                               names=columns.LOOKED_FOR, columns=columns.listed(given.kinds)))
    unfit = layout.sidecars.unfit
    if unfit:
        first, values = next(iter(unfit.items()))
        files = Message("1 JSON file") if len(unfit) == 1 else Message("{count} JSON files", count=len(unfit))
        yield _ask("column", first.shown, len(unfit), _shown(values),
                   Message("{files} beside pictures, such as {file}, have none of {names}: there is {columns}. Name "
                           "the one to take.", files=files, file=first.shown, names=columns.LOOKED_FOR,
                           columns=", ".join(values)[:300] or Message("nothing")))
    orphans = [entry for entry in layout.sidecars.unclaimed if layout.report.verdict(entry) == "skipped"
               and entry.suffix != ".json"]
    if orphans:
        names = ", ".join(entry.shown for entry in orphans[:NAMED])
        yield _ask("orphans", orphans[0].shown, len(orphans), [],
                   Message("1 caption file belongs to no picture: {names}. A caption file is named like its picture, "
                           "as in cat.png and cat.txt.", names=names) if len(orphans) == 1 else
                   Message("{number} caption files belong to no picture: {names}. A caption file is named like its "
                           "picture, as in cat.png and cat.txt.", number=len(orphans), names=names))
    yield from _of_unread(layout)
    yield from _of_folders(layout, rows)


def _of_unread(layout: Layout) -> Iterator[dict[str, Any]]:
    """Files that may hold words and are nothing that is read here, or are damaged."""
    told = {table.entry for table in layout.tables} | layout.sidecars.unfit.keys()
    faults = {entry: layout.report.why(entry) for entry in layout.report.entries
              if (entry in layout.words or entry.suffix in WORDY) and layout.report.verdict(entry) == "skipped"
              and entry not in told}
    unread = {entry: why for entry, why in faults.items() if not why.startswith(NOT_WORDS)
              and (entry.suffix == ".json" or entry not in layout.sidecars.unclaimed)}
    if unread:
        names = ", ".join(entry.shown for entry in list(unread)[:NAMED])
        yield _ask("unread", next(iter(unread)).shown, len(unread), [],
                   Message("Nothing could be taken from {names}: {why}.", names=names, why=next(iter(unread.values()))))


def _of_folders(layout: Layout, rows: Rows) -> Iterator[dict[str, Any]]:
    """kohya's folders: there the words of 10_name are the captions of the pictures without any."""
    if layout.options.caption_from != "nothing":
        return
    bare = {row["name"] for row in rows if not any(row["captions"])}
    found: Counter[str] = Counter()
    for entry in layout.pictures:
        folder = posixpath.basename(posixpath.dirname(entry.key))
        if entry.shown in bare and meanings.REPEATS.match(folder):
            found[folder] += 1
    if found:
        folder = found.most_common(1)[0][0]
        yield _ask("folder name", folder, sum(found.values()), [],
                   Message("{pictures} without words in folders such as {folder}, whose name {name} kohya's trainer "
                           "takes as their caption: choose the folder's name for it.",
                           pictures=pictures(sum(found.values())), folder=repr(Entry(folder).shown),
                           name=repr(captions.of_name(folder))))


def _of_columns(layout: Layout) -> Iterator[str]:
    """Which columns captions were taken from, where it is none of the usual names, and columns of words left out."""
    for table in layout.tables:
        yield from _of_table(table) if table.named else ()
    for given in layout.given:
        yield from _of_given(given, layout)
    beside = layout.sidecars
    if odd := [name for name in beside.columns if name not in columns.PLAIN]:
        yield Message("JSON files beside pictures: captions were taken from {names}.", names=repr(", ".join(odd)[:300]))
    if beside.columns and beside.left:
        yield Message("JSON files beside pictures: words of other columns were not taken: {names}.",
                      names=", ".join(beside.left)[:300])


def _of_table(table: Table) -> Iterator[str]:
    odd = [name for name in table.words.taken if name not in columns.PLAIN]
    if odd:
        yield Message("{file}: captions were taken from the column {name}.", file=table.entry.shown,
                      name=repr(", ".join(odd)))
    left = [name for name in table.words.left if name not in columns.PLAIN[:2]]
    if table.words.taken and left:
        yield Message("{file}: words of other columns were not taken: {names}.", file=table.entry.shown,
                      names=", ".join(left)[:300])


def _of_given(given: GivenTable, layout: Layout) -> Iterator[str]:
    if given.caption and given.caption not in columns.PLAIN and not layout.options.caption_column:
        yield Message("{file}: captions were taken from the column {name}.", file=given.name, name=repr(given.caption))
    if given.caption and given.words:
        yield Message("{file}: words of other columns were not taken: {names}.", file=given.name,
                      names=", ".join(given.words)[:300])
    others = [name for name, kind in given.kinds.items() if kind in columns.HOLDS_PICTURES and name != given.image]
    if others:
        yield Message("{file}: pictures of other columns were not taken: {names}.", file=given.name,
                      names=", ".join(others)[:300])


def _is_there(layout: Layout, column: str) -> bool:
    return column in layout.sidecars.columns or any(column in table.samples for table in layout.tables) or any(
        column in (entry.given.texts if entry.given else ()) for entry in layout.report.entries)


def _columns(table: Table) -> list[dict[str, str]]:
    return _shown(table.samples)


def _of_words(table: Table) -> list[dict[str, str]]:
    """The columns that captions may be in: those of words first, and not the one of the pictures' names."""
    order = dict.fromkeys((*table.words.left, *table.samples))
    return _shown({name: table.samples[name] for name in order if name != table.picture})


def _shown(samples: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "sample": sample} for name, sample in samples.items()][:MOST_COLUMNS]


def _columns_of(layout: Layout) -> list[dict[str, str]]:
    """The columns of every table and JSON file."""
    found = {name: sample for table in layout.tables for name, sample in table.samples.items()}
    for samples in (*(given.samples for given in layout.given), *layout.sidecars.unfit.values()):
        found |= samples
    return _shown(found)


def _listed(table: Table) -> str:
    return ", ".join(table.samples)[:400] or "no columns"


def _ask(kind: str, file: str, files: int, found: list[dict[str, str]], message: str) -> dict[str, Any]:
    return {"kind": kind, "file": file, "files": files, "columns": found, "message": message}


def pictures(number: int) -> Message:
    return Message("1 picture") if number == 1 else Message("{number} pictures", number=number)
