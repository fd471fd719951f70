"""NVIDIA GPUs as the real binding reads them from a driver's library: one made for the test, and none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMPILER = shutil.which("cc")
ASK = "from studio.system import gpus; print(gpus.names(), dict(gpus.usage().memory), gpus.usage().percent)"


def asked(libraries: Path) -> str:
    """What a process says that finds its libraries in that folder first."""
    done = subprocess.run([sys.executable, "-c", ASK], cwd=ROOT, env={**os.environ, "LD_LIBRARY_PATH": str(libraries)},
                          capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


@pytest.mark.skipif(COMPILER is None, reason="the driver's library is built here")
def test_a_lost_gpu_two_others_and_a_process_on_both(tmp_path: Path) -> None:
    assert COMPILER is not None
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", str(tmp_path / "libnvidia-ml.so.1"),
                    str(ROOT / "tests" / "fakes" / "nvml.c")], check=True, timeout=60)
    assert asked(tmp_path) == ("['NVIDIA H200 (GPU-first)', 'NVIDIA H200 (GPU-second)'] "
                               f"{{4321: {6 << 30}}} [87]")


def test_without_a_driver_there_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "libnvidia-ml.so.1").write_bytes(b"no library")
    assert asked(tmp_path) == "[] {} []"
