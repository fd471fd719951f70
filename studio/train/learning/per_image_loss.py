"""The mean loss of each picture over the run: it shows which ones are learnt, and which do not fit the others."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from studio.folders import runs
from studio.train.batches.sampler import Row, Sample
from studio.train.parallel.distributed import Distributed

LARGEST = 2.0**16  # a larger loss counts as this one, so that no sum overflows


class PerImageLoss:
    """Sums and counts per row of `rows`. Sums are whole numbers of `runs.LOSS_UNIT`: no order of adding changes them,
    so that they are exact over ranks and resumes. Rank 0 holds all that was gathered, the others what is not yet."""

    def __init__(self, rows: list[Row], distributed: Distributed):
        self.rows = rows
        self.distributed = distributed
        self.places = {id(row): place for place, row in enumerate(rows)}
        self.numbers = torch.zeros(2, len(rows), dtype=torch.int64)

    def add(self, samples: list[Sample], errors: torch.Tensor) -> None:
        """Take in the loss of each sample (B,); what is not finite does not count."""
        errors = errors.double().cpu()
        good = errors.isfinite()
        whole = (errors.clamp(max=LARGEST)[good] / runs.LOSS_UNIT).round().long()
        places = torch.tensor([self.places[id(sample.row)] for sample in samples])[good]
        self.numbers[0].index_add_(0, places, whole)
        self.numbers[1].index_add_(0, places, torch.ones_like(whole))

    def gather(self) -> None:
        """Bring every rank's numbers to rank 0; called by all of them."""
        self.numbers = self.distributed.sum(self.numbers)
        if not self.distributed.is_main:
            self.numbers.zero_()

    def write(self, root: Path) -> None:
        """Write the numbers as `pictures.safetensors`."""
        save_file({"sum": self.numbers[0].contiguous(), "count": self.numbers[1].contiguous()},
                  root / runs.PICTURES, metadata={"format": "pt"})

    def load(self, root: Path) -> None:
        """Take over what `write` wrote, on rank 0; checkpoints from before there were such numbers have none."""
        if self.distributed.is_main and (root / runs.PICTURES).is_file():
            saved = load_file(root / runs.PICTURES)
            self.numbers = torch.stack([saved["sum"], saved["count"]])
