"""Kills the studio's processes again and again, and holds what is there against what was answered for.

    python -m benchmarks.kills [--rounds 100] [--seed 1]

One home, one server, one long run with the embedded base. In each round somebody sends batches and has them imported,
edits captions, deletes and renames, while one process, drawn by chance, gets SIGKILL at a random moment: the server,
the run's supervisor, its trainer, or an import. Then whatever died is started again, and the studio's own readers look.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from PIL import Image

from benchmarks.powercut.look import look
from studio import datasets, launch, storage
from studio.folders import events, runs

ROOT = Path(__file__).resolve().parent.parent
TARGETS = {"server": 3, "intake": 3, "supervisor": 2, "trainer": 2}  # how often each is drawn
INTAKE = "studio.datasets.imports.intake"  # the importing process, in its command line
PATIENCE = 300.0  # seconds for anything to come up again
CONFIG = {"data": {"dataset": "sample", "resolution": 64}, "compute": {"num_threads": 1},
          "train": {"max_steps": 100_000, "batch_size": 1, "mixed_precision": "no", "seed": 7},
          "sample": {"prompts": ["a bird"], "every_steps": 9, "num_inference_steps": 1},
          "checkpoint": {"every_steps": 4, "keep": 2}}


@dataclass
class Sent:
    """What one data set was sent and told, by what was answered (`sure`) and what was cut on its way (`open`)."""

    sure: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    captions: dict[str, list[str]] = field(default_factory=dict)  # name: the values it may have, the sure one first
    deleted: str = ""  # "sure", or "open" where no answer came


class Person:
    """Somebody who works in the studio, and remembers what they were told."""

    def __init__(self, client: httpx.Client, chance: random.Random):
        self.client, self.chance = client, chance
        self.sets: dict[str, Sent] = {}
        self.number = self.answered = 0
        self.names: list[str] = ["Killed"]  # what the run may be called
        self.run = ""
        self.told: dict[int, str] = {}  # the run's events that were seen
        self.leave = threading.Event()
        self.wrong: Exception | None = None  # what ended the work, but for a server that is gone

    def work(self) -> None:
        """Do one thing after another until told to leave, or until the server is gone."""
        try:
            while not self.leave.wait(0.05):
                self.chance.choice([self.send, self.send, self.commit, self.commit, self.caption, self.delete,
                                    self.rename, self.follow])()
                self.answered += 1
        except httpx.TransportError:
            pass
        except Exception as error:
            self.wrong = error

    def send(self) -> None:
        """A batch of three files that waits, now and then for a new data set."""
        here = [key for key, one in self.sets.items() if not one.deleted]
        if len(here) < 2:
            key = self._ask("POST", "/api/datasets", json={"name": "Drafted"}).json()["id"]
            self.sets[key] = Sent()
            here.append(key)
        key = self.chance.choice(here)
        names = [f"{self.number + n:06d}.png" for n in range(3)]
        self.number += 3
        self.sets[key].open += names
        answer = self._ask("POST", f"/api/datasets/{key}/images?commit=false",
                           files=[("files", (name, picture(int(name[:6])))) for name in names])
        if answer.status_code == 202:
            self.sets[key].sure += names

    def commit(self) -> None:
        """Have what waits imported."""
        key = self._any()
        if key:
            self._ask("POST", f"/api/datasets/{key}/commit", json={})

    def caption(self) -> None:
        """Another caption for one picture."""
        key = self._any()
        items = self._ask("GET", f"/api/datasets/{key}/images").json().get("items") if key else None
        if not items:
            return
        row, text = self.chance.choice(items), f"caption {time.time_ns()}"
        values = self.sets[key].captions.setdefault(row["name"], [""])
        values.append(text)
        answer = self._ask("PATCH", f"/api/datasets/{key}/images/{row['id']}", json={"captions": [text]})
        if answer.status_code == 200:
            values[:] = [text]

    def delete(self) -> None:
        """A data set into the trash, once it has grown."""
        key = self._any()
        if key and len(self.sets[key].sure) > 20:
            self.sets[key].deleted = "open"
            status = self._ask("DELETE", f"/api/datasets/{key}").status_code
            self.sets[key].deleted = "sure" if status == 204 else ""

    def rename(self) -> None:
        """Another name for the run."""
        self.names.append(f"Killed {time.time_ns()}")
        if self._ask("PATCH", f"/api/runs/{self.run}", json={"name": self.names[-1]}).status_code == 200:
            del self.names[:-1]

    def follow(self) -> None:
        """Look at the run's events, as a page does."""
        found = self._ask("GET", f"/api/runs/{self.run}/events", params={"since": max(self.told, default=0)}).json()
        self.told |= {event["seq"]: event["kind"] for event in found["events"]}

    def _any(self) -> str:
        here = [key for key, one in self.sets.items() if not one.deleted]
        return self.chance.choice(here) if here else ""

    def _ask(self, method: str, url: str, **more: Any) -> httpx.Response:
        answer = self.client.request(method, url, **more)
        if answer.status_code >= 500:
            raise ValueError(f"{method} {url} answered {answer.status_code}: {answer.text}")
        return answer


