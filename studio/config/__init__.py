"""A run's config: loaded and checked, completed from the base's suggestions, lifted from older files, described.

The settings themselves are lines of settings.py. `problems` of a ConfigError are every fault at once.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, TypedDict

from pydantic import ConfigDict, Field, ValidationError, model_validator

from studio.config.fields import Section, SectionSchema, SettingSchema, describe, problem, refusal
from studio.config.settings import (
    LR_SCHEDULES,
    Checkpoint,
    Compute,
    Data,
    Ema,
    Hub,
    Lora,
    Model,
    Objective,
    Optim,
    Sample,
    Track,
    Train,
    Validation,
)
from studio.errors import ConfigError, Problem, fault
from studio.messages import Message

__all__ = ["LR_SCHEDULES", "Compute", "Config", "ConfigError", "ConfigSchema", "Data", "Lora", "Model", "PlainConfig",
           "Problem", "Section", "SectionSchema", "SettingSchema", "Train", "Validation", "by_path", "differences",
           "dump", "fault", "load", "local_processes", "merge", "migrate", "needs_less_memory", "nested",
           "preview_size", "refusal", "resolve", "schema", "settings_in", "steps_per_epoch"]

PlainConfig = dict[str, Any]  # a config as JSON: {"schema": 1, section: {name: value}}
SCHEMA = 1
MOST_SETTINGS = 2000  # all there are, many times over
MOST_PROBLEMS = 100  # that are told at once; a file of other things has as many as it has lines
DRAWING_STEPS = 25  # where neither person nor base says how many
MAY_STAY_EMPTY = (
    "hub.model_id", "model.family", "model.revision", "model.variant",
    "data.config_name", "data.revision", "data.split", "data.data_dir", "data.data_files", "data.image_column",
    "data.caption_column", "data.max_rows", "data.bucket_step", "data.max_samples",
    "train.epochs", "optim.text_encoder_learning_rate", "compute.main_address", "sample.width", "sample.height",
    "objective.timestep_density", "objective.timestep_shift", "objective.logit_mean", "objective.logit_std",
    "objective.mode_scale",
)


class Config(Section):
    """The whole config of a run: one object per section, and the schema's number."""

    schema_version: Literal[1] = Field(SCHEMA, alias="schema", title="Schema")
    model: Model = Field(default_factory=Model)
    lora: Lora = Field(default_factory=Lora)
    data: Data = Field(default_factory=Data)
    train: Train = Field(default_factory=Train)
    optim: Optim = Field(default_factory=Optim)
    objective: Objective = Field(default_factory=Objective)
    ema: Ema = Field(default_factory=Ema)
    sample: Sample = Field(default_factory=Sample)
    validation: Validation = Field(default_factory=Validation)
    checkpoint: Checkpoint = Field(default_factory=Checkpoint)
    compute: Compute = Field(default_factory=Compute)
    track: Track = Field(default_factory=Track)
    hub: Hub = Field(default_factory=Hub)

    model_config = ConfigDict(extra="forbid", serialize_by_alias=True)

    @model_validator(mode="after")
    def _cross_checks(self) -> Config:
        faults = list(_cross_faults(self))
        if faults:
            raise ConfigError(faults)
        return self


class ConfigSchema(TypedDict):
    """All settings as data; `schema` is the version of configs."""

    schema: int
    sections: list[SectionSchema]


def load(data: object) -> Config:
    """A checked config from JSON-like `data` (partial is fine, older schemas are lifted).

    Raises ConfigError with every problem at once.
    """
    if not isinstance(data, dict):
        raise fault("", Message("a config is an object, not {kind}", kind=type(data).__name__))
    if len(data) + sum(len(values) for values in data.values() if isinstance(values, dict)) > MOST_SETTINGS:
        raise fault("", Message("a config has at most {count:,} settings", count=MOST_SETTINGS))
    data = migrate(data)
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        errors = error.errors(include_url=False)[:MOST_PROBLEMS]
    problems = list(dict.fromkeys(problem(error, by_path()) for error in errors))
    raise ConfigError(problems + _rest_problems(data, problems))


