"""Words that people bring arrive, or the report says which file they are in; names with a meaning elsewhere."""

from __future__ import annotations

import base64
import csv
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from studio import datasets

from .bad import picture, saved
from .conftest import Bring, Files
from .test_archives import captions, many, reasons

A, B = "a red barn beside the road", "a green barn beside the road"
ROWS = [("a.png", A), ("b.png", B)]
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAVZtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9jAA"
    "AAAERAAAEAAQAAAAABegABAAAAAAAAADEAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA1mlwcnAA"
    "AAC3aXBjbwAAAHhodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQArQgEBA3AAAAMAkA"
    "AAAwAAAwAeoDCBRZbqSSmubgIaDAgAAAMAyAAAAwAIQGIAAQAHRAHBcrAiQAAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABgAAAA"
    "UAAAABBwaXhpAAAAAAMICAgAAAAXaXBtYQAAAAAAAAABAAEEgQIDBAAAADltZGF0AAAALSgBr1j1fw/9oy5XloNtCGBOEBFQNbqizldyTR02ks"
    "SZGd5/CIDBz4i6kALcxA==")


def lines(*rows: dict[str, Any]) -> bytes:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()


def table(column: str, file: str = "file_name", **more: str) -> bytes:
    """JSON lines that name two pictures, with their captions in `column`."""
    return lines(*({file: name, column: text, **more} for name, text in ROWS))


def cells(*rows: tuple[str, ...], delimiter: str = ",") -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter).writerows(rows)
    return out.getvalue().encode()


TABLES: dict[str, tuple[str, bytes]] = {
    "another column": ("metadata.jsonl", table("description")),
    "a column of any name": ("metadata.jsonl", table("additional_feature")),
    "a column of any name beside numbers": ("metadata.jsonl", table("blurb", width="512", md5="0123456789abcdef")),
    "what was talked": ("metadata.jsonl", lines(*({"image": name, "conversations": [
        {"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": text}]} for name, text in ROWS))),
    "a CSV of another name": ("captions.csv", cells(("file", "caption"), *ROWS)),
    "semicolons": ("metadata.csv", cells(("file_name", "text"), *ROWS, delimiter=";")),
    "tabs": ("captions.tsv", cells(("image", "caption"), *ROWS, delimiter="\t")),
    "no header": ("labels.csv", cells(*ROWS)),
    "a typing error in the ending": ("metadata.json1", table("text")),
    "lines in a .json": ("metadata.json", table("text")),
    "a list": ("metadata.json", json.dumps([{"file_name": name, "text": text} for name, text in ROWS]).encode()),
    "a map": ("captions.json", json.dumps(dict(ROWS)).encode()),
    "kohya's": ("meta_cap.json", json.dumps({name[:1]: {"caption": text} for name, text in ROWS}).encode()),
    "Flickr's": ("captions.txt", b"image,caption\n" + cells(*ROWS)),
    "Flickr's with numbers": ("results.token", "\n".join(f"{name}#0\t{text}" for name, text in ROWS).encode()),
    "pandas' halves": ("data.json", json.dumps({"columns": ["file_name", "text"], "data": ROWS}).encode()),
    "messages": ("train.jsonl", lines(*({"images": [name], "messages": [
        {"role": "user", "content": "What is it?"}, {"role": "assistant", "content": text}]} for name, text in ROWS))),
    "COCO's": ("annotations.json", json.dumps({
        "images": [{"id": n, "file_name": name} for n, (name, _) in enumerate(ROWS)],
        "annotations": [{"image_id": n, "caption": text} for n, (_, text) in enumerate(ROWS)]}).encode())}


@pytest.mark.parametrize("name", TABLES)
def test_words_of_a_table_arrive(bring: Bring, name: str) -> None:
    file, data = TABLES[name]
    dataset, report = bring({**many("a.png", "b.png"), file: data})
    assert captions(dataset) == {"a.png": [A], "b.png": [B]}
    assert not report["skipped"] and report["headline"] is None


