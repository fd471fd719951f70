"""Runs one attempt on the toy family in a process of its own: python child.py RUN_FOLDER [WISH...]

The wishes: with `step:N` it kills itself right after the event of step N, with `save:N` at the N-th file operation of
its saves. With `memory:N` it may take N MB more than it has when its first step begins. With `slow:N` encoding a
picture takes N milliseconds, with `patience:N` what the ranks do together may take N. With `ask:N:ARGS` an edit (JSON)
is asked for while step N runs. With `draws:1` each rank writes what it draws, with `memory_seen:1` what the process
has in its memory as each preview is drawn.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import studio.families
from studio.folders.runs import Run

FAMILIES = Path(__file__).resolve().parents[1] / "families"
studio.families.__path__.append(str(FAMILIES / "toys"))
sys.path.append(str(FAMILIES / "library"))


def kill_at_step(step: int) -> None:
    """Die right after the event of `step`."""
    from studio.folders.events import EventWriter

    written = EventWriter.step

    def step_then_die(self: EventWriter, *args: object, **fields: object) -> None:
        written(self, *args, **fields)  # type: ignore[arg-type]
        if fields.get("step") == step:
            os.kill(os.getpid(), signal.SIGKILL)

    EventWriter.step = step_then_die  # type: ignore[method-assign]


def kill_in_save(operation: int) -> None:
    """Die before the n-th durable file operation (fsync, rename) of the attempt's saves."""
    count = 0

    def watch(real: object) -> object:
        def call(*args: object, **named: object) -> object:
            nonlocal count
            paths = [os.readlink(f"/proc/self/fd/{a}") if isinstance(a, int) else str(a) for a in args]
            count += any("checkpoints" in path for path in paths)
            if count == operation:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **named)  # type: ignore[operator]

        return call

    for name in ("fsync", "rename", "replace"):
        setattr(os, name, watch(getattr(os, name)))


def limit_memory(megabytes: int) -> None:
    """Let the process take only so much more from the start of the training on."""
    from studio.folders.events import EventWriter

    told = EventWriter.phase

    def phase(self: EventWriter, name: str, *args: object) -> None:
        told(self, name, *args)  # type: ignore[arg-type]
        if name == "training":
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (megabytes << 20),) * 2)

    EventWriter.phase = phase  # type: ignore[method-assign]


def slow_encoder(milliseconds: int) -> None:
    """Let every picture's encoding take so long."""
    toy = type(studio.families.get("toy"))
    real = toy.encode_images

    def encode_images(self: object, *args: object) -> object:
        time.sleep(milliseconds / 1000)
        return real(self, *args)

    toy.encode_images = encode_images


def short_patience(milliseconds: int) -> None:
    """Let no collective, and no meeting, take longer."""
    from studio.train.parallel import distributed

    distributed.PATIENCE = timedelta(milliseconds=milliseconds)


def ask_at_step(step: int, args: str) -> None:
    """Ask for an edit right after the event of `step`."""
    from studio.folders.events import EventWriter

    written = EventWriter.step

    def step_then_ask(self: EventWriter, *more: object, **fields: object) -> None:
        written(self, *more, **fields)  # type: ignore[arg-type]
        if fields.get("step") == step and os.environ.get("RANK", "0") == "0":
            Run(Path(sys.argv[1])).request("edit", **json.loads(args))

    EventWriter.step = step_then_ask  # type: ignore[method-assign]


def note_draws(_: int) -> None:
    """Write what each sample is and what was drawn for it into `draws-<rank>.jsonl`."""
    from studio.train.batches.collator import Batch, Collator

    made = Collator.__call__

    def call(self: Collator, samples: list[Any]) -> Batch:
        batch = made(self, samples)
        with open(Path(sys.argv[1]) / f"draws-{os.environ.get('RANK', '0')}.jsonl", "a") as file:
            for index, s in enumerate(samples):
                noisy = hashlib.sha256(batch.noisy_latents[index].numpy().tobytes()).hexdigest()
                file.write(json.dumps([s.epoch, s.position, s.row["image"], s.caption, s.flip,
                                       float(batch.timesteps[index]), noisy]) + "\n")
        return batch

    Collator.__call__ = call  # type: ignore[method-assign]


def note_memory(_: int) -> None:
    """Write the files that are mapped, and the resident bytes, as each preview is told into `previews.jsonl`."""
    from studio.folders.events import EventWriter

    told = EventWriter.add

    def add(self: EventWriter, kind: str, **fields: Any) -> Any:
        if kind == "sample":
            mapped = {words[-1] for line in Path("/proc/self/smaps").read_text().splitlines()
                      if (words := line.split()) and words[-1].startswith("/")}
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
            with open(Path(sys.argv[1]) / "previews.jsonl", "a") as file:
                file.write(json.dumps({"step": fields["step"], "resident": resident, "mapped": sorted(mapped)}) + "\n")
        return told(self, kind, **fields)

    EventWriter.add = add  # type: ignore[method-assign]


def main() -> int:
    """Train the run of the first argument."""
    from studio.train.loop import EXIT_CODES, train

    for wish in sys.argv[2:]:
        kind, number, *args = wish.split(":", 2)
        wishes = {"step": kill_at_step, "save": kill_in_save, "memory": limit_memory, "slow": slow_encoder,
                  "patience": short_patience, "ask": ask_at_step, "draws": note_draws, "memory_seen": note_memory}
        wishes[kind](int(number), *args)
    return EXIT_CODES[train(Run(Path(sys.argv[1])), supervised=False)]


if __name__ == "__main__":
    sys.exit(main())
