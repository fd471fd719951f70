"""Start an import in a process of its own and follow it; the caller's memory does not grow with the upload."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from studio import limited, storage
from studio.datasets.imports import words
from studio.datasets.imports.hubsource import HubSource
from studio.datasets.imports.importlock import take_lock
from studio.datasets.options import InvalidOptions, Options
from studio.datasets.schema import ImportReport
from studio.datasets.store import Dataset
from studio.limited import confine
from studio.messages import Message

if TYPE_CHECKING:
    from studio.datasets.imports.intake import Task

Progress = Callable[[int, int], None]
Begun = Callable[[], None]
Place = Callable[[Begun], AbstractContextManager[None]]  # what an import works inside; calls what it is given to wait


def at_once(waits: Begun) -> AbstractContextManager[None]:
    """A place for whoever comes."""
    return nullcontext()


def add(dataset: Dataset, files: Iterable[tuple[str, Path]], progress: Progress | None = None,
        options: Options = Options(), begun: Begun | None = None, place: Place = at_once) -> ImportReport:
    """Import files (relative name, path on this machine; zips are unpacked) and commit them; returns the report.

    Blocks until the importing process has ended, calling `progress(done, total)` with pictures about twice a second.
    Never raises for what a person brought: see the report and `dataset.state`. The import holds its own lock and goes
    on if this process dies; an exception raised here (Ctrl-C, or by `progress`) ends it. From `begun()` on a cut is
    told as a cut, whoever dies. It works inside `place(begun)`, which may let it wait.
    """
    return _run(dataset, {"files": _listed(files)}, options, progress, begun, place)


def add_folder(dataset: Dataset, folder: Path, progress: Progress | None = None,
               options: Options = Options(), begun: Begun | None = None, place: Place = at_once) -> ImportReport:
    """`add` for every file below a folder of this machine, which is listed by the importing process."""
    return _run(dataset, {"folder": _hex(folder)}, options, progress, begun, place)


def add_hub(dataset: Dataset, source: HubSource, token: str | None, progress: Progress | None = None,
            options: Options = Options(), begun: Begun | None = None, place: Place = at_once) -> ImportReport:
    """`add` for the rows of a Hub data set, read with `token` alone."""
    return _run(dataset, {"hub": source.wish()}, options, progress, begun, place, token)


def commit(dataset: Dataset, progress: Progress | None = None, options: Options = Options(),
           begun: Begun | None = None, place: Place = at_once) -> ImportReport:
    """`add` for the batches that wait (`Dataset.receive`). Raises InvalidOptions when none does."""
    batches = dict(dataset.batches())
    if not batches:
        raise InvalidOptions(Message("No files wait to be imported: send some first."))
    files: list[tuple[str, Path]] = []
    for batch, names in batches.items():
        for number, name in enumerate(names):
            files.append((name, dataset.incoming / batch / f"{number:06d}"))
    return _run(dataset, {"files": _listed(files), "batches": list(batches)}, options, progress, begun, place)


def read_again(dataset: Dataset, options: Options, progress: Progress | None = None, begun: Begun | None = None,
               place: Place = at_once) -> ImportReport:
    """Read the files of words of the last import once more, by other options, and give the pictures what they say now;
    one step of undo. Captions that were changed by hand since stay. Returns the report.

    Raises InvalidOptions where those files were not kept."""
    if not words.are_kept(dataset):
        raise InvalidOptions(Message("The files of words of this data set are not kept: import it again to read them "
                                     "otherwise."))
    return _run(dataset, {"again": True, "files": []}, options, progress, begun, place)


def _listed(files: Iterable[tuple[str, Path]]) -> list[tuple[str, str]]:
    """The files as incoming.json has them: each a name that is text, and its path in hex."""
    listed: list[tuple[str, str]] = []
    for name, path in files:
        listed.append((os.fsencode(name).decode("utf-8", "backslashreplace"), _hex(path)))
    return listed


def _hex(path: Path) -> str:
    """A path of this machine in hex, since a name may be no text."""
    return os.fsencode(path.absolute()).hex()


def _run(dataset: Dataset, task: Task, options: Options, progress: Progress | None,
         begun: Begun | None, place: Place, token: str | None = None) -> ImportReport:
    """Let a process import what `task` says, and follow it to its end. Returns the report. Raises Refused."""
    wishes = {**dataclasses.asdict(options), "roots": list(map(_hex, options.roots))}
    lock = take_lock(dataset)
    begun = begun or _nothing
    try:
        _sweep_staging(dataset.home)
        storage.clear(dataset.path / "cancel", dataset.path / "progress.json")
        dataset.drop_imported()  # what an import that was cut after its commit has left
        storage.write_json(dataset.task_file, {**task, "options": wishes})
        with place(begun):
            dataset.record()  # it may have been deleted while it waited
            process = _start(dataset, lock, token)
            lock.release()  # the importing process holds it from here on
            begun()
            _wait(process, dataset, progress or _nothing)
    finally:
        lock.release()
    return dataset.report()


def _nothing(*_: object) -> None:
    """What nobody waits to be told."""


def _wait(process: subprocess.Popen[bytes], dataset: Dataset, progress: Progress) -> None:
    """Follow the process to its end; an exception of this one ends it."""
    try:
        _follow(process, dataset, progress)
    except BaseException:
        process.kill()
        process.wait()
        raise


def _sweep_staging(home: Path) -> None:
    """Remove the decoded pictures of imports that were interrupted."""
    for left in (home / "images").glob(f"{storage.STAGING}*"):
        if not storage.is_locked(Dataset(home, left.name.removeprefix(storage.STAGING)).lock_file):
            storage.clear(left)


def _start(dataset: Dataset, lock: storage.Lock, token: str | None) -> subprocess.Popen[bytes]:
    """The importing process; a token reaches it through a pipe, and is written nowhere."""
    with open(dataset.path / "import.log", "ab") as log:
        process = subprocess.Popen(
            limited.command("studio.datasets.imports.intake", str(dataset.path.absolute())), cwd=dataset.path,
            stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True, pass_fds=(lock.fileno(),),
            env=confine.environment(dataset.path, network=True))
    assert process.stdin
    process.stdin.write((token or "").encode())
    limited.close(process.stdin)
    return process


def _follow(process: subprocess.Popen[bytes], dataset: Dataset, progress: Progress) -> None:
    """Tell the progress about twice a second until the process has ended."""
    while True:
        try:
            process.wait(timeout=0.5)
            return
        except subprocess.TimeoutExpired:
            report: ImportReport = storage.read_json(dataset.path / "progress.json") or {}
            progress(report.get("done", 0), report.get("total", 0))
