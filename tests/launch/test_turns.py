"""Turns on disk: the order between persons, making way for others, what a restart or a person's own wish changes."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from studio import launch
from studio.folders import work
from studio.launch import processes, queue

from .conftest import Bench, wait_for

TURN = 1.0  # seconds


class CountingLauncher(launch.Launcher):
    """Counts how often it has looked at the queue."""

    ticks = 0

    def tick(self) -> None:
        """One look."""
        super().tick()
        self.ticks += 1


class Queue:
    """Launchers over a bench, whose supervisors start a stand-in in the mode that its name asks for."""

    def __init__(self, bench: Bench):
        self.bench, self.started, self.launcher = bench, list[str](), CountingLauncher(bench.home)

    def open(self, turn: float | None = TURN, shared: bool = True) -> None:
        """A server's queue, after the one before was closed."""
        self.launcher.close()
        self.launcher = CountingLauncher(self.bench.home, turn, shared)
        self.launcher.start()

    def look_twice(self) -> None:
        """Return when the queue has been looked at twice from now on, the look under way not counted."""
        enough = self.launcher.ticks + 3
        wait_for(lambda: self.launcher.ticks >= enough)

    def spawn(self, one: work.Work, attempt: int, token: str | None = None, **_: Any) -> Any:
        """Stands in for queue.spawn."""
        name = one.record()["name"]
        self.started.append(name)
        return self.bench.supervise(one, self.bench.argv(one, "train" if name.startswith("long") else "finish"),
                                    attempt)


@pytest.fixture
def turns(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    made = Queue(bench)
    monkeypatch.setattr(queue, "spawn", made.spawn)
    yield made
    made.launcher.close()


def ended(bench: Bench, *all_of: work.Work) -> Callable[[], bool]:
    return lambda: all(bench.state(one) == "finished" for one in all_of)


def test_each_person_has_one_turn_after_the_other_also_across_a_restart(bench: Bench, turns: Queue) -> None:
    bobs = [bench.run(f"B{n}", "bob") for n in range(3)]
    carol = bench.run("C", "carol")
    turns.open()
    wait_for(ended(bench, bobs[0]))
    turns.launcher.close()
    adas = [bench.run(f"A{n}", "ada") for n in range(2)]
    adas[1].update(rank=1.0)  # she put it first
    bench_order = json.loads((bench.home / "turns.json").read_text())["heavy"]
    turns.open()
    wait_for(ended(bench, *bobs, *adas, carol))
    started = turns.started
    if "carol" in bench_order:  # the queue may have got to her before it was closed
        assert started == ["B0", "C", "A1", "B1", "A0", "B2"]
    else:
        assert started == ["B0", "C", "A1", "B1", "A0", "B2"] or started == ["B0", "A1", "C", "B1", "A0", "B2"]


def test_with_one_owner_the_order_is_that_of_the_ranks(bench: Bench, turns: Queue) -> None:
    mine = [bench.run(f"R{n}", "local") for n in range(4)]
    mine[3].update(rank=1.0)
    turns.open(turn=None, shared=False)
    wait_for(ended(bench, *mine))
    assert turns.started == ["R3", "R0", "R1", "R2"]


def test_a_long_run_makes_way_and_goes_on_by_itself_whatever_server_looks(bench: Bench, turns: Queue) -> None:
    long = bench.run("long", "bob")
    turns.open()
    bench.stepping(long)
    time.sleep(TURN)
    turns.look_twice()
    assert bench.state(long) == "running", "nobody waits"
    other = bench.run("A", "ada")
    wait_for(lambda: bench.state(long) == "queued")
    turns.open()  # a restart in the middle
    wait_for(ended(bench, other))
    wait_for(lambda: long.attempts() == (2, 2) and bench.state(long) == "running")
    assert turns.started == ["long", "A", "long"]
    launch.ask(long, "cancel", bench.reader)
    bench.until(long, "cancelled")


def test_ones_own_work_never_makes_way_for_ones_own(bench: Bench, turns: Queue) -> None:
    long, other = bench.run("long", "bob"), bench.run("B", "bob")
    turns.open()
    bench.stepping(long)
    time.sleep(TURN)
    turns.look_twice()
    assert (bench.state(long), bench.state(other)) == ("running", "queued")
    launch.ask(long, "stop", bench.reader)
    wait_for(ended(bench, other))
    assert bench.state(long) == "stopped" and not long.record().get("held")


@pytest.mark.parametrize("wish", ["pause", "stop", "cancel"])
def test_an_ending_that_a_person_asks_for_is_theirs(bench: Bench, turns: Queue, wish: str) -> None:
    """Also while the run is just being paused for others."""
    long = bench.run("long", "bob")
    turns.open(turn=None)
    bench.stepping(long)
    for process in processes.marked(long.path):
        process.send_signal(signal.SIGSTOP)
    assert launch.make_way(long, "turn", "for others", "wait")
    assert not launch.make_way(long, "turn", "for others", "wait"), "once is enough"
    launch.ask(long, wish, bench.reader)
    for process in processes.marked(long.path):
        process.send_signal(signal.SIGCONT)
    bench.until(long, "paused", "stopped", "cancelled")
    wait_for(lambda: not long.alive())
    turns.look_twice()
    assert long.attempts() == (1, 1) and bench.state(long) in ("paused", "stopped", "cancelled")


def test_who_waits_after_making_way_can_be_cancelled(bench: Bench, turns: Queue) -> None:
    long, other = bench.run("long", "bob"), bench.run("long too", "ada")
    turns.open(turn=0.2)
    wait_for(lambda: long.attempts() == (2, 1))
    assert launch.ask(long, "cancel", bench.reader) == ""
    assert bench.state(long) == "cancelled"
    launch.ask(other, "cancel", bench.reader)
    bench.until(other, "cancelled")
    turns.look_twice()
    assert turns.started == ["long", "long too"]


def test_a_long_job_makes_way_and_says_why(bench: Bench, turns: Queue) -> None:
    """Its like are not resumed: what it has made stays, and its record says what happened."""
    turns.open()
    run, job = bench.run("long", "ada"), bench.job(owner="bob")
    job.update(name="long job")
    wait_for(lambda: bench.state(job) == "cancelled", 40)
    assert turns.started[:2] == ["long", "long job"]
    requests = [event for event in bench.reader.history(job).controls.values()]
    assert requests and requests[0]["control"] == "cancel"
    wait_for(lambda: run.attempts() == (2, 2))
    launch.ask(run, "cancel", bench.reader)


def test_nobody_holds_all_places_of_a_lane_where_strangers_sign_in(bench: Bench, turns: Queue) -> None:
    bobs = [bench.job(light=True, owner="bob") for _ in range(3)]
    for n, job in enumerate(bobs):
        job.update(name=f"long {n}")
    turns.open(turn=None, shared=True)
    wait_for(lambda: bench.state(bobs[0]) == "running" or bench.state(bobs[1]) == "running")
    quick = bench.job(light=True, owner="ada")
    quick.update(name="quick")
    wait_for(ended(bench, quick))
    assert sum(bench.state(job) == "running" for job in bobs) == 1
    for job in bobs:
        launch.ask(job, "cancel", bench.reader)
    wait_for(lambda: all(bench.state(job) == "cancelled" for job in bobs))


def test_a_damaged_file_of_turns_costs_an_order_and_not_the_queue(bench: Bench, turns: Queue) -> None:
    (bench.home / "turns.json").write_text("[1, 2")
    run = bench.run("A", "ada")
    turns.open()
    wait_for(ended(bench, run))
    assert json.loads((bench.home / "turns.json").read_text())["heavy"].keys() == {"ada"}
