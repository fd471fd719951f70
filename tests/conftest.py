"""Fixtures every test may use: a home of its own, a browser, and nothing that reaches the network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, expect, sync_playwright

os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", GRADIO_ANALYTICS_ENABLED="False")
CHROMIUM = os.environ.get("STUDIO_CHROMIUM", "/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]
MISSING = f"no Chromium at {CHROMIUM}: apt-get install -y chromium (or set STUDIO_CHROMIUM to one)"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh, empty STUDIO_HOME, in the environment of this process and its children."""
    path = tmp_path / "home"
    path.mkdir()
    monkeypatch.setenv("STUDIO_HOME", str(path))
    return path


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    expect.set_options(timeout=30_000)  # a shared machine may be slow; nothing here is about time
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """The system's Chromium. In CI its absence is a failure, elsewhere a skip that says what to install."""
    if not shutil.which(CHROMIUM):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(MISSING)
    started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    yield started
    started.close()
