"""A bundle becomes a run here: nothing of it is believed, and nothing of a bad one is kept."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from studio import config as config_
from studio import datasets, edits, families, runs, storage
from studio.bundle import layout
from studio.config import Config
from studio.datasets import workers
from studio.families import source
from studio.runs import Run

ROW = {"image": str, "ext": str, "width": int, "height": int, "captions": list, "split": str, "name": str}
BLOCK = 1 << 20


class BadBundle(Exception):
    """A bundle that is refused; the message says what is wrong with which file of it."""


def unpack(home: Path, archive: Path, owner: str, check: Callable[[Config], None] = lambda config: None) -> Run:
    """The bundle in the file `archive` as a run of `owner`, which waits to be resumed.

    Every name must be one that a bundle has, every file must have the size and SHA-256 that bundle.json says, and
    every picture is decoded once in a limited process. `check` may refuse its config. Raises BadBundle, ConfigError.
    """
    staging = home / "runs" / f"{storage.STAGING}{uuid.uuid4().hex}"
    staging.mkdir(parents=True)
    try:
        facts = extract(archive, staging)
        config = _config(staging)
        check(config)
        _edits(staging, config)
        rows = _rows(staging)
        _place_pictures(home, staging, rows)
        config = _base(home, staging, config, facts)
        check_checkpoints(staging)
        return _commit(home, staging, owner, config, facts, rows)
    except zipfile.BadZipFile as error:
        raise BadBundle(f"this is not a whole zip file ({error}): fetch the bundle again") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


# ------------------------------------------------------------------------------------------------------------ the zip


def extract(archive: Path, staging: Path) -> dict[str, Any]:
    """Every file of the zip under `staging`, after comparing it with bundle.json, which is returned. Raises BadBundle,
    BadZipFile."""
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
        if not members or members[0].filename != layout.NAME or len(members) > layout.MOST_FILES:
            raise BadBundle(f"this zip is no bundle of a run: it does not begin with {layout.NAME}")
        facts = _described(_text(opened, members[0]))
        files: dict[str, Any] = facts["files"]
        names = [member.filename for member in members[1:]]
        if len(set(names)) != len(names) or set(names) != set(files):
            odd = sorted(set(names) ^ set(files)) or ["a name that is there twice"]
            raise BadBundle(f"the files of the bundle are not those that {layout.NAME} lists: {odd[0][:80]!r}")
        size = sum(member.file_size for member in members)
        if size + (1 << 28) > storage.free_bytes(staging):
            raise BadBundle(f"unpacking this needs {size / 1e9:.1f} GB and the disk has less free: free some space")
        for member in members[1:]:
            _extract_one(opened, member, files[member.filename], staging)
    return facts


def _extract_one(opened: zipfile.ZipFile, member: zipfile.ZipInfo, want: Any, staging: Path) -> None:
    name = member.filename
    if layout.kind_of(name) is None:
        raise BadBundle(f"a bundle holds no file {name[:80]!r}: only settings, pictures, events and safetensors")
    if not isinstance(want, dict) or member.file_size != want.get("size"):
        raise BadBundle(f"{name} has {member.file_size} bytes where {layout.NAME} says another size")
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 0x1:
        raise BadBundle(f"{name} is compressed or encrypted, which a bundle's files are not: fetch the bundle again")
    target = staging / name
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with opened.open(member) as reading, open(target, "xb") as writing:
        while block := reading.read(BLOCK):
            digest.update(block)
            writing.write(block)
        writing.flush()
        os.fsync(writing.fileno())
    if digest.hexdigest() != want.get("sha256"):
        raise BadBundle(f"{name} does not match its SHA-256: it was damaged or changed on its way")


def _text(opened: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    if member.file_size > layout.TEXT_BYTES or member.compress_type != zipfile.ZIP_STORED:
        raise BadBundle(f"{member.filename} is too large, or compressed")
    return opened.read(member)


def _described(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise BadBundle(f"{layout.NAME} is not JSON") from None
    if not isinstance(found, dict) or found.get("bundle") != layout.FORMAT:
        raise BadBundle(f"{layout.NAME} is not of a kind that this studio reads: update the studio, or pack it again")
    if not all(isinstance(found.get(key), dict) for key in ("run", "base", "files")):
        raise BadBundle(f"{layout.NAME} lacks run, base or files")
    return found


# ------------------------------------------------------------------------------------------------- settings and rows


def _config(staging: Path) -> Config:
    try:
        found = storage.read_json(staging / "config.json")
    except storage.Corrupt as error:
        raise BadBundle(str(error)) from None
    if found is None:
        raise BadBundle("config.json is missing")
    config = config_.load(found)
    if config.train.max_steps is None or config.train.batch_size is None or config.train.seed is None:
        raise BadBundle("config.json is not resolved: it is not of a run")
    return config


def _edits(staging: Path, config: Config) -> None:
    try:
        found = storage.read_json(staging / "edits.json")
        if found is not None:
            edits.edited(config, edits.sound(found.get("edits") if isinstance(found, dict) else None))
    except (storage.Corrupt, ValueError) as error:
        raise BadBundle(f"edits.json: {error}") from None


def _rows(staging: Path) -> list[dict[str, Any]]:
    path = staging / "dataset.jsonl"
    if not path.is_file() or path.stat().st_size > layout.TEXT_BYTES:
        raise BadBundle("dataset.jsonl is missing or too large")
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise BadBundle(f"dataset.jsonl: line {number} is not JSON") from None
        if not _sound(row):
            raise BadBundle(f"dataset.jsonl: line {number} is no row of a picture")
        rows.append(row)
    if not rows:
        raise BadBundle("dataset.jsonl has no pictures")
    return rows


def _sound(row: Any) -> bool:
    """Whether this is a row as ARCHITECTURE.md has it; its picture's name is then one that a bundle may hold."""
    if not isinstance(row, dict) or not all(isinstance(row.get(key), kind) for key, kind in ROW.items()):
        return False
    if not layout.PATTERNS["image"].fullmatch(f"images/{row['image']}.{row['ext']}"):
        return False
    crop, repeats = row.get("crop"), row.get("repeats", 1)
    numbers = [row["width"], row["height"], repeats, *(crop if isinstance(crop, list) else [])]
    return (row["captions"] and all(isinstance(caption, str) for caption in row["captions"])
            and all(type(number) is int and 0 <= number < 1 << 31 for number in numbers)
            and min(row["width"], row["height"], repeats) > 0
            and (crop is None or isinstance(crop, list) and len(crop) == 3 and crop[2] > 0))


