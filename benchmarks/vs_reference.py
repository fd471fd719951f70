"""The studio beside diffusers' training script: `python benchmarks/vs_reference.py --script PATH --model mini`.

The same base, pictures, steps, batch, precision, seed and threads, in turn, each through `accelerate launch`; the
medians of all rounds in --work (one call may run one round) are printed as a table and added to RESULTS.md. The script
is not part of the studio: it is `train_text_to_image.py`, or its `_lora` sibling, of a checkout of diffusers. Both
train a centre crop without flips and draw nothing.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import mini

from studio.folders import events
from studio.system import machine

SIZES = {"mini": (256, 4, 24), "embedded": (64, 8, 64)}  # side, batch, pictures
WARM_UP = 2  # steps that are not timed
RATES = {"full": 1e-5, "lora": 1e-4}


def main() -> None:
    options = arguments()
    options.work.mkdir(parents=True, exist_ok=True)
    base = make_base(options.model, options.work)
    pictures = make_pictures(options.work / f"pictures-{options.pictures}", options.pictures)
    log = options.work / "rounds.jsonl"
    for _ in range(options.rounds):
        number = len(log.read_text().splitlines()) if log.exists() else 0
        sides = [("studio", studio), ("reference", reference)]
        found = {name: side(options, base, pictures) for name, side in (sides if number % 2 == 0 else sides[::-1])}
        with open(log, "a") as file:
            file.write(json.dumps(found) + "\n")
    rounds = [json.loads(line) for line in log.read_text().splitlines()]
    table = report(options, rounds)
    print(table)
    if options.write:
        with open(ROOT / "benchmarks" / "RESULTS.md", "a") as file:
            file.write(f"\n{table}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--script", type=Path, required=True, help="the reference script")
    parser.add_argument("--model", default="mini", help="mini, embedded, or a diffusers folder")
    parser.add_argument("--method", choices=("full", "lora"), default="full")
    parser.add_argument("--precision", choices=("no", "fp16", "bf16"), default="no")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.NAME=VALUE",
                        help="a setting of the studio alone, for example optim.name=adamw8bit")
    parser.add_argument("--side", type=int, help="pixels")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--pictures", type=int)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=machine.cores())
    parser.add_argument("--rounds", type=int, default=3, help="how many to run now; 0 only reports")
    parser.add_argument("--work", type=Path, required=True, help="folder for models, pictures, runs and rounds.jsonl")
    parser.add_argument("--write", action="store_true", help="add the table to RESULTS.md")
    options = parser.parse_args()
    side, batch, pictures = SIZES.get(options.model, (512, 1, 24))
    options.side, options.batch = options.side or side, options.batch or batch
    options.pictures = options.pictures or pictures
    options.per_epoch = -(-options.pictures // options.batch)
    options.steps = options.epochs * options.per_epoch
    return options


# --------------------------------------------------------------------------------------------------- what both train


def make_base(model: str, work: Path) -> Path:
    """The folder of the base."""
    if model == "mini":
        return mini.make(work / "mini")
    return ROOT / "studio" / "assets" / "base" if model == "embedded" else Path(model).resolve()


def make_pictures(folder: Path, count: int) -> Path:
    """An imagefolder of seeded JPEG pictures of 640x512, smooth as photographs are, with captions."""
    if not (folder / "metadata.jsonl").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        lines = []
        for number in range(count):
            tiles = np.random.default_rng(number).integers(0, 256, (16, 20, 3), dtype=np.uint8)
            name = f"{number:04d}.jpg"
            Image.fromarray(tiles).resize((640, 512), Image.Resampling.BICUBIC).save(folder / name, quality=92)
            lines.append(json.dumps({"file_name": name, "text": f"soft clouds of light, number {number}"}))
        (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return folder


# ---------------------------------------------------------------------------------------------------------- the sides


def studio(options: argparse.Namespace, base: Path, pictures: Path) -> dict[str, Any]:
    """A run on an empty cache, and one more on the cache that it left."""
    home = options.work / "home"
    shutil.rmtree(home, ignore_errors=True)
    environment = {**os.environ, "STUDIO_HOME": str(home), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "studio.datasets", "import", str(pictures)], env=environment, check=True,
                   stdout=subprocess.DEVNULL)
    dataset = next(path.name for path in (home / "datasets").iterdir())
    machine.facts(home)  # once per machine, by the server's start or the first run; not counted here
    config = studio_config(options, base, dataset)
    file = options.work / "studio.json"
    file.write_text(json.dumps(config))
    command = [sys.executable, "-m", "studio.train", "--config", str(file)]
    found = []
    for _ in range(2):
        before = set((home / "runs").glob("*"))
        began, peak = watch(command, environment, options.work / "studio.log")
        run = next(path for path in (home / "runs").glob("*") if path not in before)
        told, _ = events.read(run / "events.jsonl")
        steps = [(e["time"] - began, e["loss"]) for e in told if e["kind"] == "step"]
        phases = [(e["time"] - began, e["phase"]) for e in told if e["kind"] == "phase"]
        if len(steps) != options.steps:
            raise SystemExit(f"the studio ended after {len(steps)} of {options.steps} steps: {options.work}/studio.log")
        figures = measure(options, steps, peak)
        starts = [at for at, phase in phases if phase == "caching"]
        after = [at for at, phase in phases if phase != "caching" and starts and at > starts[-1]]
        figures["caching_s"] = after[0] - starts[0] if starts and after else 0.0
        found.append(figures)
    cold, warm = found
    trained = options.pictures * options.epochs
    cold["rate_caching_counted"] = trained / (trained / cold["rate"] + cold["caching_s"])
    return {**cold, "first_step_warm_s": warm["first_step_s"], "rate_warm": warm["rate"]}


def studio_config(options: argparse.Namespace, base: Path, dataset: str) -> dict[str, Any]:
    """The studio's config for the reference's arguments; `--set` lies over it."""
    config: dict[str, Any] = {
        "model": {"base": str(base), "method": options.method}, "lora": {"rank": 4},
        "data": {"dataset": dataset, "resolution": options.side},
        "train": {"max_steps": options.steps, "batch_size": options.batch, "mixed_precision": options.precision,
                  "seed": 1},
        "optim": {"learning_rate": RATES[options.method], "lr_scheduler": "constant"},
        "ema": {"enabled": options.method == "full"},
        "sample": {"prompts": []}, "checkpoint": {"every_steps": options.steps},
        "compute": {"num_threads": options.threads}}
    for item in options.set:
        path, _, value = item.partition("=")
        section, _, name = path.partition(".")
        config.setdefault(section, {})[name] = value
    return config


def reference(options: argparse.Namespace, base: Path, pictures: Path) -> dict[str, Any]:
    """One run of the script; its steps' times are those of its own TensorBoard events."""
    output = options.work / "reference"
    shutil.rmtree(output, ignore_errors=True)
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1", "--num_machines", "1",
        "--dynamo_backend", "no", "--mixed_precision", options.precision,
        "--num_cpu_threads_per_process", str(options.threads), str(options.script.resolve()),
        "--pretrained_model_name_or_path", str(base), "--train_data_dir", str(pictures), "--output_dir", str(output),
        "--cache_dir", str(options.work / "datasets"), "--resolution", str(options.side), "--center_crop",
        "--train_batch_size", str(options.batch), "--max_train_steps", str(options.steps), "--seed", "1",
        "--learning_rate", str(RATES[options.method]), "--lr_warmup_steps", "0", "--mixed_precision", options.precision,
        "--checkpointing_steps", "1000000", "--report_to", "tensorboard",
        *(["--use_ema"] if options.method == "full" else ["--rank", "4"])]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "HF_HUB_OFFLINE": "1",
                   "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    began, peak = watch(command, environment, options.work / "reference.log")
    logs = {path.parent for path in output.rglob("events.out.tfevents.*")}
    for folder in logs:
        read = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
        if "train_loss" in read.Tags()["scalars"]:
            steps = [(e.wall_time - began, e.value) for e in read.Scalars("train_loss")]
            return {**measure(options, steps, peak), "caching_s": 0.0}
    raise SystemExit(f"the reference logged no losses: see {options.work / 'reference.log'}")


