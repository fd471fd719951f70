"""What is offered when a run ended badly: each fix a resume, a branch, a new run, or the form with its settings.

A fix is `{code, how, checkpoint, config, values, needs, field}`: `how` is resume, branch (from `checkpoint`), again (a
new run with the same settings) or form (the page *Train* with them, at the setting `field`, for a person to decide);
`config` has what changes, `values` what its words put in, `needs` "token" or null.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from studio.folders.records import ErrorRecord

Fix = dict[str, Any]
GENTLER = 0.3  # of the learning rate that broke a run
RESUMES = {"killed": "resume", "crashed": "resume", "died": "resume", "no_end": "resume", "start_failed": "resume",
           "disk_full": "resume_freed", "not_saved": "resume_freed", "failed": "resume", "damaged_file": "resume",
           "remote_failed": "resume", "remote_timeout": "resume", "remote_gone": "resume", "unreachable": "resume",
           "remote_cancelled": "resume", "no_credit": "resume", "bad_result": "resume",
           "supervisor_failed": "resume", "leftover": "resume", "leftover_trainer": "resume"}


def offers(error: ErrorRecord | None, config: dict[str, Any], checkpoints: list[str]) -> list[Fix]:
    """The fixes of a run with that `error`, the likeliest first; `checkpoints` are the names kept, oldest first."""
    code, newest = (error or {}).get("code"), checkpoints[-1] if checkpoints else None
    if code == "out_of_memory":
        return list(_of_memory(config, newest))
    if code == "diverged":
        return list(_of_divergence(config, newest))
    if code in ("gated", "no_token", "token_refused"):
        return [_fix("token", "resume", needs="token")]
    if code == "precision":
        return [_fix("full_precision", "again", {"train": {"mixed_precision": "no"}})]
    if code == "config":
        return [_fix("correct", "form", field=_faulty(str((error or {}).get("message"))))]
    if code == "base_model":
        return [_fix("other_base", "form", field="model.base")]
    if code == "cannot_resume":
        return [_fix("again", "again")]
    if code in RESUMES:
        damaged = [_fix("again", "again")] if code == "damaged_file" else []
        return [_fix(RESUMES[code], "resume"), *damaged]
    return []


def _fix(code: str, how: str, config: dict[str, Any] | None = None, checkpoint: str | None = None,
         needs: str | None = None, field: str | None = None, **values: Any) -> Fix:
    return {"code": code, "how": how, "checkpoint": checkpoint, "config": config or {}, "values": values,
            "needs": needs, "field": field}


def _faulty(message: str) -> str | None:
    """The first setting that a ConfigError names."""
    found = re.match(r"([a-z]+\.[a-z0-9_]+): ", message)
    return found[1] if found else None


def _anew(code: str, config: dict[str, Any], checkpoint: str | None, **values: Any) -> Fix:
    """From the checkpoint where there is one, else from the first step."""
    return _fix(code, "branch" if checkpoint else "again", config, checkpoint, **values)


def _of_memory(config: dict[str, Any], checkpoint: str | None) -> Iterator[Fix]:
    train, optim = config.get("train", {}), config.get("optim", {})
    batch, accumulation = train.get("batch_size") or 1, train.get("gradient_accumulation_steps") or 1
    smaller = next((size for size in range(batch - 1, 0, -1) if batch % size == 0), None)
    if smaller:  # as many pictures in each update as before
        settings = {"batch_size": smaller, "gradient_accumulation_steps": accumulation * batch // smaller}
        yield _anew("smaller_batch", {"train": settings}, checkpoint, batch=smaller,
                    accumulation=settings["gradient_accumulation_steps"])
    if not train.get("gradient_checkpointing"):
        yield _anew("checkpointing", {"train": {"gradient_checkpointing": True}}, checkpoint)
    if optim.get("name") == "adamw" and find_spec("bitsandbytes"):
        yield _fix("adamw8bit", "again", {"optim": {"name": "adamw8bit"}})


def _of_divergence(config: dict[str, Any], checkpoint: str | None) -> Iterator[Fix]:
    optim = config.get("optim", {})
    rate = float(f"{(optim.get('learning_rate') or 1e-5) * optim.get('lr_multiplier', 1.0) * GENTLER:.2g}")
    gentler = {"optim": {"learning_rate": rate, "lr_multiplier": 1.0}}
    yield _anew("lower_rate", gentler, checkpoint, rate=f"{rate:g}")
    if config.get("train", {}).get("mixed_precision") not in (None, "no"):
        yield _anew("full_precision", {"train": {"mixed_precision": "no"}}, checkpoint)
