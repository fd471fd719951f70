"""Private and gated repositories of the Hub on a shared studio: in every cache, and only for who may read them."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from studio.folders import runs

from ..datasets.bad import picture, saved
from ..fakes.hub import Hub
from ..families import tiny
from ..jobs.captioner import blip
from .conftest import Space, open_space, start, until
from .test_access import ROUTES

PRIVATE, GATED, PUBLIC, NOTHING = "alice/private-model", "alice/gated-model", "alice/public-model", "alice/absent-model"
CAPTIONER, PICTURES = "alice/private-captioner", "alice/private-pictures"
CANARY = "an unpublished secret of alice"
QUICK: dict[str, Any] = {
    "train": {"max_steps": 2, "batch_size": 1, "seed": 1, "mixed_precision": "no"}, "data": {"resolution": 32},
    "sample": {"prompts": ["a cat"], "num_inference_steps": 1, "every_steps": 0}, "checkpoint": {"every_steps": 1}}


def config(base: str, **more: Any) -> dict[str, Any]:
    return {**QUICK, **more, "model": {"base": base}}


@dataclass
class Stage:
    """A hub with ada's repositories, a shared studio in whose caches they all are, and a run of each person."""

    hub: Hub
    space: Space
    ada: httpx.Client
    bob: httpx.Client
    nobody: httpx.Client
    dataset: str = ""
    pid: str = ""
    run: str = ""
    job: str = ""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    tmp = tmp_path_factory.mktemp("private")
    with Hub() as hub:
        base = tiny.make(tmp / "private")
        (base / "studio.json").write_text(json.dumps({"sample": {"prompts": [CANARY]}, "optim": {
            "learning_rate": 0.000123}}))
        for name, facts in ((PRIVATE, {"private": True}), (GATED, {"gated": True}), (PUBLIC, {})):
            shutil.copytree(base, tmp / name, dirs_exist_ok=True)
            hub.add(name, tmp / name, **facts)
        hub.add(CAPTIONER, blip(tmp / "captioner"), private=True)
        (tmp / "pictures" / "train").mkdir(parents=True)
        (tmp / "pictures" / "train" / "a.png").write_bytes(saved(picture((1, 2, 3))))
        hub.add(f"datasets/{PICTURES}", tmp / "pictures", private=True)
        for repo in hub.repos.values():
            repo.readers = ("ada", "bob")  # bob's own run is made while he may
        env = {k: v for k, v in hub.environment(tmp / "hf").items() if k.startswith("HF_")}
        with open_space(tmp, **env) as space:
            made = Stage(hub, space, space.sign_in("ada"), space.sign_in("bob"), space.server.client())
            _use_everything(made)
        for repo in hub.repos.values():
            repo.readers = ("ada",)
        with open_space(tmp, space.server.home, **env) as space:  # what was remembered of bob's rights is gone with it
            yield Stage(hub, space, space.sign_in("ada"), space.sign_in("bob"), space.server.client(), made.dataset,
                        made.pid, made.run, made.job)


def _use_everything(stage: Stage) -> None:
    """Ada trains on her models and captions with her captioner; bob has a set and a finished run on ada's base."""
    for who in (stage.ada, stage.bob):
        files = [("files", (f"{n}.png", saved(picture((n, 90, 90))))) for n in range(2)]
        dataset = who.post("/api/datasets", data={"name": "set"}, files=files).json()
        stage.dataset, stage.pid = dataset["id"], who.get(
            f"/api/datasets/{dataset['id']}/images").json()["items"][0]["id"]
    work = [(stage.ada, "/api/runs", {"config": config(GATED)}), (stage.bob, "/api/runs", {"config": config(PRIVATE)}),
            (stage.bob, f"/api/datasets/{stage.dataset}/caption", {"model": CAPTIONER, "max_new_tokens": 2})]
    for who, path, body in work:
        answer = who.post(path, json=body)
        assert answer.status_code in (201, 202), answer.text
        place = f"/api/{'jobs' if 'caption' in path else 'runs'}/{answer.json()['id']}"
        until(lambda who=who, place=place: who.get(place).json()["state"] in ("finished", "failed"), 240)
        assert who.get(place).json()["state"] == "finished", who.get(place).text
        stage.run = answer.json()["id"] if body.get("config", {}).get("model", {}).get("base") == PRIVATE else stage.run
    drawn = stage.bob.post(f"/api/runs/{stage.run}/draw", json={"num_inference_steps": 1, "resolution": 32})
    until(lambda: stage.bob.get(f"/api/jobs/{drawn.json()['id']}").json()["state"] == "finished", 240)
    stage.job = drawn.json()["id"]


