"""From what a person asked for to a run folder: every setting resolved, the rows frozen, every problem named at once.

`plan` only looks; `submit` makes the run, which then waits in the queue.
"""

from __future__ import annotations

import importlib.util
import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from studio import config as config_
from studio import datasets, families, sizes, storage
from studio.bases import source as source_
from studio.config import Config, ConfigError, Problem
from studio.families import Family, Source
from studio.folders import edits, runs
from studio.messages import Message, word
from studio.optimizers import OPTIMIZERS
from studio.system import machine

DISK_MARGIN = 1.2
RUNTIME_BYTES = 700 << 20  # resident size of torch and diffusers themselves
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


@dataclass
class Plan:
    """What a run would be. `config` is resolved, and None where a fault forbids it; sizes in bytes, 0 = unknown."""

    config: Config | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    source: Source | None = None
    family: Family | None = None
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    weights: int = 0  # of the denoiser
    checkpoint_bytes: int = 0
    disk_bytes: int = 0
    memory_bytes: int = 0
    dataset: dict[str, Any] = field(default_factory=dict)
    seed: int = field(default_factory=lambda: secrets.randbelow(2**32))  # where the config has none

    def fault(self, path: str, message: str) -> None:
        """Note a problem that belongs to the setting `path`."""
        self.problems.append(Problem(field=path, message=message))


def plan(home: Path, config: dict[str, Any], *, token: str | None = None) -> Plan:
    """Everything a run of this (partial) config would be, and every problem; raises nothing for a person's faults.

    Works with files alone, except for a Hub base that is not here: its small files are then fetched with `token`.
    """
    found = Plan()
    asked = _load(config, found)
    defaults = _look_at_base(config, found, token)
    found_set = _look_at_dataset(home, config, found)
    facts = machine.facts(home)
    _check_compute(config, facts, found)
    if asked is not None and defaults is not None:
        found.config = _resolve(asked, found, defaults, _measured(home, asked, defaults), found_set)
        if found.config is not None:
            _check_recipe(found.config, defaults, found)
            _check_space(home, found.config, facts, found)
            needs = {"hub.push": found.config.hub.push, "compute.backend": found.config.compute.backend != "local"}
            for path in (path for path, wanted in needs.items() if wanted and not token):
                found.fault(path,
                            Message("there is no Hugging Face token to do this with: sign in (`hf auth login`), or set "
                                    "HF_TOKEN to one that may write"))
    return found


def submit(home: Path, *, name: str, owner: str, config: dict[str, Any], parent: dict[str, Any] | None = None,
           token: str | None = None, look: Callable[[Plan], None] = lambda plan: None, held: float = 0.0) -> runs.Run:
    """A new run, waiting in the queue; `look` may find more faults, `held` is as for `runs.create`. Raises ConfigError
    with every problem at once."""
    ready = plan(home, config, token=token)
    look(ready)
    if ready.config is None or ready.problems:
        raise ConfigError(ready.problems)
    chosen = datasets.find(home, ready.config.data.dataset)
    with datasets.relying(home):
        rows = chosen_rows(chosen.freeze(), ready.config.data, ready.config.validation, ready.config.train.seed or 0)
        count = sum(row["split"] == "train" for row in rows)
        facts = {**ready.dataset, "fingerprint": chosen.fingerprint(), "count": count}
        return runs.create(home, name=name, owner=owner, config=ready.config, rows=rows, parent=parent,
                           extra={"dataset": facts}, held=held)


