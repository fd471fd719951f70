"""The decoding processes seen from outside: a picture, a thumbnail; and where both are kept."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from studio import limited, storage
from studio.datasets.schema import PictureFacts, Row
from studio.messages import JsonObject, Message

THUMB = 256  # pixels, the longer side of a thumbnail


class Worker:
    """One decoding process, started when first asked: it writes into `folder` and reads that and `read` alone. Not for
    several threads at once."""

    def __init__(self, folder: Path, read: Sequence[Path] = ()):
        self.folder = folder
        self._process = limited.LimitedProcess("studio.datasets.pictures.decoding", folder, read)

    def ask(self, request: JsonObject) -> PictureFacts:
        """The answer to a request; {problem} also where the process died of it or ran out of time."""
        try:
            return cast(PictureFacts, self._process.ask(request))
        except limited.NoAnswer as stopped:
            return {"problem": str(stopped)}

    def normalise(self, path: Path, **options: str) -> PictureFacts:
        """decoding.answer for a picture: {sha256, ext, width, height, changes} or {problem}."""
        return self.ask({"path": os.fsencode(path.absolute()).hex(), **options})

    def thumbnail(self, path: Path, name: str) -> PictureFacts:
        """Write the thumbnail of a stored picture under `name` into the folder; {} or {problem}."""
        return self.ask({"path": os.fsencode(path.absolute()).hex(), "thumb": name})

    def close(self) -> None:
        """End the process."""
        self._process.close()


def thumb_path(home: Path, image: str) -> Path:
    """Where a picture's thumbnail lies."""
    return home / "cache" / "thumbs" / image[:2] / f"{image}.webp"


def place(staged: Path, target: Path) -> None:
    """Move a finished file of the cache, if there is one, to its content's name; a whole one that is there already
    stays."""
    if not staged.exists() or (target.exists() and target.stat().st_size == staged.stat().st_size):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    storage.rename(staged, target)


def ensure_thumb(home: Path, row: Row, picture: Path) -> Path:
    """A picture of at most 256 px for a row: the picture itself where it is that small, else the cached thumbnail,
    made now in a decoding process if it is missing. Raises storage.Corrupt for a stored picture that is unreadable."""
    if max(row["width"], row["height"]) <= THUMB:
        return picture
    target = thumb_path(home, row["image"])
    if target.is_file():
        return target
    folder = home / "cache" / f"{storage.STAGING}{uuid.uuid4().hex}"
    folder.mkdir(parents=True)
    worker = Worker(folder, [picture])
    try:
        problem = worker.thumbnail(picture, "thumb").get("problem")
        if problem:
            raise storage.Corrupt(Message("the stored picture of {name} cannot be shown: {why}", name=repr(row["name"]),
                                          why=problem))
        place(folder / "thumb", target)
    finally:
        worker.close()
        storage.clear(folder)
    return target
