"""Changes to a run's settings on its way: what may change, from which step on, and the config they make.

An edit is `{"id", "step", "time", "config"}`: its partial config holds for every update after `step`. Edits are kept
in order and never come before one another, so that a run that repeats some steps meets them again where they were.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import TypedDict

from studio import config as config_
from studio.config import Config, ConfigError, PlainConfig, Problem, fault, settings_in
from studio.messages import Message, listed

EDITABLE = ("train.max_steps", "optim.lr_multiplier", "sample.prompts", "sample.every_steps", "checkpoint.every_steps",
            "checkpoint.keep")


class Edit(TypedDict):
    """One change, as edits.json holds it. `id` is that of the request for it, "" where no trainer lived; `time` is in
    seconds since 1970."""

    id: str
    step: int
    time: float
    config: PlainConfig


def fold(config: PlainConfig, edits: Iterable[Edit]) -> PlainConfig:
    """A complete config as plain data with the edits laid over it, in order."""
    for edit in edits:
        config = _changed(config, edit["config"])
    return config


def _changed(config: PlainConfig, changes: PlainConfig) -> PlainConfig:
    """A complete config with a partial one laid over it; there, None is a value too."""
    result = dict(config)
    for section, values in changes.items():
        result[section] = {**(result.get(section) or {}), **values}
    return result


def edited(config: Config, edits: Iterable[Edit]) -> Config:
    """The config that the edits make of `config`. Raises ConfigError."""
    return config_.load(fold(config_.dump(config), edits))


def make(created: Config, before: list[Edit], step: int, changes: object, id: str = "") -> Edit:
    """A new edit of a run that has made `step` steps; `changes` is a partial config. Raises ConfigError.

    Where an attempt got further than the run will go on from, its edits lie ahead: the new one then holds after them.
    """
    if before:
        step = max(step, before[-1]["step"])
    now = config_.dump(edited(created, before))
    sections = _sections(changes)
    asked_paths = [path for path, _ in settings_in(sections)]
    _refuse_fixed(asked_paths)
    asked = config_.load(_changed(now, sections))
    then = dict(settings_in(config_.dump(asked)))
    changed_paths = list(config_.differences(now, config_.dump(asked)))
    if not changed_paths:
        raise fault("", Message("nothing would change: the settings are so already"))
    no_value = Message("set a value")
    _refuse([Problem(field=path, message=no_value) for path in changed_paths if then[path] is None])
    if (asked.train.max_steps or 0) <= step:
        raise _too_few_steps(step, named="train.max_steps" in asked_paths)
    return {"id": id, "step": step, "time": round(time.time(), 3),
            "config": config_.nested({path: then[path] for path in changed_paths})}


def _refuse_fixed(paths: list[str]) -> None:
    """Return if these settings may change on the way. Raises ConfigError."""
    names = ", ".join(EDITABLE)
    unknown = Message("there is no such setting; what may change on the way: {names}", names=names)
    _refuse([Problem(field=path, message=unknown) for path in paths if path not in config_.by_path()])
    fixed = Message("this is fixed once a run is made: branch the run to change it; what may change on the way: "
                    "{names}", names=names)
    _refuse([Problem(field=path, message=fixed) for path in paths if path not in EDITABLE])


def _too_few_steps(step: int, named: bool) -> ConfigError:
    """That a run at `step` has no further steps; `named` is whether the change names their number."""
    if named:
        return fault("train.max_steps", Message("the run is at step {step} already: set more steps than that, or stop "
                                                "it", step=step))
    return fault("train.max_steps", Message("the run has made all of its {step} steps, and a change holds in further "
                                            "ones: set more too", step=step))


def without(edits: Iterable[Edit], paths: Iterable[str]) -> list[Edit]:
    """The edits without what they say of these settings; one that says nothing more goes."""
    gone = set(paths)
    remaining: list[Edit] = []
    for edit in edits:
        config = config_.nested({path: value for path, value in settings_in(edit["config"]) if path not in gone})
        if config:
            remaining.append({**edit, "config": config})
    return remaining


def words(before: Config, edit: Edit) -> str:
    """What the edit changes, in words."""
    data = config_.dump(before)
    return listed(config_.differences(data, fold(data, [edit])).values()) or Message("nothing")


def sound(data: object) -> list[Edit]:
    """The list, after looking at every entry of it, which may come from anywhere. Raises ValueError."""
    if not isinstance(data, list):
        raise ValueError("the edits are no list")
    last_step = 0
    for edit in data:
        if not isinstance(edit, dict) or type(edit.get("step")) is not int or not isinstance(edit.get("id"), str):
            raise ValueError("an edit is an object with an id, a step and a config")
        if not isinstance(edit.get("time"), int | float) or not abs(edit["time"]) < math.inf:
            raise ValueError("an edit is an object with the time at which it was made")
        try:
            sections = _sections(edit.get("config"))
            config_.load(sections)
        except ConfigError as error:
            raise ValueError(f"an edit cannot be used: {error}") from None
        for path, _ in settings_in(sections):
            if path not in EDITABLE:
                raise ValueError(f"an edit changes what may not change: {path}")
        if edit["step"] < last_step:
            raise ValueError("edits are out of order")
        last_step = edit["step"]
    return data


def _sections(changes: object) -> PlainConfig:
    """`changes`, which may come from anywhere, as an object of objects. Raises ConfigError."""
    if not isinstance(changes, dict):
        raise fault("", Message("changes are an object of sections"))
    for section, values in changes.items():
        if not isinstance(values, dict):
            raise fault(str(section), Message("a section is an object of settings"))
    return changes


def _refuse(problems: list[Problem]) -> None:
    """Return if there are none. Raises ConfigError."""
    if problems:
        raise ConfigError(problems)
