"""What the studio says has a row in the table of messages, in every language, and the API answers in the asker's."""

from __future__ import annotations

import re
import time

import httpx
import pytest

from studio.web import messages
from studio.web.languages import NAMES

from .conftest import Server, make_run
from .said import sentences

JAPANESE = re.compile(r"[ぁ-んァ-ヶ一-龠]")
VALUES = ("'⟦a⟧'", "⟦b⟧", "⟦c⟧", "⟦d⟧", "⟦e⟧", "⟦f⟧", "⟦g⟧", "⟦h⟧")


def shape(text: str) -> str:
    """A sentence or a row with `{}` for each value."""
    text = " ".join(messages.VALUE.sub("{}", text).split())
    return text[:1].lower() + text[1:].removesuffix(".")


ROWS = {shape(row[0]) for row in (*messages.ROWS, *messages.WORDS)}


def worded(template: str) -> bool:
    """Whether a sentence of the sources has a row, alone or as part of one."""
    values = iter(VALUES)
    told = messages.said(re.sub(r"\{\}", lambda _: next(values), template), "ja")
    return shape(template) in ROWS or bool(JAPANESE.search(told)) and not re.search(r"[a-z]{3,} [a-z]{3,}", told)


def test_everything_the_studio_says_has_a_row() -> None:
    found = {text: where for where, text in sentences()}
    assert len(found) > 500
    assert not {where: text for text, where in found.items() if not worded(text)}


def test_every_row_has_every_language_and_its_values() -> None:
    for row in (*messages.ROWS, *messages.WORDS):
        assert len(row) == len(NAMES), row
        names = [{name for name, _ in messages.VALUE.findall(cell)} for cell in row]
        assert all(one == names[0] for one in names), row
        assert JAPANESE.search(row[1]) or not re.search("[a-z]", messages.VALUE.sub("", row[1])), row
    english = [row[0] for row in messages.ROWS]
    assert len(set(english)) == len(english)


@pytest.mark.parametrize("english, japanese", [
    ("should be greater than or equal to 1; allowed: >= 1, a multiple of 8 (given: 0)",
     "1 以上にしてください。使える値：>= 1、8 の倍数（入力：0）"),
    ("There is no data set 'no such.': choose one of the list, or bring pictures in first.",
     "データセット 'no such.' はありません。一覧から選ぶか、先に画像を取り込んでください。"),
    ("None of the 3 files can be used: 2 x larger than 100 MB; 1 x the file is empty.",
     "3 個のファイルはどれも使えません。2 件：100 MB を超えています。1 件：ファイルが空です。"),
    ("In a new run, lower the resolution (now 512), or turn off the EMA (now on). Or close other programs: resume "
     "continues from checkpoint-5.",
     "新しい実行で、解像度を下げてください（いまは 512）。または、EMA をオフにしてください（いまはオン）。または、"
     "ほかのプログラムを閉じてください。再開すると checkpoint-5 から続きます。"),
    ("a/b: unet/ has no weights (diffusion_pytorch_model.safetensors): choose a complete diffusers folder",
     "a/b: unet/ に重み（diffusion_pytorch_model.safetensors）がありません。"
     "揃った diffusers フォルダーを選んでください。"),
    ("The run has ended (failed), so there is nothing to pause: resume it to train on.",
     "実行は終わっているため（失敗）、一時停止はできません。続けるには再開してください。"),
    ("RuntimeError: of a library's own", "RuntimeError: of a library's own"),
])
def test_a_sentence_within_a_sentence_is_worded_too(english: str, japanese: str) -> None:
    assert messages.said(english, "ja") == japanese
    assert messages.said(english, "en") == english


@pytest.mark.parametrize("piece", [" (given: ", "; allowed: ", " and ", ", or ", ": ", "x: y (z: w) ", " (and ", "'",
                                   "a", ". ", " Or close other programs: ", " files", "日本"])
def test_what_strangers_put_into_a_sentence_costs_nothing(piece: str) -> None:
    """In time that grows with its length alone, and what is kept of it is little."""
    rows = ("{}", "There is no data set '{}': choose one of the list, or bring pictures in first.",
            "{}; allowed: {} (given: {})", "should be a valid string (given: '{}')", "{}: {} (and 3 more)")
    for size in (300, 880, 3900, 9000, 1_000_000):
        for row in rows:
            text = row.replace("{}", (piece * size)[:size])
            began = time.process_time()
            told = messages.told({"message": text}, "ja")["message"]
            assert time.process_time() - began < 0.1, (row, size)
            assert size > 300 or not row.startswith("There") or told.startswith("データセット")
    kept = sum(len(text) + len(worded) for (text, _), worded in messages._remembered.items())
    assert kept < 400_000


def test_an_answer_of_very_many_sentences_costs_little() -> None:
    problems = [{"field": "x", "message": f"should be a valid string (given: '{number}')"} for number in range(20_000)]
    began = time.process_time()
    told = messages.told({"problems": problems}, "ja")["problems"]
    assert time.process_time() - began < 0.5
    assert JAPANESE.search(told[0]["message"]) and told[-1] == problems[-1]


@pytest.mark.parametrize("value", ["cat", "'x y'", "12", "3.5e-4", "a/b: c", ". ", "; and ", "(given: ", ", or ", "x)",
                                   "日本", "\n", "{name}", "e"])
def test_every_row_is_found_whatever_its_values(value: str) -> None:
    """Alone, with a capital, without its stop; values that look like another sentence may make it that one."""
    for row in messages.ROWS:
        text = messages.VALUE.sub(lambda place: "1,000" if place[1] == "number" else value, row[0])
        for one in (text, text[:1].upper() + text[1:], text.removesuffix(".")):
            told = messages.said(one, "ja")
            sentence = any(kind == "!" for _, kind in messages.VALUE.findall(row[0]))
            assert sentence or told != one or not re.search("[a-z]", messages.VALUE.sub("", row[1])), (row, told)


def test_what_a_person_wrote_is_never_worded() -> None:
    data = {"name": "The disk is full.", "config": {"note": "The disk is full."}, "message": "The disk is full."}
    assert messages.told(data, "ja") == {**data, "message": "ディスクがいっぱいです。"}


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
