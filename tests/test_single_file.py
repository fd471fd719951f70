"""Weights in one file and in other precisions: what diffusers loads back, what the published checkpoints name alike."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load, load_file, save_file

from studio import config as config_
from studio import export, families, storage, tensors
from studio.bases import source
from studio.folders import runs

from .families import tiny

# The names of the published SD 1.x files' weights, as an independent converter lists them (DiffSynth-Studio, 1,130
# names), and the encoder's `position_ids`: sorted, joined by newlines.
PUBLISHED = "f9768d974dc68129cbc216032b141c9ddb5e72202ab8ca3311610c35e4396303"
TYPES = {"": torch.float32, "-fp16": torch.float16, "-bf16": torch.bfloat16}


def make(home: Path, folder: Path, **changes: Any) -> runs.Run:
    """A run on the base in `folder` with one checkpoint, its UNet another than the base's."""
    asked = config_.merge({"model": {"base": str(folder)}, "objective": {"prediction_type": "epsilon"},
                           "data": {"resolution": 32}}, changes)
    run = runs.create(home, name="birds", owner="", config=config_.load(asked), rows=[],
                      extra={"dataset": {"fingerprint": "f" * 64, "count": 3, "name": "secret birds"}})
    trained = tiny.parts(v2=changes.get("v2", False), seed=5)["unet"]
    with storage.staged(run.checkpoints / "checkpoint-4", {"step": 4}) as checkpoint:
        trained.save_pretrained(checkpoint / "unet")
        trained.save_pretrained(checkpoint / "unet_ema")
    return run


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def run(home: Path, base: Path) -> runs.Run:
    return make(home, base)


def fetch(run: runs.Run, path: str) -> bytes:
    with export.open_item(run, path) as download:
        return b"".join(download.read(0, download.size))


@pytest.mark.parametrize("mark", TYPES)
def test_diffusers_loads_the_single_file_and_draws_the_same(run: runs.Run, base: Path, tmp_path: Path,
                                                            mark: str) -> None:
    from diffusers import StableDiffusionPipeline

    file = tmp_path / "model.safetensors"
    file.write_bytes(fetch(run, f"checkpoint-4/ema/model{mark}.safetensors"))
    loaded = StableDiffusionPipeline.from_single_file(file, config=str(base), local_files_only=True,
                                                      torch_dtype=torch.float32, safety_checker=None)
    whole = StableDiffusionPipeline.from_pretrained(base, safety_checker=None, unet=tiny.parts(seed=5)["unet"])
    for part in ("unet", "vae", "text_encoder"):
        want = getattr(whole, part).to(TYPES[mark]).float().state_dict()
        found = getattr(loaded, part).state_dict()
        assert found.keys() == want.keys()
        assert all(torch.equal(found[name], value) for name, value in want.items()), part
    drawn = [np.asarray(pipe("a bird", height=32, width=32, num_inference_steps=3, guidance_scale=3.0,
                             generator=torch.Generator().manual_seed(1)).images[0], int) for pipe in (loaded, whole)]
    assert np.abs(drawn[0] - drawn[1]).max() <= (0 if not mark else 3)


