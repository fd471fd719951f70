"""A data set out through the API and in again: downloaded in parts; pushed to a loopback Hub, seen there, imported."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet
import pytest

from studio import datasets

from ..datasets.bad import picture as drawn
from ..datasets.bad import saved
from ..fakes.hub import READER, STRANGER, WRITER, Hub
from .conftest import Server
from .test_api import problem
from .test_jobs import ended
from .test_pictures import picture, send, settled
from .test_publish import holding

STREAM = """
import datasets, json, os, sys
found = datasets.load_dataset("writer/birds", streaming=True, token=os.environ["TOKEN"])
rows = {split: [(row["text"], row["captions"], row["original_name"], row["image"].size) for row in part]
        for split, part in found.items()}
print(json.dumps(rows))
"""


def test_a_download_with_its_parts(api: httpx.Client) -> None:
    found = settled(api, send(api, [("ä.png", picture(3)), ("ä.txt", "größe".encode())], "Übung/1"))
    address = f"/api/datasets/{found['id']}/export"
    whole = api.get(address)
    assert whole.status_code == 200 and whole.headers["content-type"] == "application/zip"
    assert "filename*=UTF-8''%C3%9Cbung-1.zip" in whole.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(whole.content)) as file:
        assert file.namelist() == ["README.md", "train/metadata.jsonl", "train/000001.webp"]
        assert '"text": "größe", "original_name": "ä.png"' in file.read("train/metadata.jsonl").decode()
        stored = api.get(f"/api/datasets/{found['id']}/images").json()["items"][0]["url"]
        assert file.read("train/000001.webp") == api.get(stored).content
    head = api.head(address)
    assert head.status_code == 200 and head.content == b"" and head.headers["etag"] == whole.headers["etag"]
    assert int(head.headers["content-length"]) == len(whole.content)
    part = api.get(address, headers={"range": "bytes=40-99", "if-range": head.headers["etag"]})
    assert part.status_code == 206 and part.content == whole.content[40:100]
    assert api.get(address, headers={"if-none-match": head.headers["etag"]}).status_code == 304
    assert api.get(address, headers={"range": f"bytes={len(whole.content)}-"}).status_code == 416


def test_nothing_to_take_away(api: httpx.Client) -> None:
    made = api.post("/api/datasets", json={"name": "empty"}).json()
    address = f"/api/datasets/{made['id']}"
    assert "no pictures" in problem(api.get(f"{address}/export"), 409)["message"]
    assert "no pictures" in problem(api.post(f"{address}/push", json={"token": WRITER}), 409)["message"]
    problem(api.get(f"/api/datasets/{'0' * 32}/export"), 404)


@pytest.fixture(scope="module")
def own(studio: Server) -> httpx.Client:
    """A client of it."""
    return studio.client()


@pytest.fixture(scope="module")
def birds(own: httpx.Client) -> str:
    """A data set with splits, several captions and a crop."""
    lines = [{"file_name": f"{n}.png", "captions": ["one <b>", "uno"] if n == 1 else [f"鳥 {n}"],
              **({"crop": [1, 2, 64]} if n == 2 else {})} for n in range(4)]
    files = [(f"{n}.png", saved(drawn((n, 80, 90)))) for n in range(4)]
    files += [("metadata.jsonl", "\n".join(map(json.dumps, lines)).encode()),
              ("validation/v.png", saved(drawn((9, 9, 9)))), ("validation/v.txt", b"held out")]
    return settled(own, send(own, files, "Birds [1]"))["id"]


def push(own: httpx.Client, dataset: str, **asked: Any) -> dict[str, Any]:
    """The ended job of a push."""
    made = own.post(f"/api/datasets/{dataset}/push", json=asked)
    assert made.status_code == 202 and made.json()["light"], made.text
    return ended(own, made.json())


def source(token: str | None = None, name: str = "writer/birds", **more: Any) -> dict[str, Any]:
    return {"source": {"kind": "hub", "name": name, **({"token": token} if token else {}), **more}}


def test_pushed_seen_streamed_and_imported_again(own: httpx.Client, studio: Server, hub: Hub, birds: str,
                                                 tmp_path: Path) -> None:
    hub.busy_commits = 1
    job = push(own, birds, repo="writer/birds", token=WRITER)
    assert job["state"] == "finished" and [w["code"] for w in job["warnings"]] == ["upload_retried"], job
    told = own.get(f"/api/jobs/{job['id']}/events").json()["events"]
    assert [(e["done"] == e["total"] > 0) for e in told if e["kind"] == "phase"][-1]
    assert job["results"][0]["published"] == f"{hub.url}/datasets/writer/birds" and job["results"][0]["private"]
    repo = hub.repos["datasets/writer/birds"]
    folder = repo.revisions["main"]
    assert repo.private and sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == [
        "README.md", "data/train-00000-of-00001.parquet", "data/validation-00000-of-00001.parquet"]
    card = (folder / "README.md").read_text()
    assert "pretty_name: Birds [1]" in card and "# Birds \\[1\\]" in card and "path: data/train-*" in card
    for token in (None, STRANGER):
        refused = problem(own.post("/api/datasets/preview", json=source(token)), 422)
        assert "or it is private" in refused["message"] and "give a token" in refused["message"]
    seen = own.post("/api/datasets/preview", json=source(READER)).json()
    assert (seen["image"], seen["caption"], seen["private"]) == ("image", "captions", True)
    assert seen["columns"]["crop"] == "list" and seen["columns"]["original_name"] == "text"
    assert [row["captions"] for row in seen["rows"]] == [["鳥 0"], ["one <b>", "uno"], ["鳥 2"], ["鳥 3"], ["held out"]]
    assert all(row["thumb"].startswith("data:image/webp;base64,") for row in seen["rows"])
    told = subprocess.run([sys.executable, "-c", STREAM], env={**hub.environment(tmp_path), "TOKEN": READER},
                          capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert told.returncode == 0, told.stderr
    streamed = json.loads(told.stdout)
    assert streamed["train"][1] == ["one <b>", ["one <b>", "uno"], "1.png", [96, 80]]
    assert streamed["validation"] == [["held out", ["held out"], "validation/v.png", [96, 80]]]
    again = settled(own, own.post("/api/datasets", json={"name": "again", **source(READER)}))
    assert again["state"] == "ready" and again["fingerprint"] == own.get(f"/api/datasets/{birds}").json()["fingerprint"]
    rows = [[{k: v for k, v in row.items() if k != "pid"} for row in datasets.find(studio.home, id).rows()]
            for id in (birds, again["id"])]
    assert rows[0] == rows[1]
    for secret in (WRITER, READER):
        assert not holding(studio.home, secret) and secret not in studio.log.read_text()
        assert not holding(tmp_path, secret)


def test_pushed_again_it_is_replaced(own: httpx.Client, hub: Hub, birds: str) -> None:
    push(own, birds, repo="writer/twice", token=WRITER, private=False)
    folder = hub.repos["datasets/writer/twice"].revisions["main"]
    assert not hub.repos["datasets/writer/twice"].private
    (folder / "data" / "train-00001-of-00002.parquet").write_bytes(b"of an older push")
    (folder / "notes.txt").write_text("somebody's own")
    pid = own.get(f"/api/datasets/{birds}/images").json()["items"][0]["id"]
    own.patch(f"/api/datasets/{birds}/images/{pid}", json={"caption": "changed"})
    assert push(own, birds, repo="writer/twice", token=WRITER, private=False)["state"] == "finished"
    assert sorted(p.name for p in folder.rglob("*.*")) == [
        "README.md", "notes.txt", "train-00000-of-00001.parquet", "validation-00000-of-00001.parquet"]
    table = pyarrow.parquet.read_table(folder / "data" / "train-00000-of-00001.parquet")
    assert table["text"].to_pylist()[0] == "changed"
    own.post(f"/api/datasets/{birds}/undo")
    job = push(own, birds, repo="writer/twice", token=WRITER)
    assert job["state"] == "failed" and "everyone can see it" in job["error"]["message"], "it is public already"


def test_refusals_are_in_words(own: httpx.Client, studio: Server, hub: Hub, birds: str) -> None:
    bare = own.post(f"/api/datasets/{birds}/push", json={"repo": "writer/x"})
    assert problem(bare, 400)["code"] == "no_token"
    for name in ("../x", "a/b/c", "wörter/x", "a--b", "x y"):
        assert "no name" in problem(own.post(f"/api/datasets/{birds}/push", json={"repo": name, "token": WRITER}),
                                    400)["message"]
    for name, token in (("writer/x", STRANGER + "-token"), ("somebody/x", WRITER)):
        job = push(own, birds, repo=name, token=token)
        assert job["state"] == "failed" and "may write" in job["error"]["hint"]
        assert "you/my-dataset" in job["error"]["hint"] and not holding(studio.home, token)
    assert push(own, birds, token=WRITER)["state"] == "finished" and "datasets/writer/Birds-1" in hub.repos
    assert push(own, "sample", repo="writer/shipped", token=WRITER)["state"] == "finished"


def test_a_gated_one_without_and_with_a_token(own: httpx.Client, studio: Server, hub: Hub, birds: str) -> None:
    push(own, birds, repo="writer/gated", token=WRITER, private=False)
    hub.repos["datasets/writer/gated"].gated = True
    for token in (None, STRANGER):
        asked = source(token, "writer/gated")
        assert "accept its terms" in problem(own.post("/api/datasets/preview", json=asked), 422)["message"]
        failed = settled(own, own.post("/api/datasets", json=asked))
        assert failed["state"] == "failed" and "gated" in failed["report"]["error"]
    asked = source(READER, "writer/gated", split="train", max_rows=2)
    assert own.post("/api/datasets/preview", json=asked).json()["gated"] is True
    found = settled(own, own.post("/api/datasets", json=asked))
    assert (found["state"], found["count"], found["name"]) == ("ready", 2, "writer/gated")
    assert not holding(studio.home, READER) and not holding(studio.home, STRANGER)


def test_a_run_of_a_hub_id_is_told_what_to_do_first(own: httpx.Client, hub: Hub, birds: str) -> None:
    push(own, birds, repo="writer/learn", token=WRITER)
    asked = {"data": {"dataset": "writer/learn"}, "train": {"max_steps": 1}}
    (fault,) = own.post("/api/runs/check", json={"config": asked}).json()["problems"]
    assert fault["field"] == "data.dataset" and "POST /api/datasets" in fault["message"]
    refused = problem(own.post("/api/runs", json={"name": "x", "config": asked}), 422)
    assert "import hub:writer/learn" in refused["message"]
    made = settled(own, own.post("/api/datasets", json=source(READER, "writer/learn")))
    asked["data"]["dataset"] = made["id"]
    assert own.post("/api/runs/check", json={"config": asked}).json()["problems"] == []
