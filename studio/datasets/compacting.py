"""Writes the log of a data set anew where it is far larger than what it folds to.

What the new log folds to is the same: the rows, and the last steps that an undo takes back; what is older can be undone
no more. Its first line, `{"op": "compacted", "id", "bytes"}`, makes it another file than any before it, for those who
read a log on from where they were (naming.Reader).
"""

from __future__ import annotations

import json
import logging
import uuid
from pathlib import Path

from studio import storage
from studio.datasets.edit_log import Fold
from studio.datasets.schema import LogLine

log = logging.getLogger(__name__)
LEAST_BYTES = 4 << 20  # a smaller log stays as it is
MOST_STEPS, LEAST_STEPS = 50, 5  # of undo, that are kept whatever they take
STEPS_BYTES = 8 << 20  # what those beyond the least may take together


def compact(folder: Path) -> bool:
    """Write the log of the data set in `folder` anew where that is worth while. Call it holding edit.lock.

    A disk that does not take it leaves the log as it was, which is no fault of the edit before."""
    path = folder / "rows.jsonl"
    if path.stat().st_size <= max(LEAST_BYTES, 2 * _bytes_once(path)):
        return False
    if storage.is_locked(folder / "import.lock", unknown=True):
        return False  # the lines of an import under way say nothing yet, and must stay
    try:
        storage.fsync_path(folder)  # what the report says is read and built on
        imports = (storage.read_json(folder / "report.json") or {}).get("imports", [])
        _write(path, Fold.read(path, set(imports)), imports[0])
    except OSError as error:
        log.warning("the log of data set %s stays as large as it is: %s", folder.name, error)
        return False
    return True


def _write(path: Path, fold: Fold, import_id: str) -> None:
    """Replace the log by one that folds to the same: the rows before the steps that stay, then those steps."""
    rows = fold.snapshot().rows
    steps: list[bytes] = []
    for step, before in fold.steps():
        line = _line(step)
        too_large = sum(map(len, steps)) + len(line) > STEPS_BYTES
        if len(steps) == MOST_STEPS or (too_large and len(steps) >= LEAST_STEPS):
            break
        steps.append(line)
        rows = before
    key = uuid.uuid4().hex
    with storage.writing(path) as file:
        file.write(_head(key, 0))
        for row in rows:
            file.write(_line({"op": "add", "import": import_id, "row": row}))
        for line in reversed(steps):
            file.write(line)
        size = file.tell()
        file.seek(0)
        file.write(_head(key, size))


def _head(key: str, size: int) -> bytes:
    return f'{{"op": "compacted", "id": "{key}", "bytes": {size:12}}}\n'.encode()


def _bytes_once(path: Path) -> int:
    """How large the log was when it was written anew; 0 for one that never was."""
    with open(path, "rb") as file:
        first = file.readline(200)
    try:
        entry = json.loads(first)
    except ValueError:
        return 0
    return entry["bytes"] if entry.get("op") == "compacted" else 0


def _line(entry: LogLine) -> bytes:
    return json.dumps(entry, ensure_ascii=False).encode() + b"\n"