def branch(home: Path, parent: runs.Run, *, name: str, owner: str, checkpoint: str | None = None,
           config: dict[str, Any] | None = None, look: Callable[[Plan], None] = lambda plan: None,
           held: float = 0.0) -> runs.Run:
    """A new run that goes on from a checkpoint of `parent` (by default its newest), waiting in the queue.

    `config` holds the settings that change; `look` may find more faults; `held` is as for `runs.create`. Raises
    Refused where there is no such checkpoint, Corrupt for a damaged one, ConfigError with every setting that cannot be
    as asked.
    """
    kept = {path.name: (path, facts) for path, facts in parent.valid_checkpoints()}
    chosen = checkpoint if checkpoint is not None else next(iter(kept), None)
    if chosen not in kept:
        raise runs.Refused(
            Message("a run is branched from one of its checkpoints, and this one has no checkpoint {name}; there are: "
                    "{names}", name=repr(chosen[:40]), names=", ".join(kept) or Message("none")) if chosen else
            Message("a run is branched from one of its checkpoints, and this one has none yet"))
    path, facts = kept[chosen]
    before, asked = parent.config(), config or {}
    config_.load(asked)
    created = config_.load(config_.merge(config_.dump(parent.created_config()), asked))
    kept_edits = edits.without(parent.edits(), _overruled(asked))
    settings = edits.edited(created, kept_edits)
    changed = config_.differences(config_.dump(before), config_.dump(settings))
    kept_so = Message("a branch keeps what its checkpoint was made with: start a new run to change this")
    found = Plan(settings, problems=[Problem(name, kept_so) for name in changed if name.startswith(OF_THE_CHECKPOINT)])
    if (settings.train.max_steps or 0) <= facts["step"]:
        found.fault("train.max_steps",
                    Message("{name} is at step {step} already: set more steps than that", name=path.name,
                            step=facts["step"]))
    found.problems += OPTIMIZERS[settings.optim.name].faults(settings)
    found.problems += machine.problems(machine.facts(home), settings.train, settings.compute)
    family = source_.family_of(settings.model)
    if any(name.startswith("objective.") for name in changed):
        _check_objective(settings, family, found)
    sides = {name: side for name, side in _sides(settings).items() if name in changed}
    found.problems += families.side_problems(family, source_.here(settings.model), sides)
    found.checkpoint_bytes = sum(file["size"] for file in facts["files"].values())
    found.disk_bytes = math.ceil((settings.checkpoint.keep + 1) * DISK_MARGIN * found.checkpoint_bytes)
    look(found)
    if found.problems:
        raise ConfigError(found.problems)
    with datasets.relying(home):
        return runs.branch(home, parent, path, name=name, owner=owner, config=created, edits=kept_edits,
                           changes=list(changed.values()), held=held)


def _overruled(asked: dict[str, Any]) -> set[str]:
    """The settings whose edits a branch that asks for these leaves behind."""
    named = {f"{section}.{name}" for section, values in asked.items() if isinstance(values, dict)
             for name, value in values.items() if value is not None}
    return named | ({"optim.lr_multiplier"} if "optim.learning_rate" in named else set())


def _load(config: dict[str, Any], found: Plan) -> Config | None:
    try:
        return config_.load(config)
    except ConfigError as error:
        found.problems += error.problems
        return None


def _section(kind: type[config_.Section], config: Any, name: str) -> Any | None:
    """One section alone, so that a fault elsewhere hides no other; None when it is the faulty one (told by `_load`)."""
    given = config.get(name, {}) if isinstance(config, dict) else None
    try:
        return kind.model_validate(given)
    except ValidationError:
        return None


def _look_at_base(config: dict[str, Any], found: Plan, token: str | None) -> dict[str, Any] | None:
    """The base's recommended settings; None when there is no usable base."""
    model = _section(config_.Model, config, "model")
    if model is None:
        return None
    if model.family:
        try:
            families.get(model.family)
        except families.BaseProblem as error:
            found.fault("model.family", str(error))
            return None
    try:
        found.source = source_.fetch_configs(None, model.base, model.revision, model.variant, token)
        found.family = family = families.of(found.source)
        found.weights = sizes.parameters(found.source, family.denoiser)
        if model.family and model.family != family.name:
            found.warnings.append(Message("the base is of the family {family}, not {name}: the base's own is taken",
                                          family=family.name, name=model.family))
        found.warnings += family.warnings(found.source)
        suggested = family.defaults(found.source, model.method)
        return config_.merge({"objective": {"prediction_type": family.prediction_types[0]}}, suggested)
    except families.BaseProblem as error:
        found.fault("model.base", str(error))
    except OSError as error:
        found.fault("model.base",
                    Message("{base} cannot be read ({why}): check the folder's rights", base=model.base,
                            why=error.strerror or error))
    return None


def _look_at_dataset(home: Path, config: dict[str, Any], found: Plan) -> datasets.Dataset | None:
    data = _section(config_.Data, config, "data")
    if data is None:
        return None
    try:
        chosen = datasets.find(home, data.dataset)
    except datasets.NotFound:
        found.fault("data.dataset",
                    Message("there is no data set {name}: {advice}", name=repr(data.dataset),
                            advice=datasets.advice(data.dataset)))
        return None
    if chosen.state != "ready":
        found.fault("data.dataset",
                    Message("the data set {name} is not ready ({state}): wait until it is there",
                            name=repr(chosen.name), state=word(chosen.state)) if chosen.state == "importing" else
                    Message("the data set {name} is not ready ({state}): upload the pictures again",
                            name=repr(chosen.name), state=word(chosen.state)))
        return None
    train = _section(config_.Train, config, "train")
    seed = found.seed if train is None or train.seed is None else train.seed
    validation = _section(config_.Validation, config, "validation") or config_.Validation()
    rows = chosen_rows(chosen.rows(0, chosen.count), data, validation, seed)
    found.rows = [row for row in rows if row["split"] == "train"]
    found.dataset = {"id": chosen.id, "name": chosen.name, "fingerprint": chosen.fingerprint(),
                     "count": len(found.rows)}
    if not found.rows:
        found.fault("data.dataset",
                    Message("the data set {name} has no pictures to train on: add some", name=repr(chosen.name)))
    bare = sum(not any(caption.strip() for caption in row["captions"]) for row in found.rows)
    if bare:
        found.warnings.append(Message("{bare} of {all} pictures have no caption: they are learnt without words",
                                      bare=bare, all=len(found.rows)))
    return chosen


