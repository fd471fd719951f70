"""Fixtures every test may use: a home of its own, a browser, and nothing that reaches the network."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from playwright.sync_api import Browser, Playwright, expect, sync_playwright

os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", GRADIO_ANALYTICS_ENABLED="False")
CHROMIUM = os.environ.get("STUDIO_CHROMIUM", "/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]
DURATIONS = Path(__file__).with_name("durations.json")  # seconds by file, kept by tools/durations.py
NEW = 60  # seconds that a file which is not in it may take
MISSING = f"no Chromium at {CHROMIUM}: apt-get install -y chromium (or set STUDIO_CHROMIUM to one)"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of several processes none has a long file left when the others have nothing: the longest ones begin."""
    if not hasattr(config, "workerinput"):
        return
    seconds = json.loads(DURATIONS.read_text())
    items.sort(key=lambda item: -seconds.get(item.path.relative_to(config.rootpath).as_posix(), NEW))


def missing(words: str) -> NoReturn:
    """What a test needs is not here: a failure in CI, elsewhere a skip that says what to install."""
    if os.environ.get("CI") == "true":
        pytest.fail(words)
    pytest.skip(words)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh, empty STUDIO_HOME, in the environment of this process and its children."""
    path = tmp_path / "home"
    path.mkdir()
    monkeypatch.setenv("STUDIO_HOME", str(path))
    return path


@pytest.fixture
def strace() -> str:
    """The program that tells system calls, and injects faults into them."""
    return shutil.which("strace") or missing("no strace: apt-get install -y strace")


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    expect.set_options(timeout=60_000)  # a shared machine may be slow; nothing here is about time
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """The system's Chromium."""
    if not shutil.which(CHROMIUM):
        missing(MISSING)
    started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    yield started
    started.close()
