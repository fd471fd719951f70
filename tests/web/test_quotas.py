"""What one person may have where strangers sign in: refused with the limit, what there is, and what to do next."""

from __future__ import annotations

import io
import json
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from PIL import Image

from studio.folders import runs

from .conftest import Space, make_run, open_space, until
from .test_pictures import picture, send, settled

MB = 10**6
LIVE = ("queued", "starting", "running", "stopping")
SMALL = {"model": {"method": "lora"}, "lora": {"rank": 1}, "data": {"resolution": 32},
         "train": {"batch_size": 1, "seed": 5, "mixed_precision": "no", "max_steps": 1_000_000},
         "sample": {"prompts": [], "every_steps": 0}, "checkpoint": {"every_steps": 1_000_000, "keep": 1}}


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    """A Space with small limits, which ada made."""
    with open_space(tmp_path_factory.mktemp("tight"), STUDIO_QUOTA_RUNS="2", STUDIO_QUOTA_JOBS="1",
                    STUDIO_QUOTA_IMPORTS="1", STUDIO_QUOTA_DRAFTS="2", STUDIO_QUOTA_GB="0.02",
                    SPACE_CREATOR_USER_ID="id-of-ada") as opened:
        yield opened


def over(answer: httpx.Response, *words: str) -> dict[str, Any]:
    """The error of an answer that says of a limit, what there is, and what to do."""
    assert answer.status_code in (409, 429), (answer.status_code, answer.text)
    error = answer.json()["error"]
    assert error["code"] == "quota" and error["hint"] and all(word in error["message"] for word in words), error
    return error


def noise(number: int, size: int) -> bytes:
    """A PNG of about so many bytes, which nothing makes smaller."""
    side = round((size / 3) ** 0.5)
    out = io.BytesIO()
    pixels = bytes(os.urandom(side * side * 3))
    Image.frombytes("RGB", (side, side), pixels).save(out, "PNG", compress_level=0)
    return out.getvalue()


def submit(client: httpx.Client, name: str = "small", **sections: dict[str, Any]) -> httpx.Response:
    config = {**SMALL, **{section: {**SMALL.get(section, {}), **values} for section, values in sections.items()}}
    return client.post("/api/runs", json={"name": name, "config": config})


def test_runs_that_wait_are_few_also_for_two_requests_at_once(tight: Space) -> None:
    bob = tight.sign_in("bob")
    busy = submit(bob).json()
    until(lambda: bob.get(f"/api/runs/{busy['id']}").json()["step"] > 1, 120)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: submit(bob, f"waits {n}"), range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] * 2 + [429] * 6
    over(next(a for a in answers if a.status_code == 429), "2 runs waiting", "2 may wait")
    waiting = [answer.json()["id"] for answer in answers if answer.status_code == 201]
    over(bob.post(f"/api/runs/{busy['id']}/branch", json={}), "2 runs waiting")
    ended = make_run(tight.server.home, owner="hf-id-of-bob", steps=2)
    more = {"config": {"train": {"max_steps": 5}}, "resume": True}
    over(bob.post(f"/api/runs/{ended.id}/edit", json=more), "2 runs waiting")
    assert not ended.edits(), "nothing of it was taken"
    ada = tight.sign_in("ada")
    hers = submit(ada, "another person's").json()
    assert hers["state"] == "queued" and hers["queue_position"] == 1, "her turn comes before his second"
    assert bob.post(f"/api/runs/{waiting[0]}/cancel").status_code == 200
    assert submit(bob).status_code == 201, "there is a place again"
    over(bob.post(f"/api/runs/{waiting[0]}/resume", json={}), "2 runs waiting")
    japanese = bob.post("/api/runs", json={"name": "x", "config": SMALL}, headers={"accept-language": "ja"}).json()
    assert "待っている実行が 2 件あります" in japanese["error"]["message"], japanese
    for client in (bob, ada):
        for one in client.get("/api/runs").json()["items"]:
            if one["state"] in LIVE:
                client.post(f"/api/runs/{one['id']}/cancel")
    until(lambda: all(one["state"] not in LIVE for one in bob.get("/api/runs").json()["items"]), 60)


