"""What a request of at most 10 kB may cost, whatever is in it, to whatever route, signed in or not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from . import nasty
from .conftest import Space, make_run
from .measuring import Cost, Measured, cookie_of, request, signing_in
from .nasty import SIZE, WEAK, filled
from .test_access import ROUTES
from .test_pictures import picture

HELD, CPU = 0.05, 0.5  # seconds: the event loop held, and the server's own processor
GRADIO = [("GET", "/"), ("GET", "/config"), ("GET", "/theme.css"), ("GET", "/assets/x.js"), ("GET", "/static/app.js"),
          ("POST", "/gradio_api/queue/join"), ("GET", "/gradio_api/queue/data"), ("POST", "/gradio_api/upload"),
          ("GET", "/gradio_api/file=x"), ("POST", "/oauth/huggingface/logout")]
STARTS = ("/health", "/caption", "/see", "/push", "/publish", "/overfitting", "/probe", "/{kind}", "/undo", "/cancel")
IDS = ("{run_id}", "{dataset_id}", "{job_id}", "{pid}", "{name}", "{path:path}", "{preset_id}", "{kind}")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Measured, Space]]:
    """A studio in which people sign in, warmed up."""
    tmp = tmp_path_factory.mktemp("cost")
    with signing_in(tmp / "home", tmp) as (measured, space):
        for path in ("/", "/config", "/api/session", "/api/datasets", "/api/machine", "/api/presets",
                     "/api/datasets/sample/health", "/api/datasets/sample/tags"):
            measured.raw(request("GET", path))
        for language in ("en", "ja"):
            measured.raw(request("POST", "/api/runs/check", {"content-type": "application/json",
                                                             "accept-language": language}, b'{"config":{}}'))
        yield measured, space


@pytest.fixture(scope="module")
def ada(place: tuple[Measured, Space]) -> dict[str, str]:
    """Somebody's cookie, and the ids of what is theirs."""
    measured, space = place
    client = space.sign_in("ada")
    run = make_run(measured.server.home, owner="hf-id-of-ada", steps=30)
    pid = client.get("/api/datasets/sample/images?limit=1").json()["items"][0]["id"]
    return {"cookie": cookie_of(client), "{run_id}": run.id, "{dataset_id}": "sample", "{pid}": pid,
            "{job_id}": "0" * 32, "{name}": "x.webp", "{path:path}": "config.json", "{preset_id}": "0" * 32,
            "{kind}": "stop"}


def put(path: str, ids: dict[str, str]) -> str:
    """A route's path with real ids."""
    for name in IDS:
        path = path.replace(name, ids[name])
    return path


def check(measured: Measured, requests: dict[str, bytes], after: bytes | None = None) -> None:
    """Each of these costs no more than it may: all together where that is enough, else one by one, the least of three.
    `after` waits for what is done behind an answer, and counts too."""
    then = () if after is None else (after,)
    every = measured.cost(*requests.values(), *then)
    if every.held < HELD and every.cpu < CPU:
        return
    for name, one in requests.items():
        cost = measured.cost(one, *then)
        for _ in range(2):  # a collection of garbage in between is nobody's fault
            if cost.held >= HELD or cost.cpu >= CPU:
                again = measured.cost(one, *then)
                cost = Cost(min(cost.held, again.held), min(cost.cpu, again.cpu))
        assert cost.held < HELD and cost.cpu < CPU, (name, cost, one[:200])


@pytest.mark.parametrize("method, path", [*ROUTES, *GRADIO])
def test_no_request_costs_much(place: tuple[Measured, Space], ada: dict[str, str], method: str, path: str) -> None:
    measured, _ = place
    where = put(path, ada)
    asked = dict(nasty.of_any_route(method, where))
    asked |= {f"{kind} in the path": request(method, one) for kind, one in nasty.paths(path, IDS)}
    if method != "DELETE" and not (method == "POST" and path.endswith(STARTS)):
        signed_in = nasty.of_any_route(method, where, ada["cookie"])
        asked |= {f"signed in, {name}": one for name, one in islice(signed_in, len(path) % 3, None, 3)}
    assert all(len(one) <= nasty.BYTES for one in asked.values())
    left = iter(asked.items())
    while some := dict(islice(left, 40)):
        check(measured, some)


FORM_FIELDS = 101  # that the page's form has


