"""The words of a data set's last import, kept to be read once more: by another column, in another encoding, by names.

    <home>/datasets/<id>/words-<import>.kept   a zip: seen.jsonl: every file of the import with its verdict, and the
                                               files of words themselves (none where they are larger than KEPT)

Captions come anew from the same files by the same rules (`layout`); pictures are not looked at again.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypedDict, cast

from studio import storage
from studio.datasets.imports.headline import PictureTable
from studio.datasets.imports.hubsource import Rows, UnreadableTable
from studio.datasets.imports.layout import ARROW, Layout
from studio.datasets.imports.reporting import Report
from studio.datasets.imports.sources import Annotations, Entry, ImportRejected
from studio.datasets.options import Options
from studio.datasets.schema import PictureFacts, RowChange
from studio.datasets.store import Dataset
from studio.datasets.tabular.records import Record
from studio.datasets.text import captions
from studio.messages import JsonObject, Message

KEPT = 96 << 20  # bytes of words, and of what is known of each file
LARGEST_TABLE = 16 << 20  # bytes of a parquet file of names
WISHES = ("image_column", "caption_column", "encoding", "caption_from")  # by which words can be read otherwise
MOST_READINGS = 4  # that are remembered
WHAT = "read again"


class StoredAnnotations(TypedDict):
    """What the row of a table that holds pictures said of one: `sources.Given`."""

    captions: list[str]
    split: str
    more: JsonObject
    texts: dict[str, list[str]]


class StoredFile(TypedDict, total=False):
    """A line of seen.jsonl: a file of the import, with `pid`, `facts` and perhaps `given` of a taken picture, the
    number of the `content` of a file of words, or the `problem` of any other."""

    name: str
    source: int
    origin: str
    pid: str
    facts: JsonObject
    given: StoredAnnotations
    content: int
    problem: str


def read_as(options: Options) -> dict[str, str]:
    """The wishes by which words were read, for the report."""
    wishes = {name: getattr(options, name) for name in WISHES}
    return {name: wish for name, wish in wishes.items() if wish}


def read_before(dataset: Dataset) -> dict[str, str]:
    """The wishes by which the words of the last import were read last."""
    return dict(dataset.commit().get("read_as") or {})


def are_kept(dataset: Dataset) -> bool:
    """Whether the words of the last import can be read again."""
    return _file(dataset) is not None


def keep(dataset: Dataset, batch: str, layout: Layout, pids: Mapping[Entry, str],
         facts: Mapping[Entry, Mapping[str, object]]) -> None:
    """Keep the words of an import that was committed as `batch`; `pids` and `facts` are those of the taken pictures."""
    storage.clear(*dataset.path.glob("words-*.kept"))
    contents: list[bytes] = []
    lines: list[str] = []
    size = 0
    for entry in layout.report.entries:
        line = _line(entry, layout, pids, facts)
        content = None if entry in pids else _content(entry, layout)
        if content is not None:
            line["content"] = len(contents)
            contents.append(content)
        elif entry not in pids:
            line["problem"] = layout.report.why(entry)
        lines.append(json.dumps(line, ensure_ascii=True))
        size += len(lines[-1]) + len(content or b"")
        if size > KEPT:
            return
    about = {"tables": list(map(dataclasses.asdict, layout.given))}
    with (storage.writing(dataset.path / f"words-{batch}.kept") as file,
          zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed):
        packed.writestr("about.json", json.dumps(about))
        packed.writestr("seen.jsonl", "\n".join(lines))
        for number, content in enumerate(contents):
            packed.writestr(str(number), content)


def read_again(dataset: Dataset, options: Options) -> None:
    """Give the pictures of the last import what its files of words say by `options`; the report says so too. What
    somebody changed by hand since stays as it is."""
    path = _file(dataset)
    if path is None:
        return
    readings: list[dict[str, str]] = []
    for wishes in (*dataset.commit().get("readings", []), read_before(dataset)):
        if wishes in readings:
            readings.remove(wishes)
        readings.append(wishes)
    readings = readings[-MOST_READINGS:]
    with zipfile.ZipFile(path) as packed:
        before = [_reading(dataset, packed, _by(wishes, options))[1] for wishes in readings]
        layout, now = _reading(dataset, packed, options)
    changes, by_hand = _changes(dataset, before, now)
    if by_hand:
        layout.report.note(Message("{number} captions were changed by hand since the import and stay as they are.",
                                   number=by_hand))
    report = {**layout.report.result(len(now)), "read_as": read_as(options), "readings": readings}
    dataset.edit(changes, WHAT)
    storage.write_bytes(dataset.path / "report.csv", layout.report.table())
    commit = dataset.commit()
    of_import = {"imports": commit.get("imports", []), "batches": commit.get("batches", [])}
    storage.write_json(dataset.path / "report.json", report | of_import)


def _changes(dataset: Dataset, before: list[dict[str, list[str]]],
             now: dict[str, list[str]]) -> tuple[dict[str, RowChange], int]:
    """The edits {pid: fields} that give pictures the captions of `now`, and how many pictures keep theirs, which none
    of the readings `before` gave them: somebody wrote them."""
    changes: dict[str, RowChange] = {}
    by_hand = 0
    rows = dataset.snapshot().by_pid
    for pid, texts in now.items():
        if pid not in rows or rows[pid]["captions"] == texts:
            continue
        readings = [reading.get(pid) for reading in before]  # an undo may have brought back an earlier one
        if rows[pid]["captions"] in readings:
            changes[pid] = {"captions": texts}
        else:
            by_hand += 1
    return changes, by_hand


def _file(dataset: Dataset) -> Path | None:
    imports = dataset.commit().get("imports") or [""]
    path = dataset.path / f"words-{imports[-1]}.kept"
    return path if path.is_file() else None


def _by(wishes: dict[str, str], options: Options) -> Options:
    """The options with these wishes in place of theirs."""
    whole = dict.fromkeys(WISHES) | {"caption_from": "nothing"} | wishes
    return dataclasses.replace(options, **{name: whole[name] for name in WISHES})


# ----------------------------------------------------------------------------------------------------- to be read again


def _line(entry: Entry, layout: Layout, pids: Mapping[Entry, str],
          facts: Mapping[Entry, Mapping[str, object]]) -> StoredFile:
    """What is kept of one file, beside its content: its name, and what is known of a picture that was taken."""
    line: StoredFile = {"name": entry.name, "source": entry.source, "origin": entry.origin}
    if entry in pids:
        line["pid"] = pids[entry]
        line["facts"] = {key: facts[entry][key] for key in ("sha256", "ext", "width", "height", "changes")}
        if entry.given is not None:
            line["given"] = cast("StoredAnnotations", entry.given._asdict())
    return line


def _content(entry: Entry, layout: Layout) -> bytes | None:
    """The content of a file of words; None of any other, and of one that is too large or damaged."""
    if entry not in layout.words:
        return None
    content = layout.texts.kept.get(entry)
    if content is None and entry.suffix in ARROW and entry.size <= LARGEST_TABLE:
        with suppress(ImportRejected):  # damaged in its archive, as the report says
            content = entry.read()
    return content


def _entries(packed: zipfile.ZipFile) -> Iterator[tuple[Entry, StoredFile]]:
    """Every file of the import, as it was seen, with what is known of it."""
    with packed.open("seen.jsonl") as lines:
        for raw in io.TextIOWrapper(lines, "utf-8"):
            line = cast("StoredFile", json.loads(raw))
            entry = Entry(line["name"], line["source"], problem=line.get("problem", ""), origin=line["origin"])
            if "content" in line:
                entry.data = packed.read(str(line["content"]))
            if "given" in line:
                entry.given = Annotations(**line["given"])
            yield entry, line


def _reading(dataset: Dataset, packed: zipfile.ZipFile, options: Options) -> tuple[Layout, dict[str, list[str]]]:
    """The files once more, read by these options, and the captions that each taken picture then has."""
    seen = list(_entries(packed))
    report = Report([entry for entry, _ in seen if entry.given is None])
    layout = Layout(report, options, lambda entry: _records(dataset, entry))
    layout.given += [PictureTable(**table) for table in json.loads(packed.read("about.json"))["tables"]]
    rows = []
    texts_of: dict[str, list[str]] = {}  # by pid
    for entry, line in seen:
        if entry.given is not None:
            report.add(entry)
            texts = entry.given.texts.get(options.caption_column or "")
            if texts is not None:
                entry.given = entry.given._replace(captions=list(captions.of_texts(texts)[0]))
        if "pid" in line and report.verdict(entry) is None:
            row = layout.row(entry, cast("PictureFacts", line["facts"]))[0]
            rows.append(row)
            texts_of[line["pid"]] = row["captions"]
    layout.finish(rows)
    return layout, texts_of


def _records(dataset: Dataset, entry: Entry) -> list[Record]:
    """The records of a parquet file of names. Raises ImportRejected."""
    spool = dataset.path / ".spool-again.parquet"
    try:
        path = entry.on_disk(spool).absolute()
        with Rows(dataset.path, {"parquet": os.fsencode(path).hex()}, read=[path]) as table:
            return [Record(row["number"], row["line"]) for row in table if "line" in row]
    except UnreadableTable as problem:
        raise ImportRejected(str(problem)) from None