def test_jobs_that_wait_are_few_of_every_kind(tight: Space) -> None:
    bob = tight.sign_in("bob")
    busy = submit(bob).json()
    until(lambda: bob.get(f"/api/runs/{busy['id']}").json()["state"] == "running", 120)
    assert bob.post("/api/runs/probe", json={"config": SMALL}).status_code == 202
    over(bob.post("/api/runs/probe", json={"config": SMALL}), "1 jobs waiting", "1 may wait")
    pid = bob.get("/api/datasets/sample/images?limit=1").json()["items"][0]["id"]
    before = len(bob.get("/api/datasets").json()["items"])
    for path, body in (("/api/datasets/sample/health", {}), (f"/api/datasets/sample/images/{pid}/see", {}),
                       ("/api/datasets/sample/caption", {"model": "a/b"}),
                       ("/api/datasets/sample/push", {"repo": "x", "token": "hf_abcdefghijklmnop"})):
        over(bob.post(path, json=body), "1 jobs waiting")
    assert len(bob.get("/api/datasets").json()["items"]) == before, "no copy of the shipped set was made on the way"
    for job in bob.get("/api/jobs").json()["items"]:
        bob.post(f"/api/jobs/{job['id']}/cancel")
    bob.post(f"/api/runs/{busy['id']}/cancel")
    until(lambda: bob.get(f"/api/runs/{busy['id']}").json()["state"] not in LIVE, 60)


def test_drafts_are_few(tight: Space) -> None:
    eve = tight.sign_in("eve")
    made = [eve.post("/api/datasets", json={"name": f"draft {n}"}) for n in range(3)]
    assert [answer.status_code for answer in made] == [201, 201, 429]
    over(made[-1], "2 data sets that wait for their files")
    assert eve.delete(f"/api/datasets/{made[0].json()['id']}").status_code == 204
    assert eve.post("/api/datasets", json={"name": "again"}).status_code == 201


def test_imports_at_once_are_few_from_the_first_byte_on(tight: Space) -> None:
    """The second one is refused while the first is still on its way; nothing of it is received."""
    carl, go_on = tight.sign_in("carl"), threading.Event()
    boundary, body = "b", io.BytesIO()
    body.write(b"--b\r\ncontent-disposition: form-data; name=\"files\"; filename=\"a.png\"\r\n\r\n" + picture(1))

    def slowly() -> Iterator[bytes]:
        yield body.getvalue()
        assert go_on.wait(60)
        yield b"\r\n--b--\r\n"

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(carl.post, "/api/datasets", content=slowly(),
                            headers={"content-type": f"multipart/form-data; boundary={boundary}"})
        until(lambda: list((tight.server.home / "cache" / "uploads").glob("*/*")))
        over(send(carl, [("b.png", picture(2))]), "1 imports under way")
        over(carl.post("/api/datasets/preview", json={"source": {"kind": "hub", "name": "a/b"}}), "1 imports")
        over(carl.post("/api/datasets", json={"name": "x", "source": {"kind": "hub", "name": "a/b"}}), "1 imports")
        over(carl.post("/api/runs/import", files=[("files", ("a.zip", b"PK"))]), "1 imports under way")
        go_on.set()
        assert first.result(60).status_code in (201, 202), first.result().text
    assert settled(carl, until(lambda: (a := send(carl, [("b.png", picture(2))])).status_code != 429 and a))["count"]


