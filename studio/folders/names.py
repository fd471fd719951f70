"""Names that become addresses or places: what events, records and rows name is held to these patterns first.

A run may come from anywhere, so its files say nothing for certain: a sample's name could be a way out of its folder.
"""

from __future__ import annotations

import re
import time
from typing import TypeGuard

from studio.bases.source import HUB_ID

NAME_LENGTH = 200  # characters of a run's name
_SAMPLE = re.compile(r"[\w-][\w.-]{0,119}\.(webp|png|jpg)", re.ASCII)
_RESULT = re.compile(r"[\w-][\w.-]{0,119}", re.ASCII)
_CHECKPOINT = re.compile(r"checkpoint-[0-9]{1,12}", re.ASCII)
_DATASET = re.compile(r"[0-9a-f]{32}|sample", re.ASCII)
_IMAGE = re.compile(r"[0-9a-f]{64}(-[0-9]{1,9})?", re.ASCII)


def _fits(pattern: re.Pattern[str], name: object) -> TypeGuard[str]:
    return isinstance(name, str) and pattern.fullmatch(name) is not None


def is_checkpoint(name: object) -> bool:
    """Whether this can be a checkpoint's folder."""
    return _fits(_CHECKPOINT, name)


def is_result(name: object) -> bool:
    """Whether this can be a file of a job's results."""
    return _fits(_RESULT, name)


def sample_url(run_id: str, file: object) -> str | None:
    """The address of a sample picture of a run; None for what cannot be the name of one."""
    if not _fits(_SAMPLE, file):
        return None
    return f"/api/runs/{run_id}/samples/{file}"


def thumb_url(dataset_id: object, image: object) -> str | None:
    """The address of the thumbnail of a data set's picture; None for what cannot be there."""
    if not (_fits(_DATASET, dataset_id) and _fits(_IMAGE, image)):
        return None
    return f"/api/datasets/{dataset_id}/images/{image}/thumb"


def is_hub_id(base: str) -> bool:
    """Whether this is the name of a repository, `owner/name`, and no folder."""
    return "/" in base and ".." not in base and "--" not in base and HUB_ID.fullmatch(base) is not None


def one_line(text: str, length: int) -> str:
    """`text` as one line of at most `length` characters: what cannot be printed is a space, spaces are single."""
    printable = [character if character.isprintable() else " " for character in text]
    return " ".join("".join(printable).split())[:length]


def clean_name(name: object) -> str:
    """A run's name as one line of at most NAME_LENGTH characters; without one, the hour."""
    return one_line(str(name or ""), NAME_LENGTH) or time.strftime("Run of %Y-%m-%d %H:%M")
