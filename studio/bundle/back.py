"""What a run made on another machine, brought back into its folder: nothing of it is believed."""

from __future__ import annotations

import uuid
from pathlib import Path

from studio import config as config_
from studio import storage
from studio.bundle.layout import BadBundle
from studio.bundle.unpack import read
from studio.folders.runs import Run
from studio.messages import Message


def take_back(run: Run, archive: Path) -> list[str]:
    """Move the checkpoint and the sample pictures of a bundle of this very run into its folder. Returns the names of
    the checkpoints that are new. Raises BadBundle, and then the folder is as it was.

    Every file must be one that a bundle has, with the size and SHA-256 that bundle.json and its manifest say.
    """
    staging = run.path / f"{storage.STAGING}{uuid.uuid4().hex}"
    staging.mkdir()
    try:
        read(archive, staging, "made")
        _check_same(run, staging)
        for path in sorted((staging / "samples").glob("*")):
            if not (run.samples / path.name).exists():
                storage.publish(path, run.samples / path.name)
        new = []
        for path in sorted((staging / "checkpoints").glob("*")):
            if _place(run, path):
                new.append(path.name)
        return new
    finally:
        storage.clear(staging)


def _check_same(run: Run, staging: Path) -> None:
    """Raise BadBundle unless the bundle has the pictures and the settings of `run`, but for where it trains and where a
    base that is a folder lies."""
    try:
        came = config_.dump(config_.load(storage.read_json(staging / "config.json")))
        rows = (staging / "dataset.jsonl").read_bytes()
    except (storage.Corrupt, config_.ConfigError, FileNotFoundError) as error:
        raise BadBundle(Message("its settings or rows cannot be read: {why}", why=error)) from None
    here = config_.dump(run.created_config())
    free = ["compute."]
    if here["model"]["base"].startswith(("/", "~")):
        free.append("model.base")
    for path, words in config_.differences(here, came).items():
        if not path.startswith(tuple(free)):
            raise BadBundle(Message("it is of another run: {what}", what=words))
    if rows != run.rows_file.read_bytes():
        raise BadBundle(Message("it is of another run: its pictures are not those of this one"))


def _place(run: Run, path: Path) -> bool:
    """Move a checkpoint in; what has its name and is not the same goes to the trash. False when it is there already."""
    target = run.checkpoints / path.name
    if target.exists():
        if (target / storage.MANIFEST).read_bytes() == (path / storage.MANIFEST).read_bytes():
            return False
        storage.to_trash(target, run.home / "trash")
    storage.publish_folder(path, target)
    return True
