"""What a person may do beside the others on one server: room to go on, and settings that harm nobody."""

from __future__ import annotations

from studio import config as config_
from studio import launch, prepare, storage
from studio.folders import runs
from studio.messages import Message
from studio.system import machine
from studio.web.access import Viewer
from studio.web.services.core import Service
from studio.web.usage import bounds


class FairService(Service):
    """What keeps people out of each other's way."""

    def resume(self, viewer: Viewer, run: runs.Run, checkpoint: str | None = None) -> None:
        """Let a run go on, where its owner has a place in the queue and room for what it will store."""
        with self.quotas.place(viewer, "run"):
            self.check_resume(viewer, run)
            launch.resume(run, self.reader, checkpoint)

    def check_resume(self, viewer: Viewer, run: runs.Run) -> None:
        """Return if a run may go on here. Raises OverQuota, ConfigError."""
        self.quotas.needs(viewer)
        if self.settings.public and (problems := list(bounds.here(run.config(), machine.facts(self.home)))):
            raise config_.ConfigError(problems)

    def check_plan(self, viewer: Viewer, plan: prepare.Plan) -> None:
        """Where strangers sign in, add what of a run would harm the others, and what the viewer has no room for."""
        if not self.settings.public or plan.config is None:
            return
        plan.problems += [*bounds.here(plan.config, machine.facts(self.home)), *bounds.drawn(plan.config),
                          *bounds.cached(plan.config, len(plan.rows), storage.free_bytes(self.home) / 4)]
        room = None
        if viewer.id:
            room = self.quotas.room(viewer)
        if room is not None and plan.disk_bytes > room:
            over = self.quotas.over(plan.disk_bytes, room)
            plan.fault("checkpoint.keep",
                       Message("{what} Keep fewer checkpoints, or delete something.", what=over.message))

    def check_edit(self, run: runs.Run, config: config_.PlainConfig) -> None:
        """As `check_plan`, for a change of a run on its way."""
        if not self.settings.public:
            return
        try:
            changed = config_.load(config_.merge(run.settings(), config))
        except config_.ConfigError:
            return  # the change itself is told what is wrong with it
        if problems := list(bounds.drawn(changed)):
            raise config_.ConfigError(problems)