def bundle_naming(stage: Stage, base: str) -> bytes:
    """Bob's run as a bundle whose config names another base."""
    run = runs.find(stage.space.server.home, stage.run)
    from studio import bundle

    path = stage.space.server.home.parent / "taken.zip"
    bundle.write(run, path)
    out = io.BytesIO()
    with zipfile.ZipFile(path) as packed, zipfile.ZipFile(out, "w") as made:
        files = {name: packed.read(name) for name in packed.namelist() if not name.startswith("checkpoints/")}
        settings = json.loads(files["config.json"])
        settings["model"]["base"] = base
        files["config.json"] = json.dumps(settings).encode()
        about = json.loads(files.pop("bundle.json"))
        import hashlib

        about["base"]["files"] = {}
        about["files"] = {n: {"size": len(d), "sha256": hashlib.sha256(d).hexdigest()} for n, d in files.items()}
        made.writestr("bundle.json", json.dumps(about))
        for name, data in files.items():
            made.writestr(name, data)
    return out.getvalue()


RUN, SET, JOB = "/api/runs/{run_id}", "/api/datasets/{dataset_id}", "/api/jobs/{job_id}"
Call = Callable[[Stage, httpx.Client, str], httpx.Response]
# Every route by which a repository's name, or a run that stands on it, can be used.
BY_NAME: dict[tuple[str, str], Call] = {
    ("POST", "/api/runs"): lambda s, who, name: who.post("/api/runs", json={"config": config(name)}),
    ("POST", "/api/runs/check"): lambda s, who, name: who.post("/api/runs/check", json={"config": config(name)}),
    ("POST", "/api/runs/estimate"): lambda s, who, name: who.post("/api/runs/estimate", json={"config": config(name)}),
    ("POST", "/api/runs/probe"): lambda s, who, name: who.post("/api/runs/probe", json={"config": config(name)}),
    ("GET", "/api/presets"): lambda s, who, name: who.get("/api/presets", params={"base": name}),
    ("GET", f"{SET}/health"): lambda s, who, name: who.get(
        f"/api/datasets/{s.dataset if who is s.bob else 'sample'}/health", params={"base": name}),
    ("GET", f"{SET}/images/{{pid}}/tokens"): lambda s, who, name: who.get(
        f"/api/datasets/{s.dataset}/images/{s.pid}/tokens", params={"base": name}),
    ("POST", f"{SET}/images/{{pid}}/see"): lambda s, who, name: who.post(
        f"/api/datasets/{s.dataset}/images/{s.pid}/see", json={"base": name}),
    ("POST", f"{SET}/fix"): lambda s, who, name: who.post(
        f"/api/datasets/{s.dataset}/fix", json={"base": name, "finding": "no_caption", "fix": "name_as_caption"}),
    ("POST", f"{SET}/caption"): lambda s, who, name: who.post(
        f"/api/datasets/{s.dataset}/caption", json={"model": name}),
    ("POST", "/api/datasets/preview"): lambda s, who, name: who.post(
        "/api/datasets/preview", json={"source": {"kind": "hub", "name": name}}),
    ("POST", "/api/datasets"): lambda s, who, name: who.post(
        "/api/datasets", json={"name": "x", "source": {"kind": "hub", "name": name}}),
    ("POST", "/api/runs/import"): lambda s, who, name: who.post(
        "/api/runs/import", files=[("files", ("run.zip", bundle_naming(s, name)))]),
}
BY_RUN: dict[tuple[str, str], Call] = {
    ("POST", f"{RUN}/branch"): lambda s, who, run: who.post(f"/api/runs/{run}/branch", json={
        "config": {"train": {"max_steps": 4}}}),
    ("POST", f"{RUN}/draw"): lambda s, who, run: who.post(f"/api/runs/{run}/draw", json={"resolution": 32}),
    ("POST", f"{RUN}/publish"): lambda s, who, run: who.post(f"/api/runs/{run}/publish", json={"repo": "bob/x"}),
    ("POST", f"{RUN}/edit"): lambda s, who, run: who.post(
        f"/api/runs/{run}/edit", json={"config": {"train": {"max_steps": 9}}, "resume": True}),
    ("POST", f"{RUN}/{{kind}}"): lambda s, who, run: who.post(f"/api/runs/{run}/resume", json={}),
    ("GET", f"{RUN}/bundle"): lambda s, who, run: who.get(f"/api/runs/{run}/bundle"),
    ("HEAD", f"{RUN}/bundle"): lambda s, who, run: who.head(f"/api/runs/{run}/bundle"),
    ("GET", f"{RUN}/files/{{path:path}}"): lambda s, who, run: who.get(
        f"/api/runs/{run}/files/checkpoint-2/pipeline-ema.zip"),
    ("HEAD", f"{RUN}/files/{{path:path}}"): lambda s, who, run: who.head(
        f"/api/runs/{run}/files/checkpoint-2/ema/model.safetensors"),
}
# What uses no repository: one's own words, pictures and numbers, and lists of them.
ELSEWHERE = {
    *((m, p) for m in ("GET", "HEAD", "POST", "PATCH", "DELETE", "PUT") for p in ("/api/{path:path}", RUN, SET, JOB)),
    *((m, f"{RUN}/{p}") for m in ("GET", "POST") for p in (
        "events", "log", "series", "series.csv", "samples/{name}", "files", "votes", "overfitting", "pictures")),
    *((m, f"{SET}/{p}") for m in ("GET", "POST", "PATCH", "HEAD") for p in (
        "images", "images/{pid}", "images/{pid}/thumb", "report", "report.csv", "export", "push", "undo", "tags",
        "captions", "suggestions", "commit", "cancel", "arrived", "read-again")),
    ("GET", "/api/trash"), ("DELETE", "/api/trash/{entry_id}"), ("POST", "/api/trash/{entry_id}/restore"),
    ("POST", f"{SET}/health"), *((m, f"{JOB}/{p}") for m in ("GET", "POST", "HEAD") for p in (
        "events", "votes", "cancel", "files/{name}")),
    ("GET", "/api/runs"), ("GET", "/api/queue"), ("POST", "/api/queue"), ("GET", "/api/datasets"), ("GET", "/api/jobs"),
    ("POST", "/api/presets"), ("DELETE", "/api/presets/{preset_id}"), ("GET", "/api/config/schema"),
    ("POST", "/api/config/from-command"), ("GET", "/api/machine"), ("GET", "/api/session"), ("GET", "/healthz"),
    ("GET", "/api/usage"), ("POST", "/api/trash/empty"),
    ("GET", "/readyz"), ("GET", "/docs"), ("GET", "/api/openapi.json"),
    *(("GET", f"/oauth/huggingface/{step}") for step in ("login", "callback", "logout")),
}


