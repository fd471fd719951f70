"""The playground through the API, with the real trainer: its pictures are the trainer's own, pixel by pixel."""

from __future__ import annotations

import io
import json
import shutil
from typing import Any

import httpx
import pytest
from PIL import Image

from studio import config

from .conftest import Server, make_run, until
from .test_api import problem
from .test_branches import finished
from .test_jobs import ended

SMALL: dict[str, Any] = {
    "data": {"resolution": 64}, "train": {"max_steps": 4, "batch_size": 2, "seed": 5, "mixed_precision": "bf16"},
    "optim": {"learning_rate": 3e-3}, "checkpoint": {"every_steps": 2},
    "sample": {"prompts": ["a cat", "a red heart"], "num_inference_steps": 3, "every_steps": 2, "seed": 11}}
METHODS: dict[str, dict[str, Any]] = {
    "full": {"model": {"train_text_encoder": True}},
    "lora": {"model": {"method": "lora"}, "lora": {"rank": 4, "dora": True}, "optim": {"learning_rate": 3e-2}}}


def trained(api: httpx.Client, method: str) -> dict[str, Any]:
    """The record of a run that has finished, with two checkpoints."""
    made = api.post("/api/runs", json={"name": "Mine", "config": config.merge(SMALL, METHODS[method])})
    assert made.status_code == 201, made.text
    return finished(api, made.json()["id"])


@pytest.fixture(scope="module")
def full(api: httpx.Client) -> dict[str, Any]:
    return trained(api, "full")


@pytest.fixture(scope="module")
def run(api: httpx.Client) -> dict[str, Any]:
    """A LoRA's."""
    return trained(api, "lora")


def draw(api: httpx.Client, run: dict[str, Any], **wanted: Any) -> dict[str, Any]:
    """A drawing that has ended well."""
    answer = api.post(f"/api/runs/{run['id']}/draw", json=wanted)
    assert answer.status_code == 202, answer.text
    done = ended(api, answer.json())
    assert done["state"] == "finished" and not done["warnings"], (done["error"], done["warnings"])
    return done


def picture(api: httpx.Client, url: str) -> Image.Image:
    return Image.open(io.BytesIO(api.get(url).raise_for_status().content))


def pixels(api: httpx.Client, url: str) -> bytes:
    return picture(api, url).convert("RGB").tobytes()


def test_the_trainers_own_pictures_are_drawn_again(full: dict[str, Any], server: Server, api: httpx.Client) -> None:
    columns: list[dict[str, Any]] = [{"checkpoint": f"checkpoint-{step}", "weights": weights}
                                     for step in (2, 4) for weights in ("raw", "ema")]
    done = draw(api, full, prompts=["a cat", "a red heart"], seeds=[11, 12], columns=[*columns, {}])
    assert len(done["results"]) == 5 * 2 * 2 and done["args"]["columns"][4]["checkpoint"] is None
    assert done["results"][0]["column"] == 4, "the base comes first"
    found = {(r["column"], r["prompt"], r["seed"]): r["url"] for r in done["results"]}
    own = {(s["step"], s["weights"], s["prompt_index"]): s["url"] for s in full["samples"]}
    for place, (step, weights) in enumerate([(2, "raw"), (2, "ema"), (4, "raw"), (4, "ema"), (0, "raw")]):
        for prompt in (0, 1):
            assert pixels(api, found[place, prompt, 11 + prompt]) == pixels(api, own[step, weights, prompt])
    assert len({pixels(api, url) for url in found.values()}) == len(found), "weights, prompt and seed all tell"

    said = picture(api, found[3, 1, 12]).text  # type: ignore[attr-defined]
    guidance = float(full["config"]["sample"]["guidance_scale"])
    wanted = f"a red heart\nSteps: 3, Sampler: DDIM, CFG scale: {guidance}, Seed: 12, Size: 64x64"
    assert said["parameters"].startswith(wanted)
    assert said["parameters"].endswith("Model: Mine checkpoint-4 ema")
    assert json.loads(said["studio"])["weights"] == "ema" and str(server.home) not in said["studio"]
    until(lambda: not (server.home / "jobs" / done["id"] / "inputs").exists())


