"""README's table of settings, from studio/config: `python tools/settings_table.py` prints, `--write` renews it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from studio import config  # the line above makes it importable from any folder

README = ROOT / "README.md"
BEGIN, END = "<!-- settings: python tools/settings_table.py --write -->", "<!-- end of settings -->"


def table() -> str:
    """One Markdown table per section of the config, each under its title."""
    return "\n\n".join(map(section_table, config.schema()["sections"]))


def section_table(section: config.SectionSchema) -> str:
    """A section's settings: name, default, what it does with its limits, the reference script's name."""
    head = ("| setting | default | what it does | reference script |", "|---|---|---|---|")
    rows = [f"**{section['title']}**", "", *head]
    for field in section["fields"]:
        purpose = field["help"]
        if field["limits"]:
            purpose += f" ({field['limits']})"
        reference = ""
        if field["reference"]:
            reference = f"`--{field['reference']}`"
        cells = (f"`{field['path']}`", shown(field["default"]), purpose, reference)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def shown(default: object) -> str:
    """A default as a person would write it."""
    if default is None:
        return "(empty)"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default}`"


def renewed(readme: str) -> str:
    """`readme` with the present table between its two markers. Raises ValueError when they are missing."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"README.md needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


def main() -> None:
    """Print the table, or write it into README.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table between the markers of README.md")
    if parser.parse_args().write:
        README.write_text(renewed(README.read_text()))
    else:
        print(table())


if __name__ == "__main__":
    main()
