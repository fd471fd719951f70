"""A preview while a run trains reads no text encoder from disk, and the process has none in its memory."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from studio import runs

from ..families import tiny
from .conftest import Make, child

ROOT = Path(__file__).resolve().parents[2]
OPENED = re.compile(r'openat\(.*?"([^"]+)", \S+\) = \d+')
PREVIEWS = [(step, kind) for step in range(4) for kind in ("raw", "ema")[: 1 + bool(step)]]
CHANGES: dict[str, Any] = {
    "train": {"max_steps": 3},
    "sample": {"prompts": ["a red thing"], "every_steps": 1, "num_inference_steps": 2, "guidance_scale": 2.0}}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Stable Diffusion with a text encoder of 103 MB, so that it is seen wherever it is."""
    from transformers import CLIPTextConfig, CLIPTextModel

    folder = tiny.make(tmp_path_factory.mktemp("base") / "tiny")
    CLIPTextModel(CLIPTextConfig(
        hidden_size=32, intermediate_size=200_000, num_hidden_layers=2, num_attention_heads=4, vocab_size=515,
        max_position_embeddings=77, bos_token_id=512, eos_token_id=513, pad_token_id=1,
    )).save_pretrained(folder / "text_encoder")
    return folder


def asked(make: Make, base: Path) -> runs.Run:
    """A run of three steps on that base that draws before the first and after each."""
    return make(model={"family": "sd", "base": str(base)}, **CHANGES)


def test_no_preview_opens_the_text_encoder(make: Make, base: Path, tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("there is no strace")
    run, trace = asked(make, base), tmp_path / "trace"
    done = subprocess.run(["strace", "-f", "-s", "4096", "-e", "trace=openat", "-o", str(trace), sys.executable, "-m",
                           "studio.train", str(run.path)], capture_output=True, text=True, cwd=ROOT, timeout=280)
    if done.returncode and "ptrace" in done.stderr:
        pytest.skip(f"strace cannot be used here: {done.stderr.strip()[:200]}")
    assert not done.returncode, done.stdout + done.stderr
    opened = [found[1] for line in trace.read_text(errors="replace").splitlines() if (found := OPENED.search(line))]
    encoder = [place for place, path in enumerate(opened) if path.endswith("text_encoder/model.safetensors")]
    drawn = [place for place, path in enumerate(opened) if "/samples/" in path and ".webp" in path]
    assert encoder and len(drawn) >= len(PREVIEWS), "the trace has not seen what it is for"
    assert max(encoder) < min(drawn), f"opened {sum(place > drawn[0] for place in encoder)} times after the first"


def test_no_preview_has_the_text_encoder_in_memory(make: Make, base: Path) -> None:
    """Whether the run has encoded its captions itself, or found them in the cache and loaded no encoder at all."""
    weights = base / "text_encoder" / "model.safetensors"
    resident: list[int] = []
    for _ in ("encoded", "cached"):
        run = asked(make, base)
        done = child(run, "memory_seen:1")
        assert not done.returncode, done.stderr[-3000:]
        seen = [json.loads(line) for line in (run.path / "previews.jsonl").read_text().splitlines()]
        assert [one["step"] for one in seen] == [step for step, _ in PREVIEWS]
        assert all(one["mapped"] and str(weights) not in one["mapped"] for one in seen)
        resident.append(max(one["resident"] for one in seen))
    assert resident[0] - resident[1] < weights.stat().st_size / 2, resident
