"""A door for the tests of this room: files in, data set out."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio import datasets

Files = dict[str, bytes | Path]
Bring = Callable[..., tuple[datasets.Dataset, dict[str, Any]]]


def bring_into(home: Path, folder: Path) -> Bring:
    """A function that imports {name: bytes or path} and returns the data set and its report, whose counts add up."""
    numbers = itertools.count()

    def bring(files: Files, dataset: datasets.Dataset | None = None) -> tuple[datasets.Dataset, dict[str, Any]]:
        listed = []
        for name, content in files.items():
            path = content if isinstance(content, Path) else folder / f"upload-{next(numbers)}"
            if isinstance(content, bytes):
                path.write_bytes(content)
            listed.append((name, path))
        dataset = dataset or datasets.begin(home, "pictures", "ann")
        report = datasets.add(dataset, listed)
        assert report["seen"] == report["used"] + report["converted"] + len(report["skipped"])
        return dataset, report

    return bring


@pytest.fixture
def bring(home: Path, tmp_path: Path) -> Bring:
    return bring_into(home, tmp_path)
