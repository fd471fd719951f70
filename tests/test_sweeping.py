"""What nothing names any more goes, what anything names stays, whoever is at work beside the sweep."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from studio import bundle, datasets, prepare, storage, sweeping
from studio.datasets.pictures import measures, workers
from studio.folders import runs, work

from .measured import know

ROOT = Path(__file__).resolve().parents[1]
WEEK_AGO = 8 * 86400


def sweep(home: Path, *options: str) -> dict[str, int]:
    """The program, as the server starts it; what went, by kind."""
    done = subprocess.run([sys.executable, "-m", "studio.sweeping", str(home), *options], capture_output=True,
                          text=True, timeout=120, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def picture(folder: Path, number: int, side: int = 320) -> tuple[str, Path]:
    """A picture of its own, large enough for a thumbnail, as an import takes it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{number}.png"
    Image.new("RGB", (side, side), (number % 256, number // 256, 99)).save(path)
    return path.name, path


def bring(home: Path, *files: tuple[str, Path], owner: str = "local") -> datasets.Dataset:
    """A data set of these pictures."""
    dataset = datasets.begin(home, "set", owner)
    report = datasets.add(dataset, files)
    assert not report["error"], report
    return dataset


def stored(home: Path, *sets: datasets.Dataset) -> list[Path]:
    """Where the pictures of data sets lie, and their thumbnails."""
    rows = [row for dataset in sets for row in dataset.rows()]
    return [path for row in rows for path in (datasets.picture_path(home, row),
                                              workers.thumb_path(home, row["image"]))]


def submit(home: Path, dataset: datasets.Dataset) -> runs.Run:
    """A run of a data set, which waits."""
    asked = {"data": {"dataset": dataset.id}, "train": {"max_steps": 1, "mixed_precision": "no"}}
    return prepare.submit(home, name="run", owner="local", config=asked)


@pytest.fixture
def ready(home: Path) -> Path:
    """A home whose machine is measured."""
    return know(home)


def test_deleted_pictures_are_erased_once_the_trash_is(ready: Path, tmp_path: Path) -> None:
    """Not while the trash, a run, or an undo may still want them; nor what is younger than a day."""
    gone = bring(ready, picture(tmp_path, 1))
    trained = bring(ready, picture(tmp_path, 2))
    edited = bring(ready, picture(tmp_path, 3), picture(tmp_path, 4))
    run, there = submit(ready, trained), stored(ready, gone, trained, edited)
    alone, running = stored(ready, gone), stored(ready, trained)
    assert all(path.is_file() for path in there) and len(there) == 8
    gone.delete()
    trained.delete()
    edited.remove(edited.rows()[0]["pid"])
    assert sweep(ready, "--age", "0").get("pictures", 0) == 0, "the trash names them"
    assert storage.empty_trash(ready / "trash", time.time() + WEEK_AGO) == 2
    assert not sweep(ready), "they are younger than a day"
    assert sweep(ready, "--age", "0") == {"pictures": 1, "thumbnails": 1}
    assert not any(path.exists() for path in alone) and all(path.is_file() for path in running), "its run names it"
    assert edited.undo() and edited.picture(edited.rows()[0]["pid"]).is_file()
    runs.delete(ready, run)
    storage.clear(*(ready / "trash").iterdir())
    assert sweep(ready, "--age", "0") == {"pictures": 1, "thumbnails": 1}
    assert sorted(path for path in there if path.exists()) == sorted(stored(ready, edited))


def test_bases_caches_and_leavings(ready: Path, tmp_path: Path) -> None:
    dataset = bring(ready, picture(tmp_path, 1))
    run = submit(ready, dataset)
    for name in ("named", "discarded", "left"):
        (ready / "bases" / name).mkdir(parents=True)
        (ready / "bases" / name / "model_index.json").write_text("{}")
    discarded = submit(ready, dataset)
    for one, name in ((run, "named"), (discarded, "discarded")):
        settings = json.loads(one.config_file.read_text())
        settings["model"]["base"] = str(ready / "bases" / name)
        storage.write_json(one.config_file, settings)
    runs.delete(ready, discarded)
    measures.add(ready, dataset.id, [])
    measures.add(ready, "f" * 32, [])
    for path in ("likeness", "bundles", "uses"):
        (ready / "cache" / path).mkdir()
        (ready / "cache" / path / f"{'e' * 32}.json").touch()
        (ready / "cache" / path / f"{run.id}.json").touch()
    leavings = [ready / "runs" / ".staging-x", ready / "jobs" / ".staging-x", ready / "cache" / ".staging-x",
                ready / "datasets" / dataset.id / ".staging-x", run.path / "checkpoints" / ".staging-checkpoint-5-x"]
    for folder in leavings:
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(bytes(10))
    job = work.submit(ready, "publish", {"run": run.id}, name="job", owner="local", light=True)
    (job.path / "tmpabc").mkdir()
    live = work.submit(ready, "publish", {"run": run.id}, name="live", owner="local", light=True)
    (live.path / "tmpabc").mkdir()
    assert not sweep(ready), "nothing of it is a day old"
    with live.worker_lock, storage.Lock(dataset.lock_file):  # an import, and a job at work
        removed = sweep(ready, "--age", "0")
    assert removed == {"bases": 1, "caches": 4, "leavings": 5}, removed
    assert sorted(path.name for path in (ready / "bases").iterdir()) == ["discarded", "named"]
    assert leavings[3].exists() and not any(path.exists() for path in (*leavings[:3], leavings[4]))
    assert (live.path / "tmpabc").exists() and not (job.path / "tmpabc").exists()
    assert measures.file_of(ready, dataset.id).exists() and not measures.file_of(ready, "f" * 32).exists()
    storage.clear(*(ready / "trash").iterdir())
    assert sweep(ready, "--age", "0")["bases"] == 1
    assert [path.name for path in (ready / "bases").iterdir()] == ["named"]


class Hammer:
    """Threads that bring, copy, run, branch, import and delete the same few pictures until they are told to stop."""

    def __init__(self, home: Path, tmp: Path):
        self.home, self.stop, self.faults = home, threading.Event(), list[BaseException]()
        self.done = {"imported": 0, "submitted": 0, "branched": 0, "unpacked": 0, "copied": 0, "swept": 0}
        self.files = [picture(tmp, number) for number in range(3)]
        first = bring(home, *self.files)
        self.run = submit(home, first)
        self.checkpoint(self.run)
        self.zip = tmp / "run.zip"
        bundle.write(self.run, self.zip)

    def checkpoint(self, run: runs.Run) -> None:
        """The folder of a checkpoint, as far as a branch looks at it."""
        with storage.staged(run.checkpoints / "checkpoint-0", {"step": 0}) as folder:
            (folder / "unet").mkdir()
            save_file({"w": np.zeros(2, np.float32)}, folder / "unet" / "w.safetensors")

    def hit(self, *actions: Callable[[], None]) -> None:
        """Run each action over and over in a thread of its own for some seconds."""

        def over_and_over(action: Callable[[], None]) -> None:
            while not self.stop.is_set():
                try:
                    action()
                except BaseException as fault:
                    self.faults.append(fault)
                    raise

        threads = [threading.Thread(target=over_and_over, args=(action,)) for action in actions]
        for thread in threads:
            thread.start()
        began = time.monotonic()
        while not self.faults and ((passed := time.monotonic() - began) < 12
                                   or passed < 120 and min(self.done.values()) < 2):
            time.sleep(0.1)
        self.stop.set()
        for thread in threads:
            thread.join(120)
        assert not self.faults, self.faults

    def whole(self, rows: list[dict[str, Any]]) -> None:
        """Every stored picture of these rows is there, in every byte."""
        for row in rows:
            path = datasets.picture_path(self.home, row)
            assert path.is_file(), f"{row['name']} was swept while a row names it"
            assert storage.sha256_file(path) == row["image"]

    def erase(self, thing: datasets.Dataset | runs.Run) -> None:
        """Delete for good, at once."""
        thing.delete() if isinstance(thing, datasets.Dataset) else runs.delete(self.home, thing)
        storage.clear(*(path for path in (self.home / "trash").iterdir() if thing.id in path.name))

    def imports(self) -> None:
        dataset = bring(self.home, *self.files)
        self.whole(dataset.rows())
        run = submit(self.home, dataset)
        self.erase(dataset)
        self.whole(run.rows())
        self.erase(run)
        self.done["imported"] += 1
        self.done["submitted"] += 1

    def copies(self) -> None:
        copy = datasets.find(self.home, "sample").copy("copy", "local")
        self.whole(copy.rows())
        self.erase(copy)
        self.done["copied"] += 1

    def branches(self) -> None:
        made = prepare.branch(self.home, self.run, name="branch", owner="local", config={"train": {"max_steps": 9}})
        self.whole(made.rows())
        self.erase(made)
        self.done["branched"] += 1

    def bundles(self) -> None:
        run = bundle.unpack(self.home, self.zip, "local")
        self.whole(run.rows())
        self.erase(run)
        self.done["unpacked"] += 1

    def sweeps(self) -> None:
        sweeping.Sweep(self.home, age=0).pictures()
        self.done["swept"] += 1


def test_a_sweep_beside_everything_that_names_pictures(ready: Path, tmp_path: Path) -> None:
    hammer = Hammer(ready, tmp_path)
    hammer.hit(hammer.imports, hammer.imports, hammer.copies, hammer.branches, hammer.bundles, hammer.sweeps)
    print(hammer.done)
    assert all(count >= 2 for count in hammer.done.values()), hammer.done
    hammer.whole(hammer.run.rows())


def test_who_relies_on_pictures_for_too_long_puts_the_sweep_off(ready: Path, tmp_path: Path,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "PATIENCE", 0.2)
    dataset = bring(ready, picture(tmp_path, 1))
    dataset.delete()
    storage.clear(*(ready / "trash").iterdir())
    priority = os.nice(0)
    with datasets.relying(ready):
        assert sweeping.main([str(ready), "--age", "0"]) == 1
    assert os.nice(0) == priority, "the program steps back, not whoever calls it"
    assert not (ready / "cache" / "swept").exists(), "it is not counted as done"
    assert sweeping.main([str(ready), "--age", "0"]) == 0 and (ready / "cache" / "swept").exists()
    assert not list((ready / "images").glob("??/*"))


# --------------------------------------------------------------------------------------------------------- the Hub


def repository(cache: Path, name: str, size: int, used: float) -> Path:
    """A repository of the Hub's cache, as a download leaves it."""
    folder, commit = cache / f"models--{name.replace('/', '--')}", hashlib.sha1(name.encode()).hexdigest()
    for part in ("blobs", f"snapshots/{commit}", "refs"):
        (folder / part).mkdir(parents=True)
    blob = folder / "blobs" / "b"
    blob.write_bytes(bytes(size))
    (folder / "snapshots" / commit / "model_index.json").symlink_to(Path("../../blobs/b"))
    (folder / "refs" / "main").write_text(commit)
    os.utime(blob, (used, used))
    return folder


@pytest.fixture
def hub_cache(ready: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("HF_HOME", str(ready / "huggingface"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    yield ready / "huggingface" / "hub"


def test_the_hubs_cache_in_the_home_is_bounded(ready: Path, hub_cache: Path, tmp_path: Path) -> None:
    now = time.time()
    ages = {"a/oldest": 9e4, "b/older": 8e4, "c/named": 9.5e4, "d/waiting": 9.9e4, "e/fresh": 10}
    folders = {name: repository(hub_cache, name, 1000, now - age) for name, age in ages.items()}
    dataset = bring(ready, picture(tmp_path, 1))
    for name in ("c/named", "d/waiting"):
        run = submit(ready, dataset)
        settings = json.loads(run.config_file.read_text())
        storage.write_json(run.config_file, {**settings, "model": {**settings["model"], "base": name}})
        if name == "c/named":  # it could go on, and does not
            from studio import launch

            launch.cancel(run)

    def there() -> set[str]:
        return {name for name, folder in folders.items() if folder.exists()}

    assert sweep(ready, "--hub-cache", "1000000")["repositories"] == 0 and there() == ages.keys()
    assert sweep(ready, "--hub-cache", "4500")["repositories"] == 1
    assert there() == ages.keys() - {"a/oldest"}, "what is named was used longer ago, and stays"
    assert sweep(ready, "--hub-cache", "10")["repositories"] == 2
    assert there() == {"d/waiting", "e/fresh"}, "what waits needs it, what is fresh may be in use"


def test_ones_own_cache_elsewhere_is_never_touched(ready: Path, tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "mine"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    folder = repository(tmp_path / "mine" / "hub", "a/b", 1000, 1.0)
    assert sweep(ready, "--hub-cache", "10")["repositories"] == 0 and folder.exists()

