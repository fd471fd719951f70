"""Makes the old home that the tests open:  cd CHECKOUT && python THIS_FILE FILE.zip   (a checkout of the old commit)

It has a data set with an edit, a preset, a run in the trash, files that wait to be imported, and two runs that were
paused in the middle: a LoRA on the embedded base, also as a bundle, and a full fine-tune of a tiny base, which lies
beside the home as the Hub's library keeps what it has fetched. `expected.json` has of each run what the same run left
unbroken, which is what the old code's own resume left too: every loss, the hash of each file of weights and of each
sample's pixels; and the hash of the tensors in everything that could be downloaded when it was paused. Caches are left
out. torch computes with its plainest kernels, as in tests/train/golden.py.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

PLAIN = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE",
         "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
STEPS, PAUSE = 6, 3
BASE, COMMIT = "somebody/tiny", "0" * 40  # the tiny base, as a repository of the Hub
CONFIG: dict[str, Any] = {
    "model": {"method": "lora"}, "lora": {"rank": 1}, "compute": {"num_threads": 1},
    "train": {"max_steps": STEPS, "batch_size": 2, "seed": 11, "mixed_precision": "no"},
    "optim": {"learning_rate": 2e-3, "lr_scheduler": "constant"}, "data": {"random_flip": True, "caption_dropout": 0.2},
    "sample": {"prompts": ["a red thing"], "num_inference_steps": 2, "every_steps": 2},
    "checkpoint": {"every_steps": PAUSE, "keep": 2}}
FULL = {**CONFIG, "model": {"base": BASE}, "data": {**CONFIG["data"], "resolution": 32}}


def of_the_checkout(name: str) -> Any:
    """The module of that name: where it is today, or where the old commit had it."""
    try:
        return importlib.import_module(f"studio.folders.{name}")
    except ModuleNotFoundError:
        return importlib.import_module(f"studio.{name}")


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


def make_base(hub: Path) -> None:
    """A Stable Diffusion of 0.4 MB with random weights, where the Hub's library keeps what it has fetched."""
    import torch
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from tests.families import tiny

    torch.manual_seed(3)
    unet = UNet2DConditionModel(
        sample_size=16, layers_per_block=1, block_out_channels=(8, 8), norm_num_groups=4, cross_attention_dim=16,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), attention_head_dim=4,
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"))
    vae = AutoencoderKL(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, latent_channels=4,
        up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=4, scaling_factor=0.18215)
    encoder = CLIPTextModel(CLIPTextConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=515,
        max_position_embeddings=77, bos_token_id=512, eos_token_id=513, pad_token_id=1))
    scheduler = PNDMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1,
                              skip_prk_steps=True, set_alpha_to_one=False)
    parts: dict[str, Any] = {
        "unet": unet, "vae": vae, "text_encoder": encoder, "tokenizer": tiny.tokenizer(), "scheduler": scheduler,
        "safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    repository = hub / "hub" / f"models--{BASE.replace('/', '--')}"
    StableDiffusionPipeline(**parts).save_pretrained(repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)


def train(run: Any, pause: int | None) -> None:
    """One attempt in this process, paused at a step where one is given."""
    from studio import storage
    from studio.train import loop

    writer = of_the_checkout("events").EventWriter
    storage.write_json(run.process_file, {"attempt": run.record()["attempt"], "pid": os.getpid(), "start_time": None,
                                          "boot_id": None, "argv": [], "began": 0.0})
    written = writer.add

    def add(self: Any, kind: str, **fields: Any) -> dict[str, Any]:
        event = written(self, kind, **fields)
        if kind == "step" and fields["step"] == pause:
            run.request("pause")
        return event

    writer.add = add  # type: ignore[method-assign]
    try:
        print(loop.train(run, supervised=False))
    finally:
        writer.add = written  # type: ignore[method-assign]


def losses(run: Any) -> dict[int, str]:
    """Each step's loss in every bit."""
    events = of_the_checkout("events")
    return {e["step"]: float(e["loss"]).hex() for e in events.read(run.events_file)[0] if e["kind"] == "step"}


def weights(run: Any) -> dict[str, str]:
    """The hash of each file of weights of the last checkpoint."""
    folder = run.checkpoints / f"checkpoint-{STEPS}"
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(folder.rglob("*.safetensors"))}


def pixels(run: Any) -> dict[str, str]:
    """The hash of each sample's pixels."""
    from PIL import Image

    return {p.name: hashlib.sha256(Image.open(p).convert("RGB").tobytes()).hexdigest()
            for p in sorted(run.samples.glob("*.webp"))}


def tensors(name: str, content: bytes) -> dict[str, str]:
    """The hash of the tensors of each .safetensors file in a download, which may be a zip; metadata is left out."""
    if name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {key: value for member in archive.namelist()  # each is in the zip's one top folder
                    for key, value in tensors(f"{name}/{member.partition('/')[2]}", archive.read(member)).items()}
    if not name.endswith(".safetensors"):
        return {}
    start = 8 + int.from_bytes(content[:8], "little")
    digest = hashlib.sha256()
    for key, header in sorted(json.loads(content[8:start]).items()):
        if key != "__metadata__":
            first, last = header["data_offsets"]
            digest.update(f"{key} {header['dtype']} {header['shape']} ".encode())
            digest.update(content[start + first : start + last])
    return {name: digest.hexdigest()}


