"""Which picture a name means that somebody wrote into a table or gave to a caption file."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from studio.datasets.imports.sources import Entry
from studio.messages import Message

PICTURE_SUFFIXES = frozenset((
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "tif", "tiff", "gif", "avif", "heic", "heif", "jxl", "jp2"))
# Folders that hold one kind of file in layouts of two folders side by side: images/a.png and captions/a.txt.
OF_PICTURES = frozenset(("image", "images", "img", "imgs", "picture", "pictures", "photo", "photos", "jpegimages"))
OF_WORDS = frozenset(("caption", "captions", "text", "texts", "txt", "label", "labels", "tag", "tags", "prompt",
                      "prompts", "annotation", "annotations"))
NUMBERED = re.compile(r"#\d+$")  # what Flickr's lists put behind a name: the how manieth caption of it this is
DRIVE = re.compile(r"[A-Za-z]:/")
OUTSIDE = Message("names a file outside the data set")


@dataclass(frozen=True)
class Match:
    """The picture that a name means, or why there is none; `exact` where it is the picture's very name."""

    picture: Entry | None = None
    exact: bool = False
    problem: str = ""


class Names:
    """The pictures of an import by their names, whole and in part, whatever the case of their letters."""

    def __init__(self, pictures: Iterable[Entry]):
        self._exact: dict[tuple[int, str], Entry] = {}
        self._ends: dict[str, list[Entry]] = {}
        self._known: dict[tuple[int, str, str], Match] = {}
        for picture in pictures:
            self.add(picture)

    def add(self, picture: Entry, *, exact_only: bool = False) -> None:
        """One more picture; with `exact_only` it is found by its whole name alone."""
        self._exact.setdefault((picture.source, picture.key), picture)
        if not exact_only:
            self._ends.setdefault(_end(picture.key), []).append(picture)
        self._known.clear()

    def find(self, name: str, folder: str = "", source: int = 0) -> Match:
        """The picture that `name` means in a table that lies in `folder` of that source.

        Its path from there or from the top; else the one picture of whose path it is the end, or which is its end, with
        or without an ending of the name."""
        place = (source, folder, name)
        if place not in self._known:
            self._known[place] = self._find(unicodedata.normalize("NFC", name.strip().replace("\\", "/")), folder,
                                            source)
        return self._known[place]

    def mirrored(self, key: str) -> list[Entry]:
        """The pictures that a caption file of this path (without its ending) belongs to, where words lie in a folder of
        their own beside that of the pictures."""
        parts = key.casefold().split("/")
        if not OF_WORDS & set(parts[:-1]):
            return []
        bare = [part for part in parts if part not in OF_WORDS]
        return [picture for picture in self._ends.get(_end(f"{key}."), ())
                if [p for p in _stem(picture.key).casefold().split("/") if p not in OF_PICTURES] == bare]

    def _find(self, name: str, folder: str, source: int) -> Match:
        if not name or "\0" in name or "://" in name:
            return Match(problem=OUTSIDE if name else Message("has no file_name"))
        absolute = name.startswith("/") or DRIVE.match(name) is not None
        below = posixpath.normpath(posixpath.join(folder, name))
        for key in () if absolute else (below, posixpath.normpath(name)):
            exact = self._exact.get((source, key)) or next(self._elsewhere(key, source), None)
            if exact is not None:
                return Match(exact, exact=True)
        if absolute and name.count("/") < 2:  # it names no folder to compare
            return Match(problem=OUTSIDE)
        found = self._by_end(name, folder, source)
        if not found and NUMBERED.search(name):
            return self._find(NUMBERED.sub("", name), folder, source)
        if len(found) == 1:
            return Match(found[0])
        shown = Entry(name).shown[:200]
        if found:
            return Match(problem=Message("names {name}, which may be any of {number} pictures", name=repr(shown),
                                         number=len(found)))
        outside = absolute or below.startswith("../") or below == ".." or ":" in name.split("/")[0]
        return Match(problem=OUTSIDE if outside else
                     Message("names {file}, which is not among the pictures", file=repr(shown)))

    def _elsewhere(self, key: str, source: int) -> Iterator[Entry]:
        """What another source has under that very path: a loose table speaks of a zip that came with it."""
        same = (picture for picture in self._ends.get(_end(key), ()) if picture.key == key)
        return (picture for picture in same if picture.source != source)

    def _by_end(self, name: str, folder: str, source: int) -> list[Entry]:
        wanted = [part for part in name.casefold().split("/") if part not in ("", ".", "..")]
        if not wanted:
            return []
        found = [picture for picture in self._ends.get(_end(wanted[-1]), ())
                 if _is_end(wanted, picture.key) or _is_end(wanted, _below(picture.key, folder))]
        for narrower in (lambda p: PurePosixPath(p.key).suffix.casefold() == PurePosixPath(name).suffix.casefold(),
                         lambda p: p.source == source):
            found = [picture for picture in found if narrower(picture)] or found
        return found


def _end(key: str) -> str:
    """What pictures are looked up by: the last part of a path, without the ending of a picture."""
    return posixpath.basename(_stem(key)).casefold()


def _stem(key: str) -> str:
    """A path without the ending of a picture's name."""
    stem, dot, suffix = key.rpartition(".")
    return stem if dot and (suffix.casefold() in PICTURE_SUFFIXES or not suffix) else key


def _below(key: str, folder: str) -> str:
    return key.removeprefix(f"{folder}/") if folder else key


def _is_end(wanted: list[str], key: str) -> bool:
    """Whether of a written path and a picture's one is the end of the other, whatever their endings."""
    there = [*key.casefold().split("/")[:-1]]
    length = min(len(wanted) - 1, len(there))
    return length == 0 or wanted[:-1][-length:] == there[-length:]
