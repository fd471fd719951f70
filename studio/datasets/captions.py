"""Caption text: from the bytes a person has to one clean line; and the caption files that carry it."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

LONGEST = 10_000  # characters; longer captions only burn the tokenizer's time
ENCODED = "caption text was not UTF-8 and was read as {}"
CONTROL = "control characters were removed from captions"
CUT = f"captions were cut at {LONGEST:,} characters"
IMAGE_KEYS = ("file_name", "image", "file")
MORE_KEYS = ("original_name", "crop", "repeats")  # what an export says of a picture beyond its captions
TEXT_KEYS = ("captions", "text", "caption", "prompt")  # a list of several comes before the one it begins with


@dataclass(frozen=True)
class Line:
    """One line of a metadata file: whose captions these are, or why the line cannot be used."""

    number: int
    file: str = ""
    captions: tuple[str, ...] = ()
    problem: str = ""
    changes: frozenset[str] = frozenset()
    more: Mapping[str, Any] = field(default_factory=dict)


def digest(data: Any) -> str:
    """SHA-256 of data in canonical JSON."""
    return hashlib.sha256(json.dumps(data, ensure_ascii=True, sort_keys=True).encode()).hexdigest()


def decode(data: bytes) -> tuple[str, set[str]]:
    """Text and what had to be done to read it: UTF-8 (with or without BOM), UTF-16 with BOM, else Windows-1252."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace"), {ENCODED.format("UTF-16")}
    try:
        return data.decode("utf-8-sig"), set()
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace"), {ENCODED.format("Windows-1252")}


def clean(text: str) -> tuple[str, set[str]]:
    """One line without control characters, lines joined by a space, and what was changed beyond white space."""
    changes = {CUT} if len(text) > 4 * LONGEST else set()
    text = text[: 4 * LONGEST]
    line = " ".join(part.strip() for part in text.splitlines() if part.strip())
    kept = line if line.isprintable() else "".join(
        " " if c == "\t" else c for c in line if c == "\t" or unicodedata.category(c) not in ("Cc", "Cs"))
    kept = kept.replace("\ufeff", "")
    if kept != line.replace("\t", " ").replace("\ufeff", ""):
        changes.add(CONTROL)
    if len(kept) > LONGEST:
        changes.add(CUT)
    return kept[:LONGEST].strip(), changes


def read(data: bytes) -> tuple[str, set[str]]:
    """The caption in a `.txt` file, and what was changed."""
    text, first = decode(data)
    caption, second = clean(text)
    return caption, first | second


def jsonl(data: bytes) -> Iterator[Line]:
    """The lines of a JSON-lines file; each is decoded by itself, so that a bad one costs only itself."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = decode(data)[0].encode("utf-8", errors="replace")
    for number, raw in enumerate(data.split(b"\n"), 1):
        if not raw.strip():
            continue
        text, changes = decode(raw)
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            yield Line(number, problem="is not JSON")
            continue
        yield _line(number, found, changes)


def table(data: bytes) -> Iterator[Line]:
    """The lines of a CSV file (comma, semicolon or tab) with a header."""
    text, changes = decode(data)
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    csv.field_size_limit(1 << 24)
    reader = csv.DictReader(io.StringIO(text.replace("\0", ""), newline=""), delimiter=delimiter)
    try:
        for row in reader:
            if None in row:
                yield Line(reader.line_num, problem="has more columns than the header")
            else:
                yield _line(reader.line_num, row, changes)
    except csv.Error as error:
        yield Line(reader.line_num, problem=f"is not CSV ({error})")


def sidecar(data: bytes) -> Line:
    """The captions in a picture's own JSON file, as WebDataset has them."""
    text, changes = decode(data[:1 << 20])
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return Line(1, problem="is not JSON")
    return _line(1, {**found, "file_name": "-"} if isinstance(found, dict) else found, changes)


def of_name(name: str) -> str:
    """A caption made of a file's or a folder's name: kohya's count before it and a number behind it left out."""
    words = re.sub(r"[\s_]+", " ", re.sub(r"^\d+_", "", name)).strip()
    return clean(re.sub(r"\s*(\(\d+\)|[-. ]\d+)$", "", words) or words)[0]


def of_row(number: int, found: dict[str, Any]) -> Line:
    """One row of a table that names its picture."""
    return _line(number, found, set())


def _line(number: int, found: Any, changes: set[str]) -> Line:
    if not isinstance(found, dict):
        return Line(number, problem="is not an object")
    file = next((found[k] for k in IMAGE_KEYS if isinstance(found.get(k), str) and found[k]), "")
    if not file:
        return Line(number, problem="has no file_name")
    given = next((found[k] for k in TEXT_KEYS if found.get(k) is not None), "")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        return Line(number, problem="has a caption that is neither text nor a list of texts")
    cleaned = [clean(text) for text in texts]
    return Line(number, file, tuple(dict.fromkeys(text for text, _ in cleaned)),
                changes=frozenset(changes.union(*(done for _, done in cleaned))),
                more={key: found[key] for key in MORE_KEYS if found.get(key) is not None})
