"""What an import says first: which words did not arrive, where they were looked for, and what a person can answer."""

from __future__ import annotations

import itertools
import posixpath
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING

from studio.datasets.imports import matching, meanings
from studio.datasets.imports.reporting import Report
from studio.datasets.imports.sources import Entry
from studio.datasets.schema import Ask, ColumnSample, Row
from studio.datasets.tabular import columns
from studio.datasets.tabular.picture_tables import Table
from studio.datasets.text import captions
from studio.messages import Message

if TYPE_CHECKING:
    from studio.datasets.imports.layout import Layout

@dataclass(frozen=True)
class PictureTable:
    """A table that holds pictures: its name, the kinds of its columns, those taken, and a value of each."""

    name: str
    kinds: dict[str, str]
    image: str | None
    caption: str | None
    samples: dict[str, str]

    @property
    def words(self) -> list[str]:
        """The columns of words that captions were not taken from."""
        known = (self.caption, *columns.CERTAIN_NAMES[:2], *captions.MORE_KEYS, "split")
        return _others(_of_kinds(self, (columns.TEXT, columns.TEXTS)), known)


MOST_ASKS = 10
MOST_COLUMNS = 60  # of a table that are shown to choose from
WORDY = (".yaml", ".yml", ".toml", ".xml", ".xlsx", ".xls", ".ods", ".numbers")  # may hold words, and are not read here
NOT_WORDS = ("settings of another program", "is a report of an import", "holds the rows of a data set")
NUMBERS = re.compile(r"[-+\d.,;:/()\[\]% \t]*\d[-+\d.,;:/()\[\]% \t]*")
NAMED = 3  # files or folders that are named in a sentence
Rows = Sequence[Row]


def tell(layout: Layout, rows: Rows) -> None:
    """Fill the report's headline, the asks that a person can answer by naming a column or choosing names, and the
    encodings that were not UTF-8.

    An ask is {kind, file, files, columns: [{name, sample}], message}: kind `column` is answered by `caption_column`,
    `image_column` by that, `folder name` by `caption_from`, `names` and `orphans` by other names of the files."""
    report = layout.report
    bare = len(_bare(rows))
    asks: list[Ask] = []
    if bare:
        asks += _asks(layout, rows)
    column = layout.options.caption_column
    if column and not _is_there(layout, column):
        asks.insert(0, _of_missing_column(layout, column))
    head = None
    if asks:
        head = asks[0]["message"]
        if bare:
            head = Message("{bare} of {pictures} came without words. {rest}", bare=bare, pictures=pictures(len(rows)),
                           rest=head)
    report.more = {"headline": head, "asks": asks[:MOST_ASKS], "encodings": layout.texts.told()}
    for note in _of_columns(layout):
        report.note(note)


def remarks(report: Report, rows: Rows) -> Iterator[str]:
    """Names that mean something elsewhere and were not obeyed; placeholders that other trainers fill."""
    keys = list(map(attrgetter("key"), filter(report.is_taken, report.entries)))
    yield from _of_names(keys)
    texts = list(itertools.chain.from_iterable(map(itemgetter("captions"), rows)))
    numbers = list(filter(NUMBERS.fullmatch, texts))
    if numbers:
        yield Message("{number} captions are numbers alone, such as {what}: perhaps what another program notes of its "
                      "pictures.", number=len(numbers), what=repr(numbers[0][:60]))
    placeholders = list(filter(None, map(meanings.PLACEHOLDER.search, texts)))
    if placeholders:
        yield Message("{number} captions hold {what}, which other trainers fill in and this one learns as it stands: "
                      "replace it.", number=len(placeholders), what=repr(placeholders[0][0]))


def _of_names(keys: Sequence[str]) -> Iterator[str]:
    """What is said of pictures whose folders or names mean a split or regularisation elsewhere."""
    for folder, number in _first(meanings.unclear_splits(keys)):
        yield Message("{pictures} of the folder {folder} trained on: call it test or validation to hold them out.",
                      pictures=pictures(number), folder=repr(Entry(folder).shown))
    like = meanings.named_like_splits(list(filter(_is_named_like_a_picture, keys)))
    if like:
        counts = ", ".join(f"{number} {split}" for split, number in like.items())
        yield Message("Pictures are named like splits ({counts}) and are all trained on: put them into folders train, "
                      "test or validation to part them.", counts=counts)
    for folder, number in _first(meanings.regularisation(keys)):
        yield Message("{pictures} of the folder {folder}, which other trainers take for regularisation: trained on "
                      "like any other.", pictures=pictures(number), folder=repr(Entry(folder).shown))


def _first(counts: Mapping[str, int]) -> Iterable[tuple[str, int]]:
    """The folders that are named in sentences, with their counts."""
    return itertools.islice(counts.items(), NAMED)


