"""Zips and layouts: what belongs together is found, the hostile is refused, nothing is written outside the store."""

from __future__ import annotations

import json
import os
import socket
import stat
import struct
import time
import zipfile
from pathlib import Path

import pytest

from .bad import picture, saved, zipped
from .conftest import Bring

GOOD = saved(picture())


def captions(dataset, **where) -> dict[str, list[str]]:
    rows = [row for row in dataset.rows() if all(row.get(k) == v for k, v in where.items())]
    return {row["name"]: row["captions"] for row in rows}


def reasons(report) -> dict[str, str]:
    return {line["file"]: line["reason"] for line in report["skipped"]}


def many(*names: str) -> dict[str, bytes]:
    return {name: saved(picture((number, 50, 50))) for number, name in enumerate(names)}


def test_texts_beside_pictures_and_folders_of_kohya_and_splits(bring: Bring, tmp_path: Path) -> None:
    files = {**many("set/10_dog/a.png", "set/train/b.png", "set/val/c.png", "set/test/d.png", "set/e.png"),
             "set/10_dog/a.txt": b"a dog", "set/train/b.png.txt": b"b", "set/other/e.txt": b"not e's"}
    dataset, report = bring({"set.zip": zipped(tmp_path / "a.zip", files)})
    assert captions(dataset) == {"set/10_dog/a.png": ["a dog"], "set/train/b.png": ["b"], "set/val/c.png": [""],
                                 "set/test/d.png": [""], "set/e.png": [""]}
    assert [row.get("repeats") for row in dataset.rows()] == [10, None, None, None, None]
    assert [row["split"] for row in dataset.rows()] == ["train", "train", "validation", "test", "train"]
    assert list(reasons(report)) == ["set/other/e.txt"] and report["used"] == 7


def test_metadata_jsonl_costs_only_its_bad_lines(bring: Bring, tmp_path: Path) -> None:
    lines = [{"file_name": "a.png", "text": "one"}, {"text": "no name"}, {"file_name": "gone.png", "text": "x"},
             {"file_name": "../../etc/passwd", "text": "x"}, {"file_name": "http://x/y.png", "text": "x"},
             {"file_name": "file:///etc/a.png", "text": "x"},
             {"file_name": "/a.png", "text": "x"}, {"file_name": "b.png", "text": ["two", "three"]},
             {"file_name": "a.png", "text": "again"}, {"file_name": "b.png", "text": 7}]
    data = b"\n".join(json.dumps(line).encode() for line in lines) + b"\n{broken\n"
    data += json.dumps({"file_name": "c.png", "text": "café"}, ensure_ascii=False).encode("latin-1")
    files = {**many("x/a.png", "x/b.png", "x/c.png", "x/d.png"), "x/a.txt": b"shadowed", "x/metadata.jsonl": data}
    dataset, report = bring({"x.zip": zipped(tmp_path / "a.zip", files)})
    assert captions(dataset) == {"x/a.png": ["one", "again"], "x/b.png": ["two", "three"], "x/c.png": ["café"],
                                 "x/d.png": [""]}
    told = "\n".join(report["notes"])
    for number in (2, 3, 4, 5, 6, 7, 10, 11):
        assert f"line {number} " in told
    assert list(reasons(report)) == ["x/a.txt"]


@pytest.mark.parametrize("text", [b'file_name,text\na.png,"one, ""two""\nthree"\n',
                                  b'\xef\xbb\xbffile_name;text\na.png;"one, ""two"" three"\n',
                                  b'file_name\ttext\na.png\tone, "two" three\n'])
def test_metadata_csv(bring: Bring, text: bytes) -> None:
    dataset, _ = bring({"a.png": GOOD, "metadata.csv": text})
    assert captions(dataset) == {"a.png": ['one, "two" three']}


