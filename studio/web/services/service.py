"""What can be done, by whom: the layer under the API's routes and the page's handlers alike."""

from __future__ import annotations

import time
from pathlib import Path

from studio import config, launch, secrets
from studio.commands import reference
from studio.folders import events, runs
from studio.messages import JsonObject, Message
from studio.system import machine
from studio.web.access import Viewer, may
from studio.web.http.errors import WebError
from studio.web.middleware.redaction import PathRedactor
from studio.web.repositories import Repositories
from studio.web.services.bundles import BundleService
from studio.web.services.captions import CaptionService
from studio.web.services.care import CareService
from studio.web.services.core import Core
from studio.web.services.datasets import DatasetService
from studio.web.services.fair import FairService
from studio.web.services.health import HealthService
from studio.web.services.jobs import JobService
from studio.web.services.plans import PlanService
from studio.web.services.play import PlayService
from studio.web.services.publish import PublishService
from studio.web.services.runs import RunService
from studio.web.services.trash import TrashService
from studio.web.settings import Settings
from studio.web.single_flight import SingleFlight
from studio.web.usage.index import Index
from studio.web.usage.people import People
from studio.web.usage.quotas import Quotas
from studio.web.usage.stored import StorageUsage
from studio.web.usual import Usual


class Studio:
    """The studio over one home: a service for each subject, as in `studio.runs.create(viewer, ...)`.

    Another viewer's id raises NotFound, a write by nobody LoginNeeded; faults of what a person asked for raise the
    rooms' own errors. `errors.explain` puts any of them into words."""

    def __init__(self, home: Path, launcher: launch.Launcher, reader: runs.EventReader, settings: Settings):
        self.home = home
        self.settings = settings
        self.launcher = launcher
        self.reader = reader
        self.index = Index(home, launcher)
        self.stored = StorageUsage(home, self.index)
        self.hidden = PathRedactor(settings)
        self.shared = SingleFlight()
        people = People(home)
        quotas = Quotas(home, settings.limits, self.index, self.stored, people)
        core = Core(home, settings, launcher, reader, self.index, self.stored, people, quotas, Repositories(),
                    Usual(self.index))
        fair = FairService(core)
        self.jobs = JobService(core)
        self.runs = RunService(core, self.jobs, fair)
        self.plans = PlanService(core, self.runs, self.jobs, fair)
        self.play = PlayService(core, self.runs, self.jobs)
        self.bundles = BundleService(core, self.runs)
        self.datasets = DatasetService(core)
        self.captions = CaptionService(core, self.datasets, self.jobs)
        self.health = HealthService(core, self.datasets, self.jobs)
        self.publish = PublishService(core, self.runs, self.datasets, self.jobs)
        self.trash = TrashService(core)
        self.care = CareService(core)

    def schema(self, viewer: Viewer) -> config.ConfigSchema:
        """Every setting, for forms and programs."""
        return config.schema()

    def from_command(self, viewer: Viewer, command: str) -> reference.ConfigFromCommand:
        """A pasted reference command line as {"config", "unplaced": [{option, value, why}]}. Raises WebError."""
        try:
            return secrets.redact_data(reference.from_command(command))
        except reference.CommandError as error:
            raise WebError(Message("This cannot be read: {why}.", why=error),
                           Message("Paste the command as you would run it.")) from None

    def machine(self, viewer: Viewer) -> JsonObject:
        """Facts about this machine: cores, memory, GPUs, the fastest precision."""
        return {**machine.facts(self.home)}

    def session(self, viewer: Viewer) -> JsonObject:
        """Who is looking and how they may sign in or out: for the page's header."""
        if viewer.id:
            self.launcher.expect()
        links = {"login": None, "logout": None}
        if self.settings.public:
            links = {"login": "/oauth/huggingface/login", "logout": "/oauth/huggingface/logout"}
        return {"auth": self.settings.auth, "import_roots": list(map(str, self.settings.import_roots)),
                "signed_in": bool(viewer.id), "name": viewer.name, "may_create": bool(viewer.id),
                "administrator": may(viewer, None, "administer"), **links}

    def save_live_runs(self, seconds: float) -> list[str]:
        """Tell every live run to save and leave, and wait up to `seconds`; returns the ids of those that had not left.

        For a container that is about to be stopped: what is not saved then is lost."""
        live = list(filter(runs.Run.alive, runs.every(self.home)))
        for run in live:
            if self.reader.state(run)[0] in events.ACTIVE:
                try:
                    launch.pause_for_now(run, self.reader)
                except runs.Refused:
                    continue  # it is ending already
        deadline = time.monotonic() + seconds
        while live and time.monotonic() < deadline:
            time.sleep(0.1)
            live = list(filter(runs.Run.alive, live))
        return [run.id for run in live]