class Bench:
    """The home, its server, and the processes that are to be killed."""

    def __init__(self, home: Path, seed: int):
        self.home, self.chance = home, random.Random(seed)
        self.client = httpx.Client(timeout=PATIENCE)
        self.person = Person(self.client, random.Random(seed + 1))
        self.start()
        self.person.run = self.client.post("/api/runs", json={"name": "Killed", "config": CONFIG}).json()["id"]
        self.run = runs.find(home, self.person.run)

    def start(self) -> None:
        """A server, once it answers."""
        with open(self.home / "server.log", "ab") as log:
            self.server = subprocess.Popen(
                [sys.executable, "app.py", "--port", "0", "--home", str(self.home)], cwd=ROOT, text=True,
                env={**os.environ, "STUDIO_AUTH": "none"}, stdout=subprocess.PIPE, stderr=log)
        assert self.server.stdout
        port = re.search(r"http://[^:/]+:(\d+)", self.server.stdout.readline())
        assert port, "the server did not say where it is"
        self.client.base_url = f"http://127.0.0.1:{port[1]}"
        until(self._answers)

    def close(self) -> None:
        """End everything."""
        with suppress(storage.Corrupt, runs.Refused):
            launch.ask(self.run, "cancel")
        until(lambda: not self.run.alive())
        self.server.terminate()
        self.server.wait()

    def _answers(self) -> bool:
        try:
            return self.client.get("/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def one_round(self) -> tuple[str, list[str]]:
        """Work, kill, start again, look; what was killed, and what is wrong now."""
        target = self.chance.choices(list(TARGETS), list(TARGETS.values()))[0]
        self.in_training = self.chance.random() < 0.7  # else at whatever moment of its start it is
        self.person.leave.clear()
        working = threading.Thread(target=self.person.work)
        working.start()
        try:
            victim = until(lambda: self._find(target) or not working.is_alive())
            time.sleep(self.chance.uniform(0, {"intake": 1.0, "server": 4.0}.get(target, 6.0)))
            killed = isinstance(victim, psutil.Process) and victim.is_running()
            if killed:
                with suppress(psutil.NoSuchProcess):
                    victim.send_signal(signal.SIGKILL)
                if target == "server":
                    self.server.wait()
        finally:
            self.person.leave.set()
            working.join()
        if self.person.wrong:
            raise self.person.wrong
        gone = self.server.poll() is not None
        if gone:
            self.start()
        until(lambda: not any(storage.is_locked(one.lock_file) for one in datasets.every(self.home)))
        wrong = self.judge()
        if gone and not (killed and target == "server"):
            wrong.append("the server ended by itself")
        self._go_on()
        return target if killed else "nobody", wrong

    def _find(self, target: str) -> psutil.Process | None:
        """The process to kill, once it is there and at work."""
        if target == "server":
            return psutil.Process(self.server.pid)
        with suppress(psutil.NoSuchProcess):
            if target == "intake":
                server = psutil.Process(self.server.pid)
                importers = [child for child in server.children() if INTAKE in child.cmdline()]
                return importers[0] if importers else None
            process = self.run.process()
            if self.run.alive() and process.get("pid") and not (self.in_training and self._is_starting()):
                supervisor = psutil.Process(process["pid"])
                return supervisor if target == "supervisor" else next(iter(supervisor.children()), None)
        return None

    def _is_starting(self) -> bool:
        told, _ = events.read(self.run.events_file)
        begun = max((place for place, event in enumerate(told) if event["kind"] == "attempt"), default=0)
        return not any(event["kind"] == "step" for event in told[begun:])

    def _go_on(self) -> None:
        """Have a run that was broken off resumed, once its trainer has left."""
        if self.run.attempts()[0] == self.run.attempts()[1] and not self.run.supervised():
            until(lambda: not self.run.alive())
            answer = self.client.post(f"/api/runs/{self.run.id}/resume", json={})
            if answer.status_code not in (200, 202):
                raise SystemExit(f"the run cannot go on: {answer.text}")

    # ------------------------------------------------------------------------------------------------------ judging

    def judge(self) -> list[str]:
        """What was answered for and is not there, or is told and is not so."""
        damaged = self._damaged()
        wrong = sorted(damaged & self._damaged()) if damaged else []  # what a live trainer removes is half there, once
        here = {one.id: one for one in datasets.every(self.home)}
        discarded = {path.name.split("-")[1] for path in (self.home / "trash").glob("*-*")}
        for key, sent in self.person.sets.items():
            if sent.deleted == "open":
                sent.deleted = "sure" if key in discarded else ""
            if (key in here, key in discarded) != (not sent.deleted, bool(sent.deleted)):
                wrong.append(f"data set {key} is here {key in here}, in the trash {key in discarded}, {sent.deleted}")
            elif key in here:
                wrong += [f"data set {key}: {what}" for what in _judge_set(here[key], sent)]
        return wrong + [f"run: {what}" for what in self._judge_run()]

    def _damaged(self) -> set[str]:
        return {f"{key}: {value}" for key, value in look(self.home).items() if "damaged" in str(value)}

    def _judge_run(self) -> list[str]:
        name, wrong = self.run.record()["name"], []
        if name not in self.person.names:
            wrong.append(f"is called {name!r}, not one of {self.person.names}")
        self.person.names = [name]
        told, _ = events.read(self.run.events_file)
        if [event["seq"] for event in told] != list(range(1, len(told) + 1)):
            wrong.append("its events are not numbered one by one")
        lost = [seq for seq, kind in self.person.told.items() if seq > len(told) or told[seq - 1]["kind"] != kind]
        wrong += [f"event {seq} was seen and is not there" for seq in lost]
        newest = None
        for event in told:
            if event["kind"] == "resumed" and newest and event["from_step"] < newest:
                wrong.append(f"went on from step {event['from_step']}, although one at {newest} was told of")
            if event["kind"] == "checkpoint" and event["ok"]:
                newest = event["step"]
            if event["kind"] == "end":
                wrong.append(f"is told as {event['result']}")
        if newest and not (self.run.checkpoints / f"checkpoint-{newest}" / storage.MANIFEST).exists():
            wrong.append(f"the checkpoint of step {newest} was told of and is not there")
        missing = [event["file"] for event in told if event["kind"] == "sample"
                   and not (self.run.samples / event["file"]).is_file()]
        return wrong + [f"the picture {file} was told of and is not there" for file in missing]


def _judge_set(dataset: datasets.Dataset, sent: Sent) -> list[str]:
    rows = {row["name"]: row for row in dataset.rows()}
    there = Counter(row["name"] for row in dataset.rows())
    there.update(name for _, names in dataset.batches() for name in names)
    wrong = [f"{name} was answered for and is there {there[name]} times" for name in sent.sure if there[name] != 1]
    wrong += [f"{name} is there {there[name]} times" for name in sent.open if there[name] > 1]
    sent.sure = sorted(there)  # what came without an answer is there to stay, too
    sent.open = []
    for name, values in sent.captions.items():
        text = rows[name]["captions"][0] if name in rows else None
        if text not in values:
            wrong.append(f"{name} has the caption {text!r}, not one of {values}")
        values[:] = [text or ""]
    return wrong


def picture(number: int) -> bytes:
    """A small PNG, different for every number; large enough that importing a few takes a moment."""
    out = io.BytesIO()
    noise = Image.frombytes("L", (16, 16), random.Random(number).randbytes(256)).resize((640, 640))
    noise.convert("RGB").save(out, "PNG")
    return out.getvalue()


def until(true: Callable[[], Any]) -> Any:
    """What `true` returns once it is true; ends the program where it never is."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.05)
    raise SystemExit(f"not within {PATIENCE:.0f} s: {true.__qualname__}")


def main() -> int:
    """Do the rounds; 0 where nothing was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    killed: Counter[str] = Counter()
    faults = 0
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        bench, began = Bench(Path(folder), options.seed), time.monotonic()
        try:
            for number in range(1, options.rounds + 1):
                target, wrong = bench.one_round()
                killed[target] += 1
                faults += len(wrong)
                print(f"{number} {time.monotonic() - began:.0f} s {target}", *wrong, sep="\n  " if wrong else " ",
                      flush=True)
        finally:
            bench.close()
        told, _ = events.read(bench.run.events_file)
        print(json.dumps({"killed": killed, "wrong": faults, "answered": bench.person.answered,
                          "pictures": bench.person.number, "steps": max((e.get("step") or 0 for e in told), default=0),
                          "attempts": bench.run.attempts()[1]}))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
