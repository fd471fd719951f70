"""The health of a data set, fixes that can be taken back, captions in bulk, suggestions, and what the model sees."""

from __future__ import annotations

import io
import json
import shutil
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, ImageFilter

from studio import datasets, families

from ..jobs.captioner import blip, llava
from .conftest import Server
from .test_api import problem
from .test_jobs import ended
from .test_pictures import send, settled


def noise(seed: int, width: int = 160, height: int = 160) -> Image.Image:
    """A sharp picture unlike any other."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.NEAREST)


def png(image: Image.Image) -> bytes:
    """Its bytes."""
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def ill(api: httpx.Client) -> dict[str, Any]:
    """A data set with one of everything."""
    pictures = {"plain": noise(1), "copy": noise(1), "resized": noise(1).resize((140, 140)),
                "soft": noise(4).filter(ImageFilter.GaussianBlur(5)),
                "small": noise(2, 96, 96), "long": noise(3, 640, 160), "named_cat-2": noise(5),
                "wordy": noise(6), "twin": noise(7)}
    captions = {name: f"sks, {name}" for name in pictures} | {
        "named_cat-2": "", "wordy": "sks " + "many words " * 40, "twin": "sks, long", "plain": "a plain one"}
    files = [(f"{name}.png", png(image)) for name, image in pictures.items()]
    files += [(f"{name}.txt", text.encode()) for name, text in captions.items() if text]
    found = settled(api, send(api, files, "Ill"))
    assert found["count"] == len(pictures), found
    return found


def health(api: httpx.Client, found: dict[str, Any]) -> dict[str, Any]:
    """The health by code, with the names of the pictures in place of the items."""
    answer = api.get(f"/api/datasets/{found['id']}/health", params={"resolution": 128, "trigger": "sks"})
    assert answer.status_code == 200, answer.text
    data = answer.json()
    return data | {f["code"]: sorted(i["name"].partition(".")[0] for i in f["items"]) for f in data["findings"]}


def fix(api: httpx.Client, found: dict[str, Any], code: str, name: str, **more: Any) -> dict[str, Any]:
    """The data set after a fix."""
    answer = api.post(f"/api/datasets/{found['id']}/fix",
                      json={"finding": code, "fix": name, "resolution": 128, "trigger": "sks", **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_every_finding_and_its_fix_and_back_again(server: Server, api: httpx.Client, ill: dict[str, Any]) -> None:
    before = health(api, ill)
    assert before["measured"] == 0 and "near_duplicates" not in before and "blurred" not in before
    ended(api, api.post(f"/api/datasets/{ill['id']}/health").json())
    now = health(api, ill)
    assert now["measured"] == now["count"] == 9 and now["encoders"] == [{"name": "tokenizer", "limit": 30}]
    wanted = {"duplicate_captions": ["long", "twin"], "exact_duplicates": ["copy"],
              "near_duplicates": ["resized"], "too_small": ["small"],
              "extreme_aspect": ["long"], "blurred": ["soft"], "no_caption": ["named_cat-2"],
              "long_captions": ["wordy"], "no_trigger": ["plain"]}
    assert {code: now.get(code) for code in wanted} == wanted
    assert {f["code"] for f in now["findings"]} == set(wanted)
    (cut,) = next(f for f in now["findings"] if f["code"] == "long_captions")["items"][0]["encoders"]
    assert cut["encoder"] == "tokenizer" and cut["tokens"] > 30 and (cut["caption"] + cut["cut"]).startswith("sks many")
    assert sum(c["count"] for c in now["short_side"]) == sum(b["count"] for b in now["buckets"]) == 9
    store = datasets.find(server.home, ill["id"])
    rows, steps = store.rows(), []
    for code, names in wanted.items():
        name = next(f for f in now["findings"] if f["code"] == code)["fixes"][0]
        left = store.rows()
        done = fix(api, ill, code, name)
        steps.append(left)
        assert done["can_undo"] and done["last_edit"] == f"{code}/{name}" and done["changed"] >= 1
        assert code not in health(api, ill), names
    assert sorted(r["name"] for r in store.rows()) == ["named_cat-2.png", "plain.png", "twin.png", "wordy.png"]
    assert {r["name"]: r["captions"][0] for r in store.rows()}["named_cat-2.png"] == "sks, named cat"
    assert {r["name"]: r["captions"][0] for r in store.rows()}["plain.png"] == "sks, a plain one"
    for left in reversed(steps):
        assert api.post(f"/api/datasets/{ill['id']}/undo").status_code == 200
        assert store.rows() == left
    assert store.rows() == rows
    problem(api.post(f"/api/datasets/{ill['id']}/undo"), 409)


def test_a_fix_of_some_of_them_and_wrong_ones(api: httpx.Client, ill: dict[str, Any]) -> None:
    twins = next(f for f in health(api, ill)["findings"] if f["code"] == "duplicate_captions")["items"]
    assert fix(api, ill, "duplicate_captions", "add_name", ids=[twins[0]["id"]])["changed"] == 1
    address = f"/api/datasets/{ill['id']}/fix"
    assert "no_caption" in problem(api.post(address, json={"finding": "nonsense", "fix": "exclude"}), 400)["hint"]
    assert "shorten" in problem(api.post(address, json={"finding": "long_captions", "fix": "exclude"}), 400)["hint"]
    problem(api.post(address, json={"finding": "no_caption", "fix": "name_as_caption", "resolution": 0}), 400)
    problem(api.get(f"/api/datasets/{ill['id']}/health", params={"base": "../etc"}), 422)


def test_the_shipped_set_is_copied_before_it_is_fixed(api: httpx.Client) -> None:
    shipped = api.get("/api/datasets/sample").json()
    done = fix(api, {"id": "sample"}, "no_trigger", "add_trigger")
    assert done["id"] != "sample" and done["changed"] == shipped["count"]
    assert api.get("/api/datasets/sample").json()["fingerprint"] == shipped["fingerprint"]


def test_captions_in_bulk(server: Server, api: httpx.Client, ill: dict[str, Any]) -> None:
    address = f"/api/datasets/{ill['id']}/captions"
    store = datasets.find(server.home, ill["id"])
    rows = store.rows()
    asked = {"find": "SKS", "replace": r"\1 <b>", "whole_words": True, "q": "sks, "}
    shown = api.post(address, json={**asked, "preview": True}).json()
    assert store.rows() == rows and shown["changed"] == 6
    assert all(e["after"] == [e["before"][0].replace("sks", r"\1 <b>")] for e in shown["examples"])
    assert api.post(address, json=asked).json()["changed"] == 6
    assert store.total("\\1 <b>, ") == 6
    assert api.post(f"/api/datasets/{ill['id']}/undo").json()["last_edit"] is None and store.rows() == rows
    some = [rows[0]["pid"], rows[1]["pid"]]
    assert api.post(address, json={"prefix": "photo of ", "suffix": ", film", "ids": some}).json()["changed"] == 2
    assert all(store.row(pid)["captions"][0].startswith("photo of ") for pid in some)
    found = api.get(f"/api/datasets/{ill['id']}/tags").json()
    assert found["items"][0]["tag"] == "sks" and {"tag": "film", "count": 2} in found["items"]
    problem(api.post(address, json={}), 400)
    problem(api.post(address, json={"find": "x" * 3000}), 400)


def test_what_the_model_sees_with_a_crop_moved_by_hand(server: Server, api: httpx.Client, ill: dict[str, Any]) -> None:
    long = next(r for r in datasets.find(server.home, ill["id"]).rows() if r["name"] == "long.png")
    address = f"/api/datasets/{ill['id']}/images/{long['pid']}"
    job = ended(api, api.post(f"{address}/see", json={"resolution": 128}).json())
    assert job["state"] == "finished", job["error"]
    found = {r["name"]: r for r in job["results"]}
    assert found["pixels.webp"]["box"] == [240, 0, 160, 160], "the middle of 640 x 160"
    for crop in ([0, 0, 161], [481, 0, 160], [-1, 0, 64], [0, 0, 4], [0, 0], ["0", 0, 64], [0, 0, True]):
        problem(api.patch(address, json={"crop": crop}), 400)
    assert api.patch(address, json={"crop": [480, 16, 128]}).json()["crop"] == [480, 16, 128]
    job = ended(api, api.post(f"{address}/see", json={"resolution": 128}).json())
    found = {r["name"]: r for r in job["results"]}
    assert found["pixels.webp"]["box"] == [480, 16, 128, 128]
    pictures = {name: np.asarray(Image.open(io.BytesIO(api.get(r["url"]).content))).astype(int)
                for name, r in found.items()}
    stored = np.asarray(Image.open(server.home / "images" / long["image"][:2] / f"{long['image']}.webp"))
    assert (pictures["pixels.webp"] == stored[16:144, 480:608]).all(), "at its own size nothing is resized"
    lost = np.abs(pictures["pixels.webp"] - pictures["decoded.webp"]).mean()
    assert 0 < lost < 128 and abs(found["lost.webp"]["mean_error"] - lost) < 0.01
    assert pictures["lost.webp"].shape == (128, 128, 3)
    assert datasets.find(server.home, ill["id"]).freeze()[0].keys() >= {"image"} and any(
        row.get("crop") == [480, 16, 128] for row in datasets.find(server.home, ill["id"]).freeze())
    assert api.patch(address, json={"crop": None}).json().get("crop") is None
    tokens = api.get(f"{address}/tokens").json()["captions"][0]
    assert tokens["caption"] == "sks, long" and tokens["encoders"][0]["cut"] == ""
    assert "".join(tokens["caption"][a:b] for a, b in tokens["encoders"][0]["tokens"]) == "sks,long"


def test_suggested_captions_wait_until_they_are_applied(server: Server, api: httpx.Client, ill: dict[str, Any],
                                                        tmp_path: Path) -> None:
    model = str(blip(tmp_path / "blip"))
    address = f"/api/datasets/{ill['id']}"
    store = datasets.find(server.home, ill["id"])
    rows = store.rows()
    ids = [rows[0]["pid"], rows[1]["pid"], rows[2]["pid"]]
    answer = api.post(f"{address}/caption", json={"model": model, "ids": ids, "max_new_tokens": 6,
                                                  "prompt": "a photo of"})
    assert answer.status_code == 202 and answer.json()["light"] is False
    job = ended(api, answer.json())
    assert job["state"] == "finished", (job["error"], (server.home / "jobs" / job["id"] / "job.log").read_text())
    assert store.rows() == rows, "nothing is replaced by itself"
    waiting = api.get(f"{address}/suggestions").json()
    assert waiting["total"] == 3 and {i["id"] for i in waiting["items"]} == set(ids)
    assert all("a photo of" in i["suggestion"] and i["model"] == model for i in waiting["items"])
    one, two, three = waiting["items"]
    asked = {"apply": True, "ids": [one["id"], two["id"]], "how": "append"}
    done = api.post(f"{address}/suggestions", json=asked).json()
    assert done["changed"] == 2 and store.row(one["id"])["captions"][0].endswith(one["suggestion"])
    assert api.post(f"{address}/suggestions", json={"apply": False}).json()["changed"] == 0
    assert api.get(f"{address}/suggestions").json()["total"] == 0
    assert store.row(three["id"]) == next(r for r in rows if r["pid"] == three["id"])
    api.post(f"{address}/undo")
    assert store.rows() == rows
    chat = {"model": str(llava(tmp_path / "llava")), "missing_only": True, "max_new_tokens": 4}
    job = ended(api, api.post(f"{address}/caption", json=chat).json())
    assert job["state"] == "finished", job["error"]
    (only,) = api.get(f"{address}/suggestions").json()["items"]
    assert only["name"] == "named_cat-2.png" and only["suggestion"] and "ASSISTANT" not in only["suggestion"]
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "config.json").write_text(json.dumps({"model_type": "custom", "auto_map": {"AutoModel": "evil.Model"}}))
    (bad / "evil.py").write_text("raise SystemExit('remote code ran')")
    job = ended(api, api.post(f"{address}/caption", json={"model": str(bad)}).json())
    assert job["state"] == "failed" and job["error"]["code"] == "captioning_model" and job["error"]["hint"]
    problem(api.post(f"{address}/caption", json={"model": ""}), 400)


def test_twenty_thousand_rows_stay_quick(server: Server, api: httpx.Client) -> None:
    store = datasets.begin(server.home, "Large", "local")
    rows = [{"image": f"{i:064x}", "ext": "webp", "width": 512, "height": 400 + i % 200, "split": "train",
             "captions": [f"photo of thing {i}, tag {i % 50}, sks"], "name": f"{i}.png"} for i in range(20_000)]
    store.add_rows(rows, {"seen": len(rows), "used": len(rows), "converted": 0, "skipped": [], "notes": [],
                          "error": None})
    datasets.store.release(store)
    address = f"/api/datasets/{store.id}"
    api.get(address)

    def timed(what: str, answer: Any) -> Any:
        began = time.perf_counter()
        found = answer()
        print(f"{what}: {(time.perf_counter() - began) * 1000:.0f} ms")
        assert found.status_code == 200, found.text
        return found.json()

    page = timed("a page of 50", lambda: api.get(f"{address}/images", params={"offset": 15_000, "limit": 50}))
    assert len(page["items"]) == 50 and page["total"] == 20_000
    assert timed("a search", lambda: api.get(f"{address}/images", params={"q": "thing 1999"}))["total"] == 11
    assert timed("tags", lambda: api.get(f"{address}/tags"))["total"] == 20_051
    assert timed("bulk edit", lambda: api.post(f"{address}/captions", json={"find": "sks", "replace": "xyz"}))[
        "changed"] == 20_000
    assert timed("a page after it", lambda: api.get(f"{address}/images", params={"q": "xyz"}))["total"] == 20_000
    timed("undo", lambda: api.post(f"{address}/undo"))
    assert timed("health", lambda: api.get(f"{address}/health", params={"resolution": 512}))["count"] == 20_000
    timed("health again", lambda: api.get(f"{address}/health", params={"resolution": 512}))


def test_without_a_size_it_is_the_bases_own(api: httpx.Client) -> None:
    address = "/api/datasets/sample/health"
    plain, own, larger = (api.get(address, params=asked).json() for asked in ({}, {"resolution": 64},
                                                                              {"resolution": 512}))
    assert plain["findings"] == own["findings"] != larger["findings"]


def test_with_a_size_a_base_of_an_unknown_family_still_reads_captions(api: httpx.Client, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    shutil.copytree(families.EMBEDDED / "tokenizer", base / "tokenizer")
    index = {"_class_name": "KolorsPipeline", "tokenizer": ["transformers", "CLIPTokenizer"]}
    (base / "model_index.json").write_text(json.dumps(index))
    asked = {"base": str(base), "resolution": 64}
    known = api.get("/api/datasets/sample/health", params=asked)
    assert known.status_code == 200, known.text
    del asked["resolution"]
    unknown = api.get("/api/datasets/sample/health", params=asked)
    assert unknown.status_code == 422 and "KolorsPipeline" in unknown.text
