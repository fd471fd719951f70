"""What a person takes away: the listing, bytes by range, zips that diffusers loads, leases and deletions."""

from __future__ import annotations

import io
import random
import zipfile
import zlib
from pathlib import Path

import pytest
import torch

from studio import config as config_
from studio import export, storage
from studio.folders import runs
from studio.storage import zips

from .families import tiny


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A base in half precision, as on the Hub: its files name a variant."""
    folder = tmp_path_factory.mktemp("base") / "v1"
    made = tiny.parts()
    tiny.make(folder)
    for part in ("vae", "text_encoder"):
        for weights in (folder / part).glob("*.safetensors"):
            weights.unlink()
        made[part].half().save_pretrained(folder / part, variant="fp16", max_shard_size="60KB")
    return folder


@pytest.fixture
def run(home, base) -> runs.Run:
    """A run with two checkpoints: at 10 with EMA weights, at 5 without."""
    given = {"model": {"base": str(base), "variant": "fp16"}, "objective": {"prediction_type": "v_prediction"}}
    run = runs.create(home, name="Mein Stil / №1", owner="", config=config_.load(given), rows=[])
    for step, seeds in ((5, {"unet": 5}), (10, {"unet": 10, "unet_ema": 11})):
        with storage.staged(run.checkpoints / f"checkpoint-{step}", {"step": step}) as folder:
            for part, seed in seeds.items():
                unet(seed).save_pretrained(folder / part)
            storage.write_json(folder / "state.json", {"step": step})
    for step in (0, 10):
        (run.samples / f"step-{step:06d}-p0-ema.webp").write_bytes(random.Random(step).randbytes(500))
    return run


def unet(seed: int) -> torch.nn.Module:
    return tiny.parts(seed=seed, v2=True)["unet"]


def content(download: export.Download, start: int = 0, stop: int | None = None) -> bytes:
    return b"".join(download.read(start, download.size if stop is None else stop))


def fetch(run: runs.Run, path: str) -> bytes:
    with export.open_item(run, path) as download:
        return content(download)


def test_listing_names_every_checkpoint_with_exact_sizes(run):
    items = export.listing(run)
    assert [i.path for i in items] == [
        f"checkpoint-{step}/{path}{mark}.{kind}" for step, weights in ((10, "ema"), (10, "raw"), (5, "raw"))
        for mark in ("", "-fp16", "-bf16") for path, kind in ((f"{weights}/unet", "safetensors"), (
            f"pipeline-{weights}", "zip"), (f"{weights}/model", "safetensors"))] + ["samples.zip", "config.json"]
    assert (items[1].kind, items[1].weights, items[1].step) == ("pipeline", "ema", 10)
    for item in items:
        with export.open_item(run, item.path) as download:
            assert len(content(download)) == download.size == item.size
            assert all(len(block) <= 1 << 20 for block in download.read(0, download.size))


@pytest.mark.parametrize("path", [
    "", "..", "../run.json", "checkpoint-10", "checkpoint-10/state.json", "train.log", "/etc/passwd",
    "checkpoint-10/ema/../raw/unet.safetensors", "checkpoint-7/ema/unet.safetensors",
    "checkpoint-5/ema/unet.safetensors"])
def test_only_what_is_listed_opens(run, path):
    with pytest.raises(KeyError):
        export.open_item(run, path)


def test_weights_and_config_are_those_of_the_run(run):
    from safetensors.torch import load

    for weights, part, seed in (("ema", "unet_ema", 11), ("raw", "unet", 10)):
        with export.open_item(run, f"checkpoint-10/{weights}/unet.safetensors") as download:
            data = content(download)
            assert download.filename == f"Mein-Stil-1-step10-{weights}-unet.safetensors"
            assert download.media_type == "application/octet-stream"
        saved = run.checkpoints / "checkpoint-10" / part / "diffusion_pytorch_model.safetensors"
        assert data[-1000:] == saved.read_bytes()[-1000:]
        want = unet(seed).state_dict()
        assert all(torch.equal(tensor, want[name]) for name, tensor in load(data).items())
    assert fetch(run, "config.json") == run.config_file.read_bytes()
    with zipfile.ZipFile(io.BytesIO(fetch(run, "samples.zip"))) as archive:
        assert archive.testzip() is None and len(archive.namelist()) == 2


@pytest.mark.parametrize(("weights", "seed"), [("ema", 11), ("raw", 10)])
def test_diffusers_loads_the_pipeline_and_draws(run, tmp_path, weights, seed):
    from diffusers import DiffusionPipeline

    with zipfile.ZipFile(io.BytesIO(fetch(run, f"checkpoint-10/pipeline-{weights}.zip"))) as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {name.split("/")[0] for name in archive.namelist()} == {f"Mein-Stil-1-step10-{weights}"}
        archive.extractall(tmp_path)
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / f"Mein-Stil-1-step10-{weights}")
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    assert pipeline.scheduler.config.beta_schedule == "scaled_linear"
    want = unet(seed).state_dict()
    assert all(torch.equal(p, want[name]) for name, p in pipeline.unet.state_dict().items())
    picture = pipeline("a bird", height=32, width=32, num_inference_steps=3).images[0]
    assert picture.size == (32, 32)


def test_ranges_equal_the_whole(run):
    path, draw = "checkpoint-10/pipeline-ema.zip", random.Random(0)
    whole = fetch(run, path)
    with export.open_item(run, path) as download:
        etag = download.etag
        for _ in range(200):
            start = draw.randrange(len(whole))
            stop = min(len(whole) + 5, start + draw.choice([1, 7, 100, 1 << 16, 1 << 22]))
            assert content(download, start, stop) == whole[start:stop]
        assert content(download, len(whole), len(whole) + 1) == b""
    with export.open_item(run, path) as again:
        assert again.etag == etag and content(again) == whole
    with export.open_item(run, "checkpoint-10/pipeline-raw.zip") as other:
        assert other.etag != etag
    assert len(list((run.path.parent.parent / "cache" / "crc32").iterdir())) > 3


def test_a_download_holds_its_checkpoint_and_no_other(run):
    def free(step: int) -> bool:
        lock = storage.Lock(run.checkpoints / f"checkpoint-{step}.lease")
        taken = lock.acquire()
        lock.release()
        return taken

    first = export.open_item(run, "checkpoint-10/pipeline-ema.zip")
    second = export.open_item(run, "checkpoint-10/raw/unet.safetensors")
    assert not free(10) and free(5)
    first.close()
    assert not free(10)
    second.close()
    assert free(10)
    with storage.Lock(run.checkpoints / "checkpoint-10.lease"), pytest.raises(KeyError):
        export.open_item(run, "checkpoint-10/ema/unet.safetensors")  # retention is removing it


def test_the_pipeline_has_no_settings_of_the_average(home, run):
    import json

    with storage.staged(run.checkpoints / "checkpoint-20", {"step": 20}) as folder:
        unet(20).save_pretrained(folder / "unet_ema")
        config = folder / "unet_ema" / "config.json"
        storage.write_json(config, {**json.loads(config.read_text()), "decay": 0.9, "optimization_step": 20})
    with zipfile.ZipFile(io.BytesIO(fetch(run, "checkpoint-20/pipeline-ema.zip"))) as archive:
        assert archive.testzip() is None
        name = next(n for n in archive.namelist() if n.endswith("/unet/config.json"))
        exported = json.loads(archive.read(name))
    kept = json.loads((run.checkpoints / "checkpoint-20" / "unet_ema" / "config.json").read_text())
    assert "decay" in kept
    assert exported == {k: v for k, v in kept.items() if k not in ("decay", "optimization_step")}


def test_an_open_download_survives_deletion(home, run):
    path = "checkpoint-10/pipeline-ema.zip"
    whole = fetch(run, path)
    with export.open_item(run, path) as download:
        start = content(download, 0, 1000)
        runs.delete(home, run)
        for file in (home / "trash").rglob("*.safetensors"):
            file.unlink()
        assert start + content(download, 1000) == whole


def test_a_damaged_checkpoint_is_not_sent(run):
    weights = run.checkpoints / "checkpoint-10" / "unet_ema" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(storage.Corrupt, match="bytes instead of"):
        export.open_item(run, "checkpoint-10/ema/unet.safetensors")
    assert not storage.is_locked(run.checkpoints / "checkpoint-10.lease")
    assert fetch(run, "checkpoint-10/raw/unet.safetensors")


def test_without_its_base_a_run_still_gives_its_weights(run, base):
    moved = base.rename(base.with_name("elsewhere"))
    try:
        paths = [item.path for item in export.listing(run)]
    finally:
        moved.rename(base)
    assert "checkpoint-10/ema/unet.safetensors" in paths and not any("pipeline" in path for path in paths)


@pytest.mark.parametrize("limit", [1, 100, zips.LIMIT])
def test_zip64_fields_where_they_are_needed(limit):
    data = {"a.txt": b"x" * 99, "folder/b.bin": b"y" * 100, "ü.bin": b"z" * 3000, "empty": b""}
    members = [zips.Member(name, len(d), zlib.crc32(d)) for name, d in data.items()]
    parts = [list(data.values())[part] if isinstance(part, int) else part for part in zips.stored_zip(members, limit)]
    with zipfile.ZipFile(io.BytesIO(b"".join(parts))) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == data


def test_a_zip_of_more_than_4_gib_reads_back(tmp_path):
    """Two sparse files of 2.5 GiB: the second's header and the directory lie past what 32 bits hold."""
    size, members = 5 << 29, []
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(size)
    members = [zips.Member("first", size, 0), zips.Member("second", size, 0), zips.Member("last", 3, 0x352441C2)]
    with open(tmp_path / "sparse", "rb") as sparse, open(tmp_path / "big.zip", "wb") as out:
        contents = [zips.Slice(sparse.fileno(), size)] * 2 + [b"abc"]
        spliced = zips.SplicedFile([contents[p] if isinstance(p, int) else p for p in zips.stored_zip(members)])
        offset = 0
        for part in zips.stored_zip(members):
            if isinstance(part, int):
                offset += members[part].size
            else:
                out.seek(offset)
                out.write(part)
                offset += len(part)
        out.seek(offset - len(zips.stored_zip(members)[-1]) - 3)
        out.write(b"abc")
    assert spliced.size == offset == (tmp_path / "big.zip").stat().st_size > 5 << 30
    with zipfile.ZipFile(tmp_path / "big.zip") as archive:
        assert archive.read("last") == b"abc"
        assert [i.file_size for i in archive.infolist()] == [size, size, 3]
        with archive.open("second") as member:
            assert member.read(10) == b"\0" * 10
    tail = b"".join(spliced.read(spliced.size - 300, spliced.size))
    with open(tmp_path / "big.zip", "rb") as file:
        file.seek(-300, 2)
        assert file.read() == tail
