"""What the tables of an import say of its pictures: which column names them, which hold words, what each row gives."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from studio.datasets.imports import meanings
from studio.datasets.imports.matching import Match
from studio.datasets.imports.sources import Entry, Given
from studio.datasets.tabular import coded, columns
from studio.datasets.tabular import records as tables
from studio.datasets.tabular.records import Record
from studio.datasets.text import captions
from studio.datasets.text.captions import Line
from studio.messages import Message

SAMPLED = 300  # rows by which columns are told apart
MOST_COLUMNS = 300
MOST_PROBLEMS = 300  # of a table, told one by one
SHOWN = 80  # characters of a value that is shown
SURPLUS = Message("row with more cells than the header has: the rest was taken into its caption")
NO_SPLIT = Message("split in a table that is none (train, validation, test), trained on")
BY_END = Message("name in a table that is a picture's only in part")
NO_CAPTION = Message("has a caption that is neither text nor a list of texts")
Find = Callable[[str], Match]


@dataclass
class Table:
    """One table, and what came of it."""

    entry: Entry
    rows: int = 0
    picture: str | None = None  # its column of pictures' names
    words: columns.Captions = columns.Captions()
    samples: dict[str, str] = field(default_factory=dict)  # a value of each column
    named: int = 0  # rows that name a picture which came along
    lines: dict[Entry, list[Line]] = field(default_factory=dict)
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
    good = []
    for record in records:
        if record.problem:
            table.note(record.number, record.problem)
        else:
            good.append(record)
    values = _values(good[:SAMPLED])
    table.samples = {name: _shown(found) for name, found in values.items()}
    table.picture = _picture_column(values, find, picture)
    others = _beside_columns(good[:SAMPLED], table.picture, find)
    table.words = columns.captions({name: found for name, found in values.items() if name != table.picture and (
        name not in others) and name not in captions.MORE_KEYS and name != "split"}, caption)
    _take(table, good, find, others)
    return table


def coded_column(records: Sequence[Record]) -> str | None:
    """The column that holds pictures written as text; None where none does."""
    values = _values([record for record in records if not record.problem][:SAMPLED])
    return next((name for name, found in values.items() if found and all(
        isinstance(value, str) and coded.is_picture(value) for value in found)), None)


def words_of(records: Sequence[Record], column: str, asked: str | None) -> columns.Captions:
    """The columns of captions in a table whose pictures are in `column`."""
    values = _values([record for record in records if not record.problem][:SAMPLED])
    left_out = {column, "split", *captions.MORE_KEYS}
    return columns.captions({name: found for name, found in values.items() if name not in left_out}, asked)


def described(records: Sequence[Record], column: str,
              words: columns.Captions) -> tuple[dict[str, str], str, str | None, dict[str, str]]:
    """What is told of such a table: the kinds of its columns, those taken, and a value of each."""
    values = _values([record for record in records if not record.problem][:SAMPLED])
    kinds = {name: columns.CODED if name == column else columns.TEXT if columns.is_words(found) else "value"
             for name, found in values.items()}
    samples = {name: _shown(found) for name, found in values.items() if name != column}
    return kinds, column, next(iter(words.taken), None), samples


def coded_picture(table: Entry, record: Record, column: str, words: columns.Captions, split: str) -> Entry:
    """The picture that is written in a row as text, with what the row says of it."""
    entry = Entry(f"{table.name}/{record.number:06d}", problem=record.problem, origin=table.origin)
    value = record.fields.get(column)
    if not entry.problem:
        entry.data = coded.decode(value) if isinstance(value, str) else None
        entry.problem = "" if entry.data else Message("the row has no picture")
        entry.size = len(entry.data or b"")
    texts = {name: found for name, value in record.fields.items()
             if name != column and (found := tables.texts_of(value, joined=columns.is_tags(name)))}
    said = next((texts[name] for name in words.taken if any(text.strip() for text in texts.get(name, ()))), [])
    more = {key: record.fields[key] for key in captions.MORE_KEYS if record.fields.get(key) is not None}
    own = meanings.split_of_value(record.fields.get("split"))
    entry.given = Given(list(captions.of_texts(said)[0]), own or split, more, texts)
    return entry


def _values(records: Sequence[Record]) -> dict[str, list[Any]]:
    """The values of each column that are not empty."""
    found: dict[str, list[Any]] = {}
    for record in records:
        for name, value in record.fields.items():
            if name in found or len(found) < MOST_COLUMNS:
                found.setdefault(name, []).extend([value] if value not in (None, "", []) else [])
    return found


def _shown(values: Sequence[Any]) -> str:
    """One value for a person to tell the column by."""
    text = captions.clean(str(values[0]))[0] if values else ""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _picture_column(values: dict[str, list[Any]], find: Find, asked: str | None) -> str | None:
    """The column that names pictures: by its name where any of its values is one, else by most of its values."""
    if asked is not None and asked in values:
        return asked
    hits = {name: sum(find(text).picture is not None for text in _names(found)) for name, found in values.items()}
    order = columns.files(values)
    usual = [name for name in order if columns.is_file_column(name)]
    by_name = next((name for name in usual if hits[name]), None)
    by_content = max((name for name in order if 0 < hits[name] >= 0.5 * len(values[name])), key=hits.__getitem__,
                     default=None)
    return by_name or by_content or next((name for name in usual[:1] if any(_names(values[name]))), None)


def _names(values: Sequence[Any]) -> Iterator[str]:
    """The texts in values, and those in lists of them."""
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from (part for part in value if isinstance(part, str))


def _beside_columns(records: Sequence[Record], picture: str | None, find: Find) -> set[str]:
    """Other columns that name pictures which are not their rows' own: masks, pictures that steer."""
    found = set()
    for record in records:
        own = {find(name).picture for name in _names([record.fields.get(picture or "")])}
        named = {name: find(value).picture for name, value in record.fields.items() if isinstance(value, str)
                 and name != picture and name not in captions.MORE_KEYS and _is_file(value)}
        found |= {name for name, other in named.items() if other is not None and other not in own}
    return found


