"""What the shipped base takes, for whoever has trained nothing yet: `python benchmarks/base_figures.py [--write]`.

Each recipe trains some steps and draws in a process of its own, on one thread, and counts processor seconds: other
work on the cores slows these little. Before and after, the probe's own step is timed (studio.jobs.probe), so that the
figures hold for another machine by its probe. `--write` puts them into studio/assets/base/figures.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean, median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "studio" / "assets" / "base" / "figures.json"
STEPS, ROUNDS = 8, 2
FEW, MANY = 4, 16  # pictures of an update: two points of a line
SIDE = 64
DRAWING_STEPS = 25
ALONE = 0.33  # of a step that no second thread takes away: by the quick start of RESULTS.md, on two quiet cores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep the figures with the base")
    parser.add_argument("--recipe", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.recipe:
        home, config = options.recipe
        print(json.dumps(measure(Path(home), json.loads(config))))
        return
    with tempfile.TemporaryDirectory(prefix="base-figures-") as home:
        figures = everything(Path(home))
    text = json.dumps(figures, indent=1) + "\n"
    print(text)
    if options.write:
        FILE.write_text(text)


def everything(home: Path) -> dict[str, Any]:
    """All recipes, in turn."""
    steps: dict[str, dict[str, dict[str, float]]] = {}
    measured: list[dict[str, Any]] = []
    for method in ("full", "lora"):
        for precision in ("no", "bf16"):
            took: dict[int, list[float]] = {FEW: [], MANY: []}
            for pictures in ROUNDS * (FEW, MANY):
                one = of_recipe(home / method, method, precision, pictures)
                took[pictures].append(one["step"])
                measured.append(one)
                print(method, precision, pictures, one, file=sys.stderr)
            few, many = fmean(took[FEW]), fmean(took[MANY])
            a_picture = (many - few) / (MANY - FEW)
            steps.setdefault(method, {})[precision] = {"fixed": round(few - FEW * a_picture, 2),
                                                       "picture": round(a_picture, 3)}
    cold = {one["method"]: one for one in reversed(measured)}  # the first of a method had nothing in the cache
    kept = {name: round(median(one[name] for one in measured), 2) for name in ("starting", "picture")}
    return {"about": "Processor seconds of one thread for each second of the step of studio.jobs.probe: steps in their "
                     "precision, all else in fp32. By benchmarks/base_figures.py.",
            "side": SIDE, "drawing_steps": DRAWING_STEPS, "alone": ALONE, "step": steps, **kept,
            "encoding": round(cold["full"]["encoding"], 5),
            "loading": {method: round(one["loading"], 2) for method, one in cold.items()},
            "save": {method: round(median(one["save"] for one in measured if one["method"] == method), 2)
                     for method in ("full", "lora")}}


def of_recipe(home: Path, method: str, precision: str, pictures: int) -> dict[str, Any]:
    """What one recipe took, in a process of its own, in units of the probe's step."""
    config = {"model": {"method": method}, "sample": {"prompts": ["a cat"], "num_inference_steps": DRAWING_STEPS},
              "train": {"mixed_precision": precision, "batch_size": pictures, "max_steps": STEPS},
              "compute": {"num_threads": 1}}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, __file__, "--recipe", str(home), json.dumps(config)], env=environment,
                          capture_output=True, text=True, check=True)
    return {"method": method, **json.loads(done.stdout.splitlines()[-1])}


def measure(home: Path, config: dict[str, Any]) -> dict[str, float]:
    """In this process: train and draw, and tell what each part took beside the probe's step."""
    from studio import prepare
    from studio.folders.events import EventWriter
    from studio.train import control, loop
    from studio.train.build import build
    from studio.train.parallel.distributed import Distributed

    run = prepare.submit(home, name="Figures", owner="local", config=config)
    asked = run.created_config()
    distributed, events = Distributed(asked), EventWriter(run.events_file)
    starting = time.process_time()
    marks: list[tuple[str, float, int]] = []
    events.follow(lambda event: marks.append((event.get("phase", ""), time.process_time(), event.get("done") or 0)))
    before = of_probe(home)
    began = time.process_time()
    trainer = build(run, asked, run.rows(), [], distributed, events, control.NoControls(), check=lambda: None)
    built = time.process_time() - began
    caching = [(at, done) for phase, at, done in marks if phase == "caching"]
    encoding = caching[-1][0] - caching[0][0]
    took, progress = [], loop.Progress()
    for update, window in trainer.global_batches(0):
        at = time.process_time()
        loop.take_step(trainer, update, window, progress)
        took.append(time.process_time() - at)
        if update + 1 == STEPS:
            break
    trainer.generate_previews(0)  # the first one loads what decodes
    drawn, saved = timed(lambda: trainer.generate_previews(0)), timed(lambda: trainer.save(STEPS))
    unit = dict(zip(("no", "bf16"), map(median, zip(before, of_probe(home), strict=True)), strict=True))
    parts = {"starting": starting, "loading": built - encoding, "step": min(took[1:]), "picture": drawn, "save": saved,
             "encoding": encoding / caching[-1][1]}
    in_units = {name: seconds / unit["no"] for name, seconds in parts.items()}
    return {**in_units, "step": parts["step"] / unit[asked.train.mixed_precision or "no"], "unit": unit["no"]}


def timed(action: Any) -> float:
    began = time.process_time()
    action()
    return time.process_time() - began


def of_probe(home: Path) -> list[float]:
    """The probe's step in fp32 and in bf16, with the kernels that are fastest here."""
    from studio.jobs import probe
    from studio.system import machine

    kernels = machine.facts(home)["kernels"]
    return probe.seconds(probe.whole_step(False, kernels["no"]), probe.whole_step(True, kernels["bf16"]))


if __name__ == "__main__":
    main()
