"""The log of a data set does not grow without end, and folds to the same whenever it is written anew; what is
remembered of data sets has a bound."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from studio import datasets, storage
from studio.datasets import compacting, edit_log, references, store
from studio.sweeping import ReferencedPictures

from ..disks import fill, tmpfs

ROOT = Path(__file__).resolve().parents[2]
REPORT = {"seen": 1, "used": 1, "converted": 0, "skipped": [], "notes": [], "error": None}


def row(number: int, **more: Any) -> dict[str, Any]:
    return {"image": f"{number:016x}" * 4, "ext": "webp", "width": 99, "height": 98, "captions": [f"thing {number}"],
            "split": "train", "name": f"{number}.png", **more}


def made(home: Path, count: int) -> datasets.Dataset:
    """A data set of rows whose pictures are not there."""
    dataset = datasets.begin(home, "Rows", "ann")
    dataset.add_rows([row(number) for number in range(count)], REPORT)
    store.release(dataset)
    return dataset


def told(dataset: datasets.Dataset) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (dataset.path / "rows.jsonl").read_text().splitlines()]


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log is written anew as soon as it has doubled, however small it is."""
    monkeypatch.setattr(compacting, "LEAST_BYTES", 0)


def random_edit(dataset: datasets.Dataset, chance: random.Random, number: int) -> None:
    rows = dataset.rows()
    some = chance.sample(rows, min(len(rows), 3))
    kind = chance.choice(["captions", "crop", "remove", "undo", "undo", "add", "copy"])
    if kind == "captions":
        dataset.edit({one["pid"]: {"captions": [f"said {number}"]} for one in some}, kind)
    elif kind == "crop":
        dataset.edit({one["pid"]: {"crop": chance.choice([None, [0, 0, 40 + number % 40]])} for one in some}, kind)
    elif kind == "remove" and len(rows) > 4:
        dataset.edit({one["pid"]: None for one in some[:2]}, kind)
    elif kind == "undo":
        dataset.undo()
    elif kind == "add":
        dataset.add_rows([row(1000 + number)], REPORT)
    elif rows:
        dataset.add_rows([{**row(int(rows[0]["image"][:16], 16))}], REPORT)


