"""The store: captions with undo on disk, ids, search, freezing, the shipped set and its copy."""

from __future__ import annotations

import io
import json
import os
import struct
import time
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from studio import datasets, storage
from studio.datasets import sample

from .bad import exif, picture, saved, srgb_profile
from .conftest import Bring


@pytest.fixture
def three(bring: Bring) -> datasets.Dataset:
    files = {f"{n}.png": saved(picture((n * 40, 10, 10), (300 + n, 200))) for n in range(3)}
    return bring({**files, "0.txt": b"a red Cat", "1.txt": b"a dog"})[0]


def log(dataset: datasets.Dataset) -> list[dict]:
    return [json.loads(line) for line in (dataset.path / "rows.jsonl").read_text().splitlines()]


def test_captions_are_edited_and_undone_by_appending(three: datasets.Dataset) -> None:
    pid = three.rows()[1]["pid"]
    before, mark = len(log(three)), three.fingerprint()
    three.set_captions(pid, ["a big\ndog\0", "another"])
    fresh = datasets.find(three.home, three.id)
    assert fresh.row(pid)["captions"] == ["a big dog", "another"] and fresh.fingerprint() != mark
    three.remove(three.rows()[0]["pid"])
    assert fresh.count == 2 and fresh.can_undo
    assert three.undo() and three.undo() and not three.undo()
    assert fresh.row(pid)["captions"] == ["a dog"] and fresh.count == 3 and fresh.fingerprint() == mark
    assert [entry["op"] for entry in log(three)[before:]] == ["edit", "edit", "undo", "undo"]
    assert [row["name"] for row in fresh.rows()] == ["0.png", "1.png", "2.png"]


def test_a_torn_line_harms_nothing(three: datasets.Dataset) -> None:
    with open(three.path / "rows.jsonl", "a") as file:
        file.write('{"op": "capt')
    three.set_captions(three.rows()[2]["pid"], ["after"])
    assert [row["captions"] for row in three.rows()] == [["a red Cat"], ["a dog"], ["after"]]


def test_pages_and_search(three: datasets.Dataset) -> None:
    assert [row["name"] for row in three.rows(1, 1)] == ["1.png"]
    assert three.total() == 3 and three.total("CAT") == 1 and three.rows(q="cat")[0]["captions"] == ["a red Cat"]
    assert three.rows(0, 5, "zebra") == []


def test_freeze_gives_the_rows_of_a_run_and_their_pictures(three: datasets.Dataset) -> None:
    rows = three.freeze()
    assert [set(row) for row in rows] == [{"image", "ext", "width", "height", "captions", "split", "name"}] * 3
    for row in rows:
        path = datasets.picture_path(three.home, row)
        assert storage.sha256_file(path) == row["image"] == path.stem
    datasets.picture_path(three.home, rows[0]).unlink()
    with pytest.raises(storage.Corrupt, match="0.png"):
        three.freeze()


def test_thumbnails_are_there_and_come_back(three: datasets.Dataset) -> None:
    pid = three.rows()[0]["pid"]
    path = three.thumbnail(pid)
    assert path.is_file() and path != three.picture(pid)
    path.unlink()
    assert three.thumbnail(pid).read_bytes()[8:12] == b"WEBP"


def test_rename_delete_and_unknown_ids(three: datasets.Dataset, home: Path) -> None:
    three.rename("  new\nname ")
    assert datasets.find(home, three.id).name == "new name" and three.owner == "ann"
    rows = three.freeze()
    three.delete()
    assert three.id not in [d.id for d in datasets.every(home)]
    for wrong in (three.id, "../runs", "0" * 32, "sample/.."):
        with pytest.raises(datasets.NotFound):
            datasets.find(home, wrong)
    assert all(datasets.picture_path(home, row).is_file() for row in rows) and list((home / "trash").iterdir())