def _is_named_like_a_picture(key: str) -> bool:
    _, ending = posixpath.splitext(key)
    return ending[1:].casefold() in matching.PICTURE_SUFFIXES


def _of_missing_column(layout: Layout, column: str) -> Ask:
    """What to answer where no table has the column that was asked for."""
    there = _columns_of(layout)
    names = ", ".join(map(itemgetter("name"), there))[:600] or Message("none")
    return _ask("column", "", 0, there,
                Message("No table here has a column {name}; there are: {columns}.", name=repr(column[:100]),
                        columns=names))


def _asks(layout: Layout, rows: Rows) -> Iterator[Ask]:
    """What may hold the words of the pictures that have none."""
    for table in layout.tables:
        yield from _of_unused(table)
    for holder in layout.given:
        yield from _of_wordless(holder)
    yield from _of_unfit(layout)
    yield from _of_orphans(layout)
    yield from _of_unread(layout)
    yield from _of_folders(layout, rows)


def _of_unused(table: Table) -> Iterator[Ask]:
    """A table that names pictures and has no captions, or has rows and names none."""
    if table.named and not table.words.taken:
        yield _ask("column", table.entry.shown, 1, _of_words(table),
                   Message("{file} names {number} of the pictures, and none of its columns is known to hold "
                           "captions ({names} were looked for): it has {columns}. Name the column.",
                           file=table.entry.shown, number=table.named, names=columns.LOOKED_FOR,
                           columns=_listed(table)))
    elif not table.named and table.rows:
        yield _ask("image_column", table.entry.shown, 1, _shown(table.samples, table.samples),
                   Message("{file} names none of the pictures: it has {columns}, and a column of their file names "
                           "was looked for.", file=table.entry.shown, columns=_listed(table)))


def _of_wordless(table: PictureTable) -> Iterator[Ask]:
    """A table that holds pictures and has no captions."""
    if table.caption:
        return
    yield _ask("column", table.name, 1, _shown(table.words, table.samples, None),
               Message("{file} has pictures, and none of its columns is known to hold captions ({names} were "
                       "looked for): it has {columns}. Name the column.", file=table.name,
                       names=columns.LOOKED_FOR, columns=columns.described(table.kinds)))


def _of_unfit(layout: Layout) -> Iterator[Ask]:
    """JSON files beside pictures without a column of captions."""
    unfit = layout.sidecars.unfit
    if not unfit:
        return
    first, values = next(iter(unfit.items()))
    files = Message("{count} JSON files", count=len(unfit))
    if len(unfit) == 1:
        files = Message("1 JSON file")
    yield _ask("column", first.shown, len(unfit), _shown(values, values),
               Message("{files} beside pictures, such as {file}, have none of {names}: there is {columns}. Name "
                       "the one to take.", files=files, file=first.shown, names=columns.LOOKED_FOR,
                       columns=", ".join(values)[:300] or Message("nothing")))


def _of_orphans(layout: Layout) -> Iterator[Ask]:
    """Caption files that belong to no picture."""
    unclaimed = [entry for entry in layout.sidecars.unclaimed if entry.suffix != ".json"]
    orphans = [entry for entry in unclaimed if layout.report.verdict(entry) == "skipped"]
    if not orphans:
        return
    names = _names(orphans)
    message = Message("{number} caption files belong to no picture: {names}. A caption file is named like its "
                      "picture, as in cat.png and cat.txt.", number=len(orphans), names=names)
    if len(orphans) == 1:
        message = Message("1 caption file belongs to no picture: {names}. A caption file is named like its picture, "
                          "as in cat.png and cat.txt.", names=names)
    yield _ask("orphans", orphans[0].shown, len(orphans), [], message)


def _of_unread(layout: Layout) -> Iterator[Ask]:
    """Files that may hold words and are nothing that is read here, or are damaged."""
    told = {*map(attrgetter("entry"), layout.tables), *layout.sidecars.unfit}
    unclaimed = set(layout.sidecars.unclaimed)
    unread: list[Entry] = []
    for entry in layout.report.entries:
        may_hold_words = entry in layout.words or entry.suffix in WORDY
        if not may_hold_words or entry in told or layout.report.verdict(entry) != "skipped":
            continue
        is_orphan = entry.suffix != ".json" and entry in unclaimed
        if not is_orphan and not layout.report.why(entry).startswith(NOT_WORDS):
            unread.append(entry)
    if unread:
        yield _ask("unread", unread[0].shown, len(unread), [],
                   Message("Nothing could be taken from {names}: {why}.", names=_names(unread),
                           why=layout.report.why(unread[0])))


def _names(entries: Iterable[Entry]) -> str:
    """The first files by their names."""
    return ", ".join(map(attrgetter("shown"), itertools.islice(entries, NAMED)))


