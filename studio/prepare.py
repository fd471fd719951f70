"""From what a person asked for to a run folder: every setting resolved, the rows frozen, every problem named at once.

`plan` only looks; `submit` makes the run, which then waits in the queue.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from studio import config as config_
from studio import datasets, families, sizes
from studio.bases import source as source_
from studio.config import Config, ConfigError, PlainConfig, Problem
from studio.folders import edits, runs
from studio.folders.records import Row
from studio.messages import Message, word
from studio.optimizers import OPTIMIZERS
from studio.plans import DatasetRecord, Plan, check_objective, check_recipe, check_space, disk_bytes, sides
from studio.system import machine

AnySection = TypeVar("AnySection", bound=config_.Section)
WEAKEST = {  # under every family's own defaults
    "data": {"resolution": 512},
    "train": {"batch_size": 1, "max_steps": 1000, "mixed_precision": "no"},
    "optim": {"learning_rate": 1e-5, "lr_scheduler": "constant"},
    "sample": {"guidance_scale": 7.5, "prompts": []},
}
OF_THE_CHECKPOINT = (  # what a branch cannot change: the weights' and the optimizer's shape, and the frozen rows
    "model.", "lora.rank", "lora.alpha", "lora.targets", "lora.dora", "optim.name", "optim.fused_backward",
    "ema.enabled", "data.dataset", "data.config_name", "data.revision", "data.split",
    "data.data_", "data.image_column", "data.caption_column", "data.max_", "validation.share", "validation.pictures",
)


def plan(home: Path, config: PlainConfig, *, token: str | None = None) -> Plan:
    """Everything a run of this (partial) config would be, and every problem; raises nothing for a person's faults.

    Works with files alone, except for a Hub base that is not here: its small files are then fetched with `token`.
    """
    draft = Plan()
    asked = _load(config, draft)
    defaults = _look_at_base(config, draft, token)
    dataset = _look_at_dataset(home, config, draft)
    facts = machine.facts(home)
    draft.problems += machine.problems(facts, _section(config_.Train, config, "train"),
                                       _section(config_.Compute, config, "compute"))
    if asked is None or defaults is None:
        return draft
    draft.config = _resolve(asked, draft, defaults, _measured(home, asked, defaults), dataset)
    if draft.config is None:
        return draft
    check_recipe(draft.config, defaults, draft)
    check_space(home, draft.config, facts, draft)
    if not token:
        no_token = Message("there is no Hugging Face token to do this with: sign in (`hf auth login`), or set HF_TOKEN "
                           "to one that may write")
        if draft.config.hub.push:
            draft.fault("hub.push", no_token)
        if draft.config.compute.backend != "local":
            draft.fault("compute.backend", no_token)
    return draft


def _no_more_faults(plan: Plan) -> None:
    """What looks at a plan where nobody else has rules of their own."""


def submit(home: Path, *, name: str, owner: str, config: PlainConfig, parent: Mapping[str, object] | None = None,
           token: str | None = None, look: Callable[[Plan], None] = _no_more_faults, held: float = 0.0) -> runs.Run:
    """A new run, waiting in the queue; `look` may find more faults, `held` is as for `runs.create`. Raises ConfigError
    with every problem at once."""
    ready = plan(home, config, token=token)
    look(ready)
    if ready.config is None or ready.problems:
        raise ConfigError(ready.problems)
    dataset = datasets.find(home, ready.config.data.dataset)
    with datasets.relying(home):
        rows = chosen_rows(dataset.freeze(), ready.config.data, ready.config.validation, ready.config.train.seed or 0)
        facts: DatasetRecord = {**ready.dataset, "fingerprint": dataset.fingerprint(),
                                "count": len(_training_rows(rows))}
        return runs.create(home, name=name, owner=owner, config=ready.config, rows=rows, parent=parent,
                           extra={"dataset": facts}, held=held)


def branch(home: Path, parent: runs.Run, *, name: str, owner: str, checkpoint: str | None = None,
           config: PlainConfig | None = None, look: Callable[[Plan], None] = _no_more_faults,
           held: float = 0.0) -> runs.Run:
    """A new run that goes on from a checkpoint of `parent` (by default its newest), waiting in the queue.

    `config` holds the settings that change; `look` may find more faults; `held` is as for `runs.create`. Raises
    Refused where there is no such checkpoint, Corrupt for a damaged one, ConfigError with every setting that cannot be
    as asked.
    """
    checkpoints = dict(parent.valid_checkpoints())  # newest first
    path = _checkpoint_named(checkpoint, list(checkpoints))
    manifest = checkpoints[path]
    asked = config or {}
    before = parent.config()
    config_.load(asked)
    created = config_.load(config_.merge(config_.dump(parent.created_config()), asked))
    remaining_edits = edits.without(parent.edits(), _overruled(asked))
    settings = edits.edited(created, remaining_edits)
    changes = config_.differences(config_.dump(before), config_.dump(settings))
    draft = _branch_plan(settings, changes)
    if (settings.train.max_steps or 0) <= manifest["step"]:
        draft.fault("train.max_steps",
                    Message("{name} is at step {step} already: set more steps than that", name=path.name,
                            step=manifest["step"]))
    _check_changes(home, settings, changes, draft)
    draft.checkpoint_bytes = sum(file["size"] for file in manifest["files"].values())
    draft.disk_bytes = disk_bytes(settings, draft.checkpoint_bytes)
    look(draft)
    if draft.problems:
        raise ConfigError(draft.problems)
    with datasets.relying(home):
        return runs.branch(home, parent, path, name=name, owner=owner, config=created, edits=remaining_edits,
                           changes=list(changes.values()), held=held)


def _checkpoint_named(name: str | None, checkpoints: list[Path]) -> Path:
    """The checkpoint of that name, the first where none is named. Raises Refused where there is no such one."""
    if name is None and checkpoints:
        return checkpoints[0]
    for path in checkpoints:
        if path.name == name:
            return path
    if name:
        names = ", ".join(path.name for path in checkpoints) or Message("none")
        raise runs.Refused(Message("a run is branched from one of its checkpoints, and this one has no checkpoint "
                                   "{name}; there are: {names}", name=repr(name[:40]), names=names))
    raise runs.Refused(Message("a run is branched from one of its checkpoints, and this one has none yet"))


def _branch_plan(settings: Config, changes: Mapping[str, Message]) -> Plan:
    """A branch with these settings, with a problem for each of its `changes` (by path) that cannot be."""
    fixed = Message("a branch keeps what its checkpoint was made with: start a new run to change this")
    problems = [Problem(path, fixed) for path in changes if path.startswith(OF_THE_CHECKPOINT)]
    return Plan(settings, problems=problems)


def _check_changes(home: Path, settings: Config, changes: Mapping[str, Message], draft: Plan) -> None:
    """Note what of a branch's settings the optimizer and this machine cannot do, and what of its changes the base."""
    draft.problems += OPTIMIZERS[settings.optim.name].faults(settings)
    draft.problems += machine.problems(machine.facts(home), settings.train, settings.compute)
    family = source_.family_of(settings.model)
    if any(path.startswith("objective.") for path in changes):
        check_objective(settings, family, draft)
    changed_sides = {path: side for path, side in sides(settings).items() if path in changes}
    draft.problems += families.side_problems(family, source_.here(settings.model), changed_sides)


