"""The import as a process: killed, bombed, watched; what a person sees afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from PIL import Image

from studio import datasets
from studio.datasets.pictures import decoding, workers

from . import bad
from .bad import picture, saved
from .conftest import Bring

ROOT = Path(__file__).resolve().parents[2]


def process_of(worker: workers.Worker) -> int:
    """The decoding process of a worker: the only child of this one that decodes."""
    (found,) = [p for p in psutil.Process().children() if "studio.datasets.pictures.decoding" in p.cmdline()]
    return found.pid


def noise(number: int) -> dict[str, bytes]:
    side = 400
    return {f"{n}.png": saved(Image.frombytes("RGB", (side, side), os.urandom(3 * side * side)), compress_level=0)
            for n in range(number)}


def wait_for(reached: Callable[[], object]) -> None:
    """Look again and again until something is so."""
    until = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < until
        time.sleep(0.02)


def intake_of(dataset: datasets.Dataset) -> psutil.Process:
    return next(p for p in psutil.Process().children() if str(dataset.path) in p.cmdline())


def test_killed_in_the_middle_is_interrupted_and_can_be_repeated(bring: Bring, home: Path) -> None:
    dataset, seen = datasets.begin(home, "killed", "ann"), []
    assert dataset.state == "importing"

    def kill_it() -> None:
        wait_for(lambda: dataset.report()["done"])
        seen.append((dataset.state, dataset.count))
        intake_of(dataset).send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill_it)
    killer.start()
    bring(noise(80), dataset)
    killer.join()
    assert seen == [("importing", 0)]
    assert dataset.state == "failed" and dataset.count == 0 and "interrupted" in dataset.report()["error"]
    assert not [p for p in psutil.Process().children(recursive=True) if "decoding" in " ".join(p.cmdline())]
    _, report = bring(noise(3), dataset)
    assert dataset.state == "ready" and dataset.count == report["used"] == 3


def test_an_import_survives_the_process_that_started_it(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, data in noise(80).items():
        (folder / name).write_bytes(data)
    code = ("import os,sys; from pathlib import Path; from studio import datasets as d;"
            "s = d.begin(Path(sys.argv[1]), 'a', 'ann'); print(s.id, flush=True);"
            "d.add(s, [(p.name, p) for p in Path(sys.argv[2]).iterdir()], lambda *_: os.kill(os.getpid(), 9))")
    argv = [sys.executable, "-c", code, str(home), str(folder)]
    dead = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert dead.returncode == -signal.SIGKILL
    dataset = datasets.find(home, dead.stdout.strip())
    wait_for(lambda: dataset.state != "importing")
    assert dataset.state == "ready" and dataset.count == 80


def test_adding_to_a_ready_set_keeps_what_is_there(bring: Bring) -> None:
    dataset, _ = bring({"a.png": saved(picture())})
    dataset.set_captions(dataset.rows()[0]["pid"], ["kept"])
    bring({"b.png": saved(picture((1, 1, 1))), "a.png": saved(picture())}, dataset)
    assert [row["name"] for row in dataset.rows()] == ["a.png", "b.png", "a.png"]
    assert dataset.rows()[0]["captions"] == ["kept"] and len({row["pid"] for row in dataset.rows()}) == 3
    _, report = bring({"broken.png": b"x"}, dataset)
    assert dataset.state == "ready" and dataset.count == 3 and report["error"]


def test_deleting_ends_an_import(home: Path, bring: Bring) -> None:
    dataset = datasets.begin(home, "gone", "ann")
    done = threading.Event()

    def delete_it() -> None:
        wait_for(lambda: dataset.report()["done"])
        dataset.delete()
        done.set()

    threading.Thread(target=delete_it).start()
    bring(noise(80), dataset)
    assert done.wait(10) and not (home / "datasets" / dataset.id).exists()
    wait_for(lambda: not list((home / "images").iterdir()))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK"])
def test_the_largest_pictures_fit_into_the_worker(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "large"
    Image.new(mode, (8000, 8000), 0).save(path, "TIFF" if mode == "CMYK" else "PNG")
    worker = workers.Worker(tmp_path)
    try:
        assert worker.normalise(path).get("width") == 8000
    finally:
        worker.close()


def test_a_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(bad.png(13000, 13000))
    assert path.stat().st_size < 30_000
    worker = workers.Worker(tmp_path)
    try:
        assert "169 MP" in worker.normalise(path)["problem"]
        assert psutil.Process(process_of(worker)).memory_info().rss < 150 << 20 < decoding.MEMORY
    finally:
        worker.close()


def test_a_worker_that_dies_costs_one_picture(tmp_path: Path) -> None:
    good = tmp_path / "good.png"
    good.write_bytes(saved(picture()))
    worker = workers.Worker(tmp_path)
    try:
        assert "sha256" in worker.normalise(good)
        os.kill(process_of(worker), signal.SIGKILL)
        assert "stop" in worker.normalise(good)["problem"]
        assert "sha256" in worker.normalise(good)
    finally:
        worker.close()


def test_from_the_shell(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "holiday"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.png").write_bytes(saved(picture()))
    (folder / "sub" / "a.txt").write_text("a caption")
    (folder / "b.jpg").write_bytes(b"broken")
    os.mkfifo(folder / "pipe.png")
    os.symlink("/etc/passwd", folder / "link.png")
    argv = [sys.executable, "-m", "studio.datasets", "import", str(folder), "--owner", "ann"]
    told = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stderr
    assert "5 files seen: 2 used, 0 converted, 3 skipped" in told.stdout and "b.jpg" in told.stdout
    dataset = next(d for d in datasets.every(home) if d.owner == "ann")
    assert dataset.name == "holiday" and [r["captions"] for r in dataset.rows()] == [["a caption"]]