def test_the_shipped_set(home: Path, bring: Bring) -> None:
    shipped = datasets.find(home, "sample")
    assert shipped.read_only and shipped.state == "ready" and shipped.owner == ""
    assert shipped.count == len((sample.FOLDER / "metadata.jsonl").read_text().splitlines()) > 100
    assert datasets.every(home)[0].id == "sample" and shipped.report()["used"] == shipped.count
    prompts = shipped.suggested_prompts()
    assert len(set(prompts)) == 4 and all(prompts)
    with pytest.raises(datasets.ReadOnly, match="copy it"):
        shipped.set_captions(shipped.rows()[0]["pid"], ["mine"])
    with pytest.raises(datasets.ReadOnly):
        shipped.delete()
    rows = shipped.freeze()
    assert all(storage.sha256_file(datasets.picture_path(home, row)) == row["image"] for row in rows)
    imported, _ = bring({row["name"]: sample.FOLDER / row["name"] for row in rows[:5]})
    assert [row["image"] for row in imported.rows()] == [row["image"] for row in rows[:5]]


def test_a_copy_of_the_shipped_set_is_ones_own(home: Path) -> None:
    shipped = datasets.find(home, "sample")
    mine = shipped.copy("Mine", "ann")
    assert mine.state == "ready" and mine.owner == "ann" and mine.fingerprint() == shipped.fingerprint()
    mine.set_captions(mine.rows()[0]["pid"], ["changed"])
    assert mine.fingerprint() != shipped.fingerprint() and mine.rows()[0]["captions"] == ["changed"]


def test_edits_of_a_log_written_before_bulk_edits_still_count(three: datasets.Dataset) -> None:
    first, second, third = (row["pid"] for row in three.rows())
    with open(three.path / "rows.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps({"op": "captions", "pid": first, "captions": ["old"]}) + "\n")
        file.write(json.dumps({"op": "remove", "pid": second}) + "\n")
    assert [row["captions"] for row in three.rows()][0] == ["old"] and three.count == 2
    assert three.edit({first: {"captions": ["new"]}, third: None, "0" * 64: None}, "both") == 2
    assert three.last_edit == "both" and three.count == 1
    assert three.undo() and three.count == 2 and three.undo() and three.undo() and not three.can_undo


def test_a_crop_lies_in_the_picture_and_changes_what_is_trained_on(three: datasets.Dataset) -> None:
    row, mark = three.rows()[0], three.fingerprint()
    for crop in ([1, 0, row["width"]], [0, -1, 32], [0, 0, 8]):
        with pytest.raises(ValueError, match="must lie in"):
            three.set_crop(row["pid"], crop)
    assert three.set_crop(row["pid"], [2, 3, 32])["crop"] == [2, 3, 32] and three.freeze()[0]["crop"] == [2, 3, 32]
    assert three.fingerprint() != mark
    assert "crop" not in three.set_crop(row["pid"], None) and three.fingerprint() == mark


def stored(dataset: datasets.Dataset, name: str) -> tuple[bytes, Image.Image]:
    row = next(row for row in dataset.rows() if row["name"] == name)
    data = datasets.picture_path(dataset.home, row).read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "RGB" and not image.getexif() and "icc_profile" not in image.info
        return data, image.copy()


def test_what_is_clean_keeps_its_bytes_and_the_rest_loses_nothing_but_metadata(bring: Bring) -> None:
    noise = Image.frombytes("RGB", (90, 70), os.urandom(90 * 70 * 3))
    clean, turned = saved(noise, "JPEG", quality=88), saved(noise, "JPEG", quality=88, exif=exif(6))
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x>Ann Secret</x>"
    rich = clean[:2] + b"".join(b"\xff" + marker + struct.pack(">H", len(data) + 2) + data for marker, data in (
        (b"\xe1", xmp), (b"\xfe", b"Ann Secret"), (b"\xed", b"Photoshop 3.0\0Ann Secret"))) + clean[2:]
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "Ann Secret")
    text.add_itxt("Place", "Ann Secret", zip=True)
    files = {"clean.jpg": clean, "rich.jpg": rich, "film.jpg": clean + b"ftypmp42 Ann Secret", "turned.jpg": turned,
             "wide.jpg": saved(noise, "JPEG", quality=88, icc_profile=srgb_profile()),
             "flat.png": saved(noise, pnginfo=text), "flat.bmp": saved(noise, "BMP"), "flat.tiff": saved(noise, "TIFF"),
             "flat.webp": saved(noise, "WEBP", lossless=True)}
    dataset, report = bring(files)
    assert report["skipped"] == [] and dataset.count == len(files)
    with Image.open(io.BytesIO(clean)) as image:
        pixels = image.tobytes()
        upright = image.transpose(Image.Transpose.ROTATE_270).tobytes()
    assert stored(dataset, "clean.jpg")[0] == clean
    for name in ("rich.jpg", "film.jpg", "wide.jpg"):
        data, image = stored(dataset, name)
        assert data == clean and image.tobytes() == pixels, name
    data, image = stored(dataset, "turned.jpg")
    assert data[8:15] == b"WEBPVP8" and image.size == (70, 90) and image.tobytes() == upright
    for name in ("flat.png", "flat.bmp", "flat.tiff", "flat.webp"):
        data, image = stored(dataset, name)
        assert data[8:16] == b"WEBPVP8L" and image.tobytes() == noise.tobytes(), name
    assert not [path for path in dataset.home.rglob("*") if path.is_file() and b"Secret" in path.read_bytes()]


