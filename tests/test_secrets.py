"""The owner's token is found where huggingface_hub finds it, without its import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ASK = """
import sys
from studio import secrets
ours, alone = secrets.own_token(), "huggingface_hub" not in sys.modules
from huggingface_hub import get_token
print(ours, get_token(), alone)
"""
NOT_SET = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HOME", "HF_TOKEN_PATH", "XDG_CACHE_HOME")


@pytest.mark.parametrize(("variables", "place"), [
    ({"HF_TOKEN": "hf_given"}, ""),
    ({}, ".cache/huggingface/token"),
    ({"XDG_CACHE_HOME": "{home}/elsewhere"}, "elsewhere/huggingface/token"),
    ({"HF_HOME": "~/mine"}, "mine/token"),
    ({"HF_HOME": "$HOME/mine"}, "mine/token"),
    ({"HF_TOKEN_PATH": "{home}/a/secret", "HF_HOME": "{home}/mine"}, "a/secret"),
    ({"HF_HOME": "{home}/empty"}, ""),
])
def test_the_token_is_the_one_that_the_library_takes(tmp_path: Path, variables: dict[str, str], place: str) -> None:
    if place:
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).write_text("hf_saved\n")
    env = {name: value for name, value in os.environ.items() if name not in NOT_SET}
    env |= {"HOME": str(tmp_path), **{name: value.format(home=tmp_path) for name, value in variables.items()}}
    done = subprocess.run([sys.executable, "-c", ASK], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    expected = "hf_given" if "HF_TOKEN" in variables else "hf_saved" if place else "None"
    assert done.stdout.split() == [expected, expected, "True"], done.stdout + done.stderr
