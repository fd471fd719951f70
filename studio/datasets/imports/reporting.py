"""The import report: every file seen gets exactly one verdict, and the counts add up."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Collection, Sequence
from operator import itemgetter

from studio.datasets.imports.sources import SYSTEM_FILE, Entry
from studio.datasets.schema import ImportReport, Skipped, Words
from studio.messages import Message, listed, without_stop

MOST_NOTES = 200
MOST_SKIPPED = 5000  # named one by one in report.json, which is read often; report.csv has all of them
SHOWN_WHILE_GROWING = 100


class Report:
    """Verdicts on the files seen: used, converted, or skipped with a reason; and notes in words."""

    def __init__(self, entries: list[Entry]):
        self.entries = entries
        self._verdicts: dict[Entry, str] = {}
        self._changed: dict[Entry, str] = {}
        self._reasons: dict[Entry, str] = {}
        self._notes: list[str] = []
        self._counted: Counter[str] = Counter()
        self._error: str | None = None
        self.more: Words = {}  # headline, asks, encodings (headline.tell)
        self.tried = 0  # pictures that were looked at
        for entry in entries:
            self._judge(entry)

    def add(self, entry: Entry) -> None:
        """One more file seen, found while reading another."""
        self.entries.append(entry)
        self._judge(entry)

    def use(self, entry: Entry, changes: Collection[str] = ()) -> None:
        """The file is taken; `changes` says what was converted, if anything."""
        if not changes:
            self._set(entry, "used")
            return
        self._set(entry, "converted")
        self._counted.update(changes)
        self._changed[entry] = "; ".join(sorted(changes))

    def skip(self, entry: Entry, reason: str) -> None:
        """The file is left out."""
        self._set(entry, "skipped")
        self._reasons[entry] = reason

    def note(self, text: str) -> None:
        """Add a line in words."""
        self._notes.append(text)

    def count(self, text: str, times: int = 1) -> None:
        """Count more of a kind; comes out as "N x text"."""
        if times:
            self._counted[text] += times

    def give_up(self, error: str) -> None:
        """Say why nothing is imported; what has no verdict yet is skipped for this reason."""
        self._error = error
        for entry in self.open():
            self.skip(entry, error)

    def open(self) -> list[Entry]:
        """Files without a verdict."""
        return [entry for entry in self.entries if entry not in self._verdicts]

    def verdict(self, entry: Entry) -> str | None:
        """"used", "converted", "skipped", or None so far."""
        return self._verdicts.get(entry)

    def is_taken(self, entry: Entry) -> bool:
        """Whether the file is used or converted."""
        return self._verdicts.get(entry) in ("used", "converted")

    def why(self, entry: Entry) -> str:
        """Why a file is left out."""
        return self._reasons.get(entry, "")

    def so_far(self) -> ImportReport:
        """The growing report."""
        shown = list(self._reasons)[:SHOWN_WHILE_GROWING]
        return {**self._counts(), "skipped": list(map(self._line, shown)), "notes": [], "error": None}

    def result(self, rows: int) -> ImportReport:
        """The whole report: seen, used, converted, skipped [{file, reason}] (the first MOST_SKIPPED; how many there are
        is seen - used - converted), notes, error (None, or why nothing is usable), and what `headline.tell` says of the
        words that did not arrive: headline, asks, encodings. Raises AssertionError when a file has no verdict, which
        would be a fault of the importer."""
        assert not self.open(), f"no verdict on {[entry.shown for entry in self.open()[:3]]}"
        skipped = [self._line(entry) for entry in self.entries if entry in self._reasons]
        error = None
        told: Words = {"headline": None, "asks": [], "encodings": []}
        if rows:
            told.update(self.more)
        else:
            error = self._error or self._why(skipped)
        return {**self._counts(), "skipped": skipped[:MOST_SKIPPED], "notes": self._summary(), "error": error, **told}

    def table(self) -> bytes:
        """Every file with its verdict and why, as CSV. A name that a spreadsheet would take for a formula gets an
        apostrophe before it."""
        out = io.StringIO(newline="")
        writer = csv.writer(out)
        writer.writerow(["file", "verdict", "why"])
        for entry in self.entries:
            why = self._reasons.get(entry) or self._changed.get(entry, "")
            writer.writerow(map(_no_formula, (entry.shown, self._verdicts[entry], why)))
        return out.getvalue().encode("utf-8-sig")

    def _judge(self, entry: Entry) -> None:
        if entry.problem:
            self.skip(entry, entry.problem)

    def _set(self, entry: Entry, verdict: str) -> None:
        assert entry not in self._verdicts, f"two verdicts on {entry.shown}"
        self._verdicts[entry] = verdict

    def _counts(self) -> ImportReport:
        kinds = Counter(self._verdicts.values())
        return {"seen": len(self.entries), "used": kinds["used"], "converted": kinds["converted"]}

    def _line(self, entry: Entry) -> Skipped:
        return {"file": entry.shown, "reason": self._reasons[entry]}

    def _summary(self) -> list[str]:
        """The notes, then what was counted, the most frequent first."""
        lines = self._notes.copy()
        for text, number in self._counted.most_common():
            lines.append(_times(number, text))
        system = list(self._reasons.values()).count(SYSTEM_FILE)
        if system:
            ignored = Message("system files ignored (__MACOSX, .DS_Store, Thumbs.db and the like)")
            lines.append(_times(system, ignored))
        if len(lines) > MOST_NOTES:
            lines[MOST_NOTES:] = [Message("... and {count} more lines like these", count=len(lines) - MOST_NOTES)]
        return lines

    def _why(self, skipped: Sequence[Skipped]) -> str:
        """Why nothing is usable."""
        if not self.entries:
            return Message("No pictures: nothing was chosen. Choose pictures, or a zip of pictures.")
        if len(skipped) == 1 == len(self.entries):
            return Message("{name}: {fault}.", name=skipped[0]["file"], fault=without_stop(skipped[0]["reason"]))
        if not self.tried:
            return Message("There are no pictures among the {count} files. Choose JPEG, PNG or WebP pictures, or a zip "
                           "of them.", count=len(self.entries))
        reasons = Counter(map(itemgetter("reason"), skipped)).most_common(2)
        why = listed(_times(number, without_stop(reason)) for reason, number in reasons)
        return Message("None of the {count} files can be used: {why}.", count=len(self.entries), why=why)


def _no_formula(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _times(number: int, what: str) -> Message:
    return Message("{number} x {what}", number=number, what=what)
