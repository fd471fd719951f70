"""What every service stands on: one home, what lies in it, and who may take how much of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from studio import launch
from studio.folders import runs
from studio.web.repositories import Repositories
from studio.web.settings import Settings
from studio.web.usage.index import Index
from studio.web.usage.people import People
from studio.web.usage.quotas import Quotas
from studio.web.usage.stored import StorageUsage
from studio.web.usual import Usual


@dataclass(frozen=True)
class Core:
    """The parts that are there once for a home."""

    home: Path
    settings: Settings
    launcher: launch.Launcher
    reader: runs.EventReader
    index: Index
    stored: StorageUsage
    people: People
    quotas: Quotas
    repositories: Repositories
    usual: Usual


class Service:
    """One subject of what can be done. A service gets the others that it needs when it is made."""

    def __init__(self, core: Core):
        self.home = core.home
        self.settings = core.settings
        self.launcher = core.launcher
        self.reader = core.reader
        self.index = core.index
        self.stored = core.stored
        self.people = core.people
        self.quotas = core.quotas
        self.repositories = core.repositories
        self.usual = core.usual
