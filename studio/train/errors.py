"""What ended a training, in words for the page: code, sentence, what to do, and the evidence."""

from __future__ import annotations

from typing import Any

import torch

from studio.config import ConfigError, needs_less_memory
from studio.families import BaseProblem, NeedsToken
from studio.folders.events import redact
from studio.folders.runs import Run
from studio.messages import Message, line
from studio.storage import Corrupt, faults
from studio.train.checkpoints import CannotResume, Unsaved
from studio.train.parallel.distributed import WrongPrecision


class Diverged(Exception):
    """Too many updates in a row were not finite."""


OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "std::bad_alloc", "_alloc_failed")  # torch, C++, cuBLAS
NAMED: list[tuple[type[Exception], str, str]] = [
    (NeedsToken, "gated", Message("Give a Hugging Face token of an account that may read it, and resume.")),
    (BaseProblem, "base_model", Message("Choose another base model, or put its files right, then start a new run.")),
    (ConfigError, "config", Message("Correct the setting and start a new run.")),
    (CannotResume, "cannot_resume", Message("Start a new run, or restore what changed and resume.")),
    (WrongPrecision, "precision", Message("Start a new run with another mixed precision.")),
    (Corrupt, "damaged_file", Message("Restore the file named here, or start a new run.")),
]


def explain(error: Exception, run: Run) -> dict[str, Any]:
    """{code, message, hint, evidence} of the exception that ended a run; the traceback is in train.log."""
    evidence = redact(f"{type(error).__name__}: {str(error)[:500]}")
    if _out_of_memory(error):
        return _error("out_of_memory", Message("The training ran out of memory."), needs_less_memory(run.config()),
                      evidence)
    if isinstance(error, Diverged):
        newest = next(run.valid_checkpoints(), None)
        hint = (Message("{name} is the last good checkpoint: branch the run from there, with a lower learning rate or "
                        "mixed precision `no`.", name=newest[0].name) if newest else
                Message("No checkpoint was saved before: start a new run, with a lower learning rate or mixed "
                        "precision `no`."))
        return _error("diverged", _sentence(error), hint, evidence)
    for kind, code, hint in NAMED:
        if isinstance(error, kind):
            return _error(code, _sentence(error), hint, evidence)
    if fault := faults.of(error):
        return _error(fault.code, fault.message, Message("{hint} Then resume.", hint=fault.hint), evidence)
    if isinstance(error, Unsaved):
        return _error("not_saved", _sentence(error), Message("Put it right, then resume."), evidence)
    return _error("failed", Message("The training stopped on an error: {why}", why=_sentence(error)),
                  Message("The log has the details. Put it right, then resume."), evidence)


def _out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(sign in text for sign in OUT_OF_MEMORY))


def _sentence(error: Exception) -> str:
    return line(redact(str(error)), 300) or type(error).__name__


def _error(code: str, message: str, hint: str, evidence: str) -> dict[str, Any]:
    return {"code": code, "message": message, "hint": hint, "evidence": evidence}
