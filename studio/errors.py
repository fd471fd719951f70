"""What is refused on purpose, in words for a person: the errors of every room are of this one kind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class StudioError(Exception):
    """What is wrong (`message`), what to do next (`hint`), a stable `code` and, where there is some, the `evidence`.

    A room has a class of its own only where somebody catches it apart."""

    code = "failed"

    def __init__(self, message: str, hint: str = "", code: str | None = None, evidence: str = ""):
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or self.code
        self.evidence = evidence


class Refused(StudioError):
    """A request that does not fit the present state; the message says what that is and what can be done."""

    code = "refused"


@dataclass(frozen=True)
class Problem:
    """One fault of a config: the field it belongs to (`optim.learning_rate`) and a sentence for a person."""

    field: str
    message: str


class ConfigError(StudioError):
    """A config with faults; `problems` names every one of them."""

    code = "config"

    def __init__(self, problems: Iterable[Problem]):
        self.problems = list(problems)
        super().__init__("; ".join(map(_line, self.problems)))


def fault(field: str, message: str) -> ConfigError:
    """One fault of a config, to be raised; `field` is "" for the whole of it."""
    return ConfigError([Problem(field, message)])


def _line(problem: Problem) -> str:
    if problem.field:
        return f"{problem.field}: {problem.message}"
    return problem.message
