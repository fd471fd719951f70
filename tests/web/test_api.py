"""The shapes that programs rely on, over a real server: runs, events, series, log, queue, errors."""

from __future__ import annotations

import csv
import json
import time
from typing import Any

import httpx
import numpy as np
import pytest
from safetensors.numpy import save_file

from studio import config, storage
from studio.folders import events, runs

from .conftest import ROWS, Server, finish, make_run, tell

CANARY = "hf_CANARYcanary0123456789"
STATUS = {"state", "phase", "phase_done", "phase_total", "phase_unit", "phase_began", "phase_usual_seconds", "step",
          "total_steps", "eta_seconds", "seconds_per_step", "pictures_per_second", "loss", "lr", "queue_position",
          "actions"}
RECORD = STATUS | {"id", "name", "owner", "created", "parent", "dataset", "error", "warnings", "resumes", "checkpoints",
                   "samples", "command", "config", "peak_memory_bytes", "usage"}


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The error of an answer, whose shape is checked."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert {"code", "message", "hint", "request_id"} <= set(error) and error["message"]
    assert error["request_id"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.text and ".py" not in answer.text
    return error


def test_a_finished_run(server: Server, api: httpx.Client) -> None:
    run = make_run(server.home, name="Done", steps=20)
    record = api.get(f"/api/runs/{run.id}").json()
    assert set(record) >= RECORD
    assert (record["id"], record["name"], record["state"], record["step"], record["total_steps"]) == (
        run.id, "Done", "finished", 20, 20)
    assert record["phase"] == "finished" and record["eta_seconds"] is None and record["actions"] == ["edit", "delete"]
    assert record["pictures_per_second"] == 32.0 and record["loss"] == 1 / 20
    assert api.patch(f"/api/runs/{run.id}", json={"name": "  New\nname "}).json()["name"] == "New name"
    assert any(item["id"] == run.id and "config" not in item for item in api.get("/api/runs").json()["items"])
    assert api.delete(f"/api/runs/{run.id}").status_code == 204
    problem(api.get(f"/api/runs/{run.id}"), 404)
    assert not run.path.exists() and any((server.home / "trash").iterdir())


def test_a_reference_command_becomes_a_config(api: httpx.Client) -> None:
    command = f"python train_text_to_image.py --pretrained_model_name_or_path=a/b --seed 3 --hub_token={CANARY} --x 1"
    found = api.post("/api/config/from-command", json={"command": command})
    assert found.status_code == 200 and CANARY not in found.text
    assert found.json()["config"]["train"]["seed"] == 3
    assert [u["option"] for u in found.json()["unplaced"]] == ["--x", "--hub_token"]
    refused = api.post("/api/config/from-command", json={"command": "ls"})
    assert refused.status_code == 400 and "paste the whole line" in refused.json()["error"]["message"]


def test_lists_are_paged_newest_first(server: Server, api: httpx.Client) -> None:
    made = [make_run(server.home, name=f"r{i}", steps=1).id for i in range(7)]
    seen: list[str] = []
    after: str | None = None
    while True:
        page = api.get("/api/runs", params={"limit": 3, **({"after": after} if after else {})}).json()
        assert set(page) == {"items", "next"} and len(page["items"]) <= 3
        seen += [item["id"] for item in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert [i for i in seen if i in made] == made[::-1] and len(seen) == len(set(seen))
    problem(api.get("/api/runs", params={"after": "nonsense"}), 400)


def test_events_are_followed_by_number(server: Server, api: httpx.Client) -> None:
    run = make_run(server.home, steps=2500)
    since, steps, calls = 0, [], 0
    while True:
        answer = api.get(f"/api/runs/{run.id}/events", params={"since": since}).json()
        assert STATUS - {"id"} <= set(answer) and len(answer["events"]) <= 1000
        steps += [e["step"] for e in answer["events"] if e["kind"] == "step"]
        calls += 1
        if answer["next"] == since:
            break
        since = answer["next"]
    assert steps == list(range(1, 2501)) and calls == 4
    step = api.get(f"/api/runs/{run.id}/events", params={"since": 100, "limit": 1}).json()["events"][0]
    assert step["seq"] == 101 and {"step", "loss", "lr"} <= set(step) and "mono" not in step


def test_a_poll_of_a_live_run_is_small_and_mostly_304(server: Server, api: httpx.Client) -> None:
    run = make_run(server.home)
    lock = run.lock
    assert lock.acquire()  # as its supervisor would
    try:
        tell(run, 50)
        writer = events.EventWriter(run.events_file)
        writer.add("sample", step=50, prompt_index=0, prompt="a cat " * 30, weights="ema", file="x.webp", seed=1)
        record = api.get(f"/api/runs/{run.id}").json()
        assert record["state"] == "running" and record["phase"] == "training" and record["eta_seconds"] == 0
        first = api.get(f"/api/runs/{run.id}/events", params={"since": record["seq"] - 11})
        raw = sum(len(k) + len(v) + 4 for k, v in first.headers.raw) + first.num_bytes_downloaded
        print(f"poll with 10 steps and a sample: {raw} bytes with headers, {len(first.content)} before gzip")
        assert len(first.json()["events"]) == 11 and raw <= 2048
        url, tag = f"/api/runs/{run.id}/events?since={first.json()['next']}", None
        for _ in range(2):
            again = api.get(url, headers={"if-none-match": tag} if tag else {})
            tag = again.headers["etag"]
        assert again.status_code == 304 and not again.content
        writer.step(51, 0.1, 1e-5, 0.5, 8, 0.25)
        fresh = api.get(url, headers={"if-none-match": tag})
        assert fresh.status_code == 200 and [e["step"] for e in fresh.json()["events"]] == [51]
        for done in range(40):
            writer.phase("caching", done, 40, "pictures")
        assert len(api.get(f"/api/runs/{run.id}/events?since={fresh.json()['next']}").json()["events"]) == 1
        problem(api.delete(f"/api/runs/{run.id}"), 409)
        asked = api.post(f"/api/runs/{run.id}/sample", json={"prompt": "a dog"})
        assert asked.status_code == 200 and run.requests()[-1][1:3] == ("sample", {"prompt": "a dog"})
        for wrong in ({"prompt": 3}, {"argv": "x"}, {"prompt": "x" * 3000}):
            problem(api.post(f"/api/runs/{run.id}/sample", json=wrong), 400)
        problem(api.post(f"/api/runs/{run.id}/explode"), 400)
        problem(api.post(f"/api/runs/{run.id}/resume"), 409)
    finally:
        lock.release()
    for wrong in ({"checkpoint": 3}, {"prompt": "a dog"}):
        problem(api.post(f"/api/runs/{run.id}/resume", json=wrong), 400)
    told = problem(api.post(f"/api/runs/{run.id}/resume", json={"checkpoint": "checkpoint-9"}), 409)
    assert "checkpoint-9" in told["message"] and "there are: none" in told["message"]
    assert api.get(f"/api/runs/{run.id}").json()["state"] == "interrupted"


def test_a_run_of_200_000_steps_opens_fast_and_small(server: Server, api: httpx.Client) -> None:
    run = make_run(server.home)
    tell(run, 1)
    with open(run.events_file, "a") as file:
        for i in range(2, 200_001):
            file.write(f'{{"seq":{i + 2},"time":{1.7e9 + i},"mono":{i}.5,"kind":"step","step":{i},'
                       f'"loss":{0.5 + i % 97 / 1e3},"lr":1e-05,"grad_norm":0.51,"pictures":8,"seconds":0.25}}\n')
    finish(run, 200_000)
    began = time.monotonic()
    record, series = api.get(f"/api/runs/{run.id}"), api.get(f"/api/runs/{run.id}/series?points=1500")
    print(f"200,000 steps: {time.monotonic() - began:.2f} s, {len(record.content)} + {len(series.content)} bytes")
    found = series.json()
    assert record.json()["step"] == 200_000 and len(record.content) + len(series.content) <= 300_000
    assert found["count"] == 200_000 and len(found["step"]) == 1500 == len(found["loss"]["mean"])
    assert all(low <= mid <= high for low, mid, high in zip(
        found["loss"]["min"], found["loss"]["mean"], found["loss"]["max"], strict=True))
    assert min(found["loss"]["min"]) == 0.5 and max(found["loss"]["max"]) == 1.0  # of the steps told by hand, both ends
    near = api.get(f"/api/runs/{run.id}/series?keys=loss&from=100&to=199&points=1500").json()
    assert near["step"] == list(range(100, 200)) and near["loss"]["min"] == near["loss"]["max"]
    problem(api.get(f"/api/runs/{run.id}/series?keys=passwd"), 400)


def test_nan_is_a_gap(server: Server, api: httpx.Client) -> None:
    run = make_run(server.home)
    tell(run, 2)
    writer = events.EventWriter(run.events_file)
    writer.step(3, float("nan"), 1e-5, None, 8, 0.25)
    writer.close()
    finish(run, 3, "diverged", error={"code": "diverged", "message": "Loss is not a number.", "hint": "Lower the rate.",
                                      "evidence": f"token {CANARY}"})
    assert api.get(f"/api/runs/{run.id}/series").json()["loss"]["mean"] == [1.0, 0.5, None]
    record = api.get(f"/api/runs/{run.id}")
    assert record.json()["error"]["code"] == "diverged" and record.json()["loss"] is None
    assert CANARY not in record.text and CANARY not in api.get(f"/api/runs/{run.id}/events").text


def test_the_whole_curve_as_csv(server: Server, api: httpx.Client) -> None:
    run = make_run(server.home)
    tell(run, 250)
    writer = events.EventWriter(run.events_file)
    writer.step(251, float("nan"), 1e-5, None, 8, 0.25)
    writer.close()
    finish(run, 251)
    answer = api.get(f"/api/runs/{run.id}/series.csv")
    rows = list(csv.DictReader(answer.text.splitlines()))
    assert answer.headers["content-type"].startswith("text/csv")
    assert "attachment" in answer.headers["content-disposition"]
    assert [int(row["step"]) for row in rows] == list(range(1, 252)) and float(rows[1]["loss"]) == 0.5
    assert (rows[250]["loss"], rows[250]["grad_norm"], rows[250]["lr"]) == ("", "", "1e-05")
    problem(api.get(f"/api/runs/{'0' * 32}/series.csv"), 404)


def test_tokens_never_leave_in_a_log(server: Server, api: httpx.Client) -> None:
    run = make_run(server.home, steps=1)
    lines = [f"line {i} Authorization: Bearer {CANARY} https://me:{CANARY}@host/x?token={CANARY}\n"
             for i in range(3000)]
    run.log_file.write_text("".join(lines) + "no end")
    since, text = 0, ""
    while True:
        part = api.get(f"/api/runs/{run.id}/log", params={"since": since}).json()
        assert set(part) >= {"text", "next"} and CANARY not in part["text"]
        text += part["text"]
        if part["next"] == since:
            break
        since = part["next"]
    assert text.count("line ") == 3000 and text.endswith("no end") and since == run.log_file.stat().st_size
    tail = api.get(f"/api/runs/{run.id}/log").json()
    assert tail["text"].startswith("line ") and tail["next"] == since - len("no end") and len(tail["text"]) <= 40_000
    assert "CANARY" not in tail["text"]


def test_the_schema(api: httpx.Client) -> None:
    answer = api.get("/api/config/schema")
    fields = {f["path"]: f for s in answer.json()["sections"] for f in s["fields"]}
    assert fields["optim.learning_rate"]["reference"] == "learning_rate"
    assert api.get("/api/config/schema", headers={"if-none-match": answer.headers["etag"]}).status_code == 304


@pytest.mark.parametrize("body, kind, status, words", [
    ("{", "application/json", 400, "not valid JSON"), ("[]", "application/json", 400, "JSON object"),
    ('{"name": NaN}', "application/json", 400, "NaN"), ('{"name": "a", "name": "b"}', "application/json", 400, "twice"),
    ("{}", "text/plain", 400, "must be JSON"), ('{"nam": "x"}', "application/json", 400, "Unknown field"),
    ('{"name": 3}', "application/json", 400, "of type str"),
    ('{"config": []}', "application/json", 400, "of type dict"),
    ('{"name": "' + "x" * (1 << 20) + '"}', "application/json", 413, "1 MB"),
    ("[" * 90_000, "application/json", 400, "JSON"),
])
def test_bad_bodies(api: httpx.Client, body: str, kind: str, status: int, words: str) -> None:
    answer = api.post("/api/runs", content=body, headers={"content-type": kind})
    assert words in problem(answer, status)["message"]


def test_every_fault_of_a_config_at_once(api: httpx.Client, server: Server) -> None:
    before = len(list((server.home / "runs").iterdir()))
    config = {"optim": {"learning_rate": -1}, "train": {"max_steps": 0, "typo": 1}, "data": {"dataset": "0" * 32},
              "model": {"base": "/no/such/folder"}}
    error = problem(api.post("/api/runs", json={"name": "x", "config": config}), 422)
    assert {"optim.learning_rate", "train.max_steps", "train.typo"} <= {p["field"] for p in error["problems"]}
    assert all(p["message"] for p in error["problems"])
    found = api.post("/api/runs/check", json={"config": config}).json()
    assert len(found["problems"]) >= 3 and found["config"] is None
    base = problem(api.post("/api/runs", json={"config": {"model": {"base": "/no/such/folder"}}}), 422)["problems"]
    assert base[0]["field"] == "model.base" and "/no/such/folder" in base[0]["message"]
    assert len(list((server.home / "runs").iterdir())) == before


@pytest.mark.parametrize("method, path, status", [
    ("GET", "/api/nothing", 404), ("GET", f"/api/runs/{'0' * 32}", 404),
    ("GET", "/api/runs/%2e%2e", 404), ("GET", "/api/datasets/..%2f..%2fetc", 404), ("POST", "/api/jobs/x/cancel", 404),
    ("GET", f"/api/runs/{'0' * 32}/events?since=x", 400), ("GET", f"/api/runs/{'0' * 32}/events?since=-1", 400),
])
def test_what_is_not_there(api: httpx.Client, method: str, path: str, status: int) -> None:
    problem(api.request(method, path), status)


def test_an_unknown_fault_tells_its_number_only(server: Server, api: httpx.Client) -> None:
    run = make_run(server.home, steps=1)
    run.config_file.write_text(f'{{"secret": "{CANARY}"')
    error = problem(api.get(f"/api/runs/{run.id}"), 500)
    log = server.log.read_text()
    assert error["request_id"] in log and "Traceback" in log and CANARY not in log
    json.dumps(error)


def test_the_queue_can_be_put_in_order(server: Server, api: httpx.Client) -> None:
    busy = make_run(server.home, name="busy")
    lock = busy.lock
    assert lock.acquire()  # so that nothing else is started
    tell(busy, 1)
    try:
        first, second = make_run(server.home, name="first"), make_run(server.home, name="second")
        queue = api.get("/api/queue").json()
        assert [i["id"] for i in queue["items"]] == [first.id, second.id]
        assert api.get(f"/api/runs/{second.id}").json()["queue_position"] == 2
        turned = api.post("/api/queue", json={"order": [second.id, first.id]}).json()
        assert [i["id"] for i in turned["items"]] == [second.id, first.id]
        problem(api.post("/api/queue", json={"order": [busy.id]}), 409)
        for run in (first, second):
            assert api.post(f"/api/runs/{run.id}/cancel").json()["state"] == "cancelled"
    finally:
        lock.release()


def test_a_damaged_run_does_not_take_the_list_away(server: Server, api: httpx.Client) -> None:
    good, bad = make_run(server.home, steps=1), make_run(server.home, steps=1)
    for name, text in (("config.json", "{"), ("process.json", "[]")):
        kept = (bad.path / name).read_text()
        (bad.path / name).write_text(text)
        listed = [item["id"] for item in api.get("/api/runs").json()["items"]]
        assert good.id in listed and bad.id not in listed
        problem(api.get(f"/api/runs/{bad.id}"), 500)
        (bad.path / name).write_text(kept)
    assert bad.id in [item["id"] for item in api.get("/api/runs").json()["items"]]


def test_a_range_of_absurd_numbers_is_no_range(server: Server, api: httpx.Client) -> None:
    run = make_run(server.home, steps=1)
    answer = api.get(f"/api/runs/{run.id}/files/config.json", headers={"range": f"bytes=0-{'9' * 5000}"})
    assert answer.status_code == 200 and answer.content == run.config_file.read_bytes()


def test_the_validation_loss_is_a_series_of_its_own(server: Server, api: httpx.Client) -> None:
    run = make_run(server.home)
    tell(run, 20)
    writer = events.EventWriter(run.events_file)
    for step, loss in ((5, 0.5), (10, 0.25), (15, float("nan"))):
        for weights, factor in (("raw", 1), ("ema", 2)):
            writer.validation(step, loss * factor, weights, 3)
    writer.close()
    found = api.get(f"/api/runs/{run.id}/series?keys=loss,validation&from=6").json()
    assert found["count"] == 15 and set(found["validation"]) == {"raw", "ema"}
    assert found["validation"]["ema"] == {"step": [10, 15], "loss": dict.fromkeys(("min", "mean", "max"), [0.5, None])}
    assert "validation" not in api.get(f"/api/runs/{run.id}/series").json()
    assert api.get(f"/api/runs/{run.id}").json()["validation"] == {"raw": None, "ema": None}
    writer = events.EventWriter(run.events_file)
    writer.add("attempt", attempt=2)
    writer.add("resumed", from_step=7)
    writer.close()
    found = api.get(f"/api/runs/{run.id}/series?keys=validation").json()
    assert found["validation"]["raw"]["step"] == [5]
    assert "loss, lr, grad_norm, seconds, validation" in problem(
        api.get(f"/api/runs/{run.id}/series?keys=x"), 400)["hint"]


def test_pictures_by_their_loss(server: Server, api: httpx.Client) -> None:
    rows = [{**ROWS[0], "name": f"{n}.png", "image": f"{n:064x}"} for n in range(5)]
    rows.append({**ROWS[0], "split": "validation"})
    run = runs.create(server.home, name="x", owner="local", config=config.load({}), rows=rows,
                      extra={"dataset": {"id": "sample", "name": "", "fingerprint": "", "count": 5}})
    address = f"/api/runs/{run.id}/pictures"
    early = api.get(address).json()
    assert early["step"] is None and early["count"] == 5 and {i["loss"] for i in early["items"]} == {None}
    sums, counts = np.array([1.0, 6.0, 0.0, 0.5, 2.0]), np.array([2, 3, 0, 1, 1])
    with storage.staged(run.checkpoints / "checkpoint-7", {"step": 7}) as folder:
        numbers = {"sum": (sums / runs.LOSS_UNIT).astype(np.int64), "count": counts}
        save_file(numbers, folder / runs.PICTURES)
    first = api.get(address, params={"limit": 3})
    assert first.json()["step"] == 7 and first.json()["next"] == 3
    assert [(i["name"], i["loss"], i["count"]) for i in first.json()["items"]] == [
        ("1.png", 2.0, 3), ("4.png", 2.0, 1), ("0.png", 0.5, 2)]
    rest = api.get(address, params={"offset": 3}).json()
    assert [(i["name"], i["loss"]) for i in rest["items"]] == [("3.png", 0.5), ("2.png", None)] and rest["next"] is None
    assert [i["place"] for i in api.get(address, params={"sort": "loss"}).json()["items"]] == [0, 3, 1, 4, 2]
    assert [i["place"] for i in api.get(address, params={"sort": "place"}).json()["items"]] == [0, 1, 2, 3, 4]
    assert api.get(address, params={"limit": 3}, headers={"if-none-match": first.headers["etag"]}).status_code == 304
    assert "-loss" in problem(api.get(address, params={"sort": "name"}), 400)["hint"]