def _is_file(text: str) -> bool:
    return re.fullmatch(r"[^\n]{1,500}\.\w{3,4}", text) is not None


def _take(table: Table, records: Sequence[Record], find: Find, others: set[str]) -> None:
    """Give each row to the picture it names. A name that is a picture's only in part counts where no other row names
    that picture more exactly, or otherwise."""
    exact: dict[Entry, list[tuple[Record, str]]] = defaultdict(list)
    partly: dict[Entry, list[tuple[Record, str]]] = defaultdict(list)
    for record in records:
        names = list(_names([record.fields.get(table.picture or "")]))
        if not names:
            table.note(record.number, "has no file_name")
        for name in names:
            match = find(name)
            if match.picture is None:
                table.note(record.number, match.problem)
            else:
                (exact if match.exact else partly)[match.picture].append((record, name))
    for picture, rows in partly.items():
        if picture in exact or len({tables.unnumbered(name) for _, name in rows}) > 1:
            for record, name in rows:
                table.note(record.number, f"names {Entry(name).shown[:200]!r}, which is not among the pictures")
            continue
        table.counted[BY_END] += len(rows)
        exact[picture] = rows
    for picture, rows in exact.items():
        table.named += len(rows)
        for record, _ in rows:
            _add(table, picture, record, others, find)


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


def _line(table: Table, record: Record) -> Line | None:
    """What a row says; None where its caption is of a kind that cannot be one."""
    texts: list[str] = []
    for name in table.words.taken:
        value = record.fields.get(name)
        found = tables.texts_of(value, joined=columns.is_tags(name))
        if found is None:
            return None
        if any(text.strip() for text in found):
            texts = found
            break
    said, changes = captions.of_texts(texts)
    more = {key: record.fields[key] for key in captions.MORE_KEYS if record.fields.get(key) is not None}
    return Line(said, frozenset(changes), meanings.split_of_value(record.fields.get("split")), more)