def chosen_rows(rows: list[dict[str, Any]], data: config_.Data, validation: config_.Validation,
            seed: int) -> list[dict[str, Any]]:
    """The rows that a run keeps: split `train` to learn from, the others held out."""
    return datasets.choose(rows, seed, most=data.max_samples, share=validation.share, held=validation.pictures)


def _measured(home: Path, asked: Config, defaults: dict[str, Any]) -> dict[str, Any]:
    """What this machine suggests for what was asked."""
    if asked.compute.backend != "local":
        return machine.rented(asked.compute)
    side = asked.data.resolution or defaults.get("data", {}).get("resolution")
    return machine.suggestion(home, asked.train.mixed_precision, side)


def _resolve(asked: Config, found: Plan, defaults: dict[str, Any], measured: dict[str, Any],
             chosen: datasets.Dataset | None) -> Config | None:
    prompts = chosen.suggested_prompts() if chosen else []
    own: dict[str, Any] = {"optim": OPTIMIZERS[asked.optim.name].suggests}
    if found.family is not None:
        asked = asked.model_copy(update={"model": asked.model.model_copy(update={"family": found.family.name})})
    if prompts:
        own["sample"] = {"prompts": prompts}
    try:
        taken = sum(row.get("repeats", 1) for row in found.rows)  # in one pass
        return config_.resolve(asked, WEAKEST, defaults, measured, own, pictures=max(1, taken), seed=found.seed,
                               cores=machine.cores())
    except ConfigError as error:
        found.problems += error.problems
        return None


def _check_compute(config: dict[str, Any], facts: dict[str, Any], found: Plan) -> None:
    """What this machine cannot do, section by section."""
    train, compute = (_section(kind, config, kind.__name__.lower()) for kind in (config_.Train, config_.Compute))
    found.problems += machine.problems(facts, train, compute)


def _check_recipe(config: Config, defaults: dict[str, Any], found: Plan) -> None:
    family = source_.family_of(config.model)
    _check_objective(config, family, found)
    _check_sides(config, family, found)
    optimizer = OPTIMIZERS[config.optim.name]
    found.problems += optimizer.faults(config)
    found.warnings += optimizer.warnings(config)
    _check_method(config, family, defaults, found)
    for package in config.track.report_to:
        if importlib.util.find_spec(package) is None:
            found.fault("track.report_to",
                        Message("{package} is not installed here: add it by `pip install {same}` in the studio's "
                                "environment, or leave it out", package=package, same=package))
    own, side = defaults.get("data", {}).get("resolution"), config.data.resolution
    if own and side and not own / 2 <= side <= own * 2:
        found.warnings.append(Message("the base draws at {own} px: at {side} px it learns poorly", own=own, side=side))
    window = (config.train.batch_size or 1) * config.train.gradient_accumulation_steps * config.compute.num_processes
    if found.rows and window > len(found.rows):
        found.warnings.append(Message("one update asks for {window} pictures and the data set has {count}: each update "
                                      "sees all of them, and no more", window=window, count=len(found.rows)))


def _check_objective(config: Config, family: Family, found: Plan) -> None:
    """What the run learns, and what of the objective has no formula for that."""
    objective, learns = config.objective, config.objective.prediction_type or ""
    if learns not in family.prediction_types:
        found.fault("objective.prediction_type",
                    Message("{family} knows {names}", family=family.title, names=", ".join(family.prediction_types)))
        return
    for name, kinds in families.FORMULAS.items():
        if getattr(objective, name) and learns not in kinds:
            found.fault(f"objective.{name}", families.no_formula(name, learns))
    if objective.zero_terminal_snr and objective.snr_gamma and learns in families.FORMULAS["zero_terminal_snr"]:
        found.warnings.append(Message("SNR gamma gives the last time, which zero terminal SNR is about, no weight: set "
                                      "objective.snr_gamma 0"))


