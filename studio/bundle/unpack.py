"""A bundle becomes a run here: nothing of it is believed, and nothing of a bad one is kept.

The zip and everything in it is read by a limited process (`reading.py`) into a staging folder. What is done here is
done with files that were looked at: comparing the base, and moving everything to its place once nothing is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import cast

from studio import config as config_
from studio import datasets, families, limited, storage
from studio.bases import source
from studio.bundle import layout
from studio.bundle.layout import BadBundle, BaseFiles, Facts
from studio.config import Config
from studio.folders import runs
from studio.folders.runs import Run
from studio.messages import Message

READER = "studio.bundle.reading"
SECONDS = 3600.0  # that a bundle may take to be read


def as_a_strangers(config: Config) -> Config:
    """The config without what would act in the name of whoever lets the run go on: publish by their Hub token, rent a
    machine at their cost (the token is then a secret of an image that the bundle names), write into their accounts."""
    plain = config_.load({})
    compute = config.compute.model_copy(update={"backend": plain.compute.backend, "image": plain.compute.image})
    local = [name for name in config.track.report_to if name == "tensorboard"]
    return config.model_copy(update={"compute": compute, "hub": plain.hub,
                                     "track": config.track.model_copy(update={"report_to": local})})


def as_it_is(config: Config) -> Config:
    """The config, for a bundle of one's own."""
    return config


def unpack(home: Path, archive: Path, owner: str, accept: Callable[[Config], Config] = as_it_is) -> Run:
    """The bundle in the file `archive` as a run of `owner`, which waits to be resumed.

    Every name must be one that a bundle has, every file must have the size and SHA-256 that bundle.json says, every
    picture that a row names must have come along, and is decoded. `accept` may refuse its config, or take something out
    of it (`as_a_strangers`, for one that is not known to be one's own). Raises BadBundle, ConfigError.
    """
    staging = home / "runs" / f"{storage.STAGING}{uuid.uuid4().hex}"
    storage.make_folder(staging.parent)
    staging.mkdir()
    try:
        facts = read(archive, staging, "all")
        config = accept(config_.load(storage.read_json(staging / "config.json")))
        config, brought = _base(home, staging, config, facts["base"])
        with datasets.relying(home):
            if brought is not None:
                _keep_base(staging / "base", brought)
            _place_pictures(home, staging)
            return _commit(home, staging, owner, config, facts)
    finally:
        storage.clear(staging)


def read(archive: Path, staging: Path, parts: str) -> Facts:
    """Have a limited process put the bundle's files below `staging` and look at them. Returns what it says of them.

    `parts` is "all", or "made": what a run has made, without its pictures. Raises BadBundle, ConfigError."""
    request = {"archive": os.fsencode(archive.absolute()).hex(), "parts": parts}
    try:
        answer = limited.ask_once(READER, request, staging, [archive], seconds=SECONDS)
    except limited.NoAnswer as stopped:
        raise BadBundle(Message("it cannot be read: {why}", why=stopped)) from None
    if "errno" in answer:
        raise OSError(answer["errno"], answer["problem"])
    if "problems" in answer:
        raise config_.ConfigError([config_.Problem(**problem) for problem in answer["problems"]])
    if "problem" in answer:
        raise BadBundle(answer["problem"])
    return cast(Facts, answer["facts"])


def _place_pictures(home: Path, staging: Path) -> None:
    """Each picture into the store; one that is there already stays. Names and rows are looked at once more here:
    whoever made the reader say what is not so would have another person's pictures, or put others in their place."""
    folder = staging / "images"
    paths = []
    if folder.is_dir():
        paths = sorted(folder.iterdir())
    pairs = []
    for path in paths:
        match = layout.PATTERNS["image"].fullmatch(f"images/{path.name}")
        if match is None or storage.sha256_file(path) != match["sha"]:
            raise BadBundle(Message("{name} is not the picture that its name says", name=path.name[:80]))
        pairs.append((path, home / "images" / match["sha"][:2] / path.name))
    names = {path.name for path in paths}
    with open(staging / "dataset.jsonl", "rb") as lines:
        for number, line in enumerate(lines, 1):
            if not any(f"{row['image']}.{row['ext']}" in names for row in datasets.rows_named(line)):
                raise BadBundle(Message("dataset.jsonl: line {number} is no row of a picture", number=number))
    storage.publish_files(pairs)


# ---------------------------------------------------------------------------------------------------------------- base


def _base(home: Path, staging: Path, config: Config, facts: BaseFiles) -> tuple[Config, Path | None]:
    """The config with a base that is the one of where the bundle was made, and where one that came along will be kept.

    That one is compared here, before it takes its place, which is named by its content. Raises BadBundle."""
    brought = staging / "base"
    claimed = facts["claimed"]
    try:
        if brought.is_dir():
            family = source.family_of(config.model)
            family.check(families.Source(brought, "the bundle's base", config.model.variant, None))
            _compare("the bundle's base", claimed, lambda name: facts["hashes"].get(name, ""))
            content = json.dumps(facts["hashes"], sort_keys=True).encode()
            target = home / "bases" / hashlib.sha256(content).hexdigest()
            model = config.model.model_copy(update={"base": str(target), "revision": None})
            return config.model_copy(update={"model": model}), target
        if config.model.base.startswith(("/", "~")):
            raise BadBundle(Message("the run's base is a folder of the machine it comes from, and the bundle does not "
                                    "bring it"))
        base = source.locate(config.model.base, config.model.revision, config.model.variant)
    except families.BaseProblem as error:
        raise BadBundle(Message("its base model: {why}", why=error)) from None
    if base is not None:
        there = base.files()

        def hash_of(name: str) -> str:
            return storage.sha256_file(base.folder / name) if name in there else ""

        _compare(base.name, claimed, hash_of)
    return config, None


def _compare(base: str, claimed: dict[str, str], hash_of: Callable[[str], str]) -> None:
    """Raise BadBundle unless the base's files, by their SHA-256, are those of where the bundle was made. The first that
    is not ends it: the others are not hashed."""
    for name, sha in claimed.items():
        if families.identity(hash_of(name)) != families.identity(sha):
            raise BadBundle(Message("{base}: {name} here is not the file that the run began with: get the same version "
                                    "of the base (or of the studio, for `embedded`)", base=base, name=name[:80]))


def _keep_base(brought: Path, target: Path) -> None:
    """Move a base that came along to the place of its content, where an equal one may be already."""
    if target.exists():
        return
    storage.make_folder(target.parent)
    storage.publish_folder(brought, target)


def _commit(home: Path, staging: Path, owner: str, config: Config, facts: Facts) -> Run:
    """The run's folder, complete before it appears. It counts as paused where the bundle was made."""
    about = facts["run"]
    attempt = about["attempt"]

    def fill(run: Run) -> None:
        for name in ("dataset.jsonl", "edits.json", "events.jsonl", "samples", "checkpoints"):
            if (staging / name).exists():
                storage.clear(run.path / name)
                storage.rename(staging / name, run.path / name)
        storage.write_json(run.process_file, {"attempt": attempt, "pid": os.getpid(), "start_time": None,
                                              "boot_id": None, "argv": [], "began": time.time()})
        storage.write_json(run.exit_file, {"attempt": attempt, "returncode": None, "signal": None, "oom_kill": False,
                                           "result": "paused", "error": None, "ended": time.time()})

    return runs.create(home, name=about["name"], owner=owner, config=config, rows=(),
                       parent={"bundle": about["id"], **about["parent"]}, fill=fill,
                       extra={"attempt": attempt, "dataset": {**about["dataset"], "count": facts["count"]}})