def _rest_problems(data: PlainConfig, problems: list[Problem]) -> list[Problem]:
    """What the cross-checks say of a config without the settings that are faulty by themselves."""
    faulty = {problem.field for problem in problems}
    rest: PlainConfig = {}
    for section, values in data.items():
        if str(section) in faulty:
            continue
        if isinstance(values, dict):
            values = {name: value for name, value in values.items() if f"{section}.{name}" not in faulty}
        rest[section] = values
    try:
        Config.model_validate(rest)
    except ConfigError as error:
        return error.problems
    except ValidationError:  # more faults than are told at once
        return []
    return []


def dump(config: Config) -> PlainConfig:
    """The config as plain JSON data, complete."""
    return config.model_dump(mode="json")


def migrate(data: PlainConfig) -> PlainConfig:
    """`data` lifted to the present schema. Raises ConfigError for a schema this version does not know."""
    version = data.get("schema", SCHEMA)
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= SCHEMA:
        raise fault("schema",
                    Message("unknown schema {version}: this studio knows schemas 1 to {known}; update the studio to "
                            "read a newer file", version=repr(version)[:40], known=SCHEMA))
    for step in MIGRATIONS[version - 1 :]:
        data = step(dict(data))
    return data


MIGRATIONS: list[Callable[[PlainConfig], PlainConfig]] = []  # MIGRATIONS[n-1] lifts a config of schema n to n+1


def merge(*layers: PlainConfig) -> PlainConfig:
    """Configs as JSON laid over each other, section by section; a later non-null value wins."""
    result: PlainConfig = {}
    for layer in layers:
        for section, values in layer.items():
            if isinstance(values, dict):
                into = result.setdefault(section, {})
                into.update({name: value for name, value in values.items() if value is not None})
            else:
                result[section] = values
    return result


def settings_in(config: PlainConfig) -> Iterator[tuple[str, object]]:
    """The path and the value of each setting that a config as JSON names."""
    for section, values in config.items():
        if isinstance(values, dict):
            for name, value in values.items():
                yield f"{section}.{name}", value


def nested(values: Mapping[str, object]) -> PlainConfig:
    """A partial config as JSON of settings' values by path; the way back of `settings_in`."""
    config: PlainConfig = {}
    for path, value in values.items():
        section, _, name = path.partition(".")
        config.setdefault(section, {})[name] = value
    return config


def differs(what: str, before: object, now: object) -> Message:
    """What was one thing and is another."""
    return Message("{what} was {before}, is {now}", what=what, before=before, now=now)


def differences(before: PlainConfig, now: PlainConfig) -> dict[str, Message]:
    """What differs between two complete configs as JSON: in words, by the setting's path."""
    values_before = dict(settings_in(before))
    return {path: differs(path, values_before.get(path), value) for path, value in settings_in(now)
            if values_before.get(path) != value}