def _check_sides(config: Config, family: Family, found: Plan) -> None:
    if found.source is not None:
        found.problems += families.side_problems(family, found.source, _sides(config))


def _sides(config: Config) -> dict[str, int | None]:
    """Every side of a picture that the config names, by its setting."""
    data, sample = config.data, config.sample
    return {"data.resolution": data.resolution, "data.bucket_step": data.bucket_step if data.buckets else None,
            "sample.width": sample.width, "sample.height": sample.height}


def _check_method(config: Config, family: Family, defaults: dict[str, Any], found: Plan) -> None:
    if config.model.train_text_encoder and not family.text_encoders:
        found.fault("model.train_text_encoder",
                    Message("the text encoders of {family} cannot be trained: turn it off", family=family.title))
    if config.model.method != "lora":
        return
    if config.lora.targets not in family.lora_targets:
        known = ", ".join(family.lora_targets) or Message("none, so choose the method `full`")
        found.fault("lora.targets",
                    Message("{family} has no such layers; there are: {names}", family=family.title, names=known))
    own = defaults.get("objective", {}).get("prediction_type")
    if own and config.objective.prediction_type != own:
        found.warnings.append(Message("a LoRA does not carry its prediction type: it draws well only where the base's "
                                      "scheduler is set to {kind} (the base's own is {own})",
                                      kind=config.objective.prediction_type, own=own))
    if config.objective.zero_terminal_snr:
        found.warnings.append(Message("a LoRA does not carry its noise schedule: set rescale_betas_zero_snr and "
                                      "trailing timestep_spacing where it is used"))


def _trained(config: Config, found: Plan) -> list[int]:
    """The number of weights in each tensor that changes; none when the base's files are not here."""
    family, source = source_.family_of(config.model), found.source
    targets = {family.denoiser: family.lora_targets.get(config.lora.targets), **_texts(config, family)}
    if source is None:
        return []
    if config.model.method == "full" or None in targets.values():
        return [size for part in targets for size in sizes.of(source, part)]
    return [size for part, layers in targets.items() for size in sizes.of_lora(source, part, config.lora, layers or ())]


def _texts(config: Config, family: Family) -> dict[str, tuple[str, ...]]:
    """The text encoders that learn, with the layers LoRA adds to."""
    return family.text_encoders if config.model.train_text_encoder else {}


def _check_space(home: Path, config: Config, facts: dict[str, Any], found: Plan) -> None:
    """Disk for (keep + 1) checkpoints; memory for weights, gradients, optimizer and average; activations excluded."""
    trained = _trained(config, found)
    frozen = found.weights if config.model.method == "lora" else 0
    found.checkpoint_bytes = sizes.checkpoint_bytes(trained, config)
    if not found.weights:
        found.warnings.append(Message("the base is not on this machine yet: its download and checkpoints need disk "
                                      "space that is not known before"))
        return
    found.disk_bytes = math.ceil((config.checkpoint.keep + 1) * DISK_MARGIN * found.checkpoint_bytes)
    gathered = sizes.gathered_bytes(config, trained, frozen, bool(facts["gpus"]))
    found.memory_bytes = sizes.weight_bytes(config, trained, frozen, bool(facts["gpus"])) + RUNTIME_BYTES + gathered
    free = storage.free_bytes(home / "runs")
    if found.disk_bytes > free:
        found.fault("checkpoint.keep",
                    Message("{count} checkpoints need {needed} of disk and {free} are free: keep fewer, or delete old "
                            "runs", count=config.checkpoint.keep + 1, needed=_gb(found.disk_bytes), free=_gb(free)))
    if config.compute.backend != "local":
        return
    gpus = facts["gpus"]
    memory, where = ((gpus[0]["memory_bytes"], gpus[0]["name"]) if gpus else
                     (facts["memory_bytes"], Message("this machine")))
    processes = 1 if gpus else config_.local_processes(config.compute)
    needed = processes * (found.memory_bytes - gathered) + gathered
    if needed > memory:
        found.fault("model.base",
                    Message("this needs at least {needed} of memory for the weights alone and {where} has {memory}: "
                            "choose a smaller base", needed=_gb(needed), where=where, memory=_gb(memory))
                    if frozen else Message("this needs at least {needed} of memory for the weights alone and {where} "
                                           "has {memory}: choose a smaller base, or the method `lora`",
                                           needed=_gb(needed), where=where, memory=_gb(memory)))
    elif needed > 0.7 * memory:
        found.warnings.append(Message("memory may run out: the weights alone need {needed} of {memory}; keep the batch "
                                      "size and the resolution low", needed=_gb(needed), memory=_gb(memory)))


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"
