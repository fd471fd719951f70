"""What the studio says has a row in the catalogue of every language, and the API answers in the asker's."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import polib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio import config, messages
from studio.config import ConfigError
from studio.datasets.imports.reporting import Report
from studio.datasets.imports.sources import Entry
from studio.datasets.pictures import kinds
from studio.messages import Message
from studio.web.http import translation
from studio.web.http.errors import explain
from studio.web.http.languages import NAMES

from .conftest import Server, make_run

ROOT = Path(__file__).resolve().parents[2]
JAPANESE = re.compile(r"[ぁ-んァ-ヶ一-龠]")
CATALOGUES = sorted(translation.LOCALE.glob("*.po"))
ROWS = [row for row in polib.pofile(str(translation.LOCALE / "ja.po")) if row.msgctxt is None]
THEIRS = st.one_of(st.sampled_from([row.msgid for row in ROWS]), st.sampled_from([row.msgstr for row in ROWS]),
                   st.text(alphabet="{}ab:!.;, 。日本", max_size=40))


def test_everything_the_studio_says_has_a_row_and_every_row_a_user() -> None:
    checked = subprocess.run([sys.executable, "tools/catalogues.py"], cwd=ROOT, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, ""), checked.stdout + checked.stderr


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.stem)
def test_every_row_has_its_values(path: Path) -> None:
    rows = [row for row in polib.pofile(str(path)) if row.msgctxt is None]
    assert len(rows) > 900
    for row in rows:
        assert messages.names(row.msgid) == messages.names(row.msgstr), row.msgid
        assert not row.fuzzy and not row.obsolete
    assert len({messages.key(row.msgid) for row in rows}) == len(rows)


def test_every_row_in_japanese_is_so() -> None:
    for row in ROWS:
        words = messages.FIELD.sub("", row.msgstr)
        assert JAPANESE.search(words) or not re.search("[a-z]{2}", words), row.msgid


def faults(data: dict[str, object]) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        config.load(data)
    return {problem.field: translation.translated(problem.message, "ja") for problem in caught.value.problems}


def test_sentences_within_sentences_are_worded_too() -> None:
    assert faults({"train": {"batch_size": 0}})["train.batch_size"] == (
        "1 以上にしてください。使える値：>= 1, <= 4096（入力：'0'）")
    assert faults({"data": {"resolution": 9}})["data.resolution"].startswith("8 の倍数にしてください。使える値：")
    assert faults({"train": {"batch_size": True}})["train.batch_size"].startswith("true や false ではなく")
    assert faults({"model": {"method": "x"}})["model.method"].startswith("次のいずれかにしてください：")
    report = Report([])
    for name, reason in (("a.bin", Message("larger than {size} MB", size=100)), ("b.jpg", Message("the file is empty")),
                         ("c.bin", Message("larger than {size} MB", size=100))):
        report.add(entry := Entry(name))
        report.skip(entry, reason)
    report.tried = 1
    why = report.result(0)["error"]
    assert why == "None of the 3 files can be used: 2 x larger than 100 MB; 1 x the file is empty."
    assert translation.translated(why, "ja") == (
        "3 個のファイルはどれも使えません。2 件：100 MB を超えています。1 件：ファイルが空です。")
    assert translation.translated(kinds.reason("HEIC"), "ja") == (
        "画像ではありません（HEIC ファイル）。先に JPEG に変換してください。")
    ways = config.needs_less_memory(config.load({"data": {"resolution": 512}, "model": {"method": "lora"},
                                                 "train": {"gradient_checkpointing": True}, "ema": {"enabled": True}}))
    assert ways == "In a new run, lower the resolution (now 512), or turn off the EMA (now on)."
    assert translation.translated(ways, "ja") == (
        "新しい実行で、解像度を下げてください（いまは 512）。または、EMA をオフにしてください（いまはオン）。")


def test_what_is_no_message_stays_as_it_is() -> None:
    data = {"message": "The disk of the studio is full.", "note": "{name}", "list": ["a", Message("the file is empty")]}
    assert translation.told(data, "ja") == {**data, "list": ["a", "ファイルが空です。"]}
    assert translation.told(data, "en") is data
    odd = Message("nobody has ever said {what}", what=Message("the file is empty"))
    assert translation.translated(odd, "ja") == odd


@settings(deadline=None)
@given(name=THEIRS, caption=THEIRS)
def test_what_a_person_wrote_neither_changes_nor_slows_a_message(name: str, caption: str) -> None:
    """Names, captions and prompts that are the studio's own sentences, rows and braces."""
    _, body = explain(ConfigError([config.Problem("data.dataset", Message(
        "there is no data set {name}: {advice}", name=repr(name), advice=Message(
            "choose one of the list, or bring pictures in first")))]))
    assert body["problems"][0]["message"] == (
        f"there is no data set {name!r}: choose one of the list, or bring pictures in first")
    told = translation.told({"name": name, "prompt": caption, **body}, "ja")
    assert told["name"] == name and told["prompt"] == caption
    assert told["problems"][0]["message"] == (
        f"データセット {name!r} はありません。一覧から選ぶか、先に画像を取り込んでください。")
    began = time.process_time()
    long = Message("there is no data set {name}", name=name * 20_000)
    assert name * 20_000 in translation.translated(long, "ja")
    assert time.process_time() - began < 0.5