def _overruled(asked: PlainConfig) -> set[str]:
    """The settings whose edits a branch that asks for these leaves behind."""
    named = {path for path, value in config_.settings_in(asked) if value is not None}
    if "optim.learning_rate" in named:
        named.add("optim.lr_multiplier")
    return named


def _load(config: PlainConfig, draft: Plan) -> Config | None:
    """The checked config; None where it has faults, which are noted."""
    try:
        return config_.load(config)
    except ConfigError as error:
        draft.problems += error.problems
        return None


def _section(kind: type[AnySection], config: PlainConfig, name: str) -> AnySection | None:
    """One section alone, so that a fault elsewhere hides no other; None when it is the faulty one (told by `_load`)."""
    if not isinstance(config, dict):
        return None
    try:
        return kind.model_validate(config.get(name, {}))
    except ValidationError:
        return None


def _look_at_base(config: PlainConfig, draft: Plan, token: str | None) -> PlainConfig | None:
    """The base's recommended settings; None when there is no usable base."""
    model = _section(config_.Model, config, "model")
    if model is None:
        return None
    if model.family:
        try:
            families.get(model.family)
        except families.BaseProblem as error:
            draft.fault("model.family", str(error))
            return None
    try:
        source = source_.fetch_configs(None, model.base, model.revision, model.variant, token)
        draft.source = source
        family = families.of(source)
        draft.family = family
        draft.weights = sizes.parameters(source, family.denoiser)
        if model.family and model.family != family.name:
            draft.warnings.append(Message("the base is of the family {family}, not {name}: the base's own is taken",
                                          family=family.name, name=model.family))
        draft.warnings += family.warnings(source)
        suggested = family.defaults(source, model.method)
        return config_.merge({"objective": {"prediction_type": family.prediction_types[0]}}, suggested)
    except families.BaseProblem as error:
        draft.fault("model.base", str(error))
    except OSError as error:
        draft.fault("model.base",
                    Message("{base} cannot be read ({why}): check the folder's rights", base=model.base,
                            why=error.strerror or error))
    return None


