"""A data set out through the API: downloaded whole and in parts."""

from __future__ import annotations

import io
import zipfile

import httpx

from .test_api import problem
from .test_pictures import picture, send, settled


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


def test_nothing_to_download(api: httpx.Client) -> None:
    made = api.post("/api/datasets", json={"name": "empty"}).json()
    assert "no pictures" in problem(api.get(f"/api/datasets/{made['id']}/export"), 409)["message"]
    problem(api.get(f"/api/datasets/{'0' * 32}/export"), 404)
