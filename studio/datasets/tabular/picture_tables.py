"""What the tables of an import say of its pictures: which column names them, which hold words, what each row gives."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from studio.datasets.imports import meanings
from studio.datasets.imports.matching import Match
from studio.datasets.imports.sources import Annotations, Entry
from studio.datasets.tabular import coded, columns
from studio.datasets.tabular import records as tables
from studio.datasets.tabular.records import Record
from studio.datasets.text import captions
from studio.datasets.text.captions import RowText
from studio.messages import JsonObject, Message

SAMPLED = 300  # rows by which columns are told apart
MOST_COLUMNS = 300
MOST_PROBLEMS = 300  # of a table, told one by one
SHOWN = 80  # characters of a value that is shown
SURPLUS = Message("row with more cells than the header has: the rest was taken into its caption")
NO_SPLIT = Message("split in a table that is none (train, validation, test), trained on")
BY_END = Message("name in a table that is a picture's only in part")
NO_CAPTION = Message("has a caption that is neither text nor a list of texts")
Find = Callable[[str], Match]
Values = dict[str, list[object]]  # of each column, those that are not empty
Matched = dict[Entry, list[tuple[Record, str]]]


@dataclass
class Table:
    """One table, and what came of it."""

    entry: Entry
    rows: int = 0
    picture: str | None = None  # its column of pictures' names
    words: columns.CaptionColumns = columns.CaptionColumns()
    samples: dict[str, str] = field(default_factory=dict)  # a value of each column
    named: int = 0  # rows that name a picture which came along
    lines: dict[Entry, list[RowText]] = field(default_factory=dict)
    beside: dict[Entry, str] = field(default_factory=dict)  # pictures of other columns, and whose they are
    problems: list[str] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)  # what was done to how many rows

    def note(self, number: int, problem: str) -> None:
        """A row that cannot be used."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(Message("{file} line {number} {problem}: left out", file=self.entry.shown,
                                         number=number, problem=problem))
        elif len(self.problems) == MOST_PROBLEMS:
            self.problems.append(Message("{file}: more lines like these are left out", file=self.entry.shown))


def read(entry: Entry, records: Sequence[Record], find: Find, *, picture: str | None = None,
         caption: str | None = None) -> Table:
    """The table in `records`. `find` is the picture that a name in it means; `picture` and `caption` are the columns
    that a person named."""
    table = Table(entry, len(records))
    good: list[Record] = []
    for record in records:
        if record.problem:
            table.note(record.number, record.problem)
        else:
            good.append(record)
    values = _values(good[:SAMPLED])
    for name, column in values.items():
        table.samples[name] = _shown(column)
    table.picture = _picture_column(values, find, picture)
    others = _beside_columns(good[:SAMPLED], table.picture, find)
    table.words = columns.caption_columns(_without(values, {table.picture, *others}), caption)
    _take(table, good, find, others)
    return table


def why_unused(table: Table) -> str:
    """Why nothing was taken from a table; "" where its pictures were not taken."""
    names = ", ".join(table.samples)[:300] or Message("nothing")
    if not table.named:
        return Message("names no picture that came along; it has: {columns}", columns=names)
    if not table.words.taken:
        return Message("none of its columns is known to hold captions ({names}); it has: {columns}",
                       names=columns.LOOKED_FOR, columns=names)
    if not any(line.says_something for line in chain.from_iterable(table.lines.values())):
        return Message("its column {names} says nothing of any picture", names=", ".join(table.words.taken))
    return ""


def coded_column(records: Sequence[Record]) -> str | None:
    """The column that holds pictures written as text; None where none does."""
    for name, values in _sampled(records).items():
        if values and all(map(coded.is_coded, values)):
            return name
    return None


def words_of(records: Sequence[Record], column: str, asked: str | None) -> columns.CaptionColumns:
    """The columns of captions in a table whose pictures are in `column`."""
    return columns.caption_columns(_without(_sampled(records), {column}), asked)


def described(records: Sequence[Record], column: str,
              words: columns.CaptionColumns) -> tuple[dict[str, str], str, str | None, dict[str, str]]:
    """What is told of such a table: the kinds of its columns, those taken, and a value of each."""
    kinds: dict[str, str] = {}
    samples: dict[str, str] = {}
    for name, values in _sampled(records).items():
        if name == column:
            kinds[name] = columns.CODED
            continue
        kinds[name] = columns.TEXT if columns.is_words(values) else "value"
        samples[name] = _shown(values)
    return kinds, column, next(iter(words.taken), None), samples


def coded_picture(table: Entry, record: Record, column: str, words: columns.CaptionColumns, split: str) -> Entry:
    """The picture that is written in a row as text, with what the row says of it."""
    entry = Entry(f"{table.name}/{record.number:06d}", problem=record.problem, origin=table.origin)
    value = record.fields.get(column)
    if not entry.problem and isinstance(value, str):
        entry.data = coded.decode(value)
        entry.size = len(entry.data or b"")
    if not entry.problem and not entry.data:
        entry.problem = Message("the row has no picture")
    texts: dict[str, list[str]] = {}
    for name, value in record.fields.items():
        said = tables.texts_of(value, joined=columns.is_tags(name))
        if said and name != column:
            texts[name] = said
    written = [texts[name] for name in words.taken if _says_something(texts.get(name, ()))]
    said = next(iter(written), [])
    split = meanings.split_of_value(record.fields.get("split")) or split
    entry.given = Annotations(list(captions.of_texts(said)[0]), split, _more(record), texts)
    return entry


def _sampled(records: Sequence[Record]) -> Values:
    good = [record for record in records if not record.problem]
    return _values(good[:SAMPLED])


