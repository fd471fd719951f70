"""Caption text: one clean line of what a person wrote; what a row of a table says of its picture."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import filterfalse

from studio.messages import Message

LONGEST = 10_000  # characters; longer captions only burn the tokenizer's time
DAMAGED = Message("caption text has places that cannot be read in its encoding")
CONTROL = Message("control characters were removed from captions")
CUT = Message("captions were cut at {length:,} characters", length=LONGEST)
MORE_KEYS = ("original_name", "crop", "repeats")  # what an export says of a picture beyond its captions


@dataclass(frozen=True)
class RowText:
    """What one row of a table says of its picture: captions, changed as `changes` tells, and what an export adds."""

    captions: tuple[str, ...] = ()
    changes: frozenset[str] = frozenset()
    split: str = ""
    more: Mapping[str, object] = field(default_factory=dict)

    @property
    def says_something(self) -> bool:
        """Whether anything can be taken from it."""
        return any(self.captions) or bool(self.split or self.more)


def digest(data: object) -> str:
    """SHA-256 of data in canonical JSON."""
    return hashlib.sha256(json.dumps(data, ensure_ascii=True, sort_keys=True).encode()).hexdigest()


def clean(text: str) -> tuple[str, set[str]]:
    """One line without control characters, lines joined by a space, and what was changed beyond white space."""
    changes: set[str] = set()
    if len(text) > 4 * LONGEST:
        changes.add(CUT)
    parts = map(str.strip, text[: 4 * LONGEST].splitlines())
    line = " ".join(filter(None, parts)).replace("\t", " ").replace("\ufeff", "")
    printable = line if line.isprintable() else "".join(filterfalse(_is_control, line))
    if printable != line:
        changes.add(CONTROL)
    if len(printable) > LONGEST:
        changes.add(CUT)
    return printable[:LONGEST].strip(), changes


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs")


def of_texts(texts: list[str]) -> tuple[tuple[str, ...], set[str]]:
    """Several captions of a picture, clean and each once, and what was changed in them."""
    lines: dict[str, None] = {}  # in their order
    changes: set[str] = set()
    for text in texts:
        line, changes_of_line = clean(text)
        lines[line] = None
        changes |= changes_of_line
    return tuple(lines), changes


def of_name(name: str) -> str:
    """A caption made of a file's or a folder's name: kohya's count before it and a number behind it left out."""
    words = re.sub(r"[\s_]+", " ", re.sub(r"^\d+_", "", name)).strip()
    return clean(re.sub(r"\s*(\(\d+\)|[-. ]\d+)$", "", words) or words)[0]


def spread(texts: Iterable[str], number: int = 4) -> list[str]:
    """`number` different, non-empty texts, spread evenly."""
    different = list(dict.fromkeys(text for text in texts if text.strip()))
    if len(different) <= number:
        return different
    return [different[i * (len(different) - 1) // (number - 1)] for i in range(number)]
