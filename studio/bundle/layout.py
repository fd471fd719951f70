"""What a bundle may hold: every name matches one of these, so that no name of its own reaches a path here; and how
large each kind of file may be before it is read."""

from __future__ import annotations

import re

FORMAT = 1
NAME = "bundle.json"
MIB = 1 << 20
MOST_FILES = 300_000
MOST_ROWS = 200_000
MOST_TENSORS_OF_A_PART = 6_000  # the largest transformers have 2,000
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
    "weights": rf"(?:checkpoints/checkpoint-[0-9]{{1,9}}|base)/{_FILE}\.safetensors",
    "state": rf"checkpoints/checkpoint-[0-9]{{1,9}}/{_FILE}\.json",
    "manifest": r"checkpoints/checkpoint-[0-9]{1,9}/manifest\.json",
    "base": rf"base/{_FILE}\.json",
    "vocabulary": r"base/[a-z0-9_]*tokenizer[a-z0-9_]*/(?:tokenizer|vocab|added_tokens)\.json",
    "words": rf"base/{_FILE}\.txt",
}.items()}
BYTES = {  # the most that a file of each kind may have; of weights, the header alone is limited
    "config": MIB, "edits": MIB, "rows": 64 * MIB, "events": 256 * MIB, "script": MIB, "image": 64 * MIB,
    "sample": 32 * MIB, "state": 16 * MIB, "manifest": MIB, "base": 4 * MIB, "vocabulary": 64 * MIB, "words": 16 * MIB}
NAME_BYTES = 64 * MIB  # of bundle.json, which lists every file


class BadBundle(Exception):
    """A bundle that is refused; the message says what is wrong with which file of it."""


def kind_of(name: str) -> str | None:
    """Which kind of file `name` is; None for what a bundle does not hold."""
    kinds = [kind for kind, pattern in PATTERNS.items() if pattern.fullmatch(name)]
    return kinds[-1] if kinds else None
