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
from studio import datasets, edits, families, machine, runs, sizes, storage
from studio.config import Config, ConfigError, Problem
from studio.families import Family, Source
from studio.families import source as source_
from studio.optimizers import OPTIMIZERS

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
                found.fault(path, "there is no Hugging Face token to do this with: sign in (`hf auth login`), or set "
                            "HF_TOKEN to one that may write")
    return found


def submit(home: Path, *, name: str, owner: str, config: dict[str, Any], parent: dict[str, Any] | None = None,
           token: str | None = None, look: Callable[[Plan], None] = lambda plan: None) -> runs.Run:
    """A new run, waiting in the queue; `look` may find more faults. Raises ConfigError with every problem at once."""
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
                           extra={"dataset": facts})


def branch(home: Path, parent: runs.Run, *, name: str, owner: str, checkpoint: str | None = None,
           config: dict[str, Any] | None = None, look: Callable[[Plan], None] = lambda plan: None) -> runs.Run:
    """A new run that goes on from a checkpoint of `parent` (by default its newest), waiting in the queue.

    `config` holds the settings that change; `look` may find more faults. Raises Refused where there is no such
    checkpoint, Corrupt for a damaged one, ConfigError with every setting that cannot be as asked.
    """
    kept = {path.name: (path, facts) for path, facts in parent.valid_checkpoints()}
    chosen = checkpoint if checkpoint is not None else next(iter(kept), None)
    if chosen not in kept:
        wish = f"no checkpoint {chosen[:40]!r}; there are: {', '.join(kept) or 'none'}" if chosen else "none yet"
        raise runs.Refused(f"a run is branched from one of its checkpoints, and this one has {wish}")
    path, facts = kept[chosen]
    before, asked = parent.config(), config or {}
    config_.load(asked)
    created = config_.load(config_.merge(config_.dump(parent.created_config()), asked))
    kept_edits = edits.without(parent.edits(), _overruled(asked))
    settings = edits.edited(created, kept_edits)
    changed = config_.differences(config_.dump(before), config_.dump(settings))
    found = Plan(settings, problems=[Problem(field=name, message="a branch keeps what its checkpoint was made with: "
                                             "start a new run to change this")
                                     for name in changed if name.startswith(OF_THE_CHECKPOINT)])
    if (settings.train.max_steps or 0) <= facts["step"]:
        found.fault("train.max_steps", f"{path.name} is at step {facts['step']} already: set more steps than that")
    found.problems += OPTIMIZERS[settings.optim.name].faults(settings)
    found.problems += machine.problems(machine.facts(home), settings.train, settings.compute)
    family = source_.family_of(settings.model)
    if any(name.startswith("objective.") for name in changed):
        _check_objective(settings, family, found)
    sides = {name: side for name, side in _sides(settings).items() if name in changed}
    found.problems += side_problems(family, source_.here(settings.model), sides)
    found.checkpoint_bytes = sum(file["size"] for file in facts["files"].values())
    found.disk_bytes = math.ceil((settings.checkpoint.keep + 1) * DISK_MARGIN * found.checkpoint_bytes)
    look(found)
    if found.problems:
        raise ConfigError(found.problems)
    with datasets.relying(home):
        return runs.branch(home, parent, path, name=name, owner=owner, config=created, edits=kept_edits,
                           changes=list(changed.values()))


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
            found.warnings.append(f"the base is of the family {family.name}, not {model.family}: the base's own is "
                                  "taken")
        found.warnings += family.warnings(found.source)
        suggested = family.defaults(found.source, model.method)
        return config_.merge({"objective": {"prediction_type": family.prediction_types[0]}}, suggested)
    except families.BaseProblem as error:
        found.fault("model.base", str(error))
    except OSError as error:
        found.fault("model.base", f"{model.base} cannot be read ({error.strerror or error}): check the folder's rights")
    return None


def _look_at_dataset(home: Path, config: dict[str, Any], found: Plan) -> datasets.Dataset | None:
    data = _section(config_.Data, config, "data")
    if data is None:
        return None
    try:
        chosen = datasets.find(home, data.dataset)
    except datasets.NotFound:
        found.fault("data.dataset", f"there is no data set {data.dataset!r}: {datasets.advice(data.dataset)}")
        return None
    if chosen.state != "ready":
        wait = "wait until it is there" if chosen.state == "importing" else "upload the pictures again"
        found.fault("data.dataset", f"the data set {chosen.name!r} is not ready ({chosen.state}): {wait}")
        return None
    train = _section(config_.Train, config, "train")
    seed = found.seed if train is None or train.seed is None else train.seed
    validation = _section(config_.Validation, config, "validation") or config_.Validation()
    rows = chosen_rows(chosen.rows(0, chosen.count), data, validation, seed)
    found.rows = [row for row in rows if row["split"] == "train"]
    found.dataset = {"id": chosen.id, "name": chosen.name, "fingerprint": chosen.fingerprint(),
                     "count": len(found.rows)}
    if not found.rows:
        found.fault("data.dataset", f"the data set {chosen.name!r} has no pictures to train on: add some")
    bare = sum(not any(caption.strip() for caption in row["captions"]) for row in found.rows)
    if bare:
        found.warnings.append(f"{bare} of {len(found.rows)} pictures have no caption: they are learnt without words")
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
            found.fault("track.report_to", f"{package} is not installed here: add it by `pip install {package}` in the "
                        "studio's environment, or leave it out")
    own, side = defaults.get("data", {}).get("resolution"), config.data.resolution
    if own and side and not own / 2 <= side <= own * 2:
        found.warnings.append(f"the base draws at {own} px: at {side} px it learns poorly")
    window = (config.train.batch_size or 1) * config.train.gradient_accumulation_steps * config.compute.num_processes
    if found.rows and window > len(found.rows):
        found.warnings.append(f"one update asks for {window} pictures and the data set has {len(found.rows)}: each "
                              f"update sees all of them, and no more")