@pytest.mark.parametrize("name, data, why", [
    ("metadata.json", b'{"a.png": "a barn"', "is not JSON"), ("a.yaml", b"caption: a barn", "data file"),
    ("captions.xlsx", b"PK\x03\x04", "save it as CSV"), ("a.json", b"{caption}", "is not JSON")])
def test_a_file_of_words_that_cannot_be_read_is_told_first(bring: Bring, name: str, data: bytes, why: str) -> None:
    dataset, report = bring({**many("a.png"), name: data})
    assert captions(dataset) == {"a.png": [""]} and why in reasons(report)[name]
    assert name in report["headline"] and why in report["headline"]


def test_what_other_programs_write_beside_a_picture(bring: Bring) -> None:
    dataset, report = bring({
        **many("a.png", "b.png", "c.png", "d.png"), "a.captions": A.encode(), "b.description": B.encode(),
        "c.txt": b"a red barn,\nold\nNegative prompt: ugly\nSteps: 20, Sampler: Euler a, Seed: 1, Size: 64x64",
        "d.txt": b"0 0.5 0.5 0.2 0.2\n1 0.2 0.3 0.1 0.1\n"})
    assert captions(dataset) == {"a.png": [A], "b.png": [B], "c.png": ["a red barn, old"],
                                 "d.png": ["0 0.5 0.5 0.2 0.2 1 0.2 0.3 0.1 0.1"]}
    assert any("numbers alone, such as '0 0.5" in note for note in report["notes"])
    assert any("settings of a program that draws" in note for note in report["notes"])


def test_a_line_that_is_no_json_is_told_though_none_is(bring: Bring) -> None:
    _, report = bring({**many("a.png"), "metadata.jsonl": b"{'file_name': 'a.png', 'text': 'a barn'}"})
    assert any("line 1 is not JSON" in note for note in report["notes"]) and report["headline"]


SIDE = {"subject": "a red board on a wall", "setting": "indoors in the morning light", "score": 3}


def test_a_column_that_cannot_be_guessed_is_asked_for_and_read_again(bring: Bring) -> None:
    rows = [{"file_name": "a.png", **SIDE}, {"file_name": "b.png", **SIDE, "subject": "a green board"}]
    dataset, report = bring({**many("a.png", "b.png"), "words.jsonl": lines(*rows)})
    assert captions(dataset) == {"a.png": [""], "b.png": [""]}
    assert all(word in report["headline"] for word in ("words.jsonl", "subject", "setting", "captions, text, caption"))
    assert "subject" in reasons(report)["words.jsonl"]
    (ask,) = report["asks"]
    assert ask["kind"] == "column" and [column["name"] for column in ask["columns"]][:2] == ["subject", "setting"]
    again = datasets.read_again(dataset, datasets.Options(caption_column="subject"))
    assert captions(dataset) == {"a.png": ["a red board on a wall"], "b.png": ["a green board"]}
    assert again["headline"] is None and not again["skipped"] and again["read_as"]["caption_column"] == "subject"
    dataset.undo()
    assert captions(dataset) == {"a.png": [""], "b.png": [""]}
    other = datasets.read_again(dataset, datasets.Options(caption_column="setting"))
    assert captions(dataset)["a.png"] == [SIDE["setting"]] and not any("by hand" in note for note in other["notes"])


@pytest.mark.parametrize("beside", [
    {"words.json": json.dumps([{"file_name": "a.png", "\ud800x": "half a character"}]).encode()},
    {"a.json": b'{"original_name": "\\ud800x", "caption": "a red board"}'},
    {"a.png": b"", "._t.parquet": b"\0\5\26\7"}], ids=["a column", "a name", "a fork of macOS"])
def test_what_came_beside_ends_no_import(bring: Bring, beside: dict[str, bytes]) -> None:
    dataset, report = bring({**beside, **many("a.png")})
    assert dataset.state == "ready" and dataset.count == 1 and report["error"] is None, report