def test_an_answer_of_very_many_sentences_is_worded_whole() -> None:
    problems = [{"field": "x", "message": Message("{message} (given: {value})", value=repr(str(number)),
                                                  message=Message("should be a valid string"))}
                for number in range(20_000)]
    began = time.process_time()
    told = translation.told({"problems": problems}, "ja")["problems"]
    assert time.process_time() - began < 3
    assert told[-1]["message"] == "文字列にしてください（入力：'19999'）"


def test_the_api_answers_in_the_language_that_is_asked_for(server: Server, api: httpx.Client) -> None:
    ask = {"config": {"train": {"batch_size": 0}, "data": {"dataset": "nowhere"}}}
    japanese = {"accept-language": "ja,en;q=0.5"}
    said = {name: {p["field"]: p["message"] for p in api.post("/api/runs", json=ask, headers=headers).json()["error"][
        "problems"]} for name, headers in (("en", {}), ("ja", japanese))}
    assert said["en"]["train.batch_size"].startswith("should be greater than or equal to 1; allowed: >= 1")
    assert said["ja"]["train.batch_size"].startswith("1 以上にしてください。使える値：>= 1")
    assert said["ja"]["data.dataset"].startswith("データセット 'nowhere' はありません。")
    gone = api.get(f"/api/runs/{'0' * 32}", headers={"cookie": "studio-language=ja"}).json()["error"]
    assert (gone["code"], gone["message"]) == ("not_found", "その ID の実行はありません。")
    run = make_run(server.home, steps=3)
    where = f"/api/runs/{run.id}/events?since=0"
    tags = {name: api.get(where, headers=headers).headers["etag"] for name, headers in (("en", {}), ("ja", japanese))}
    assert tags["en"] != tags["ja"]  # a page in another language never gets the answer that this one knows
    assert api.get(where, headers={**japanese, "if-none-match": tags["ja"]}).status_code == 304
    assert api.get(where, headers={**japanese, "if-none-match": tags["en"]}).status_code == 200


def test_a_language_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made of the English: each sentence between brackets, and nothing is told outside of them."""
    pseudo = polib.POFile()
    pseudo.metadata = {"Language": "xx", "X-Name": "Pseudo", "Content-Type": "text/plain; charset=UTF-8"}
    for row in ROWS:
        pseudo.append(polib.POEntry(msgid=row.msgid, msgstr=f"[{row.msgid}]"))
    pseudo.save(str(tmp_path / "xx.po"))
    monkeypatch.setattr(translation, "LOCALE", tmp_path)
    _, body = explain(ConfigError([config.Problem("train.batch_size", Message(
        "{message} (given: {value})", message=Message("should be a valid integer"), value="'x'"))]))
    told = translation.told(body, "xx")
    assert told["message"].startswith("[train.batch_size: [[should be a valid integer] (given: 'x')]")
    assert told["hint"] == "[Change the named settings and try again.]"
    for row in ROWS:
        values = {name: "0" for name in messages.names(row.msgid)}
        said = translation.translated(Message(row.msgid, **values), "xx")
        assert said.startswith("[") and said.endswith("]"), row.msgid
    assert "en" in NAMES
