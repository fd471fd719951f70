"""The text table: every text in every language, with the same values put in."""

from __future__ import annotations

import re
from pathlib import Path

import polib
import pytest

from studio.ui import texts
from studio.web.http import languages, translation
from studio.web.http.languages import NAMES
from studio.web.http.translation import ENGLISH, catalogue

UI = Path(texts.__file__).parent.parent
PLACEHOLDER = re.compile(r"\{\w*\}")


def test_every_text_has_every_language() -> None:
    """That every catalogue has it, with the same values put in; see also tests/web/test_messages.py."""
    assert all(texts.TABLE.values())
    for language in NAMES:
        table = texts.table(language)
        assert table.keys() == texts.TABLE.keys()
        assert not {key: said for key, said in table.items()
                    if set(PLACEHOLDER.findall(said)) != set(PLACEHOLDER.findall(texts.TABLE[key]))}
        assert language == ENGLISH or table.keys() <= catalogue(language).texts.keys()


def test_a_language_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made of the English: no text of a page is outside of the brackets that stand around each there. A catalogue is
    read once in a process, so no other test has a language of this name."""
    pseudo = polib.POFile()
    pseudo.metadata = {"Language": "xy", "X-Name": "Pseudo", "Content-Type": "text/plain; charset=UTF-8"}
    for row in polib.pofile(str(translation.LOCALE / "ja.po")):
        pseudo.append(polib.POEntry(msgctxt=row.msgctxt, msgid=row.msgid, msgstr=f"[{row.msgid}]"))
    pseudo.save(str(tmp_path / "xy.po"))
    monkeypatch.setattr(translation, "LOCALE", tmp_path)
    assert texts.table("xy") == {key: f"[{english}]" for key, english in texts.TABLE.items()}
    page = languages.plain_page("token", "xy", form="token")
    shown = re.sub(r"<[^>]*>", " ", page.partition("<main>")[2])
    assert shown.replace("Studio", "", 1).count("[") == shown.count("]") == 4, shown


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
    files = [*UI.rglob("*.py"), *scripts]
    named = {(path.name, key) for path in files for key in asked.findall(path.read_text())}
    assert len(named) > 200
    assert not sorted((name, key) for name, key in named if key not in texts.TABLE)
