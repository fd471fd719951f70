"""The text table: every text in every language, with the same values put in."""

from __future__ import annotations

import re
from pathlib import Path

from studio import config, presets
from studio.ui import texts, texts_settings

UI = Path(texts.__file__).parent
PLACEHOLDER = re.compile(r"\{\w*\}")


def test_every_text_has_every_language() -> None:
    columns = len(texts.LANGUAGES)
    assert not {key: row for key, row in texts.TABLE.items() if len(row) != columns or not all(row)}


def test_every_setting_and_goal_that_is_named_is_one() -> None:
    there = {field["path"] for section in config.schema()["sections"] for field in section["fields"]}
    assert texts_settings.SETTINGS.keys() == there
    assert texts_settings.GOALS.keys() == {goal.id for goal in presets.GOALS}
    assert texts_settings.SECTIONS.keys() == {section["name"] for section in config.schema()["sections"]}


def test_every_language_puts_in_the_same_values() -> None:
    values = {key: {frozenset(PLACEHOLDER.findall(text)) for text in row} for key, row in texts.TABLE.items()}
    assert not {key: texts.TABLE[key] for key, found in values.items() if len(found) > 1}


def test_texts_are_said_in_the_language_spoken() -> None:
    assert texts.t("time.minutes", m=3, s="05") == "3 min 05 s"
    with texts.speaking("ja"):
        assert texts.t("time.minutes", m=3, s="05") == "3 分 05 秒"
    assert texts.t("app.language") == "Language"
    assert texts.table("ja")["app.language"] == "言語"


def test_every_text_a_script_or_a_page_names_is_there() -> None:
    """Names written out in full; those put together from parts are seen where the pages are driven."""
    asked = re.compile(r"""\b(?:t|heading|has)\(\s*["']([a-z]+\.[\w.-]+)["']""")
    scripts = [path for path in (UI / "static").rglob("*.js") if "vendor" not in path.parts]
    files = [*UI.glob("*.py"), *scripts]
    named = {(path.name, key) for path in files for key in asked.findall(path.read_text())}
    assert len(named) > 200
    assert not sorted((name, key) for name, key in named if key not in texts.TABLE)
