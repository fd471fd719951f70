"""A preview while a run trains reads no text encoder from disk, and the process has none in its memory."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ..families import tiny
from .conftest import Make

HERE = Path(__file__).resolve().parent
OPENED = re.compile(r'openat\(.*?"([^"]+)"(?!.* ENOENT)')
PREVIEWS = [0, 1, 1, 2, 2]  # the step of each: raw alone before the first, then raw and averaged
CHANGES: dict[str, Any] = {
    "train": {"max_steps": 2},
    "sample": {"prompts": ["a red thing"], "every_steps": 1, "num_inference_steps": 2, "guidance_scale": 2.0}}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A tiny Stable Diffusion with a text encoder of 51 MB, so that it is seen wherever it is."""
    from transformers import CLIPTextConfig, CLIPTextModel

    folder = tiny.make(tmp_path / "tiny")
    CLIPTextModel(CLIPTextConfig(
        hidden_size=32, intermediate_size=200_000, num_hidden_layers=1, num_attention_heads=4, vocab_size=515,
        max_position_embeddings=77, bos_token_id=512, eos_token_id=513, pad_token_id=1,
    )).save_pretrained(folder / "text_encoder")
    return folder


def previews(make: Make, base: Path, *before: str) -> list[dict[str, Any]]:
    """What the process of a run of two steps has in its memory after each preview; `before` starts it."""
    run = make(model={"family": "sd", "base": str(base)}, **CHANGES)
    done = subprocess.run([*before, sys.executable, str(HERE / "child.py"), str(run.path), "memory_seen:1"], text=True,
                          capture_output=True, timeout=280, env={**os.environ, "PYTHONPATH": str(HERE.parents[1])})
    assert not done.returncode, done.stderr[-3000:]
    return [json.loads(line) for line in (run.path / "previews.jsonl").read_text().splitlines()]


def test_a_preview_opens_no_text_encoder_and_has_none_in_memory(make: Make, base: Path, tmp_path: Path,
                                                                strace: str) -> None:
    weights, trace = base / "text_encoder" / "model.safetensors", tmp_path / "trace"
    encoded = previews(make, base, strace, "-f", "-s", "4096", "-e", "trace=openat", "-o", str(trace))
    opened = [found[1] for line in trace.read_text(errors="replace").splitlines() if (found := OPENED.search(line))]
    reads = [place for place, path in enumerate(opened) if path == str(weights)]
    drawn = [place for place, path in enumerate(opened) if "/samples/" in path and ".webp" in path]
    assert reads and len(drawn) >= len(PREVIEWS), "the trace has not seen what it is for"
    assert max(reads) < min(drawn), f"opened {sum(place > min(drawn) for place in reads)} times after the first"
    cached = previews(make, base)  # finds every caption and loads no encoder at all
    for seen in (encoded, cached):
        assert [one["step"] for one in seen] == PREVIEWS
        assert all(one["mapped"] and str(weights) not in one["mapped"] for one in seen)
    most, least = (max(one["resident"] for one in seen) for seen in (encoded, cached))
    assert most - least < weights.stat().st_size / 2, (most, least)
