"""Holds the catalogues of languages (studio/locale) against the sources: every sentence and page text has its row.

    python tools/catalogues.py           what is missing, or has no user any more
    python tools/catalogues.py --write   add what is missing, without a translation yet, and drop what has no user

A new language is a copy of a catalogue, named by the language, with `Language`, `X-Name` (what it calls itself) and
`X-Stop` (the stop that a sentence loses within another one) in its head.
"""

from __future__ import annotations

import argparse
import ast
import sys
from pathlib import Path

import polib

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from studio import messages
from studio.ui import texts
from studio.web.http.languages import PLAIN
from studio.web.http.translation import LOCALE


def templates() -> dict[str, list[str]]:
    """The template of every `Message(...)` in the sources, with the places of it (`studio/folders/runs.py:12`). Raises
    ValueError for one that is not written out there."""
    places: dict[str, list[str]] = {}
    for path in sorted((ROOT / "studio").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id != "Message":
                continue
            place = f"{path.relative_to(ROOT).as_posix()}:{node.lineno}"
            template = written_template(node)
            if template is not None:
                places.setdefault(template, []).append(place)
            elif path.name != "messages.py":
                raise ValueError(f"{place}: the template of a message is written out where it is raised")
    return places


def written_template(call: ast.Call) -> str | None:
    """The template that a call of Message is given, where it is written out there."""
    match call.args:
        case [ast.Constant(value=str(template)), *_]:
            return template
    return None


def by_key() -> dict[str, tuple[str, list[str]]]:
    """The templates under what they are looked up by: the first of those that share a row, and the places of all."""
    rows: dict[str, tuple[str, list[str]]] = {}
    for template, places in templates().items():
        rows.setdefault(messages.key(template), (template, []))[1].extend(places)
    return rows


def page_texts() -> dict[str, str]:
    """The English of the pages' texts, by their keys."""
    plain = {f"plain.{name}": text for name, text in PLAIN.items()}
    return plain | texts.TABLE


def expected() -> dict[tuple[str | None, str], str]:
    """The English of every row that a catalogue has, by its context and what it is looked up by there."""
    rows: dict[tuple[str | None, str], str] = {}
    for key, (template, _) in by_key().items():
        rows[None, key] = template
    for key, english in page_texts().items():
        rows[key, english] = english
    return rows


def looked_up_by(row: polib.POEntry) -> tuple[str | None, str]:
    """The context of a row and what it is looked up by there."""
    if row.msgctxt:
        return row.msgctxt, row.msgid
    return row.msgctxt, messages.key(row.msgid)


def differences(path: Path) -> tuple[list[str], list[str]]:
    """The English that a catalogue lacks, and what it has without a user. A text that reads otherwise now is both."""
    there = {looked_up_by(row): row for row in polib.pofile(str(path))}
    rows = expected()
    lacks = [english for key, english in rows.items() if key not in there or not there[key].msgstr]
    return lacks, [row.msgid for key, row in there.items() if key not in rows]


def write(path: Path) -> None:
    """Bring a catalogue up to date, its rows in the order of the sources."""
    catalogue = polib.pofile(str(path), wrapwidth=100)
    sentences = by_key()
    there = {looked_up_by(row): row for row in catalogue}
    catalogue.clear()
    for (context, key), english in expected().items():
        row = there.get((context, key)) or polib.POEntry(msgctxt=context)
        row.msgid = english
        row.occurrences = []
        if context is None:
            _, places = sentences[key]
            row.occurrences = sorted({(place.rpartition(":")[0], "") for place in places})
        row.flags = []
        if messages.names(english):
            row.flags = ["python-brace-format"]
        catalogue.append(row)
    catalogue.save()


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="bring the catalogues up to date")
    asked = parser.parse_args()
    good = True
    for path in sorted(LOCALE.glob("*.po")):
        if asked.write:
            write(path)
        lacks, unused = differences(path)
        good = good and not lacks and not unused
        for template in lacks:
            print(f"{path.name} lacks: {template}")
        for template in unused:
            print(f"{path.name} has without a user: {template}")
    sys.exit(int(not good))


if __name__ == "__main__":
    main()
