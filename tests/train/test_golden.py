"""The losses of a tiny run are those that were recorded: whoever changes one must say so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from .golden import LAST_BITS, file_of, first_difference

ROOT = Path(__file__).resolve().parents[2]


def test_the_curve_is_the_recorded_one() -> None:
    if not file_of(torch.__version__).is_file():
        pytest.skip(f"nothing is recorded for torch {torch.__version__}: python -m tests.train.golden --record")
    done = subprocess.run([sys.executable, "-m", "tests.train.golden"], cwd=ROOT, capture_output=True, text=True,
                          timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "20 losses agree" in done.stdout


def test_the_first_step_that_differs_is_named() -> None:
    kept = [value.hex() for value in (1.0, 0.5, 0.25)]
    assert first_difference(kept, kept) is None
    told = first_difference([kept[0], (0.5 + 2**-53).hex(), "0x1p+0"], kept)
    assert told is not None and told.startswith("step 2: ") and "instead of 0x1.0000000000000p-1" in told
    assert first_difference([kept[0], (0.5 * (1 + 1e-7)).hex(), kept[2]], kept, LAST_BITS) is None
    for wrong in (0.5 * (1 + 2e-6), float("nan")):
        told = first_difference([kept[0], wrong.hex(), kept[2]], kept, LAST_BITS)
        assert told is not None and told.startswith("step 2: ")
