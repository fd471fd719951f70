"""What a bundle may hold: every name matches one of these, so that no name of its own reaches a path here; and how
large each kind of file may be before it is read."""

from __future__ import annotations

import re
from typing import TypedDict

from studio.errors import StudioError

FORMAT = 1
NAME = "bundle.json"
MIB = 1 << 20
MOST_FILES = 300_000
MOST_ROWS = 200_000
MOST_TENSORS_OF_A_PART = 6_000  # the largest transformers have 2,000
_WORD = r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}"
_FILE = rf"(?:{_WORD}/)?{_WORD}(?:\.{_WORD}){{0,3}}"
PATTERNS = {
    "config": re.compile(r"config\.json"),
    "edits": re.compile(r"edits\.json"),
    "rows": re.compile(r"dataset\.jsonl"),
    "events": re.compile(r"events\.jsonl"),
    "script": re.compile(r"train\.sbatch"),
    "image": re.compile(r"images/(?P<sha>[0-9a-f]{64})\.(?P<ext>webp|png|jpg)"),
    "sample": re.compile(rf"samples/{_WORD}\.webp"),
    "weights": re.compile(rf"(?:checkpoints/checkpoint-[0-9]{{1,9}}|base)/{_FILE}\.safetensors"),
    "state": re.compile(rf"checkpoints/checkpoint-[0-9]{{1,9}}/{_FILE}\.json"),
    "manifest": re.compile(r"checkpoints/checkpoint-[0-9]{1,9}/manifest\.json"),
    "base": re.compile(rf"base/{_FILE}\.json"),
    "vocabulary": re.compile(r"base/[a-z0-9_]*tokenizer[a-z0-9_]*/(?:tokenizer|vocab|added_tokens)\.json"),
    "words": re.compile(rf"base/{_FILE}\.txt"),
}
BYTES = {  # the most that a file of each kind may have; of weights, the header alone is limited
    "config": MIB, "edits": MIB, "rows": 64 * MIB, "events": 256 * MIB, "script": MIB, "image": 64 * MIB,
    "sample": 32 * MIB, "state": 16 * MIB, "manifest": MIB, "base": 4 * MIB, "vocabulary": 64 * MIB, "words": 16 * MIB}
NAME_BYTES = 64 * MIB  # of bundle.json, which lists every file


class Parent(TypedDict, total=False):
    """The checkpoint that a run went on from, and in words what was changed then."""

    id: str
    checkpoint: str
    changes: list[str]


class DatasetName(TypedDict):
    """The data set as it was when the run was made."""

    id: str
    name: str
    fingerprint: str


class About(TypedDict):
    """What bundle.json says of the run; `parent` is {} where it began anew."""

    id: str
    name: str
    attempt: int
    parent: Parent
    dataset: DatasetName


class BaseFiles(TypedDict):
    """SHA-256 of the base's files by name: what bundle.json claims of them, and of those that came along."""

    claimed: dict[str, str]
    hashes: dict[str, str]


class Facts(TypedDict):
    """What the process that reads a bundle says of it; `count` is the number of rows."""

    run: About
    base: BaseFiles
    count: int


class BadBundle(StudioError):
    """A bundle that is refused; the message says what is wrong with which file of it."""

    code = "bundle"


def kind_of(name: str) -> str | None:
    """Which kind of file `name` is; None for what a bundle does not hold. Of several the last one: it says most."""
    for kind in reversed(PATTERNS):
        if PATTERNS[kind].fullmatch(name):
            return kind
    return None