@pytest.mark.parametrize("value", [*WEAK, "A=$A$A ", "[", "9", "\\", "$A", "-1", "{", "\u3000", "ß"])
def test_no_form_costs_much(place: tuple[Measured, Space], value: str) -> None:
    """What the page's own form sends, to each of its handlers: as one long text, and in every field."""
    measured, space = place
    nobody = space.server.client()
    config = nobody.get("/config").json()
    for handler in (one for one in config["dependencies"] if one["backend_fn"]):
        count = len(handler["inputs"])
        for number, data in enumerate(([filled(value, SIZE - 1000)] * min(1, count) + [""] * max(0, count - 1),
                                       [filled(value, 60)] * count)):
            body = nasty.whole({"data": data, "event_data": {"text": filled(value, SIZE // 2), "id": "x"},
                                "fn_index": handler["id"], "session_hash": f"s{number}"})
            if len(body) > nasty.BYTES - 500:
                continue
            cookie = {"cookie": f"studio-browser=b{handler['id']}", "content-type": "application/json"}
            asked = request("POST", "/gradio_api/queue/join", {**cookie, "accept-language": "ja"}, body)
            heard = request("GET", f"/gradio_api/queue/data?session_hash=s{number}", cookie)
            check(measured, {f"{handler['id']}: {value}": asked}, heard)


PIECES = st.sampled_from([*WEAK, "\\", '"', "'", "$A", "A=$A ", "=", "&", "%41", "%", ";", ",", "[", "{", "}", "-", "1",
                          "e", ".", "/", "\n", " ", "あ", "\x00", "http://", "hf_", "--x", "a"])
NASTY = st.lists(PIECES, min_size=1, max_size=6).map("".join)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(piece=NASTY, where=st.sampled_from(["dataset", "base", "command", "name", "cookie", "accept-language", "query",
                                           "path", "prompts", "key"]))
def test_no_mixture_costs_much(place: tuple[Measured, Space], piece: str, where: str) -> None:
    measured, _ = place
    text = filled(piece, SIZE // max(1, len(piece.encode()) // len(piece)) // 2)
    plain = re.sub(r"[^\x21-\x7e]|[\r\n]", "a", text)
    documents: dict[str, Any] = {
        "dataset": {"config": {"data": {"dataset": text}}}, "base": {"config": {"model": {"base": text}}},
        "command": {"command": text}, "name": {"name": text, "config": {"train": 1}},
        "prompts": {"config": {"sample": {"prompts": list(text[:1500])}}}, "key": {"config": {text: {text: 1}}}}
    if where in documents:
        body = nasty.whole(documents[where])[:nasty.BYTES - 300]
        path = "/api/config/from-command" if where == "command" else "/api/runs/check"
        asked = request("POST", path, {"content-type": "application/json", "accept-language": "ja"}, body)
    elif where in ("query", "path"):
        asked = request("GET", f"/api/runs?q={plain}" if where == "query" else f"/api/runs/{plain}")
    else:
        asked = request("GET", "/api/session", {where: plain})
    check(measured, {f"{where}: {piece!r}": asked})


@pytest.mark.parametrize("kind", nasty.DOCUMENTS)
def test_twice_as_much_costs_at_most_twice_as_much(place: tuple[Measured, Space], kind: str) -> None:
    """Bodies up to the megabyte that is taken: eight times as much costs at most ten times as much, but for noise."""
    measured, _ = place
    path = "/api/config/from-command" if kind.startswith("command") else "/api/runs/check"
    told = {"content-type": "application/json", "accept-language": "ja"}

    def cost(size: int) -> float:
        data = request("POST", path, told, nasty.DOCUMENTS[kind](size).encode())
        return min(measured.cost(data).cpu for _ in range(2))

    small, large = cost(100_000), cost(800_000)
    assert large < 10 * small + 0.1, (small, large)


def test_big_bodies_are_read_beside_the_loop(place: tuple[Measured, Space]) -> None:
    measured, _ = place
    body = nasty.whole({"config": {"sample": {"prompts": ["a" * 90] * 10_000}}})
    assert 900_000 < len(body) < 1 << 20
    told = {"content-type": "application/json"}
    assert min(measured.cost(request("POST", "/api/runs/check", told, body)).held for _ in range(3)) < HELD


def test_editing_captions_costs_little_however_long_they_get(place: tuple[Measured, Space]) -> None:
    """Forty captions of ten thousand letters, each letter of which an edit makes two thousand of."""
    measured, space = place
    bob = space.sign_in("bob")
    files = [("files", (f"{n}.png", picture(n))) for n in range(40)] + [
        ("files", (f"{n}.txt", filled("ab ", 10_000).encode())) for n in range(40)]
    birds = bob.post("/api/datasets", files=files, timeout=120).json()
    assert birds["count"] == 40, birds
    for change in ({"find": "a", "replace": "x" * 2000}, {"find": "ab " * 600 + "c", "replace": "x"},
                   {"find": "b", "replace": "x" * 2000, "whole_words": True}, {"find": "A", "match_case": True},
                   {"trigger": "ab " * 600}, {"prefix": "x" * 2000, "suffix": "y" * 2000}):
        body = nasty.whole({**change, "preview": True})
        asked = request("POST", f"/api/datasets/{birds['id']}/captions",
                        {"content-type": "application/json", "cookie": cookie_of(bob)}, body)
        check(measured, {str(change)[:60]: asked})


def test_the_home_is_as_it_was(place: tuple[Measured, Space]) -> None:
    home: Path = place[0].server.home
    assert not list((home / "cache" / "uploads").glob("*"))
    log = place[0].server.log.read_text()
    assert "Traceback" not in log, log[log.index("Traceback"):][:3000]