def test_a_lora_at_any_strength_or_none(run: dict[str, Any], full: dict[str, Any], api: httpx.Client) -> None:
    columns = [{"checkpoint": "checkpoint-4", "weights": "raw", "scale": scale} for scale in (0, 0.5, 1, 1.5)]
    answer = api.post(f"/api/runs/{full['id']}/draw", json={"columns": columns[1:2]})
    assert "Only a LoRA has a scale" in problem(answer, 400)["message"]
    averaged = {"checkpoint": "checkpoint-2", "weights": "ema"}
    done = draw(api, run, columns=[{}, *columns, averaged], seeds=[11])
    base, none, half, own, more, mean = (pixels(api, r["url"]) for r in done["results"])
    assert none == base and len({base, half, own, more, mean}) == 5
    samples = {(s["step"], s["weights"]): s["url"] for s in run["samples"] if s["prompt_index"] == 0}
    assert own == pixels(api, samples[4, "raw"]) and mean == pixels(api, samples[2, "ema"])
    assert base == pixels(api, samples[0, "raw"])


def test_what_is_not_said_is_as_in_the_run(run: dict[str, Any], api: httpx.Client) -> None:
    answer = api.post(f"/api/runs/{run['id']}/draw", json={"negative_prompt": "a dog", "resolution": 32})
    args = api.get(f"/api/jobs/{answer.json()['id']}").json()["args"]
    assert args["prompts"] == ["a cat"] and args["num_inference_steps"] == 3
    assert args["guidance_scale"] == run["config"]["sample"]["guidance_scale"]
    assert args["columns"] == [{"checkpoint": None, "weights": None, "scale": None},
                               {"checkpoint": "checkpoint-4", "weights": "ema", "scale": 1.0}]
    assert len(args["seeds"]) == 1 and args["negative_prompt"] == "a dog"
    done = ended(api, answer.json())
    assert [picture(api, r["url"]).size for r in done["results"]] == [(32, 32)] * 2
    plain = draw(api, run, seeds=args["seeds"], resolution=32)
    assert pixels(api, plain["results"][1]["url"]) != pixels(api, done["results"][1]["url"])


def test_a_checkpoint_that_goes_meanwhile_is_drawn_all_the_same(run: dict[str, Any], server: Server,
                                                                api: httpx.Client) -> None:
    column = {"checkpoint": "checkpoint-2", "weights": "ema"}
    wanted = {"columns": [column, {**column, "weights": "raw"}], "seeds": [3]}
    folder = server.home / "runs" / run["id"] / "checkpoints" / "checkpoint-2"
    kept = folder.with_name("aside")
    job = api.post(f"/api/runs/{run['id']}/draw", json=wanted).json()
    shutil.move(folder, kept)
    try:
        done = ended(api, job)
        assert done["state"] == "finished" and len(done["results"]) == 2, done
        gone = problem(api.post(f"/api/runs/{run['id']}/draw", json=wanted), 400)
        assert "no checkpoint 'checkpoint-2'" in gone["message"] and "checkpoint-4" in gone["hint"]
    finally:
        shutil.move(kept, folder)


def test_damaged_weights_are_not_drawn_with(run: dict[str, Any], server: Server, api: httpx.Client) -> None:
    folder = server.home / "runs" / run["id"] / "checkpoints" / "checkpoint-2"
    file = next(folder.glob("unet*_ema/*.safetensors"))
    good = file.read_bytes()
    file.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    try:
        columns = [{}, {"checkpoint": "checkpoint-2", "weights": "ema"}]
        done = ended(api, api.post(f"/api/runs/{run['id']}/draw", json={"columns": columns}).json())
    finally:
        file.write_bytes(good)
    assert [w["code"] for w in done["warnings"]] == ["damaged_checkpoint"] and len(done["results"]) == 1


def test_a_blind_vote_tells_names_at_the_end_alone(run: dict[str, Any], server: Server, api: httpx.Client) -> None:
    columns = [{}, {"checkpoint": "checkpoint-4", "weights": "raw"}, {"checkpoint": "checkpoint-2", "weights": "raw"}]
    done = draw(api, run, columns=columns, prompts=["a cat", "a dog"], seeds=[1, 2])
    url = f"/api/jobs/{done['id']}/votes"
    columns_of = {r["url"]: r["column"] for r in done["results"]}
    stands = api.get(url).json()
    assert (stands["total"], stands["done"], stands["ended"], stands["tally"]) == (12, 0, False, None)
    first, sides = stands["next"], set()
    for place in range(12):  # the newest checkpoint wins whenever it is shown, the other two are alike
        assert stands["done"] == place and stands["tally"] is None
        found = stands["next"]
        left, right = columns_of[found["left"]], columns_of[found["right"]]
        choice = "left" if left == 1 else "right" if right == 1 else "tie"
        sides.add(choice)
        stands = api.post(url, json={"pair": found["pair"], "choice": choice}).json()
        if place == 0:
            assert api.post(url, json={"undo": True}).json()["next"] == first == found
            stands = api.post(url, json={"pair": found["pair"], "choice": choice}).json()
    assert sides == {"left", "right", "tie"}, "sides are shuffled"
    assert stands["ended"] and stands["next"] is None
    assert {tuple(one["columns"]): (one["wins"], one["ties"]) for one in stands["tally"]} == {
        (0, 1): ([0, 4], 0), (0, 2): ([0, 0], 4), (1, 2): ([4, 0], 0)}
    won = stands["tally"][2]
    assert (won["share"], won["low"], won["high"], won["telling"]) == (1.0, 0.5101, 1.0, True)
    assert stands["tally"][1]["share"] is None and not stands["tally"][1]["telling"]
    lines = (server.home / "runs" / run["id"] / "votes.jsonl").read_text().splitlines()
    assert len(lines) == 15 and json.loads(lines[2])["choice"] is None
    assert {json.loads(line)["job"] for line in lines} == {done["id"]}
    assert api.get(url).json() == stands
    assert "has ended" in problem(api.post(url, json={"end": True}), 409)["message"]