def test_pictures_are_shared_and_the_log_only_grows(three: datasets.Dataset, bring: Bring) -> None:
    files = {path: path.stat().st_mtime_ns for path in (three.home / "images").rglob("*") if path.is_file()}
    log_ = (three.path / "rows.jsonl").read_bytes()
    again, _ = bring({f"{n}.png": saved(picture((n * 40, 10, 10), (300 + n, 200))) for n in range(3)})
    assert [row["image"] for row in again.rows()] == [row["image"] for row in three.rows()]
    assert {path: path.stat().st_mtime_ns for path in files} == files == {
        path: path.stat().st_mtime_ns for path in (three.home / "images").rglob("*") if path.is_file()}
    pid = three.rows()[0]["pid"]
    for act in (lambda: three.set_captions(pid, ["new"]), lambda: three.set_crop(pid, [0, 0, 64]),
                lambda: three.remove(pid), three.undo, lambda: bring({"d.png": saved(picture((7, 7, 7)))}, three)):
        act()
        grown = (three.path / "rows.jsonl").read_bytes()
        assert grown.startswith(log_) and len(grown) > len(log_)
        log_ = grown


def test_batches_that_nobody_committed_are_swept(bring: Bring, home: Path, tmp_path: Path) -> None:
    def waiting(dataset: datasets.Dataset) -> datasets.Dataset:
        path = tmp_path / f"sent-{dataset.id}"
        path.write_bytes(saved(picture()))
        dataset.receive([("a.png", path)])
        return dataset

    forgotten, fresh = waiting(datasets.draft(home, "a", "ann")), waiting(datasets.draft(home, "b", "ann"))
    whole = waiting(bring({"a.png": saved(picture())})[0])
    empty, failed = datasets.draft(home, "c", "ann"), bring({"a.png": b"x"})[0]
    left = home / "datasets" / f"{storage.STAGING}{'0' * 32}"
    left.mkdir()
    day_ago = time.time() - 86400
    for path in (forgotten.incoming, whole.incoming, empty.incoming, left):
        os.utime(path, (day_ago - 60, day_ago - 60))
    assert datasets.sweep(home, day_ago) == 0, "they are too new to have been forgotten"
    for dataset in (forgotten, whole, empty, failed):
        storage.write_json(dataset.path / "dataset.json", {**dataset.record(), "created": day_ago - 60})
    with storage.Lock(forgotten.lock_file):
        assert datasets.sweep(home, day_ago) == 2, "one is being imported"
    assert datasets.sweep(home, day_ago) == 1 and datasets.sweep(home, day_ago) == 0
    assert {d.id for d in datasets.every(home)} == {"sample", fresh.id, whole.id, failed.id}
    assert not left.exists() and len(list((home / "trash").iterdir())) == 3
    assert fresh.batches() and whole.state == "ready" and whole.count == 1 and not whole.batches()
