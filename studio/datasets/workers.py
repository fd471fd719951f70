"""The decoding processes seen from outside: ask, wait with a limit, start again after a crash."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from studio import storage
from studio.datasets import wire

ROOT = Path(__file__).resolve().parents[2]
SECRET = ("TOKEN", "SECRET", "PASSWORD", "KEY")
TIMEOUT = 30.0  # seconds a picture, whatever it waits for


def environment() -> dict[str, str]:
    """This process's environment without secrets, for the processes that read strangers' files."""
    kept = {k: v for k, v in os.environ.items() if not any(word in k.upper() for word in SECRET)}
    return {**kept, "PYTHONUNBUFFERED": "1", "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"}


class Worker:
    """One decoding process, started when first asked. Not for several threads at once."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request; {problem} also where the process died of it or ran out of time."""
        process = self._process = self._process or self._start()
        assert process.stdin and process.stdout
        try:
            wire.send(process.stdin, request)
            if not select.select([process.stdout], [], [], TIMEOUT)[0]:
                self.close()
                return {"problem": f"decoding it took longer than {TIMEOUT:.0f} s"}
            found = wire.receive(process.stdout)
        except BrokenPipeError:
            found = None
        if found is not None:
            return found
        code = process.wait()
        self.close()
        if code == -signal.SIGXCPU:
            return {"problem": "decoding it took too much processor time"}
        return {"problem": f"it made the decoder stop (exit {code}): damaged, or made to do harm"}

    def normalise(self, path: Path, **options: str) -> dict[str, Any]:
        """decoding.answer for a picture: {sha256, ext, width, height, changes} or {problem}."""
        return self.ask({"path": os.fsencode(path).hex(), **options})

    def thumbnail(self, path: Path, name: str) -> dict[str, Any]:
        """Write the thumbnail of a stored picture under `name` into the folder; {} or {problem}."""
        return self.ask({"path": os.fsencode(path).hex(), "thumb": name})

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    close(pipe)
            self._process.wait()
            self._process = None

    def _start(self) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "studio.datasets.decoding", str(self.folder)]
        return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                cwd=ROOT, env=environment())


def close(pipe: Any) -> None:
    """Close a pipe to a process that may be dead."""
    with contextlib.suppress(BrokenPipeError):  # what was buffered for the dead process
        pipe.close()


def thumb_path(home: Path, image: str) -> Path:
    """Where a picture's thumbnail lies."""
    return home / "cache" / "thumbs" / image[:2] / f"{image}.webp"


def place(staged: Path, target: Path) -> None:
    """Move a finished file, if there is one, to its content's name; a whole one that is there already stays."""
    if not staged.exists() or (target.exists() and target.stat().st_size == staged.stat().st_size):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(staged, target)


def ensure_thumb(home: Path, row: dict[str, Any], picture: Path) -> Path:
    """A picture of at most 256 px for a row: the picture itself where it is that small, else the cached thumbnail,
    made now in a decoding process if it is missing. Raises storage.Corrupt for a stored picture that is unreadable."""
    if max(row["width"], row["height"]) <= wire.THUMB:
        return picture
    target = thumb_path(home, row["image"])
    if target.is_file():
        return target
    folder = home / "cache" / f"{storage.STAGING}{uuid.uuid4().hex}"
    folder.mkdir(parents=True)
    worker = Worker(folder)
    try:
        problem = worker.thumbnail(picture, "thumb").get("problem")
        if problem:
            raise storage.Corrupt(f"the stored picture of {row['name']!r} cannot be shown: {problem}")
        place(folder / "thumb", target)
    finally:
        worker.close()
        shutil.rmtree(folder, ignore_errors=True)
    return target