def _values(records: Sequence[Record]) -> Values:
    """The values of each column that are not empty."""
    values: Values = {}
    for record in records:
        for name, value in record.fields.items():
            if name not in values and len(values) >= MOST_COLUMNS:
                continue
            column = values.setdefault(name, [])
            if value not in (None, "", []):
                column.append(value)
    return values


def _without(values: Values, names: set[str | None]) -> Values:
    """The columns that may hold captions: without these, and without those that have a meaning of their own."""
    left_out = {"split", *captions.MORE_KEYS, *names}
    return {name: column for name, column in values.items() if name not in left_out}


def _more(record: Record) -> JsonObject:
    """What an export adds to a row beside captions and split."""
    return {key: record.fields[key] for key in captions.MORE_KEYS if record.fields.get(key) is not None}


def _says_something(texts: Sequence[str]) -> bool:
    return any(map(str.strip, texts))


def _shown(values: Sequence[object]) -> str:
    """One value for a person to tell the column by."""
    if not values:
        return ""
    text = captions.clean(str(values[0]))[0]
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _picture_column(values: Values, find: Find, asked: str | None) -> str | None:
    """The column that names pictures: by its name where any of its values is one, else by most of its values."""
    if asked is not None and asked in values:
        return asked
    hits = {name: _hits(column, find) for name, column in values.items()}
    order = columns.file_name_columns(values)
    usual = list(filter(columns.is_file_column, order))
    for name in usual:
        if hits[name]:
            return name
    mostly = [name for name in order if 0 < hits[name] >= 0.5 * len(values[name])]
    by_content = max(mostly, key=hits.__getitem__, default="")
    if not by_content and usual and any(_names(values[usual[0]])):
        return usual[0]
    return by_content or None


def _hits(values: Sequence[object], find: Find) -> int:
    """How many of the texts in values name a picture."""
    matches = map(find, _names(values))
    return sum(match.picture is not None for match in matches)


def _names(values: Sequence[object]) -> Iterator[str]:
    """The texts in values, and those in lists of them."""
    for value in values:
        parts = value if isinstance(value, list) else [value]
        for part in parts:
            if isinstance(part, str):
                yield part


def _beside_columns(records: Sequence[Record], picture: str | None, find: Find) -> set[str]:
    """Other columns that name pictures which are not their rows' own: masks, pictures that steer."""
    beside: set[str] = set()
    for record in records:
        names = _names([record.fields.get(picture or "")])
        of_row = {find(name).picture for name in names}
        for name, value in record.fields.items():
            if name == picture or name in captions.MORE_KEYS or not isinstance(value, str) or not _is_file(value):
                continue
            other = find(value).picture
            if other is not None and other not in of_row:
                beside.add(name)
    return beside


def _is_file(text: str) -> bool:
    return re.fullmatch(r"[^\n]{1,500}\.\w{3,4}", text) is not None


def _take(table: Table, records: Sequence[Record], find: Find, others: set[str]) -> None:
    """Give each row to the picture it names. A name that is a picture's only in part counts where no other row names
    that picture more exactly, or otherwise."""
    exact, partly = _matched(table, records, find)
    for picture, rows in partly.items():
        if picture in exact or len({tables.unnumbered(name) for _, name in rows}) > 1:
            for record, name in rows:
                table.note(record.number, Message("names {file}, which is not among the pictures",
                                                  file=repr(Entry(name).shown[:200])))
            continue
        table.counted[BY_END] += len(rows)
        exact[picture] = rows
    for picture, rows in exact.items():
        table.named += len(rows)
        for record, _ in rows:
            _add(table, picture, record, others, find)


def _matched(table: Table, records: Sequence[Record], find: Find) -> tuple[Matched, Matched]:
    """The rows of each picture with the name that they have for it: those that name it exactly, and only in part."""
    exact: Matched = defaultdict(list)
    partly: Matched = defaultdict(list)
    for record in records:
        names = list(_names([record.fields.get(table.picture or "")]))
        if not names:
            table.note(record.number, Message("has no file_name"))
        for name in names:
            match = find(name)
            if match.picture is None:
                table.note(record.number, match.problem)
            elif match.exact:
                exact[match.picture].append((record, name))
            else:
                partly[match.picture].append((record, name))
    return exact, partly


def _add(table: Table, picture: Entry, record: Record, others: set[str], find: Find) -> None:
    line = _line(table, record)
    if line is None:
        table.note(record.number, NO_CAPTION)
        return
    if record.surplus and (not table.words.taken or [*record.fields][-1] not in table.words.taken):
        table.note(record.number, Message("has more columns than the header"))
        return
    table.counted[SURPLUS] += record.surplus
    said = record.fields.get("split")
    table.counted[NO_SPLIT] += isinstance(said, str) and bool(said.strip()) and not line.split
    table.lines.setdefault(picture, []).append(line)
    for name in others & record.fields.keys():
        other = find(str(record.fields[name])).picture
        if other is not None and other is not picture:
            table.beside.setdefault(other, picture.shown)


def _line(table: Table, record: Record) -> RowText | None:
    """What a row says; None where its caption is of a kind that cannot be one."""
    texts: list[str] = []
    for name in table.words.taken:
        value = record.fields.get(name)
        written = tables.texts_of(value, joined=columns.is_tags(name))
        if written is None:
            return None
        if _says_something(written):
            texts = written
            break
    said, changes = captions.of_texts(texts)
    split = meanings.split_of_value(record.fields.get("split"))
    return RowText(said, frozenset(changes), split, _more(record))
