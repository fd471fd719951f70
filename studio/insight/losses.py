"""What each picture of a run cost the model, from the newest checkpoint: sums of losses beside the frozen rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from studio import storage
from studio.folders import names, runs
from studio.messages import Message

SORTS = ("place", "loss", "-loss")


def pictures(run: runs.Run, dataset: str | None, sort: str, offset: int, limit: int) -> dict[str, Any]:
    """The training pictures with their mean loss up to the newest checkpoint, `limit` of them from `offset` on.

    {"items": [{place, image, name, captions, loss, count, url}], "next", "count", "step"}; `sort` is one of SORTS,
    pictures not seen yet (loss null) come last. `step` is null before the first checkpoint. `url` is the thumbnail in
    the data set, for as long as it is there.
    """
    count = run.training_count()
    step, sums, counts = _numbers(run, count)
    means = np.divide(sums * runs.LOSS_UNIT, counts, out=np.full(count, np.nan), where=counts > 0)
    order = np.arange(count) if sort == "place" else np.argsort(-means if sort == "-loss" else means, kind="stable")
    items = []
    places = order[offset : offset + limit].tolist()
    for place, row in zip(places, run.training_rows(places), strict=True):
        items.append({
            "place": place, "image": row["image"], "name": row.get("name", ""), "captions": row.get("captions") or [],
            "loss": float(f"{means[place]:.6g}") if counts[place] else None, "count": int(counts[place]),
            "url": names.thumb_url(dataset, row["image"])})
    following = offset + len(items)
    return {"items": items, "next": following if following < count else None, "count": count, "step": step}


def newest(run: runs.Run) -> str:
    """The name of the checkpoint that `pictures` reads; empty before the first."""
    return next((path.name for path, manifest in run.valid_checkpoints() if runs.PICTURES in manifest["files"]), "")


def _numbers(run: runs.Run, count: int) -> tuple[int | None, np.ndarray, np.ndarray]:
    """The newest checkpoint's step, sums and counts."""
    for path, manifest in run.valid_checkpoints():
        if runs.PICTURES in manifest["files"]:
            try:
                found = load_file(path / runs.PICTURES)
            except FileNotFoundError:
                continue  # retired in this moment
            except SafetensorError as error:
                raise storage.Corrupt(Message("{folder}/{file} is damaged: {why}", folder=path.name, file=runs.PICTURES,
                                              why=error)) from None
            if found["sum"].shape == found["count"].shape == (count,):
                return int(path.name.rpartition("-")[2]), found["sum"], found["count"]
    return None, np.zeros(count, np.int64), np.zeros(count, np.int64)
