"""One process beside two of the same W, and what ZeRO shares out: `python benchmarks/ranks.py [--steps 24]`.

The embedded base on the sample data set, four pictures in an update. Pictures/s is the median of the steps after the
first quarter; memory is each rank's largest resident size; state is what its tensors of weights, average, moments and
DeepSpeed's own copies hold.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from studio import prepare, storage
from studio.folders import events, runs
from studio.launch import command

WINDOW = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--rank", metavar="RUN", help="be one rank of this run")
    options = parser.parse_args()
    if options.rank:
        train_here(runs.Run(Path(options.rank)))
        return
    with tempfile.TemporaryDirectory(prefix="ranks-") as folder:
        home = Path(folder)
        for processes, stage in ((1, 0), (2, 0), (2, 1), (2, 2), (2, 3)):
            print(json.dumps(measure(home, processes, stage, options.steps)), flush=True)


def measure(home: Path, processes: int, stage: int, steps: int) -> dict[str, Any]:
    """One run's figures."""
    config = {"train": {"max_steps": steps, "batch_size": WINDOW // processes, "seed": 1, "mixed_precision": "no"},
              "sample": {"prompts": []}, "validation": {"every_steps": 0}, "checkpoint": {"every_steps": steps},
              "compute": {"num_processes": processes, "deepspeed_stage": stage}}
    run = prepare.submit(home, name="ranks", owner="local", config=config)
    command.write(run, run.config(), 0)
    argv = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(run.launch_file), __file__,
            "--rank", str(run.path)]
    done = subprocess.run(argv, env=command.trainer_environment(run, run.config(), 0), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    seconds = [e["seconds"] for e in events.read(run.events_file)[0] if e["kind"] == "step"][steps // 4 :]
    ranks = [storage.read_json(path) or {} for path in sorted(run.path.glob("rank-*.json"))]
    return {"processes": processes, "stage": stage, "pictures_per_second": round(WINDOW / median(seconds), 2),
            "peak_mb": [round(r["peak"] / 2**20) for r in ranks],
            "state_mb": [round(r["state"] / 2**20, 1) for r in ranks]}


def train_here(run: runs.Run) -> None:
    """Train as one rank, and leave its figures in the run's folder."""
    from studio.train import loop
    from studio.train.parallel.distributed import peak_memory

    finish = loop._finish

    def measured(trainer: Any, progress: Any) -> str:
        result = finish(trainer, progress)
        file = run.path / f"rank-{trainer.distributed.rank}.json"
        storage.write_json(file, {"peak": peak_memory(), "state": state(trainer)})
        return result

    loop._finish = measured
    sys.exit(loop.EXIT_CODES[loop.train(run, supervised=False)])


def state(trainer: Any) -> int:
    """Bytes of this rank's tensors: weights, average, the optimizer's; storage that is shared counts once."""
    tensors = [*trainer.ema.shadow, *trainer.engine.trained.named().values()]
    tensors += [p.ds_tensor for p in trainer.engine.trained.named().values() if hasattr(p, "ds_tensor")]
    for optimizer in trainer.update.optimizers:
        tensors += [value for kept in optimizer.state.values() for value in kept.values() if hasattr(value, "nbytes")]
        tensors += list(optimizer.state)
    stores = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(stores.values())


if __name__ == "__main__":
    main()
