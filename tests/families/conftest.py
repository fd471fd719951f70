"""Homes that know this machine, as most here plan a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..measured import know


@pytest.fixture
def home(home: Path) -> Path:
    """A home that knows this machine."""
    return know(home)