def test_what_was_changed_by_hand_stays_when_words_are_read_again(bring: Bring) -> None:
    rows = [{"file_name": "a.png", **SIDE}, {"file_name": "b.png", **SIDE}]
    dataset, _ = bring({**many("a.png", "b.png"), "words.jsonl": lines(*rows)})
    dataset.set_captions(dataset.rows()[0]["pid"], ["mine"])
    report = datasets.read_again(dataset, datasets.Options(caption_column="setting"))
    assert captions(dataset) == {"a.png": ["mine"], "b.png": [SIDE["setting"]]}
    assert any("changed by hand" in note for note in report["notes"])


def test_a_column_may_be_named_before(home: Path, tmp_path: Path) -> None:
    for name, data in {**many("a.png"), "words.jsonl": lines({"file_name": "a.png", **SIDE})}.items():
        (tmp_path / name).write_bytes(data)
    files = [(name, tmp_path / name) for name in ("a.png", "words.jsonl")]
    dataset = datasets.begin(home, "named", "ann")
    datasets.add(dataset, files, options=datasets.Options(caption_column="setting"))
    assert captions(dataset) == {"a.png": [SIDE["setting"]]}
    other = datasets.begin(home, "named", "ann")
    report = datasets.add(other, files, options=datasets.Options(caption_column="colour"))
    assert "no column" not in captions(other) and "'colour'" in report["headline"] and "setting" in report["headline"]


def test_a_json_beside_a_picture(bring: Bring) -> None:
    dataset, report = bring({
        **many("a.png", "b.png", "c.png"), "a.json": json.dumps({"tags": ["barn", "red"], "score": 1}).encode(),
        "b.json": json.dumps({"composition": {"subject": "x1", "where": "y1"}, "id": 4}).encode(),
        "c.json": json.dumps({"description": "a barn at night", "title": "Barn"}).encode()})
    assert captions(dataset) == {"a.png": ["barn, red"], "b.png": [""], "c.png": ["a barn at night"]}
    assert "composition.subject" in reasons(report)["b.json"] and "b.json" in report["headline"]


def test_folders_of_splits(bring: Bring) -> None:
    names = {"valid": "validation", "dev": "validation", "eval": "test", "testing": "test", "training": "train",
             "evaluation": "test", "val2017": "validation"}
    dataset, report = bring({f"{name}/{n}.png": saved(picture((n, 9, 9))) for n, name in enumerate(names)})
    assert {row["name"].split("/")[0]: row["split"] for row in dataset.rows()} == names
    assert any("held out for validation" in note for note in report["notes"])


def test_a_folder_that_may_be_a_split_is_told(bring: Bring) -> None:
    dataset, report = bring(many("train/a.png", "my test pictures/b.png", "10_val/c.png"))
    assert {row["split"] for row in dataset.rows()} == {"train"}
    assert any("my test pictures" in note for note in report["notes"])


def test_pictures_beside_pictures(bring: Bring) -> None:
    names = ("a.png", "a-masklabel.png", "b.png", "b-condlabel.png", "c.png", "c_mask.png", "masks/b.png", "mask.png")
    dataset, report = bring(many(*names))
    assert {row["name"] for row in dataset.rows()} == {"a.png", "b.png", "c.png", "mask.png"}
    assert all("mask" in reason for reason in reasons(report).values()) and len(report["skipped"]) == 4


ENCODED = {"gbk": "一只红色的狐狸站在雪地里", "cp932": "森の中に立っている赤い狐と白い雪",
           "cp949": "눈 속에 서 있는 붉은 여우와 숲", "cp1251": "рыжая лиса стоит на снегу в лесу",
           "big5": "一隻紅色的狐狸站在雪地裡", "utf-16-le": "雪の中の赤い狐 – a fox",
           "utf-16-be": "雪の中の赤い狐", "cp1252": "un café noir – très tôt", "koi8-r": "рыжая лиса стоит на снегу"}


@pytest.mark.parametrize("name", [
    "a_openpose_full", "a_dwpose", "a-original", "poses/a", "depth_maps/a", "SegmentationClass/a"])
def test_pictures_that_may_lie_beside_a_picture_are_told(bring: Bring, name: str) -> None:
    dataset, report = bring(many("a.png" if "/" not in name else "img/a.png", f"{name}.png"))
    assert len(dataset.rows()) == 2 and any(f"{name}.png beside" in note for note in report["notes"])


