"""Which picture a name means that somebody wrote into a table or gave to a caption file."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Iterable
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
        if OF_WORDS.isdisjoint(parts[:-1]):
            return []
        bare = _without(key, OF_WORDS)
        candidates = self._ends.get(_end(f"{key}."), ())
        return [picture for picture in candidates if _without(_stem(picture.key), OF_PICTURES) == bare]

    def _find(self, name: str, folder: str, source: int) -> Match:
        if not name:
            return Match(problem=Message("has no file_name"))
        if "\0" in name or "://" in name:
            return Match(problem=OUTSIDE)
        picture = self._exactly(name, folder, source)
        if picture is not None:
            return Match(picture, exact=True)
        if _is_absolute(name) and name.count("/") < 2:  # it names no folder to compare
            return Match(problem=OUTSIDE)
        candidates = self._by_end(name, folder, source)
        if not candidates and NUMBERED.search(name):
            return self._find(NUMBERED.sub("", name), folder, source)
        if len(candidates) == 1:
            return Match(candidates[0])
        shown = repr(Entry(name).shown[:200])
        if candidates:
            return Match(problem=Message("names {name}, which may be any of {number} pictures", name=shown,
                                         number=len(candidates)))
        if _is_outside(name, folder):
            return Match(problem=OUTSIDE)
        return Match(problem=Message("names {file}, which is not among the pictures", file=shown))

    def _exactly(self, name: str, folder: str, source: int) -> Entry | None:
        """The picture under that very path from the folder or the top, of this source before another: a loose table may
        speak of a zip that came with it."""
        if _is_absolute(name):
            return None
        for key in (posixpath.normpath(posixpath.join(folder, name)), posixpath.normpath(name)):
            if (source, key) in self._exact:
                return self._exact[source, key]
            for picture in self._ends.get(_end(key), ()):
                if picture.key == key and picture.source != source:
                    return picture
        return None

    def _by_end(self, name: str, folder: str, source: int) -> list[Entry]:
        """The pictures of whose path the name is the end, or which are its end; of several those with its ending, and
        of these those of the source."""
        parts = [part for part in name.casefold().split("/") if part not in ("", ".", "..")]
        if not parts:
            return []
        same_stem = self._ends.get(_end(parts[-1]), ())
        candidates = [picture for picture in same_stem if _is_end(parts, picture.key, folder)]
        suffix = PurePosixPath(name).suffix.casefold()
        candidates = [p for p in candidates if PurePosixPath(p.key).suffix.casefold() == suffix] or candidates
        return [picture for picture in candidates if picture.source == source] or candidates


def _is_absolute(name: str) -> bool:
    return name.startswith("/") or DRIVE.match(name) is not None


def _is_outside(name: str, folder: str) -> bool:
    """Whether a name in a table of that folder leads out of what came along."""
    below = posixpath.normpath(posixpath.join(folder, name))
    return _is_absolute(name) or below.startswith("../") or below == ".." or ":" in name.split("/")[0]


def _without(path: str, folders: frozenset[str]) -> list[str]:
    """The parts of a path but folders of these names."""
    return [part for part in path.casefold().split("/") if part not in folders]


def _end(key: str) -> str:
    """What pictures are looked up by: the last part of a path, without the ending of a picture."""
    return posixpath.basename(_stem(key)).casefold()


def _stem(key: str) -> str:
    """A path without the ending of a picture's name."""
    stem, dot, suffix = key.rpartition(".")
    is_ending = dot and (suffix.casefold() in PICTURE_SUFFIXES or not suffix)
    return stem if is_ending else key


def _is_end(parts: list[str], key: str, folder: str) -> bool:
    """Whether of a written path and a picture's, from the top or from a folder, one is the end of the other, whatever
    their endings."""
    written = parts[:-1]
    below = key.removeprefix(f"{folder}/") if folder else key
    for path in (key, below):
        folders = path.casefold().split("/")[:-1]
        length = min(len(written), len(folders))
        if length == 0 or written[-length:] == folders[-length:]:
            return True
    return False
