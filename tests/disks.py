"""Small disks of one's own, and filling them to the last byte."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def tmpfs(place: Path, size: str = "24m") -> Iterator[Path]:
    """A disk of that size at `place`; skips the test where none can be mounted."""
    place.mkdir(parents=True, exist_ok=True)
    mount(place, "-t", "tmpfs", "-o", f"size={size}", "tmpfs")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextmanager
def ext4(image: Path, place: Path, size: int = 64 << 20) -> Iterator[Path]:
    """The same with ext4, in the file `image`."""
    place.mkdir(parents=True, exist_ok=True)
    with open(image, "wb") as file:
        file.truncate(size)
    made = subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-F", str(image)], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no ext4 can be made here: {made.stderr.strip()}")
    mount(place, "-o", "loop", str(image))
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    """A disk that was mounted at `place` can only be read meanwhile."""
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)


def mount(place: Path, *options: str) -> None:
    """Mount something at `place`; skips the test where that is not allowed."""
    made = subprocess.run(["mount", *options, str(place)], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"nothing can be mounted here: {made.stderr.strip()}")


def fill(path: Path) -> None:
    """Take every byte that is left on the disk of `path`, into it."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for size in (1 << 20, 1 << 16, 1 << 12, 1):
        try:
            while os.write(handle, bytes(size)) == size:
                pass
        except OSError:
            continue
    os.fsync(handle)
    os.close(handle)
