"""What each picture of a run cost the model, from the newest checkpoint: sums of losses beside the frozen rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from studio import storage
from studio.folders import names, runs
from studio.messages import JsonObject, Message

SORTS = ("place", "loss", "-loss")


def pictures(run: runs.Run, dataset: str | None, sort: str, offset: int, limit: int) -> JsonObject:
    """The training pictures with their mean loss up to the newest checkpoint, `limit` of them from `offset` on.

    {"items": [{place, image, name, captions, loss, count, url}], "next", "count", "step"}
    (`schemas.runs.PicturesByLoss`); `sort` is one of SORTS, pictures not seen yet (loss null) come last. `step` is
    null before the first checkpoint. `url` is the thumbnail in the data set, for as long as it is there.
    """
    count = run.training_count()
    step, sums, counts = _accumulated(run, count)
    means = np.divide(sums * runs.LOSS_UNIT, counts, out=np.full(count, np.nan), where=counts > 0)
    places = _order(means, sort)[offset : offset + limit].tolist()
    items = []
    for place, row in zip(places, run.training_rows(places), strict=True):
        items.append({
            "place": place, "image": row["image"], "name": row.get("name", ""), "captions": row.get("captions") or [],
            "loss": float(f"{means[place]:.6g}") if counts[place] else None, "count": int(counts[place]),
            "url": names.thumb_url(dataset, row["image"])})
    end = offset + len(items)
    following = end if end < count else None
    return {"items": items, "next": following, "count": count, "step": step}


def newest(run: runs.Run) -> str:
    """The name of the checkpoint that `pictures` reads; empty before the first."""
    for path in _checkpoints_with_losses(run):
        return path.name
    return ""


def _order(means: np.ndarray, sort: str) -> np.ndarray:
    """The numbers of the pictures in the order of `sort` (SORTS), int64 (n,); those without a mean (NaN) last."""
    if sort == "place":
        return np.arange(len(means))
    if sort == "-loss":
        return np.argsort(-means, kind="stable")
    return np.argsort(means, kind="stable")


def _checkpoints_with_losses(run: runs.Run) -> Iterator[Path]:
    """The folders of the checkpoints that hold what each picture cost, newest first."""
    for path, manifest in run.valid_checkpoints():
        if runs.PICTURES in manifest["files"]:
            yield path


def _accumulated(run: runs.Run, count: int) -> tuple[int | None, np.ndarray, np.ndarray]:
    """The newest checkpoint's step, and for each picture the sum of its losses (int64, in LOSS_UNIT) and how many they
    are; None and zeros before the first checkpoint. Raises Corrupt for a damaged file."""
    for path in _checkpoints_with_losses(run):
        try:
            tensors = load_file(path / runs.PICTURES)
        except FileNotFoundError:
            continue  # retired in this moment
        except SafetensorError as error:
            raise storage.Corrupt(Message("{folder}/{file} is damaged: {why}", folder=path.name, file=runs.PICTURES,
                                          why=error)) from None
        if tensors["sum"].shape == tensors["count"].shape == (count,):
            return int(path.name.rpartition("-")[2]), tensors["sum"], tensors["count"]
    return None, np.zeros(count, np.int64), np.zeros(count, np.int64)
