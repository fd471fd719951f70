"""Follows a run in a shell: its phases until the first step, its steps, its log, and what Ctrl-C asks of it."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Iterator

from studio import secrets
from studio.folders import events, phases, records, runs
from studio.folders.runs import Run
from studio.insight import usual
from studio.launch import warm
from studio.system import machine

POLL, SHOW = 0.3, 2.0  # seconds between looks, and between lines
LOOKED_AT = 20  # earlier runs, the newest, that say how long a phase usually takes


class Shell:
    """Follows a run in the terminal: its log, its steps, and what Ctrl-C asks of it."""

    def __init__(self, run: Run, supervisor: warm.Process):
        self.run = run
        self.supervisor = supervisor
        self.reader = runs.EventReader()
        self.log_at = run.log_file.stat().st_size
        self.seen = self.reader.history(run).seq
        self.shown = 0.0
        self.phase: str | None = None
        self.usual = usual.seconds(run, usual.newest(runs.every(run.home))[:LOOKED_AT], machine.known_facts(run.home))
        self.interrupts = 0

    def follow(self) -> str:
        """Until the run has ended; returns its state."""
        signal.signal(signal.SIGINT, self._on_interrupt)
        signal.signal(signal.SIGTERM, lambda *_: os.kill(self.supervisor.pid, signal.SIGTERM))
        while True:
            ended = self.supervisor.poll() is not None
            state, history = self.reader.state(self.run)
            self._echo_log()
            opening = state in ("queued", "starting") or (state in events.ACTIVE and history.first_step is None)
            if opening and not ended:
                self._echo_phase(phases.current(self.run, state, history), history)
            else:
                self._echo_steps(history, last=ended)
            if ended and state not in events.ACTIVE:
                return state
            time.sleep(POLL)

    def _on_interrupt(self, *_: object) -> None:
        self.interrupts += 1
        if self.interrupts == 1:
            self.run.request("stop")
            print("\nfinishing the step and saving; Ctrl-C again ends without saving", file=sys.stderr, flush=True)
        elif self.interrupts == 2:
            self.run.request("cancel")
            print("\nending without saving", file=sys.stderr, flush=True)

    def _echo_log(self) -> None:
        with open(self.run.log_file, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(self.log_at if self.log_at <= size else 0)  # it was cut
            text = file.read()
        self.log_at = size
        sys.stderr.write(secrets.redact(text.decode("utf-8", "replace")))
        sys.stderr.flush()

    def _echo_phase(self, doing: records.Progress, history: events.RunHistory) -> None:
        """Before the first step: each phase as it begins, then every SHOW seconds how long it has taken."""
        now = time.monotonic()
        if doing["phase"] == self.phase and now - self.shown < SHOW:
            return
        fresh = doing["phase"] != self.phase
        self.phase, self.shown = doing["phase"], now
        words = " ".join(_in_words(doing))
        if doing["began"] is not None:
            words += f"  {max(0.0, time.time() - doing['began']):.1f} s"
        expected = usual.expected(doing, history, self.usual.get(doing["phase"] or ""))
        if fresh and expected:
            words += f", usually about {max(1.0, expected):.0f} s"
        print(words, flush=True)

    def _echo_steps(self, history: events.RunHistory, *, last: bool) -> None:
        now = time.monotonic()
        if history.seq == self.seen or (now - self.shown < SHOW and not last):
            return
        self.seen = history.seq
        self.shown = now
        print("  ".join(_told(history, self.run.config().train.max_steps)), flush=True)


def _told(history: events.RunHistory, total: int | None) -> Iterator[str]:
    """Where a run is: its step, loss and speed, and what it does when it does not train."""
    yield f"step {history.step}/{total}"
    if history.curve.loss and math.isfinite(history.curve.loss[-1]):
        yield f"loss {history.curve.loss[-1]:.5f}"
    if history.seconds_per_step:
        yield f"{history.seconds_per_step:.2f} s/step"
    if history.phase is not None and history.phase["phase"] not in (None, "training"):
        yield " ".join(_in_words(history.phase))


def _in_words(doing: records.Progress) -> Iterator[str]:
    """A phase, and how much of it is done where it counts that."""
    yield str(doing["phase"]).replace("_", " ")
    if doing["total"]:
        yield f"{doing['done']}/{doing['total']}"
        yield doing["unit"] or ""
