"""What people do with a studio, each as it really goes, with what is acknowledged on the way.

An operation gets its home ready and returns what is recorded: a function that acts, and calls `stage.mark` with each
thing that was answered for. The trainer's acknowledgements are its events (disk.ACKNOWLEDGED).
"""

from __future__ import annotations

from studio import bundle, datasets, storage
from studio.datasets import compacting as compacting_
from studio.datasets.text import suggestions as suggested
from studio.datasets.text.caption_edits import Change
from studio.system import machine
from studio.web.access import LOCAL

from .look import Seen
from .stage import Act, Stage, operation


def _told_as_cut(seen: Seen, first: Seen, said: list[str]) -> list[str]:
    """An import that was answered for is there, or is told as cut."""
    cut = any(value for key, value in seen.items() if key.endswith("/error"))
    there = any(value > first.get(key, 0) for key, value in seen.items() if key.endswith("/count"))
    if "accepted" not in said or cut or there:
        return []
    return ["an import that was answered for is neither there nor told as cut"]


# ---------------------------------------------------------------------------------------------------------- data sets


@operation(_told_as_cut)
def import_files(stage: Stage) -> Act:
    """Pictures become a data set."""

    def act() -> None:
        found, _ = stage.studio.datasets.import_files(LOCAL, "New", stage.pictures(1, 5), lambda: None)
        stage.mark("accepted")
        stage.idle(datasets.find(stage.home, found["id"]))
        stage.mark("imported")

    return act


@operation(_told_as_cut)
def add_more(stage: Stage) -> Act:
    """More pictures for a ready data set."""
    made = stage.dataset()

    def act() -> None:
        stage.studio.datasets.import_files(LOCAL, "", stage.pictures(1, 3), lambda: None, into=made.id)
        stage.mark("accepted")
        stage.idle(made)
        stage.mark("imported")

    return act


@operation()
def batches(stage: Stage) -> Act:
    """A draft, two batches, their import."""

    def act() -> None:
        made = datasets.find(stage.home, stage.studio.datasets.draft(LOCAL, "Drafted")["id"])
        stage.mark("drafted")
        for first in (1, 10):
            stage.studio.datasets.receive(LOCAL, made.id, stage.pictures(first, 3))
            stage.mark("received")
        datasets.commit(made)
        stage.mark("committed")

    return act


@operation()
def captions(stage: Stage) -> Act:
    """A caption, a crop, a bulk edit, an undo, a new name."""
    made = stage.dataset()
    pids = [row["pid"] for row in made.rows()]

    def act() -> None:
        for what in (lambda: stage.studio.datasets.set_caption(LOCAL, made.id, pids[0], "a red bird"),
                     lambda: stage.studio.datasets.set_crop(LOCAL, made.id, pids[1], [0, 0, 40]),
                     lambda: stage.studio.captions.edit(LOCAL, made.id, Change(prefix="ink, ")),
                     lambda: stage.studio.datasets.undo(LOCAL, made.id),
                     lambda: stage.studio.datasets.rename(LOCAL, made.id, "Birds in ink")):
            what()
            stage.mark("changed")

    return act


@operation()
def compacting(stage: Stage) -> Act:
    """Edits and an undo, at each of which the log of the data set may be written anew."""
    made = stage.dataset()
    compacting_.LEAST_BYTES = 0

    def act() -> None:
        for number in range(6):
            stage.studio.captions.edit(LOCAL, made.id, Change(prefix=f"{number}, "))
            stage.mark("changed")
        stage.studio.datasets.undo(LOCAL, made.id)
        stage.mark("undone")

    return act


@operation()
def suggestions(stage: Stage) -> Act:
    """Suggested captions, one of them applied, one dismissed."""
    made = stage.dataset()
    pids = [row["pid"] for row in made.rows()]

    def act() -> None:
        suggested.add(made, [{"pid": pid, "caption": f"a bird {n}", "model": "m"} for n, pid in enumerate(pids)])
        stage.mark("suggested")
        stage.studio.captions.decide(LOCAL, made.id, apply=True, ids=pids[:1])
        stage.mark("applied")
        stage.studio.captions.decide(LOCAL, made.id, apply=False, ids=pids[1:2])
        stage.mark("dismissed")

    return act


@operation()
def copy_sample(stage: Stage) -> Act:
    """An edit of the shipped set, which copies it first."""
    pid = datasets.find(stage.home, "sample").rows()[0]["pid"]

    def act() -> None:
        stage.studio.datasets.set_caption(LOCAL, "sample", pid, "mine")
        stage.mark("edited")

    return act


@operation()
def delete_dataset(stage: Stage) -> Act:
    """A data set into the trash."""
    made = stage.dataset()

    def act() -> None:
        stage.studio.datasets.delete(LOCAL, made.id)
        stage.mark("deleted")

    return act


# -------------------------------------------------------------------------------------------------- runs, before and a


@operation()
def submit(stage: Stage) -> Act:
    """A run of one's own pictures."""
    made = stage.dataset()
    machine.facts(stage.home)

    def act() -> None:
        stage.studio.runs.create(LOCAL, "Mine", {"data": {"dataset": made.id}, "train": {"max_steps": 3}})
        stage.mark("submitted")

    return act


