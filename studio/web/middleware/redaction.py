"""What a stranger is not told: where things lie on the server's disk, whatever library's message it came from.

Only where strangers sign in; an owner's own paths are useful to them. Each path of a place of the server's is put as
its last part. What people wrote themselves stays as it is: their captions are not changed because they look like one.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from studio import PACKAGE, messages
from studio.web.settings import Settings

PROGRAM = PACKAGE.parent
# Keys of JSON whose text a person wrote, or that has a name they gave.
THEIRS = ("caption", "captions", "name", "prompt", "prompts", "negative_prompt", "tag", "before", "after", "suggestion")
ENDS = frozenset(" \t\r\n'\"`:;,()<>[]{}|*?\\")  # what a path in a sentence does not go on after
LEAST = 4  # characters of a place that is looked for


class PathRedactor:
    """The places of one server."""

    def __init__(self, settings: Settings):
        self.places: list[str] = []  # the longest first: one may lie in another
        if settings.public:
            self.places = sorted(set(_places(settings.home)), key=len, reverse=True)
        self._written = [json.dumps(place, ensure_ascii=False)[1:-1] for place in self.places]

    def within(self, body: str) -> bool:
        """Whether JSON may name one of the places: a quick look, for nearly everything that is answered."""
        return any(map(body.__contains__, self._written))

    def text(self, text: str) -> str:
        """Text without them."""
        for place in self.places:
            if place in text:
                text = "".join(_without(text, place))
        return text

    def data(self, data: object) -> object:
        """JSON without them, but for what people wrote."""
        if isinstance(data, str):
            return messages.changed(data, self.text)
        if isinstance(data, dict):
            hidden = {key: self.data(value) for key, value in data.items() if key not in THEIRS}
            return {**data, **hidden}
        if isinstance(data, list):
            return list(map(self.data, data))
        return data

    def lines(self, path: Path) -> Iterator[str]:
        """A text file without them, some lines at a time."""
        with open(path, encoding="utf-8", errors="replace") as file:
            while some := "".join(islice(file, 300)):
                yield self.text(some)


def _places(home: Path) -> Iterator[str]:
    """The folders of this server, as they are named and with their links resolved."""
    cache = os.environ.get("HF_HOME") or Path("~/.cache/huggingface").expanduser()
    variables = map(os.environ.get, ("HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_TOKEN_PATH", "TMPDIR"))
    for place in (home, cache, *filter(None, variables), PROGRAM, Path.cwd(), sys.prefix, sys.base_prefix,
                  sys.exec_prefix, tempfile.gettempdir(), Path.home()):
        for path in (Path(place).absolute(), Path(place).resolve()):
            if len(str(path)) >= LEAST:
                yield str(path)


def _without(text: str, place: str) -> Iterator[str]:
    """The parts of `text`, each path in `place` as its last name."""
    done = 0
    while (start := text.find(place, done)) >= 0:
        end = start + len(place)
        if not _begins(text, start) or not _ends(text, end):
            yield text[done:end]  # of a longer name, or a path of something else
        else:
            inside = end
            while end < len(text) and text[end] not in ENDS:
                end += 1
            yield text[done:start]
            yield _last_part(text[inside:end].rstrip("/"))
        done = end
    yield text[done:]


def _last_part(rest: str) -> str:
    """What is told of a path that goes on with `rest` after the place: it begins with a slash, or is the stop of a
    sentence."""
    if rest.startswith("/"):
        return rest.rpartition("/")[2]
    return f"…{rest}"


def _begins(text: str, place: int) -> bool:
    """Whether a path can begin here, and is not the middle of a longer name."""
    before = text[max(0, place - 1) : place]
    return not before or not (before.isalnum() or before in "._-")


def _ends(text: str, place: int) -> bool:
    """Whether a folder's name ends here: at its files, at a stop, or at what no path goes on after."""
    character, following = text[place : place + 1], text[place + 1 : place + 2]
    return character in ("", "/") or character in ENDS or (character in ".!" and following in ("", " ", "\n"))