def resolve(config: Config, *suggestions: PlainConfig, pictures: int, seed: int, cores: int) -> Config:
    """The config with every `null` default filled in.

    `suggestions` are partial configs as JSON, weakest first (family, base, machine, data set); what the person set
    always wins. `pictures` counts the training rows, `seed` is used when none is set, `cores` are this machine's.
    Only MAY_STAY_EMPTY stays null. Raises ConfigError.
    """
    weakest: PlainConfig = {
        "lora": {"alpha": config.lora.rank},
        "train": {"seed": seed},
        "sample": {"num_inference_steps": DRAWING_STEPS},
        "compute": {"num_threads": max(1, cores // local_processes(config.compute)), "attention": "sdpa",
                    "linear": "matmul"},
    }
    filled = merge(weakest, *suggestions, dump(config))
    train = filled["train"]
    if config.train.epochs is not None and config.train.max_steps is None and "batch_size" in train:
        train["max_steps"] = config.train.epochs * steps_per_epoch(
            pictures, train["batch_size"], config.train.gradient_accumulation_steps, config.compute.num_processes)
    if train.get("max_steps"):
        filled = merge(_intervals(train["max_steps"], filled["optim"].get("lr_scheduler")), filled)
    resolved = load(filled)
    _refuse_empty(resolved)
    steps = resolved.train.max_steps or 0
    warmup = resolved.optim.lr_warmup_steps or 0
    if warmup >= steps:  # asked here alone: a run that trains may be cut short in its warm-up
        raise fault("optim.lr_warmup_steps",
                    Message("{warmup} warm-up steps leave nothing of a run of {steps} steps: set fewer", warmup=warmup,
                            steps=steps))
    return resolved


def _refuse_empty(config: Config) -> None:
    """Return if every setting but MAY_STAY_EMPTY has a value. Raises ConfigError."""
    empty = [path for path, value in settings_in(dump(config)) if value is None and path not in MAY_STAY_EMPTY]
    if empty:
        no_value = Message("this base suggests no value: set one")
        raise ConfigError([Problem(field=path, message=no_value) for path in empty])


def _intervals(steps: int, scheduler: str | None) -> PlainConfig:
    """What follows from the number of steps where nobody says anything else, as a partial config."""
    # Adam's first updates move every weight by the whole rate, whatever its gradient is worth: a rate that rises
    # keeps more of what the base knew (benchmarks/RESULTS.md).
    warmup = min(500, steps // 10)
    if scheduler == "constant":
        warmup = 0
    return {
        "optim": {"lr_warmup_steps": warmup},
        "sample": {"every_steps": max(1, round(steps / 6))},
        "validation": {"every_steps": max(1, round(steps / 10))},
        "checkpoint": {"every_steps": max(1, math.ceil(steps / 3))},
    }


def suggestions(data: PlainConfig) -> PlainConfig:
    """The sections of `data`, a partial config that fills what a person left empty.

    Raises ConfigError, also for a setting that is never empty: what it suggests would be passed over in silence.
    """
    load(data)
    sections = {name: values for name, values in migrate(data).items() if isinstance(values, dict)}
    suggested = dict(settings_in(sections))
    never_empty = [path for path, field in by_path().items() if path in suggested and field["default"] is not None]
    if never_empty:
        useless = Message("it is never empty, so nothing can be suggested for it: leave it out")
        raise ConfigError([Problem(field=path, message=useless) for path in never_empty])
    return sections


def preview_size(config: Config) -> tuple[int, int]:
    """Width and height in pixels of the sample pictures of a resolved config: as trained, where nothing else is set."""
    side = config.data.resolution or 0
    return config.sample.width or side, config.sample.height or side


def local_processes(compute: Compute) -> int:
    """How many of the run's processes each machine has."""
    return max(1, compute.num_processes // compute.num_machines)


def steps_per_epoch(pictures: int, batch_size: int, accumulation: int, processes: int) -> int:
    """Updates in one pass over the data, each of batch x accumulation x processes pictures; the last may be short."""
    return max(1, math.ceil(pictures / (batch_size * accumulation * processes)))


def needs_less_memory(config: Config) -> str:
    """What to change so that a run like this one needs less memory, with what is set now."""
    train = config.train
    ways: list[Message] = []
    if (train.batch_size or 1) > 1:
        ways.append(Message("lower the batch size (now {batch}; gradient accumulation, now {accumulation}, keeps its "
                            "effect)", batch=train.batch_size, accumulation=train.gradient_accumulation_steps))
    if config.data.resolution:
        ways.append(Message("lower the resolution (now {number})", number=config.data.resolution))
    if not train.gradient_checkpointing:
        ways.append(Message("turn on gradient checkpointing (now off)"))
    if config.model.method == "full":
        ways.append(Message("train a LoRA (the method is now `full`)"))
    if config.ema.enabled:
        ways.append(Message("turn off the EMA (now on)"))
    *before, advice = ways or [Message("take a smaller base model")]
    for way in reversed(before):
        advice = Message("{first}, or {rest}", first=way, rest=advice)
    return Message("In a new run, {ways}.", ways=advice)


@functools.cache
def schema() -> ConfigSchema:
    """All settings as data, for the form, the API and the documents: sections, each with its fields in order.

    Made once and shared: read it, never change it."""
    sections: list[SectionSchema] = []
    for name, info in Config.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            fields = [describe(name, key, field) for key, field in kind.model_fields.items()]
            sections.append({"name": name, "title": (kind.__doc__ or name).strip(), "fields": fields})
    return {"schema": SCHEMA, "sections": sections}


@functools.cache
def by_path() -> dict[str, SettingSchema]:
    """Every setting by its path (`optim.learning_rate`), in the schema's order. Shared as `schema` is."""
    return {field["path"]: field for section in schema()["sections"] for field in section["fields"]}


def _cross_faults(config: Config) -> Iterable[Problem]:
    """Faults that only two settings together show."""
    optim = config.optim
    data = config.data
    if data.buckets and data.resolution and data.bucket_step and data.bucket_step > data.resolution:
        yield Problem(field="data.bucket_step",
                      message=Message("a step of {step} pixels is more than the resolution of {side}: set a smaller "
                                      "one, or turn the buckets off", step=data.bucket_step, side=data.resolution))
    if optim.lr_scheduler == "constant" and optim.lr_warmup_steps:
        yield Problem(field="optim.lr_warmup_steps",
                      message=Message("the constant schedule has no warm-up: choose `constant_with_warmup`, or set 0 "
                                      "here"))
    if optim.lr_scheduler == "polynomial" and optim.learning_rate is not None and optim.learning_rate <= 1e-7:
        yield Problem(field="optim.learning_rate",
                      message=Message("the polynomial schedule ends at 1e-7: set a higher rate"))
    yield from _compute_faults(config)
    yield from _rented_faults(config)


def _rented_faults(config: Config) -> Iterable[Problem]:
    """What a rented machine does not do."""
    if config.compute.backend == "local":
        return
    if config.compute.num_machines > 1:
        yield Problem(field="compute.num_machines",
                      message=Message("a rented machine trains alone: set 1, or set compute.backend to `local`"))
    if config.track.report_to:
        yield Problem(field="track.report_to",
                      message=Message("trackers write where the run trains, and a rented machine is gone afterwards: "
                                      "leave this empty, or set compute.backend to `local`"))


def _compute_faults(config: Config) -> Iterable[Problem]:
    """Faults of the processes' number and of what they share out."""
    compute = config.compute
    if compute.num_processes % compute.num_machines:
        yield Problem(field="compute.num_processes",
                      message=Message("{processes} processes cannot be shared out evenly over {machines} machines: set "
                                      "a multiple of {multiple}", processes=compute.num_processes,
                                      machines=compute.num_machines, multiple=compute.num_machines))
    if compute.num_machines > 1 and not compute.main_address:
        yield Problem(field="compute.main_address",
                      message=Message("several machines need the address at which the others reach this one: set its "
                                      "name or IP address"))
    if compute.offload_optimizer_device != "none" and compute.deepspeed_stage < 1:
        yield Problem(field="compute.offload_optimizer_device",
                      message=Message("only DeepSpeed offloads the optimizer: set compute.deepspeed_stage to 1, 2 or "
                                      "3, or `none` here"))
    if compute.offload_param_device != "none" and compute.deepspeed_stage != 3:
        yield Problem(field="compute.offload_param_device",
                      message=Message("only ZeRO stage 3 offloads the weights: set compute.deepspeed_stage to 3, or "
                                      "`none` here"))
    if compute.deepspeed_stage:
        yield from _zero_faults(config)


def _zero_faults(config: Config) -> Iterable[Problem]:
    """What is not proven to train the same when it is shared out."""
    if config.compute.num_processes == 1:
        yield Problem(field="compute.deepspeed_stage",
                      message=Message("one process has nobody to share with: set compute.num_processes to 2 or more, "
                                      "or 0 here"))
    if config.optim.name != "adamw":
        yield Problem(field="optim.name",
                      message=Message("the state of {name} is not proven to survive being shared out: choose `adamw`, "
                                      "or set compute.deepspeed_stage to 0", name=config.optim.name))
    if config.optim.fused_backward:
        yield Problem(field="optim.fused_backward",
                      message=Message("DeepSpeed makes the updates itself: turn this off, or set "
                                      "compute.deepspeed_stage to 0"))
    if config.train.mixed_precision == "fp16":
        yield Problem(field="train.mixed_precision",
                      message=Message("fp16 under DeepSpeed needs DeepSpeed's own loss scale, which is not proven "
                                      "here: choose `bf16` or `no`, or set compute.deepspeed_stage to 0"))
    if config.model.train_text_encoder:
        yield Problem(field="model.train_text_encoder",
                      message=Message("a text encoder that is shared out is not proven to learn the same: turn this "
                                      "off, or set compute.deepspeed_stage to 0"))
