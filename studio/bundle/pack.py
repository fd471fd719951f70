"""A run as a bundle, assembled while it is sent."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TypedDict

from studio import datasets, export, families, storage
from studio.bases import source
from studio.bundle import sbatch
from studio.bundle.layout import FORMAT, NAME
from studio.families import Source
from studio.folders import work
from studio.folders.runs import Run
from studio.messages import Message
from studio.storage import zips

Content = bytes | Path


class FileEntry(TypedDict):
    """What bundle.json says of a file."""

    size: int
    sha256: str


class Fingerprint(FileEntry):
    """And what a zip says of it, too."""

    crc32: int


class Origin(TypedDict):
    """What bundle.json says of the base, null where it is not here; `files` has identities by name."""

    name: str | None
    revision: str | None
    files: dict[str, str]


def pack(run: Run, *, start: bool = False, result: bool = False) -> export.Download:
    """The run's bundle, open for reading; the caller closes it.

    With `start` it has what a first step needs and no more: neither events nor sample pictures, and of checkpoints only
    the one that a branch goes on from; with `result` what a run has made, for `take_back`: neither pictures nor base.
    Raises storage.Corrupt for a picture or a base that is not here any more.
    """
    with ExitStack() as holds:
        contents = _contents(run, holds, start, result)
        # all are opened before one is read, which takes long: what is deleted meanwhile can still be sent
        opened = {name: _opened(name, content, holds) for name, content in contents.items()}
        known = _FingerprintCache(run)
        members: list[zips.Member] = []
        listed: dict[str, FileEntry] = {}
        for name, content in contents.items():
            fingerprint = known.of(content, opened[name])
            members.append(zips.Member(name, fingerprint["size"], fingerprint["crc32"]))
            listed[name] = {"size": fingerprint["size"], "sha256": fingerprint["sha256"]}
        known.keep()
        description = _describe(run, listed)
        first = zips.Member(NAME, len(description), zlib.crc32(description))
        parts = list(_spliced([first, *members], [description, *opened.values()]))
        filename = f"run-{run.id[:8]}.zip"
        if start:
            filename = f"run-{run.id[:8]}-start.zip"
        return export.Download(filename, "application/zip", parts, None, holds.pop_all())


def _contents(run: Run, holds: ExitStack, start: bool, result: bool) -> dict[str, Content]:
    """Every file of the bundle but bundle.json, by its name there."""
    contents = dict(_settings(run))
    if not result:
        contents.update(_needed(run))
    if not start:
        contents.update(_made(run, holds))
    elif (run.record().get("parent") or {}).get("checkpoint"):
        contents.update(_newest(run, holds))
    return contents


def _spliced(members: list[zips.Member], opened: list[bytes | zips.Part]) -> Iterator[bytes | zips.Part]:
    """The parts of the zip in order: its own bytes, and what the members hold."""
    for part in zips.stored_zip(members):
        if isinstance(part, int):
            yield opened[part]
        else:
            yield part


def write(run: Run, target: Path, *, start: bool = False, result: bool = False) -> None:
    """The run's bundle in the file `target`, whole or not at all."""
    with pack(run, start=start, result=result) as packed, storage.writing(target) as file:
        file.writelines(packed.read(0, packed.size))


def _settings(run: Run) -> Iterator[tuple[str, Content]]:
    """What was asked for and the rows, by their names in the bundle."""
    yield "config.json", run.config_file
    edits = run.edits()
    if edits:
        yield "edits.json", work.as_json({"edits": edits})
    yield "dataset.jsonl", run.rows_file


def _needed(run: Run) -> Iterator[tuple[str, Content]]:
    """What the first step needs further."""
    yield "train.sbatch", sbatch.script(run).encode()
    for row in run.rows():
        yield f"images/{row['image']}.{row['ext']}", datasets.picture_path(run.home, row)
    base = _base(run)
    if base is not None and base.revision is None and base.folder != families.EMBEDDED:
        for name in _used(run, base):
            yield f"base/{name}", base.folder / name


def _made(run: Run, holds: ExitStack) -> Iterator[tuple[str, Content]]:
    """What it has made so far, with the newest checkpoint."""
    yield "events.jsonl", _whole_lines(run.events_file)
    for path in sorted(run.samples.glob("*.webp")):
        yield f"samples/{path.name}", path
    yield from _newest(run, holds)