def test_every_route_is_a_door_or_none() -> None:
    """A new route has to say whether a repository can be used by it."""
    missing = set(ROUTES) - set(BY_NAME) - set(BY_RUN) - ELSEWHERE
    assert not missing, f"say whether a repository of the Hub is used by: {sorted(missing)}"


def words(answer: httpx.Response, name: str) -> str:
    assert CANARY not in answer.text and "000123" not in answer.text and "Traceback" not in answer.text
    return answer.text.replace(name, "NAME").replace(name.partition("/")[2], "NAME")


def repository(route: tuple[str, str]) -> str:
    """What the route would use."""
    if "caption" in route[1]:
        return CAPTIONER
    return PICTURES if "datasets" in route[1] and "{" not in route[1] else PRIVATE


@pytest.mark.parametrize("route", BY_NAME, ids=" ".join)
def test_a_private_one_is_for_others_as_if_it_were_not_there(stage: Stage, route: tuple[str, str]) -> None:
    name, call = repository(route), BY_NAME[route]
    for who in (stage.bob, stage.nobody):
        theirs, never = call(stage, who, name), call(stage, who, NOTHING)
        if route[1] == "/api/datasets":  # an import's refusal is its report
            theirs, never = (who.get(f"/api/datasets/{answer.json()['id']}/report") if "id" in answer.json() else answer
                             for answer in (theirs, never))
        assert theirs.status_code == never.status_code
        ours, absent = (json.loads(words(answer, n)) for answer, n in ((theirs, name), (never, NOTHING)))
        for found in (ours, absent):
            found.get("error") and isinstance(found["error"], dict) and found["error"].pop("request_id", None)
        assert ours == absent
        assert theirs.status_code >= 400 or ours.get("problems") or ours.get("error"), theirs.text
    if route[0] == "POST" and route[1].startswith("/api/runs"):
        records = [run.record() for run in runs.every(stage.space.server.home)]
        assert sum(record["owner"] == "hf-id-of-bob" for record in records) == 1


@pytest.mark.parametrize("route", [r for r in BY_NAME if "datasets" not in r[1]], ids=" ".join)
def test_a_gated_one_names_its_gate(stage: Stage, route: tuple[str, str]) -> None:
    for who in (stage.bob, stage.nobody):
        answer = BY_NAME[route](stage, who, GATED)
        if answer.status_code != 401:  # nobody is asked to sign in first where that is needed anyway
            assert "gated" in words(answer, GATED), answer.text


