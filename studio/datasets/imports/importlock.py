"""The lock of an import, from when it is announced until the importing process has taken it over."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from studio import storage
from studio.folders.work import Refused
from studio.messages import Message

if TYPE_CHECKING:
    from studio.datasets.store import Dataset

ADDING = Message("pictures are being added to this data set already: wait until that import has ended")
_held: dict[Path, storage.Lock] = {}  # imports announced here and not yet handed to their process


def announce(dataset: Dataset, lock: storage.Lock) -> None:
    """Hold the locked lock of a data set until `take_lock` or `release`."""
    _held[dataset.path] = lock


def take_lock(dataset: Dataset) -> storage.Lock:
    """The import's lock, from `announce` or taken now. Raises Refused when another import holds it."""
    lock = _held.pop(dataset.path, None)
    if lock is not None:
        return lock
    lock = storage.Lock(dataset.lock_file)
    if not lock.acquire():
        raise Refused(ADDING)
    return lock


def release(dataset: Dataset) -> None:
    """Give up an import that was announced, if one was."""
    lock = _held.pop(dataset.path, None)
    if lock is not None:
        lock.release()
