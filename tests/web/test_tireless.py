"""What looks after the studio outlives a full or failing disk: what fails keeps nothing else from being done."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from studio import datasets, launch, storage, sweeping, trash
from studio.datasets import store
from studio.folders import runs
from studio.launch.turns import Live
from studio.web.services.service import Studio
from studio.web.settings import Limits, Settings
from studio.web.usage import janitor, watcher

from ..disks import fill, tmpfs
from .conftest import make_run


def refuse(number: int) -> Any:
    def fails(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return fails


def crowded(home: Path, limit: int) -> Studio:
    """A studio where strangers sign in."""
    settings = Settings(home=home, auth="hf", limits=Limits(bytes=limit))
    return Studio(home, launch.Launcher(home), runs.EventReader(), settings)


def test_a_run_that_cannot_be_asked_keeps_nobodys_trash_from_being_emptied(
        home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    run = make_run(home, "ann", steps=1)
    gone = [datasets.draft(home, name, "ann") for name in "abc"]
    for one in gone:
        one.delete()
    studio = crowded(home, 1)
    studio.launcher.live = [Live(run, "ann", "heavy", 0.0)]
    monkeypatch.setattr(launch, "make_way", refuse(errno.ENOSPC))
    stubborn = next(path for path in (home / "trash").iterdir() if gone[0].id in path.name)
    real = storage.erase
    monkeypatch.setattr(storage, "erase", lambda path: refuse(errno.EIO)() if path == stubborn else real(path))
    watch = watcher.Watcher(studio)
    for _ in range(3):
        watch._asked.clear()
        watch.look()
    assert list((home / "trash").iterdir()) == [stubborn]
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(said) == 2 and "is full" in said[0] and "input/output error" in said[1], said


def test_the_janitor_comes_back_where_no_process_can_be_started(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    async def refused(*_: Any, **__: Any) -> Any:
        tried.append(1)
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    async def some_rounds() -> None:
        task = asyncio.create_task(janitor.look_after(crowded(home, 1), None))
        while len(tried) < 3 and not task.done():
            await asyncio.sleep(0.01)
        assert not task.done(), task.exception()
        task.cancel()

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refused)
    monkeypatch.setattr(janitor, "SWEEP_DELAY", 0.0)
    monkeypatch.setattr(janitor, "HOUR", 0.0)
    with ThreadPoolExecutor(1) as pool:  # this thread may have a browser's loop
        pool.submit(asyncio.run, asyncio.wait_for(some_rounds(), 60)).result()


def test_an_import_is_cancelled_with_a_reason_on_a_full_disk(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "home", "16m") as home:
        dataset = datasets.begin(home, "Birds", "ann")
        fill(home / "filler")
        assert dataset.cancel("There is no room.") and (dataset.path / "cancel").exists()
        (home / "filler").unlink()
        assert dataset.cancel("There is no room.") and (dataset.path / "cancel").read_text() == "There is no room."
        store.release(dataset)


def test_what_cannot_be_swept_keeps_nothing_else_from_being_swept(home: Path, monkeypatch: pytest.MonkeyPatch,
                                                                  capsys: pytest.CaptureFixture[str]) -> None:
    left = home / "runs" / f"{storage.STAGING}{'0' * 32}"
    left.mkdir(parents=True)
    os.utime(left, (1, 1))
    monkeypatch.setattr(sweeping.Sweep, "pictures", refuse(errno.EIO))
    monkeypatch.setattr(os, "nice", lambda _: 0)
    assert sweeping.main([str(home)]) == 1
    told = capsys.readouterr().err
    assert not left.exists() and "reports an error of its own" in told and "Traceback" not in told


def test_the_base_of_a_preset_in_the_trash_stays(home: Path) -> None:
    base, unnamed = home / "bases" / ("a" * 64), home / "bases" / ("b" * 64)
    for path in (base, unnamed):
        path.mkdir(parents=True)
        os.utime(path, (1, 1))
    (home / "presets").mkdir()
    storage.write_json(home / "presets" / "mine.json", {"config": {"model": {"base": str(base)}}})
    storage.to_trash(home / "presets" / "mine.json", home / "trash")
    sweeping.Sweep(home).bases()
    assert base.exists() and not unnamed.exists()


def test_what_somebody_else_took_out_of_the_trash_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        datasets.draft(home, name, "ann").delete()
    first, second = trash.entries(home)
    trash.remove(first)
    with pytest.raises(runs.Refused, match="not in the trash any more"):
        trash.restore(first)
    trash.restore(second)
    with pytest.raises(runs.Refused):
        trash.restore(second)
    assert second.size() == 0 and len([one for one in datasets.every(home) if not one.read_only]) == 1


def test_one_that_cannot_be_removed_keeps_the_others_from_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        datasets.draft(home, name, "ann").delete()
    entries, real = trash.entries(home), storage.erase
    with monkeypatch.context() as patch:
        patch.setattr(storage, "erase", lambda path: refuse(errno.EIO)() if path == entries[0].path else real(path))
        with pytest.raises(OSError, match="Input/output"):
            trash.remove(*entries)
    assert [one.id for one in trash.entries(home)] == [entries[0].id]
