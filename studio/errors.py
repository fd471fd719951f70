"""What is refused on purpose, in words for a person: each room's errors are of this one kind."""

from __future__ import annotations


class StudioError(Exception):
    """What is wrong (`message`), a stable `code`, what to do next (`hint`) and, where there is some, the `evidence`.

    A room has a class of its own where somebody catches it apart."""

    code = "refused"

    def __init__(self, message: str, hint: str = "", *, code: str | None = None, evidence: str = ""):
        super().__init__(message)
        self.message, self.hint, self.code, self.evidence = message, hint, code or self.code, evidence