def _of_folders(layout: Layout, rows: Rows) -> Iterator[Ask]:
    """kohya's folders: there the words of 10_name are the captions of the pictures without any."""
    if layout.options.caption_from != "nothing":
        return
    bare = set(map(itemgetter("name"), _bare(rows)))
    counts: Counter[str] = Counter()
    for entry in layout.pictures:
        folder = posixpath.basename(posixpath.dirname(entry.key))
        if entry.shown in bare and meanings.REPEATS.match(folder):
            counts[folder] += 1
    if counts:
        [(folder, _)] = counts.most_common(1)
        yield _ask("folder name", folder, counts.total(), [],
                   Message("{pictures} without words in folders such as {folder}, whose name {name} kohya's trainer "
                           "takes as their caption: choose the folder's name for it.",
                           pictures=pictures(counts.total()), folder=repr(Entry(folder).shown),
                           name=repr(captions.of_name(folder))))


def _of_columns(layout: Layout) -> Iterator[str]:
    """Which columns captions were taken from, where it is none of the usual names, and columns of words left out."""
    for table in layout.tables:
        if table.named:
            yield from _of_table(table)
    for holder in layout.given:
        yield from _of_given(holder, layout)
    beside = layout.sidecars
    unusual = _others(beside.columns, columns.CERTAIN_NAMES)
    if unusual:
        yield Message("JSON files beside pictures: captions were taken from {names}.",
                      names=repr(", ".join(unusual)[:300]))
    if beside.columns and beside.left:
        yield Message("JSON files beside pictures: words of other columns were not taken: {names}.",
                      names=", ".join(beside.left)[:300])


def _of_table(table: Table) -> Iterator[str]:
    unusual = _others(table.words.taken, columns.CERTAIN_NAMES)
    if unusual:
        yield Message("{file}: captions were taken from the column {name}.", file=table.entry.shown,
                      name=repr(", ".join(unusual)))
    left = _others(table.words.left, columns.CERTAIN_NAMES[:2])
    if table.words.taken and left:
        yield Message("{file}: words of other columns were not taken: {names}.", file=table.entry.shown,
                      names=", ".join(left)[:300])


def _of_given(table: PictureTable, layout: Layout) -> Iterator[str]:
    if table.caption and table.caption not in columns.CERTAIN_NAMES and not layout.options.caption_column:
        yield Message("{file}: captions were taken from the column {name}.", file=table.name, name=repr(table.caption))
    if table.caption and table.words:
        yield Message("{file}: words of other columns were not taken: {names}.", file=table.name,
                      names=", ".join(table.words)[:300])
    left_out = _others(_of_kinds(table, columns.HOLDS_PICTURES), (table.image,))
    if left_out:
        yield Message("{file}: pictures of other columns were not taken: {names}.", file=table.name,
                      names=", ".join(left_out)[:300])


def _is_there(layout: Layout, column: str) -> bool:
    """Whether any table, JSON file or row of a table of pictures has the column."""
    if column in layout.sidecars.columns or any(column in table.samples for table in layout.tables):
        return True
    return any(entry.given and column in entry.given.texts for entry in layout.report.entries)


def _bare(rows: Rows) -> Rows:
    """The rows of pictures without words."""
    return [row for row in rows if not any(row["captions"])]


def _of_kinds(table: PictureTable, kinds: Collection[str]) -> list[str]:
    """The columns of a table that are of one of the kinds."""
    return [name for name, kind in table.kinds.items() if kind in kinds]


def _others(names: Iterable[str], known: Collection[str | None]) -> list[str]:
    """The names that are none of the known ones."""
    return [name for name in names if name not in known]


def _of_words(table: Table) -> list[ColumnSample]:
    """The columns that captions may be in: those of words first, and not the one of the pictures' names."""
    order = dict.fromkeys((*table.words.left, *table.samples))
    return _shown(_others(order, (table.picture,)), table.samples)


def _shown(names: Iterable[str], samples: Mapping[str, str], most: int | None = MOST_COLUMNS) -> list[ColumnSample]:
    """The first columns, each with a value."""
    return [{"name": name, "sample": samples.get(name, "")} for name in itertools.islice(names, most)]


def _columns_of(layout: Layout) -> list[ColumnSample]:
    """The columns of every table and JSON file."""
    samples: dict[str, str] = {}
    for table in (*layout.tables, *layout.given):
        samples |= table.samples
    for values in layout.sidecars.unfit.values():
        samples |= values
    return _shown(samples, samples)


def _listed(table: Table) -> str:
    return ", ".join(table.samples)[:400] or "no columns"


def _ask(kind: str, file: str, files: int, columns: list[ColumnSample], message: str) -> Ask:
    return {"kind": kind, "file": file, "files": files, "columns": columns, "message": message}


def pictures(number: int) -> Message:
    """So many pictures, in words."""
    if number == 1:
        return Message("1 picture")
    return Message("{number} pictures", number=number)
