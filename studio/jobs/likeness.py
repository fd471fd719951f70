"""A light job: compare a run's sample pictures with its training pictures, as far as that was not done yet.

Arguments: {run}. No results but the kept measures (datasets/likeness.py).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from PIL import Image

from studio import datasets
from studio.folders import runs
from studio.insight import likeness
from studio.jobs.running import JobError, RunningJob
from studio.messages import Message
from studio.train.batches.sampler import CENTRE, ImageTransform, Sample

BATCH = 16


def main(job: RunningJob) -> None:
    """See every training picture as the model does, then look for each sample among them."""
    try:
        run = runs.find(job.home, job.args["run"])
    except runs.NotFound:
        raise JobError(Message("The run is no longer here."), Message("Choose another run."), "gone") from None
    done = likeness.known(job.home, run.id)
    missing = [path for path in sorted(run.samples.glob("*.webp")) if path.name not in done]
    if not missing:
        return
    seen = likeness.load_thumbnails(_training(job, run))
    flips = run.config().data.random_flip
    for start in range(0, len(missing), BATCH):
        job.phase("comparing", start, len(missing), "pictures")
        lines = []
        for path in missing[start : start + BATCH]:
            with Image.open(path) as sample:
                lines.append({"file": path.name, **seen.nearest(sample, mirrored=flips)})
        likeness.add(job.home, run.id, lines)
    job.phase("comparing", len(missing), len(missing), "pictures")


def _training(job: RunningJob, run: runs.Run) -> Iterator[Image.Image]:
    """The training pictures in order, in the part that the model sees, small."""
    rows = [row for row in run.rows() if row.get("split", "train") == "train"]
    image_transform = ImageTransform(run.config().data.interpolation)
    for place, row in enumerate(rows):
        job.phase("measuring", place, len(rows), "pictures")
        sample = Sample(row, 0, 0, "", False, CENTRE, (likeness.SIDE, likeness.SIDE))
        pixels = image_transform.pixels(datasets.picture_path(job.home, row), sample)
        levels = (pixels[0].permute(1, 2, 0).clamp(-1, 1) + 1) * 127.5
        yield Image.fromarray(levels.round().to(torch.uint8).numpy())
