"""Files that list pictures and what is said of them, as records: JSON in every shape people have, CSV, plain lists."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from studio.datasets.imports.matching import NUMBERED
from studio.datasets.tabular.columns import CAPTIONS, FILES
from studio.datasets.text.encodings import Decoded, Reader
from studio.messages import Message

IsName = Callable[[str], bool]  # whether a text names a picture that came along
FILE = "file_name"  # the column of a record's picture where its table has no name for it
DELIMITERS = ",;\t|"
OWN_ROWS = ({"op", "import", "row.image"}, {"op", "what"})  # of a data set of a studio, whose home lies there as well
OWN_REPORT = ["file", "verdict", "why"]  # the header of what a studio says of an import: it may lie beside the pictures
ROWS_TRIED = 50  # of a CSV file, to find its delimiter
LIST_KEYS = ("data", "images", "rows", "items", "samples", "entries", "records", "annotations")
HEADERS = frozenset((*FILES, *CAPTIONS))
MOST_FIELDS = 200  # of a record, objects inside it counted by their members
SPEAKERS, SPOKEN, ASSISTANTS = ("from", "role"), ("value", "content"), ("gpt", "assistant", "model", "bot")
SAID = ("caption", "raw", "text", "sentence", "description")  # keys of a caption that is an object


class NoTable(ValueError):
    """A file that is none of these; the message says why, as the end of a sentence about it."""


@dataclass(frozen=True)
class Record:
    """One row: the line or entry it stands in, its fields by their columns, or why it cannot be used.

    `surplus`: it had more cells than the header, and the rest of them was joined to the last column."""

    number: int
    fields: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    surplus: bool = False


def json_lines(data: bytes, reader: Reader) -> tuple[list[Record], list[Decoded]]:
    """The records of JSON lines; each line is decoded by itself, so that a bad one costs only itself.
    Raises NoTable."""
    whole = reader.decode(data)
    wide = whole.codec.startswith(("utf-16", "utf-32"))
    lines: Iterable[Decoded] = [whole] if not whole.damaged and (whole.codec == "utf-8" or wide) else map(
        reader.decode, data.split(b"\n"))
    found, read, number = [], [], 0
    for decoded in lines:
        read.append(decoded)
        for text in decoded.text.split("\n"):
            number += 1
            if text.strip(" \t\r\ufeff"):
                found.append(_of_json_line(number, text))
    if found and any(keys <= found[0].fields.keys() for keys in OWN_ROWS):
        raise NoTable(Message("holds the rows of a data set of a studio"))
    return found, read


def parsed(text: str) -> Any:
    """The JSON in a text; halves of characters, which no file can hold, become question marks. Raises ValueError,
    RecursionError."""
    found = json.loads(text)
    if "\\ud" not in text and "\\uD" not in text:
        return found
    return json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))


def json_whole(text: str, is_name: IsName) -> list[Record]:
    """The records of a JSON file: a list, an object by file names, by columns, of COCO's kind, or with a list in it; or
    JSON lines. Raises NoTable."""
    try:
        found = parsed(text)
    except (ValueError, RecursionError):
        lines = [_of_json_line(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
        if len(lines) > 1 and sum(not line.problem for line in lines) >= 0.5 * len(lines):
            return lines
        raise NoTable(Message("is not JSON")) from None
    if isinstance(found, dict):
        if {"seen", "used", "converted", "skipped"} <= found.keys():
            raise NoTable(Message("is a report of an import"))
        found = _of_object(found, is_name)
    return [_record(number, entry) for number, entry in enumerate(found if isinstance(found, list) else [found], 1)]


def delimited(text: str, is_name: IsName) -> list[Record]:
    """The records of a CSV file: comma, semicolon, tab or bar, with a header or, where its first line names a picture
    as the others do, without (its columns are then numbered). Raises NoTable."""
    text = text.replace("\0", "")
    named = re.match(r"sep=(.)\r?\n", text)  # Excel's own way to say it
    text = text[named.end():] if named else text
    delimiter = named[1] if named else _delimiter(text)
    csv.field_size_limit(1 << 24)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    found: list[Record] = []
    columns: list[str] = []
    try:
        for row in reader:
            cells = [cell.strip() for cell in row] if delimiter == "|" else row
            if not any(cell.strip() for cell in cells):
                continue
            if not columns:
                columns = _header(cells)
            found.append(_of_cells(reader.line_num, cells, columns, delimiter))
    except csv.Error as error:
        found.append(Record(reader.line_num, problem=Message("is not CSV ({why})", why=error)))
    if columns == OWN_REPORT:
        raise NoTable(Message("is a report of an import"))
    if not _is_bare(found, is_name):
        return found[1:]
    numbered = {name: str(place) for place, name in enumerate(columns, 1)}
    first = Record(found[0].number, dict(zip(numbered.values(), found[0].fields.values(), strict=True)))
    return [first, *(replace(record, fields={numbered[name]: cell for name, cell in record.fields.items()})
                     for record in found[1:])]


def plain_list(text: str, is_name: IsName) -> list[Record]:
    """The records of a text file each of whose lines names a picture, with its ending, and says something of it. Raises
    NoTable."""

    def names(text: str) -> bool:
        return PurePosixPath(NUMBERED.sub("", text.strip())).suffix != "" and is_name(text)

    found = delimited(text, names)
    columns = [*found[0].fields] if found else []
    if len(columns) > 1 and any(sum(_names(r, c, names) for r in found) >= 0.5 * len(found) for c in columns):
        return found
    lines = [line.strip() for line in text.splitlines()]
    for separator in ("\t", ": ", " - ", " "):
        split = [(n, *line.partition(separator)[::2]) for n, line in enumerate(lines, 1) if line]
        if split and sum(names(name) for _, name, _ in split) >= 0.5 * len(split):
            return [Record(n, {"1": name, "2": said.strip()}) for n, name, said in split]
    raise NoTable(Message("names no pictures"))


def unnumbered(name: str) -> str:
    """A name as Flickr's lists write it, without the number of the caption."""
    return NUMBERED.sub("", name.strip())


