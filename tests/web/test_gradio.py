"""What stands before Gradio: forged files, closed routes, foreign hosts and sites, and who may send it something."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from playwright.sync_api import Browser

from .conftest import Server, Space

FORGED = ("/etc/passwd", "/proc/self/environ", "{home}/machine.json", "../../../etc/passwd")
CLOSED = ("/monitoring", "/monitoring/summary", "/gradio_api/deep_link?session_hash=x", "/gradio_api/runs",
          "/gradio_api/proxy=http://127.0.0.1/", "/gradio_api/dev/reload", "/gradio_api/info",
          "/gradio_api/openapi.json",
          "/gradio_api/vibe-code", "/gradio_api/file=http://127.0.0.1:1/x", "/openapi.json", "/redoc")


@pytest.fixture(scope="module")
def page(server: Server) -> httpx.Client:
    server.wait_ready()
    return server.client()


def cached(server: Server) -> set[Path]:
    """Files in Gradio's folder of this server."""
    return {p for p in (server.home / "cache").glob("gradio-*/**/*") if p.is_file()}


@pytest.mark.parametrize("path", FORGED)
def test_a_forged_file_puts_nothing_into_the_cache(server: Server, page: httpx.Client, path: str) -> None:
    """To every handler of the page, through the queue and directly."""
    config = page.get("/config").json()
    before = cached(server)
    forged = {"path": path.format(home=server.home), "meta": {"_type": "gradio.FileData"}, "orig_name": "x.png"}
    assert config["dependencies"]
    for handler in config["dependencies"]:
        body = {"data": [forged] * max(1, len(handler["inputs"])), "fn_index": handler["id"], "session_hash": "abc123"}
        joined = page.post("/gradio_api/queue/join", json=body)
        if joined.status_code == 200:
            with page.stream("GET", "/gradio_api/queue/data", params={"session_hash": "abc123"}) as stream:
                for line in stream.iter_lines():
                    assert "root:" not in line
                    if "process_completed" in line or "close_stream" in line:
                        break
        for name in (handler.get("api_name") or "predict", str(handler["id"])):
            assert page.post(f"/gradio_api/call/{name}", json=body).status_code == 404
            assert page.post(f"/gradio_api/run/{name}", json=body).status_code == 404
    assert cached(server) == before
    assert not any(b"root:" in p.read_bytes() for p in before)


@pytest.mark.parametrize("path", CLOSED)
def test_closed_routes(page: httpx.Client, path: str) -> None:
    assert page.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/etc/passwd", "..%2f..%2fetc%2fpasswd", "%252e%252e/etc/passwd", "//etc/passwd",
                                  "a%00b", "/proc/self/fd/3", "x" * 8000])
def test_no_file_by_its_path(page: httpx.Client, path: str) -> None:
    for route in ("/gradio_api/file=", "/static/", "/assets/"):
        answer = page.get(f"{route}{path}")
        assert answer.status_code >= 400 and "root:" not in answer.text and "Traceback" not in answer.text


@pytest.mark.parametrize("headers", [
    {"origin": "https://evil.example"}, {"origin": "null"}, {"origin": "http://localhost:1"},
    {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}])
def test_no_other_site_may_write(page: httpx.Client, headers: dict[str, str]) -> None:
    for path in ("/api/runs", "/api/datasets", "/gradio_api/upload", "/gradio_api/queue/join"):
        answer = page.post(path, headers=headers, files=[("files", ("x.png", b"x"))])
        assert answer.status_code == 403 and answer.json()["error"]["code"] == "cross_site"
    read = page.get("/config", headers=headers)
    assert "access-control-allow-origin" not in read.headers


def test_the_own_page_may(page: httpx.Client, server: Server) -> None:
    host = server.url.removeprefix("http://")
    answer = page.post("/api/runs/check", json={"config": {}}, headers={"origin": f"http://{host}"})
    assert answer.status_code == 200


@pytest.mark.parametrize("host, status", [
    ("evil.example", 403), ("evil.example:7860", 403), ("localhost.evil.example", 403), ("", 403), ("localhost", 200),
    ("127.0.0.1:9", 200), ("192.168.0.7:7860", 200), ("[::1]:7860", 200)])
def test_a_foreign_name_gets_no_answer(page: httpx.Client, host: str, status: int) -> None:
    assert page.get("/api/runs", headers={"host": host}).status_code == status
    assert page.get("/healthz", headers={"host": host}).status_code in (200, 400)


