"""A row of a bundle's dataset.jsonl, looked at before it is believed: it becomes a row of a run here."""

from __future__ import annotations

import json
from typing import cast

from studio.bundle import layout
from studio.bundle.layout import BadBundle
from studio.folders.records import Row
from studio.messages import Message

FIELDS = {"image": str, "ext": str, "width": int, "height": int, "captions": list, "split": str, "name": str}
MORE_FIELDS = ("crop", "repeats")
SPLITS = ("train", "validation", "test")
MOST_CAPTIONS = 1000  # of a picture
CAPTION, NAME = 40_000, 2000  # characters at most


def row_of(line: bytes, number: int) -> Row:
    """The row in a line, with the fields that a row has here. Raises BadBundle."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise BadBundle(Message("dataset.jsonl: line {number} is not JSON", number=number)) from None
    if not _sound(row):
        raise BadBundle(Message("dataset.jsonl: line {number} is no row of a picture", number=number))
    return cast("Row", {key: value for key, value in row.items() if key in FIELDS or key in MORE_FIELDS})


def _sound(row: object) -> bool:
    """Whether this is a row as docs/run-folder.md has it; its picture's name is then one that a bundle may hold."""
    if not isinstance(row, dict) or not all(isinstance(row.get(key), kind) for key, kind in FIELDS.items()):
        return False
    if not layout.PATTERNS["image"].fullmatch(f"images/{row['image']}.{row['ext']}"):
        return False
    typed = cast("Row", row)
    return row["split"] in SPLITS and _has_sound_texts(typed) and _has_sound_numbers(typed)


def _has_sound_texts(row: Row) -> bool:
    """Whether there are captions, and they and the name can be written down and are not too long."""
    name, captions = row["name"], row["captions"]
    if not 0 < len(captions) <= MOST_CAPTIONS or len(name) > NAME:
        return False
    return all(map(_is_caption, captions)) and all(map(_is_unicode, (name, *captions)))


def _is_caption(value: object) -> bool:
    return isinstance(value, str) and len(value) <= CAPTION


def _is_unicode(text: str) -> bool:
    """Whether a text can be written: JSON can bear halves of characters."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _has_sound_numbers(row: Row) -> bool:
    """Whether width, height and repeats are whole and above 0, and a crop, where there is one, is [x, y, side]."""
    counts = [row["width"], row["height"], row.get("repeats", 1)]
    if not all(map(_is_whole, counts)) or 0 in counts:
        return False
    crop = row.get("crop")
    if crop is None:
        return True
    return isinstance(crop, list) and len(crop) == 3 and all(map(_is_whole, crop)) and crop[2] > 0


def _is_whole(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 31
