"""What a bundle may hold: every name there is matches one of these, so that no name of its own reaches a path here."""

from __future__ import annotations

import re

FORMAT = 1
NAME = "bundle.json"
TEXT_BYTES = 256 << 20  # the most that config, rows and events may have
MOST_FILES = 2_000_000
_WORD = r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}"
_FILE = rf"(?:{_WORD}/)?{_WORD}(?:\.{_WORD}){{0,3}}"
PATTERNS = {kind: re.compile(pattern) for kind, pattern in {
    "config": r"config\.json",
    "edits": r"edits\.json",
    "rows": r"dataset\.jsonl",
    "events": r"events\.jsonl",
    "script": r"train\.sbatch",
    "image": r"images/(?P<sha>[0-9a-f]{64})\.(?P<ext>webp|png|jpg)",
    "sample": rf"samples/{_WORD}\.webp",
    "checkpoint": rf"checkpoints/checkpoint-[0-9]{{1,9}}/{_FILE}\.(?:json|safetensors)",
    "manifest": r"checkpoints/checkpoint-[0-9]{1,9}/manifest\.json",
    "base": rf"base/{_FILE}\.(?:json|safetensors|txt)",
}.items()}


def kind_of(name: str) -> str | None:
    """Which kind of file `name` is; None for what a bundle does not hold."""
    found = [kind for kind, pattern in PATTERNS.items() if pattern.fullmatch(name)]
    return found[-1] if found else None
