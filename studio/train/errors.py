"""What ended a training, in words for the page: code, sentence, what to do, and the evidence."""

from __future__ import annotations

from typing import TypedDict

import torch

from studio import secrets
from studio.config import ConfigError, needs_less_memory
from studio.errors import StudioError
from studio.families import BaseProblem, NeedsToken
from studio.folders.runs import Run
from studio.messages import Message, line
from studio.storage import Corrupt, faults
from studio.train.checkpoints import CannotResume, Unsaved
from studio.train.parallel.distributed import WrongPrecision


class Diverged(StudioError):
    """Too many updates in a row were not finite."""


class RunError(TypedDict):
    """The error of an `end` event: a stable code, what happened, what to do next, and the library's own words."""

    code: str
    message: str
    hint: str
    evidence: str


OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "std::bad_alloc", "_alloc_failed")  # torch, C++, cuBLAS
NAMED: list[tuple[type[Exception], str, str]] = [
    (NeedsToken, "gated", Message("Give a Hugging Face token of an account that may read it, and resume.")),
    (BaseProblem, "base_model", Message("Choose another base model, or put its files right, then start a new run.")),
    (ConfigError, "config", Message("Correct the setting and start a new run.")),
    (CannotResume, "cannot_resume", Message("Start a new run, or restore what changed and resume.")),
    (WrongPrecision, "precision", Message("Start a new run with another mixed precision.")),
    (Corrupt, "damaged_file", Message("Restore the file named here, or start a new run.")),
]


def explain(error: Exception, run: Run) -> RunError:
    """What is told of the exception that ended a run; its traceback is in train.log."""
    evidence = secrets.redact(f"{type(error).__name__}: {str(error)[:500]}")
    if _out_of_memory(error):
        return _error("out_of_memory", Message("The training ran out of memory."), needs_less_memory(run.config()),
                      evidence)
    if isinstance(error, Diverged):
        return _error("diverged", _sentence(error), _after_divergence(run), evidence)
    for kind, code, hint in NAMED:
        if isinstance(error, kind):
            return _error(code, _sentence(error), hint, evidence)
    if fault := faults.of(error):
        return _error(fault.code, fault.message, Message("{hint} Then resume.", hint=fault.hint), evidence)
    if isinstance(error, Unsaved):
        return _error("not_saved", _sentence(error), Message("Put it right, then resume."), evidence)
    return _error("failed", Message("The training stopped on an error: {why}", why=_sentence(error)),
                  Message("The log has the details. Put it right, then resume."), evidence)


def _after_divergence(run: Run) -> Message:
    """What to do when the numbers blew up: only a checkpoint from before that is worth going on from."""
    newest = next(run.valid_checkpoints(), None)
    if newest is None:
        return Message("No checkpoint was saved before: start a new run, with a lower learning rate or mixed "
                       "precision `no`.")
    path, _ = newest
    return Message("{name} is the last good checkpoint: branch the run from there, with a lower learning rate or "
                   "mixed precision `no`.", name=path.name)


def _out_of_memory(error: Exception) -> bool:
    """Whether the memory of the CPU or the GPU was used up; some libraries say so only in the words of an error."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in text for sign in OUT_OF_MEMORY)


def _sentence(error: Exception) -> str:
    """The first line of what the error says, without secrets."""
    return line(secrets.redact(str(error)), 300) or type(error).__name__


def _error(code: str, message: str, hint: str, evidence: str) -> RunError:
    return {"code": code, "message": message, "hint": hint, "evidence": evidence}