def watch(command: list[str], environment: dict[str, str], log: Path) -> tuple[float, int]:
    """Run to the end; returns when it began and the most memory (PSS, bytes) that its process tree held."""
    with open(log, "wb") as file:
        began, peak = time.time(), 0
        process = psutil.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT, cwd=log.parent)
        while process.poll() is None:
            peak = max(peak, sum(map(_pss, tree(process))))
            time.sleep(1.0)  # reading a large process's pages more often would slow it
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:5])} ended with {process.returncode}: see {log}")
    return began, peak


def tree(process: psutil.Process) -> list[psutil.Process]:
    """The process and everything below it that still lives."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _pss(process: psutil.Process) -> int:
    """Resident bytes, shared pages divided among those who share them."""
    try:
        text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    except (OSError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")), 0)


def measure(options: argparse.Namespace, steps: list[tuple[float, float]], peak: int) -> dict[str, Any]:
    """Figures of one run from its (seconds since launch, loss) by step."""
    times, losses = zip(*steps, strict=True)
    timed = options.steps - WARM_UP
    pictures = options.pictures * options.epochs - WARM_UP * options.batch
    last = losses[-options.per_epoch :]
    return {"rate": pictures / (times[-1] - times[WARM_UP - 1]), "first_step_s": times[0],
            "step_s": (times[-1] - times[WARM_UP - 1]) / timed,
            "epoch_2_s": times[2 * options.per_epoch - 1], "peak_memory": peak, "loss": sum(last) / len(last)}


# --------------------------------------------------------------------------------------------------------- the report

ROWS = (
    ("pictures/s, caching not counted", "rate", "rate", "{:.2f}"),
    ("pictures/s, caching counted over these epochs", "rate_caching_counted", "rate", "{:.2f}"),
    ("launch to first step, cold cache (s)", "first_step_s", "first_step_s", "{:.1f}"),
    ("launch to first step, warm cache (s)", "first_step_warm_s", "first_step_s", "{:.1f}"),
    ("launch to the end of epoch 2, cold cache (s)", "epoch_2_s", "epoch_2_s", "{:.1f}"),
    ("peak memory of the process tree (MB)", "peak_memory", "peak_memory", "{:.0f}"),
    ("mean loss of the last epoch", "loss", "loss", "{:.4f}"),
)


def report(options: argparse.Namespace, rounds: list[dict[str, Any]]) -> str:
    """The table in Markdown: medians, and the median of the rounds' own ratios."""
    extra = f", studio with {', '.join(options.set)}" if options.set else ""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "diffusers", "accelerate"))
    lines = [
        f"### {Path(options.model).name}, {options.method}, precision {options.precision}{extra}", "",
        f"{options.threads} threads of {machine._cpu_model()}, Python {platform.python_version()}, {versions}, "
        f"{time.strftime('%Y-%m-%d')}. {options.pictures} pictures at {options.side} px, batch {options.batch}, "
        f"{options.epochs} epochs, EMA {'on' if options.method == 'full' else 'off (the reference has none)'}; medians "
        f"of {len(rounds)} rounds in turn.", "", "| | reference | studio | studio / reference |", "|---|---|---|---|"]
    for title, ours, theirs, form in ROWS:
        unit = 1e6 if "MB" in title else 1
        pairs = [(round_["reference"][theirs] / unit, round_["studio"][ours] / unit) for round_ in rounds]
        ratio = median(b / a for a, b in pairs)
        lines.append(f"| {title} | {form.format(median(a for a, _ in pairs))} | "
                     f"{form.format(median(b for _, b in pairs))} | {ratio:.2f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
