"""What people do with a studio, each as it really goes, with what is acknowledged on the way.

An operation gets its home ready and returns what is recorded: a function that acts, and calls `stage.mark` with each
thing that was answered for. The trainer's acknowledgements are its events (disk.ACKNOWLEDGED).
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from studio import bundle, config, datasets, launch, machine, runs, storage, work
from studio.web.access import LOCAL
from studio.web.service import Studio
from studio.web.settings import Settings

from .judge import Promise
from .look import Seen

Act = Callable[[], None]
WEIGHTS = ("unet/diffusion_pytorch_model.safetensors", "unet_ema/diffusion_pytorch_model.safetensors",
           "optimizer.safetensors")

PLAIN: dict[str, Any] = {
    "data": {"resolution": 64}, "train": {"batch_size": 1, "mixed_precision": "no", "seed": 7},
    "optim": {"learning_rate": 1e-4, "lr_scheduler": "constant"}, "objective": {"prediction_type": "epsilon"},
    "sample": {"prompts": ["a bird"], "guidance_scale": 1.0}}


class Stage:
    """A home, and the ways into it."""

    def __init__(self, home: Path, mark: Callable[[str], object]):
        self.home, self.mark = home, mark
        home.mkdir(parents=True, exist_ok=True)
        storage.make_folder(home / "trash")
        self.studio = Studio(home, launch.Launcher(home), runs.Reader(), Settings(home=home, import_wait=0.0))

    def pictures(self, first: int, count: int) -> list[tuple[str, Path]]:
        """So many picture files, as an upload leaves them."""
        folder = self.home / "cache" / "uploads" / f"of-{first}"
        folder.mkdir(parents=True)
        for n in range(first, first + count):
            data = io.BytesIO()
            Image.frombytes("RGB", (80, 72), bytes((n * 7 + k) % 251 for k in range(3 * 80 * 72))).save(data, "PNG")
            (folder / f"{n:06d}").write_bytes(data.getvalue())
        return [(f"{n}.png", folder / f"{n:06d}") for n in range(first, first + count)]

    def dataset(self, count: int = 3) -> datasets.Dataset:
        """A ready data set."""
        made = datasets.begin(self.home, "Birds", LOCAL.id)
        datasets.add(made, self.pictures(100, count))
        assert made.state == "ready", made.report()
        return made

    def run(self, name: str = "A run", state: str = "paused", steps: int = 9, **changes: Any) -> runs.Run:
        """A run with two checkpoints and a picture, over the pictures of a data set."""
        rows = self.dataset().freeze() if not runs.every(self.home) else runs.every(self.home)[0].rows()
        asked = config.merge(PLAIN, config.merge({"train": {"max_steps": steps}}, changes))
        settings = config.resolve(config.load(asked), pictures=len(rows), seed=1, cores=1)
        made = runs.create(self.home, name=name, owner=LOCAL.id, config=settings, rows=rows)
        if state != "queued":
            self.lived(made, state)
        return made

    @staticmethod
    def lived(run: runs.Run, state: str) -> None:
        """What an attempt leaves that saved at steps 2 and 4."""
        from studio.events import EventWriter

        storage.write_json(run.process_file, {"attempt": 1, "pid": 1, "start_time": 0.0, "boot_id": "", "argv": [],
                                              "began": time.time()})
        writer = EventWriter(run.events_file)
        writer.add("attempt", attempt=1, total_steps=9, pictures=3)
        for step in (2, 4):
            writer.step(step, 0.5, 1e-4, 1.0, 3, 0.1)
            with storage.staged(run.checkpoints / f"checkpoint-{step}", {"step": step}) as folder:
                for name in WEIGHTS:
                    (folder / name).parent.mkdir(exist_ok=True)
                    save_file({"w": np.full(1500, step, np.float32)}, folder / name)
            writer.add("checkpoint", step=step, name=f"checkpoint-{step}", bytes=20000, seconds=0.1, ok=True)
        if state != "running":
            writer.end(state, 4)
            storage.write_json(run.exit_file, {"attempt": 1, "returncode": 0, "signal": None, "oom_kill": False,
                                               "result": None, "error": None, "ended": time.time()})
        writer.close()

    def idle(self, dataset: datasets.Dataset) -> None:
        """Wait until an import has ended."""
        while dataset.state == "importing":
            time.sleep(0.02)


@dataclass(frozen=True)
class Operation:
    """How it gets ready, and what holds beside the rule that nothing acknowledged goes (judge.py)."""

    prepare: Callable[[Stage], Act]
    promise: Promise


OPERATIONS: dict[str, Operation] = {}


def operation(promise: Promise = lambda seen, first, said: []) -> Callable[[Callable[[Stage], Act]], Callable[[Stage], Act]]:
    """Let a function be one of the OPERATIONS, by its name."""

    def keep(prepare: Callable[[Stage], Act]) -> Callable[[Stage], Act]:
        OPERATIONS[prepare.__name__] = Operation(prepare, promise)
        return prepare

    return keep


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
    files = stage.pictures(1, 5)

    def act() -> None:
        found, _ = stage.studio.import_files(LOCAL, "New", files, lambda: None)
        stage.mark("accepted")
        stage.idle(datasets.find(stage.home, found["id"]))
        stage.mark("imported")

    return act


@operation(_told_as_cut)
def add_more(stage: Stage) -> Act:
    """More pictures for a ready data set."""
    made, files = stage.dataset(), stage.pictures(1, 3)

    def act() -> None:
        stage.studio.import_files(LOCAL, "", files, lambda: None, into=made.id)
        stage.mark("accepted")
        stage.idle(made)
        stage.mark("imported")

    return act


@operation()
def batches(stage: Stage) -> Act:
    """A draft, two batches, their import."""
    sent = stage.pictures(1, 3), stage.pictures(10, 2)

    def act() -> None:
        made = datasets.find(stage.home, stage.studio.draft_dataset(LOCAL, "Drafted")["id"])
        stage.mark("drafted")
        for files in sent:
            stage.studio.receive_files(LOCAL, made.id, files)
            stage.mark("received")
        datasets.commit(made)
        stage.mark("committed")

    return act


@operation()
def captions(stage: Stage) -> Act:
    """A caption, a crop, a bulk edit, an undo, a new name."""
    from studio.datasets.wording import Change

    made = stage.dataset()
    pids = [row["pid"] for row in made.rows()]

    def act() -> None:
        for what in (lambda: stage.studio.set_caption(LOCAL, made.id, pids[0], "a red bird"),
                     lambda: stage.studio.set_crop(LOCAL, made.id, pids[1], [0, 0, 40]),
                     lambda: stage.studio.edit_captions(LOCAL, made.id, Change(prefix="ink, ")),
                     lambda: stage.studio.undo(LOCAL, made.id),
                     lambda: stage.studio.rename_dataset(LOCAL, made.id, "Birds in ink")):
            what()
            stage.mark("changed")

    return act


@operation()
def suggestions(stage: Stage) -> Act:
    """Suggested captions, one of them applied, one dismissed."""
    from studio.datasets import suggestions as suggested

    made = stage.dataset()
    pids = [row["pid"] for row in made.rows()]

    def act() -> None:
        suggested.add(made, [{"pid": pid, "caption": f"a bird {n}", "model": "m"} for n, pid in enumerate(pids)])
        stage.mark("suggested")
        stage.studio.decide(LOCAL, made.id, apply=True, ids=pids[:1])
        stage.mark("applied")
        stage.studio.decide(LOCAL, made.id, apply=False, ids=pids[1:2])
        stage.mark("dismissed")

    return act


@operation()
def copy_sample(stage: Stage) -> Act:
    """An edit of the shipped set, which copies it first."""
    pid = datasets.find(stage.home, "sample").rows()[0]["pid"]

    def act() -> None:
        stage.studio.set_caption(LOCAL, "sample", pid, "mine")
        stage.mark("edited")

    return act


@operation()
def delete_dataset(stage: Stage) -> Act:
    """A data set into the trash."""
    made = stage.dataset()

    def act() -> None:
        stage.studio.delete_dataset(LOCAL, made.id)
        stage.mark("deleted")

    return act


# ------------------------------------------------------------------------------------------------- runs, before and after


@operation()
def submit(stage: Stage) -> Act:
    """A run of one's own pictures."""
    made = stage.dataset()
    machine.facts(stage.home)

    def act() -> None:
        stage.studio.create_run(LOCAL, "Mine", {"data": {"dataset": made.id}, "train": {"max_steps": 3}})
        stage.mark("submitted")

    return act