def test_what_a_vote_said_outlives_its_drawing(run: dict[str, Any], api: httpx.Client) -> None:
    done = draw(api, run, seeds=[5, 6])
    url, kept = f"/api/jobs/{done['id']}/votes", f"/api/runs/{run['id']}/votes"
    found = api.get(url).json()["next"]
    stands = api.post(url, json={"pair": found["pair"], "choice": "tie"}).json()
    assert stands["done"] == 1 and not stands["ended"]
    assert done["id"] not in {one["job"] for one in api.get(kept).json()["items"]}, "its names are still to be told"
    until(lambda: api.delete(f"/api/jobs/{done['id']}").status_code == 204)  # its supervisor leaves a moment later
    newest = api.get(kept).json()["items"][0]
    assert (newest["job"], newest["done"], newest["total"]) == (None, 1, 2)
    assert newest["columns"] == done["args"]["columns"] and newest["tally"][0]["ties"] == 1
    health = api.post("/api/datasets/sample/health").json()
    assert "no such drawing" in problem(api.post(f"/api/jobs/{health['id']}/votes", json={"end": True}), 404)["message"]


def test_a_vote_that_is_stopped_or_wrong(run: dict[str, Any], api: httpx.Client) -> None:
    done = draw(api, run, seeds=[1, 2])
    url = f"/api/jobs/{done['id']}/votes"
    pair = api.get(url).json()["next"]["pair"]
    for wrong in ({"pair": "0" * 16, "choice": "left"}, {"pair": pair, "choice": "up"}, {}):
        assert "left, right or tie" in problem(api.post(url, json=wrong), 400)["message"]
    api.post(url, json={"pair": pair, "choice": "tie"})
    stands = api.post(url, json={"end": True}).json()
    assert stands["ended"] and stands["done"] == 1 and stands["tally"][0]["ties"] == 1


@pytest.mark.parametrize("wanted, said", [
    ({"prompts": []}, "there must be one"), ({"prompts": [1]}, "must be text"), ({"seeds": [1, 1]}, "different"),
    ({"seeds": [-1]}, "from 0 on"), ({"guidance_scale": 101}, "from 0 to 100"), ({"num_inference_steps": 0}, "from 1"),
    ({"resolution": 60}, "multiple of 8"), ({"seeds": list(range(200))}, "at most 256"), ({"columns": []}, "from 1 to"),
    ({"columns": [{}, {}]}, "all different"), ({"columns": [{"checkpoint": "../x"}]}, "no checkpoint"),
    ({"columns": [{"checkpoint": "checkpoint-4", "weights": "pickle"}]}, "has no weights"),
    ({"columns": [{"checkpoint": "checkpoint-4", "weights": ["ema"]}]}, "has no weights"),
    ({"columns": [{"checkpoint": "checkpoint-4", "scale": 2}]}, "from 0 to 1.5"), ({"x": 1}, "Unknown field")])
def test_what_cannot_be_drawn(run: dict[str, Any], api: httpx.Client, wanted: dict[str, Any], said: str) -> None:
    before = len(api.get("/api/jobs", params={"kind": "draw"}).json()["items"])
    found = problem(api.post(f"/api/runs/{run['id']}/draw", json=wanted), 422 if "resolution" in wanted else 400)
    assert said in found["message"] and found["hint"]
    assert len(api.get("/api/jobs", params={"kind": "draw"}).json()["items"]) == before


def test_a_run_without_a_checkpoint(server: Server, api: httpx.Client) -> None:
    told = make_run(server.home, steps=1)
    assert "no checkpoint yet" in problem(api.post(f"/api/runs/{told.id}/draw", json={}), 400)["message"]