def test_nobody_sends_files_to_gradio(space: Space, page: httpx.Client) -> None:
    """Its own upload has no user among the pages; whoever asks, nothing is kept and nothing is given out."""
    nobody, ada = space.server.client(), space.sign_in("ada")
    assert nobody.get("/").status_code == 200 and nobody.get("/config").status_code == 200
    for path in ("/gradio_api/upload", "/gradio_api/upload/", "/gradio_api/upload?upload_id=x", "/gradio_api/cancel",
                 "/gradio_api/component_server", "/gradio_api/reset"):
        for client in (nobody, ada, page):
            answer = client.post(path, files=[("files", ("x.html", b"<script>"))])
            assert answer.status_code in (401, 404), path
    assert not cached(space.server)
    assert ada.get(f"/gradio_api/file={space.server.home}/cache/x").status_code == 404
    frames = nobody.get("/").headers["content-security-policy"].partition("frame-ancestors ")[2]
    assert frames == "'self' https://huggingface.co"


OURS = {("GET", "/"), ("HEAD", "/"), ("GET", "/config"), ("HEAD", "/config"), ("GET", "/theme.css"),
        ("HEAD", "/theme.css"), ("POST", "/gradio_api/queue/join"), ("GET", "/gradio_api/queue/data"),
        ("OPTIONS", "/"), ("OPTIONS", "/config"), ("OPTIONS", "/theme.css"), ("GET", "/assets/{path:path}"),
        ("GET", "/static/{path:path}")}


def test_every_route_of_gradio_that_no_page_uses_is_closed(page: httpx.Client) -> None:
    """Each that Gradio has in this version, with any method, by its own table."""
    from gradio import Blocks
    from gradio.routes import App

    with Blocks() as blocks:
        pass
    blocks.config = blocks.get_config_file()
    routes = {(method, route.path) for route in _routes(App.create_app(blocks).routes) if route.path
              for method in route.methods or ()}
    assert len(routes) > 60
    for method, path in sorted(routes - OURS):
        filled = re.sub(r"\{[^}]*\}", "x", path)
        assert page.request(method, filled).status_code == 404, (method, filled)
    for path in ("/gradio_api/queue/join/", "/gradio_api/queue/data/", "/config/", "/assets/a/b",
                 "/static/fonts/x.woff2", "/gradio_api/heartbeat/x", "/favicon.ico", "/x", "/theme.css/"):
        assert page.get(path).status_code == 404, path


def _routes(routes: list[Any]) -> Iterator[Any]:
    for route in routes:
        inner = getattr(route, "original_router", None) or getattr(route, "router", None)
        if inner is not None and not hasattr(route, "methods"):
            yield from _routes(inner.routes)
        elif getattr(route, "methods", None):
            yield route


def join(client: httpx.Client, session: str, **more: Any) -> httpx.Response:
    """The page's first event: which data sets there are."""
    config = client.get("/config").json()
    handler = next(one["id"] for one in config["dependencies"] if one["api_name"] == "datasets")
    return client.post("/gradio_api/queue/join", json={"data": ["sample"], "fn_index": handler, "session_hash": session,
                                                       **more})


def heard(client: httpx.Client, session: str) -> str:
    """What a listener to that session gets, until it ends or for two seconds; "" where there is none."""
    text = ""
    try:
        with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}, timeout=2) as stream:
            if stream.status_code != 200:
                return ""
            for line in stream.iter_lines():
                text += line
    except httpx.ReadTimeout:
        return text
    return text


def test_a_session_is_heard_by_the_viewer_and_the_browser_that_joined_it(space: Space) -> None:
    ada, elsewhere, bob = (space.sign_in(name) for name in ("ada", "ada", "bob"))
    nobody, other = space.server.client(), space.server.client()
    secret = ada.post("/api/datasets", json={"name": "A secret of Ada's"}).json()
    for first, others in ((ada, (elsewhere, bob, nobody)), (nobody, (other, bob, ada))):
        assert join(first, "known00hash").status_code == 200
        for one in others:
            assert heard(one, "known00hash") == "", one
        assert "process_completed" in heard(first, "known00hash")
    assert join(bob, "known00hash").status_code == 200  # the same name is a session of one's own
    assert "A secret of Ada's" not in heard(bob, "known00hash")
    ada.delete(f"/api/datasets/{secret['id']}")


@pytest.mark.parametrize("more", [
    {"session_hash": None}, {"session_hash": 7}, {"session_hash": "a/../b"}, {"session_hash": "x" * 65},
    {"fn_index": True}, {"fn_index": "1"}, {"fn_index": 999}, {"fn_index": [1]}, {"data": {"a": 1}}, {"data": None},
    {"data": [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}]}, {"data": [[["a"]]]},
    {"data": ["a"] * 401}, {"data": ["a"], "event_data": {"a": {"path": "/etc/passwd"}}}, {"event_data": [1]}])
def test_only_what_a_form_holds_is_let_through(page: httpx.Client, more: dict[str, Any]) -> None:
    answer = join(page, **{"session": "abc", **more} if "session_hash" not in more else {"session": "x", **more})
    assert answer.status_code in (400, 404) and answer.json()["error"]["hint"]


