"""Files that list pictures and what is said of them, as records: JSON in every shape people have, CSV, plain lists."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count, islice, starmap
from pathlib import PurePosixPath
from typing import TypeGuard, TypeVar

from studio.datasets.imports.matching import NUMBERED
from studio.datasets.tabular.columns import CAPTION_NAMES, FILE_NAMES
from studio.datasets.text.encodings import Decoded, TextDecoder
from studio.errors import StudioError
from studio.messages import JsonObject, Message

T = TypeVar("T")
IsName = Callable[[str], bool]  # whether a text names a picture that came along
FILE = "file_name"  # the column of a record's picture where its table has no name for it
DELIMITERS = ",;\t|"
OWN_ROWS = ({"op", "import", "row.image"}, {"op", "what"})  # of a data set of a studio, whose home lies there as well
OWN_REPORT = ["file", "verdict", "why"]  # the header of what a studio says of an import: it may lie beside the pictures
ROWS_TRIED = 50  # of a CSV file, to find its delimiter
LIST_KEYS = ("data", "images", "rows", "items", "samples", "entries", "records", "annotations")
HEADERS = frozenset((*FILE_NAMES, *CAPTION_NAMES))
MOST_FIELDS = 200  # of a record, objects inside it counted by their members
SPEAKERS, SPOKEN, ASSISTANTS = ("from", "role"), ("value", "content"), ("gpt", "assistant", "model", "bot")
SAID = ("caption", "raw", "text", "sentence", "description")  # keys of a caption that is an object
AROUND = " \t\r\ufeff"  # what may stand around a JSON line


class NotATable(StudioError):
    """A file that is none of these; the message says why, as the end of a sentence about it."""


@dataclass(frozen=True)
class Record:
    """One row: the line or entry it stands in, its fields by their columns, or why it cannot be used.

    `surplus`: it had more cells than the header, and the rest of them was joined to the last column."""

    number: int
    fields: Mapping[str, object] = field(default_factory=dict)
    problem: str = ""
    surplus: bool = False


def json_lines(data: bytes, reader: TextDecoder) -> tuple[list[Record], list[Decoded]]:
    """The records of JSON lines, and the pieces in which their text was decoded. Raises NotATable."""
    pieces = _decoded_lines(data, reader)
    records: list[Record] = []
    number = 0
    for piece in pieces:
        for line in piece.text.split("\n"):
            number += 1
            if line.strip(AROUND):
                records.append(_of_json_line(number, line))
    if records and any(keys <= records[0].fields.keys() for keys in OWN_ROWS):
        raise NotATable(Message("holds the rows of a data set of a studio"))
    return records, pieces


def parsed(text: str) -> object:
    """The JSON in a text; half a character, which no file holds, becomes a "?". Raises ValueError, RecursionError."""
    document = json.loads(text)
    if "\\ud" not in text and "\\uD" not in text:
        return document
    return json.loads(json.dumps(document, ensure_ascii=False).encode("utf-8", "replace"))


def json_whole(text: str, is_name: IsName) -> list[Record]:
    """The records of a JSON file: a list, an object by file names, by columns, of COCO's kind, or with a list in it; or
    JSON lines. Raises NotATable."""
    try:
        document = parsed(text)
    except (ValueError, RecursionError):
        records = [_of_json_line(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        if len(records) > 1 and _mostly(not record.problem for record in records):
            return records
        raise NotATable(Message("is not JSON")) from None
    if isinstance(document, dict):
        if {"seen", "used", "converted", "skipped"} <= document.keys():
            raise NotATable(Message("is a report of an import"))
        document = _of_object(document, is_name)
    if not isinstance(document, list):
        return [_record(1, document)]
    return list(map(_record, count(1), document))


def delimited(text: str, is_name: IsName) -> list[Record]:
    """The records of a CSV file: comma, semicolon, tab or bar, with a header or, where its first line names a picture
    as the others do, without (its columns are then numbered). Raises NotATable."""
    text = text.replace("\0", "")
    named = re.match(r"sep=(.)\r?\n", text)  # Excel's own way to say it
    if named:
        delimiter = named[1]
        text = text[named.end():]
    else:
        delimiter = _delimiter(text)
    columns, records = _csv_rows(text, delimiter)
    if columns == OWN_REPORT:
        raise NotATable(Message("is a report of an import"))
    if _is_bare(records, is_name):
        return _numbered(records, columns)
    return records[1:]


def plain_list(text: str, is_name: IsName) -> list[Record]:
    """The records of a text each of whose lines names a picture, with its ending, and a caption. Raises NotATable."""

    def names(text: str) -> bool:
        return PurePosixPath(NUMBERED.sub("", text.strip())).suffix != "" and is_name(text)

    records = delimited(text, names)
    columns = list(records[0].fields) if records else []
    if len(columns) > 1 and any(_names_pictures(records, column, names) for column in columns):
        return records
    for separator in ("\t", ": ", " - ", " "):
        records = _split_lines(text, separator)
        if records and _names_pictures(records, "1", names):
            return records
    raise NotATable(Message("names no pictures"))


def unnumbered(name: str) -> str:
    """A name as Flickr's lists write it, without the number of the caption."""
    return NUMBERED.sub("", name.strip())


