"""A stand-in for a training process, without torch: python trainer.py RUN_FOLDER MODE [MORE]

It keeps the trainer's side of the contract (trainer.lock, events, control, leaving when the supervisor is gone), and
`MODE` says how it ends. Its helpers below it sleep, one of them in a session of its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from studio import launch, storage
from studio.folders import events, work

SLEEPER = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"


def helpers() -> None:
    """Two processes that ignore SIGTERM, as loader workers and another rank would be left behind."""
    for new_session in (False, True):
        process = subprocess.Popen([sys.executable, "-c", SLEEPER], start_new_session=new_session,
                                   stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()


def obey(run: work.Work, writer: events.EventWriter, asked: list[str], honour: bool) -> None:
    """Steps until something ends it: a request, SIGTERM, or the supervisor's death."""
    endings = {"stop": "stopped", "pause": "paused", "cancel": "cancelled"}
    for step in range(1, 10_000):
        writer.step(step, 1.0 / step, 1e-4, 1.0, 4, 0.02)
        time.sleep(0.02)
        if not storage.is_locked(run.lock.path):
            sys.exit(3)
        for id_, kind, _, path in run.requests() if honour else []:
            writer.add("control", id=id_, control=kind, result="accepted", message="")
            path.unlink()
            asked.append(kind)
        if asked:
            writer.end(endings[asked[0]], step)
            return


def main() -> None:
    """Do what MODE says."""
    run, mode, more = launch.work_in(Path(sys.argv[1])), sys.argv[2], sys.argv[3:]
    print(f"trainer in mode {mode}", flush=True)
    if mode == "unimportable":
        import nothing_of_this_name  # noqa: F401  # pyright: ignore[reportMissingImports]
    held = run.worker_lock
    assert held.acquire(), "another trainer is there"
    writer = events.EventWriter(run.events_file)
    writer.add("attempt", attempt=run.attempts()[1], total_steps=10)
    asked: list[str] = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append("pause"))
    if mode == "finish":
        writer.end("finished", 10)
    elif mode == "quit":
        sys.exit(int(more[0]))
    elif mode == "raise":
        raise ValueError("the token hf_abcdefghijklmnop is wrong")
    elif mode == "die":
        os.kill(os.getpid(), int(more[0]))
    elif mode == "chatter":
        for _ in range(int(more[0])):
            print("x" * 1000, flush=True)
        time.sleep(1)
        writer.end("finished", 10)
    else:
        helpers()
        obey(run, writer, asked, honour=mode == "train")


if __name__ == "__main__":
    main()
