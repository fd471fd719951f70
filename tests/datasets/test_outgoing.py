"""A data set taken away as a zip: read by datasets, imported again with the same rows, sent in any part."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import datasets as hub_datasets
import numpy as np
import pytest
from PIL import Image

from studio import datasets
from studio.datasets.exports import outgoing
from studio.storage import zips

from .bad import picture, saved
from .conftest import Bring

CUT = "naïve \"café\" — 猫, it's {curly} \\ back\u2028slash 🐈"
KEYS = ("image", "ext", "width", "height", "captions", "split", "name", "crop", "repeats")


@pytest.fixture
def rich(bring: Bring) -> datasets.Dataset:
    """A data set with all that an export has to carry: splits, several captions, a crop, repeats, copies, any name."""
    lines = [{"file_name": "猫/ünï.jpg", "captions": [CUT, "two"]}, {"file_name": "b c.png", "text": "2020-01-01"}]
    dataset, _ = bring({
        "train/猫/ünï.jpg": saved(picture((9, 120, 40)), "JPEG"), "train/b c.png": saved(picture((1, 2, 3), (90, 70))),
        "train/metadata.jsonl": "\n".join(json.dumps(line) for line in lines).encode(),
        "train/3_red/again.png": saved(picture((1, 2, 3), (90, 70))), "train/3_red/again.txt": b"again",
        "train/bare.webp": saved(picture((200, 2, 3)), "WEBP", lossless=True),
        "validation/v.png": saved(picture((50, 60, 70))), "validation/v.txt": b"held out",
        "test/t.png": saved(picture((70, 60, 50))), "test/t.txt": "größe".encode()})
    assert dataset.count == 6
    pid = next(row["pid"] for row in dataset.rows() if row["name"].endswith("b c.png"))
    dataset.set_crop(pid, [3, 2, 64])
    return dataset


def taken(dataset: datasets.Dataset, folder: Path) -> Path:
    """Its zip, by the shell."""
    target = folder / "taken.zip"
    done = subprocess.run([sys.executable, "-m", "studio.datasets", "export", dataset.id, str(target)],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and f"{dataset.count} pictures" in done.stdout, done.stderr
    return target


def unpacked(archive: Path) -> Path:
    with zipfile.ZipFile(archive) as file:
        assert file.testzip() is None
        file.extractall(archive.with_suffix(""))
    return archive.with_suffix("")


def rows(dataset: datasets.Dataset) -> list[dict[str, Any]]:
    return [{key: row.get(key) for key in KEYS} for row in dataset.rows()]


def test_datasets_reads_it(rich: datasets.Dataset, tmp_path: Path) -> None:
    folder = unpacked(taken(rich, tmp_path))
    read: Any = hub_datasets.load_dataset("imagefolder", data_dir=str(folder), cache_dir=str(tmp_path / "cache"))
    assert set(read) == {"train", "validation", "test"}
    for split, found in read.items():
        wanted = [row for row in rich.rows() if row["split"] == split]
        assert len(found) == len(wanted) > 0
        for got, row in zip(found, wanted, strict=True):
            with Image.open(rich.picture(row["pid"])) as stored:
                assert (np.asarray(got["image"]) == np.asarray(stored)).all()
            assert got["text"] == row["captions"][0] and isinstance(got["text"], str)
            assert got["captions"] == row["captions"] and got["original_name"] == row["name"]
            assert got["crop"] == row.get("crop", [0, 0, 0]) and got["repeats"] == row.get("repeats", 1)
    assert any("猫" in text for text in read["train"]["text"]) and "" in read["train"]["text"]
    assert "pretty_name: pictures" in (folder / "README.md").read_text()


def test_columns_that_say_nothing_are_left_out(bring: Bring, tmp_path: Path) -> None:
    dataset, _ = bring({"a.png": saved(picture()), "a.txt": b"one", "b.png": saved(picture((1, 1, 1)))})
    folder = unpacked(taken(dataset, tmp_path))
    read: Any = hub_datasets.load_dataset("imagefolder", data_dir=str(folder), cache_dir=str(tmp_path / "cache"))
    assert set(read) == {"train"} and read["train"].column_names == ["image", "text", "original_name"]
    assert read["train"]["text"] == ["one", ""] and len(list(folder.rglob("*"))) == 5


def test_an_import_gives_the_same_rows(rich: datasets.Dataset, bring: Bring, tmp_path: Path) -> None:
    archive = taken(rich, tmp_path)
    again, report = bring({"taken.zip": archive})
    assert rows(again) == rows(rich) and again.fingerprint() == rich.fingerprint(), report
    assert [row["pid"] for row in again.rows()] == [row["pid"] for row in rich.rows()]
    assert [line["file"] for line in report["skipped"]] == ["README.md"]
    folder = unpacked(archive)
    loose, _ = bring({path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))
                      if path.is_file()})
    assert loose.fingerprint() == rich.fingerprint()


def test_the_shipped_set_comes_back(home: Path, bring: Bring, tmp_path: Path) -> None:
    shipped = datasets.find(home, "sample")
    again, report = bring({"sample.zip": taken(shipped, tmp_path)})
    assert again.fingerprint() == shipped.fingerprint() and report["converted"] == 0


def test_it_is_read_in_any_part_and_after_the_data_set_is_gone(rich: datasets.Dataset) -> None:
    with outgoing.pack(rich) as packed:
        whole = b"".join(packed.read(0, packed.size))
    with outgoing.pack(rich) as packed:
        assert packed.size == len(whole) and packed.filename == "pictures.zip"
        rich.delete()
        for start in reversed(range(0, packed.size, 777)):  # its end first
            assert b"".join(packed.read(start, start + 777)) == whole[start : start + 777]
    with pytest.raises(datasets.NotFound):
        outgoing.pack(rich)


def test_the_tag_follows_what_is_in_it(rich: datasets.Dataset) -> None:
    def tag() -> str:
        with outgoing.pack(rich) as packed:
            return packed.etag

    before = tag()
    assert tag() == before
    rich.set_captions(rich.rows()[0]["pid"], ["other"])
    assert tag() != before
    rich.undo()
    assert tag() == before


def test_what_cannot_be_taken_away(home: Path, rich: datasets.Dataset, tmp_path: Path) -> None:
    def shell(*args: str) -> str:
        done = subprocess.run([sys.executable, "-m", "studio.datasets", "export", *args], capture_output=True,
                              text=True, timeout=120)
        assert done.returncode == 2
        return done.stderr

    assert f"{rich.id} (pictures)" in shell("nothing", str(tmp_path / "x.zip"))
    assert "name a file in a folder" in shell(rich.id, str(tmp_path / "no" / "x.zip"))
    assert "no pictures" in shell(datasets.draft(home, "empty", "ann").id, str(tmp_path / "x.zip"))
    rich.picture(rich.rows()[0]["pid"]).unlink()
    assert "missing" in shell(rich.id, str(tmp_path / "x.zip"))
    assert not list(tmp_path.glob("*x.zip*"))


def test_crops_and_repeats_of_a_table_that_do_not_fit(bring: Bring) -> None:
    lines = [{"file_name": f"{n}.png", "text": "x", **more} for n, more in enumerate((
        {"crop": [0, 0, 64], "repeats": 2}, {"crop": [90, 0, 64]}, {"crop": [0, 0, 0]}, {"crop": "all", "repeats": 0},
        {"repeats": 1000, "original_name": 7}, {"original_name": "a\u202eb", "repeats": 1}))]
    files = {f"{n}.png": saved(picture((n, 9, 9), (100, 80))) for n in range(6)}
    dataset, report = bring({**files, "metadata.jsonl": "\n".join(map(json.dumps, lines)).encode()})
    found = {row["name"]: (row.get("crop"), row.get("repeats")) for row in dataset.rows()}
    assert found == {"0.png": ([0, 0, 64], 2), "1.png": (None, None), "2.png": (None, None), "3.png": (None, None),
                     "4.png": (None, None), "a\\u202eb": (None, None)}
    assert "1 x crop that does not lie in its picture, left out" in report["notes"]


def test_a_zip_of_many_is_laid_out_quickly_and_without_handles(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"12345")
    asked: list[str] = []

    def crc32(name: str) -> int:
        asked.append(name)
        return 0xCBF53A1C

    one = zips.ImmutableFile(tmp_path / "one", 5)
    contents: list[tuple[str, bytes | zips.Part]] = [(f"{n}.bin", one) for n in range(70_000)]
    spliced = zips.SplicedFile(zips.lazy_zip(contents, crc32))
    assert not asked and len(b"".join(spliced.read(0, 5000))) == 5000 and len(asked) < 200
    with open(tmp_path / "many.zip", "wb") as out:
        out.writelines(spliced.read(0, spliced.size))
    with zipfile.ZipFile(tmp_path / "many.zip") as file:
        assert len(file.namelist()) == 70_000 and hashlib.sha256(file.read("69999.bin")).hexdigest() == \
            hashlib.sha256(b"12345").hexdigest()