def texts_of(value: object, *, joined: bool = False) -> list[str] | None:
    """The captions in a field: a text, a list of them (`joined` to one where it is one of tags), what was said of a
    picture in a conversation; None where there is none of these."""
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    if _is_list_of(value, str):
        return [", ".join(value)] if joined and value else value
    if _is_list_of(value, dict):
        return _said(value) or None
    return None


def _is_list_of(value: object, kind: type[T]) -> TypeGuard[list[T]]:
    """Whether a value is a list with parts of this kind alone; one without parts is."""
    return isinstance(value, list) and all(isinstance(part, kind) for part in value)


def _mostly(answers: Iterable[bool]) -> bool:
    """Whether at least half of the answers are yes."""
    every = list(answers)
    return sum(every) >= 0.5 * len(every)


def _decoded_lines(data: bytes, reader: TextDecoder) -> list[Decoded]:
    """The text whole where that is UTF-8 without damage, or of wide characters, whose bytes hold line feeds; else each
    line by itself, so that a bad one costs only itself."""
    whole = reader.decode(data)
    is_wide = whole.codec.startswith(("utf-16", "utf-32"))
    if not whole.damaged and (whole.codec == "utf-8" or is_wide):
        return [whole]
    return list(map(reader.decode, data.split(b"\n")))


def _of_json_line(number: int, text: str) -> Record:
    try:
        return _record(number, parsed(text.strip(f"{AROUND},")))
    except (ValueError, RecursionError):
        return Record(number, problem=Message("is not JSON"))


def _record(number: int, entry: object) -> Record:
    """The record of a JSON object, or of a list of texts, whose columns are numbered."""
    if entry and _is_list_of(entry, str):
        return Record(number, dict(zip(map(str, count(1)), entry, strict=False)))
    if not isinstance(entry, dict):
        return Record(number, problem=Message("is not an object"))
    return Record(number, dict(flat(entry)))


def flat(entry: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """The fields of an object, the members of objects in it as `outer.inner`."""
    left = MOST_FIELDS
    for name, value in entry.items():
        if not isinstance(value, dict) or not value:
            yield name, value
            continue
        for member, inner in value.items():
            left -= 1
            if left > 0:
                yield f"{name}.{member}", inner


def _of_object(document: JsonObject, is_name: IsName) -> object:
    """The entries that an object has: by file names, by columns, of COCO, in a list of it, or itself."""
    images = document.get("images")
    annotations = document.get("annotations")
    if images and isinstance(images, list) and isinstance(annotations, list):
        return _coco(images, annotations)
    names = document.get("columns")
    rows = document.get("data")
    if isinstance(names, list) and _is_list_of(rows, list) and set(map(len, rows)) <= {len(names)}:
        return _rows(map(str, names), rows)  # as pandas splits it
    if document and _mostly(map(is_name, document)):
        return list(starmap(_by_name, document.items()))
    if _has_columns(document):
        return _by_columns(document)
    return _listed_in(document, is_name)


def _rows(names: Iterable[str], rows: Iterable[Iterable[object]]) -> list[JsonObject]:
    columns = list(names)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _by_name(name: str, value: object) -> JsonObject:
    """kohya's shape {file: {caption, tags}}, and plainer ones {file: text}."""
    if not isinstance(value, dict):
        return {FILE: name, "text": value}
    entry = {FILE: name, **value}
    caption = value.get("caption")
    tags = texts_of(value.get("tags"), joined=True)
    if isinstance(caption, str) and caption and tags:  # as kohya's own trainer puts them together
        del entry["tags"]
        entry["caption"] = f"{caption}, {tags[0]}"
    return entry


def _has_columns(document: JsonObject) -> bool:
    """Whether an object is a table by its columns: several lists, or several objects, all of one length."""
    values = list(document.values())
    if len(values) < 2 or not (_is_list_of(values, list) or _is_list_of(values, dict)):
        return False
    return len(set(map(len, values))) == 1


def _by_columns(document: JsonObject) -> list[JsonObject]:
    """The rows of a table by its columns, each a list or an object by the rows' numbers, as pandas writes it."""
    columns: list[list[object]] = []
    for value in document.values():
        if isinstance(value, dict):
            columns.append(list(value.values()))
        elif isinstance(value, list):
            columns.append(value)
    return _rows(document, zip(*columns, strict=True))


def _listed_in(document: JsonObject, is_name: IsName) -> object:
    """A list of objects in an object, one of a usual name before the longest; the object itself where it has none, or
    where it names a picture."""
    lists: dict[str, list[JsonObject]] = {}
    for name, value in document.items():
        if value and _is_list_of(value, dict):
            lists[name] = value
    for name in LIST_KEYS:
        if name in lists:
            return lists[name]
    if any(isinstance(value, str) and is_name(value) for value in document.values()):
        return document
    return max(lists.values(), key=len, default=document)


def _coco(images: list[object], annotations: list[object]) -> list[JsonObject]:
    """COCO's captions: each image with those of its annotations that say something."""
    texts: dict[str, list[str]] = {}  # by the image's id
    for annotation in annotations:
        if isinstance(annotation, dict) and isinstance(annotation.get("caption"), str):
            texts.setdefault(str(annotation.get("image_id")), []).append(annotation["caption"])
    return [{**image, "captions": texts.get(str(image.get("id")), [])} for image in images if isinstance(image, dict)]


def _said(parts: Sequence[JsonObject]) -> list[str]:
    """What a conversation's assistant says, or the captions of a list of objects."""
    for speaker in SPEAKERS:
        if any(speaker in part for part in parts):
            return list(_spoken(parts, speaker))
    for key in SAID:
        texts = [part.get(key) for part in parts]
        if _is_list_of(texts, str):
            return texts
    return []


def _spoken(parts: Sequence[JsonObject], speaker: str) -> Iterator[str]:
    """The assistant's texts in a conversation whose parts name who speaks by the key `speaker`."""
    for part in parts:
        if str(part.get(speaker)).lower() not in ASSISTANTS:
            continue
        for key in SPOKEN:
            text = part.get(key)
            if isinstance(text, str):
                yield text


def _delimiter(text: str) -> str:
    """What parts a CSV file's cells: what gives its first rows the same number of them, of those the most."""
    evenness: dict[str, tuple[float, int]] = {}
    for delimiter in DELIMITERS:
        widths = _widths(text[: 1 << 18], delimiter)
        if widths and widths[0] > 1:
            share = sum(width >= widths[0] for width in widths) / len(widths)
            evenness[delimiter] = (share, widths[0])
    return max(evenness, key=evenness.__getitem__, default=",")


def _widths(text: str, delimiter: str) -> list[int]:
    """How many cells the first rows have that are not empty, up to the first damaged one."""
    widths: list[int] = []
    with suppress(csv.Error):  # told where the file is read
        for row in islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), ROWS_TRIED):
            if row:
                widths.append(len(row))
    return widths


