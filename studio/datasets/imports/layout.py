"""How the files belong together: pictures, their captions, splits and repeats, in every layout people have.

`.txt`, `.caption` or `.json` beside a picture, or in a folder of captions beside that of the pictures; tables that name
pictures (CSV, JSON, JSON lines, parquet, lists); kohya's `10_name` folders (repeats); folders called as `datasets`
calls splits; crop, repeats and names as an export has them. What a table says comes before a `.txt`, that before
a `.json`; without any of them the caption is empty, or the file's or folder's name where that was chosen.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from studio.datasets.imports import headline, meanings
from studio.datasets.imports.matching import Match, Names
from studio.datasets.imports.reporting import Report
from studio.datasets.imports.sources import Entry, NotTaken, within
from studio.datasets.options import Options
from studio.datasets.pictures import kinds
from studio.datasets.pictures.crops import crop_lies_in
from studio.datasets.tabular import columns, listed
from studio.datasets.tabular import records as tables
from studio.datasets.tabular.listed import Table
from studio.datasets.tabular.records import NoTable, Record
from studio.datasets.tabular.sidecars import SUFFIXES, Sidecars
from studio.datasets.text import captions
from studio.datasets.text.captions import Line
from studio.datasets.text.texts import Texts
from studio.messages import Message

MOST_REPEATS = 100
MOST_CAPTIONS = 100  # of a picture; as many as an edit takes
MOST_TEXT = 32_000_000  # characters of all captions of an import: they are in the server's memory while they are shown
LINES, WHOLE, CELLS, ARROW = (".jsonl", ".ndjson", ".jsonlines", ".json1"), (".json",), (".csv", ".tsv", ".tab",
                              ".token"), (".parquet", ".arrow")
TABLES = (*LINES, *WHOLE, *CELLS, *ARROW)  # of several of one name in a folder the first is taken
ORPHAN = Message("a caption file without a picture that was taken")
Parquet = Callable[[Entry], Iterable[Record] | None]


class TooMuchText(Exception):
    """The captions of an import have more than MOST_TEXT characters together."""


class Layout:
    """Sorts a report's entries into pictures and what is said of them; turns decoded pictures into rows.

    `parquet` reads the records of a parquet file, None where it holds pictures itself; it raises NotTaken for one that
    cannot be read."""

    def __init__(self, report: Report, options: Options = Options(), parquet: Parquet | None = None):
        self.report, self.options, self._parquet = report, options, parquet
        self.texts = Texts(options.codec)
        self._text_left = MOST_TEXT
        self.pictures: list[Entry] = []
        self.tables: list[Table] = []
        self.given: list[headline.GivenTable] = []  # tables that hold pictures themselves
        self._changes: dict[Entry, set[str]] = {}
        self._taken: dict[Entry, Counter[str]] = {}  # file of words -> what was taken of it instead, or ""
        words, lists = self._sort()
        self.words = frozenset((*words, *lists))  # files of words, whatever comes of them
        self._leave_out_beside()
        self.names = Names(self.pictures)
        self._paths = {str(p.path.absolute()): p.key for p in self.pictures if p.path and p.source == 0}
        self.sidecars = Sidecars(self.pictures, words, self.names, self.texts, options.caption_column)
        self._learn([*words, *lists])
        for entry in [*sorted(lists, key=lambda e: TABLES.index(e.suffix)), *self.sidecars.unclaimed]:
            if report.verdict(entry) is None:
                self._read_table(entry)
        self._leave_out({p: f"of {whose} by {table.entry.shown}" for table in self.tables
                         for p, whose in table.beside.items() if not any(p in other.lines for other in self.tables)})
        self._archive_splits = _splits_of_archives(report.entries)
        report.tried = len(self.pictures)

    # ---------------------------------------------------------------------------------------------------------- sorting

    def _sort(self) -> tuple[list[Entry], list[Entry]]:
        """Take the pictures; returns the files of words that may belong to one, and the tables."""
        words, lists = [], []
        for entry in self.report.open():
            kind, setting = kinds.OF_SUFFIX.get(entry.suffix, ""), meanings.setting_of_another(entry.name)
            if setting:
                self.report.skip(entry, setting)
            elif entry.suffix in SUFFIXES:
                words.append(entry)
            elif entry.suffix in TABLES:
                lists.append(entry)
            elif kind in kinds.NEVER:
                self.report.skip(entry, kinds.reason(kind))
            else:
                self.pictures.append(entry)
        return words, lists

    def _leave_out_beside(self) -> None:
        """Leave out what other trainers keep beside their pictures, by its name."""
        certain, perhaps = meanings.beside(self.pictures)
        self._leave_out({entry: f"beside {partner}" if partner else "" for entry, partner in certain.items()})
        if perhaps:
            entry, partner = next(iter(perhaps.items()))
            self.report.note(Message("{pictures} named like what others keep beside a picture ({one} beside {other}): "
                                     "trained on like any other; take out what is not meant to be.",
                                     pictures=headline.pictures(len(perhaps)), one=entry.shown, other=partner))

    def _leave_out(self, beside: Mapping[Entry, str]) -> None:
        for entry, why in beside.items():
            self.report.skip(entry,
                             Message("a mask or a picture that steers, as other trainers keep them ({whose}): not "
                                     "learnt from here", whose=why)
                             if why else Message("a mask or a picture that steers, as other trainers keep them: not "
                                                 "learnt from here"))
        self.pictures = [picture for picture in self.pictures if picture not in beside]

    def _learn(self, entries: Iterable[Entry]) -> None:
        """Look at every file of words, so that each is decoded like the others."""
        read = [entry for entry in entries if entry.suffix not in ARROW]
        for entry, error in self.texts.learn(read).items():
            self._refuse(entry, error)

    def _refuse(self, entry: Entry, error: Exception) -> None:
        if isinstance(error, MemoryError):
            raise error
        if self.report.verdict(entry) is None:
            self.report.skip(entry,
                             str(error)
                             if isinstance(error, NotTaken) else Message("cannot be read ({why})", why=error))

    # ----------------------------------------------------------------------------------------------------------- tables

    def _read_table(self, entry: Entry) -> None:
        """Read a table, or a file of words without a picture that may be a list; None of it is taken yet."""
        folder = posixpath.dirname(entry.key)

        def find(name: str) -> Match:
            return self._find(name, folder, entry)

        try:
            records = self._records(entry, lambda name: find(name).picture is not None)
        except NoTable as why:
            if entry.suffix in TABLES:
                self.report.skip(entry, str(why))
            return  # an orphan
        except NotTaken as refusal:
            self.report.skip(entry, str(refusal))
            return
        if records is None:  # it holds pictures itself
            return
        records = list(records)
        if column := listed.coded_column(records):
            self._take_coded(entry, records, column)
            return
        table = listed.read(entry, records, find, picture=self.options.image_column,
                            caption=self.options.caption_column)
        self.tables.append(table)
        for problem in table.problems if table.named or table.picture or not table.samples else ():
            self.report.note(problem)

    def _take_coded(self, entry: Entry, records: list[Record], column: str) -> None:
        """A table whose column holds pictures written as text: each row is one."""
        words = listed.words_of(records, column, self.options.caption_column)
        self.given.append(headline.GivenTable(entry.shown, *listed.described(records, column, words)))
        split = meanings.split_of_file(entry.key) or meanings.split_of_folders(entry.key)
        for record in records:
            picture = listed.coded_picture(entry, record, column, words, split or "train")
            self.report.add(picture)
            if not picture.problem:
                self.pictures.append(picture)
                self._note(entry, "")

    def _records(self, entry: Entry, is_name: tables.IsName) -> Iterable[Record] | None:
        """The records of a table. Raises NoTable, NotTaken."""
        if entry.suffix in ARROW:
            return self._parquet(entry) if self._parquet else ()
        if entry.suffix in LINES:
            data = self.texts.content(entry)
            records, read = tables.json_lines(data, self.texts.reader)
            self._changes[entry] = self.texts.changes(entry, data, read)
            return records
        text, self._changes[entry] = self.texts.decode(entry)
        if entry.suffix in WHOLE:
            return tables.json_whole(text, is_name)
        return (tables.delimited if entry.suffix in CELLS else tables.plain_list)(text, is_name)

    def _find(self, name: str, folder: str, entry: Entry) -> Match:
        """The picture that a table means; one by its place on this machine may be seen now if it was not before."""
        if name.startswith("/"):
            key = self._absolute(name)
            if key:
                return self.names.find(key, "", 0)
        return self.names.find(name, folder, entry.source)

    def _absolute(self, name: str) -> str:
        """The key of a picture that a table names by its place on this machine; "" for one outside the roots."""
        path = Path(os.path.normpath(name))
        if str(path) in self._paths:
            return self._paths[str(path)]
        if "\0" in name or not within(path, self.options.roots):
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
            self.names.add(entry, exact_only=True)
        self._paths[str(path)] = entry.key
        return entry.key

    # ------------------------------------------------------------------------------------------------------------- rows

    def row(self, entry: Entry, facts: dict[str, Any]) -> list[dict[str, Any]]:
        """The picture's row, its verdict given; none where it is skipped."""
        if "problem" in facts:
            kind = kinds.OF_SUFFIX.get(entry.suffix) or facts.get("kind", "")
            self.report.skip(entry, kinds.with_advice(facts["problem"], kind))
            return []
        self.report.use(entry, facts["changes"])
        lines = list(self._lines(entry))
        row = {"image": facts["sha256"], "ext": facts["ext"], "width": facts["width"], "height": facts["height"],
               "captions": self._captions(entry, lines), "split": self._split(entry, lines), "name": entry.shown}
        repeats = meanings.REPEATS.match(posixpath.basename(posixpath.dirname(entry.key)))
        if repeats and 2 <= int(repeats[1]) <= MOST_REPEATS:
            row["repeats"] = int(repeats[1])
        self._take_more(entry.given.more if entry.given is not None else _first_more(lines), row)
        return [row]

    def _take_more(self, more: Mapping[str, Any], row: dict[str, Any]) -> None:
        """What an export said of the picture beyond its captions: its name before, its crop, how often it counts."""
        name, crop, repeats = (more.get(key) for key in captions.MORE_KEYS)
        if isinstance(name, str) and name.strip():
            row["name"] = Entry(name).shown
        if isinstance(repeats, str) and re.fullmatch(r"\d{1,3}", repeats.strip()):  # of a CSV file
            repeats = int(repeats)
        if type(repeats) is int and 1 <= repeats <= MOST_REPEATS:
            row.pop("repeats", None)
            row.update({"repeats": repeats} if repeats > 1 else {})
        elif repeats not in (None, ""):
            self.report.count(Message("repeats that is no whole number from 1 to {most}, left out", most=MOST_REPEATS))
        if isinstance(crop, list) and len(crop) == 3 and all(type(number) is int for number in crop) and crop[2]:
            if crop_lies_in(row, crop):
                row["crop"] = crop
            else:
                self.report.count(Message("crop that does not lie in its picture, left out"))

    def _captions(self, entry: Entry, lines: list[Line]) -> list[str]:
        """What a picture is called, the name that was chosen where it came without a caption. Raises TooMuchText."""
        texts = [text for text in self._said(entry, lines) if text] or [self._named(entry)]
        if len(texts) > MOST_CAPTIONS:
            self.report.count(Message("captions beyond the first {most} of a picture, left out", most=MOST_CAPTIONS))
        self._text_left -= sum(map(len, texts[:MOST_CAPTIONS]))
        if self._text_left < 0:
            raise TooMuchText
        return texts[:MOST_CAPTIONS]

    def _named(self, entry: Entry) -> str:
        """The caption of a picture that came without one."""
        place = PurePosixPath(entry.name)
        names = {"file name": place.stem, "folder name": place.parent.name}
        return captions.of_name(names.get(self.options.caption_from, ""))

    def _lines(self, entry: Entry) -> Iterator[Line]:
        """What tables say of a picture; of tables of one name in a folder the first that says something."""
        spoken: dict[tuple[int, str], str] = {}
        for table in self.tables:
            lines = table.lines.get(entry, [])
            place = (table.entry.source, table.entry.key[: -len(table.entry.suffix)])
            before = spoken.get(place)
            if any(line.says_something for line in lines):
                self._note(table.entry, before or "")
                spoken.setdefault(place, table.entry.shown)
            yield from () if before else lines

    def _said(self, entry: Entry, lines: list[Line]) -> list[str]:
        """The captions that came with a picture; other files of words that have some are told as not taken."""
        if entry.given is not None:
            return entry.given.captions
        texts = list(dict.fromkeys(text for line in lines for text in line.captions))
        taken = next((table.entry.shown for table in self.tables if entry in table.lines), "") if any(texts) else ""
        for file in self.sidecars.of(entry):
            said = self._read(file)
            if said:  # an empty one is taken too: its picture is to have no words
                self._note(file, taken if any(said) else "")
            if any(said) and not taken:
                texts, taken = list(said), file.shown
        return texts

    def _read(self, file: Entry) -> tuple[str, ...]:
        """What a file of words says; nothing, and the file skipped, where nothing can be taken from it."""
        if self.report.verdict(file) is not None:
            return ()
        try:
            said = self.sidecars.read(file)
        except MemoryError:
            raise
        except Exception as error:  # as in Texts.learn
            self._refuse(file, error)
            return ()
        if said.problem:
            self.report.skip(file, Message("nothing was taken from it: {why}", why=said.problem))
            return ()
        self._changes[file] = set(said.changes)
        return said.captions

    def _note(self, file: Entry, instead: str) -> None:
        """Note that a file of words was taken for a picture, or what was taken instead of it."""
        self._taken.setdefault(file, Counter())[instead] += 1

    def _split(self, entry: Entry, lines: list[Line]) -> str:
        if entry.given is not None and entry.given.split:
            return entry.given.split
        said = next((line.split for line in lines if line.split), "") or meanings.split_of_folders(entry.key)
        listed_in = next((split for table in self.tables if entry in table.lines
                          and (split := meanings.split_of_file(table.entry.key))), "")
        return said or listed_in or self._archive_splits.get(entry.origin, "") or "train"

    # ---------------------------------------------------------------------------------------------------------- the end

    def finish(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows, once every file of words has its verdict and the notes are written."""
        for table in self.tables:
            self._judge(table.entry, _why_unused(table))
        for entry in self.report.open():  # files of words alone: each picture has its verdict
            owners = self.sidecars.owners.get(entry, [])
            self._judge(entry, ORPHAN if not owners or not any(self.report.is_taken(p) for p in owners) else "")
        if rows and all(row["split"] != "train" for row in rows):
            self.report.note(Message("All pictures lie in test or validation folders: they are taken for training."))
            rows = [{**row, "split": "train"} for row in rows]
        self._notes(rows)
        return rows

    def _judge(self, entry: Entry, why: str) -> None:
        """The verdict on a file of words: used where anything was taken from it, else why nothing was."""
        if self.report.verdict(entry) is not None:
            return
        taken = self._taken.get(entry, Counter())
        if taken[""]:
            self.report.use(entry, self._changes.get(entry, set()))
            return
        instead = next(iter(taken), "")
        self.report.skip(entry, Message("{file} was taken instead", file=instead) if instead else why or ORPHAN)

    def _notes(self, rows: list[dict[str, Any]]) -> None:
        note = self.report.note
        bare = sum(not any(row["captions"]) for row in rows)
        if bare:
            note(Message("{bare} of {pictures} without a caption.", bare=bare, pictures=headline.pictures(len(rows))))
        several = sum(len(row["captions"]) > 1 for row in rows)
        if several:
            note(Message("{pictures} with several captions; each time one of them is taken.",
                         pictures=headline.pictures(several)))
        for split, number in Counter(row["split"] for row in rows if row["split"] != "train").items():
            note(Message("{pictures} held out for {split}, not trained on.", pictures=headline.pictures(number),
                         split=split))
        for times, number in sorted(Counter(row["repeats"] for row in rows if "repeats" in row).items()):
            note(Message("{pictures} counted {times} times, as its folder or its line says.",
                         pictures=headline.pictures(number), times=times))
        copies = len(rows) - len({row["image"] for row in rows})
        if copies:
            note(Message("{pictures} exactly like another; kept, and trained on as often.",
                         pictures=headline.pictures(copies)))
        for table in self.tables:
            for text, times in table.counted.items():
                self.report.count(text, times)
        for remark in headline.remarks(self.report, rows):
            note(remark)
        headline.tell(self, rows)


def _first_more(lines: Iterable[Line]) -> Mapping[str, Any]:
    return next((line.more for line in lines if line.more), {})


def _why_unused(table: Table) -> str:
    """Why nothing was taken from a table; "" where its pictures were not taken."""
    names = ", ".join(table.samples)[:300] or "nothing"
    if not table.named:
        return Message("names no picture that came along; it has: {columns}", columns=names)
    if table.words.taken and not any(line.says_something for lines in table.lines.values() for line in lines):
        return Message("its column {names} says nothing of any picture", names=", ".join(table.words.taken))
    if not table.words.taken:
        return Message("none of its columns is known to hold captions ({names}); it has: {columns}",
                       names=columns.LOOKED_FOR, columns=names)
    return ""


def _splits_of_archives(entries: Iterable[Entry]) -> dict[str, str]:
    """The split that each archive's name says, where they are named so that one of them is for training."""
    splits = {name: meanings.split_of_file(name) for name in {entry.origin for entry in entries} if name}
    return splits if "train" in splits.values() else {}

