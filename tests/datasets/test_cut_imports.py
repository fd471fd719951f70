"""An import happens once and whole, however it is cut, and a cut one is told as cut; nothing that waits is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from studio import datasets, storage
from studio.datasets import store
from studio.datasets.imports import importing

from ..disks import fill, tmpfs
from .bad import picture, saved

ROOT = Path(__file__).resolve().parents[2]


def send(dataset: datasets.Dataset, *names: str) -> int:
    """A batch of different pictures."""
    files = []
    for name in names:
        path = dataset.home / f"upload-{dataset.id}-{name}"
        path.write_bytes(saved(picture((sum(name.encode()) % 251, 10, 10), (100, 90))))
        files.append((name, path))
    return dataset.receive(files)


def names(dataset: datasets.Dataset) -> list[str]:
    return [row["name"] for row in dataset.rows()]


@pytest.mark.parametrize("room", [0, 256 << 10])
def test_a_commit_on_a_full_disk_keeps_what_waits(tmp_path: Path, room: int) -> None:
    """With a little room the import can begin, and tell why it ends."""
    with tmpfs(tmp_path / "home", "24m") as home:
        dataset = datasets.draft(home, "Birds", "ann")
        send(dataset, "a.png", "b.png")
        assert send(dataset, "c.png") == 3
        for batch, (name, _) in enumerate(dataset.batches()):
            with open(dataset.incoming / name / "000000", "ab") as file:
                file.write(bytes(batch * 512 << 10))  # behind the picture: more than there will be room for
        fill(home / "filler")
        os.truncate(home / "filler", (home / "filler").stat().st_size - room)
        report: dict[str, Any] = {}
        try:
            report = datasets.commit(dataset)
        except OSError:  # not even what is to be imported can be noted
            assert dataset.state == "receiving"
        if report:
            assert "disk" in report["error"], report
        assert dataset.count == 0 and [sent for _, sent in dataset.batches()] == [["a.png", "b.png"], ["c.png"]]
        (home / "filler").unlink()
        assert datasets.commit(dataset)["error"] is None
        assert names(dataset) == ["a.png", "b.png", "c.png"] and not dataset.batches() and dataset.state == "ready"


@pytest.mark.parametrize("why", ["cancelled", "out of memory", "nothing usable"])
def test_a_commit_that_brings_nothing_keeps_what_waits(home: Path, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = datasets.draft(home, "Birds", "ann")
    if why == "nothing usable":
        path = home / "upload"
        path.write_bytes(b"x")
        dataset.receive([("a.png", path)])
    else:
        send(dataset, *(f"{n}.png" for n in range(30)))

    def begun() -> None:
        if why == "cancelled":
            (dataset.path / "cancel").touch()

    if why == "out of memory":
        monkeypatch.setattr("studio.datasets.imports.importing.limited.command", lambda module, *args: [
            sys.executable, "-c", "import sys; sys.argv = ['intake', sys.argv[1]]\n"
            f"sys.path.insert(0, {str(ROOT)!r})\n"
            "from studio.datasets.imports import intake\n"
            "def run(*_): raise MemoryError\n"
            "intake.run = run\nintake.main()", *args])
    report = datasets.commit(dataset, begun=begun)
    assert report["error"] and dataset.count == 0, report
    assert sum(len(sent) for _, sent in dataset.batches()) == (1 if why == "nothing usable" else 30)
    assert dataset.state == "receiving" and datasets.find(home, dataset.id).report()["error"] == report["error"]


def dying(patch: pytest.MonkeyPatch, cut: str) -> None:
    """Let importing processes run these lines first; where they call `die` they are killed."""
    program = (f"import os, signal, sys\nsys.argv = ['intake', sys.argv[1]]\nsys.path.insert(0, {str(ROOT)!r})\n"
               "def die(*_): os.kill(os.getpid(), signal.SIGKILL)\n"
               f"from studio.datasets.imports import intake\n{cut}\nintake.main()")
    patch.setattr("studio.datasets.imports.importing.limited.command", lambda module, *args: [
        sys.executable, "-c", program, *args])


def test_a_cut_import_into_a_ready_set_is_told_then_and_later(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = datasets.begin(home, "Birds", "ann")
    source = home / "first"
    source.write_bytes(saved(picture()))
    datasets.add(dataset, [("first.png", source)])
    assert dataset.state == "ready" and dataset.report()["error"] is None
    many = []
    for name in ("second.png", "third.png"):
        path = home / name
        path.write_bytes(saved(picture((len(name), 10, 10))))
        many.append((name, path))
    with monkeypatch.context() as patch:
        dying(patch, "from studio import storage\nstorage.publish_files = die")
        report = datasets.add(dataset, many)
    for found in (report, dataset.report(), datasets.find(home, dataset.id).report()):
        assert found["error"] == store.INTERRUPTED, found
    assert dataset.state == "ready" and names(dataset) == ["first.png"]
    assert datasets.add(dataset, many[:2])["error"] is None and dataset.count == 3


@pytest.mark.parametrize("point", ["before the rows", "before the report", "before the task goes",
                                   "before the batches"])
def test_a_batch_is_imported_once_wherever_it_is_cut(home: Path, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The importing process is killed just before one of its last steps; then somebody commits again, if files wait."""
    dataset = datasets.draft(home, "Birds", "ann")
    send(dataset, "a.png", "b.png")
    cut = {"before the rows": "from studio.datasets.store import Dataset\nDataset._append = die",
           "before the report": "from studio import storage\nreal = storage.write_json\nstorage.write_json = "
           "lambda path, *rest: die() if path.name == 'report.json' else real(path, *rest)",
           "before the task goes": "from studio import storage\nstorage.remove = die",
           "before the batches": "from studio import storage\nstorage.erase = die"}[point]
    with monkeypatch.context() as patch:
        dying(patch, cut)
        datasets.commit(dataset)
    again = datasets.find(home, dataset.id)
    committed = point not in ("before the rows", "before the report")
    assert again.count == (2 if committed else 0)
    assert bool(again.batches()) is not committed
    if not committed:
        assert again.report()["error"] == store.STILL_WAIT and again.state == "receiving"
        assert datasets.commit(again)["error"] is None
    else:
        with pytest.raises(datasets.InvalidOptions):
            datasets.commit(again)
    send(again, "c.png")
    assert datasets.commit(again)["error"] is None
    assert sorted(names(again)) == ["a.png", "b.png", "c.png"] and not again.batches()
    assert not [path for path in again.path.iterdir() if path.name == "incoming.json" or path.name == "incoming"]