def _csv_rows(text: str, delimiter: str) -> tuple[list[str], list[Record]]:
    """The names of a CSV file's columns, by its first row, and every row as a record, that first one too."""
    csv.field_size_limit(1 << 24)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    columns: list[str] = []
    records: list[Record] = []
    try:
        for cells in reader:
            if delimiter == "|":
                cells = list(map(str.strip, cells))
            if not any(map(str.strip, cells)):
                continue
            if not columns:
                columns = _header(cells)
            records.append(_of_cells(reader.line_num, cells, columns, delimiter))
    except csv.Error as error:
        records.append(Record(reader.line_num, problem=Message("is not CSV ({why})", why=error)))
    return columns, records


def _is_bare(records: list[Record], is_name: IsName) -> bool:
    """Whether the first row is no header: it names a picture where the next ones do too."""
    if not records or records[0].problem or not HEADERS.isdisjoint(map(str.casefold, records[0].fields)):
        return False
    rows = records[:ROWS_TRIED]
    return any(_names(rows[0], column, is_name) and _names_pictures(rows, column, is_name) for column in rows[0].fields)


def _numbered(records: list[Record], columns: list[str]) -> list[Record]:
    """The records with their columns called by their places, from "1"."""
    numbers = {name: str(place) for place, name in enumerate(columns, 1)}
    numbered: list[Record] = []
    for record in records:
        fields = {numbers[name]: cell for name, cell in record.fields.items()}
        numbered.append(replace(record, fields=fields))
    return numbered


def _header(cells: list[str]) -> list[str]:
    """The names of columns, each of its own."""
    names: list[str] = []
    for number, cell in enumerate(cells, 1):
        name = cell.strip().lstrip("\ufeff") or str(number)
        if name in names:
            name = f"{name} ({number})"
        names.append(name)
    return names


def _of_cells(number: int, cells: list[str], columns: list[str], delimiter: str) -> Record:
    width = len(columns)
    surplus = len(cells) > width
    if surplus:  # a comma in a caption without quotes
        cells = [*cells[: width - 1], delimiter.join(cells[width - 1:])]
    return Record(number, dict(zip(columns, cells, strict=False)), surplus=surplus)


def _split_lines(text: str, separator: str) -> list[Record]:
    """The lines of a text in two columns: what stands before the separator and what stands behind it."""
    records: list[Record] = []
    for number, line in enumerate(text.splitlines(), 1):
        name, _, said = line.strip().partition(separator)
        if line.strip():
            records.append(Record(number, {"1": name, "2": said.strip()}))
    return records


def _names_pictures(records: Sequence[Record], column: str, is_name: IsName) -> bool:
    """Whether at least half of the records name a picture in a column."""
    return _mostly(_names(record, column, is_name) for record in records)


def _names(record: Record, column: str, is_name: IsName) -> bool:
    value = record.fields.get(column)
    return isinstance(value, str) and is_name(value)