@operation()
def submit_sample(stage: Stage) -> Act:
    """A run of the shipped pictures, which are stored first."""
    machine.facts(stage.home)

    def act() -> None:
        stage.studio.create_run(LOCAL, "First", {"train": {"max_steps": 3}})
        stage.mark("submitted")

    return act


@operation()
def branch(stage: Stage) -> Act:
    """A run that goes on from a checkpoint of another."""
    made = stage.run()
    machine.facts(stage.home)

    def act() -> None:
        stage.studio.branch_run(LOCAL, made.id, "checkpoint-4", "Branched", {"optim": {"learning_rate": 1e-5}})
        stage.mark("branched")

    return act


@operation()
def edits_and_resume(stage: Stage) -> Act:
    """A new name, two edits at rest, a resume, a cancel in the queue."""
    made = stage.run()

    def act() -> None:
        for what in (lambda: stage.studio.rename_run(LOCAL, made.id, "Renamed"),
                     lambda: stage.studio.edit_run(LOCAL, made.id, {"train": {"max_steps": 20}}),
                     lambda: stage.studio.edit_run(LOCAL, made.id, {"optim": {"lr_multiplier": 0.5}}),
                     lambda: stage.studio.control(LOCAL, made.id, "resume", {"checkpoint": "checkpoint-2"}),
                     lambda: stage.studio.control(LOCAL, made.id, "cancel")):
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
            stage.studio.control(LOCAL, made.id, kind, args)
            stage.mark("asked")
        stage.studio.edit_run(LOCAL, made.id, {"train": {"max_steps": 30}})
        stage.mark("asked")

    return act


