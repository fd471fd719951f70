"""What is offered when a run ended badly: each fix a resume, a branch, a new run, or the form with its settings.

A fix is `{code, how, checkpoint, config, values, needs, field}`: `how` is resume, branch (from `checkpoint`), again (a
new run with the same settings) or form (the page *Train* with them, at the setting `field`, for a person to decide);
`config` has what changes, `values` what its words put in, `needs` "token" or null.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import TypedDict

from studio.config import PlainConfig

GENTLER = 0.3  # of the learning rate that broke a run
RESUMES = {"killed": "resume", "crashed": "resume", "died": "resume", "no_end": "resume", "start_failed": "resume",
           "disk_full": "resume_freed", "not_saved": "resume_freed", "failed": "resume", "damaged_file": "resume",
           "remote_failed": "resume", "remote_timeout": "resume", "remote_gone": "resume", "unreachable": "resume",
           "remote_cancelled": "resume", "no_credit": "resume", "bad_result": "resume",
           "supervisor_failed": "resume", "leftover": "resume", "leftover_trainer": "resume"}


class Fix(TypedDict):
    """One offer, as it is served."""

    code: str
    how: str
    checkpoint: str | None
    config: PlainConfig
    values: dict[str, str | int]
    needs: str | None
    field: str | None


def offers(error: Mapping[str, object] | None, config: PlainConfig, checkpoints: list[str]) -> list[Fix]:
    """The fixes of a run with that `error`, the likeliest first; `checkpoints` are the names kept, oldest first."""
    if error is None:
        return []
    code = str(error.get("code"))
    newest = checkpoints[-1] if checkpoints else None
    if code == "out_of_memory":
        return list(_of_memory(config, newest))
    if code == "diverged":
        return list(_of_divergence(config, newest))
    if code == "config":
        return [_fix("correct", "form", field=_faulty(str(error.get("message"))))]
    if code == "damaged_file":
        return [_fix("resume", "resume"), _fix("again", "again")]
    if code in RESUMES:
        return [_fix(RESUMES[code], "resume")]
    return _of_settings(code)


def _of_settings(code: str) -> list[Fix]:
    """The fixes of a run that its token or its settings kept from going on; none for any other end."""
    if code in ("gated", "no_token", "token_refused"):
        return [_fix("token", "resume", needs="token")]
    if code == "precision":
        return [_fix("full_precision", "again", {"train": {"mixed_precision": "no"}})]
    if code == "base_model":
        return [_fix("other_base", "form", field="model.base")]
    if code == "cannot_resume":
        return [_fix("again", "again")]
    return []


def _fix(code: str, how: str, config: PlainConfig | None = None, checkpoint: str | None = None,
         needs: str | None = None, field: str | None = None, values: dict[str, str | int] | None = None) -> Fix:
    return {"code": code, "how": how, "checkpoint": checkpoint, "config": config or {}, "values": values or {},
            "needs": needs, "field": field}


def _faulty(message: str) -> str | None:
    """The first setting that a ConfigError names."""
    named = re.match(r"([a-z]+\.[a-z0-9_]+): ", message)
    return named[1] if named else None


def _anew(code: str, config: PlainConfig, checkpoint: str | None, **values: str | int) -> Fix:
    """From the checkpoint where there is one, else from the first step."""
    how = "branch" if checkpoint else "again"
    return _fix(code, how, config, checkpoint, values=values)


def _of_memory(config: PlainConfig, checkpoint: str | None) -> Iterator[Fix]:
    train = config.get("train", {})
    batch_size = train.get("batch_size") or 1
    if batch_size > 1:  # as many pictures in each update as before
        smaller = _largest_divisor(batch_size)
        accumulation = (train.get("gradient_accumulation_steps") or 1) * batch_size // smaller
        settings = {"batch_size": smaller, "gradient_accumulation_steps": accumulation}
        yield _anew("smaller_batch", {"train": settings}, checkpoint, batch=smaller, accumulation=accumulation)
    if not train.get("gradient_checkpointing"):
        yield _anew("checkpointing", {"train": {"gradient_checkpointing": True}}, checkpoint)
    if config.get("optim", {}).get("name") == "adamw" and find_spec("bitsandbytes"):
        yield _fix("adamw8bit", "again", {"optim": {"name": "adamw8bit"}})


def _largest_divisor(number: int) -> int:
    """The largest number below `number` (at least 2) that divides it."""
    divisor = number - 1
    while number % divisor:
        divisor -= 1
    return divisor


def _of_divergence(config: PlainConfig, checkpoint: str | None) -> Iterator[Fix]:
    optim = config.get("optim", {})
    rate = float(f"{(optim.get('learning_rate') or 1e-5) * optim.get('lr_multiplier', 1.0) * GENTLER:.2g}")
    gentler = {"optim": {"learning_rate": rate, "lr_multiplier": 1.0}}
    yield _anew("lower_rate", gentler, checkpoint, rate=f"{rate:g}")
    if config.get("train", {}).get("mixed_precision") not in (None, "no"):
        yield _anew("full_precision", {"train": {"mixed_precision": "no"}}, checkpoint)