@pytest.mark.parametrize("seed", range(6))
def test_a_log_that_is_written_anew_folds_to_the_same(home: Path, seed: int, always: None,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    chance, dataset = random.Random(seed), made(home, 8)
    twin = datasets.Dataset(home, "f" * 32)  # the same edits, in a log that only grows
    shutil.copytree(dataset.path, twin.path)
    anew = 0
    for number in range(150):
        state = chance.getstate()
        before = (dataset.path / "rows.jsonl").stat().st_ino
        random_edit(dataset, chance, number)
        anew += (dataset.path / "rows.jsonl").stat().st_ino != before
        chance.setstate(state)
        with monkeypatch.context() as patch:
            patch.setattr(compacting, "LEAST_BYTES", 1 << 30)
            random_edit(twin, chance, number)
        assert dataset.rows() == twin.rows() and dataset.last_edit == twin.last_edit, number
    assert anew > 2
    with monkeypatch.context() as patch:
        patch.setattr(compacting, "LEAST_BYTES", 1 << 30)
        for _ in range(compacting.LEAST_STEPS):
            assert dataset.undo() == twin.undo() and dataset.rows() == twin.rows()


def test_as_many_steps_of_undo_stay_as_are_promised(home: Path, always: None, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = made(home, 3)
    pid = dataset.rows()[0]["pid"]
    for number in range(compacting.MOST_STEPS + 20):
        dataset.set_captions(pid, [f"said {number}"])
    with storage.Lock(dataset.path / "edit.lock"):
        monkeypatch.setattr(compacting, "_bytes_once", lambda path: 0)
        assert compacting.compact(dataset.path)
    monkeypatch.setattr(compacting, "LEAST_BYTES", 1 << 30)
    assert [line["op"] for line in told(dataset)] == ["compacted", *["add"] * 3, *["edit"] * compacting.MOST_STEPS]
    undone = 0
    while dataset.undo():
        undone += 1
    assert undone == compacting.MOST_STEPS and dataset.row(pid)["captions"] == ["said 19"]


def test_a_copy_of_a_picture_gets_an_id_that_nothing_has(home: Path, always: None,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compacting, "MOST_STEPS", 1)
    monkeypatch.setattr(compacting, "LEAST_STEPS", 0)
    dataset = made(home, 1)
    dataset.add_rows([row(0, name="b.png"), row(0, name="c.png")], REPORT)
    image = dataset.rows()[0]["image"]
    dataset.remove(f"{image}-2")
    for number in range(20):
        dataset.set_captions(image, [f"said {number}"])
    assert "b.png" not in (dataset.path / "rows.jsonl").read_text()  # it cannot come back
    dataset.add_rows([row(0, name="d.png")], REPORT)
    assert [(one["pid"], one["name"]) for one in dataset.rows()] == [
        (image, "0.png"), (f"{image}-3", "c.png"), (f"{image}-4", "d.png")]


def test_the_lines_of_an_import_under_way_stay(home: Path, always: None) -> None:
    dataset = made(home, 2)
    lock = storage.Lock(dataset.lock_file)
    assert lock.acquire()
    storage.append_lines(dataset.path / "rows.jsonl", [{"op": "add", "import": "new", "row": row(7) | {"pid": "7"}}])
    for number in range(30):
        dataset.set_captions(dataset.rows()[0]["pid"], [f"said {number}"])
    assert any(line.get("import") == "new" for line in told(dataset)) and dataset.count == 2
    lock.release()
    dataset.set_captions(dataset.rows()[0]["pid"], ["the last"])
    assert not any(line.get("import") == "new" for line in told(dataset))  # of an import that was cut
    assert dataset.count == 2 and dataset.rows()[0]["captions"] == ["the last"]


KILLED = """
import os, signal, sys
from pathlib import Path
from studio import datasets, storage
from studio.datasets import compacting
compacting.LEAST_BYTES = 0
dataset = datasets.find(Path(sys.argv[1]), sys.argv[2])
real, when = os.replace, sys.argv[3]
def replace(source, target):
    if when == "after":
        real(source, target)
    os.kill(os.getpid(), signal.SIGKILL)
class Torn:
    def __init__(self, line): self.line, self.count = line, 0
    def __call__(self, entry):
        self.count += 1
        if self.count == 3: os.kill(os.getpid(), signal.SIGKILL)
        return self.line(entry)
os.replace = replace
if when == "while it is written": compacting._line = Torn(compacting._line)
for number in range(50):
    dataset.set_captions(dataset.rows()[0]["pid"], [f"said {number}"])
    print(number, flush=True)
"""


@pytest.mark.parametrize("when", ["while it is written", "before", "after"])
def test_a_kill_in_the_middle_leaves_one_whole_log(home: Path, when: str) -> None:
    dataset = made(home, 5)
    child = subprocess.run([sys.executable, "-c", KILLED, str(home), dataset.id, when], cwd=ROOT, capture_output=True,
                           text=True)
    assert child.returncode == -signal.SIGKILL, child.stderr
    last = int((child.stdout.split() or ["-1"])[-1])  # what was told; the edit that was cut had been added before
    assert [one["name"] for one in dataset.rows()] == [f"{number}.png" for number in range(5)]
    assert dataset.rows()[0]["captions"][0] == f"said {last + 1}"
    assert dataset.undo() and dataset.rows()[0]["captions"][0] == (f"said {last}" if last >= 0 else "thing 0")


def test_an_edit_holds_where_the_disk_takes_no_second_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compacting, "LEAST_BYTES", 1 << 20)
    with tmpfs(tmp_path / "home", "24m") as home:
        dataset = made(home, 5000)
        pid = dataset.rows()[0]["pid"]
        fill(home / "filler")
        os.truncate(home / "filler", (home / "filler").stat().st_size - (64 << 10))
        dataset.set_captions(pid, ["on a full disk"])
        assert told(dataset)[0]["op"] == "add" and dataset.row(pid)["captions"] == ["on a full disk"]
        assert not list(dataset.path.glob(".*.part"))
        (home / "filler").unlink()
        dataset.set_captions(pid, ["with room"])
        assert told(dataset)[0]["op"] == "compacted" and dataset.row(pid)["captions"] == ["with room"]
        assert dataset.undo() and dataset.row(pid)["captions"] == ["on a full disk"]


def test_who_reads_on_notices_another_log(home: Path, always: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compacting, "MOST_STEPS", 0)
    monkeypatch.setattr(compacting, "LEAST_STEPS", 0)
    dataset, names = made(home, 6), ReferencedPictures(home)
    reader = references.ReferenceReader(dataset.path / "rows.jsonl")
    assert len(list(reader.read())) == 6 and reader.anew and not reader.changed()
    names.update()
    dataset.add_rows([row(50)], REPORT)
    assert reader.changed() and [one["image"] for one in reader.read()] == [row(50)["image"]] and not reader.anew
    dataset.remove(dataset.rows()[0]["pid"])
    for number in range(20):
        dataset.set_captions(dataset.rows()[0]["pid"], [f"said {number}"])
    dataset.add_rows([row(60)], REPORT)
    assert [one["image"] for one in reader.read()] == [row(n)["image"] for n in (1, 2, 3, 4, 5, 50, 60)]
    assert reader.anew
    names.update()
    assert all(row(n)["image"] in names for n in (1, 50, 60))
    fresh = ReferencedPictures(home)
    fresh.update()
    assert row(0)["image"] not in fresh  # nothing brings it back, so its picture may go


def test_a_log_in_the_place_of_one_with_its_number_is_another(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row(1)) + "\n")
    reader = references.ReferenceReader(path)
    assert len(list(reader.read())) == 1
    with open(path, "r+") as file:  # the same number, and longer
        file.write("".join(json.dumps(row(n)) + "\n" for n in (7, 8, 9)))
    assert [one["image"] for one in reader.read()] == [row(n)["image"] for n in (7, 8, 9)]


