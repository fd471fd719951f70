"""Fixtures every test may use: a home of its own, and nothing that reaches the network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", GRADIO_ANALYTICS_ENABLED="False")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh, empty STUDIO_HOME, in the environment of this process and its children."""
    path = tmp_path / "home"
    path.mkdir()
    monkeypatch.setenv("STUDIO_HOME", str(path))
    return path