@pytest.mark.parametrize("route", BY_RUN, ids=" ".join)
def test_a_run_that_stands_on_one_gives_nothing_more_of_it(stage: Stage, route: tuple[str, str]) -> None:
    theirs = BY_RUN[route](stage, stage.bob, stage.run)
    assert theirs.status_code == 403, theirs.text
    assert BY_RUN[route](stage, stage.nobody, stage.run).status_code in (401, 404)
    listed = stage.bob.get(f"/api/runs/{stage.run}/files").json()["items"]
    assert listed and not [item for item in listed if item["kind"] in ("pipeline", "single")]
    own = next(item for item in listed if item["kind"] == "unet")
    assert stage.bob.get(own["url"]).status_code == 200, "what was learnt stays the learner's"


def test_who_may_read_it_gets_it_without_a_download(stage: Stage) -> None:
    """And the Hub was asked with that person's own token before."""
    stage.hub.requests.clear()
    stage.hub.tokens.clear()
    for name in (PRIVATE, GATED, PUBLIC):
        checked = stage.ada.post("/api/runs/check", json={"config": config(name)}).json()
        assert not checked["problems"] and checked["config"]["optim"]["learning_rate"] == 0.000123, checked
    asked = [token for path, token in stage.hub.tokens if PRIVATE in path]
    assert asked and all(token.startswith("hf_oauth_ada_") for token in asked)
    assert not [path for _, path, _ in stage.hub.requests if path.endswith(".safetensors")]
    count = len(stage.hub.requests)
    stage.ada.post("/api/runs/check", json={"config": config(PRIVATE)})
    assert len(stage.hub.requests) == count, "the answer is remembered for some minutes"
    stage.hub.repos[PRIVATE].readers = ("ada", "eve")
    try:
        eve = stage.space.sign_in("eve")
        assert not eve.post("/api/runs/check", json={"config": config(PRIVATE)}).json()["problems"]
    finally:
        stage.hub.repos[PRIVATE].readers = ("ada",)
    assert not stage.nobody.post("/api/runs/check", json={"config": config(PUBLIC)}).json()["problems"]


def test_a_token_given_along_is_asked_with(stage: Stage) -> None:
    from ..fakes.hub import READER

    stopped = stage.bob.post(f"/api/runs/{stage.run}/resume", json={"token": READER})
    assert stopped.status_code == 409, "who may read the base hears what is in the way of the run itself"


def test_a_silent_hub_means_ask_again_and_runs_go_on(stage: Stage) -> None:
    made = stage.ada.post("/api/runs", json={"config": config(GATED, train={**QUICK["train"], "max_steps": 4})})
    assert made.status_code == 201, made.text
    stage.hub.silent = True
    try:
        answer = stage.bob.post("/api/runs/check", json={"config": config(PUBLIC)})
        assert answer.status_code == 503 and "again" in answer.text and CANARY not in answer.text
        taken = stage.bob.get(f"/api/runs/{stage.run}/files/checkpoint-2/pipeline-ema.zip")
        assert taken.status_code in (403, 503), "the Hub's last no is remembered for some seconds"
        assert not stage.bob.post("/api/runs/check", json={"config": config("embedded")}).json()["problems"]
        run = made.json()["id"]
        until(lambda: stage.ada.get(f"/api/runs/{run}").json()["state"] in ("finished", "failed"), 240)
        ended = stage.ada.get(f"/api/runs/{run}").json()
        assert ended["state"] == "finished", ended["error"]
    finally:
        stage.hub.silent = False


def test_on_ones_own_machine_the_cache_is_ones_own(stage: Stage, tmp_path: Path) -> None:
    """Without network and without a token: what was downloaded once is used, trained on, stopped and resumed."""
    env = {k: v for k, v in stage.hub.environment(stage.space.server.home.parent / "hf").items() if k.startswith("HF_")}
    own = start(tmp_path / "home", tmp_path, **env | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1"})
    try:
        api = own.client()
        settings = config(PRIVATE, train={**QUICK["train"], "max_steps": 3000}, checkpoint={"every_steps": 1000})
        run = api.post("/api/runs", json={"config": settings})
        assert run.status_code == 201, run.text
        place = f"/api/runs/{run.json()['id']}"
        until(lambda: api.get(place).json()["step"] > 2, 240)
        api.post(f"{place}/stop")
        until(lambda: api.get(place).json()["state"] == "stopped", 120)
        step = api.get(place).json()["step"]
        assert api.post(f"{place}/resume").status_code == 200
        until(lambda: api.get(place).json()["step"] > step, 240)
        assert api.get(place).json()["resumes"][-1]["exact"] is True
        api.post(f"{place}/cancel")
        until(lambda: api.get(place).json()["state"] == "cancelled", 120)
    finally:
        own.stop()