def _look_at_dataset(home: Path, config: PlainConfig, draft: Plan) -> datasets.Dataset | None:
    """The data set, with its training rows noted; None when there is no usable one."""
    data = _section(config_.Data, config, "data")
    if data is None:
        return None
    dataset = _ready_dataset(home, data.dataset, draft)
    if dataset is None:
        return None
    train = _section(config_.Train, config, "train")
    seed = draft.seed
    if train is not None and train.seed is not None:
        seed = train.seed
    validation = _section(config_.Validation, config, "validation") or config_.Validation()
    rows = chosen_rows(dataset.rows(0, dataset.count), data, validation, seed)
    draft.rows = _training_rows(rows)
    draft.dataset = {"id": dataset.id, "name": dataset.name, "fingerprint": dataset.fingerprint(),
                     "count": len(draft.rows)}
    if not draft.rows:
        draft.fault("data.dataset",
                    Message("the data set {name} has no pictures to train on: add some", name=repr(dataset.name)))
    bare = sum(not any(map(str.strip, row["captions"])) for row in draft.rows)
    if bare:
        draft.warnings.append(Message("{bare} of {all} pictures have no caption: they are learnt without words",
                                      bare=bare, all=len(draft.rows)))
    return dataset


def _ready_dataset(home: Path, id: str, draft: Plan) -> datasets.Dataset | None:
    """The data set of that id; None where there is none, or its pictures are not there (yet), which is noted."""
    try:
        dataset = datasets.find(home, id)
    except datasets.NotFound:
        draft.fault("data.dataset",
                    Message("there is no data set {name}: {advice}", name=repr(id), advice=datasets.advice(id)))
        return None
    if dataset.state == "importing":
        draft.fault("data.dataset",
                    Message("the data set {name} is not ready ({state}): wait until it is there",
                            name=repr(dataset.name), state=word(dataset.state)))
        return None
    if dataset.state != "ready":
        draft.fault("data.dataset",
                    Message("the data set {name} is not ready ({state}): upload the pictures again",
                            name=repr(dataset.name), state=word(dataset.state)))
        return None
    return dataset


def _training_rows(rows: list[Row]) -> list[Row]:
    """Those that are trained on."""
    return [row for row in rows if row["split"] == "train"]


def chosen_rows(rows: list[Row], data: config_.Data, validation: config_.Validation, seed: int) -> list[Row]:
    """The rows that a run keeps: split `train` to learn from, the others held out."""
    return datasets.train_and_held_out(rows, seed, most=data.max_samples, share=validation.share,
                                       held=validation.pictures)


def _measured(home: Path, asked: Config, defaults: PlainConfig) -> PlainConfig:
    """What this machine suggests for what was asked."""
    if asked.compute.backend != "local":
        return machine.rented(asked.compute)
    side = asked.data.resolution or defaults.get("data", {}).get("resolution")
    return machine.suggestion(home, asked.train.mixed_precision, side)


def _resolve(asked: Config, draft: Plan, defaults: PlainConfig, measured: PlainConfig,
             dataset: datasets.Dataset | None) -> Config | None:
    """The config with every empty setting filled; None where one stays empty, which is noted."""
    suggested: PlainConfig = {"optim": OPTIMIZERS[asked.optim.name].suggests}
    if dataset is not None:
        prompts = dataset.suggested_prompts()
        if prompts:
            suggested["sample"] = {"prompts": prompts}
    if draft.family is not None:
        asked = asked.model_copy(update={"model": asked.model.model_copy(update={"family": draft.family.name})})
    try:
        pictures = sum(row.get("repeats", 1) for row in draft.rows)  # in one pass
        return config_.resolve(asked, WEAKEST, defaults, measured, suggested, pictures=max(1, pictures),
                               seed=draft.seed, cores=machine.cores())
    except ConfigError as error:
        draft.problems += error.problems
        return None
