"""Pictures in and out through the API: many files, zips, captions, bad uploads."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import httpx
import pytest
from PIL import Image

from studio.web.http import uploads

from .conftest import Server, until
from .test_api import problem


def picture(number: int = 0, side: int = 64) -> bytes:
    """A small PNG, different for every number."""
    out = io.BytesIO()
    Image.new("RGB", (side, side), (number % 256, number // 256, 7)).save(out, "PNG")
    return out.getvalue()


def send(api: httpx.Client, files: list[tuple[str, bytes]], name: str = "Set",
         to: str = "/api/datasets") -> httpx.Response:
    return api.post(to, data={"name": name}, files=[("files", (n, data)) for n, data in files], timeout=120)


def settled(api: httpx.Client, answer: httpx.Response) -> dict[str, Any]:
    """The data set of a 201, or of a 202 once it is ready."""
    assert answer.status_code in (201, 202), answer.text
    found = answer.json()
    while found["state"] == "importing":
        found = api.get(f"/api/datasets/{found['id']}").json()
    return found


def test_a_zip_with_captions(api: httpx.Client, server: Server) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for i in range(3):
            file.writestr(f"in/{i}.png", picture(i))
            file.writestr(f"in/{i}.txt", f"caption {i}")
        file.writestr("in/broken.png", b"no picture")
    answer = send(api, [("set.zip", out.getvalue())], "My set")
    found = answer.json()
    assert answer.status_code == 201 and answer.headers["location"] == f"/api/datasets/{found['id']}"
    assert {"id", "name", "state", "count", "report"} <= set(found)
    assert (found["name"], found["state"], found["count"]) == ("My set", "ready", 3), found
    report = found["report"]
    assert isinstance(report["used"], int) and isinstance(report["converted"], int)
    assert report["seen"] == report["used"] + report["converted"] + len(report["skipped"])
    assert any("broken.png" in s["file"] and s["reason"] for s in report["skipped"])
    images = api.get(f"/api/datasets/{found['id']}/images", params={"q": "caption 1"}).json()
    assert images["total"] == 1 and images["items"][0]["captions"] == ["caption 1"]
    row = images["items"][0]
    for url in (row["url"], row["thumb"]):
        got = api.get(url)
        assert got.headers["content-type"].startswith("image/") and got.headers["x-content-type-options"] == "nosniff"
        assert Image.open(io.BytesIO(got.content)).size == (64, 64)
        assert api.get(url, headers={"if-none-match": got.headers["etag"]}).status_code == 304
    edited = api.patch(row["url"], json={"caption": "<b>new</b>"}).json()
    assert edited["captions"] == ["<b>new</b>"]
    assert api.post(f"/api/datasets/{found['id']}/undo", json={}).status_code == 200
    assert api.get(f"/api/datasets/{found['id']}/images?q=caption 1").json()["total"] == 1
    assert api.patch(f"/api/datasets/{found['id']}", json={"name": "Other"}).json()["name"] == "Other"
    more = settled(api, send(api, [("more.png", picture(900))], to=f"/api/datasets/{found['id']}/images"))
    assert more["count"] == 4
    assert api.delete(f"/api/datasets/{found['id']}").status_code == 204
    problem(api.get(f"/api/datasets/{found['id']}"), 404)
    until(lambda: not list((server.home / "cache" / "uploads").iterdir()))  # they go after the data set is ready


def test_more_than_a_thousand_files_at_once(api: httpx.Client, server: Server) -> None:
    answer = send(api, [(f"{i:04d}.png", picture(i)) for i in range(1100)])
    found = settled(api, answer)
    assert found["count"] == 1100 == found["report"]["seen"] and not found["report"]["skipped"]
    until(lambda: not list((server.home / "cache" / "uploads").iterdir()))


@pytest.mark.parametrize("files, words", [
    ([], "picture"), ([("empty.zip", b"PK\x05\x06" + bytes(18))], "empty"), ([("a.txt", b"only words")], "picture"),
    ([("bad.png", b"no picture")], "picture"), ([("bad.zip", b"no zip")], "")])
def test_an_upload_without_a_picture_says_so(api: httpx.Client, files: list[tuple[str, bytes]], words: str) -> None:
    if not files:
        answer = api.post("/api/datasets", files=[("name", (None, b"x"))])
        assert words in problem(answer, 400)["message"]
        return
    found = settled(api, send(api, files))
    assert found["state"] == "failed" and found["count"] == 0
    said = str(found["report"]["error"]) + str(found["report"]["skipped"])
    assert words in said and len(said) > 10 and "Traceback" not in said


def test_uploads_that_are_not_uploads(api: httpx.Client, server: Server) -> None:
    head = {"content-type": "multipart/form-data; boundary=x"}
    broken = [(b"--x\r\nContent-Disposition: form-data; name=files; filename=a.png\r\n\r\nabc", head),
              (b"no boundary at all", head), (b"", {"content-type": "application/json"}),
              (b"--x--", {"content-type": "multipart/form-data"})]
    for body, headers in broken:
        problem(api.post("/api/datasets", content=body, headers=headers), 400)
    many = b"--x\r\nContent-Disposition: form-data; name=name\r\n\r\n" + b"y" * 70_000 + b"\r\n"
    problem(api.post("/api/datasets", content=many + b"--x--\r\n", headers=head), 413)
    folder = server.home / "cache" / "uploads"
    assert not folder.exists() or not list(folder.iterdir())


@pytest.mark.parametrize("sent, kept", [
    ("a/b.png", "a/b.png"), ("../../etc/passwd", "etc/passwd"), ("C:\\x\\y.png", "C:/x/y.png"), ("/abs.png", "abs.png"),
    ("a\nb\x00.png", "a_b_.png"), ("..", ""), ("n" * 900 + ".png", "n" * 496 + ".png")])
def test_names_of_files_are_names(sent: str, kept: str) -> None:
    assert uploads._relative(sent) == kept


def test_the_sample_set_is_there(api: httpx.Client) -> None:
    found = api.get("/api/datasets").json()["items"]
    assert found[0]["id"] == "sample" and found[0]["read_only"] and found[0]["count"] > 100
    problem(api.patch("/api/datasets/sample", json={"name": "x"}), 409)


def test_batches_are_committed_together(api: httpx.Client) -> None:
    made = api.post("/api/datasets", json={"name": "Folder"})
    assert made.status_code == 201 and made.json()["state"] == "receiving"
    to = f"/api/datasets/{made.json()['id']}"
    problem(api.post(f"{to}/commit", json={}), 409)
    for number, batch in enumerate(([("f/a.png", picture(1)), ("f/b.png", picture(2))], [("f/a.txt", b"first")]), 1):
        answer = send(api, batch, to=f"{to}/images?commit=false")
        assert answer.status_code == 202 and answer.json()["waiting"] == number + 1
    found = settled(api, api.post(f"{to}/commit", json={"caption_from": "file name"}))
    assert [i["captions"] for i in api.get(f"{to}/images").json()["items"]] == [["first"], ["b"]]
    assert found["report"]["seen"] == 3 and api.get(f"{to}/report.csv").text.count("used") == 3
    problem(api.post(f"{to}/cancel"), 409)
    assert send(api, [("c.png", picture(3))], to=f"{to}/images?commit=false").status_code == 202
    problem(api.post(f"{to}/commit", json={"background": "red"}), 422)


def test_sources_that_are_refused(api: httpx.Client) -> None:
    for source in ({"kind": "folder", "path": "/etc"}, {"kind": "url", "name": "http://x"}):
        problem(api.post("/api/datasets", json={"source": source}), 400)
    for source in ({"name": "imagefolder"}, {"name": "a/b", "trust_remote_code": True}):
        problem(api.post("/api/datasets/preview", json={"source": source}), 422)
