"""What a run's own files name is no address until it fits: a bundle from a stranger may name anything."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page

from studio import storage
from studio.folders import events
from studio.folders.names import is_hub_id

from .conftest import Server, finish, make_run, tell

NASTY = ("../../../oauth/huggingface/logout", "../../../../api/datasets/sample/export", "javascript:window.canary=1",
         "//evil.example/x.webp", "https://evil.example/x.webp", "\\\\evil.example\\x.webp", "/healthz", "..",
         "x y.webp", "a/../b.webp", "%2e%2e%2fx.webp", "step-1.svg", "data:image/svg+xml,<svg onload=alert(1)>",
         "x.webp?a=1", "", None, 7, ["x"])
OWN = ("/static/", "/assets/", "/gradio_api/queue/", "/theme.css", "/?run=", "/api/session", "/api/config/schema",
       "/api/presets", "/api/jobs", "/api/runs", "/api/queue")


@pytest.fixture(scope="module")
def hostile(server: Server) -> str:
    """A run whose events and record name whatever they like."""
    run = make_run(server.home, name="From elsewhere")
    tell(run, 3)
    writer = events.EventWriter(run.events_file)
    for name in NASTY:
        writer.add("sample", step=2, prompt_index=0, prompt="x", weights="raw", file=name, seed=1, guidance_scale=1,
                   num_inference_steps=1)
        writer.add("checkpoint", step=2, name=name, bytes=1, seconds=1, ok=True, error=None)
    writer.add("checkpoint", name="checkpoint-2", bytes=1)
    writer.add("checkpoint", name="checkpoint-3", bytes=1, step=None)
    writer.add("sample", step=3, prompt_index=0, prompt="x", weights="raw", file="step-000003-p0-raw.webp", seed=1)
    writer.close()
    finish(run, 3)
    record = storage.read_json(run.path / "run.json")
    record["dataset"] = {"id": "../../../oauth/huggingface/logout?", "name": "x", "count": 1, "fingerprint": "f"}
    record["parent"] = {"id": "x&view=datasets#", "checkpoint": "../..", "changes": []}
    storage.write_json(run.path / "run.json", record)
    return run.id


def addresses(data: object) -> Iterator[str]:
    """Every `url` and `thumb` in an answer."""
    if isinstance(data, dict):
        yield from (value for key, value in data.items() if key in ("url", "thumb") and value is not None)
        yield from (one for value in data.values() for one in addresses(value))
    elif isinstance(data, list):
        yield from (one for value in data for one in addresses(value))


def test_no_answer_has_an_address_out_of_its_place(server: Server, hostile: str) -> None:
    api = server.client()
    for path in ("", "/events", "/pictures", "/overfitting", "/files"):
        answer = api.get(f"/api/runs/{hostile}{path}")
        assert answer.status_code == 200, answer.text
        for address in addresses(answer.json()):
            assert httpx.URL(server.url + address).raw_path.decode() == address
            assert address.startswith((f"/api/runs/{hostile}/", "/api/datasets/")) and ".." not in address, address
    record = api.get(f"/api/runs/{hostile}").json()
    assert not record["checkpoints"]
    assert [one["url"] for one in record["samples"]][-1] == f"/api/runs/{hostile}/samples/step-000003-p0-raw.webp"
    assert not any(one["url"] for one in record["samples"][:-1]) and len(record["samples"]) > 10
    for name in NASTY:
        assert api.get(f"/api/runs/{hostile}/samples/{name}").status_code in (404, 200)
        assert api.get(f"/api/runs/{hostile}/samples/{name}").headers["content-type"] != "image/svg+xml"


@pytest.fixture(scope="module")
def browser_page(server: Server, browser: Browser) -> Iterator[Page]:
    server.wait_ready()
    opened = browser.new_page()
    opened.goto(server.url)
    opened.locator("#notice dl.st-facts >> nth=0").wait_for(state="attached")
    yield opened
    opened.close()


def test_opening_such_a_run_asks_for_nothing_else(server: Server, hostile: str, browser_page: Page) -> None:
    asked: list[str] = []
    browser_page.on("request", lambda one: asked.append(one.url.removeprefix(server.url)))
    browser_page.goto(f"{server.url}/?run={hostile}")
    browser_page.get_by_text("From elsewhere").first.wait_for()
    browser_page.wait_for_load_state("networkidle")
    strange = [url for url in asked if not url.startswith(OWN)]
    assert not strange and browser_page.evaluate("window.canary ?? null") is None


@pytest.mark.parametrize("value, stays", [
    ("javascript:alert(1)", False), ("JaVaScRiPt:alert(1)", False), (" javascript:alert(1)", False),
    ("vbscript:x", False), ("data:text/html,<script>", False), ("data:image/svg+xml,<svg>", False),
    ("//evil.example/", False), ("https://evil.example/", False), ("https://huggingface.co.evil.example/", False),
    ("http://huggingface.co/a", False), ("https://huggingface.co/a/b", True), ("?run=x", True), ("api/runs/x", True),
    ("/api/x", True),
    ("data:image/png;base64,AAAA", True), ("\\\\evil.example", False), ("https:evil", False)])
def test_the_pages_scripts_lead_to_our_own_addresses_alone(server: Server, browser_page: Page, value: str,
                                                           stays: bool) -> None:
    link, api = browser_page.evaluate("""async (value) => {
      const { el, address } = await import(new URL("static/kit/kit.js", document.baseURI).href);
      return [el("a", { href: value }).getAttribute("href"), address(value)];
    }""", value)
    assert (link == value) is stays
    assert api is None or api.startswith(f"{server.url}/api/")


def test_no_way_out_of_the_api(server: Server, browser_page: Page) -> None:
    for path in ("/api/../oauth/huggingface/logout", "/api/runs/../../healthz", "api/%2e%2e/healthz", "/healthz", "",
                 "//evil.example/api/", "/\\\\evil.example/api/", "https://evil.example/api/x", None):
        assert browser_page.evaluate("""async (path) => (await import(
          new URL("static/kit/kit.js", document.baseURI).href)).address(path)""", path) is None, path


@pytest.mark.parametrize("name", ["\uff41lice/model", "alice/mod\u00b2", "alice/a..b", "alice/a--b", "../alice",
                                  "alice/", "alice/a/b", "alice/a\n", "/alice/a"])
def test_what_is_no_name_of_the_hub_is_not_asked_for_there(name: str) -> None:
    assert is_hub_id("alice/a-model_1.5") and not is_hub_id(name)
