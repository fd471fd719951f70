"""What stands before Gradio: forged files, closed routes, foreign hosts and sites, and who may send it something."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

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


def test_nobody_sends_files_to_a_space(space: Space) -> None:
    nobody, ada = space.server.client(), space.sign_in("ada")
    assert nobody.get("/").status_code == 200 and nobody.get("/config").status_code == 200
    for path in ("/gradio_api/upload", "/gradio_api/cancel", "/gradio_api/component_server"):
        answer = nobody.post(path, files=[("files", ("x.png", b"x"))])
        assert answer.status_code in (401, 404), path
    assert not cached(space.server)
    assert ada.post("/gradio_api/upload", files=[("files", ("x.html", b"<script>"))]).status_code == 200
    kept = next(iter(cached(space.server)))
    got = ada.get(f"/gradio_api/file={kept}")
    assert got.status_code >= 400 or "attachment" in got.headers.get("content-disposition", "")
    frames = nobody.get("/").headers["content-security-policy"]
    assert "https://huggingface.co" in frames


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
    answer = page.get("/config", headers=headers).json()
    assert f'data-language="{language}"' in answer["head"]
    chosen = next(c["props"] for c in answer["components"] if c["props"].get("elem_id") == "studio-header")["value"]
    assert f'<option value="{language}" lang="{language}" selected>' in chosen
