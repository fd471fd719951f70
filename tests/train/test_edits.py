"""A run whose settings change on its way: the events it leaves, and the bits of its result."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from studio import bundle, config, datasets, prepare, storage
from studio.folders import edits, runs
from studio.train.learning import optim

from .conftest import Make, child, curve, fingerprint, picture, told, train, two_ranks
from .test_exactness import begin
from .test_loop import ask_at

COSINE = {"optim": {"lr_scheduler": "cosine", "learning_rate": 1e-2}}


def edit(run: runs.Run, **changes: Any) -> None:
    """An edit of a run that does not train now."""
    assert runs.change(run, changes, runs.EventReader()) == ""


def rates(run: runs.Run) -> dict[int, float]:
    return {e["step"]: e["lr"] for e in told(run, "step")}


def holds(run: runs.Run) -> list[dict[str, Any]]:
    """The events that tell of an edit that holds from there on."""
    return [e for e in told(run, "control") if e["control"] == "edit" and e["result"] == "done"]


def test_an_edit_while_it_trains(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make()
    created = run.config_file.read_bytes()
    changes = {"train": {"max_steps": 10}, "sample": {"prompts": ["a new thing"], "every_steps": 5},
               "checkpoint": {"every_steps": 5, "keep": 3}, "optim": {"lr_multiplier": 0.5}}
    ask_at(run, monkeypatch, 4, ("edit", {"config": changes}))
    assert train(run) == "finished"
    events_ = told(run)
    control = [e for e in events_ if e["kind"] == "control"]
    assert [(e["control"], e["result"]) for e in control] == [("edit", "accepted"), ("edit", "done")]
    assert (control[1]["step"], control[1]["config"]) == (4, changes) and control[1]["id"] == control[0]["id"]
    assert "train.max_steps was 8, is 10" in control[1]["message"] and not list(run.control.iterdir())
    steps = {e["step"]: e["seq"] for e in events_ if e["kind"] == "step"}
    assert steps[4] < control[1]["seq"] < steps[5], "told before it takes effect"
    assert max(steps) == 10 and rates(run) == {s: 1e-2 if s <= 4 else 5e-3 for s in range(1, 11)}
    assert {(e["step"], e["prompt"]) for e in told(run, "sample") if e["step"] > 4} == {
        (5, "a new thing"), (10, "a new thing")}
    assert [e["step"] for e in told(run, "checkpoint")] == [3, 5, 10]
    assert run.config_file.read_bytes() == created and run.config().train.max_steps == 10


def test_a_run_killed_after_its_edits_repeats_them(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, killed = make(**COSINE), make(**COSINE)
    more = ("edit", {"config": {"train": {"max_steps": 12}}})
    slower = ("edit", {"config": {"optim": {"lr_multiplier": 0.25}}})
    with monkeypatch.context() as patch:
        ask_at(whole, patch, 4, more)
        ask_at(whole, patch, 7, slower)
        assert train(whole) == "finished"
    assert child(killed, "ask:4:" + json.dumps(more[1]), "ask:7:" + json.dumps(slower[1]),
                 "step:8").returncode == -signal.SIGKILL
    assert [e["step"] for e in killed.edits()] == [4, 7]
    assert train(killed) == "finished"
    resumed = told(killed, "resumed")[0]
    assert (resumed["from_step"], resumed["exact"], resumed["note"]) == (6, True, None)
    assert curve(killed) == curve(whole) and fingerprint(killed, 12) == fingerprint(whole, 12)
    assert rates(killed) == rates(whole)
    assert [e["step"] for e in holds(killed)] == [4, 7, 7], "the second one is told of again where it is repeated"


@pytest.mark.parametrize("stage", [0, 3])
def test_every_rank_takes_an_edit_and_repeats_it(make: Make, stage: int) -> None:
    """The new total is beyond the old one, so that a rank that had not heard would leave the others waiting."""
    settings = {"compute": {"num_processes": 2, "deepspeed_stage": stage}, "train": {"batch_size": 1},
                "sample": {"every_steps": 0, "prompts": []}}
    wish = 'ask:4:{"config": {"train": {"max_steps": 10}, "optim": {"lr_multiplier": 0.5}}}'
    whole, killed = make(**settings), make(**settings)
    done = two_ranks(whole, wish)
    assert done.returncode == 0, done.stderr[-3000:]
    assert rates(whole) == {step: 1e-2 if step <= 4 else 5e-3 for step in range(1, 11)}
    assert two_ranks(killed, wish, "step:5").returncode != 0 and len(killed.edits()) == 1
    done = two_ranks(killed)
    assert done.returncode == 0, done.stderr[-3000:]
    assert told(killed, "resumed")[0]["from_step"] == 3
    assert curve(killed) == curve(whole) and fingerprint(killed, 10) == fingerprint(whole, 10)


def test_the_schedule_has_the_new_total_from_the_step_on(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(**COSINE)
    ask_at(run, monkeypatch, 4, ("edit", {"config": {"train": {"max_steps": 16}}}))
    assert train(run) == "finished"
    short, long = (optim.schedule("cosine", 1e-2, 0, steps) for steps in (8, 16))
    assert rates(run) == {s: (short if s <= 4 else long)(s - 1) for s in range(1, 17)}


def test_a_finished_run_is_extended(make: Make) -> None:
    longer, run = make(train={"max_steps": 12}), make()
    train(longer)
    begin(run, 1)
    assert train(run) == "finished"
    with pytest.raises(runs.Refused, match="give it more of them first"):
        runs.resume(run, runs.EventReader())
    edit(run, train={"max_steps": 12})
    begin(run, runs.resume(run, runs.EventReader()))
    assert child(run, "step:10").returncode == -signal.SIGKILL
    begin(run, runs.resume(run, runs.EventReader()))
    assert train(run) == "finished"
    assert all(e["exact"] and e["from_step"] >= 8 for e in told(run, "resumed"))
    assert [e["total_steps"] for e in told(run, "attempt")] == [8, 12, 12]
    assert curve(run) == curve(longer) and fingerprint(run, 12) == fingerprint(longer, 12)


def test_a_multiplier_of_one_changes_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, run = make(), make()
    train(plain)
    ask_at(run, monkeypatch, 3, *(("edit", {"config": {"optim": {"lr_multiplier": value}}}) for value in (0.5, 1)))
    assert train(run) == "finished"
    assert [e["config"]["optim"]["lr_multiplier"] for e in holds(run)] == [0.5, 1.0]
    assert curve(run) == curve(plain) and fingerprint(run, 8) == fingerprint(plain, 8)


def test_an_edit_while_paused_holds_from_the_checkpoint_on(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """And after those that lie ahead, where the run got further than its checkpoint."""
    run = make()
    begin(run, 1)
    assert child(run, 'ask:4:{"config": {"optim": {"lr_multiplier": 0.5}}}', "step:5").returncode == -signal.SIGKILL
    edit(run, optim={"lr_multiplier": 2.0}, sample={"every_steps": 1})
    assert [(e["step"], e["config"]["optim"]["lr_multiplier"]) for e in run.edits()] == [(4, 0.5), (4, 2.0)]
    begin(run, runs.resume(run, runs.EventReader()))
    assert train(run) == "finished"
    assert rates(run)[4] == 1e-2 and rates(run)[5] == 2e-2
    fresh = make()
    edit(fresh, sample={"prompts": ["a new thing"]})
    assert train(fresh) == "finished"
    assert {e["prompt"] for e in told(fresh, "sample")} == {"a new thing"}


@pytest.mark.parametrize(("changes", "field", "says"), [
    ({"optim": {"learning_rate": 1.0}}, "optim.learning_rate", "branch the run"),
    ({"train": {"max_steps": 3}}, "train.max_steps", "at step 6 already"),
    ({"train": {"max_steps": "many"}}, "train.max_steps", "integer"),
    ({"train": {"max_steps": 8}}, "", "nothing would change"),
    ({"train": 8}, "train", "an object of settings"),
    ({"sample": {"every_steps": None}}, "sample.every_steps", "set a value"),
    ({"optim": {"lr_multiplier": 0}}, "optim.lr_multiplier", "greater than 0"),
])
def test_what_cannot_be_changed_is_refused(make: Make, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any],
                                           field: str, says: str) -> None:
    run = make()
    begin(run, 1)
    with monkeypatch.context() as patch:
        ask_at(run, patch, 5, ("edit", {"config": changes}))
        ask_at(run, patch, 6, ("stop", {}))
        train(run)
    refused = [e for e in told(run, "control") if e["control"] == "edit"]
    if field != "train.max_steps" or "many" in str(changes):
        assert [e["result"] for e in refused] == ["refused"] and says in refused[0]["message"]
    with pytest.raises(config.ConfigError) as error:
        edit(run, **changes)
    assert [(p.field, says in p.message) for p in error.value.problems] == [(field, True)], error.value.problems
    assert not run.edits_file.exists()


def test_edits_that_are_not_the_checkpoints_are_refused(make: Make) -> None:
    run = make()
    begin(run, 1)
    assert child(run, 'ask:4:{"config": {"optim": {"lr_multiplier": 0.5}}}', "step:7").returncode == -signal.SIGKILL
    run.edits_file.unlink()
    begin(run, runs.resume(run, runs.EventReader()))
    assert train(run) == "failed"
    error = told(run, "end")[-1]["error"]
    assert error["code"] == "cannot_resume" and "edits made before it" in error["message"]


def test_a_branch_takes_the_edits_along(home: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = make(checkpoint={"every_steps": 3, "keep": 5})
    ask_at(parent, monkeypatch, 4, ("edit", {"config": {"optim": {"lr_multiplier": 0.5}, "train": {"max_steps": 10}}}))
    assert train(parent) == "finished"
    same = prepare.branch(home, parent, name="b", owner="", checkpoint="checkpoint-3")
    assert same.record()["parent"]["changes"] == []
    assert train(same) == "finished"
    assert fingerprint(same, 10) == fingerprint(parent, 10) and told(same, "resumed")[0]["exact"]
    other = prepare.branch(home, parent, name="b", owner="", checkpoint="checkpoint-6",
                           config={"train": {"max_steps": 8}, "optim": {"learning_rate": 1e-3}})
    assert other.edits() == [] and other.config().train.max_steps == 8
    assert train(other) == "finished" and set(rates(other).values()) == {1e-3}


def test_a_finished_run_is_branched_with_more_steps(home: Path, make: Make) -> None:
    longer, parent = make(train={"max_steps": 12}), make()
    train(longer)
    train(parent)
    made = prepare.branch(home, parent, name="b", owner="", checkpoint="checkpoint-8",
                          config={"train": {"max_steps": 12}})
    assert train(made) == "finished"
    assert fingerprint(made, 12) == fingerprint(longer, 12)
    assert curve(made) == {step: loss for step, loss in curve(longer).items() if step > 8}


def named_by_bytes(home: Path, number: int) -> dict[str, Any]:
    """A row whose picture has the name that a bundle looks for."""
    row = picture(home, number, (72, 80))
    path = datasets.picture_path(home, row)
    row["image"] = storage.sha256_file(path)
    target = datasets.picture_path(home, row)
    target.parent.mkdir(exist_ok=True)
    path.rename(target)
    return row


def test_a_bundle_brings_edits_and_parent(home: Path, make: Make, tmp_path: Path) -> None:
    parent = make(rows=[named_by_bytes(home, number) for number in range(6)])
    train(parent)
    made = prepare.branch(home, parent, name="b", owner="", checkpoint="checkpoint-6",
                          config={"train": {"max_steps": 9}, "optim": {"learning_rate": 1e-3}})
    edit(made, sample={"prompts": ["a new thing"]})
    bundle.write(made, tmp_path / "run.zip")
    brought = bundle.unpack(tmp_path / "there", tmp_path / "run.zip", "")
    assert brought.edits() == made.edits()
    assert brought.record()["parent"] == {"bundle": made.id, **made.record()["parent"]}
    assert train(made) == train(brought) == "finished"
    assert fingerprint(brought, 9) == fingerprint(made, 9)


@pytest.mark.parametrize("found", [
    7, [7], [{"step": 3}], [{"id": "", "step": True, "config": {}}], [{"id": "", "step": 1, "config": {"train": 7}}],
    [{"id": "", "step": 1, "config": {"optim": {"name": "adamw"}}}],
    [{"id": "", "step": 1, "config": {"train": {"max_steps": -1}}}],
    [{"id": "", "step": 3, "config": {}}, {"id": "", "step": 2, "config": {}}]])
def test_a_damaged_list_is_named(make: Make, found: Any) -> None:
    run = make()
    storage.write_json(run.edits_file, {"edits": found})
    with pytest.raises(storage.Corrupt, match=r"edits\.json"):
        run.edits()
    with pytest.raises(ValueError):
        edits.sound(found)