@operation()
def delete_run(stage: Stage) -> Act:
    """A run into the trash."""
    made = stage.run()

    def act() -> None:
        stage.studio.delete_run(LOCAL, made.id)
        stage.mark("deleted")

    return act


@operation()
def restore(stage: Stage) -> Act:
    """A run, a data set and a preset come back from the trash."""
    made = stage.run()
    known = datasets.every(stage.home)[-1]
    preset = stage.studio.save_preset(LOCAL, "Mine", {"lora": {"rank": 4}})
    stage.studio.delete_run(LOCAL, made.id)
    stage.studio.delete_dataset(LOCAL, known.id)
    stage.studio.delete_preset(LOCAL, preset["id"])
    entries = stage.studio.list_trash(LOCAL)["items"]

    def act() -> None:
        for entry in entries:
            stage.studio.restore_trash(LOCAL, entry["id"])
            stage.mark("restored")

    return act


@operation()
def empty_trash(stage: Stage) -> Act:
    """One thing of two is removed for good, then all."""
    first, second = stage.run(), stage.run(name="Another")
    for made in (first, second):
        stage.studio.delete_run(LOCAL, made.id)
    entries = stage.studio.list_trash(LOCAL)["items"]

    def act() -> None:
        stage.studio.remove_trash(LOCAL, entries[0]["id"])
        stage.mark("removed")
        stage.studio.empty_trash(LOCAL)
        stage.mark("emptied")

    return act


@operation()
def bundle_import(stage: Stage) -> Act:
    """A run that comes as a bundle."""
    elsewhere = Stage(stage.home.with_name("elsewhere"), lambda what: None)
    archive = stage.home / "cache" / "run.zip"
    archive.parent.mkdir(parents=True, exist_ok=True)
    bundle.write(elsewhere.run(), archive)

    def act() -> None:
        stage.studio.import_run(LOCAL, [("run.zip", archive)])
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
        first = stage.studio.save_preset(LOCAL, "First", {"lora": {"rank": 4}})
        stage.mark("saved")
        stage.studio.save_preset(LOCAL, "Second", {"lora": {"rank": 8}})
        stage.mark("saved")
        stage.studio.delete_preset(LOCAL, first["id"])
        stage.mark("deleted")

    return act


# ------------------------------------------------------------------------------------------------------------------ jobs


@operation()
def jobs(stage: Stage) -> Act:
    """A drawing that borrows a checkpoint, a light job; one cancelled, one deleted."""
    made = stage.run()

    def act() -> None:
        drawing = stage.studio.draw(LOCAL, made.id, {"prompts": ["a bird"], "seeds": [1]})
        stage.mark("drawing")
        light = stage.studio.measure_dataset(LOCAL, datasets.every(stage.home)[-1].id)
        stage.mark("measuring")
        stage.studio.cancel_job(LOCAL, light["id"])
        stage.mark("cancelled")
        stage.studio.delete_job(LOCAL, light["id"])
        stage.mark("deleted")
        stage.studio.cancel_job(LOCAL, drawing["id"])
        stage.mark("cancelled")

    return act