def _newest(run: Run, holds: ExitStack) -> Iterator[tuple[str, Content]]:
    """The newest checkpoint that is not just being retired."""
    for folder, _ in run.valid_checkpoints():
        lease = storage.Lock(run.checkpoints / f"{folder.name}.lease")
        if not lease.acquire(shared=True):
            continue
        holds.callback(lease.release)
        names = [*storage.manifest(folder)["files"], storage.MANIFEST]
        for path in sorted(folder / name for name in names):
            yield f"checkpoints/{path.relative_to(run.checkpoints)}", path
        return


def _describe(run: Run, files: dict[str, FileEntry]) -> bytes:
    """bundle.json."""
    record = run.record()
    facts = {"id": run.id, "name": record["name"], "created": record["created"], "dataset": record.get("dataset"),
             "attempt": run.attempts()[1], "parent": record.get("parent")}
    origin: Origin = {"name": None, "revision": None, "files": {}}
    base = _base(run)
    if base is not None:
        origin = {"name": base.name, "revision": base.revision, "files": _base_hashes(run, base)}
    return json.dumps({"bundle": FORMAT, "run": facts, "base": origin, "files": files}, indent=1).encode() + b"\n"


def _base(run: Run) -> Source | None:
    """The base's files where they are here; a Hub base that is not downloaded yet is fetched where the run goes."""
    model = run.config().model
    try:
        return source.locate(model.base, model.revision, model.variant)
    except families.BaseProblem as error:
        raise storage.Corrupt(Message("the base model of this run is not here any more: {why}", why=error)) from None


def _used(run: Run, base: Source) -> list[str]:
    """The base's files that its family uses, by their names in order."""
    patterns = source.family_of(run.config().model).download_patterns(base.variant)
    return sorted(name for name in base.files() if any(map(partial(fnmatchcase, name), patterns)))


def _base_hashes(run: Run, base: Source) -> dict[str, str]:
    """The identities of the base's files that its family uses."""
    known = _FingerprintCache(run)
    hashes = {name: families.identity(known.of(base.folder / name)["sha256"]) for name in _used(run, base)}
    known.keep()
    return hashes


class _FingerprintCache:
    """Fingerprints of files, remembered in <home>/cache/bundles/<run>.json by path, size and time of change."""

    def __init__(self, run: Run):
        self.file = run.home / "cache" / "bundles" / f"{run.id}.json"
        self.remembered: dict[str, Fingerprint] = storage.read_json(self.file) or {}
        self.used: dict[str, Fingerprint] = {}

    def of(self, content: Content, opened: bytes | zips.Part | None = None) -> Fingerprint:
        """Size, SHA-256 and CRC-32 of a file, by its handle where it is `opened`."""
        if isinstance(content, bytes):
            return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "crc32": zlib.crc32(content)}
        stat = os.fstat(opened.handle) if isinstance(opened, zips.Slice) else content.stat()
        stamp = f"{content}:{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}"
        fingerprint: Fingerprint | None = self.remembered.get(stamp)
        if not fingerprint:
            measured = storage.fingerprint(content)
            fingerprint = {"size": measured["size"], "sha256": measured["sha256"], "crc32": measured["crc32"]}
        self.used[stamp] = fingerprint
        return fingerprint

    def keep(self) -> None:
        """Remember them for the next time."""
        if not self.used.items() <= self.remembered.items():
            storage.write_cache(self.file, {**self.remembered, **self.used})


def _opened(name: str, content: Content, holds: ExitStack) -> bytes | zips.Part:
    """What a file holds, open for reading. Raises storage.Corrupt for one that is missing."""
    if isinstance(content, bytes):
        return content
    try:
        if name.startswith(("images/", "samples/")):  # they never change; thousands of them are opened one by one
            return zips.ImmutableFile(content, content.stat().st_size)
        handle = os.open(content, os.O_RDONLY)
    except FileNotFoundError:
        raise storage.Corrupt(Message("{name} of this run is missing: put it back, or start the run anew",
                                      name=name)) from None
    holds.callback(os.close, handle)
    return zips.Slice(handle, os.fstat(handle).st_size)


def _whole_lines(path: Path) -> bytes:
    """The file up to its last whole line: a live run's grows."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return b""
    return data[: data.rfind(b"\n") + 1]

