"""Cuts the power, again and again:  python -m benchmarks.powercut [--operations train,batches] [--states 250]

Each operation (operations.py) is done for real in a home of its own while strace notes what it asks of the disk. From
that come the states in which the disk may be left when the power goes at any moment (states.py), by ext4 and by the
weakest file system that POSIX allows; each is opened by the studio's own readers (look.py) and held against what had
been acknowledged (judge.py). What is recorded is checked first: all of it together must give the real files, byte for
byte. Needs Linux and strace.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from . import operations, trace, trainings, working  # noqa: F401 - the operations fill OPERATIONS
from .disk import Recording
from .judge import Judge, Verdict
from .stage import OPERATIONS
from .states import MODELS, Crashes

ROOT = Path(__file__).resolve().parents[2]
NAMED = {  # what the weakest model may lose, as README's limits say: a rename between two folders done by half
    "delete_run": "lies in", "delete_dataset": "lies in", "jobs": "lies in", "presets": "lies in", "restore": "lies in",
    "resume_named": "lies in",
}


class NotTheSame(Exception):
    """The recorded changes do not give the files that are there."""


def record(name: str, folder: Path) -> Recording:
    """Do an operation below `folder` and return its changes. Raises NotTheSame."""
    folder.mkdir(parents=True, exist_ok=True)
    home, marks, log = folder / "home", folder / "marks", folder / "calls"
    actor = subprocess.Popen([sys.executable, "-m", "benchmarks.powercut.act", name, str(home), str(marks)], cwd=ROOT,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert actor.stdin is not None and actor.stdout is not None

    def wait_for(word: str) -> None:
        for line in actor.stdout or ():
            if line.strip() == word:
                return
        raise SystemExit(f"{name} ended before it was {word}")

    wait_for("ready")
    shutil.copytree(home, folder / "before")
    with trace.Recorder(actor.pid, log):
        print(file=actor.stdin, flush=True)
        wait_for("done")
    recording = Recording(home, marks, trace.calls(log), folder / "before").run()
    actor.communicate("\n")
    if differences := _compare(recording, home):
        raise NotTheSame(f"{name}: {'; '.join(differences[:5])}")
    return recording


def _compare(recording: Recording, home: Path) -> list[str]:
    """Where the changes together do not give what lies in the home."""
    replayed = dict(recording.live.contents())
    there = {path.relative_to(home).as_posix(): None if path.is_dir() else path.read_bytes()
             for path in home.rglob("*")}
    return [f"{name}: {len(replayed.get(name) or b'')} bytes replayed, {len(there.get(name) or b'')} real"
            for name in sorted(replayed.keys() | there.keys()) if replayed.get(name, 0) != there.get(name, 0)]


def examine(name: str, folder: Path, states: int, seed: int, models: tuple[str, ...] = MODELS) -> list[Verdict]:
    """Verdicts on so many states of each model, of one operation."""
    recording = record(name, folder)
    judge = Judge(recording, folder / "state", OPERATIONS[name].promise)
    crashes = Crashes(recording, seed)
    return [judge.judge(state) for model in models for state in crashes.states(model, states)]


def excused(name: str, verdict: Verdict) -> bool:
    """Whether all that is wrong is what README's limits name."""
    return (verdict.state.model == "posix" and name in NAMED and not verdict.half and not verdict.crashed
            and all(NAMED[name] in line for line in verdict.lost))


def table(found: dict[str, list[Verdict]]) -> str:
    """A line for each operation and model."""
    lines = [f"{'operation':18} {'model':6} {'states':>6} {'lost':>5} {'half':>5} {'crash':>5} {'named':>5}"]
    total: Counter[str] = Counter()
    for name, verdicts in found.items():
        for model in MODELS:
            own = [verdict for verdict in verdicts if verdict.state.model == model]
            named = [verdict for verdict in own if verdict.bad and excused(name, verdict)]
            bad = [verdict for verdict in own if verdict.bad and not excused(name, verdict)]
            counts = {"states": len(own), "lost": sum(bool(v.lost) for v in bad), "half": sum(
                bool(v.half) for v in bad), "crash": sum(bool(v.crashed) for v in bad), "named": len(named)}
            total.update({f"{model} {what}": count for what, count in counts.items()})
            lines.append(f"{name:18} {model:6} " + " ".join(f"{counts[what]:>{6 if what == 'states' else 5}}"
                                                            for what in counts))
    for model in MODELS:
        lines.append(f"{'all':18} {model:6} " + " ".join(
            f"{total[f'{model} {what}']:>{6 if what == 'states' else 5}}"
            for what in ("states", "lost", "half", "crash", "named")))
    return "\n".join(lines)


def main() -> int:
    """1 when anything acknowledged was lost or half shown, or a reader crashed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.powercut", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", default=",".join(OPERATIONS), help="separated by commas; all by default")
    parser.add_argument("--states", type=int, default=120, help="of each operation and model, at most")
    parser.add_argument("--model", choices=MODELS, action="append", help="both by default")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=3, help="how many faults of each operation are told")
    parser.add_argument("--json", type=Path, help="keep every fault in this file")
    asked = parser.parse_args()
    if why := trace.wanting():
        raise SystemExit(why)
    names, began, found = asked.operations.split(","), time.monotonic(), dict[str, list[Verdict]]()
    for name in names:
        shm = Path("/dev/shm")
        with tempfile.TemporaryDirectory(prefix="powercut-", dir=shm if shm.is_dir() else None) as folder:
            found[name] = examine(name, Path(folder), asked.states, asked.seed, tuple(asked.model or MODELS))
        bad = [verdict for verdict in found[name] if verdict.bad and not excused(name, verdict)]
        print(f"{name}: {len(found[name])} states, {len(bad)} bad, {time.monotonic() - began:.0f} s", flush=True)
        for verdict in bad[: asked.show]:
            print(f"  {verdict.state.model} after {verdict.state.after} ({verdict.state.how}): "
                  + "; ".join([*verdict.lost, *verdict.half, *verdict.crashed])[:600], flush=True)
    print(table(found))
    if asked.json:
        asked.json.write_text(json.dumps([_told(name, v) for name, vs in found.items() for v in vs if v.bad], indent=1))
    return any(v.bad and not excused(name, v) for name, vs in found.items() for v in vs)


def _told(name: str, verdict: Verdict) -> dict[str, Any]:
    state = verdict.state
    return {"operation": name, "model": state.model, "after": state.after, "how": state.how, "lost": verdict.lost,
            "half": verdict.half, "crashed": verdict.crashed, "named": excused(name, verdict)}


if __name__ == "__main__":
    sys.exit(main())