def test_open_pages_are_few_and_what_nobody_hears_is_bounded(space: Space) -> None:
    """Nobody's sessions make room for each other, and a person's events wait to be heard before there are more."""
    ada = space.sign_in("ada")
    assert join(ada, "mine").status_code == 200 and "process_completed" in heard(ada, "mine")
    before = psutil.Process(space.server.process.pid).memory_info().rss
    strangers = [space.server.client() for _ in range(3)]
    statuses = {join(strangers[n % 3], f"s{n}").status_code for n in range(300)}
    assert statuses <= {200, 429, 503} and 200 in statuses
    grown = psutil.Process(space.server.process.pid).memory_info().rss - before
    assert grown < 60 << 20, f"{grown >> 20} MiB"
    many = [join(ada, "mine").status_code for _ in range(40)]
    assert set(many) == {200, 429} and many.count(200) <= 20
    assert "process_completed" in heard(ada, "mine")  # the session of one who is signed in is there still


def test_the_pages_network_log_has_nothing_closed(server: Server, browser: Browser) -> None:
    """A real browser on every page: nothing that it asks for is refused."""
    opened = browser.new_page()
    refused: list[str] = []
    opened.on("response", lambda one: refused.append(f"{one.status} {one.url}") if one.status >= 400 else None)
    for view in ("", "?view=runs", "?view=datasets", "?dataset=sample", "?view=play"):
        opened.goto(f"{server.url}/{view}")
        opened.locator("#notice dl.st-facts >> nth=0").wait_for(state="attached")
    opened.close()
    assert not refused


@pytest.mark.parametrize("taken", [False, True], ids=["at once", "in the middle"])
def test_a_stream_that_breaks_off_takes_nothing_with_it(server: Server, taken: bool) -> None:
    """A page gives a stream up and opens the next one while the first one's end is not known yet: what is asked from
    then on is answered in the new one, to its end, in whatever order the two arrive."""
    where = urlsplit(server.url)
    with server.client() as page:
        for number in range(8):
            session = f"broken{number}{taken}"
            assert join(page, session).status_code == 200
            with socket.create_connection((where.hostname or "", where.port or 0)) as given_up:
                asked = f"GET /gradio_api/queue/data?session_hash={session} HTTP/1.1\r\nhost: localhost\r\n\r\n"
                given_up.sendall(asked.encode())
                if taken:
                    assert given_up.recv(1 << 16).startswith(b"HTTP/1.1 200")
                with page.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as stream:
                    given_up.close()
                    event = join(page, session).json()["event_id"]
                    messages = [json.loads(line[5:]) for line in stream.iter_lines() if line.startswith("data:")]
            assert messages[-1]["msg"] == "close_stream", messages
            assert event in [one["event_id"] for one in messages if one["msg"] == "process_completed"], messages


def test_nobody_starts_nothing_through_the_page(space: Space) -> None:
    """Gradio's handlers ask the same question as the routes: every one of them, sent by nobody, makes no run."""
    nobody = space.server.client()
    config = nobody.get("/config").json()
    for handler in config["dependencies"]:
        body = {"data": [None] * len(handler["inputs"]), "fn_index": handler["id"], "session_hash": "nobody1"}
        if nobody.post("/gradio_api/queue/join", json=body).status_code != 200:
            continue
        with nobody.stream("GET", "/gradio_api/queue/data", params={"session_hash": "nobody1"}) as stream:
            for line in stream.iter_lines():
                assert "Traceback" not in line
                if "process_completed" in line or "close_stream" in line:
                    break
    runs = space.server.home / "runs"
    owners = [json.loads((p / "run.json").read_text())["owner"] for p in runs.glob("*")] if runs.is_dir() else []
    assert "" not in owners


@pytest.mark.parametrize("headers, language", [
    ({}, "en"), ({"accept-language": "ja"}, "ja"), ({"accept-language": "de-AT,ja-JP;q=0.8,en;q=0.5"}, "ja"),
    ({"accept-language": "en-GB,ja;q=0.9"}, "en"), ({"accept-language": "de, *;q=0.1"}, "en"),
    ({"accept-language": "ja;q=nonsense"}, "en"), ({"accept-language": "en", "cookie": "studio-language=ja"}, "ja"),
    ({"accept-language": "ja", "cookie": "studio-language=<script>"}, "ja"),
])
def test_the_page_speaks_the_language_that_is_chosen_or_the_browsers(
    page: httpx.Client, headers: dict[str, str], language: str,
) -> None:
    answer = page.get("/", headers=headers).text
    assert f'data-language="{language}"' in answer
    assert f'<option value="{language}" lang="{language}" selected>' in answer
