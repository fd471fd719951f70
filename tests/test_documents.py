"""The documents: the map stays short, the files and sections they name are there, the tables say what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from studio.folders import events, runs, work
from studio.messages import Message, stored

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ["ARCHITECTURE.md", "README.md", "SECURITY.md",
             *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
MAP_LINES, COLUMNS = 250, 120
TOPS = "studio|tests|tools|docs|benchmarks"
NAMED = re.compile(rf"`((?:{TOPS})/[^`\s]+|[\w-]+\.(?:md|txt)|\.ci/run)`")
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)")
FILES = (ROOT / "docs" / "run-folder.md").read_text()


def without_code(text: str) -> str:
    """A document without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.M | re.S)


def anchors(path: Path) -> set[str]:
    """What a document's sections are linked by."""
    titles = re.findall(r"^#+ (.+)$", without_code(path.read_text()), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def is_there(name: str) -> bool:
    """Whether a path is there; `*` and `<name>` stand for any name, and a call or a member follows a colon."""
    return any(ROOT.glob(re.sub(r"<[^>]*>", "*", name.partition(":")[0]).rstrip("/")))


def test_the_map_is_read_in_ten_minutes() -> None:
    lines = (ROOT / "ARCHITECTURE.md").read_text().splitlines()
    assert len(lines) <= MAP_LINES
    assert not [line for line in lines if len(line) > COLUMNS]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_file_that_is_named_is_there(document: str) -> None:
    named = NAMED.findall((ROOT / document).read_text())
    made_on_the_way = {"README.md", "words-<import>.kept"} if document == "docs/run-folder.md" else set()
    assert not sorted({name for name in named if name not in made_on_the_way and not is_there(name)})


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_link_leads_to_a_file_and_a_section(document: str) -> None:
    here, dead = ROOT / document, []
    for name, section in LINK.findall(without_code(here.read_text())):
        if name.startswith(("http:", "https:")):
            continue
        path = (here.parent / name).resolve() if name else here
        if not path.exists() or (section and section not in anchors(path)):
            dead.append(f"{name}#{section}")
    assert not dead


def test_each_room_is_on_the_map() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    rooms = next(part for part in text.split("```")[1::2] if part.strip().startswith("app.py"))
    listed = set(re.findall(r"^(studio/[\w.]+)/?\s", rooms, re.M))
    there = {f"studio/{path.name}" for path in (ROOT / "studio").iterdir()
             if (path.is_dir() or path.suffix == ".py") and not path.name.startswith(("__", "."))}
    assert listed == there


def test_each_kind_of_event_and_state_is_told() -> None:
    kinds = set(re.findall(r"^\| `(\w+)` \|", FILES.partition("### Events")[2].partition("### ")[0], re.M))
    assert kinds >= {*events.NEEDED, *events.DURABLE} and kinds - {*events.NEEDED, *events.DURABLE} == {"phase"}
    told = FILES.partition("### States")[2].strip().partition(". ")[0].replace("\n", " ")
    assert sorted(told.split(", ")) == sorted(events.STATES)


def test_each_file_of_a_run_and_a_job_is_told(tmp_path: Path) -> None:
    for thing in (runs.Run(tmp_path / "runs" / "x"), work.Job(tmp_path / "jobs" / "x")):
        parts = [getattr(thing, name) for name in dir(thing) if isinstance(getattr(type(thing), name, None), property)
                 and name not in ("light", "lane", "goes_on")]
        inside = {part.name for part in parts if isinstance(part, Path) and part.parent == thing.path}
        assert len(inside) > 5
        assert not sorted(name for name in inside if f"`{name}" not in FILES)


def test_each_place_of_the_home_is_told() -> None:
    code = "".join(path.read_text() for path in (ROOT / "studio").rglob("*.py"))
    table, cache = FILES.partition("## The home")[2].partition("## A run")[0].split("| in `cache/` |")
    for part, names in ((table, set(re.findall(r'\bhome / "([\w.]+)"', code))),
                        (cache, set(re.findall(r'\bhome / "cache" / "([\w.]+)"', code)))):
        assert len(names) > 8
        assert not sorted(name for name in names if f"`{name}" not in part)


def test_each_file_of_a_data_set_is_told() -> None:
    code = "".join(path.read_text() for path in (ROOT / "studio" / "datasets").rglob("*.py")
                   if path.name != "sample.py")  # which lies in the studio
    names = set(re.findall(r'\b(?:self|dataset)\.path / "([\w.]+)"', code))
    assert len(names) > 8
    table = FILES.partition("## A data set")[2].partition("### Rows")[0]
    assert not sorted(name for name in names if f"`{name}" not in table)


def test_the_message_in_a_file_is_as_it_is_shown() -> None:
    shown = json.loads(re.findall(r"```json\n(\{\"message.*?)\n```", FILES, re.S)[0])
    assert shown == stored({"message": Message("The disk {disk} is full", disk="/")})