def texts_of(value: Any, *, joined: bool = False) -> list[str] | None:
    """The captions in a field: a text, a list of them (`joined` to one where it is one of tags), what was said of a
    picture in a conversation; None where there is none of these."""
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return [", ".join(value)] if joined and value else value
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        said = _said(value)
        return said or None
    return None


# ---------------------------------------------------------------------------------------------------------------- JSON


def _of_json_line(number: int, text: str) -> Record:
    try:
        return _record(number, parsed(text.strip(" \t\r\ufeff,")))
    except (ValueError, RecursionError):
        return Record(number, problem=Message("is not JSON"))


def _record(number: int, entry: Any) -> Record:
    if isinstance(entry, list) and entry and all(isinstance(cell, str) for cell in entry):
        return Record(number, {str(n): cell for n, cell in enumerate(entry, 1)})
    if not isinstance(entry, dict):
        return Record(number, problem=Message("is not an object"))
    return Record(number, dict(flat(entry)))


def flat(entry: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The fields of an object, the members of objects in it as `outer.inner`."""
    left = MOST_FIELDS
    for name, value in entry.items():
        inner = value.items() if isinstance(value, dict) else ()
        for member, said in inner:
            left -= 1
            if left > 0:
                yield f"{name}.{member}", said
        if not inner:
            yield name, value


def _of_object(found: dict[str, Any], is_name: IsName) -> Any:
    """The entries that an object has: by file names, by columns, of COCO, in a list of it, or itself."""
    if (images := found.get("images")) and isinstance(images, list) and isinstance(found.get("annotations"), list):
        return _coco(images, found["annotations"])
    if isinstance(names := found.get("columns"), list) and isinstance(rows := found.get("data"), list) and all(
            isinstance(row, list) and len(row) == len(names) for row in rows):  # as pandas splits it
        return [dict(zip(map(str, names), row, strict=True)) for row in rows]
    values = list(found.values())
    if found and sum(map(is_name, found)) >= 0.5 * len(found):
        return [_by_name(name, value) for name, value in found.items()]
    shapes = {(type(value), len(value)) for value in values if isinstance(value, list | dict)}
    if len(found) > 1 and len(shapes) == 1 and all(isinstance(value, list | dict) for value in values):
        return _by_columns(found)
    lists = {name: value for name, value in found.items()
             if isinstance(value, list) and value and all(isinstance(one, dict) for one in value)}
    usual = next((lists[name] for name in LIST_KEYS if name in lists), None)
    if usual is None and any(isinstance(value, str) and is_name(value) for value in values):
        return found
    return usual or max(lists.values(), key=len, default=found)


def _by_name(name: str, value: Any) -> Any:
    """kohya's shape {file: {caption, tags}}, and plainer ones {file: text}."""
    if not isinstance(value, dict):
        return {FILE: name, "text": value}
    caption, tags = value.get("caption"), texts_of(value.get("tags"), joined=True)
    if isinstance(caption, str) and caption and tags:  # as kohya's own trainer puts them together
        value = {**{key: one for key, one in value.items() if key != "tags"}, "caption": f"{caption}, {tags[0]}"}
    return {FILE: name, **value}


def _by_columns(found: dict[str, Any]) -> list[dict[str, Any]]:
    """A table by its columns, each a list or an object by the rows' numbers, as pandas writes it."""
    columns = {name: list(value.values()) if isinstance(value, dict) else value for name, value in found.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _coco(images: list[Any], annotations: list[Any]) -> list[dict[str, Any]]:
    """COCO's captions: each image with those of its annotations that say something."""
    said: dict[Any, list[str]] = {}
    for one in annotations:
        if isinstance(one, dict) and isinstance(one.get("caption"), str):
            said.setdefault(str(one.get("image_id")), []).append(one["caption"])
    return [{**image, "captions": said.get(str(image.get("id")), [])} for image in images if isinstance(image, dict)]


def _said(parts: list[dict[str, Any]]) -> list[str]:
    """What a conversation's assistant says, or the captions of a list of objects."""
    for speaker in SPEAKERS:
        if any(speaker in part for part in parts):
            spoken = [part.get(key) for part in parts if str(part.get(speaker)).lower() in ASSISTANTS
                      for key in SPOKEN if isinstance(part.get(key), str)]
            return [text for text in spoken if isinstance(text, str)]
    key = next((key for key in SAID if all(isinstance(part.get(key), str) for part in parts)), None)
    return [part[key] for part in parts] if key else []


# ----------------------------------------------------------------------------------------------------------------- CSV


def _delimiter(text: str) -> str:
    """What parts a CSV file's cells: what gives its first rows the same number of them, of those the most."""
    lines = io.StringIO(text[: 1 << 18], newline="")
    counts: dict[str, tuple[float, int]] = {}
    for delimiter in DELIMITERS:
        lines.seek(0)
        widths = []
        try:
            for row, _ in zip(csv.reader(lines, delimiter=delimiter), range(ROWS_TRIED), strict=False):
                widths += [len(row)] if row else []
        except csv.Error:
            pass  # told where the file is read
        if widths and widths[0] > 1:
            counts[delimiter] = (sum(width >= widths[0] for width in widths) / len(widths), widths[0])
    return max(counts, key=lambda delimiter: counts[delimiter], default=",")


def _is_bare(records: list[Record], is_name: IsName) -> bool:
    """Whether the first row is no header: it names a picture where the next ones do too."""
    if not records or records[0].problem or any(name.casefold() in HEADERS for name in records[0].fields):
        return False
    rows = records[:ROWS_TRIED]
    return any(_names(rows[0], column, is_name) and sum(_names(row, column, is_name) for row in rows) >= 0.5 * len(rows)
               for column in records[0].fields)


def _header(cells: list[str]) -> list[str]:
    """The names of columns, each of its own."""
    found: list[str] = []
    for number, cell in enumerate(cells, 1):
        name = cell.strip().lstrip("\ufeff") or str(number)
        found.append(name if name not in found else f"{name} ({number})")
    return found


def _of_cells(number: int, cells: list[str], columns: list[str], delimiter: str) -> Record:
    width = len(columns)
    surplus = len(cells) > width
    if surplus:  # a comma in a caption without quotes
        cells = [*cells[: width - 1], delimiter.join(cells[width - 1:])]
    return Record(number, dict(zip(columns, cells, strict=False)), surplus=surplus)


def _names(record: Record, column: str, is_name: IsName) -> bool:
    value = record.fields.get(column)
    return isinstance(value, str) and is_name(value)