def test_the_published_names_of_sd_1(base: Path) -> None:
    """A full-shape SD 1.5 without its weights: the names and the attention's shapes are the published ones."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from studio.families import _sd_layout

    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
        vae = AutoencoderKL(block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
                            up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, latent_channels=4)
        text = CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
                                            num_attention_heads=12))
    models = {"unet": unet, "vae": vae, "text_encoder": text}
    parts = {part: {name: tensors.Tensor("F32", tuple(t.shape), ()) for name, t in model.state_dict().items()}
             for part, model in models.items()}
    configs = {"unet": dict(unet.config), "vae": dict(vae.config), "text_encoder": text.config.to_dict()}
    found = _sd_layout.single_file(parts, configs)
    assert len(found) == 1131 and hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest() == PUBLISHED
    assert found["first_stage_model.encoder.mid.attn_1.q.weight"].shape == (512, 512, 1, 1)
    assert found["model.diffusion_model.input_blocks.1.1.proj_in.weight"].shape == (320, 320, 1, 1)
    assert found["cond_stage_model.transformer.text_model.embeddings.position_ids"].shape == (1, 77)


def test_sd_2_joins_the_text_encoders_attention(home: Path, tmp_path: Path) -> None:
    folder = tiny.make(tmp_path / "v2", v2=True)
    run = runs.create(home, name="two", owner="", rows=[], config=config_.load(
        {"model": {"base": str(folder)}, "objective": {"prediction_type": "epsilon"}}))
    with storage.staged(run.checkpoints / "checkpoint-4", {"step": 4}) as checkpoint:
        tiny.parts(v2=True, seed=5)["unet"].save_pretrained(checkpoint / "unet")
    state = load(fetch(run, "checkpoint-4/raw/model.safetensors"))
    own = tiny.parts(v2=True)["text_encoder"].state_dict()
    block = "encoder.layers.1.self_attn"
    three = torch.cat([own[f"{block}.{letter}_proj.weight"] for letter in "qkv"])
    assert torch.equal(state["cond_stage_model.model.transformer.resblocks.1.attn.in_proj_weight"], three)
    assert torch.equal(state["cond_stage_model.model.positional_embedding"],
                       own["embeddings.position_embedding.weight"])
    assert not any("q_proj" in name or "layer_norm1" in name for name in state)
    unet = tiny.parts(v2=True, seed=5)["unet"].state_dict()
    assert torch.equal(state["model.diffusion_model.output_blocks.3.1.proj_out.weight"],
                       unet["up_blocks.1.attentions.1.proj_out.weight"])


def test_the_file_says_what_it_is(run: runs.Run, base: Path, tmp_path: Path) -> None:
    for path in ("ema/model-fp16", "raw/unet", "ema/unet-bf16"):
        (tmp_path / "file").write_bytes(fetch(run, f"checkpoint-4/{path}.safetensors"))
        with safe_open(tmp_path / "file", framework="pt") as file:
            told = file.metadata()
        settings = json.loads(told["studio_config"])
        assert settings["model"]["base"] == base.name and str(base) not in str(told)
        assert settings["data"]["resolution"] == 32 and config_.load(settings)
        assert json.loads(told["studio_dataset"]) == {"fingerprint": "f" * 64, "count": 3}
        assert told["modelspec.architecture"] == "stable-diffusion-v1" and told["modelspec.title"] == "birds"
        assert (told["studio_step"], told["format"]) == ("4", "pt")


def test_half_precision_pipelines_load(run: runs.Run, tmp_path: Path) -> None:
    import io
    import zipfile

    from diffusers import StableDiffusionPipeline

    with zipfile.ZipFile(io.BytesIO(fetch(run, "checkpoint-4/pipeline-ema-fp16.zip"))) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path)
    folder = tmp_path / "birds-step4-ema-fp16"
    files = list(folder.rglob("*.safetensors"))
    assert len(files) == 3 and all(t.dtype == torch.float16 for f in files for t in load_file(f).values()
                                   if t.is_floating_point())
    pipe = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float16)
    want = tiny.parts(seed=5)["unet"].half().state_dict()
    assert all(torch.equal(value, want[name]) for name, value in pipe.unet.state_dict().items())


def test_any_range_is_the_same_bytes(run: runs.Run) -> None:
    path, draw = "checkpoint-4/ema/model-bf16.safetensors", random.Random(0)
    whole = fetch(run, path)
    with export.open_item(run, path) as download:
        for _ in range(200):
            start = draw.randrange(len(whole))
            stop = min(len(whole), start + draw.choice([1, 3, 100, 4097, 1 << 20]))
            assert b"".join(download.read(start, stop)) == whole[start:stop]
    sizes = {item.path: item.size for item in export.listing(run)}
    assert sizes[path] == len(whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("to", tensors.FLOATS)
def test_conversions_round_as_torch_does(dtype: torch.dtype, to: str, tmp_path: Path) -> None:
    names = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    draw = torch.Generator().manual_seed(3)
    values = torch.randn(5000, generator=draw) * torch.logspace(-9, 9, 5000)
    values[:6] = torch.tensor([0.0, -0.0, float("inf"), -float("inf"), 1e-40, 65520.0])
    values = values.to(dtype)
    save_file({"x": values}, tmp_path / "x.safetensors")
    found, _ = tensors.headers(tmp_path / "x.safetensors")
    span = found["x"].spans[0]
    data = (tmp_path / "x.safetensors").read_bytes()[span.offset:][:span.size]
    given = torch.frombuffer(bytearray(tensors.converted(data, found["x"].dtype, to)), dtype=names[to])
    assert torch.equal(given, values.to(names[to]))
    missing = torch.tensor([float("nan")], dtype=dtype)
    save_file({"x": missing}, tmp_path / "n.safetensors")
    raw = (tmp_path / "n.safetensors").read_bytes()[-missing.element_size():]
    assert torch.frombuffer(bytearray(tensors.converted(raw, found["x"].dtype, to)), dtype=names[to]).isnan().all()


@pytest.mark.parametrize("data", [b"", b"\xff" * 8, b"\x05\0\0\0\0\0\0\0{x:1}", b"\x02\0\0\0\0\0\0\0[]",
                                  b'\x20\0\0\0\0\0\0\0{"a":{"dtype":"F32","shape":[9]}}'])
def test_what_is_no_safetensors_file_says_so(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(tensors.NotSafetensors, match="x.safetensors is not a safetensors file"):
        tensors.headers(tmp_path / "x.safetensors")


def test_a_family_without_such_a_layout_offers_none() -> None:
    found = source.locate("embedded", None, None)
    assert found is not None and families.Family.single_file(families.get("sd"), found, {}) == {}
