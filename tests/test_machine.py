"""Facts about this machine, measured by a real probe in a process of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from threading import Thread

import pytest

from studio.system import machine


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the machine was measured by two threads at once."""
    home = tmp_path_factory.mktemp("home")
    threads = [Thread(target=machine.facts, args=(home,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return home


def test_what_is_measured(measured: Path) -> None:
    found = machine.facts(measured)
    assert found["cores"] >= 1 and found["memory_bytes"] > 1 << 28 and found["torch"]
    assert found["precision"] in ("no", "fp16", "bf16") and found["precision_reason"]
    assert found["precision"] != "fp16" or found["gpus"]
    suggested = machine.suggestion(measured, resolution=64)
    assert suggested["train"] == {"mixed_precision": found["precision"]}
    assert suggested["compute"] == found["kernels"].get(found["precision"], {})
    if not found["gpus"]:
        assert set(found["kernels"]) == {"no", "bf16"}
        assert found["kernels"]["bf16"]["attention"] in ("sdpa", "plain")
        assert found["kernels"]["no"]["linear"] in ("matmul", "convolution")
    assert "attention" not in machine.suggestion(measured, resolution=1024)["compute"]


def test_the_answer_is_kept_until_the_machine_changes(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")  # a second probe would fail
    before = machine.facts(measured)
    assert "could not be measured" not in before["precision_reason"]
    file = measured / "cache" / "machine.json"
    kept = json.loads(file.read_text())
    file.write_text(json.dumps({**kept, "key": "another machine"}))
    assert "could not be measured" in machine.facts(measured)["precision_reason"]
    file.write_text(json.dumps(kept))
    assert machine.facts(measured) == before


def test_a_probe_that_fails_gives_the_safe_answer_for_some_minutes(
        home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page and each job asks: nobody waits for a second failure, and then it is tried again."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    found = machine.facts(home)
    assert found["precision"] == "no" and "/nowhere/python" in found["precision_reason"]
    monkeypatch.setattr(sys, "executable", "/elsewhere/python")
    assert machine.facts(home) == found
    file = home / "cache" / "machine.json"
    kept = json.loads(file.read_text())
    file.write_text(json.dumps({**kept, "failed": kept["failed"] - machine.RETRY_SECONDS}))
    assert "/elsewhere/python" in machine.facts(home)["precision_reason"]


def test_a_failure_is_remembered_where_the_disk_takes_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_measured", {})
    monkeypatch.setattr(machine.storage, "write_cache", lambda *_: False)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    found = machine.facts(home)
    monkeypatch.setattr(sys, "executable", "/elsewhere/python")
    assert machine.facts(home) == found


def test_asking_loads_no_torch(measured: Path) -> None:
    assert "torch" not in machine.__dict__ and machine.cores() <= 4096