def _place_pictures(home: Path, staging: Path, rows: list[dict[str, Any]]) -> None:
    """Each picture into the store, after it was decoded in a limited process; those that are there stay."""
    spool = staging / "decoded"
    spool.mkdir()
    worker = workers.Worker(spool)
    try:
        for row in {row["image"]: row for row in rows}.values():
            target = datasets.picture_path(home, row)
            if not target.is_file():
                workers.place(_decoded(worker, staging, row), target)
    finally:
        worker.close()


def _decoded(worker: workers.Worker, staging: Path, row: dict[str, Any]) -> Path:
    name = f"images/{row['image']}.{row['ext']}"
    path = staging / name
    if not path.is_file():
        raise BadBundle(f"{name} is missing, which dataset.jsonl names")
    if storage.sha256_file(path) != row["image"]:
        raise BadBundle(f"{name} is not the picture that its name says")
    found = worker.normalise(path)
    if found.get("problem") or (found["width"], found["height"]) != (row["width"], row["height"]):
        raise BadBundle(f"{name} cannot be used: {found.get('problem') or 'its size is not that of its row'}")
    return path


# ------------------------------------------------------------------------------------------- base and checkpoints


def _base(home: Path, staging: Path, config: Config, facts: dict[str, Any]) -> Config:
    """The config with a base that is here: the same files as where the bundle was made. Raises BadBundle."""
    brought, hashes = staging / "base", facts["base"].get("files")
    try:
        if brought.is_dir():
            config = config.model_copy(update={"model": _adopt(home, brought, config, hashes)})
        elif config.model.base.startswith(("/", "~")):
            raise BadBundle("the run's base is a folder of the machine it comes from, and the bundle does not bring it")
        base = source.locate(config.model.base, config.model.revision, config.model.variant)
    except families.BaseProblem as error:
        raise BadBundle(f"its base model: {error}") from None
    if base is not None and isinstance(hashes, dict):
        _compare(base, hashes)
    return config


