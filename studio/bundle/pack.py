"""A run as a bundle, assembled while it is sent."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

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


def pack(run: Run, *, start: bool = False, result: bool = False) -> export.Download:
    """The run's bundle, open for reading; the caller closes it.

    With `start` it has what a first step needs and no more: neither events nor sample pictures, and of checkpoints only
    the one that a branch goes on from; with `result` what a run has made, for `take_back`: neither pictures nor base.
    Raises storage.Corrupt for a picture or a base that is not here any more.
    """
    with ExitStack() as holds:
        contents = dict(_settings(run))
        if not result:
            contents.update(_needed(run))
        if not start:
            contents.update(_made(run, holds))
        elif (run.record().get("parent") or {}).get("checkpoint"):
            contents.update(_newest(run, holds))
        known = _Known(run)
        handles = {name: _opened(name, content, holds) for name, content in contents.items()}
        facts = {name: known.of(content, handles[name]) for name, content in contents.items()}
        known.keep()
        described = _describe(run, {name: {k: f[k] for k in ("size", "sha256")} for name, f in facts.items()})
        handles = {NAME: described, **handles}
        facts = {NAME: {"size": len(described), "crc32": zlib.crc32(described)}, **facts}
        members = [zips.Member(name, facts[name]["size"], facts[name]["crc32"]) for name in handles]
        opened = list(handles.values())
        parts = [opened[part] if isinstance(part, int) else part for part in zips.stored_zip(members)]
        name = f"run-{run.id[:8]}{'-start' if start else ''}.zip"
        return export.Download(name, "application/zip", parts, None, holds.pop_all())


def write(run: Run, target: Path, *, start: bool = False, result: bool = False) -> None:
    """The run's bundle in the file `target`, whole or not at all."""
    with pack(run, start=start, result=result) as packed, storage.writing(target) as file:
        file.writelines(packed.read(0, packed.size))


def _settings(run: Run) -> Iterator[tuple[str, Content]]:
    """What was asked for and the rows, by their names in the bundle."""
    yield "config.json", run.config_file
    if edits := run.edits():
        yield "edits.json", work.as_json({"edits": edits})
    yield "dataset.jsonl", run.rows_file


def _needed(run: Run) -> Iterator[tuple[str, Content]]:
    """What the first step needs further."""
    yield "train.sbatch", sbatch.script(run).encode()
    yield from ((f"images/{row['image']}.{row['ext']}", datasets.picture_path(run.home, row))
                for row in run.rows())
    base = _base(run)
    if base is not None and base.revision is None and base.folder != families.EMBEDDED:
        yield from ((f"base/{name}", base.folder / name) for name in sorted(_wanted(run, base)))


def _made(run: Run, holds: ExitStack) -> Iterator[tuple[str, Content]]:
    """What it has made so far, with the newest checkpoint."""
    yield "events.jsonl", _whole_lines(run.events_file)
    yield from ((f"samples/{path.name}", path) for path in sorted(run.samples.glob("*.webp")))
    yield from _newest(run, holds)


def _newest(run: Run, holds: ExitStack) -> Iterator[tuple[str, Content]]:
    """The newest checkpoint that is not just being retired."""
    for folder, _ in run.valid_checkpoints():
        lease = storage.Lock(run.checkpoints / f"{folder.name}.lease")
        if lease.acquire(shared=True):
            holds.callback(lease.release)
            found = [folder / name for name in (*storage.manifest(folder)["files"], storage.MANIFEST)]
            yield from ((f"checkpoints/{path.relative_to(run.checkpoints)}", path) for path in sorted(found))
            return


def _describe(run: Run, files: dict[str, Any]) -> bytes:
    record, base = run.record(), _base(run)
    facts: dict[str, Any] = {"id": run.id, "name": record["name"], "created": record["created"],
                             "dataset": record.get("dataset"), "attempt": run.attempts()[1],
                             "parent": record.get("parent")}
    found = {"name": base.name if base else None, "revision": base.revision if base else None,
             "files": _base_hashes(run, base) if base else {}}
    return json.dumps({"bundle": FORMAT, "run": facts, "base": found, "files": files}, indent=1).encode() + b"\n"


def _base(run: Run) -> Source | None:
    """The base's files where they are here; a Hub base that is not downloaded yet is fetched where the run goes."""
    model = run.config().model
    try:
        return source.locate(model.base, model.revision, model.variant)
    except families.BaseProblem as error:
        raise storage.Corrupt(Message("the base model of this run is not here any more: {why}", why=error)) from None


def _wanted(run: Run, base: Source) -> set[str]:
    """The base's files that its family uses."""
    from fnmatch import fnmatchcase

    patterns = source.family_of(run.config().model).download_patterns(base.variant)
    return {name for name in base.files() if any(fnmatchcase(name, pattern) for pattern in patterns)}


def _base_hashes(run: Run, base: Source) -> dict[str, str]:
    known = _Known(run)
    hashes = {name: known.of(base.folder / name, None)["sha256"] for name in sorted(_wanted(run, base))}
    known.keep()
    return {name: families.identity(sha) for name, sha in hashes.items()}


class _Known:
    """Fingerprints of files, remembered in <home>/cache/bundles/<run>.json by path, size and time of change."""

    def __init__(self, run: Run):
        self.file = run.home / "cache" / "bundles" / f"{run.id}.json"
        self.kept: dict[str, Any] = storage.read_json(self.file) or {}
        self.used: dict[str, Any] = {}

    def of(self, content: Content, opened: Any) -> dict[str, Any]:
        """Size, SHA-256 and CRC-32."""
        if isinstance(content, bytes):
            return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "crc32": zlib.crc32(content)}
        stat = os.fstat(opened.handle) if isinstance(opened, zips.Slice) else content.stat()
        stamp = f"{content}:{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}"
        self.used[stamp] = self.kept.get(stamp) or storage.fingerprint(content)
        return self.used[stamp]

    def keep(self) -> None:
        """Remember them for the next time."""
        if not self.used.items() <= self.kept.items():
            storage.write_cache(self.file, {**self.kept, **self.used})


def _opened(name: str, content: Content, holds: ExitStack) -> bytes | zips.Part:
    if isinstance(content, bytes):
        return content
    try:
        if name.startswith(("images/", "samples/")):  # they never change; thousands of them are opened one by one
            return zips.Stored(content, content.stat().st_size)
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

