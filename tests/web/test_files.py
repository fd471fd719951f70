"""People's files through the API: words read again, a broken-off upload, names with quotes; and odd surroundings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from diffusers import DiffusionPipeline

from studio import config, families
from studio.bases import source
from studio.export import lora_metadata
from studio.folders import edits

from ..datasets.bad import picture, saved
from .conftest import ROOT, Server, make_run, start

Sent = list[tuple[str, tuple[str, bytes]]]
ROWS = b"\n".join(json.dumps({"file_name": name, "subject": "a red board on a wall", "setting": "in the morning light"}
                             ).encode() for name in ("a.png", "b.png"))


def files(**more: bytes) -> Sent:
    found = {"a.png": saved(picture((9, 1, 1))), "b.png": saved(picture((1, 9, 1))), **more}
    return [("files", item) for item in found.items()]


def captions(api: httpx.Client, made: dict[str, Any]) -> set[str]:
    items = api.get(f"/api/datasets/{made['id']}/images").json()["items"]
    return {text for item in items for text in item["captions"]}


def test_the_column_is_named_by_a_request(api: httpx.Client) -> None:
    made = api.post("/api/datasets", files=files(**{"words.jsonl": ROWS})).json()
    assert made["can_read_again"] and "words.jsonl" in made["report"]["headline"] and captions(api, made) == {""}
    said = api.get(f"/api/datasets/{made['id']}", headers={"Accept-Language": "ja"}).json()["report"]["headline"]
    assert "subject" in said and "列" in said
    again = api.post(f"/api/datasets/{made['id']}/read-again", json={"caption_column": "setting"})
    assert again.status_code == 201 and again.json()["report"]["headline"] is None
    assert captions(api, made) == {"in the morning light"}
    assert api.post(f"/api/datasets/{made['id']}/undo").status_code == 200 and captions(api, made) == {""}
    wrong = api.post(f"/api/datasets/{made['id']}/read-again", json={"encoding": "klingon"})
    assert wrong.status_code == 422 and "Shift-JIS" in wrong.json()["error"]["message"]


def test_the_column_may_come_with_the_files(api: httpx.Client) -> None:
    made = api.post("/api/datasets", files=files(**{"words.jsonl": ROWS}), data={"caption_column": "subject"}).json()
    assert captions(api, made) == {"a red board on a wall"}


def test_an_encoding_is_asked_for_with_a_sample(api: httpx.Client) -> None:
    made = api.post("/api/datasets", files=files(**{"a.txt": "рыжая лиса на снегу".encode("cp1251")})).json()
    (told,) = made["report"]["encodings"]
    assert told["sample"] == "рыжая лиса на снегу" and told["others"]
    api.post(f"/api/datasets/{made['id']}/read-again", json={"encoding": "KOI8-U"})
    assert captions(api, made) == {"", "рыжая лиса на снегу".encode("cp1251").decode("koi8_u")}


def test_a_broken_off_upload_says_what_arrived(api: httpx.Client) -> None:
    draft = api.post("/api/datasets", json={"name": "half"}).json()
    assert draft["waiting"] == 0
    api.post(f"/api/datasets/{draft['id']}/images?commit=false", files=files())
    assert api.get(f"/api/datasets/{draft['id']}").json()["waiting"] == 2
    arrived = api.get(f"/api/datasets/{draft['id']}/arrived").json()["items"]
    assert {(item["name"], item["bytes"]) for item in arrived} == {
        (name, len(data)) for _, (name, data) in files()}
    assert api.post(f"/api/datasets/{draft['id']}/commit", json={}).json()["count"] == 2
    assert api.get(f"/api/datasets/{draft['id']}").json()["waiting"] == 0


def test_a_double_quote_in_a_name(api: httpx.Client) -> None:
    rows = json.dumps({"file_name": 'quo"te.png', "text": "a quote"}).encode()
    sent = [("files", ('quo"te.png', saved(picture()))), ("files", ("metadata.jsonl", rows))]
    made = api.post("/api/datasets", files=sent).json()
    item = api.get(f"/api/datasets/{made['id']}/images").json()["items"][0]
    assert (item["name"], item["captions"]) == ('quo"te.png', ["a quote"])


def test_the_command_of_a_run_works_where_the_server_stands(tmp_path: Path) -> None:
    home = tmp_path / "home"
    run = make_run(home, steps=2)
    server = start(home, tmp_path)
    try:
        command = server.client().get(f"/api/runs/{run.id}").json()["command"]
    finally:
        server.stop()
    assert command[:3] == ["python", "-m", "studio.train"] and (ROOT / command[3] / "run.json").is_file()


# ---------------------------------------------------------------------------------------------------- surroundings

ODD: dict[str, tuple[list[str], dict[str, str], str]] = {
    "a port beyond all": (["--port", "99999"], {}, "from 0 to 65535"),
    "a port below all": (["--port", "-5"], {}, "from 0 to 65535"),
    "a home that is a file": (["--home", "{tmp}/file"], {}, "cannot be written"),
    "a home below a file": (["--home", "{tmp}/file/home"], {}, "cannot be written"),
    "a home that nobody may write": (["--home", "/proc/home"], {}, "cannot be written"),
    "a home of nobody": (["--home", "~nobody-of-that-name/x"], {}, "whole path"),
    "a mistyped flag": (["--hots", "::1"], {}, "did you mean --host"),
    "an address that is none": (["--host", "a" * 80], {}, "no address"),
    "an address with a hole": (["--host", "a..b"], {}, "no address")}
STARTS: dict[str, dict[str, str]] = {
    "a SOCKS proxy": {"ALL_PROXY": "socks5://127.0.0.1:1080"},
    "a proxy of another kind": {"ALL_PROXY": "socks4://127.0.0.1:1080", "https_proxy": "nonsense://x"},
    "a host that is none": {"NO_PROXY": "[::1,*.x", "HTTP_PROXY": "http://127.0.0.1:9"},
    "certificates that are gone": {"SSL_CERT_FILE": "/gone/cacert.pem", "HTTPS_PROXY": "http://127.0.0.1:9"},
    "an ASCII locale": {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}}


@pytest.mark.parametrize("name", ODD)
def test_surroundings_it_cannot_start_in_are_one_sentence(name: str, tmp_path: Path) -> None:
    args, env, words = ODD[name]
    (tmp_path / "file").write_text("x")
    default = [] if "--home" in args else ["--home", str(tmp_path / "home")]
    default += [] if "--port" in args else ["--port", "0"]
    done = subprocess.run([sys.executable, "app.py", *default, *(arg.format(tmp=tmp_path) for arg in args)], cwd=ROOT,
                          env={**os.environ, **env}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and words in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("name", STARTS)
def test_surroundings_it_starts_in(name: str, tmp_path: Path) -> None:
    server = start(tmp_path / "höme", tmp_path, **STARTS[name])
    try:
        server.wait_ready()
        assert httpx.get(server.url, timeout=60, trust_env=False).status_code == 200
        made = server.client(trust_env=False).post("/api/datasets", json={"name": "Füchse 🦊"}).json()
        assert made["name"] == "Füchse 🦊"
    finally:
        server.stop()
    assert "Traceback" not in server.log.read_text()


def shell(*args: str, home: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *args], cwd=ROOT, capture_output=True, text=True, timeout=300,
                          env={**os.environ, "STUDIO_HOME": str(home), **env})


def test_the_shell_names_the_nearest_flag(tmp_path: Path) -> None:
    for args, flag in ((["studio.train", "--train.max_step", "5"], "--train.max_steps"),
                       (["studio.train", "--learning_rate", "1"], "--optim.learning_rate"),
                       (["studio.datasets", "import", "--caption-colum", "x", "."], "--caption-column")):
        done = shell(*args, home=tmp_path)
        assert done.returncode == 2 and flag in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_a_refused_run_leaves_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics" / "a.png").write_bytes(saved(picture()))
    done = shell("studio.train", "--data.dataset", str(tmp_path / "pics"), "--model.base", "/nope",
                 "--sample.prompts", "a cat", "a dog", "--track.report_to", "tensorboard,wandb", home=tmp_path / "home")
    assert done.returncode == 2 and done.stderr.startswith("model.base") and "is not a run" not in done.stderr
    assert not list((tmp_path / "home").glob("datasets/*"))


def test_the_shell_reads_words_again_in_any_locale(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(saved(picture()))
    (tmp_path / "words.jsonl").write_bytes(ROWS.split(b"\n")[0])
    home, posix = tmp_path / "home", {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = shell("studio.datasets", "import", str(tmp_path / "a.png"), str(tmp_path / "words.jsonl"), "--name",
                 "Füchse 🦊", home=home, **posix)
    (folder,) = (home / "datasets").iterdir()
    assert json.loads((folder / "dataset.json").read_text())["name"] == "Füchse 🦊"
    assert "words.jsonl" in done.stdout and f"read-again {folder.name}" in done.stdout
    done = shell("studio.datasets", "read-again", folder.name, "--caption-column", "setting", home=home)
    assert done.returncode == 0 and "came without words" not in done.stdout


# ------------------------------------------------------------------------------------------------------ what leaves


def test_the_embedded_base_draws_when_it_is_loaded_plainly() -> None:
    pipe = DiffusionPipeline.from_pretrained(families.EMBEDDED)
    pipe.set_progress_bar_config(disable=True)
    assert pipe("a red heart", num_inference_steps=2).images[0].size == (64, 64)


@pytest.mark.parametrize("architecture, prediction, second, version", [
    ("stable-diffusion-v1", "epsilon", "False", "sd_v1"), ("stable-diffusion-v2-512", "epsilon", "True", "sd_v2"),
    ("stable-diffusion-v2-768-v", "v_prediction", "True", "sd_v2_v")])
def test_a_lora_says_what_a1111_looks_for(tmp_path: Path, architecture: str, prediction: str, second: str,
                                          version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tmp_path / "dataset.jsonl"
    rows.write_text("\n".join(json.dumps({"split": "train", "captions": [f"my style, {n}"]}) for n in range(3)))
    settings = config.load({"model": {"method": "lora"}, "objective": {"prediction_type": prediction}})
    family = families.get("sd")
    monkeypatch.setattr(type(family), "architecture", lambda self, source: architecture)
    found = lora_metadata.lora(settings, alpha=4.0, name="mine", base="a/b", step=5, rows=rows)
    found |= family.lora_words(source.locate("embedded"), settings.objective)
    assert (found["ss_v2"], found["ss_base_model_version"], found["ss_sd_model_name"]) == (second, version, "a/b")
    assert found["modelspec.trigger_phrase"] == "my style" and found["ss_output_name"] == "mine"
    assert found["ss_network_alpha"] == "4.0"
    assert all(isinstance(value, str) for value in found.values())


@pytest.mark.parametrize("changes, field, words", [
    ({"train": {"steps": 5}}, "train.steps", "no such setting"),
    ({"train": {"max_steps": 2}}, "", "nothing would change")])
def test_what_a_finished_run_answers(api: httpx.Client, server: Server, changes: dict[str, Any], field: str,
                                     words: str) -> None:
    run = make_run(server.home, steps=2)
    answer = api.post(f"/api/runs/{run.id}/edit", json={"config": changes}).json()["error"]
    assert [(problem["field"], words in problem["message"]) for problem in answer["problems"]] == [(field, True)]
    assert not answer["message"].startswith(":")


def test_new_prompts_of_a_finished_run_need_more_steps() -> None:
    created = config.load({"train": {"max_steps": 2}})
    with pytest.raises(config.ConfigError, match="made all of its 2 steps"):
        edits.make(created, [], 2, {"sample": {"prompts": ["a new one"]}})
