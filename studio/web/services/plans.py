"""What a viewer can do before a run: check and estimate a config, take a preset, keep one of their own."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from studio import config as config_
from studio import datasets, prepare, presets, storage
from studio.errors import Refused
from studio.folders.records import WorkRecord
from studio.insight import estimate
from studio.messages import Message
from studio.system import machine
from studio.web.access import Viewer, may, require
from studio.web.http.errors import NotFound, WebError
from studio.web.services.core import Core, Service
from studio.web.services.fair import FairService
from studio.web.services.jobs import JobService
from studio.web.services.runs import RunService
from studio.web.usage.index import W

LOOKED_AT = 60  # past runs, newest first, that an estimate is made from
NAME_LENGTH = 100


class PlanService(Service):
    """Runs that are not there yet."""

    def __init__(self, core: Core, runs: RunService, jobs: JobService, fair: FairService):
        super().__init__(core)
        self.runs = runs
        self.jobs = jobs
        self.fair = fair

    def check(self, viewer: Viewer, config: dict[str, Any]) -> dict[str, Any]:
        """What submitting `config` would say: {"problems", "warnings", "config" (resolved, or null), "disk_bytes",
        "estimate" (see `estimate`, or null)}."""
        try:
            self.runs.check_config(viewer, config)
        except config_.ConfigError as error:
            return {"problems": [vars(problem) for problem in error.problems], "warnings": [], "config": None,
                    "disk_bytes": None, "estimate": None}
        plan = prepare.plan(self.home, config, token=viewer.token)
        self.fair.check_plan(viewer, plan)
        found = estimate.estimate(plan, machine.device(self.home), self._past(viewer))
        return {"problems": [{"field": p.field, "message": p.message} for p in plan.problems],
                "warnings": list(plan.warnings), "disk_bytes": plan.disk_bytes,
                "config": config_.dump(plan.config) if plan.config is not None else None,
                "estimate": dataclasses.asdict(found) if found else None}

    def probe(self, viewer: Viewer, config: dict[str, Any]) -> dict[str, Any]:
        """Start a check: the first steps and one picture of a run of `config`, measured; returns the job. Raises
        ConfigError with every problem at once."""
        require(viewer, None, "create", "job")
        self.quotas.ask(viewer, "job")
        self.runs.check_config(viewer, config)
        plan = prepare.plan(self.home, config, token=viewer.token)
        self.fair.check_plan(viewer, plan)
        if plan.config is not None and plan.config.compute.num_processes > 1:
            plan.fault("compute.num_processes", Message("a check works in one process: check with 1, or start the run"))
        if plan.config is None or plan.problems:
            raise config_.ConfigError(plan.problems)
        return self.jobs.submit(viewer, "check", {"config": config_.dump(plan.config)}, light=False,
                                name=f"Check with {plan.dataset['name']}", lend_token=not plan.weights)

    def estimate(self, viewer: Viewer, config: dict[str, Any]) -> dict[str, Any]:
        """Steps, seconds, bytes of memory and disk, and what each figure is taken from. Raises ConfigError."""
        found = self.check(viewer, config)
        if found["estimate"] is None:
            raise config_.ConfigError(config_.Problem(**problem) for problem in found["problems"])
        return found["estimate"]

    def from_json(self, viewer: Viewer, text: str) -> dict[str, Any]:
        """A partial config as it was pasted. Raises ConfigError with what is wrong with it."""
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise WebError(Message("This is not JSON: {why}.", why=error),
                           Message("Copy the whole text, from { to }.")) from None
        config_.load(found)
        return found

    def list_presets(self, viewer: Viewer, dataset: str = "sample", base: str = "embedded") -> dict[str, Any]:
        """The shipped presets for that data set and base, then the viewer's own:
        {"items": [{id, name, help, own, config}], "next": null}."""
        about = self._circumstances(viewer, dataset, base)
        shipped = [{"id": goal.id, "name": goal.name, "help": goal.help, "own": False,
                    "config": presets.config_for(goal.id, about)} for goal in presets.GOALS]
        own = [{"id": one["id"], "name": one["name"], "help": "", "own": True, "config": one["config"]}
               for one in presets.of(self.home, viewer.id) if may(viewer, one["owner"], "read")]
        return {"items": shipped + own, "next": None}

    def save_preset(self, viewer: Viewer, name: str, config: dict[str, Any]) -> dict[str, Any]:
        """Keep a config under a name. Raises ConfigError, Refused."""
        require(viewer, None, "create", "preset")
        clean = " ".join("".join(c if c.isprintable() else " " for c in name).split())[:NAME_LENGTH]
        if not clean:
            raise WebError(Message("A preset needs a name."), Message("Give it one of at most 100 characters."))
        self.quotas.preset(len(json.dumps(config)))
        try:
            made = presets.save(self.home, name=clean, owner=viewer.id, config=config)
        except Refused as error:
            raise Refused(Message("The preset was not kept: {why}.", why=error), "") from None
        return {"id": made["id"], "name": made["name"], "help": "", "own": True, "config": made["config"]}

    def delete_preset(self, viewer: Viewer, preset_id: str) -> None:
        """Forget one of the viewer's presets."""
        found = presets.find(self.home, preset_id)
        require(viewer, found["owner"] if found else None, "write", "preset")
        presets.delete(self.home, preset_id)

    def _past(self, viewer: Viewer) -> list[estimate.Past]:
        """The viewer's newest runs that took steps, then the checks: a run took more steps to tell from."""
        found = []
        for run, facts in self._newest(viewer, self.index.all()):
            try:
                config = storage.read_json(run.config_file) or {}
                past = estimate.of_run(run.id, facts.get("name", ""), config, self.reader.story(run))
            except (storage.Corrupt, FileNotFoundError):
                continue  # deleted in this moment, or damaged: its own page says so
            found += [past] if past else []
        checks = [(job, facts) for job, facts in self.index.jobs() if facts["kind"] == "check"]
        for job, facts in self._newest(viewer, checks):
            report = self.reader.story(job).results.get("report.json")
            if report:
                past = estimate.of_check(job.id, facts["name"], facts["args"]["config"], report["facts"])
                found += [past] if past else []
        return found

    def _newest(self, viewer: Viewer, found: list[tuple[W, WorkRecord]]) -> list[tuple[W, WorkRecord]]:
        """Those of the viewer's, newest first, as many as are looked at."""
        own = [entry for entry in found if may(viewer, entry[1].get("owner"), "read")]
        return sorted(own, key=lambda entry: entry[1]["created"], reverse=True)[:LOOKED_AT]

    def _circumstances(self, viewer: Viewer, dataset: str, base: str) -> presets.Circumstances:
        try:
            owner = datasets.find(self.home, dataset).owner
        except datasets.NotFound:
            raise NotFound(Message("There is no data set of that id."),
                           Message("Look at the list of data sets.")) from None
        require(viewer, owner, "read", "data set")
        config = {"data": {"dataset": dataset}, "model": {"base": base}}
        self.runs.check_config(viewer, config)
        plan, facts = prepare.plan(self.home, config, token=viewer.token), machine.facts(self.home)
        memory = facts["gpus"][0]["memory_bytes"] if facts["gpus"] else facts["memory_bytes"]
        learns = plan.config.objective.prediction_type if plan.config else None
        return presets.Circumstances(len(plan.rows), plan.weights, memory, base, learns or "")
