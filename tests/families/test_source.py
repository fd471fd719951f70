"""Where a base comes from: folders, and a Hub on the loopback read by a client in a process of its own."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from studio import families
from studio.bases import source

from ..fakes.hub import READER, STRANGER, Hub
from . import tiny

CLIENT = """
import json, sys
from studio import families
from studio.bases import source
what, base, revision, variant, token = json.loads(sys.argv[1])
family = families.get("sd")
progress = lambda done, total: print(json.dumps({"done": done, "total": total}), flush=True)
try:
    if what == "locate":
        found = source.locate(base, revision, variant)
    elif what == "configs":
        found = source.fetch_configs(family, base, revision, variant, token)
    else:
        found = source.fetch(family, base, revision, variant, token, progress)
    facts = found and {"folder": str(found.folder), "revision": found.revision, "defaults": family.defaults(found)}
    print(json.dumps({"found": facts}))
except families.BaseProblem as problem:
    print(json.dumps({"problem": str(problem)}))
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("hub") / "v1")


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        yield running


def ask(hub: Hub, cache: Path, what: str, base: str, *, revision=None, variant=None, token=None, **env) -> list[dict]:
    """The client's lines of output; the last one is its result."""
    done = subprocess.run([sys.executable, "-c", CLIENT, json.dumps([what, base, revision, variant, token])],
                          env={**hub.environment(cache), **env}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def fetched(hub: Hub) -> set[str]:
    """The files whose contents were asked for."""
    return {path.split("/resolve/")[1].partition("/")[2] for method, path, _ in hub.requests
            if "/resolve/" in path and method == "GET"}


def test_fetch_brings_only_what_is_needed_and_counts_bytes(hub, base, tmp_path):
    shutil.copytree(base, tmp_path / "repo")
    for extra in ("v1-5-pruned.ckpt", "unet/diffusion_pytorch_model.bin", "safety_checker/model.safetensors", "evil.py",
                  "unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.non_ema.safetensors"):
        (tmp_path / "repo" / extra).parent.mkdir(exist_ok=True)
        (tmp_path / "repo" / extra).write_bytes(b"x" * 1000)
    commit = hub.add("org/tiny", tmp_path / "repo").commit("main")
    cache = tmp_path / "cache"
    assert ask(hub, cache, "locate", "org/tiny") == [{"found": None}]

    configs = ask(hub, cache, "configs", "org/tiny")[-1]["found"]
    assert configs["revision"] == commit and configs["defaults"]["data"]["resolution"] == 32
    assert not any(name.endswith((".safetensors", ".txt")) for name in fetched(hub))
    assert ask(hub, cache, "locate", "org/tiny") == [{"found": None}]  # its weights are not here yet

    *progress, last = ask(hub, cache, "fetch", "org/tiny")
    here = {p.relative_to(base).as_posix(): p.stat().st_size for p in base.rglob("*") if p.is_file()}
    assert fetched(hub) == set(here)
    assert {p["total"] for p in progress} == {sum(here.values())}
    done = [p["done"] for p in progress]
    assert done == sorted(done) and done[-1] == sum(here.values()) and 0 < done[0] < done[-1]
    assert last["found"]["revision"] == commit
    assert families.get("sd").load("unet", source.locate(last["found"]["folder"])).config.sample_size == 16

    before = len(hub.requests)
    assert ask(hub, cache, "locate", "org/tiny")[-1]["found"] == last["found"]
    assert ask(hub, cache, "fetch", "org/tiny", HF_ENDPOINT="http://127.0.0.1:9")[-1] == last
    assert len(hub.requests) == before


def test_revision_and_variant_reach_every_part(hub, base, tmp_path):
    half = tiny.make(tmp_path / "half", variant="fp16", sharded=True, v2=True, prediction_type="v_prediction")
    repo = hub.add("org/tiny", base)
    hub.add("org/tiny", half, revision="v2.1")
    cache = tmp_path / "cache"
    found = ask(hub, cache, "fetch", "org/tiny", revision="v2.1", variant="fp16")[-1]["found"]
    assert found["revision"] == repo.commit("v2.1") != repo.commit("main")
    assert found["defaults"]["objective"]["prediction_type"] == "v_prediction"
    assert fetched(hub) == {p.relative_to(half).as_posix() for p in half.rglob("*") if p.is_file()}
    located = ask(hub, cache, "locate", "org/tiny", revision=repo.commit("v2.1"), variant="fp16")[-1]["found"]
    assert located["folder"] == found["folder"]
    assert ask(hub, cache, "locate", "org/tiny") == [{"found": None}]
    message = ask(hub, cache, "configs", "org/tiny", revision="v2.1", variant="bf16")[-1]["problem"]
    assert "bf16" in message and "there is: fp16" in message
    message = ask(hub, cache, "fetch", "org/tiny", revision="v9")[-1]["problem"]
    assert "no revision 'v9'" in message


def test_an_interrupted_download_keeps_the_files_it_finished(hub, base, tmp_path):
    shutil.copytree(base, tmp_path / "repo")
    unet = "unet/diffusion_pytorch_model.safetensors"
    data = random.Random(0).randbytes(24 << 20)  # huggingface_hub writes 10 MB at a time
    (tmp_path / "repo" / unet).write_bytes(data)
    hub.add("org/tiny", tmp_path / "repo")
    hub.stall_after = 22 << 20
    arguments = [sys.executable, "-c", CLIENT, json.dumps(["fetch", "org/tiny", None, None, None])]
    client = subprocess.Popen(arguments, env=hub.environment(tmp_path), stdout=subprocess.PIPE, text=True)
    others = sum(p.stat().st_size for p in base.rglob("*.safetensors")) - (base / unet).stat().st_size
    assert any(json.loads(line)["done"] > others + (20 << 20) for line in client.stdout)  # and there it hangs
    client.kill()
    client.wait()
    stale = next((tmp_path / "hub").rglob("*.incomplete"))
    os.utime(stale, (0, 0))
    hub.stall_after = None
    hub.requests.clear()
    *progress, last = ask(hub, tmp_path, "fetch", "org/tiny")
    assert fetched(hub) == {unet} and not stale.exists()
    assert progress[0]["done"] > others and progress[-1]["done"] == progress[-1]["total"]
    assert (Path(last["found"]["folder"]) / unet).read_bytes() == data


def test_pickle_only_and_single_file_repositories_are_refused(hub, base, tmp_path):
    shutil.copytree(base, tmp_path / "bin")
    for weights in (tmp_path / "bin").rglob("*.safetensors"):
        weights.rename(weights.with_suffix(".bin"))
    hub.add("org/bin", tmp_path / "bin")
    assert "pickle weights (.bin) only" in ask(hub, tmp_path / "cache", "fetch", "org/bin")[-1]["problem"]
    (tmp_path / "single").mkdir()
    (tmp_path / "single" / "model.safetensors").write_bytes(b"x")
    hub.add("org/single", tmp_path / "single")
    assert "single-file weights" in ask(hub, tmp_path / "cache", "fetch", "org/single")[-1]["problem"]
    assert not any(name.endswith((".bin", ".safetensors")) for name in fetched(hub))


def test_who_may_read(hub, base, tmp_path):
    hub.add("org/gated", base, gated=True)
    hub.add("org/private", base, private=True)

    def problem(repo: str, token: str | None) -> str:
        return ask(hub, tmp_path, "configs", repo, token=token)[-1]["problem"]

    for token in (None, STRANGER):
        message = problem("org/gated", token)
        assert "https://huggingface.co/org/gated" in message and "licence" in message and STRANGER not in message
        for repo in ("org/private", "org/nothing"):
            assert "no model" in problem(repo, token) and "private" in problem(repo, token)
    assert ask(hub, tmp_path, "configs", "org/gated", token=READER)[-1]["found"]
    assert ask(hub, tmp_path, "configs", "org/private", token=READER)[-1]["found"]


@pytest.mark.parametrize("environment", [{}, {"HF_HUB_OFFLINE": "1"}])
def test_no_network_is_one_sentence(hub, tmp_path, environment):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    message = ask(hub, tmp_path, "fetch", "org/tiny", HF_ENDPOINT=f"http://127.0.0.1:{port}", **environment)
    assert "the Hub cannot be reached" in message[-1]["problem"] and "embedded" in message[-1]["problem"]


@pytest.mark.parametrize(
    "name", ["../x", "a/b/c", "./x", "org/../x", "a b", "org/", "", "-x", "http://x/y", "a\n", "a--b"])
def test_what_is_no_base_is_refused(name):
    with pytest.raises(families.BaseProblem, match="is no base model"):
        source.locate(name)


@pytest.mark.parametrize(("revision", "variant", "says"), [
    ("../main", None, "no revision"), ("-x", None, "no revision"), (None, "fp16*", "no variant"),
    (None, "a/b", "no variant"), (None, "a.b", "no variant")])
def test_odd_revisions_and_variants_are_refused(revision, variant, says):
    with pytest.raises(families.BaseProblem, match=says):
        source.locate("org/name", revision, variant)


def test_folders(base, tmp_path, monkeypatch):
    assert source.locate(str(base)).folder == base
    monkeypatch.setenv("HOME", str(base.parent))
    assert source.locate(f"~/{base.name}").folder == base
    for path, says in ((tmp_path / "none", "does not exist"), (tmp_path, "no model_index.json"),
                       (base / "model_index.json", "single file")):
        with pytest.raises(families.BaseProblem, match=says):
            source.locate(str(path))
    with pytest.raises(families.BaseProblem, match="no revisions"):
        source.locate(str(base), "main")
