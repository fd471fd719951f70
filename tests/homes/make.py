"""Makes the old home that the tests open:  cd CHECKOUT && python THIS_FILE FILE.zip   (a checkout of the old commit)

It has a data set with an edit, a preset, a run in the trash, files that wait to be imported, and a LoRA run that was
paused in the middle, also as a bundle; `expected.json` has every loss of the same run unbroken, and the hash of each
weight file it left. Caches are left out. torch computes with its plainest kernels, as in tests/train/golden.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

PLAIN = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE",
         "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
STEPS, PAUSE = 6, 3
CONFIG = {
    "model": {"method": "lora"}, "lora": {"rank": 1}, "compute": {"num_threads": 1},
    "train": {"max_steps": STEPS, "batch_size": 2, "seed": 11, "mixed_precision": "no"},
    "optim": {"learning_rate": 2e-3, "lr_scheduler": "constant"}, "data": {"random_flip": True, "caption_dropout": 0.2},
    "sample": {"prompts": ["a red thing"], "num_inference_steps": 2, "every_steps": 3},
    "checkpoint": {"every_steps": PAUSE, "keep": 2}}


def pictures(folder: Path) -> list[tuple[str, Path]]:
    """Five small pictures, four with captions."""
    from PIL import Image

    listed = []
    for number in range(5):
        image = Image.new("RGB", (64 + 8 * number, 72), (40 * number, 200 - 30 * number, 90))
        image.paste((250, 250, 20), (8, 8, 24 + 4 * number, 40))
        image.save(folder / f"{number}.png")
        listed.append((f"{number}.png", folder / f"{number}.png"))
        if number:
            (folder / f"{number}.txt").write_text(f"thing number {number}")
            listed.append((f"{number}.txt", folder / f"{number}.txt"))
    return listed


def train(run: Any, pause: int | None) -> None:
    """One attempt in this process, paused at a step where one is given."""
    from studio import storage
    from studio.events import EventWriter
    from studio.train import loop

    storage.write_json(run.process_file, {"attempt": run.record()["attempt"], "pid": os.getpid(), "start_time": None,
                                          "boot_id": None, "argv": [], "began": 0.0})
    written = EventWriter.add

    def add(self: Any, kind: str, **fields: Any) -> dict[str, Any]:
        event = written(self, kind, **fields)
        if kind == "step" and fields["step"] == pause:
            run.request("pause")
        return event

    EventWriter.add = add  # type: ignore[method-assign]
    try:
        print(loop.train(run, supervised=False))
    finally:
        EventWriter.add = written  # type: ignore[method-assign]


def losses(run: Any) -> dict[int, str]:
    """Each step's loss in every bit."""
    from studio import events

    return {e["step"]: float(e["loss"]).hex() for e in events.read(run.events_file)[0] if e["kind"] == "step"}


def weights(run: Any) -> dict[str, str]:
    """The hash of each file of weights of the last checkpoint."""
    folder = run.checkpoints / f"checkpoint-{STEPS}"
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(folder.rglob("*.safetensors"))}


def maker() -> str:
    """Who made this machine's processor."""
    named = re.search(r"^vendor_id\s*:\s*(\S+)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return named[1] if named else "unknown"


def main() -> None:
    """Make the home and write it with what is expected of it."""
    if any(os.environ.get(name) != value for name, value in PLAIN.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **PLAIN})
    sys.path.insert(0, os.getcwd())
    from studio import bundle, datasets, prepare, presets, storage

    with tempfile.TemporaryDirectory() as scratch:
        home, brought = Path(scratch) / "home", Path(scratch) / "pictures"
        home.mkdir()
        brought.mkdir()
        dataset = datasets.begin(home, "Five things", "local")
        datasets.add(dataset, pictures(brought))
        dataset.set_captions(dataset.rows()[1]["pid"], ["thing number one", "the first thing"])
        draft = datasets.draft(home, "To be continued", "local")
        draft.receive([(name, path) for name, path in pictures(brought) if name.endswith("png")])
        config = {**CONFIG, "data": {**CONFIG["data"], "dataset": dataset.id}}
        presets.save(home, name="Mine", owner="local", config={"lora": {"rank": 2}})
        whole, paused, gone = (prepare.submit(home, name=name, owner="local", config=config)
                               for name in ("Whole", "Paused", "Gone"))
        train(whole, None)
        train(paused, PAUSE)
        storage.write_json(paused.exit_file, {"attempt": 1, "returncode": 0, "signal": None, "oom_kill": False,
                                              "result": None, "error": None, "ended": 0.0})
        storage.to_trash(gone.path, home / "trash")
        expected = {"processor": maker(), "losses": losses(whole), "weights": weights(whole), "run": paused.id,
                    "dataset": dataset.id, "draft": draft.id, "fingerprint": dataset.fingerprint()}
        shutil.rmtree(whole.path)
        bundle.write(paused, Path(scratch) / "bundle.zip")
        shutil.rmtree(home / "cache")
        with zipfile.ZipFile(sys.argv[1], "w", zipfile.ZIP_DEFLATED) as made:
            for path in sorted(p for p in home.rglob("*") if p.is_file() or not any(p.iterdir())):
                made.write(path, f"home/{path.relative_to(home)}")
            made.write(Path(scratch) / "bundle.zip", "bundle.zip")
            made.writestr("expected.json", json.dumps(expected, indent=1))
        print(json.dumps(expected, indent=1))


if __name__ == "__main__":
    main()
