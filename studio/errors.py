"""What is refused on purpose, in words for a person: the errors of every room are of this one kind."""

from __future__ import annotations


class StudioError(Exception):
    """What is wrong (`message`), what to do next (`hint`), a stable `code` and, where there is some, the `evidence`.

    A room has a class of its own only where somebody catches it apart."""

    code = "failed"

    def __init__(self, message: str, hint: str = "", code: str | None = None, evidence: str = ""):
        super().__init__(message)
        self.message, self.hint, self.code, self.evidence = message, hint, code or self.code, evidence


class Refused(StudioError):
    """A request that does not fit the present state; the message says what that is and what can be done."""

    code = "refused"