@pytest.mark.parametrize("folder", ["holdout", "held_out", "testset", "unseen", "検証"])
def test_other_names_for_what_is_held_out_are_told(bring: Bring, folder: str) -> None:
    _, report = bring(many("train/a.png", f"{folder}/b.png"))
    assert any(f"folder {folder!r} trained on" in note for note in report["notes"])


def test_a_split_of_a_table_that_is_none_is_told(bring: Bring) -> None:
    dataset, report = bring({**many("a.png", "b.png"), "metadata.jsonl": lines(
        {"file_name": "a.png", "text": A, "split": "dev"}, {"file_name": "b.png", "text": B, "split": "mine"})})
    assert {row["name"]: row["split"] for row in dataset.rows()} == {"a.png": "validation", "b.png": "train"}
    assert any(note.startswith("1 x split in a table that is none") for note in report["notes"])


@pytest.mark.parametrize("codec", ENCODED)
def test_encodings_that_people_have(bring: Bring, codec: str) -> None:
    dataset, report = bring({**many("a.png"), "a.txt": ENCODED[codec].encode(codec)})
    assert captions(dataset) == {"a.png": [ENCODED[codec]]}
    (told,) = report["encodings"]
    assert told["file"] == "a.txt" and told["sample"] == ENCODED[codec] and told["files"] == 1
    assert report["converted"] == 1


def test_words_are_read_again_as_another_encoding(bring: Bring) -> None:
    short = "赤".encode("cp932")
    dataset, report = bring({**many("a.png"), "a.txt": short})
    (told,) = report["encodings"]
    assert not told["sure"] and any(other["encoding"] for other in told["others"])
    datasets.read_again(dataset, datasets.Options(encoding="Shift-JIS"))
    assert captions(dataset) == {"a.png": ["赤"]}
    with pytest.raises(datasets.InvalidOptions, match="Shift-JIS"):
        datasets.Options(encoding="klingon")


def test_parquet_with_pictures_as_text_and_in_lists(bring: Bring, tmp_path: Path) -> None:
    data = saved(picture((1, 2, 3)))
    address = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    columns = {"address": pyarrow.array([address]), "bare": pyarrow.array([base64.b64encode(data).decode()]),
               "list": pyarrow.array([[{"bytes": data, "path": "x.png"}]])}
    files: Files = {}
    for name, column in columns.items():
        pyarrow.parquet.write_table(pyarrow.table({"image": column, "text": pyarrow.array([f"from {name}"])}),
                                    tmp_path / f"{name}.parquet")
        files[f"{name}.parquet"] = tmp_path / f"{name}.parquet"
    dataset, report = bring(files)
    assert sorted(text for row in dataset.rows() for text in row["captions"]) == [
        "from address", "from bare", "from list"], report