@operation()
def submit_sample(stage: Stage) -> Act:
    """A run of the shipped pictures, which are stored first."""
    machine.facts(stage.home)

    def act() -> None:
        stage.studio.runs.create(LOCAL, "First", {"train": {"max_steps": 3}})
        stage.mark("submitted")

    return act


@operation()
def branch(stage: Stage) -> Act:
    """A run that goes on from a checkpoint of another."""
    made = stage.run()
    machine.facts(stage.home)

    def act() -> None:
        stage.studio.runs.branch(LOCAL, made.id, "checkpoint-4", "Branched", {"optim": {"learning_rate": 1e-5}})
        stage.mark("branched")

    return act


def _never_broken_off(seen: Seen, first: Seen, said: list[str]) -> list[str]:
    """A run that never began is not shown as one that was broken off."""
    return [f"{key} is interrupted" for key, value in seen.items() if key.endswith("/state") and value == "interrupted"]


@operation(_never_broken_off)
def edits_and_resume(stage: Stage) -> Act:
    """A new name, two edits at rest, a resume, a cancel in the queue."""
    made = stage.run()

    def act() -> None:
        for what in (lambda: stage.studio.runs.rename(LOCAL, made.id, "Renamed"),
                     lambda: stage.studio.runs.edit(LOCAL, made.id, {"train": {"max_steps": 20}}),
                     lambda: stage.studio.runs.edit(LOCAL, made.id, {"optim": {"lr_multiplier": 0.5}}),
                     lambda: stage.studio.runs.control(LOCAL, made.id, "resume", {"checkpoint": "checkpoint-2"}),
                     lambda: stage.studio.runs.control(LOCAL, made.id, "cancel")):
            what()
            stage.mark("done")

    return act


@operation()
def controls(stage: Stage) -> Act:
    """What is asked of a run that trains."""
    made = stage.run(state="running")
    held = made.lock, made.worker_lock

    def act() -> None:
        assert all(lock.acquire() for lock in held)
        for kind, args in (("save", {}), ("sample", {"prompt": "a bird"}), ("stop", {})):
            stage.studio.runs.control(LOCAL, made.id, kind, args)
            stage.mark("asked")
        stage.studio.runs.edit(LOCAL, made.id, {"train": {"max_steps": 30}})
        stage.mark("asked")

    return act


@operation()
def delete_run(stage: Stage) -> Act:
    """A run into the trash."""
    made = stage.run()

    def act() -> None:
        stage.studio.runs.delete(LOCAL, made.id)
        stage.mark("deleted")

    return act


@operation()
def restore(stage: Stage) -> Act:
    """A run, a data set and a preset come back from the trash."""
    made = stage.run()
    known = datasets.every(stage.home)[-1]
    preset = stage.studio.plans.save_preset(LOCAL, "Mine", {"lora": {"rank": 4}})
    stage.studio.runs.delete(LOCAL, made.id)
    stage.studio.datasets.delete(LOCAL, known.id)
    stage.studio.plans.delete_preset(LOCAL, preset["id"])
    entries = stage.studio.trash.all(LOCAL)["items"]

    def act() -> None:
        for entry in entries:
            stage.studio.trash.restore(LOCAL, entry["id"])
            stage.mark("restored")

    return act


@operation()
def empty_trash(stage: Stage) -> Act:
    """One thing of two is removed for good, then all."""
    first, second = stage.run(), stage.run(name="Another")
    for made in (first, second):
        stage.studio.runs.delete(LOCAL, made.id)
    entries = stage.studio.trash.all(LOCAL)["items"]

    def act() -> None:
        stage.studio.trash.remove(LOCAL, entries[0]["id"])
        stage.mark("removed")
        stage.studio.trash.empty(LOCAL)
        stage.mark("emptied")

    return act


@operation()
def bundle_import(stage: Stage) -> Act:
    """A run that comes as a bundle."""
    elsewhere = Stage(stage.home.with_name("elsewhere"))
    archive = stage.home / "cache" / "run.zip"
    archive.parent.mkdir(parents=True, exist_ok=True)
    bundle.write(elsewhere.run(), archive)

    def act() -> None:
        stage.studio.bundles.unpack(LOCAL, [("run.zip", archive)])
        stage.mark("imported")

    return act


@operation()
def bring_back(stage: Stage) -> Act:
    """What a run made on a rented machine."""
    made = stage.run()
    archive = stage.home / "cache" / "result.zip"
    bundle.write(made, archive, result=True)
    for folder in made.checkpoints.iterdir():
        storage.erase(folder)

    def act() -> None:
        bundle.take_back(made, archive)
        stage.mark("brought")

    return act


@operation()
def presets(stage: Stage) -> Act:
    """Two presets, one of them deleted again."""

    def act() -> None:
        first = stage.studio.plans.save_preset(LOCAL, "First", {"lora": {"rank": 4}})
        stage.mark("saved")
        stage.studio.plans.save_preset(LOCAL, "Second", {"lora": {"rank": 8}})
        stage.mark("saved")
        stage.studio.plans.delete_preset(LOCAL, first["id"])
        stage.mark("deleted")

    return act
