"""The shell: each program does the same under `python -m studio` and under its older name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from studio import cli

ROOT = Path(__file__).resolve().parents[2]


def asked(*words: str) -> subprocess.CompletedProcess[str]:
    """`python -m` with these words."""
    return subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("name", cli.PROGRAMS)
def test_a_program_has_two_names_and_does_the_same(name: str) -> None:
    by_command, by_module = asked("studio", name, "--help"), asked(f"studio.{name}", "--help")
    assert by_command.returncode == by_module.returncode == 0
    assert by_command.stdout == by_module.stdout and f"python -m studio.{name}" in by_command.stdout


@pytest.mark.parametrize("name", cli.PROGRAMS)
def test_a_wrong_call_is_refused_under_both(name: str) -> None:
    by_command, by_module = asked("studio", name, "--no-such-flag"), asked(f"studio.{name}", "--no-such-flag")
    assert by_command.returncode == by_module.returncode == 2
    assert by_command.stderr == by_module.stderr and by_command.stderr


def test_the_shell_lists_what_there_is() -> None:
    listed = asked("studio", "--help").stdout
    assert all(f"\n    {name} " in listed for name in (*cli.PROGRAMS, "trash"))
    assert asked("studio", "nothing").returncode == 2


def test_a_bundle_is_still_trained_by_the_name_that_older_bundles_call() -> None:
    now, before = asked("studio.remote.elsewhere", "--help"), asked("studio.launch.elsewhere", "--help")
    assert now.returncode == before.returncode == 0 and now.stdout == before.stdout
