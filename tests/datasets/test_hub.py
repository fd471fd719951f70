"""Data sets of a Hub: pushed, previewed, streamed, imported; private, gated, and those that are never read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from studio import datasets
from studio.config import Data
from studio.datasets.imports import hubsource
from studio.datasets.imports.hubsource import HubSource
from studio.datasets.options import InvalidOptions
from studio.datasets.tabular import columns

from ..fakes.hub import READER, STRANGER, WRITER, Hub
from .bad import picture, saved

PUSH = """
import datasets, io, os
from PIL import Image
rows = {"number": [0, 1, 2, 3], "photo": [Image.new("RGB", (90, 70), (n * 50, 9, 9)) for n in range(4)],
        "words": [["one", "uno"], ["two"], ["three"], []]}
whole = datasets.Dataset.from_dict(rows).cast_column("photo", datasets.Image())
sets = datasets.DatasetDict({"train": whole.select(range(3)), "validation": whole.select([3])})
sets.push_to_hub("writer/birds", private=True, token=os.environ["TOKEN"])
"""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub(uploads=tmp_path / "hub") as hub:
        for name in ("HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_XET"):
            monkeypatch.setenv(name, hub.environment(tmp_path)[name])
        yield hub


@pytest.fixture
def folder(tmp_path: Path, hub: Hub) -> Path:
    """A gated data set of plain files with captions beside them, a script and a link to elsewhere in its README."""
    folder = tmp_path / "plain"
    (folder / "train").mkdir(parents=True)
    lines = []
    for number in range(5):
        (folder / "train" / f"{number}.png").write_bytes(saved(picture((number, 80, 80))))
        lines.append(json.dumps({"file_name": f"{number}.png", "text": f"caption {number}"}))
    (folder / "train" / "4.png").write_bytes(b"broken")
    (folder / "train" / "metadata.jsonl").write_text("\n".join(lines))
    hub.add("datasets/ann/plain", folder, gated=True)
    return folder


def bring(home: Path, token: str | None = None, **wish: Any) -> tuple[datasets.Dataset, dict[str, Any]]:
    dataset = datasets.begin(home, "from the hub", "ann")
    report = datasets.add_hub(dataset, HubSource.of(wish), token)
    assert report["seen"] == report["used"] + report["converted"] + len(report["skipped"])
    return dataset, report


def test_pushed_previewed_and_imported(hub: Hub, home: Path, tmp_path: Path) -> None:
    told = subprocess.run([sys.executable, "-c", PUSH], env={**hub.environment(tmp_path / "cache"), "TOKEN": WRITER},
                          capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert told.returncode == 0, told.stderr
    with pytest.raises(hubsource.UnreadableTable, match="private"):
        hubsource.preview(home, HubSource("writer/birds"), STRANGER)
    seen = hubsource.preview(home, HubSource("writer/birds"), WRITER)
    assert (seen["image"], seen["caption"]) == ("photo", "words") and seen["private"]
    assert seen["columns"] == {"number": "int64", "photo": columns.PICTURE, "words": columns.TEXTS}
    assert seen["splits"] == {"train": 3, "validation": 1} and seen["total"] == 4
    assert [row["captions"] for row in seen["rows"]] == [["one", "uno"], ["two"], ["three"], []]
    assert all(row["thumb"].startswith("data:image/webp;base64,") for row in seen["rows"])
    dataset, report = bring(home, WRITER, name="writer/birds")
    assert dataset.state == "ready" and report["used"] == 4, report
    assert [(row["captions"], row["split"]) for row in dataset.rows()] == [
        (["one", "uno"], "train"), (["two"], "train"), (["three"], "train"), ([""], "validation")]
    assert any("held out for validation" in note for note in report["notes"])
    capped, report = bring(home, WRITER, name="writer/birds", split="train", max_rows=2)
    assert capped.count == report["seen"] == 2
    for path in (file for file in home.rglob("*") if file.is_file()):
        assert WRITER.encode() not in path.read_bytes()
    assert not list((home / "cache").glob(".staging*"))


def test_a_gated_one_of_plain_files(hub: Hub, home: Path, folder: Path) -> None:
    for token in (None, STRANGER):
        dataset, report = bring(home, token, name="ann/plain")
        assert dataset.state == "failed" and "gated" in report["error"] and "token" in report["error"]
    dataset, report = bring(home, READER, name="ann/plain")
    assert [row["captions"] for row in dataset.rows()] == [[f"caption {n}"] for n in range(4)]
    assert [line["reason"] for line in report["skipped"]] == ["not a picture in a format that is read here (JPEG, PNG, "
                                                              "WebP, BMP, TIFF, GIF, AVIF, HEIC)"]


@pytest.mark.parametrize(("wish", "words"), [
    ({"image_column": "picture"}, "no column 'picture'; there are: image (picture), text (text)"),
    ({"caption_column": "image"}, "holds no captions"), ({"split": "dev"}, "no split 'dev'"),
    ({"revision": "old"}, "no revision 'old'"), ({"data_files": ["none/*.parquet"]}, "none/"),
    ({"name": "ann/nothing"}, "no data set ann/nothing")])
def test_what_cannot_be_read_is_said(hub: Hub, home: Path, folder: Path, wish: dict[str, Any], words: str) -> None:
    with pytest.raises(hubsource.UnreadableTable) as told:
        hubsource.preview(home, HubSource.of({"name": "ann/plain", **wish}), READER)
    assert words in str(told.value)


def test_scripts_never_run_and_nothing_elsewhere_is_read(hub: Hub, home: Path, folder: Path, tmp_path: Path) -> None:
    (folder / "plain.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(hubsource.UnreadableTable, match="loading script"):
        hubsource.preview(home, HubSource("ann/plain"), READER)
    (folder / "plain.py").unlink()
    card = f"---\nconfigs:\n- config_name: default\n  data_files: {hub.url}/canary.csv\n---\n"
    (folder / "README.md").write_text(card)
    with pytest.raises(hubsource.UnreadableTable, match="outside its repository|cannot be read"):
        hubsource.preview(home, HubSource("ann/plain"), READER)
    assert not (tmp_path / "ran").exists() and not [r for r in hub.requests if r[0] == "GET" and "canary" in r[1]]


@pytest.mark.parametrize("wish", [
    {"name": "imagefolder"}, {"name": "../etc"}, {"name": "a/b", "data_dir": "/etc"}, {"name": "a/b", "max_rows": 0},
    {"name": "a/b", "data_files": ["http://x/y"]}, {"name": "a/b", "data_files": "../../x"}, {}, {"name": 3},
    {"name": "a/b", "trust_remote_code": "yes"}])
def test_wishes_that_are_refused(wish: dict[str, Any]) -> None:
    with pytest.raises(InvalidOptions):
        HubSource.of(wish)


def test_columns_are_chosen_by_mapping_type_and_place() -> None:
    choose, picture_, text = columns.image_and_caption_columns, columns.PICTURE, columns.TEXT
    assert choose({"id": text, "txt": text, "jpg": picture_}) == ("jpg", "txt")
    assert choose({"a": text, "b": text, "c": picture_}) == ("c", "a")
    assert choose({"bytes": columns.BINARY, "n": "int64"}) == ("bytes", None)
    kinds = {"image": picture_, "title": text, "image_description": text}
    assert choose(kinds, repo="jmhessel/newyorker_caption_contest") == ("image", "image_description")
    with pytest.raises(columns.InvalidColumns, match="no column of pictures"):
        choose({"text": text})


def test_the_reader_keeps_out_saved_tokens(hub: Hub, home: Path, folder: Path, tmp_path: Path,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by the environment nor by a file; and its cache is its own, which goes."""
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "token").write_text(READER)
    monkeypatch.setenv("HF_TOKEN", READER)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "saved"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "saved" / "token"))
    with pytest.raises(hubsource.UnreadableTable, match="private|gated"):
        hubsource.preview(home, HubSource("ann/plain"))
    assert os.listdir(tmp_path / "saved") == ["token"] and not list((home / "cache").iterdir())


def test_a_config_that_names_a_hub_id_or_a_folder(hub: Hub, home: Path, folder: Path) -> None:
    data = Data.model_validate({"dataset": "ann/plain", "caption_column": "text", "max_rows": 3})
    first, report = datasets.ensure(home, data, "local", READER)
    assert report is not None and datasets.find(home, first).count == report["used"] == 3
    assert datasets.ensure(home, data, "local", READER) == (first, None)
    with pytest.raises(hubsource.UnreadableTable, match="gated"):
        datasets.ensure(home, data, "local", STRANGER)
    for section in ({"dataset": str(folder)}, {"data_dir": str(folder)}):
        found, report = datasets.ensure(home, Data.model_validate(section), "local", None)
        assert datasets.find(home, found).count == 4 and (report is None) == ("data_dir" in section)
    (folder / "train" / "9.png").write_bytes(saved(picture((9, 9, 9))))
    fresh, report = datasets.ensure(home, Data.model_validate({"dataset": str(folder)}), "local", None)
    assert fresh != found and report is not None and datasets.find(home, fresh).count == 5
    for here in ("sample", first, "no such thing"):
        assert datasets.ensure(home, Data(dataset=here), "local", None) == (here, None)