def test_a_task_that_no_process_took_up_is_told_as_cut(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = datasets.draft(home, "Birds", "ann")
    send(dataset, "a.png")

    def no_process(*_: Any, **__: Any) -> Any:
        raise OSError(12, "Cannot allocate memory")

    with monkeypatch.context() as patch:
        patch.setattr(importing, "_start", no_process)
        with pytest.raises(OSError):
            datasets.commit(dataset)
    assert dataset.report()["error"] == store.STILL_WAIT and dataset.state == "receiving"
    assert datasets.commit(dataset)["error"] is None and names(dataset) == ["a.png"]


def test_a_batch_that_cannot_be_taken_leaves_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = datasets.draft(home, "Birds", "ann")
    path = home / "upload"
    path.write_bytes(b"x")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "publish_folder", full)
        with pytest.raises(OSError):
            dataset.receive([("a.png", path)])
    assert not dataset.batches() and sorted(p.name for p in dataset.path.iterdir()) == [
        "dataset.json", "incoming"]


def test_a_draft_is_never_seen_without_its_place_for_batches(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    real = os.rename

    def rename(source: Any, target: Any) -> None:
        real(source, target)
        if Path(target).parent.name == "datasets":
            seen.append((Path(target) / "incoming").is_dir())

    monkeypatch.setattr(os, "rename", rename)
    assert datasets.draft(home, "Birds", "ann").state == "receiving" and seen == [True]


def test_a_copy_of_the_shipped_set_appears_whole_or_not_at_all(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    shipped = datasets.find(home, "sample")
    with monkeypatch.context() as patch:
        patch.setattr(storage, "append_lines", full)
        with pytest.raises(OSError):
            shipped.copy("Mine", "ann")
    assert [d.id for d in datasets.every(home)] == ["sample"] and not list((home / "datasets").iterdir())
    assert shipped.copy("Mine", "ann").count == shipped.count


def test_the_command_names_the_disk(tmp_path: Path) -> None:
    source = tmp_path / "a.png"
    source.write_bytes(saved(picture()))
    with tmpfs(tmp_path / "home", "2m") as home:
        fill(home / "filler")
        done = subprocess.run([sys.executable, "-m", "studio.datasets", "import", str(source)], cwd=ROOT, text=True,
                              capture_output=True, env={**os.environ, "STUDIO_HOME": str(home)}, timeout=120)
    assert done.returncode in (1, 2) and "Traceback" not in done.stderr, done.stderr
    assert "disk" in done.stderr + done.stdout