@operation()
def job_results(stage: Stage) -> Act:
    """What a job makes."""
    from studio.events import EventWriter
    from studio.jobs.running import RunningJob
    from studio.train.control import Controls

    folder = work.submit(stage.home, "measure", {}, name="A job", owner=LOCAL.id, light=True)
    storage.write_json(folder.process_file, {"attempt": 1, "began": time.time()})

    def act() -> None:
        events = EventWriter(folder.events_file)
        job = RunningJob(folder, folder.record(), events, Controls(folder, events, time.time()))
        part = folder.path / "part"
        for n in range(3):
            part.write_bytes(bytes([n]) * 6000)
            job.result(f"{n}.bin", part if n % 2 else bytes([n]) * 6000, "application/octet-stream")
        events.end("finished", 0)
        events.close()

    return act


@operation()
def votes(stage: Stage) -> Act:
    """Three votes."""
    from studio.web import votes as votes_

    made = stage.run()
    ballot = votes_.Ballot({"a": (0, 1), "b": (0, 1)}, [{"checkpoint": None}, {"checkpoint": "checkpoint-4"}])

    def act() -> None:
        for line in ({"pair": "a", "choice": "left"}, {"pair": "b", "choice": "tie"}, {"pair": "b", "choice": None}):
            votes_.cast(made.votes_file, "0" * 32, ballot, line)
            stage.mark("voted")

    return act


@operation()
def webhook(stage: Stage) -> Act:
    """The end of a run is told to an address, and that it was told is kept."""
    import os
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Ear(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    made, server = stage.run(), HTTPServer(("127.0.0.1", 0), Ear)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ["STUDIO_WEBHOOK_URL"] = f"http://127.0.0.1:{server.server_port}/"

    def act() -> None:
        from studio.launch import webhook as webhook_

        assert webhook_.after(made, 1)
        stage.mark("told")

    return act


@operation()
def supervise(stage: Stage) -> Act:
    """An attempt from its beginning to its end, of a program that ends at once."""
    import sys

    made = stage.run(state="queued")

    def act() -> None:
        assert launch.supervise(made, 1, [sys.executable, "-c", ""])
        stage.mark("ended")

    return act


# ------------------------------------------------------------------------------------------------------------- the trainer


def _toy() -> None:
    """The tests' toy family, on the CPU."""
    import os

    import studio.families

    studio.families.__path__.append(str(Path(__file__).resolve().parents[2] / "tests" / "families"))
    os.environ["ACCELERATE_USE_CPU"] = "true"


TOY: dict[str, Any] = {
    "model": {"family": "toy", "base": "embedded"}, "data": {"resolution": 32},
    "train": {"max_steps": 8, "batch_size": 2, "mixed_precision": "no", "seed": 7},
    "optim": {"learning_rate": 1e-2, "lr_scheduler": "constant"}, "objective": {"prediction_type": "epsilon"},
    "sample": {"prompts": ["a red thing"], "every_steps": 3, "num_inference_steps": 2, "guidance_scale": 1.0},
    "checkpoint": {"every_steps": 2, "keep": 2}, "compute": {"num_threads": 1}}


def _trained(made: runs.Run, attempt: int) -> str:
    from accelerate.state import AcceleratorState

    from studio.train import loop

    storage.write_json(made.process_file, {"attempt": attempt, "began": time.time()})
    AcceleratorState._reset_state(True)
    return loop.train(made, supervised=False)


@operation()
def train(stage: Stage) -> Act:
    """A run of the real trainer: five saves, retirement, pictures, a live edit and a save that are asked for, a stop."""
    _toy()
    from studio.events import EventWriter

    made = stage.run(state="queued", **TOY)
    written = EventWriter.step
    asked = {2: ("edit", {"config": {"train": {"max_steps": 12}}}), 5: ("save", {}), 10: ("stop", {})}

    def step(self: EventWriter, *args: Any, **fields: Any) -> None:
        written(self, *args, **fields)
        if fields.get("step") in asked:
            kind, given = asked[fields["step"]]
            made.request(kind, **given)

    EventWriter.step = step  # type: ignore[method-assign]

    def act() -> None:
        assert _trained(made, 1) == "stopped"

    return act


@operation()
def resume_named(stage: Stage) -> Act:
    """A run goes on from an older checkpoint: the later ones go to the trash, and new ones come."""
    _toy()
    made = stage.run(state="queued", **config.merge(TOY, {"train": {"max_steps": 5}, "checkpoint": {"keep": 3}}))
    assert _trained(made, 1) == "finished"
    made.add_edit({"id": "", "step": 5, "time": 0.0, "config": {"train": {"max_steps": 7}}})

    def act() -> None:
        made.update(attempt=2, resume_from="checkpoint-2")
        stage.mark("resumed")
        assert _trained(made, 2) == "finished"

    return act