def test_jsonl_wins_over_csv_and_a_loose_file_speaks_of_a_zip(bring: Bring, tmp_path: Path) -> None:
    loose = json.dumps({"image": "a.png", "text": "from json"}).encode()
    dataset, report = bring({"p.zip": zipped(tmp_path / "a.zip", many("a.png")), "metadata.jsonl": loose,
                             "metadata.csv": b"file_name,text\na.png,from csv"})
    assert captions(dataset) == {"a.png": ["from json"]}
    assert "metadata.jsonl" in reasons(report)["metadata.csv"]


def test_a_folder_of_tests_alone_is_for_training(bring: Bring) -> None:
    dataset, report = bring(dict(many("test/a.png", "test/b.png")))
    assert {row["split"] for row in dataset.rows()} == {"train"}
    assert any("taken for training" in note for note in report["notes"])


def test_hostile_entries_cost_only_themselves(bring: Bring, tmp_path: Path, home: Path) -> None:
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    inner = zipped(tmp_path / "inner.zip", many("x.png")).read_bytes()
    listed = [("../../evil.png", GOOD), ("/abs.png", GOOD), ("C:\\x.png", GOOD), (link, b"/etc/passwd"),
              ("nested.zip", inner), ("__MACOSX/._a.png", b"\0"), ("good.png", GOOD)]
    dataset, report = bring({"mixed.zip": zipped(tmp_path / "mixed.zip", listed)})
    assert captions(dataset) == {"good.png": [""]}
    found = reasons(report)
    assert "outside" in found["../../evil.png"] and "outside" in found["/abs.png"] and "outside" in found["C:/x.png"]
    assert "link" in found["link.png"] and "zip inside" in found["nested.zip"] and "system" in found["__MACOSX/._a.png"]
    assert not [p for p in tmp_path.rglob("*") if p.name in ("evil.png", "abs.png", "link.png")]


def test_names_without_the_utf8_mark(bring: Bring, tmp_path: Path) -> None:
    data = zipped(tmp_path / "a.zip", {"caf?.png": GOOD, "b?????.png": saved(picture((1, 1, 1)))}).read_bytes()
    data = data.replace(b"caf?", "caf\u00e9".encode("cp437")).replace(b"b?????", "b\u732bx".encode() + b"y")
    dataset, _ = bring({"a.zip": data})
    assert set(captions(dataset)) == {"café.png", "b猫xy.png"}


def encrypted(data: bytes) -> bytes:
    """The same zip with the encryption bit on every entry."""
    out = bytearray(data)
    for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        place = -1
        while (place := out.find(mark, place + 1)) >= 0:
            out[place + at] |= 1
    return bytes(out)


def lying(entries: int) -> bytes:
    """An end record that lists that many entries."""
    return b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, entries * 46 & 0xFFFFFFFF, 0, 0)


