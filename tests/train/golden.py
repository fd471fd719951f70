"""Twenty losses of a tiny run in every bit, recorded for each version of torch.

    python -m tests.train.golden            compare
    python -m tests.train.golden --record   keep them as the present torch's (tests/golden/curve-<version>.json)

torch computes with its plainest kernels here, so that the bits do not follow from the processor's age. The last of them
still follow from its maker: what an AMD Zen 4 recorded, an Intel Xeon meets to 1.5e-7.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import tempfile
from pathlib import Path

# Read when torch and its libraries are loaded, so they stand before every import of them.
PLAIN = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE",
         "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
GOLDEN = Path(__file__).resolve().parents[1] / "golden"
STEPS = 20
LAST_BITS = 1e-6  # of the loss


def losses(home: Path) -> list[str]:
    """The run: a tiny Stable Diffusion, five pictures, everything random on, by `float.hex`."""
    from . import sweep

    sweep.begin(home)
    sweep.RECIPES["golden"] = {
        "train": {"max_steps": STEPS}, "sample": {"prompts": []}, "checkpoint": {"every_steps": STEPS},
        "data": {"random_flip": True, "caption_dropout": 0.2},
        "optim": {"lr_scheduler": "cosine", "lr_warmup_steps": 0},
        "objective": {"noise_offset": 0.05, "snr_gamma": 5.0}}
    run = sweep.make(home, "golden")
    sweep.attempt(run, None)
    return list(sweep.result(run).losses.values())


def file_of(version: str) -> Path:
    """Where the losses of that torch are kept: 2.14.1+cpu and 2.14.1 are one."""
    return GOLDEN / f"curve-{version.partition('+')[0]}.json"


def maker() -> str:
    """Who made this machine's processor, as Linux says it; elsewhere its kind."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"^vendor_id\s*:\s*(\S+)", info.read_text(), re.MULTILINE) if info.is_file() else None
    return found[1] if found else platform.machine()


def first_difference(found: list[str], kept: list[str], tolerance: float = 0.0) -> str | None:
    """The first step that differs by more than that part of it, with both values; None when all agree."""
    for step, (new, old) in enumerate(zip(found, kept, strict=True), 1):
        one, other = float.fromhex(new), float.fromhex(old)
        if not abs(one - other) <= tolerance * abs(other):
            return f"step {step}: {new} ({one:.9g}) instead of {old} ({other:.9g})"
    return None


def main() -> int:
    """0 when the losses are those recorded, 1 when one differs, 2 when there is no record for this torch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true")
    record = parser.parse_args().record
    if any(os.environ.get(name) != value for name, value in PLAIN.items()):
        os.execve(sys.executable, [sys.executable, "-m", "tests.train.golden", *sys.argv[1:]], {**os.environ, **PLAIN})
    import torch

    with tempfile.TemporaryDirectory() as folder:
        found = losses(Path(folder))
    file = file_of(torch.__version__)
    if record:
        file.write_text(json.dumps({"processor": maker(), "losses": found}, indent=1) + "\n")
    if not file.is_file():
        print(f"no losses are recorded for torch {torch.__version__}: python -m tests.train.golden --record")
        return 2
    kept = json.loads(file.read_text())
    same = kept["processor"] == maker()
    difference = first_difference(found, kept["losses"], 0.0 if same else LAST_BITS)
    how = "in every bit" if same else f"but for the last bits, as recorded on {kept['processor']},"
    print(difference or f"{len(found)} losses agree {how} with {file.name}")
    return 1 if difference else 0


if __name__ == "__main__":
    sys.exit(main())
