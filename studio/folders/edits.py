"""Changes to a run's settings on its way: what may change, from which step on, and the config they make.

An edit is `{"id", "step", "time", "config"}`: its partial config holds for every update after `step`. Edits are kept
in order and never come before one another, so that a run that repeats some steps meets them again where they were.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from studio import config as config_
from studio.config import Config, ConfigError, Problem, fault
from studio.messages import Message, listed

EDITABLE = ("train.max_steps", "optim.lr_multiplier", "sample.prompts", "sample.every_steps", "checkpoint.every_steps",
            "checkpoint.keep")
Edit = dict[str, Any]


def fold(config: dict[str, Any], edits: Iterable[Edit]) -> dict[str, Any]:
    """A complete config as plain data with the edits laid over it, in order."""
    found = dict(config)
    for edit in edits:
        for section, values in edit["config"].items():
            found[section] = {**(found.get(section) or {}), **values}
    return found


def edited(config: Config, edits: Iterable[Edit]) -> Config:
    """The config that the edits make of `config`. Raises ConfigError."""
    return config_.load(fold(config_.dump(config), edits))


def make(created: Config, before: list[Edit], step: int, changes: Any, id: str = "") -> Edit:
    """A new edit of a run that has made `step` steps; `changes` is a partial config. Raises ConfigError.

    Where an attempt got further than the run will go on from, its edits lie ahead: the new one then holds after them.
    """
    step = max([step, *(edit["step"] for edit in before[-1:])])
    now = edited(created, before)
    paths = list(_paths(changes))
    known = {field["path"] for section in config_.schema()["sections"] for field in section["fields"]}
    _refuse([Problem(field=path,
                     message=Message("there is no such setting; what may change on the way: {names}",
                                     names=", ".join(EDITABLE)))
             for path in paths if path not in known])
    _refuse([Problem(field=path,
                     message=Message("this is fixed once a run is made: branch the run to change it; what may change "
                                     "on the way: {names}", names=", ".join(EDITABLE)))
             for path in paths if path not in EDITABLE])
    data = config_.dump(now)
    asked = config_.load(fold(data, [{"config": changes}]))
    then = config_.dump(asked)
    changed = [path.split(".") for path in config_.differences(data, then)]
    if not changed:
        _refuse([Problem(field="", message=Message("nothing would change: the settings are so already"))])
    _refuse([Problem(field=f"{section}.{name}", message=Message("set a value"))
             for section, name in changed if then[section][name] is None])
    if (asked.train.max_steps or 0) <= step:
        message = Message("the run is at step {step} already: set more steps than that, or stop it", step=step)
        if "train.max_steps" not in paths:
            message = Message("the run has made all of its {step} steps, and a change holds in further ones: set more "
                              "too", step=step)
        _refuse([Problem(field="train.max_steps", message=message)])
    kept: dict[str, dict[str, Any]] = {}
    for section, name in changed:
        kept.setdefault(section, {})[name] = then[section][name]
    return {"id": id, "step": step, "time": round(time.time(), 3), "config": kept}


def without(edits: Iterable[Edit], paths: Iterable[str]) -> list[Edit]:
    """The edits without what they say of these settings; one that says nothing more goes."""
    gone = set(paths)
    kept = [{**edit, "config": {section: rest for section, values in edit["config"].items() if (
        rest := {name: value for name, value in values.items() if f"{section}.{name}" not in gone})}} for edit in edits]
    return [edit for edit in kept if edit["config"]]


def words(before: Config, edit: Edit) -> str:
    """What the edit changes, in words."""
    data = config_.dump(before)
    return listed(config_.differences(data, fold(data, [edit])).values()) or Message("nothing")


def sound(found: Any) -> list[Edit]:
    """The list, after looking at every entry of it, which may come from anywhere. Raises ValueError."""
    if not isinstance(found, list):
        raise ValueError("the edits are no list")
    last = 0
    for edit in found:
        if not isinstance(edit, dict) or type(edit.get("step")) is not int or not isinstance(edit.get("id"), str):
            raise ValueError("an edit is an object with an id, a step and a config")
        try:
            wrong = [path for path in _paths(edit.get("config")) if path not in EDITABLE]
            config_.load(edit["config"])
        except ConfigError as error:
            raise ValueError(f"an edit cannot be used: {error}") from None
        if wrong or edit["step"] < last:
            raise ValueError(f"an edit changes what may not change: {wrong[0]}" if wrong else "edits are out of order")
        last = edit["step"]
    return found


def _paths(changes: Any) -> Iterator[str]:
    if not isinstance(changes, dict):
        raise fault("", Message("changes are an object of sections"))
    for section, values in changes.items():
        if not isinstance(values, dict):
            raise fault(str(section), Message("a section is an object of settings"))
        yield from (f"{section}.{name}" for name in values)


def _refuse(problems: list[Problem]) -> None:
    if problems:
        raise ConfigError(problems)
