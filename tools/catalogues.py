"""Holds the catalogues of languages (studio/locale) against the sources: every sentence of the server has its row.

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
from studio.web.translation import LOCALE


def templates() -> dict[str, list[str]]:
    """The template of every `Message(...)` in the sources, with the places of it (`studio/runs.py:12`). Raises
    ValueError for one that is not written out there."""
    places: dict[str, list[str]] = {}
    for path in sorted((ROOT / "studio").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id != "Message":
                continue
            place = f"{path.relative_to(ROOT).as_posix()}:{node.lineno}"
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                places.setdefault(first.value, []).append(place)
            elif path.name != "messages.py":
                raise ValueError(f"{place}: the template of a message is written out where it is raised")
    return places


def by_key() -> dict[str, tuple[str, list[str]]]:
    """The templates under what they are looked up by: the first of those that share a row, and the places of all."""
    rows: dict[str, tuple[str, list[str]]] = {}
    for template, places in templates().items():
        rows.setdefault(messages.key(template), (template, []))[1].extend(places)
    return rows


def differences(path: Path) -> tuple[list[str], list[str]]:
    """The templates that a catalogue lacks, and those in it that nothing says."""
    said = by_key()
    rows = {messages.key(row.msgid): row for row in polib.pofile(str(path)) if row.msgctxt is None}
    lacks = [template for key, (template, _) in said.items() if key not in rows or not rows[key].msgstr]
    return lacks, [row.msgid for key, row in rows.items() if key not in said]


def write(path: Path) -> None:
    """Bring a catalogue up to date, its rows in the order of the sources."""
    catalogue, said = polib.pofile(str(path), wrapwidth=100), by_key()
    rows = {messages.key(row.msgid): row for row in catalogue if row.msgctxt is None}
    others = [row for row in catalogue if row.msgctxt is not None]
    catalogue.clear()
    for key, (template, places) in said.items():
        row = rows.get(key) or polib.POEntry(msgid=template)
        row.msgid, row.occurrences = template, sorted({(place.rpartition(":")[0], "") for place in places})
        row.flags = ["python-brace-format"] if messages.names(template) else []
        catalogue.append(row)
    catalogue.extend(others)
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
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
