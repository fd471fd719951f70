"""A family that is one file more in the studio's folder goes through every public door."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from ..fakes.hub import WRITER
from ..fakes.jobs import JobsHub
from ..families import rf_base
from .conftest import ROOT, Server, start, until

FILE = rf_base.TOYS / "rf.py"
SUMS = {"num_threads": 1, "attention": "sdpa", "linear": "matmul"}  # how they are done here and on a rented machine
DRAW = """
import sys
sys.path.append(sys.argv[2])
import toylib
pipe = toylib.ToyPipeline.from_pretrained(sys.argv[1])
assert pipe("a cat", num_inference_steps=2, width=48, height=32).images[0].size == (48, 32)
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rf_base.make(tmp_path_factory.mktemp("rf") / "toy-base")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The studio with one file more, and nothing else changed."""
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "studio", copy / "studio", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("app.py", "requirements.txt", "pyproject.toml"):
        shutil.copyfile(ROOT / name, copy / name)
    shutil.copyfile(FILE, copy / "studio" / "families" / "rf.py")
    return copy


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobsHub]:
    """A Hub that rents out machines, whose image has the family's library as this machine has it."""
    with JobsHub(uploads=tmp_path_factory.mktemp("rented"), library=rf_base.LIBRARY) as running:
        yield running


