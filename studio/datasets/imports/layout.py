"""How the files belong together: pictures, their captions, splits and repeats, in every layout people have.

`.txt`, `.caption` or `.json` beside a picture, or in a folder of captions beside that of the pictures; tables that name
pictures (CSV, JSON, JSON lines, parquet, lists); kohya's `10_name` folders (repeats); folders called as `datasets`
calls splits; crop, repeats and names as an export has them. What a table says comes before a `.txt`, that before
a `.json`; without any of them the caption is empty, or the file's or folder's name where that was chosen.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path, PurePosixPath

from studio.datasets.imports import headline, meanings, newrows
from studio.datasets.imports.matching import Match, Names
from studio.datasets.imports.reporting import Report
from studio.datasets.imports.sources import Entry, ImportRejected, within
from studio.datasets.options import Options
from studio.datasets.pictures import kinds
from studio.datasets.schema import PictureFacts, Row
from studio.datasets.tabular import picture_tables
from studio.datasets.tabular import records as tables
from studio.datasets.tabular.picture_tables import Table
from studio.datasets.tabular.records import NotATable, Record
from studio.datasets.tabular.sidecars import SUFFIXES, Sidecars
from studio.datasets.text import captions
from studio.datasets.text.captions import RowText
from studio.datasets.text.texts import Texts
from studio.messages import Message

MOST_CAPTIONS = 100  # of a picture; as many as an edit takes
MOST_TEXT = 32_000_000  # characters of all captions of an import: they are in the server's memory while they are shown
LINES = (".jsonl", ".ndjson", ".jsonlines", ".json1")
WHOLE = (".json",)
CELLS = (".csv", ".tsv", ".tab", ".token")
ARROW = (".parquet", ".arrow")
TABLES = (*LINES, *WHOLE, *CELLS, *ARROW)  # of several of one name in a folder the first is taken
ORPHAN = Message("a caption file without a picture that was taken")
Parquet = Callable[[Entry], Iterable[Record] | None]


class TooMuchText(Exception):
    """The captions of an import have more than MOST_TEXT characters together."""


class Layout:
    """Sorts a report's entries into pictures and what is said of them; turns decoded pictures into rows.

    `parquet` reads the records of a parquet file, None where it holds pictures itself; it raises ImportRejected for
    one that cannot be read."""

    def __init__(self, report: Report, options: Options = Options(), parquet: Parquet | None = None):
        self.report = report
        self.options = options
        self._parquet = parquet
        self.texts = Texts(options.codec)
        self._text_left = MOST_TEXT
        self.pictures: list[Entry] = []
        self.tables: list[Table] = []
        self.given: list[headline.PictureTable] = []  # tables that hold pictures themselves
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
        self._leave_out_listed()
        self._archive_splits = _splits_of_archives(report.entries)
        report.tried = len(self.pictures)

    # ---------------------------------------------------------------------------------------------------------- sorting

    def _sort(self) -> tuple[list[Entry], list[Entry]]:
        """Take the pictures; returns the files of words that may belong to one, and the tables."""
        words, lists = [], []
        for entry in self.report.open():
            kind = kinds.OF_SUFFIX.get(entry.suffix, "")
            setting = meanings.setting_of_another(entry.name)
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
        beside: dict[Entry, str] = {}
        for entry, partner in certain.items():
            beside[entry] = f"beside {partner}" if partner else ""
        self._leave_out(beside)
        if perhaps:
            entry, partner = next(iter(perhaps.items()))
            self.report.note(Message("{pictures} named like what others keep beside a picture ({one} beside {other}): "
                                     "trained on like any other; take out what is not meant to be.",
                                     pictures=headline.pictures(len(perhaps)), one=entry.shown, other=partner))

    def _leave_out_listed(self) -> None:
        """Leave out what tables name beside the pictures of their rows, unless it is the picture of another row."""
        listed_pictures = set(chain.from_iterable(table.lines for table in self.tables))
        beside: dict[Entry, str] = {}
        for table in self.tables:
            for picture, partner in table.beside.items():
                if picture not in listed_pictures:
                    beside[picture] = f"of {partner} by {table.entry.shown}"
        self._leave_out(beside)

    def _leave_out(self, beside: Mapping[Entry, str]) -> None:
        for entry, whose in beside.items():
            reason = Message("a mask or a picture that steers, as other trainers keep them: not learnt from here")
            if whose:
                reason = Message("a mask or a picture that steers, as other trainers keep them ({whose}): not "
                                 "learnt from here", whose=whose)
            self.report.skip(entry, reason)
        self.pictures = [picture for picture in self.pictures if picture not in beside]

    def _learn(self, entries: Iterable[Entry]) -> None:
        """Look at every file of words, so that each is decoded like the others."""
        read = [entry for entry in entries if entry.suffix not in ARROW]
        for entry, error in self.texts.learn(read).items():
            self._refuse(entry, error)

    def _refuse(self, entry: Entry, error: Exception) -> None:
        if isinstance(error, MemoryError):
            raise error
        if self.report.verdict(entry) is not None:
            return
        if isinstance(error, ImportRejected):
            self.report.skip(entry, str(error))
        else:
            self.report.skip(entry, Message("cannot be read ({why})", why=error))

    # ----------------------------------------------------------------------------------------------------------- tables

    def _read_table(self, entry: Entry) -> None:
        """Read a table, or a file of words without a picture that may be a list; None of it is taken yet."""
        folder = posixpath.dirname(entry.key)

        def find(name: str) -> Match:
            return self._find(name, folder, entry)

        def is_name(text: str) -> bool:
            return find(text).picture is not None

        try:
            records = self._records(entry, is_name)
        except NotATable as why:
            if entry.suffix in TABLES:
                self.report.skip(entry, str(why))
            return  # an orphan
        except ImportRejected as refusal:
            self.report.skip(entry, str(refusal))
            return
        if records is None:  # it holds pictures itself
            return
        records = list(records)
        column = picture_tables.coded_column(records)
        if column:
            self._take_coded(entry, records, column)
            return
        table = picture_tables.read(entry, records, find, picture=self.options.image_column,
                                    caption=self.options.caption_column)
        self.tables.append(table)
        if table.named or table.picture or not table.samples:  # else it is told that it is no table of pictures
            for problem in table.problems:
                self.report.note(problem)

    def _take_coded(self, entry: Entry, records: list[Record], column: str) -> None:
        """A table whose column holds pictures written as text: each row is one."""
        words = picture_tables.words_of(records, column, self.options.caption_column)
        self.given.append(headline.PictureTable(entry.shown, *picture_tables.described(records, column, words)))
        split = meanings.split_of_file(entry.key) or meanings.split_of_folders(entry.key)
        for record in records:
            picture = picture_tables.coded_picture(entry, record, column, words, split or "train")
            self.report.add(picture)
            if not picture.problem:
                self.pictures.append(picture)
                self._note(entry, "")

    def _records(self, entry: Entry, is_name: tables.IsName) -> Iterable[Record] | None:
        """The records of a table. Raises NotATable, ImportRejected."""
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
        if entry.suffix in CELLS:
            return tables.delimited(text, is_name)
        return tables.plain_list(text, is_name)

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
        entry.size = status.st_size
        if not stat.S_ISREG(status.st_mode):
            entry.problem = Message("not a regular file")
        self.report.add(entry)
        if not entry.problem:
            self.pictures.append(entry)
            self.names.add(entry, exact_only=True)
        self._paths[str(path)] = entry.key
        return entry.key

    # ------------------------------------------------------------------------------------------------------------- rows

    def row(self, entry: Entry, facts: PictureFacts) -> list[Row]:
        """The picture's row as [row], its verdict given; [] where it is skipped. `facts` are the decoder's: {sha256,
        ext, width, height, changes}, or {problem} and perhaps {kind}. Raises TooMuchText."""
        if "problem" in facts:
            kind = kinds.OF_SUFFIX.get(entry.suffix) or facts.get("kind", "")
            self.report.skip(entry, kinds.with_advice(facts["problem"], kind))
            return []
        self.report.use(entry, facts["changes"])
        lines = list(self._lines(entry))
        row: Row = {
            "image": facts["sha256"], "ext": facts["ext"], "width": facts["width"], "height": facts["height"],
            "captions": self._captions(entry, lines), "split": self._split(entry, lines), "name": entry.shown}
        repeats = meanings.REPEATS.match(posixpath.basename(posixpath.dirname(entry.key)))
        if repeats and 2 <= int(repeats[1]) <= newrows.MOST_REPEATS:
            row["repeats"] = int(repeats[1])
        more = next((line.more for line in lines if line.more), {})
        if entry.given is not None:
            more = entry.given.more
        for problem in newrows.take_more(more, row):
            self.report.count(problem)
        return [row]

    def _captions(self, entry: Entry, lines: list[RowText]) -> list[str]:
        """What a picture is called, the name that was chosen where it came without a caption. Raises TooMuchText."""
        texts = list(filter(None, self._said(entry, lines))) or [self._named(entry)]
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

    def _lines(self, entry: Entry) -> Iterator[RowText]:
        """What tables say of a picture; of tables of one name in a folder the first that says something."""
        spoken: dict[tuple[int, str], str] = {}
        for table in self.tables:
            lines = table.lines.get(entry, [])
            place = (table.entry.source, table.entry.key[: -len(table.entry.suffix)])
            before = spoken.get(place)
            if any(line.says_something for line in lines):
                self._note(table.entry, before or "")
                spoken.setdefault(place, table.entry.shown)
            if not before:
                yield from lines

    def _said(self, entry: Entry, lines: list[RowText]) -> list[str]:
        """The captions that came with a picture; other files of words that have some are told as not taken."""
        if entry.given is not None:
            return entry.given.captions
        texts = list(dict.fromkeys(chain.from_iterable(line.captions for line in lines)))
        taken = ""  # the file that has them
        if any(texts):
            taken = self._tables_of(entry)[0].entry.shown
        for file in self.sidecars.of(entry):
            said = self._read(file)
            if any(said):
                self._note(file, taken)
                if not taken:
                    taken = file.shown
                    texts = list(said)
            elif said:  # an empty one is taken too: its picture is to have no words
                self._note(file, "")
        return texts

    def _tables_of(self, entry: Entry) -> list[Table]:
        """The tables that name a picture."""
        return [table for table in self.tables if entry in table.lines]

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

    def _split(self, entry: Entry, lines: list[RowText]) -> str:
        if entry.given is not None and entry.given.split:
            return entry.given.split
        of_lines = [line.split for line in lines]
        of_tables = [meanings.split_of_file(table.entry.key) for table in self._tables_of(entry)]
        of_archive = self._archive_splits.get(entry.origin, "")
        splits = (*of_lines, meanings.split_of_folders(entry.key), *of_tables, of_archive)
        return next(filter(None, splits), "train")

    # ---------------------------------------------------------------------------------------------------------- the end

    def finish(self, rows: list[Row]) -> list[Row]:
        """The rows, once every file of words has its verdict and the notes are written."""
        for table in self.tables:
            self._judge(table.entry, picture_tables.why_unused(table))
        for entry in self.report.open():  # files of words alone: each picture has its verdict
            self._judge(entry)
        if rows and all(row["split"] != "train" for row in rows):
            self.report.note(Message("All pictures lie in test or validation folders: they are taken for training."))
            rows = [{**row, "split": "train"} for row in rows]
        self._notes(rows)
        return rows

    def _judge(self, entry: Entry, why: str = "") -> None:
        """The verdict on a file of words: used where anything was taken from it, else why nothing was."""
        if self.report.verdict(entry) is not None:
            return
        taken = self._taken.get(entry, Counter())
        if taken[""]:
            self.report.use(entry, self._changes.get(entry, set()))
            return
        instead = next(iter(taken), "")
        if instead:
            self.report.skip(entry, Message("{file} was taken instead", file=instead))
        else:
            self.report.skip(entry, why or ORPHAN)

    def _notes(self, rows: list[Row]) -> None:
        for note in newrows.notes(rows):
            self.report.note(note)
        for table in self.tables:
            for text, times in table.counted.items():
                self.report.count(text, times)
        for remark in headline.remarks(self.report, rows):
            self.report.note(remark)
        headline.tell(self, rows)


def _splits_of_archives(entries: Iterable[Entry]) -> dict[str, str]:
    """The split that each archive's name says, where they are named so that one of them is for training."""
    names = {entry.origin for entry in entries} - {""}
    splits = dict(zip(names, map(meanings.split_of_file, names), strict=True))
    return splits if "train" in splits.values() else {}