def test_what_is_too_much_is_refused_before_it_is_received(tight: Space) -> None:
    dora = tight.sign_in("dora")
    parts = tight.server.url.removeprefix("http://").split(":")
    with socket.create_connection((parts[0], int(parts[1])), timeout=30) as raw:
        raw.sendall(f"POST /api/datasets HTTP/1.1\r\nhost: {':'.join(parts)}\r\ncookie: {dora.headers['cookie']}\r\n"
                    "content-type: multipart/form-data; boundary=b\r\ncontent-length: 30000000\r\n\r\n".encode())
        answer = raw.recv(65536).decode()  # without one byte of the body
        while "\r\n\r\n" not in answer or "room" not in answer and "more" not in answer:
            answer += raw.recv(65536).decode()
    assert answer.startswith("HTTP/1.1 429"), answer
    assert "of the 20.0 MB that you may keep here, and this needs 30.0 MB more" in answer

    def without_length() -> Iterator[bytes]:
        yield b"--b\r\ncontent-disposition: form-data; name=\"files\"; filename=\"a.png\"\r\n\r\n"
        for _ in range(60):
            yield bytes(MB)

    over(dora.post("/api/datasets", content=without_length(),
                   headers={"content-type": "multipart/form-data; boundary=b"}), "of the 20.0 MB")
    uploads = tight.server.home / "cache" / "uploads"
    assert not list(uploads.iterdir()) and not dora.get("/api/datasets").json()["items"][1:]


def test_pictures_that_two_of_ones_sets_share_count_once(tight: Space) -> None:
    fay = tight.sign_in("fay")
    data = noise(1, 5 * MB)
    for name in ("one", "two"):
        settled(fay, send(fay, [("a.png", data)], name))
    usage = fay.get("/api/usage").json()
    stored = sum(path.stat().st_size for path in (tight.server.home / "images").glob("??/*") if
                 path.stat().st_size > 4 * MB)
    assert stored and stored * 0.95 < usage["bytes"] < stored * 1.2, usage
    assert usage["limits"]["bytes"] == 20 * MB and usage["kept"]["datasets"] == 2 and usage["people"] is None
    over(send(fay, [("b.png", noise(2, 17 * MB))]), "of the 20.0 MB")


def test_the_trash_makes_room_oldest_first(tight: Space) -> None:
    gina, home = tight.sign_in("gina"), tight.server.home
    deleted = []
    for n in range(3):
        one = settled(gina, until(lambda n=n: (a := send(gina, [("a.png", noise(n, 7 * MB))])).status_code != 429
                                  and a))
        deleted.append(one["id"])
        assert gina.delete(f"/api/datasets/{one['id']}").status_code == 204

    def there(id_: str) -> bool:
        return any(id_ in path.name for path in (home / "trash").iterdir())

    until(lambda: not there(deleted[0]), 60)
    item = next(one for one in gina.get("/api/trash").json()["items"] if one["subject"] == deleted[2])
    assert gina.post(f"/api/trash/{item['id']}/restore", json={}).status_code == 200
    assert gina.get("/api/usage").json()["bytes"] > 5 * MB, "what came back counts again"
    assert gina.delete(f"/api/datasets/{deleted[2]}").status_code == 204
    assert there(deleted[1]) and there(deleted[2]), "what has room stays for its seven days"
    assert gina.get("/api/usage").json()["bytes"] < MB


def test_a_run_that_outgrows_its_owners_room_is_paused_and_waits_for_room(tight: Space) -> None:
    hal, home = tight.sign_in("hal"), tight.server.home
    made = submit(hal, "grows").json()
    assert "id" in made, made
    url = f"/api/runs/{made['id']}"
    until(lambda: hal.get(url).json()["step"] > 1, 120)
    logs = runs.find(home, made["id"]).path / "logs"
    logs.mkdir()
    (logs / "events.out").write_bytes(os.urandom(21 * MB))  # as a tracker would
    paused = until(lambda: (one := hal.get(url).json())["state"] == "paused" and one, 90)
    assert "you may keep 20.0 MB here" in paused["note"] and "Delete" in paused["note"], paused["note"]
    said = [e for e in hal.get(f"{url}/events").json()["events"] if e["kind"] == "control"]
    assert said[-1]["result"] == "done" and "you may keep 20.0 MB" in said[-1]["message"]
    over(hal.post(f"{url}/resume", json={}), "there is no room for more")
    over(hal.post(f"{url}/edit", json={"config": {"train": {"max_steps": 2_000_000}}, "resume": True}), "no room")
    over(hal.post("/api/datasets", json={"name": "draft"}), "no room")
    (logs / "events.out").unlink()
    resumed = until(lambda: (a := hal.post(f"{url}/resume", json={})).status_code == 200 and a, 60)
    assert resumed.json()["note"] is None
    hal.post(f"{url}/cancel")
    until(lambda: hal.get(url).json()["state"] not in LIVE, 60)