@pytest.fixture(scope="module")
def server(root: Path, hub: JobsHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    tmp = tmp_path_factory.mktemp("server")
    remote = {name: value for name, value in hub.environment(tmp / "hf").items() if name.startswith("HF_")}
    found = start(tmp / "home", tmp, root=root, **{**remote, "HF_TOKEN": WRITER, "PYTHONPATH": str(rf_base.LIBRARY)})
    yield found
    found.stop()


@pytest.fixture(scope="module")
def api(server: Server) -> httpx.Client:
    return server.client()


def asked(base: Path, **changes: Any) -> dict[str, Any]:
    """A short run on the toy; of its family, its parts and what it learns nothing is said."""
    config: dict[str, Any] = {
        "model": {"base": str(base)}, "data": {"resolution": 32, "buckets": True, "max_samples": 8},
        "train": {"max_steps": 4, "batch_size": 2, "seed": 5, "mixed_precision": "no"},
        "sample": {"prompts": ["a cat"], "num_inference_steps": 2, "every_steps": 0, "width": 48, "height": 32},
        "checkpoint": {"every_steps": 4}, "compute": SUMS}
    return {name: {**config.get(name, {}), **changes.get(name, {})} for name in {*config, *changes}}


def ended(api: httpx.Client, record: dict[str, Any]) -> dict[str, Any]:
    """The run when it has trained to its end."""
    until(lambda: api.get(f"/api/runs/{record['id']}").json()["state"] in ("finished", "failed", "interrupted"), 280)
    found = api.get(f"/api/runs/{record['id']}").json()
    assert found["state"] == "finished", (found["error"], api.get(f"/api/runs/{record['id']}/log").json()["text"])
    return found


def job(api: httpx.Client, answer: httpx.Response) -> dict[str, Any]:
    """The job that was started, when it has ended."""
    assert answer.status_code == 202, answer.text
    place = f"/api/jobs/{answer.json()['id']}"
    until(lambda: api.get(place).json()["state"] in ("finished", "failed", "interrupted"), 280)
    found = api.get(place).json()
    assert found["state"] == "finished", found["error"]
    return found


def fetched(api: httpx.Client, url: str) -> bytes:
    answer = api.get(url)
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.fixture(scope="module")
def full(api: httpx.Client, base: Path) -> dict[str, Any]:
    answer = api.post("/api/runs", json={"name": "Whole", "config": asked(base)})
    assert answer.status_code == 201, answer.text
    return ended(api, answer.json())


def test_a_config_is_checked_estimated_and_tried(api: httpx.Client, base: Path) -> None:
    found = api.post("/api/runs/check", json={"config": asked(base)}).json()
    assert not found["problems"] and found["config"]["model"]["family"] == "rf"
    assert found["config"]["objective"]["prediction_type"] == "flow" and found["config"]["data"]["bucket_step"] == 8
    wrong = api.post("/api/runs/check", json={"config": asked(base, objective={"dream": True})}).json()
    assert [problem["field"] for problem in wrong["problems"]] == ["objective.dream"]
    tried = job(api, api.post("/api/runs/probe", json={"config": asked(base)}))
    assert {result["name"] for result in tried["results"]} == {"picture.webp", "report.json"}
    drawn = next(result for result in tried["results"] if result["name"] == "picture.webp")
    assert Image.open(io.BytesIO(fetched(api, drawn["url"]))).size == (48, 32) == (drawn["width"], drawn["height"])


def test_a_run_draws_its_previews_at_their_proportions(api: httpx.Client, full: dict[str, Any]) -> None:
    assert full["config"]["model"]["family"] == "rf" and {s["step"] for s in full["samples"]} == {0, 4}
    for sample in full["samples"]:
        assert Image.open(io.BytesIO(fetched(api, sample["url"]))).size == (48, 32)


def test_its_files_are_offered_and_the_pipeline_draws_elsewhere(api: httpx.Client, full: dict[str, Any],
                                                                tmp_path: Path) -> None:
    items = api.get(f"/api/runs/{full['id']}/files").json()["items"]
    assert {item["kind"] for item in items} == {"pipeline", "transformer", "samples", "config"}
    zipped = next(i for i in items if (i["kind"], i["weights"], i["precision"]) == ("pipeline", "ema", "fp32"))
    with zipfile.ZipFile(io.BytesIO(fetched(api, zipped["url"]))) as packed:
        packed.extractall(tmp_path)
    (top,) = tmp_path.iterdir()
    done = subprocess.run([sys.executable, "-P", "-c", DRAW, str(top), str(rf_base.LIBRARY)], capture_output=True,
                          text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_trained_checkpoint_is_tried_in_the_playground(api: httpx.Client, full: dict[str, Any]) -> None:
    columns = [{}, {"checkpoint": "checkpoint-4", "weights": "raw"}]
    done = job(api, api.post(f"/api/runs/{full['id']}/draw", json={"columns": columns, "prompts": ["a cat"],
                                                                   "seeds": [0]}))
    assert len(done["results"]) == 2
    trained = next(result for result in done["results"] if result["column"] == 1)
    picture = Image.open(io.BytesIO(fetched(api, trained["url"])))
    assert picture.size == (48, 32)
    assert "Sampler: Euler" in picture.text["parameters"]  # type: ignore[attr-defined]
    own = next(s for s in full["samples"] if (s["step"], s["weights"]) == (4, "raw"))
    assert picture.convert("RGB").tobytes() == Image.open(io.BytesIO(fetched(api, own["url"]))).convert("RGB").tobytes()
    for sides, fields in (({"width": 44, "height": 32}, ["width"]), ({"width": 32, "height": 2048}, ["height"]),
                          ({"resolution": 1040}, ["width", "height"])):
        odd = api.post(f"/api/runs/{full['id']}/draw", json=sides)
        assert odd.status_code == 422 and [p["field"] for p in odd.json()["error"]["problems"]] == fields, odd.text
    branched = api.post(f"/api/runs/{full['id']}/branch", json={"config": {"train": {"max_steps": 8},
                                                                           "sample": {"width": 2048, "height": 1032}}})
    assert {p["field"] for p in branched.json()["error"]["problems"]} == {"sample.width", "sample.height"}


def test_a_lora_is_trained_and_folded(api: httpx.Client, base: Path) -> None:
    config = asked(base, model={"base": str(base), "method": "lora"}, lora={"rank": 2, "alpha": 8.0})
    answer = api.post("/api/runs", json={"name": "Addition", "config": config})
    assert answer.status_code == 201, answer.text
    done = ended(api, answer.json())
    items = [i for i in api.get(f"/api/runs/{done['id']}/files").json()["items"] if i["kind"].startswith("lora")]
    assert {(i["kind"], *i["programs"]) for i in items} == {("lora", "diffusers", "ComfyUI")}
    data = fetched(api, next(i for i in items if i["precision"] == "fp32")["url"])
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert json.loads(header["__metadata__"]["lora_adapter_metadata"])["transformer.lora_alpha"] == 2
    assert "modelspec.prediction_type" not in header["__metadata__"]
    assert float(header["__metadata__"]["ss_network_alpha"]) == 2, "as the tensors are read, not as it was trained"


def test_its_captions_and_pictures_are_looked_at(api: httpx.Client, base: Path) -> None:
    health = api.get("/api/datasets/sample/health", params={"base": str(base)}).json()
    assert health["resolution"] == 32 and [e["name"] for e in health["encoders"]] == ["tokenizer", "tokenizer_2"]
    picture = api.get("/api/datasets/sample/images").json()["items"][0]
    tokens = api.get(f"/api/datasets/sample/images/{picture['id']}/tokens", params={"base": str(base)}).json()
    assert len(tokens["captions"][0]["encoders"]) == 2
    seen = job(api, api.post(f"/api/datasets/sample/images/{picture['id']}/see", json={"base": str(base)}))
    assert {result["name"] for result in seen["results"]} == {"pixels.webp", "decoded.webp", "lost.webp"}


def test_a_bundle_is_brought_back(api: httpx.Client, full: dict[str, Any]) -> None:
    packed = fetched(api, f"/api/runs/{full['id']}/bundle")
    brought = api.post("/api/runs/import", files={"files": ("run.zip", packed)})
    assert brought.status_code in (200, 201), brought.text


def test_a_rented_machine_trains_the_same_weights(hub: JobsHub, server: Server, api: httpx.Client, base: Path,
                                                  full: dict[str, Any]) -> None:
    hub.machine = server.home / "cache" / "machine.json"
    config = asked(base, compute={"backend": "hf_jobs", "flavor": "cpu-basic"})
    answer = api.post("/api/runs", json={"name": "Away", "config": config})
    assert answer.status_code == 201, answer.text
    away = ended(api, answer.json())
    assert len(hub.jobs) == 1 and not hub.repos
    here, there = (server.home / "runs" / run["id"] / "checkpoints" / "checkpoint-4" for run in (full, away))
    weights = sorted(path.relative_to(here) for path in here.glob("transformer*/*.safetensors"))
    assert {path.parts[0] for path in weights} == {"transformer", "transformer_ema"}
    assert all((here / path).read_bytes() == (there / path).read_bytes() for path in weights)
    assert {(s["step"], s["weights"]) for s in away["samples"]} == {(s["step"], s["weights"]) for s in full["samples"]}


def test_a_pasted_command_of_its_script_trains_it(root: Path, api: httpx.Client, base: Path, tmp_path: Path) -> None:
    """In the page's box and in the shell, where it trains: the script's mean of times has the other sign here."""
    command = (f"accelerate launch train_dreambooth_lora_rf.py --pretrained_model_name_or_path={base} --resolution=32 "
               "--instance_data_dir=pictures --instance_prompt='a cat' --rank=2 --lora_alpha=4 --logit_mean=0.5 "
               "--train_batch_size=2 --max_train_steps=2 --validation_prompt='a cat' --num_validation_images=1")
    read = api.post("/api/config/from-command", json={"command": command}).json()
    assert {entry["option"] for entry in read["unplaced"]} == {"--instance_prompt"}
    assert read["config"]["objective"] == {"timestep_density": "logit_normal", "logit_mean": -0.5, "logit_std": 1.0}
    read["config"]["data"].pop("data_dir")  # the pictures are chosen on the page
    checked = api.post("/api/runs/check", json={"config": read["config"]}).json()
    assert not checked["problems"] and checked["config"]["model"]["family"] == "rf"
    foreign = api.post("/api/config/from-command", json={"command": command.replace("_rf.py", "_other.py")})
    assert foreign.status_code == 400 and "train_dreambooth_lora_rf.py" in foreign.json()["error"]["message"]
    environment = {**os.environ, "PYTHONPATH": str(rf_base.LIBRARY), "ACCELERATE_USE_CPU": "true",
                   "STUDIO_HOME": str(tmp_path / "home")}
    (tmp_path / "pictures").mkdir()
    for number in range(3):
        Image.new("RGB", (64, 64), (80 * number, 90, 0)).save(tmp_path / "pictures" / f"{number}.png")
    shell = [sys.executable, "-m", "studio.train", "--from-command", command, "--data.data_dir",
             str(tmp_path / "pictures"), "--sample.num_inference_steps", "2"]
    done = subprocess.run(shell, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert "no place for --instance_prompt a cat: captions come with the pictures" in done.stderr
    (run,) = (tmp_path / "home" / "runs").iterdir()
    config = json.loads((run / "config.json").read_text())
    assert (config["model"]["family"], config["objective"]["logit_mean"], config["lora"]["alpha"]) == ("rf", -0.5, 4)
    assert (run / "checkpoints" / "checkpoint-2" / "transformer_lora").is_dir()


def test_the_page_trains_it_and_takes_it_away(browser: Browser, server: Server, base: Path) -> None:
    """From a pasted command in the box to the pictures of the run, its files and the playground."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(server.url)
    page.get_by_role("button", name="Paste a command").click()
    page.locator("#pasted-command textarea").fill(
        f"accelerate launch train_dreambooth_lora_rf.py --pretrained_model_name_or_path={base} --resolution=32 "
        "--instance_data_dir=pictures --instance_prompt='a cat' --rank=2 --lora_alpha=4 --logit_mean=0.5 "
        "--train_batch_size=2 --max_train_steps=3 --validation_prompt='a cat' --num_validation_images=1")
    page.get_by_role("button", name="Fill the form").click()
    expect(page.locator("#field-model-base input")).to_have_value(str(base))
    expect(page.get_by_label("Steps", exact=True)).to_have_value("3")
    expect(page.locator("#notice")).to_contain_text("Nothing is in the way.")
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/?run=*")
    expect(page.locator(".st-badge")).to_have_text("Finished", timeout=240_000)
    expect(page.locator("#loss-chart")).to_have_attribute("aria-label", re.compile("step 3"))
    page.wait_for_function("() => [...document.querySelectorAll('#samples img')].some((i) => i.naturalWidth === 32)")
    expect(page.locator("#downloads")).to_contain_text("LoRA for diffusers and ComfyUI")
    (run,) = (path for path in (server.home / "runs").iterdir() if path.name in page.url)
    config = json.loads((run / "config.json").read_text())
    assert (config["objective"]["logit_mean"], config["lora"]["alpha"], config["model"]["method"]) == (-0.5, 4, "lora")
    page.locator("#downloads").get_by_role("link", name="Try step 3").click()
    page.locator("#play-draw").click()
    drawn = "() => [...document.querySelectorAll('#play-pictures img')].some((i) => i.naturalWidth === 32)"
    page.wait_for_function(drawn, timeout=240_000)
    context.close()
