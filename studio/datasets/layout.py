"""How the files belong together: pictures, their captions, splits and repeats, in every layout people have.

`.txt`, `.caption` or `.json` beside a picture; `metadata.jsonl`, `metadata.csv` or parquet; any JSON-lines file of
{"image", "text"}; kohya's `10_name` folders (repeats); folders train, test, val, validation (splits); crop, repeats and
names as an export has them. A metadata file comes before a `.txt`; without any the caption is empty, or the file's or
folder's name where that was chosen.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from studio.datasets import captions
from studio.datasets.pixels import WHITE
from studio.datasets.reporting import Report
from studio.datasets.sources import Entry, Refused, within
from studio.datasets.store import crop_lies_in

SPLITS = {"train": "train", "test": "test", "val": "validation", "validation": "validation"}
MOST_REPEATS = 100
MOST_CAPTIONS = 100  # of a picture; as many as an edit takes
MOST_TEXT = 32_000_000  # characters of all captions of an import: they are in the server's memory while they are shown
# What a file is by its ending, asked only once its content was not a picture that can be read.
OTHER = {
    "HEIC": ("heic", "heif"), "SVG": ("svg", "svgz"), "raw camera": ("cr2", "cr3", "nef", "arw", "dng", "raf", "orf"),
    "video": ("mp4", "mov", "avi", "mkv", "webm", "m4v"), "audio": ("mp3", "wav", "flac", "ogg", "m4a"),
    "document": ("pdf", "eps", "ps", "ai", "psd", "wmf", "ico", "fits", "doc", "docx", "md", "html", "htm"),
    "archive": ("tar", "gz", "tgz", "rar", "7z"), "data": ("json", "parquet", "yaml", "yml", "toml", "xml", "csv"),
    "model": ("safetensors", "ckpt", "pt", "bin"),
}
KINDS = {f".{suffix}": kind for kind, suffixes in OTHER.items() for suffix in suffixes}
ADVICE = {"HEIC": "convert it to JPEG first, or `pip install pillow-heif`",
          "SVG": "save it as PNG first", "raw camera": "develop it to JPEG first",
          "archive": "unpack it, or make a zip"}
NEVER = ("video", "audio", "archive", "data", "model")  # not worth reading as a picture
NAMES = ("nothing", "file name", "folder name")  # what a picture without a caption takes


class TooMuchText(Exception):
    """The captions of an import have more than MOST_TEXT characters together."""


class Wrong(ValueError):
    """A wish that cannot be met; the message is a sentence for a person."""


@dataclass(frozen=True)
class Options:
    """How a person wants it: the colour that transparent parts are laid on (#rrggbb), what a picture without a caption
    takes (one of NAMES), and the folders in which a table's absolute paths may lie. The stored pictures may take `room`
    bytes (None: any), else nothing is kept and the report says `no_room`."""

    background: str = WHITE
    caption_from: str = "nothing"
    roots: tuple[Path, ...] = ()
    room: int | None = None
    no_room: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", self.background):
            raise Wrong(f"The background {self.background[:40]!r} is no colour: write it as #rrggbb, such as #ffffff.")
        if self.caption_from not in NAMES:
            raise Wrong(f"Captions cannot be taken from {self.caption_from[:40]!r}; there are: {', '.join(NAMES)}.")


class Layout:
    """Sorts a report's entries into pictures and captions; turns decoded pictures into rows.

    `parquet` reads the lines of a parquet file; it raises Refused for one that names no pictures."""

    def __init__(self, report: Report, options: Options = Options(),
                 parquet: Callable[[Entry], Iterator[captions.Line]] | None = None):
        self.report, self.options, self._parquet = report, options, parquet
        self._texts: dict[tuple[int, str], Entry] = {}
        self._sidecars: dict[tuple[int, str], Entry] = {}
        self._lines: dict[tuple[int, str], tuple[list[captions.Line], Entry]] = {}
        self._users: dict[Entry, int] = Counter()
        self._changes: dict[Entry, set[str]] = {}
        self._text_left = MOST_TEXT
        self.pictures: list[Entry] = []
        tables: list[Entry] = []
        for entry in report.open():
            self._sort(entry, tables)
        self._archives = sorted({p.source for p in self.pictures} - {0})
        self._keys = {(p.source, p.key) for p in self.pictures}
        self._paths = {str(p.path.absolute()): p.key for p in self.pictures if p.path and p.source == 0}
        for entry in sorted(tables, key=lambda e: e.suffix != ".jsonl"):
            self._read_table(entry, tables)
        report.tried = len(self.pictures)

    def _sort(self, entry: Entry, tables: list[Entry]) -> None:
        kind = KINDS.get(entry.suffix, "")
        if entry.suffix in (".txt", ".caption"):
            self._texts.setdefault((entry.source, entry.key[: -len(entry.suffix)]), entry)
        elif entry.suffix == ".json":
            self._sidecars.setdefault((entry.source, entry.key[: -len(entry.suffix)]), entry)
        elif entry.suffix in (".jsonl", ".parquet") or PurePosixPath(entry.name).name.lower() == "metadata.csv":
            tables.append(entry)
        elif kind in NEVER:
            self.report.skip(entry, f"not a picture ({kind} file)" + (f": {ADVICE[kind]}" if kind in ADVICE else ""))
        else:
            self.pictures.append(entry)

    def _read_table(self, entry: Entry, tables: list[Entry]) -> None:
        folder = posixpath.dirname(entry.key)
        if entry.suffix == ".csv" and any(posixpath.dirname(t.key) == folder and t.source == entry.source
                                          and t.key.endswith("metadata.jsonl") for t in tables):
            self.report.skip(entry, "metadata.jsonl in the same folder was taken instead")
            return
        try:
            for line in self._lines_of(entry):
                problem = line.problem or self._apply(entry, folder, line)
                if problem:
                    self.report.note(f"{entry.shown} line {line.number} {problem}: left out")
        except Refused as refusal:
            self.report.skip(entry, str(refusal))

    def _lines_of(self, entry: Entry) -> Iterator[captions.Line]:
        if entry.suffix == ".parquet":
            return self._parquet(entry) if self._parquet else iter(())
        return (captions.table if entry.suffix == ".csv" else captions.jsonl)(self._content(entry))

    def _apply(self, entry: Entry, folder: str, line: captions.Line) -> str:
        """Give a line to its picture; why not, where that fails."""
        given = unicodedata.normalize("NFC", line.file.replace("\\", "/"))
        if given.startswith("/"):
            target = self._absolute(line.file)
        else:
            target = posixpath.normpath(posixpath.join(folder, given))
        if not target or ":" in given.split("/")[0] or target.startswith("../") or target == "..":
            return "names a file outside the data set"
        places = [(source, target) for source in (entry.source, *self._other_sources(entry))]
        place = next((place for place in places if place in self._keys), None)
        if place is None:
            return f"names {Entry(line.file).shown[:200]!r}, which is not among the pictures"
        lines, _ = self._lines.setdefault(place, ([], entry))
        lines.append(line)
        return ""

    def _absolute(self, given: str) -> str:
        """The key of a picture that a table names by its place on this machine, seen now if it was not before; "" for
        one outside the roots."""
        path = Path(os.path.normpath(given))
        if str(path) in self._paths:
            return self._paths[str(path)]
        if "\0" in given or not within(path, self.options.roots):
            return ""
        entry = Entry(str(path).lstrip("/"), path=path)
        try:
            status = path.lstat()
        except OSError:
            return entry.key
        entry.size, entry.problem = status.st_size, "" if stat.S_ISREG(status.st_mode) else "not a regular file"
        self.report.add(entry)
        if not entry.problem:
            self.pictures.append(entry)
            self._keys.add((0, entry.key))
        self._paths[str(path)] = entry.key
        return entry.key

    def _other_sources(self, entry: Entry) -> Iterable[int]:
        """A loose metadata file may speak of pictures in a zip that came with it."""
        return self._archives if entry.source == 0 else ()

    def row(self, entry: Entry, facts: dict[str, Any]) -> list[dict[str, Any]]:
        """The picture's row, its verdict given; none where it is skipped."""
        if "problem" in facts:
            kind = KINDS.get(entry.suffix, "")
            advice = f" ({kind}: {ADVICE[kind]})" if kind in ADVICE else ""
            self.report.skip(entry, facts["problem"] + advice)
            return []
        self.report.use(entry, facts["changes"])
        row = {"image": facts["sha256"], "ext": facts["ext"], "width": facts["width"], "height": facts["height"],
               "captions": self._captions(entry), "split": self._split(entry), "name": entry.shown}
        repeats = re.match(r"(\d{1,3})_", posixpath.basename(posixpath.dirname(entry.key)))
        if repeats and 2 <= int(repeats[1]) <= MOST_REPEATS:
            row["repeats"] = int(repeats[1])
        self._take_more(entry, row)
        return [row]

    def _take_more(self, entry: Entry, row: dict[str, Any]) -> None:
        """What an export said of the picture beyond its captions: its name before, its crop, how often it counts."""
        lines, _ = self._lines.get((entry.source, entry.key), ([], entry))
        more = entry.given.more if entry.given is not None else lines[0].more if lines else {}
        name, crop, repeats = (more.get(key) for key in captions.MORE_KEYS)
        if isinstance(name, str) and name.strip():
            row["name"] = Entry(name).shown
        if type(repeats) is int and 1 <= repeats <= MOST_REPEATS:
            row.pop("repeats", None)
            row.update({"repeats": repeats} if repeats > 1 else {})
        if isinstance(crop, list) and len(crop) == 3 and all(type(number) is int for number in crop) and crop[2]:
            if crop_lies_in(row, crop):
                row["crop"] = crop
            else:
                self.report.count("crop that does not lie in its picture, left out")

    def _captions(self, entry: Entry) -> list[str]:
        """What a picture is called, the name that was chosen where it came without a caption. Raises TooMuchText."""
        texts = [text for text in self._found(entry) if text] or [self._named(entry)]
        if len(texts) > MOST_CAPTIONS:
            self.report.count(f"captions beyond the first {MOST_CAPTIONS} of a picture, left out")
        self._text_left -= sum(map(len, texts[:MOST_CAPTIONS]))
        if self._text_left < 0:
            raise TooMuchText
        return texts[:MOST_CAPTIONS]

    def _named(self, entry: Entry) -> str:
        """The caption of a picture that came without one."""
        place = PurePosixPath(entry.name)
        names = {"file name": place.stem, "folder name": place.parent.name}
        return captions.of_name(names.get(self.options.caption_from, ""))

    def _found(self, entry: Entry) -> list[str]:
        """The captions that came with a picture."""
        if entry.given is not None:
            return entry.given.captions
        text = self._text(entry)
        if (entry.source, entry.key) in self._lines:
            lines, table = self._lines[entry.source, entry.key]
            self._users[table] += 1
            self._changes.setdefault(table, set()).update(*(line.changes for line in lines))
            return list(dict.fromkeys(text for line in lines for text in line.captions))
        if text is None:
            return self._sidecar(entry)
        caption, self._changes[text] = captions.read(self._content(text))
        self._users[text] += 1
        return [caption]

    def _content(self, entry: Entry) -> bytes:
        """The bytes of a caption file; empty, and the file skipped, where it cannot be read."""
        try:
            return entry.read()
        except (Refused, OSError) as error:
            if self.report.verdict(entry) is None:
                self.report.skip(entry, str(error))
            return b""

    def _text(self, entry: Entry) -> Entry | None:
        return next((self._texts[place] for place in _places(entry) if place in self._texts), None)

    def _sidecar(self, entry: Entry) -> list[str]:
        """The captions in a JSON file beside the picture."""
        found = next((self._sidecars[place] for place in _places(entry) if place in self._sidecars), None)
        line = captions.sidecar(self._content(found)) if found else captions.Line(0)
        if found is None or line.problem or not line.captions:
            return []
        self._users[found] += 1
        self._changes[found] = set(line.changes)
        return list(line.captions)

    def _split(self, entry: Entry) -> str:
        if entry.given is not None:
            return entry.given.split
        folders = entry.key.lower().split("/")[:-1]
        return next((SPLITS[folder] for folder in folders if folder in SPLITS), "train")

    def finish(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows, once every caption file has its verdict and the notes are written."""
        for entry in self.report.open():
            if self._users[entry]:
                self.report.use(entry, self._changes.get(entry, set()))
            elif entry.suffix == ".json":
                self.report.skip(entry, "not a picture (data file)")
            else:
                self.report.skip(entry, "a caption file without a picture that was taken")
        if rows and all(row["split"] != "train" for row in rows):
            self.report.note("All pictures lie in test or validation folders: they are taken for training.")
            rows = [{**row, "split": "train"} for row in rows]
        self._notes(rows)
        return rows

    def _notes(self, rows: list[dict[str, Any]]) -> None:
        note = self.report.note
        bare = sum(not any(row["captions"]) for row in rows)
        if bare:
            note(f"{bare} of {_pictures(len(rows))} without a caption.")
        several = sum(len(row["captions"]) > 1 for row in rows)
        if several:
            note(f"{_pictures(several)} with several captions; each time one of them is taken.")
        for split, number in Counter(row["split"] for row in rows if row["split"] != "train").items():
            note(f"{_pictures(number)} held out for {split}, not trained on.")
        for times, number in sorted(Counter(row["repeats"] for row in rows if "repeats" in row).items()):
            note(f"{_pictures(number)} counted {times} times, as its folder or its line says.")
        copies = len(rows) - len({row["image"] for row in rows})
        if copies:
            note(f"{_pictures(copies)} exactly like another; kept, and trained on as often.")


def _places(entry: Entry) -> list[tuple[int, str]]:
    """Where a picture's caption file may lie: under its name without the ending, with it, or (in a tar, as WebDataset
    counts) without all its endings."""
    stem = entry.key[: len(entry.key) - len(PurePosixPath(entry.key).suffix)]
    names = [stem, entry.key]
    if entry.part is not None:
        folder, name = posixpath.split(entry.key)
        names.append(posixpath.join(folder, name.partition(".")[0]))
    return [(source, name) for source in (entry.source, 0) for name in names]


def _pictures(number: int) -> str:
    return "1 picture" if number == 1 else f"{number} pictures"
