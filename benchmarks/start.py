"""The start of a run beside an older tree's: `python benchmarks/start.py --before TREE --work DIR`.

TREE is a checkout of another commit (`git worktree add`). Both train the embedded base on the shipped data set for one
step, whose encodings are cached, and draw nothing; in turn, each through `python -m studio.train`. The seconds to the
step depend on what else the machine does; the CPU seconds of all processes, the checkpoint's included, hardly.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from studio.folders import events


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="the older tree")
    parser.add_argument("--work", type=Path, required=True, help="folder for the homes")
    parser.add_argument("--method", choices=("full", "lora"), default="full")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    trees = {"before": options.before.resolve(), "now": ROOT}
    for name, tree in trees.items():
        start(tree, options.work / name, options.method)  # fills the caches
    rounds = []
    for number in range(options.rounds):
        order = list(trees) if number % 2 == 0 else list(trees)[::-1]
        rounds.append({name: start(trees[name], options.work / name, options.method) for name in order})
    print(f"| {options.method}, medians of {options.rounds} rounds in turn | before | now | now / before |")
    print("|---|---|---|---|")
    for place, title in enumerate(("launch to first step (s)", "CPU seconds of a run of one step")):
        before, now = ([each[name][place] for each in rounds] for name in trees)
        ratio = median(b / a for a, b in zip(before, now, strict=True))
        print(f"| {title} | {median(before):.1f} | {median(now):.1f} | {ratio:.2f} |")


def start(tree: Path, home: Path, method: str) -> tuple[float, float]:
    """Train one step with the program in `tree`: the seconds from launch to the step, and the CPU seconds of it all."""
    home.mkdir(parents=True, exist_ok=True)
    file = home.parent / "start.json"
    file.write_text(json.dumps({"model": {"method": method}, "train": {"max_steps": 1}, "sample": {"prompts": []}}))
    before, used, began = set((home / "runs").glob("*")), cpu(), time.time()
    subprocess.run([sys.executable, "-m", "studio.train", "--config", str(file)], check=True, cwd=tree,
                   env={**os.environ, "STUDIO_HOME": str(home), "PYTHONPATH": str(tree)}, stdout=subprocess.DEVNULL)
    used = cpu() - used
    (run,) = set((home / "runs").glob("*")) - before
    told, _ = events.read(run / "events.jsonl")
    return next(event["time"] for event in told if event["kind"] == "step") - began, used


def cpu() -> float:
    """The CPU seconds of all programs that have ended below this one."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