def test_an_import_that_outgrows_the_room_ends_with_the_reason(tight: Space) -> None:
    """Small files that become large pictures: what decoding makes of them counts as it comes."""
    ivy, home = tight.sign_in("ivy"), tight.server.home
    files = []
    for n in range(12):
        out = io.BytesIO()
        Image.effect_noise((1800, 1800), 90 + n).convert("CMYK").save(out, "JPEG", quality=20)
        files.append((f"{n}.jpg", out.getvalue()))
    assert sum(len(data) for _, data in files) < 19 * MB
    one = settled(ivy, send(ivy, files))
    error = ivy.get(f"/api/datasets/{one['id']}").json()["report"]["error"]
    assert error and "you may keep" in error and "20.0 MB" in error and "Nothing of this import was kept" in error, one
    japanese = ivy.get(f"/api/datasets/{one['id']}", headers={"accept-language": "ja"}).json()["report"]["error"]
    assert "もう一度取り込んでください" in japanese
    until(lambda: not list((home / "images").glob(".staging-*")) and not list((home / "cache" / "uploads").iterdir()))
    assert ivy.get("/api/usage").json()["bytes"] < MB


def test_an_administrator_sees_the_whole_and_empties_the_trash(tight: Space) -> None:
    ada, bob = tight.sign_in("ada"), tight.sign_in("bob")
    assert ada.get("/api/session").json()["administrator"] is True
    assert bob.get("/api/session").json()["administrator"] is False
    made = settled(bob, until(lambda: (a := send(bob, [("a.png", noise(9, 2 * MB))], "bob's secret")).status_code
                              != 429 and a))
    whole = ada.get("/api/usage").json()
    bobs = next(one for one in whole["people"] if one["id"] == "hf-id-of-bob")
    assert bobs["name"] == "bob" and bobs["bytes"] > MB and bobs["kinds"]["datasets"] > MB and whole["free_bytes"] > 0
    assert "secret" not in json.dumps(whole) and made["id"] not in json.dumps(whole)
    assert ada.get(f"/api/datasets/{made['id']}").status_code == 404, "looking after is not looking at"
    assert bob.get("/api/usage").json()["people"] is None
    bob.delete(f"/api/datasets/{made['id']}")
    trash = tight.server.home / "trash"
    assert any(made["id"] in path.name for path in trash.iterdir())
    assert ada.post("/api/trash/empty", json={}).status_code == 200
    assert any(made["id"] in path.name for path in trash.iterdir()), "one's own alone"
    assert bob.post("/api/trash/empty", json={"everybody": True}).status_code == 403
    answer = ada.post("/api/trash/empty", json={"everybody": True})
    assert answer.status_code == 200 and answer.json()["removed"] >= 1 and not list(trash.iterdir())


def test_nothing_is_limited_where_there_is_one_owner(api: httpx.Client) -> None:
    usage = api.get("/api/usage").json()
    assert usage["limits"] is None and usage["people"] is not None
    assert api.get("/api/session").json()["administrator"] is True
    drafts = [api.post("/api/datasets", json={"name": f"draft {n}"}) for n in range(8)]
    assert {answer.status_code for answer in drafts} == {201}
    for draft in drafts:
        api.delete(f"/api/datasets/{draft.json()['id']}")
    assert api.post("/api/trash/empty", json={}).json()["removed"] >= 8