def downloads(run: Any, folder: Path) -> dict[str, str]:
    """The hash of the tensors of everything that the run has to be taken away."""
    from studio import export

    hashes: dict[str, str] = {}
    for item in export.listing(run):
        if item.path.endswith((".zip", ".safetensors")):
            export.write_item(run, item.path, folder / item.path)
            for path in sorted(p for p in (folder / item.path).rglob("*") if p.is_file()):
                inner = f"/{path.relative_to(folder / item.path)}" if item.path.endswith(".zip") else ""
                hashes |= tensors(item.path + inner, path.read_bytes())
    return hashes


def paused_run(submit: Callable[[str], Any], scratch: Path) -> tuple[Any, dict[str, Any]]:
    """A run paused in the middle, and what is expected of it; the old code resumes a copy of it to the same bits."""
    from studio import storage

    runs = of_the_checkout("runs")
    whole, paused = submit("Whole"), submit("Paused")
    train(whole, None)
    train(paused, PAUSE)
    storage.write_json(paused.exit_file, {"attempt": 1, "returncode": 0, "signal": None, "oom_kill": False,
                                          "result": None, "error": None, "ended": 0.0})
    expected = {"run": paused.id, "losses": losses(whole), "weights": weights(whole), "pixels": pixels(whole),
                "downloads": downloads(paused, scratch / paused.id)}
    shutil.copytree(paused.path, scratch / f"{paused.id} as paused")
    reader = getattr(runs, "EventReader", None) or runs.Reader  # as earlier versions call it
    runs.resume(paused, reader())
    train(paused, None)
    resumed = {"losses": losses(paused), "weights": weights(paused), "pixels": pixels(paused)}
    different = {(kind, name) for kind, values in resumed.items() for name in values.keys() | expected[kind].keys()
                 if values.get(name) != expected[kind].get(name)}
    if different:
        raise SystemExit(f"this code's own resume is not exact: {sorted(different)}")
    shutil.rmtree(paused.path)
    shutil.rmtree(whole.path)
    (scratch / f"{paused.id} as paused").rename(paused.path)
    return paused, expected


def maker() -> str:
    """Who made this machine's processor."""
    named = re.search(r"^vendor_id\s*:\s*(\S+)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return named[1] if named else "unknown"


def main() -> None:
    """Make the home and write it with what is expected of it."""
    if any(os.environ.get(name) != value for name, value in PLAIN.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **PLAIN})
    sys.path.insert(0, os.getcwd())
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.update(HF_HUB_OFFLINE="1", HF_HOME=f"{scratch}/hub")
        expected = make_home(Path(scratch))
        with zipfile.ZipFile(sys.argv[1], "w", zipfile.ZIP_DEFLATED) as packed:
            for top in ("home", "hub"):
                for path in sorted(p for p in (Path(scratch) / top).rglob("*") if p.is_file() or not any(p.iterdir())):
                    packed.write(path, path.relative_to(scratch))
            packed.write(Path(scratch) / "bundle.zip", "bundle.zip")
            packed.writestr("expected.json", json.dumps(expected, indent=1))
        print(json.dumps(expected, indent=1))


def make_home(scratch: Path) -> dict[str, Any]:
    """The home, the Hub's cache and the bundle in `scratch`; returns what is expected of them."""
    from studio import bundle, datasets, prepare, presets, storage

    home, brought = scratch / "home", scratch / "pictures"
    home.mkdir()
    brought.mkdir()
    make_base(scratch / "hub")
    dataset = datasets.begin(home, "Five things", "local")
    datasets.add(dataset, pictures(brought))
    dataset.set_captions(dataset.rows()[1]["pid"], ["thing number one", "the first thing"])
    draft = datasets.draft(home, "To be continued", "local")
    draft.receive([(name, path) for name, path in pictures(brought) if name.endswith("png")])
    presets.save(home, name="Mine", owner="local", config={"lora": {"rank": 2}})

    def submit(name: str, config: dict[str, Any] = CONFIG) -> Any:
        config = {**config, "data": {**config["data"], "dataset": dataset.id}}
        return prepare.submit(home, name=name, owner="local", config=config)

    lora, of_lora = paused_run(submit, scratch)
    _, of_full = paused_run(lambda name: submit(name, FULL), scratch)
    storage.to_trash(submit("Gone").path, home / "trash")
    bundle.write(lora, scratch / "bundle.zip")
    shutil.rmtree(home / "cache")
    return {"processor": maker(), "lora": of_lora, "full": of_full, "dataset": dataset.id, "draft": draft.id,
            "fingerprint": dataset.fingerprint()}


if __name__ == "__main__":
    main()
