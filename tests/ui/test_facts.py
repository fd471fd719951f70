"""What the scripts know of the server is served once, in the page's head, and no script says it again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from studio.datasets.text import encodings
from studio.folders import edits, events
from studio.ui import facts, frame
from studio.web.http.languages import NAMES

UI = Path(frame.__file__).parent
SCRIPTS = [path for path in (UI / "static").rglob("*.js") if "vendor" not in path.parts]
ARRAY = re.compile(r"\[([^\[\]]*)\]")
WORD = re.compile(r'"([^"]+)"')
CHOSEN = {"pages", "editable_settings"}  # of those a script may choose some for a purpose of its own


def served(language: str) -> dict[str, Any]:
    """The facts in a page's head."""
    found = re.search(r'<script type="application/json" id="studio-facts">(.*?)</script>', frame.head(language), re.S)
    assert found
    return json.loads(found[1])


@pytest.mark.parametrize("language", NAMES)
def test_the_head_of_every_page_has_what_is_enforced(language: str) -> None:
    head = served(language)
    assert set(head["live_states"]) == set(events.STATES) - set(events.FINAL)
    assert head["editable_settings"] == list(edits.EDITABLE)
    assert head["encodings"] == [name for name, _ in encodings.KNOWN.values()]
    assert head == json.loads(json.dumps(facts.table()))


def test_nothing_in_the_head_can_end_its_element(monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = "</script><script>alert(1)"
    monkeypatch.setattr(facts, "table", lambda: {"pages": [hostile]})
    assert hostile not in frame.head("en") and served("en") == {"pages": [hostile]}


def test_every_fact_is_described_and_read() -> None:
    described = (UI / "types" / "facts.d.ts").read_text()
    names = re.findall(r"^  (\w+):", described, re.M)
    assert names == list(facts.table())
    scripts = "\n".join(path.read_text() for path in SCRIPTS)
    assert not [name for name in names if not re.search(rf"\bFACTS\.{name}\b|\b{name}: [A-Za-z]+[ ,]", scripts)]


def test_no_script_repeats_a_list_of_the_servers() -> None:
    lists = {name: set(map(str, fact)) for name, fact in facts.table().items()
             if isinstance(fact, (list, tuple)) and name not in CHOSEN}
    assert len(lists) > 7 and len(SCRIPTS) > 50
    written = [(path.name, set(WORD.findall(array))) for path in SCRIPTS for array in ARRAY.findall(path.read_text())]
    assert not [(script, name) for script, words in written for name, known in lists.items() if len(known & words) > 1]