def test_what_is_remembered_of_data_sets_has_a_bound() -> None:
    def snapshot(count: int) -> edit_log.Snapshot:
        log = edit_log.Fold({"i"})
        for number in range(count):
            log.apply({"op": "add", "import": "i", "row": row(number) | {"pid": row(number)["image"]}})
        return log.snapshot()

    cache, folded = edit_log.SnapshotCache(most=400_000), []

    def get(name: str, count: int) -> None:
        cache.get(name, 1, lambda: folded.append(name) or snapshot(count))

    for name, count in (("a", 100), ("b", 100), ("a", 100), ("large", 1000), ("large", 1000), ("c", 200), ("a", 100),
                        ("b", 100)):
        get(name, count)
    assert folded == ["a", "b", "large", "large", "c", "b"]  # "b" was used less lately than "a"
    assert cache._bytes == sum(one.bytes for _, one in cache._snapshots.values()) <= 400_000
    for number in range(1000):
        get(str(number), 0)
    assert len(cache._snapshots) <= 40


def test_rows_share_what_they_have_in_common() -> None:
    log = edit_log.Fold({"i"})
    for number in range(2):
        line = json.dumps({"op": "add", "import": "i", "row": row(number) | {"pid": row(number)["image"]}})
        log.apply(json.loads(line))
    first, second = log.snapshot().rows
    assert first["pid"] is first["image"] and first["ext"] is second["ext"] and first["split"] is second["split"]
    assert all(mine is other for mine, other in zip(first, second, strict=True))
