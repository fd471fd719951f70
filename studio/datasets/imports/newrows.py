"""The rows that an import makes: what an export noted of a picture, and what the report says of all rows together."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter

from studio.datasets.imports import headline
from studio.datasets.imports.sources import Entry
from studio.datasets.pictures.crops import crop_lies_in
from studio.datasets.schema import Row
from studio.messages import Message

MOST_REPEATS = 100


def take_more(more: Mapping[str, object], row: Row) -> Iterator[Message]:
    """Give a row what an export noted (captions.MORE_KEYS): the picture's name before, how often it counts, its crop.
    Yields what of it cannot be taken."""
    name = more.get("original_name")
    if isinstance(name, str) and name.strip():
        row["name"] = Entry(name).shown
    repeats = _number(more.get("repeats"))
    if type(repeats) is int and 1 <= repeats <= MOST_REPEATS:
        row.pop("repeats", None)  # of its folder
        if repeats > 1:
            row["repeats"] = repeats
    elif repeats not in (None, ""):
        yield Message("repeats that is no whole number from 1 to {most}, left out", most=MOST_REPEATS)
    crop = more.get("crop")
    if not isinstance(crop, list) or list(map(type, crop)) != [int, int, int] or not crop[2]:
        return
    if crop_lies_in(row, crop):
        row["crop"] = crop
    else:
        yield Message("crop that does not lie in its picture, left out")


def _number(value: object) -> object:
    """A value as a number, where it is one of up to three digits in a text, as in a CSV file; any other as it is."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,3}", value.strip()):
        return int(value)
    return value


def notes(rows: Sequence[Row]) -> Iterator[Message]:
    """The notes on the rows of an import, in the order of the report."""
    texts = list(map(itemgetter("captions"), rows))
    bare = len(texts) - sum(map(any, texts))
    if bare:
        yield Message("{bare} of {pictures} without a caption.", bare=bare, pictures=headline.pictures(len(rows)))
    several = sum(length > 1 for length in map(len, texts))
    if several:
        yield Message("{pictures} with several captions; each time one of them is taken.",
                      pictures=headline.pictures(several))
    splits = Counter(map(itemgetter("split"), rows))
    del splits["train"]
    for split, number in splits.items():
        yield Message("{pictures} held out for {split}, not trained on.", pictures=headline.pictures(number),
                      split=split)
    repeats = Counter(row["repeats"] for row in rows if "repeats" in row)
    for times, number in sorted(repeats.items()):
        yield Message("{pictures} counted {times} times, as its folder or its line says.",
                      pictures=headline.pictures(number), times=times)
    copies = len(rows) - len(set(map(itemgetter("image"), rows)))
    if copies:
        yield Message("{pictures} exactly like another; kept, and trained on as often.",
                      pictures=headline.pictures(copies))