REFUSED = {
    "password": ("password", lambda p: encrypted(zipped(p, many("a.png")).read_bytes())),
    "truncated": ("incomplete", lambda p: zipped(p, many("a.png", "b.png")).read_bytes()[:300]),
    "empty": ("empty", lambda p: zipped(p, {}).read_bytes()),
    "no zip": ("not a zip", lambda p: b"hello"),
    "only texts": ("no pictures", lambda p: zipped(p, {"a.txt": b"x", "b.csv": b"y"}).read_bytes()),
    "only broken": ("None of the 2 files", lambda p: zipped(p, {"a.png": b"x", "b.png": b"y"}).read_bytes()),
    "directory": ("at most 100,000", lambda p: lying(10_000_000) + b""),
    "bomb": ("zip bomb", lambda p: zipped(p, {"a.png": bytes(200 << 20)}).read_bytes()),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_in_one_sentence_and_open_for_another_try(bring: Bring, tmp_path: Path, kind: str) -> None:
    words, make = REFUSED[kind]
    began = time.monotonic()
    dataset, report = bring({"pictures.zip": make(tmp_path / "made.zip")})
    assert dataset.state == "failed" and dataset.count == 0
    assert words in report["error"] and "\n" not in report["error"]
    again, report = bring({"a.png": GOOD}, dataset)
    assert again.state == "ready" and again.count == 1 and report["error"] is None
    assert time.monotonic() - began < 60


def test_an_entry_that_lies_about_its_size_costs_itself(bring: Bring, tmp_path: Path) -> None:
    """The real bytes are counted: 300 MB behind a declared 1,000."""
    data = bytearray(zipped(tmp_path / "a.zip", {"a.png": bytes(300 << 20), "b.png": GOOD}).read_bytes())
    size = struct.pack("<I", 300 << 20)
    while (at := data.find(size)) >= 0:
        data[at : at + 4] = struct.pack("<I", 1000)
    dataset, report = bring({"a.zip": bytes(data)})
    assert captions(dataset) == {"b.png": [""]} and list(reasons(report)) == ["a.png"]


def test_a_zip_for_large_archives_is_a_zip(bring: Bring, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "large.zip", "w") as out, out.open("a.png", "w", force_zip64=True) as file:
        file.write(GOOD)
    dataset, report = bring({"large.zip": tmp_path / "large.zip"})
    assert dataset.count == report["used"] == 1


def test_a_set_of_one_picture_is_taken_with_a_word_of_warning(bring: Bring) -> None:
    dataset, report = bring({"a.png": GOOD, "a.txt": b"a cat"})
    assert dataset.state == "ready" and any("only picture" in note for note in report["notes"])
    _, report = bring({"b.png": saved(picture((1, 1, 1)))}, dataset)
    assert not any("only picture" in note for note in report["notes"])


def test_only_regular_files_of_this_machine_are_opened(bring: Bring, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/etc/passwd")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        odd = {f"{name}.png": tmp_path / name for name in ("pipe", "link", "socket", "folder", "gone")}
        (tmp_path / "folder").mkdir()
        _, report = bring({"good.png": GOOD, "zero.png": Path("/dev/zero"), **odd})
    found = reasons(report)
    assert report["used"] == 1 and "cannot be read" in found.pop("gone.png")
    assert found == dict.fromkeys(("zero.png", "pipe.png", "link.png", "socket.png", "folder.png"),
                                  "not a regular file")


def test_nothing_chosen(bring: Bring) -> None:
    dataset, report = bring({})
    assert dataset.state == "failed" and report["error"].startswith("No pictures")


def test_names_and_captions_without_end(bring: Bring, tmp_path: Path) -> None:
    """A folder whose count never ends, a name of 60,000 letters, a million captions of one picture."""
    lines = [json.dumps({"file_name": "b.png", "captions": [f"caption {n}" for n in range(100_000)]})]
    with zipfile.ZipFile(tmp_path / "long.zip", "w") as made:
        made.writestr("9" * 6000 + "_dog/a.png", saved(picture((1, 2, 3))))
        made.writestr("x" * 60_000 + ".png", saved(picture((4, 5, 6))))
        made.writestr("b.png", saved(picture((7, 8, 9))))
        made.writestr("metadata.jsonl", "\n".join(lines))
    dataset, report = bring({"long.zip": tmp_path / "long.zip"})
    assert dataset.count == 3 and report["error"] is None, report
    rows = dataset.rows()
    assert max(len(row["name"]) for row in rows) <= 501 and not any("repeats" in row for row in rows)
    assert len(rows[-1]["captions"]) == 100 and any("beyond the first 100" in note for note in report["notes"])


def test_more_text_than_is_kept_is_refused_as_a_whole(bring: Bring) -> None:
    words = "w" * 9900
    lines = [json.dumps({"file_name": f"{n}.png", "captions": [f"{k} {words}" for k in range(90)]}) for n in range(40)]
    files = {f"{n}.png": saved(picture((n, 80, 80))) for n in range(40)}
    dataset, report = bring({**files, "metadata.jsonl": "\n".join(lines).encode()})
    assert dataset.count == 0 and "32 million characters" in report["error"]
