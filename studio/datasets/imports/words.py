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
from typing import Any

from studio import storage
from studio.datasets.imports.headline import GivenTable
from studio.datasets.imports.hubsource import Rows, Unreadable
from studio.datasets.imports.layout import ARROW, Layout
from studio.datasets.imports.reporting import Report
from studio.datasets.imports.sources import Entry, Given, NotTaken
from studio.datasets.options import Options
from studio.datasets.store import Dataset
from studio.datasets.tabular.records import Record
from studio.datasets.text import captions
from studio.messages import Message

KEPT = 96 << 20  # bytes of words, and of what is known of each file
LARGEST_TABLE = 16 << 20  # bytes of a parquet file of names
WISHES = ("image_column", "caption_column", "encoding", "caption_from")  # by which words can be read otherwise
MOST_READINGS = 4  # that are remembered
WHAT = "read again"


def read_as(options: Options) -> dict[str, str]:
    """The wishes by which words were read, for the report."""
    return {name: value for name in WISHES if (value := getattr(options, name))}


def read_before(dataset: Dataset) -> dict[str, str]:
    """The wishes by which the words of the last import were read last."""
    return dict(dataset.commit().get("read_as") or {})


def are_kept(dataset: Dataset) -> bool:
    """Whether the words of the last import can be read again."""
    return _file(dataset) is not None


def keep(dataset: Dataset, batch: str, layout: Layout, pids: Mapping[Entry, str],
         facts: Mapping[Entry, dict[str, Any]]) -> None:
    """Keep the words of an import that was committed as `batch`; `pids` and `facts` are those of the taken pictures."""
    storage.clear(*dataset.path.glob("words-*.kept"))
    contents: list[bytes] = []
    lines, size = [], 0
    for entry in layout.report.entries:
        line, content = _line(entry, layout, pids, facts)
        if content is not None:
            line["content"] = len(contents)
            contents.append(content)
        lines.append(json.dumps(line, ensure_ascii=True))
        size += len(lines[-1]) + len(content or b"")
        if size > KEPT:
            return
    about = {"tables": [dataclasses.asdict(table) for table in layout.given]}
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
    every = [*dataset.commit().get("readings", []), read_before(dataset)]
    readings = [wishes for at, wishes in enumerate(every) if wishes not in every[at + 1:]][-MOST_READINGS:]
    with zipfile.ZipFile(path) as packed:
        before = [_reading(dataset, packed, _by(wishes, options))[1] for wishes in readings]
        layout, now = _reading(dataset, packed, options)
    rows = dataset.snapshot().by_pid
    changes, kept = {}, 0
    for pid, texts in now.items():
        there = rows[pid]["captions"] if pid in rows else None
        if there is None or there == texts:
            continue
        if any(there == one.get(pid) for one in before):  # an undo may have brought back an earlier reading
            changes[pid] = {"captions": texts}
        else:
            kept += 1
    if kept:
        layout.report.note(Message("{number} captions were changed by hand since the import and stay as they are.",
                                   number=kept))
    report = {**layout.report.result(len(now)), "read_as": read_as(options), "readings": readings}
    dataset.edit(changes, WHAT)
    storage.write_bytes(dataset.path / "report.csv", layout.report.table())
    kept_facts = {name: dataset.commit().get(name, []) for name in ("imports", "batches")}
    storage.write_json(dataset.path / "report.json", {**report, **kept_facts})


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
          facts: Mapping[Entry, dict[str, Any]]) -> tuple[dict[str, Any], bytes | None]:
    """What is kept of one file: its name and verdict, and for a file of words its content."""
    line: dict[str, Any] = {"name": entry.name, "source": entry.source, "origin": entry.origin}
    if entry in pids:
        line["pid"] = pids[entry]
        line["facts"] = {key: facts[entry][key] for key in ("sha256", "ext", "width", "height", "changes")}
        if entry.given is not None:
            line["given"] = entry.given._asdict()
        return line, None
    content = layout.texts.kept.get(entry) if entry in layout.words else None
    if content is None and entry in layout.words and entry.suffix in ARROW and entry.size <= LARGEST_TABLE:
        with suppress(NotTaken):  # damaged in its archive, as the report says
            content = entry.read()
    if content is None:
        line["problem"] = layout.report.why(entry)
        return line, None
    return line, content


def _entries(packed: zipfile.ZipFile) -> Iterator[tuple[Entry, dict[str, Any]]]:
    """Every file of the import, as it was seen, with what is known of it."""
    with packed.open("seen.jsonl") as lines:
        for raw in io.TextIOWrapper(lines, "utf-8"):
            line = json.loads(raw)
            entry = Entry(line["name"], line["source"], problem=line.get("problem", ""), origin=line["origin"])
            if "content" in line:
                entry.data = packed.read(str(line["content"]))
            if "given" in line:
                entry.given = Given(**line["given"])
            yield entry, line


def _reading(dataset: Dataset, packed: zipfile.ZipFile, options: Options) -> tuple[Layout, dict[str, list[str]]]:
    """The files once more, read by these options, and the captions that each taken picture then has."""
    seen = list(_entries(packed))
    report = Report([entry for entry, _ in seen if entry.given is None])
    layout = Layout(report, options, lambda entry: _records(dataset, entry))
    layout.given += [GivenTable(**table) for table in json.loads(packed.read("about.json"))["tables"]]
    rows, found = [], {}
    for entry, line in seen:
        if entry.given is not None:
            report.add(entry)
            texts = entry.given.texts.get(options.caption_column or "")
            if texts is not None:
                entry.given = entry.given._replace(captions=list(captions.of_texts(texts)[0]))
        if "pid" in line and report.verdict(entry) is None:
            row = layout.row(entry, line["facts"])[0]
            rows.append(row)
            found[line["pid"]] = row["captions"]
    layout.finish(rows)
    return layout, found


def _records(dataset: Dataset, entry: Entry) -> list[Record]:
    """The records of a parquet file of names. Raises NotTaken."""
    spool = dataset.path / ".spool-again.parquet"
    try:
        path = entry.on_disk(spool).absolute()
        with Rows(dataset.path, {"parquet": os.fsencode(path).hex()}, read=[path]) as table:
            return [Record(row["number"], row["line"]) for row in table if "line" in row]
    except Unreadable as problem:
        raise NotTaken(str(problem)) from None
