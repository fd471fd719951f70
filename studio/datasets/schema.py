"""What the files of a data set hold, as types: its record, its rows and their log, and the report of an import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from studio.folders.records import Row
from studio.messages import JsonObject


class RowChange(TypedDict, total=False):
    """New fields of a row, as an edit has them; None takes a field away."""

    captions: list[str]
    crop: list[int] | None


Changes = Mapping[str, RowChange | None]  # by pid; None takes the picture out

# One line of rows.jsonl. `op` is add, edit, undo or compacted, in older logs captions or remove too.
LogLine = TypedDict("LogLine", {
    "op": str, "import": str, "row": Row, "what": str, "changes": Changes, "pid": str, "captions": list[str],
    "id": str, "bytes": int}, total=False)


class Manifest(TypedDict, total=False):
    """dataset.json."""

    name: str
    owner: str
    created: float  # unix seconds
    source: JsonObject  # where its pictures come from, of one that was begun with a source
    prompts: list[str]  # of the shipped data set alone


class Skipped(TypedDict):
    """A file that an import left out."""

    file: str
    reason: str


class ColumnSample(TypedDict):
    """A column of a table, and a value in it."""

    name: str
    sample: str


class Ask(TypedDict):
    """What a person can answer about words that did not arrive; see `headline.tell`."""

    kind: str
    file: str
    files: int
    columns: list[ColumnSample]
    message: str


class Words(TypedDict, total=False):
    """What an import says of words that did not arrive, and of the encodings that were not UTF-8."""

    headline: str | None
    asks: list[Ask]
    encodings: Sequence[Mapping[str, object]]


class ImportReport(Words, total=False):
    """report.json, and progress.json while an import is under way."""

    seen: int
    used: int
    converted: int
    skipped: list[Skipped]
    notes: list[str]
    error: str | None
    done: int  # of `total` pictures
    total: int
    read_as: dict[str, str]  # the wishes by which words were read
    readings: list[dict[str, str]]  # those by which they were read before
    imports: list[str]  # ids of the imports whose rows count
    batches: list[str]  # folders of incoming/ that were imported


class PictureFacts(TypedDict, total=False):
    """What the decoding process answers: a picture as it was stored, or the problem with it."""

    sha256: str
    ext: str
    width: int
    height: int
    changes: list[str]
    problem: str
    kind: str  # what the file is instead of a picture
    errno: int | None
