"""Bundles for the tests: of a run that was stopped, their files, and ways to change them."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio import bundle, config, datasets, storage
from studio.folders import runs

from ..train.conftest import Make, picture, train
from ..train.conftest import _toy as _toy
from ..train.conftest import make as make
from ..train.test_loop import ask_at

Files = dict[str, bytes]


def pictures(home: Path) -> list[dict[str, Any]]:
    """Six rows whose pictures are named by their content, as an import names them."""
    rows = []
    for number in range(6):
        row = picture(home, number, (64, 72))
        path = datasets.picture_path(home, row)
        row["image"] = storage.sha256_file(path)
        datasets.picture_path(home, row).parent.mkdir(parents=True, exist_ok=True)
        path.rename(datasets.picture_path(home, row))
        rows.append(row)
    return rows


def stopped(make: Make, monkeypatch: pytest.MonkeyPatch, home: Path) -> runs.Run:
    """A run of larger pictures, stopped at step 4 of 8."""
    run = make(rows=pictures(home))
    with monkeypatch.context() as patch:
        ask_at(run, patch, 4, ("stop", {}))
        assert train(run) == "stopped"
    return run


@pytest.fixture
def packed(make: Make, monkeypatch: pytest.MonkeyPatch, home: Path, tmp_path: Path) -> Path:
    """The bundle of such a run."""
    bundle.write(stopped(make, monkeypatch, home), tmp_path / "run.zip")
    return tmp_path / "run.zip"


def content(path: Path) -> Files:
    """Every file of a zip."""
    with zipfile.ZipFile(path) as opened:
        assert opened.testzip() is None
        return {name: opened.read(name) for name in opened.namelist()}


def rewrite(path: Path, change: Callable[[Files], Any], *, listed: bool = True, **options: Any) -> Path:
    """The bundle with its files changed and (`listed`) its list of files made to agree."""
    files = content(path)
    about = json.loads(files.pop("bundle.json"))
    change(files)
    if listed:
        about["files"] = {n: {"size": len(d), "sha256": hashlib.sha256(d).hexdigest()} for n, d in files.items()}
    target = path.with_name("hostile.zip")
    with zipfile.ZipFile(target, "w", **options) as made:
        made.writestr("bundle.json", json.dumps(about), compress_type=zipfile.ZIP_STORED)
        for name, data in files.items():
            made.writestr(name, data)
    return target


def edit(name: str, **changes: Any) -> Callable[[Files], None]:
    """Change fields of the first JSON line of a file."""

    def change(files: Files) -> None:
        first, *rest = files[name].decode().splitlines()
        data = json.loads(first if name.endswith("l") else files[name])
        data.update(changes)
        files[name] = "\n".join([json.dumps(data), *(rest if name.endswith("l") else [])]).encode()

    return change


def add(name: str, data: bytes = b"x") -> Callable[[Files], None]:
    return lambda files: files.update({name: data})


def first(files: Files, start: str) -> str:
    return next(name for name in sorted(files) if name.startswith(start))


def refused(path: Path, home: Path, says: str) -> None:
    """The bundle is refused with these words, and no run, no picture and no other file is there afterwards."""
    with pytest.raises((bundle.BadBundle, config.ConfigError), match=says):
        bundle.unpack(home, path, "")
    left = [p for p in home.rglob("*") if p.is_file() and "images" not in p.parts]
    assert not left and not [p for p in (home / "runs").iterdir()]
    for picture_ in (p for p in home.rglob("*") if p.is_file()):
        assert storage.sha256_file(picture_) == picture_.stem
    assert not list(home.parent.glob("evil*")) and not (home / "evil.json").exists()
