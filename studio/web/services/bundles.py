"""Runs that travel: a run as one zip, and such a zip as a run."""

from __future__ import annotations

from pathlib import Path

from studio import bundle, export
from studio import config as config_
from studio.messages import JsonObject, Message
from studio.web.access import Viewer, require
from studio.web.http.errors import WebError
from studio.web.services.core import Core, Service
from studio.web.services.runs import RunService
from studio.web.usage import bounds
from studio.web.usage.quotas import UploadAllowance


class BundleService(Service):
    """Bundles."""

    def __init__(self, core: Core, runs: RunService):
        super().__init__(core)
        self.runs = runs

    def pack(self, viewer: Viewer, run_id: str, start: bool) -> export.Download:
        """The run as a zip, open for reading; the caller closes it. With `start`, only what a first step needs."""
        run = self.runs.find(viewer, run_id, "read")
        self.runs.check_base(viewer, run)
        return bundle.pack(run, start=start)

    def arriving(self, viewer: Viewer, size: int | None) -> UploadAllowance:
        """A place for a bundle of `size` bytes, before it is received. Raises OverQuota."""
        return self.quotas.arriving(viewer, size, "import", "kept run")

    def unpack(self, viewer: Viewer, files: list[tuple[str, Path]]) -> JsonObject:
        """A bundle as a run of the viewer's, waiting to be resumed; returns its record."""
        require(viewer, None, "create", "run")
        if len(files) != 1:
            raise WebError(Message("A bundle is sent as one file."), Message("Send the zip as multipart `files`."))

        def accept(config: config_.Config) -> config_.Config:
            self.runs.check_config(viewer, {"model": {"base": config.model.base}})
            if self.settings.public and (problems := list(bounds.machines(config))):
                raise config_.ConfigError(problems)
            return bundle.as_a_strangers(config)

        run = bundle.unpack(self.home, files[0][1], viewer.id, accept)
        return self.runs.get(viewer, run.id)