def test_pictures_of_a_phone_and_files_that_are_none(bring: Bring) -> None:
    dataset, report = bring({
        "photo.heic": HEIC, "x.docx": b"PK\3\4" + bytes(200), "y.png": b"plain words" * 40,
        "z.jxl": b"\xff\x0a" + bytes(99),
        "w.jpg": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99),
        "v.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "good.png": saved(picture())})
    assert {row["name"]: (row["width"], row["height"]) for row in dataset.rows()} == {
        "photo.heic": (96, 80), "good.png": (96, 80)}
    why = reasons(report)
    assert "not a picture" in why["x.docx"] and "HEIF" not in why["x.docx"]
    assert "not a picture" in why["y.png"] and "git lfs pull" in why["v.png"]
    assert all("JPEG XL" in why[name] and "convert it to PNG" in why[name] for name in ("z.jxl", "w.jpg"))


# ------------------------------------------------------------------------------------------------- any mixture of words

PLACES = ("txt", "caption", "json", "row", "folder", "odd json", "none")
FILE_NAMES = st.sampled_from(["{n}", "pic {n}", "füchse/{n}", "train/{n}", "10_dog/{n}", "Ünï-{n}", "画像{n}",
                              "x.y.{n}"])
COLUMNS = st.sampled_from(["text", "caption", "description", "blurb", "tags", "Prompt", "en_text"])
KINDS = st.sampled_from(["jsonl", "csv", "tsv", "semicolons", "json", "map", "parquet"])
WORDS = {"utf-8": "ein Fuchs im Wald", "utf-8-sig": "un renard très roux", "utf-16": "a fox — in snow",
         "gbk": "红色的狐狸站在雪地里",
         "cp932": "森の中に立っている赤い狐", "cp1251": "рыжая лиса стоит на снегу", "cp1252": "café noir près du pré"}


@st.composite
def mixtures(draw: st.DrawFn) -> tuple[dict[str, bytes], dict[str, str]]:
    """Files, and the words in them: {word: the file it is in}."""
    files: dict[str, bytes] = {}
    words: dict[str, str] = {}
    rows: list[tuple[str, str]] = []
    codec = draw(st.sampled_from(sorted(WORDS)))
    column, kind, name = draw(COLUMNS), draw(KINDS), draw(st.sampled_from(["metadata", "captions", "list", "data/all"]))
    for n in range(draw(st.integers(1, 4))):
        stem = draw(FILE_NAMES).format(n=n)
        files[f"{stem}.png"] = saved(picture((n * 9, 40, 90)))
        place = draw(st.sampled_from(PLACES))
        text = f"{WORDS[codec]} number{n}x"
        if place == "row":
            rows.append((f"{stem}.png", text))
            continue
        target = f"captions/{stem}.txt" if place == "folder" else f"{stem}.{place.split()[-1]}"
        if place != "none":
            files[target] = (json.dumps({"caption" if place == "json" else "zzz": text}).encode() if "json" in place
                             else text.encode(codec))
            words[f"number{n}x"] = target
    if rows:
        file, data = listed(kind, name, column, rows, codec)
        files[file] = data
        words |= {f"number{row[0].rsplit('.', 1)[0].rstrip('/')[-1]}x": file for row in rows}
    return files, words


def listed(kind: str, name: str, column: str, rows: list[tuple[str, str]], codec: str) -> tuple[str, bytes]:
    """A table of these rows: its name and content."""
    up = "../" if "/" in name else ""
    rows = [(f"{up}{file}", text) for file, text in rows]
    if kind == "parquet":
        out = pyarrow.BufferOutputStream()
        columns = {"file_name": [file for file, _ in rows], column: [text for _, text in rows]}
        pyarrow.parquet.write_table(pyarrow.table(columns), out)
        return f"{name}.parquet", out.getvalue().to_pybytes()
    if kind in ("jsonl", "json", "map"):
        objects: Any = [{"file_name": file, column: text} for file, text in rows]
        if kind == "jsonl":
            return f"{name}.jsonl", lines(*objects)
        return f"{name}.json", json.dumps(dict(rows) if kind == "map" else objects).encode()
    delimiter = {"csv": ",", "tsv": "\t", "semicolons": ";"}[kind]
    text = cells(("file_name", column), *rows, delimiter=delimiter).decode()
    try:
        data = text.encode(codec)
    except UnicodeEncodeError:  # names that no program of that encoding could have written
        data = text.encode()
    return f"{name}.{'tsv' if kind == 'tsv' else 'csv'}", data


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mixture=mixtures())
def test_every_word_arrives_or_its_file_is_named(mixture: tuple[dict[str, bytes], dict[str, str]]) -> None:
    files, words = mixture
    with tempfile.TemporaryDirectory() as temporary:
        home, sent = Path(temporary) / "home", []
        for number, (name, data) in enumerate(files.items()):
            path = Path(temporary) / f"{number}"
            path.write_bytes(data)
            sent.append((name, path))
        home.mkdir()
        dataset = datasets.begin(home, "mixture", "ann")
        report = datasets.add(dataset, sent)
        assert report["seen"] == report["used"] + report["converted"] + len(report["skipped"]) == len(files)
        held = "\n".join(text for row in dataset.rows() for text in row["captions"])
        told = json.dumps({key: value for key, value in report.items() if key != "read_as"}, ensure_ascii=False)
        for word, file in words.items():
            assert word in held or file in told, (word, file, held, report)