def _check_objective(config: Config, family: Family, found: Plan) -> None:
    """What the run learns, and what of the objective has no formula for that."""
    objective, learns = config.objective, config.objective.prediction_type or ""
    if learns not in family.prediction_types:
        found.fault("objective.prediction_type", f"{family.title} knows {', '.join(family.prediction_types)}")
        return
    for name, kinds in families.FORMULAS.items():
        if getattr(objective, name) and learns not in kinds:
            _tell_prediction(name, learns, found)
    if objective.zero_terminal_snr and objective.snr_gamma and learns in families.FORMULAS["zero_terminal_snr"]:
        found.warnings.append("SNR gamma gives the last time, which zero terminal SNR is about, no weight: set "
                              "objective.snr_gamma 0")


def _tell_prediction(name: str, prediction_type: str, found: Plan) -> None:
    """That a setting of the objective has no formula for what the run learns, and what to do."""
    path = f"objective.{name}"
    if name == "dream":
        found.fault(path, f"DREAM has a formula for epsilon only, and this run learns {prediction_type}: turn it off")
    elif name == "snr_gamma":
        found.fault(path, "min-SNR weights have formulas for epsilon and v_prediction, and this run learns "
                    f"{prediction_type}: set 0")
    elif name == "zero_terminal_snr" and prediction_type == "flow":
        found.fault(path, "a flow's last time is noise alone already: turn this off")
    elif name == "zero_terminal_snr":
        found.fault(path, "at the last time the input is noise alone: a model that predicts the noise learns nothing "
                    "there, and drawing would divide by zero: set objective.prediction_type `v_prediction`, or turn "
                    "this off")
    else:
        found.fault(path, f"times are chosen only where a model learns flow, and this run learns {prediction_type}: "
                    "leave it empty")


def _check_sides(config: Config, family: Family, found: Plan) -> None:
    if found.source is not None:
        found.problems += side_problems(family, found.source, _sides(config))


def _sides(config: Config) -> dict[str, int | None]:
    """Every side of a picture that the config names, by its setting."""
    data, sample = config.data, config.sample
    return {"data.resolution": data.resolution, "data.bucket_step": data.bucket_step if data.buckets else None,
            "sample.width": sample.width, "sample.height": sample.height}


def side_problems(family: Family, base: Source | None, sides: dict[str, int | None]) -> list[Problem]:
    """Sides in pixels, by their field, that the family cannot draw or the base's layers would cut, silently or not.

    A base that is gone (None) says nothing of what its sides are multiples of."""
    step = family.side_step(base) if base else 1
    found = [Problem(field=field, message=f"every side of a picture is a multiple of {step} pixels for this base: set "
                     f"{max(1, round(side / step)) * step}") for field, side in sides.items() if side and side % step]
    return found + [Problem(field=field, message=f"{family.title} takes sides of at most {family.largest_side} pixels: "
                            "set fewer") for field, side in sides.items() if side and side > family.largest_side]


def _check_method(config: Config, family: Family, defaults: dict[str, Any], found: Plan) -> None:
    if config.model.train_text_encoder and not family.text_encoders:
        found.fault("model.train_text_encoder", f"the text encoders of {family.title} cannot be trained: turn it off")
    if config.model.method != "lora":
        return
    if config.lora.targets not in family.lora_targets:
        known = ", ".join(family.lora_targets) or "none, so choose the method `full`"
        found.fault("lora.targets", f"{family.title} has no such layers; there are: {known}")
    own = defaults.get("objective", {}).get("prediction_type")
    if own and config.objective.prediction_type != own:
        found.warnings.append(f"a LoRA does not carry its prediction type: it draws well only where the base's "
                              f"scheduler is set to {config.objective.prediction_type} (the base's own is {own})")
    if config.objective.zero_terminal_snr:
        found.warnings.append("a LoRA does not carry its noise schedule: set rescale_betas_zero_snr and trailing "
                              "timestep_spacing where it is used")


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
        found.warnings.append("the base is not on this machine yet: its download and checkpoints need disk space that "
                              "is not known before")
        return
    found.disk_bytes = math.ceil((config.checkpoint.keep + 1) * DISK_MARGIN * found.checkpoint_bytes)
    gathered = sizes.gathered_bytes(config, trained, frozen, bool(facts["gpus"]))
    found.memory_bytes = sizes.weight_bytes(config, trained, frozen, bool(facts["gpus"])) + RUNTIME_BYTES + gathered
    free = storage.free_bytes(home / "runs")
    if found.disk_bytes > free:
        found.fault("checkpoint.keep", f"{config.checkpoint.keep + 1} checkpoints need {_gb(found.disk_bytes)} of disk "
                    f"and {_gb(free)} are free: keep fewer, or delete old runs")
    if config.compute.backend != "local":
        return
    gpus = facts["gpus"]
    memory, where = (gpus[0]["memory_bytes"], gpus[0]["name"]) if gpus else (facts["memory_bytes"], "this machine")
    processes = 1 if gpus else config_.local_processes(config.compute)
    needed = processes * (found.memory_bytes - gathered) + gathered
    if needed > memory:
        found.fault("model.base", f"this needs at least {_gb(needed)} of memory for the weights alone and {where} has "
                    f"{_gb(memory)}: choose a smaller base{'' if frozen else ', or the method `lora`'}")
    elif needed > 0.7 * memory:
        found.warnings.append(f"memory may run out: the weights alone need {_gb(needed)} of {_gb(memory)}; keep the "
                              "batch size and the resolution low")


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"