def _compare(base: families.Source, hashes: dict[Any, Any]) -> None:
    """Raise BadBundle unless the base's files are those of where the bundle was made."""
    there = base.files()
    for name, sha in hashes.items():
        if name not in there or storage.sha256_file(base.folder / name) != sha:
            raise BadBundle(f"{base.name}: {str(name)[:80]} here is not the file that the run began with: get the same "
                            "version of the base (or of the studio, for `embedded`)")


def _adopt(home: Path, brought: Path, config: Config, hashes: Any) -> config_.Model:
    """A base that came with the bundle, kept in <home>/bases by its content."""
    family = families.get(config.model.family)
    content = json.dumps(hashes, sort_keys=True).encode()
    target = home / "bases" / hashlib.sha256(content).hexdigest()[:32]
    family.check(families.Source(brought, "the bundle's base", config.model.variant, None))
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(brought, target)
        storage.fsync_path(target.parent)
    return config.model.model_copy(update={"base": str(target)})


def check_checkpoints(staging: Path) -> None:
    """Raise BadBundle unless every checkpoint has the files of its manifest, and no others."""
    for folder in (staging / "checkpoints").glob("*"):
        try:
            listed = set(storage.verify(folder)["files"])
        except storage.Corrupt as error:
            raise BadBundle(str(error)) from None
        there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        if there != listed | {storage.MANIFEST}:
            raise BadBundle(f"{folder.name} holds files that its manifest does not list")


def _commit(home: Path, staging: Path, owner: str, config: Config, facts: dict[str, Any],
            rows: list[dict[str, Any]]) -> Run:
    """The run's folder, complete before it appears. It counts as paused where the bundle was made."""
    about, attempt = facts["run"], _attempts(facts["run"])

    def fill(run: Run) -> None:
        for name in ("edits.json", "events.jsonl", "samples", "checkpoints"):
            if (staging / name).exists():
                shutil.rmtree(run.path / name, ignore_errors=True)
                os.rename(staging / name, run.path / name)
        storage.write_json(run.process_file, {"attempt": attempt, "pid": os.getpid(), "start_time": None,
                                              "boot_id": None, "argv": [], "began": time.time()})
        storage.write_json(run.exit_file, {"attempt": attempt, "returncode": None, "signal": None, "oom_kill": False,
                                           "result": "paused", "error": None, "ended": time.time()})

    return runs.create(home, name=str(about.get("name", ""))[:200], owner=owner, config=config, rows=rows,
                       parent=_parent(about), fill=fill,
                       extra={"attempt": attempt, "dataset": _dataset(about.get("dataset"), len(rows))})


def _parent(about: dict[str, Any]) -> dict[str, Any]:
    """Where it comes from: that machine's run, and what that one was a branch of."""
    given = about.get("parent")
    given = given if isinstance(given, dict) else {}
    origin = {key: str(given[key])[:64] for key in ("id", "checkpoint") if isinstance(given.get(key), str)}
    changes = given.get("changes")
    told = {"changes": [str(words)[:400] for words in changes[:200]]} if isinstance(changes, list) else {}
    return {"bundle": str(about.get("id", ""))[:64], **(origin | told if len(origin) == 2 else {})}


def _attempts(about: dict[str, Any]) -> int:
    attempt = about.get("attempt")
    return max(1, attempt) if type(attempt) is int and attempt < 1 << 31 else 1


def _dataset(given: Any, count: int) -> dict[str, Any]:
    given = given if isinstance(given, dict) else {}
    texts = {key: str(given.get(key, ""))[:200] for key in ("id", "name", "fingerprint")}
    return {**texts, "count": count}
