"""Names that become addresses or places: what events, records and rows name is held to these patterns first.

A run may come from anywhere, so its files say nothing for certain: a sample's name could be a way out of its folder.
"""

from __future__ import annotations

import re
import time
from typing import Any

from studio.bases.source import HUB_ID

NAME_LENGTH = 200  # characters of a run's name
_SAMPLE = re.compile(r"[\w-][\w.-]{0,119}\.(webp|png|jpg)", re.ASCII)
_RESULT = re.compile(r"[\w-][\w.-]{0,119}", re.ASCII)
_CHECKPOINT = re.compile(r"checkpoint-[0-9]{1,12}", re.ASCII)
_DATASET = re.compile(r"[0-9a-f]{32}|sample", re.ASCII)
_IMAGE = re.compile(r"[0-9a-f]{64}(-[0-9]{1,9})?", re.ASCII)


def _fits(pattern: re.Pattern[str], name: Any) -> bool:
    return isinstance(name, str) and pattern.fullmatch(name) is not None


def is_checkpoint(name: Any) -> bool:
    """Whether this can be a checkpoint's folder."""
    return _fits(_CHECKPOINT, name)


def is_result(name: Any) -> bool:
    """Whether this can be a file of a job's results."""
    return _fits(_RESULT, name)


def sample_url(run_id: str, file: Any) -> str | None:
    """Where a sample picture of a run is served; None for what cannot be one's name."""
    return f"/api/runs/{run_id}/samples/{file}" if _fits(_SAMPLE, file) else None


def thumb_url(dataset_id: Any, image: Any) -> str | None:
    """Where the thumbnail of a data set's picture is served; None for what cannot be there."""
    good = _fits(_DATASET, dataset_id) and _fits(_IMAGE, image)
    return f"/api/datasets/{dataset_id}/images/{image}/thumb" if good else None


def is_hub_id(base: str) -> bool:
    """Whether this is the name of a repository, `owner/name`, and no folder."""
    return "/" in base and ".." not in base and "--" not in base and HUB_ID.fullmatch(base) is not None


def clean_name(name: Any) -> str:
    """A run's name as one line of at most NAME_LENGTH characters; without one, the hour."""
    text = " ".join("".join(c if c.isprintable() else " " for c in str(name or "")).split())[:NAME_LENGTH]
    return text or time.strftime("Run of %Y-%m-%d %H:%M")
