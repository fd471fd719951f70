"""What a viewer can do before a run: check and estimate a config, take a preset, keep one of their own."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypedDict

from studio import config as config_
from studio import datasets, prepare, presets, storage
from studio.config import PlainConfig
from studio.errors import Refused
from studio.folders.names import one_line
from studio.insight import estimate
from studio.messages import JsonObject, Message
from studio.system import machine
from studio.web.access import Viewer, may, require
from studio.web.http.errors import NotFound, WebError
from studio.web.services.core import Core, Service
from studio.web.services.fair import FairService
from studio.web.services.jobs import JobService
from studio.web.services.runs import RunService
from studio.web.usage.index import Record, W

LOOKED_AT = 60  # past runs, newest first, that an estimate is made from
NAME_LENGTH = 100


class Check(TypedDict):
    """What submitting a config would say; `config` is the whole of it, null where it cannot be used."""

    problems: list[dict[str, str]]
    warnings: list[str]
    config: PlainConfig | None
    disk_bytes: int | None
    estimate: JsonObject | None


class PlanService(Service):
    """Runs that are not there yet."""

    def __init__(self, core: Core, runs: RunService, jobs: JobService, fair: FairService):
        super().__init__(core)
        self.runs = runs
        self.jobs = jobs
        self.fair = fair

    def check(self, viewer: Viewer, config: PlainConfig) -> Check:
        """What submitting `config` would say: {"problems", "warnings", "config" (resolved, or null), "disk_bytes",
        "estimate" (see `estimate`, or null)}."""
        try:
            self.runs.check_config(viewer, config)
        except config_.ConfigError as error:
            return {"problems": list(map(vars, error.problems)), "warnings": [], "config": None,
                    "disk_bytes": None, "estimate": None}
        self.launcher.expect()
        plan = prepare.plan(self.home, config, token=viewer.token)
        self.fair.check_plan(viewer, plan)
        estimated = estimate.estimate(plan, machine.device(self.home), self._past(viewer), machine.facts(self.home))
        answer: Check = {"problems": list(map(vars, plan.problems)), "warnings": list(plan.warnings),
                         "disk_bytes": plan.disk_bytes, "config": None, "estimate": None}
        if plan.config is not None:
            answer["config"] = config_.dump(plan.config)
        if estimated is not None:
            answer["estimate"] = dataclasses.asdict(estimated)
        return answer

    def probe(self, viewer: Viewer, config: PlainConfig) -> JsonObject:
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

    def estimate(self, viewer: Viewer, config: PlainConfig) -> JsonObject:
        """Steps, seconds, bytes of memory and disk, and what each figure is taken from. Raises ConfigError."""
        answer = self.check(viewer, config)
        if answer["estimate"] is None:
            raise config_.ConfigError(config_.Problem(**problem) for problem in answer["problems"])
        return answer["estimate"]

    def from_json(self, viewer: Viewer, text: str) -> PlainConfig:
        """A partial config as it was pasted. Raises ConfigError with what is wrong with it."""
        try:
            config = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise WebError(Message("This is not JSON: {why}.", why=error),
                           Message("Copy the whole text, from { to }.")) from None
        config_.load(config)
        return config

    def list_presets(self, viewer: Viewer, dataset: str = "sample", base: str = "embedded") -> dict[str, Any]:
        """The shipped presets for that data set and base, then the viewer's own:
        {"items": [{id, name, help, own, config}], "next": null}."""
        about = self._circumstances(viewer, dataset, base)
        items: list[JsonObject] = []
        for goal in presets.GOALS:
            items.append({"id": goal.id, "name": goal.name, "help": goal.help, "own": False,
                          "config": presets.config_for(goal.id, about)})
        for preset in presets.of(self.home, viewer.id):
            if may(viewer, preset["owner"], "read"):
                items.append(_own(preset))
        return {"items": items, "next": None}

    def save_preset(self, viewer: Viewer, name: str, config: PlainConfig) -> JsonObject:
        """Keep a config under a name. Raises ConfigError, Refused."""
        require(viewer, None, "create", "preset")
        clean = one_line(name, NAME_LENGTH)
        if not clean:
            raise WebError(Message("A preset needs a name."), Message("Give it one of at most 100 characters."))
        self.quotas.preset(len(json.dumps(config)))
        try:
            return _own(presets.save(self.home, name=clean, owner=viewer.id, config=config))
        except Refused as error:
            raise Refused(Message("The preset was not kept: {why}.", why=error), "") from None

    def delete_preset(self, viewer: Viewer, preset_id: str) -> None:
        """Forget one of the viewer's presets."""
        preset = presets.find(self.home, preset_id)
        owner = preset["owner"] if preset else None
        require(viewer, owner, "write", "preset")
        presets.delete(self.home, preset_id)

    def _past(self, viewer: Viewer) -> list[estimate.PastRun]:
        """The viewer's newest runs that took steps, then the checks: a run took more steps to tell from."""
        return list(filter(None, (*self._past_runs(viewer), *self._past_checks(viewer))))

    def _past_runs(self, viewer: Viewer) -> Iterator[estimate.PastRun | None]:
        for run, facts in _newest(viewer, self.index.all()):
            try:
                config = storage.read_json(run.config_file) or {}
                yield estimate.of_run(run.id, facts.get("name", ""), config, self.reader.history(run))
            except (storage.Corrupt, FileNotFoundError):
                continue  # deleted in this moment, or damaged: its own page says so

    def _past_checks(self, viewer: Viewer) -> Iterator[estimate.PastRun | None]:
        checks = [(job, facts) for job, facts in self.index.jobs() if facts["kind"] == "check"]
        for job, facts in _newest(viewer, checks):
            report = self.reader.history(job).results.get("report.json")
            if report:
                yield estimate.of_check(job.id, facts["name"], facts["args"]["config"], report["facts"])

    def _circumstances(self, viewer: Viewer, dataset: str, base: str) -> presets.PresetInputs:
        """What the shipped presets depend on. Raises NotFound, ConfigError."""
        try:
            owner = datasets.find(self.home, dataset).owner
        except datasets.NotFound:
            raise NotFound(Message("There is no data set of that id."),
                           Message("Look at the list of data sets.")) from None
        require(viewer, owner, "read", "data set")
        config = {"data": {"dataset": dataset}, "model": {"base": base}}
        self.runs.check_config(viewer, config)
        plan = prepare.plan(self.home, config, token=viewer.token)
        machine_facts = machine.facts(self.home)
        memory = machine_facts["memory_bytes"]
        if machine_facts["gpus"]:
            memory = machine_facts["gpus"][0]["memory_bytes"]
        prediction_type = ""
        if plan.config is not None:
            prediction_type = plan.config.objective.prediction_type or ""
        return presets.PresetInputs(len(plan.rows), plan.weights, memory, base, prediction_type)


def _newest(viewer: Viewer, works: Iterable[tuple[W, Record]]) -> list[tuple[W, Record]]:
    """Those of the viewer's, newest first, as many as are looked at."""
    readable = [(work, facts) for work, facts in works if may(viewer, facts.get("owner"), "read")]
    return sorted(readable, key=lambda entry: entry[1]["created"], reverse=True)[:LOOKED_AT]


def _own(preset: Mapping[str, object]) -> JsonObject:
    """A person's preset as it is served."""
    return {"id": preset["id"], "name": preset["name"], "help": "", "own": True, "config": preset["config"]}
