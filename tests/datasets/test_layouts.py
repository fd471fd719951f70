"""Public layouts as they are: tars, JSON beside a picture, parquet, names as captions, absolute paths, batches."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import threading
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from studio import datasets
from studio.web.http import translation

from .bad import picture, saved
from .conftest import Bring
from .test_archives import captions, many, reasons
from .test_import_process import noise, wait_for


def tar(path: Path, files: dict[str, bytes], odd: dict[str, bytes] | None = None) -> Path:
    """A tar of files, a link, and other entries of kinds that are no files."""
    with tarfile.open(path, "w") as out:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
        for name, kind in {"link.png": tarfile.SYMTYPE, **(odd or {})}.items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "/etc/passwd"
            out.addfile(link)
    return path


def test_webdataset(bring: Bring, tmp_path: Path) -> None:
    files = many("0.png", "1.png", "2.seg.png", "../3.png")
    sides = {"0.txt": b"zero", "1.json": b'{"caption": ["one", "uno"]}', "2.txt": b"two", "x.json": b"{}"}
    odd = {"hard.png": tarfile.LNKTYPE, "device.png": tarfile.CHRTYPE, "pipe.png": tarfile.FIFOTYPE}
    shard = tar(tmp_path / "shard", {**files, **sides}, odd)
    dataset, report = bring({"shard-000.tar": shard, "bad.tar": b"no tar" * 200})
    assert captions(dataset) == {"0.png": ["zero"], "1.png": ["one", "uno"], "2.seg.png": ["two"]}
    found = reasons(report)
    assert set(found) == {"../3.png", "link.png", "x.json", "bad.tar", *odd}
    assert "outside" in found["../3.png"] and "not a tar" in found["bad.tar"]
    assert all("a link or device" in found[name] for name in ("link.png", *odd))


def test_parquet_of_names_and_of_pictures(bring: Bring, tmp_path: Path) -> None:
    names = pyarrow.table({"file_name": ["a.png", "b.png", "gone.png"], "text": ["one", "two", "three"]})
    held = pyarrow.table({"image": [{"bytes": saved(picture((9, 9, n))), "path": None} for n in (1, 2)]
                          + [{"bytes": b"broken", "path": "x.png"}], "caption": ["p", "q", "r"]})
    for table, name in ((names, "metadata"), (held, "held")):
        pyarrow.parquet.write_table(table, tmp_path / f"{name}.parquet")
    dataset, report = bring({**many("set/a.png", "set/b.png"), "set/metadata.parquet": tmp_path / "metadata.parquet",
                             "held.parquet": tmp_path / "held.parquet", "broken.parquet": b"PAR1 nothing"})
    assert captions(dataset) == {"set/a.png": ["one"], "set/b.png": ["two"], "held.parquet/train/000001": ["p"],
                                 "held.parquet/train/000002": ["q"]}
    assert set(reasons(report)) == {"held.parquet/train/000003-x.png", "broken.parquet"}
    assert any("gone.png" in note for note in report["notes"])


def test_names_as_captions_and_the_colour_under_transparency(home: Path, tmp_path: Path) -> None:
    clear = picture((0, 0, 0)).convert("RGBA")
    clear.putalpha(0)
    folder = tmp_path / "10_red barn"
    folder.mkdir()
    (folder / "a_small-boat (2).png").write_bytes(saved(clear))
    for wish, caption in (("file name", "a small-boat"), ("folder name", "red barn"), ("nothing", "")):
        dataset = datasets.begin(home, "names", "ann")
        datasets.add_folder(dataset, tmp_path, options=datasets.Options("#102030", wish))
        row = dataset.rows()[0]
        assert row["captions"] == [caption] and row["repeats"] == 10
        with datasets.picture_path(home, row).open("rb") as file:
            from PIL import Image

            assert Image.open(file).getpixel((5, 5)) == (0x10, 0x20, 0x30)
    with pytest.raises(datasets.InvalidOptions, match="#rrggbb"):
        datasets.Options("red")


def test_absolute_paths_only_inside_the_roots(home: Path, tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "a.png").write_bytes(saved(picture()))
    (inside / "link.png").symlink_to(outside / "a.png")
    paths = [inside / "a.png", outside / "a.png", inside / "link.png", inside / ".." / "out" / "a.png"]
    listed = tmp_path / "list.jsonl"
    listed.write_text("\n".join(json.dumps({"image": str(p), "text": str(n)}) for n, p in enumerate(paths)))
    dataset = datasets.begin(home, "paths", "ann")
    report = datasets.add(dataset, [("list.jsonl", listed)], options=datasets.Options(roots=(inside,)))
    assert [row["captions"] for row in dataset.rows()] == [["0"]] and report["seen"] == 2
    assert sum("outside" in note for note in report["notes"]) == 3


def test_batches_wait_for_commit_and_keep_their_paths(home: Path, tmp_path: Path) -> None:
    dataset = datasets.draft(home, "batches", "ann")
    assert dataset.state == "receiving" and dataset.count == 0
    for batch in (many("f/a.png", "f/b.png"), {"f/a.txt": b"first", "f/b.png.txt": b"second"}):
        files = []
        for name, data in batch.items():
            (tmp_path / "sent").mkdir(exist_ok=True)
            path = tmp_path / "sent" / str(len(list((tmp_path / "sent").iterdir())))
            path.write_bytes(data)
            files.append((name, path))
        waiting = dataset.receive(files)
    assert waiting == 4
    datasets.commit(dataset)
    assert captions(dataset) == {"f/a.png": ["first"], "f/b.png": ["second"]} and dataset.state == "ready"
    assert not dataset.incoming.exists()
    with pytest.raises(datasets.InvalidOptions):
        datasets.commit(dataset)


def test_cancelled_keeps_nothing(bring: Bring, home: Path) -> None:
    dataset = datasets.begin(home, "cancelled", "ann")

    def cancel_it() -> None:
        wait_for(lambda: dataset.report()["done"])
        assert dataset.cancel()

    thread = threading.Thread(target=cancel_it)
    thread.start()
    bring(noise(80), dataset)
    thread.join()
    assert dataset.state == "failed" and "cancelled" in dataset.report()["error"]
    assert dataset.count == 0 and not dataset.cancel() and not (dataset.path / "cancel").exists()


def test_the_report_file_by_file(bring: Bring) -> None:
    dataset, report = bring({"=a.png": saved(picture()), "b.png": b"x", "c.png": saved(picture().convert("L"))})
    rows = list(csv.reader(io.StringIO((dataset.path / "report.csv").read_text("utf-8-sig"))))
    assert [row[:2] for row in rows[1:]] == [["'=a.png", "used"], ["b.png", "skipped"], ["c.png", "converted"]]
    assert "not a picture" in rows[2][2] and "grey" in rows[3][2]


def test_rows_that_are_left_out_and_tables_of_no_use_are_told_in_the_readers_language(bring: Bring) -> None:
    rows = [{"text": "none"}, {"file_name": "a.png", "text": "one"}, {"file_name": "x/a.png", "text": "two"}]
    lines = "\n".join(map(json.dumps, rows)).encode()
    _, report = bring({**many("a.png"), "list.jsonl": lines, "empty.jsonl": b"{}"})
    english = ["list.jsonl line 1 has no file_name: left out",
               "list.jsonl line 3 names 'x/a.png', which is not among the pictures: left out"]
    assert english == [note for note in report["notes"] if note in english]
    notes = translation.told(report, "ja")["notes"]
    assert any("file_name がありません" in note for note in notes)
    assert any("'x/a.png' は取り込む画像の中にありません" in note for note in notes)
    why = {line["file"]: line["reason"] for line in translation.told(report, "ja")["skipped"]}
    assert "なし" in why["empty.jsonl"]
