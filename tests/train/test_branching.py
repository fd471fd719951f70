"""Branches of a run: without changes they repeat it bit for bit; with changes they say so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from studio import config, prepare, storage
from studio.cli import train as shell
from studio.folders import runs

from .conftest import Make, child, curve, fingerprint, history, told, train

EARLY = {"checkpoint": {"every_steps": 3, "keep": 5}}


def branch(home: Path, parent: runs.Run, checkpoint: str | None = "checkpoint-3", **changes: Any) -> runs.Run:
    return prepare.branch(home, parent, name="b", owner="", checkpoint=checkpoint, config=changes)


@pytest.fixture
def parent(make: Make) -> runs.Run:
    """A finished run of eight steps that kept all its checkpoints."""
    run = make(**EARLY)
    assert train(run) == "finished"
    return run


def test_a_branch_without_changes_repeats_its_parent(home: Path, parent: runs.Run) -> None:
    made = branch(home, parent)
    assert runs.EventReader().state(made)[0] == "queued" and made.rows() == parent.rows()
    assert made.record()["parent"] == {"id": parent.id, "checkpoint": "checkpoint-3", "changes": []}
    assert child(made, "step:5").returncode < 0  # killed and resumed on the way
    assert train(made) == "finished"
    first = told(made, "resumed")[0]
    assert (first["from_step"], first["exact"]) == (3, True) and parent.id in first["note"]
    whole = curve(parent)
    assert curve(made) == {step: loss for step, loss in whole.items() if step > 3}
    assert fingerprint(made, 8) == fingerprint(parent, 8)
    assert [c["name"] for c in history(made).checkpoints][0] == "checkpoint-3"
    for path, _ in parent.valid_checkpoints():
        storage.verify(path)


def test_changed_settings_are_used_and_named(home: Path, parent: runs.Run) -> None:
    made = branch(home, parent, optim={"learning_rate": 0.002, "adam_weight_decay": 0.5}, train={"max_steps": 10},
                  sample={"prompts": ["a new thing"]})
    assert child(made, "step:5").returncode < 0  # before a checkpoint of its own
    assert train(made) == "finished"
    resumed = told(made, "resumed")[0]
    assert not resumed["exact"]
    for words in ("optim.learning_rate was 0.01, is 0.002", "train.max_steps was 8, is 10", "a new thing"):
        assert words in resumed["note"]
    assert [e["lr"] for e in told(made, "step")][-1] == 0.002 and max(curve(made)) == 10
    assert {e["prompt"] for e in told(made, "sample")} == {"a new thing"}
    kept = storage.read_json(made.checkpoints / "checkpoint-10" / "optimizer.json")
    assert kept and [group["weight_decay"] for group in kept["groups"]] == [0.5]


def test_what_a_branch_cannot_be_is_refused(home: Path, parent: runs.Run) -> None:
    with pytest.raises(runs.Refused, match="no checkpoint 'checkpoint-4'; there are: checkpoint-8, checkpoint-6"):
        branch(home, parent, "checkpoint-4")
    with pytest.raises(config.ConfigError) as error:
        branch(home, parent, optim={"name": "prodigy"}, train={"max_steps": 3})
    assert {p.field for p in error.value.problems} >= {"optim.name", "train.max_steps"}
    with open(parent.checkpoints / "checkpoint-3" / "optimizer.safetensors", "r+b") as file:
        file.write(b"x")
    with pytest.raises(storage.Corrupt):
        branch(home, parent)
    assert runs.every(home) == [parent]


def test_choices_with_a_comma_before_the_run_are_several(parent: runs.Run) -> None:
    """`--track.report_to tensorboard,trackio RUN`: the run ends the command, and the rest is split as without it."""
    words = ["--branch", "checkpoint-3", "--track.report_to", "tensorboard,trackio", str(parent.path)]
    made, _ = shell.chosen(shell.parsed(words))
    assert made.record()["parent"]["id"] == parent.id
    assert made.created_config().track.report_to == ["tensorboard", "trackio"]
