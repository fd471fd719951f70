"""Opening a page: how much is asked for, what is kept by the browser, and what is seen until it can be worked with."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route

from studio.folders import runs
from studio.web.page.serving import files

from .conftest import Server

GRADIO = ("assets/", "gradio_api/", "theme.css", "static/js/")  # addresses of its own
SHIFTS = """window.shifts = [];
new PerformanceObserver((list) => list.getEntries().forEach((entry) => window.shifts.push(entry.value)))
  .observe({ type: "layout-shift", buffered: true });"""
FOR_EVER = "public, max-age=31536000, immutable"


@dataclass
class Asked:
    """What a page asked for, by the browser's own count."""

    page: Page
    paths: dict[str, str] = field(default_factory=dict)  # of each request
    sizes: dict[str, int] = field(default_factory=dict)  # bytes that came over the line, heads included

    def __post_init__(self) -> None:
        tools = self.page.context.new_cdp_session(self.page)
        tools.send("Network.enable")
        tools.on("Network.requestWillBeSent", self._sent)
        tools.on("Network.loadingFinished", self._came)

    def _sent(self, event: dict) -> None:
        address = urlsplit(event["request"]["url"])
        if address.scheme == "http":
            self.paths[event["requestId"]] = address.path.removeprefix("/")

    def _came(self, event: dict) -> None:
        self.sizes[event["requestId"]] = int(event["encodedDataLength"])

    @property
    def ours(self) -> dict[str, str]:
        """Those of the studio's own."""
        return {request: path for request, path in self.paths.items() if not path.startswith(GRADIO)}


@pytest.fixture
def context(browser: Browser, server: Server) -> Iterator[BrowserContext]:
    """A visitor who has never been here."""
    opened = browser.new_context(viewport={"width": 1280, "height": 900})
    opened.set_default_timeout(60_000)
    yield opened
    opened.close()


def ready(page: Page) -> None:
    """Wait until the form has been checked once."""
    page.locator("#notice dl.st-facts >> nth=0").wait_for()


def test_an_opening_asks_for_little_and_the_next_for_less(context: BrowserContext, server: Server) -> None:
    page = context.new_page()
    first = Asked(page)
    page.goto(server.url)
    ready(page)
    page.wait_for_load_state("networkidle")
    ours = sum(first.sizes.get(request, 0) for request in first.ours)
    assert len(first.ours) <= 8, sorted(first.ours.values())
    assert len(first.paths) <= 75, sorted(first.paths.values())
    assert 50_000 < ours < 200_000, "836 kB as separate files"
    again = context.new_page()
    second = Asked(again)
    again.goto(server.url)
    ready(again)
    kept = {path for request, path in second.paths.items() if not second.sizes.get(request)}
    fetched = {path for request, path in second.paths.items() if second.sizes.get(request)}
    assert not [path for path in fetched if path.startswith(("static/", "assets/", "theme.css"))], fetched
    assert len(kept) > 55


def test_the_browser_hears_at_once_of_all_that_gradio_will_ask_for(context: BrowserContext, server: Server) -> None:
    """Of no file too much and of none too little: what it asks for where nothing is told beforehand."""
    told: list[str] = []

    def untold(route: Route) -> None:
        answer = route.fetch()
        links = r'<link rel="(?:module)?preload"[^>]* href="\./(assets/[^"]+)">'
        told.extend(re.findall(links, answer.text()))
        route.fulfill(response=answer, body=re.sub(links, "", answer.text()))

    page = context.new_page()
    page.route(f"{server.url}/", untold)
    asked = Asked(page)
    page.goto(server.url)
    ready(page)
    wanted = {path for path in asked.paths.values() if path.startswith("assets/")}
    entry = {path for path in wanted if re.match(r"assets/index-[^.]*\.js$", path)}
    assert len(told) == len(set(told)) > 50 and set(told) == wanted - entry


def test_what_may_be_kept_for_ever_and_what_is_asked_for_anew(server: Server) -> None:
    with httpx.Client(base_url=server.url) as client:
        page = client.get("/")
        assert page.headers["cache-control"] == "private, no-cache" and page.headers["content-encoding"] == "gzip"
        assert "accept-encoding" in page.headers["vary"].lower()
        plain = client.get("/", headers={"accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers and len(plain.content) > 4 * int(page.headers["content-length"])
        assert client.head("/").status_code == 200
        addresses = re.findall(r'(?:href|src)="(?:\./)?((?:assets|static)/[^"]+)"', page.text)
        theme = re.search(r'"theme_hash":"(\w+)"', page.text)
        assert theme
        for address in (*addresses, f"theme.css?v={theme[1]}"):
            answer = client.get(f"/{address}")
            assert answer.status_code == 200 and answer.headers["cache-control"] == FOR_EVER, address
            assert "content-security-policy" in answer.headers
        assert len(addresses) > 60
        revision = files().revision
        for name in ("page.js", "page.css", "page.js.map", "icon.svg", "vendor/uplot/uPlot.esm.js", "kit/kit.js"):
            small = client.get(f"/static/{revision}/{name}")
            whole = client.get(f"/static/{revision}/{name}", headers={"accept-encoding": "identity"})
            assert small.headers["content-encoding"] == "gzip" and "content-encoding" not in whole.headers
            assert small.content == whole.content == files().contents[name]
            assert gzip.decompress(files().small(name)) == whole.content
            tag = {"if-none-match": small.headers["etag"]}
            assert client.get(f"/static/{revision}/{name}", headers=tag).status_code == 304
        for path in ("assets/index-00000000.js", "theme.css?v=x", "static/kit/kit.js", "api/session"):
            assert "immutable" not in client.get(f"/{path}").headers.get("cache-control", ""), path
        for name in ("", "nothing.js", "../app.py", "%2e%2e/app.py", "page.js/", f"{revision}/page.js"):
            assert client.get(f"/static/{revision}/{name}").status_code == 404, name
        assert client.post(f"/static/{revision}/page.js").status_code >= 400


def test_a_page_from_before_an_update_goes_on(context: BrowserContext, server: Server,
                                              told: Callable[..., runs.Run]) -> None:
    """It asks under the revision it came with; what it gets is today's, and is not kept under that name."""
    run = told("Old tab")
    old = "0123456789ab"

    def of_old(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace(files().revision, old))

    page = context.new_page()
    page.route(f"{server.url}/", of_old)
    answers: dict[str, str] = {}
    page.on("response", lambda answer: answers.update(
        {urlsplit(answer.url).path: answer.headers.get("cache-control", "")}))
    page.goto(server.url)
    ready(page)
    assert f"/static/{old}/vendor/uplot/uPlot.esm.js" not in answers, "a library is loaded where it is needed"
    page.locator("#nav-runs").click()
    page.locator(f"a.st-row[href='?run={run.id}']").click()
    page.locator("#loss-chart canvas").first.wait_for()
    for name in ("page.js", "page.css", "vendor/uplot/uPlot.esm.js"):
        assert answers[f"/static/{old}/{name}"] == "no-cache"


SEEN = {"": "train", "?view=runs": "runs", "?view=datasets": "datasets", "?view=play": "play", "?view=trash": "trash",
        "?dataset=sample": "dataset", "?run=x": "run"}


@pytest.mark.parametrize("query", SEEN)
@pytest.mark.parametrize("scheme, width", [("light", 1280), ("dark", 390)])
def test_from_the_first_paint_there_is_the_shape_of_the_page(browser: Browser, server: Server, query: str, scheme: str,
                                                             width: int) -> None:
    """With all of Gradio's scripts held back: the header works, and the shape of what is asked for stands below it."""
    context = browser.new_context(viewport={"width": width, "height": 844}, locale="ja-JP",
                                  color_scheme="dark" if scheme == "dark" else "light")
    page = context.new_page()
    page.route("**/assets/*.js", lambda route: None)  # it never comes
    page.goto(f"{server.url}/{query}", wait_until="commit")
    page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
    shown = page.locator("#shapes > div:visible")
    assert shown.count() == 1 and shown.get_attribute("id") == f"shape-{SEEN[query]}"
    paper, ink = page.evaluate("""() => [getComputedStyle(document.body).backgroundColor,
      getComputedStyle(document.querySelector("#studio-header nav a")).color]""")
    assert paper == ("rgb(20, 20, 19)" if scheme == "dark" else "rgb(246, 246, 245)") and ink != paper
    assert page.locator("#nav-train").is_visible() and page.locator("#language").input_value() == "ja"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator("#nav-datasets").click()
    page.locator("#shape-datasets").wait_for()
    assert page.locator("#shapes > div:visible").count() == 1 and "view=datasets" in page.url
    page.locator("#theme-toggle").click()
    assert page.evaluate("document.body.classList.contains('dark')") is (scheme == "light")
    context.close()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("view", ["train", "runs", "datasets", "play", "trash"])
def test_nothing_moves_when_the_page_itself_comes(browser: Browser, server: Server, view: str, width: int) -> None:
    """On a slow line, and a chosen scheme from the first paint on."""
    context = browser.new_context(viewport={"width": width, "height": 844})
    context.add_init_script(SHIFTS)
    context.add_init_script("localStorage.setItem('studio-theme', 'dark')")
    page = context.new_page()
    tools = context.new_cdp_session(page)
    tools.send("Network.enable")
    tools.send("Network.emulateNetworkConditions", {"offline": False, "latency": 60, "downloadThroughput": 400_000,
                                                    "uploadThroughput": 400_000})
    page.goto(f"{server.url}/?view={view}", wait_until="commit")
    page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
    at_first = page.evaluate("[document.documentElement.dataset.shape, document.body.classList.contains('dark')]")
    assert at_first == [view, True]
    shape = page.locator(f"#shape-{view} h1").bounding_box()
    page.wait_for_function("!document.documentElement.dataset.shape", timeout=60_000)
    page.locator("#notice dl.st-facts >> nth=0").wait_for(state="attached", timeout=60_000)
    itself = page.locator(f"#page-{view} h1").bounding_box()
    assert itself == shape and page.locator("#shapes").count() == 0
    assert sum(page.evaluate("window.shifts")) < 0.02
    context.close()


def test_what_goes_wrong_on_the_way_is_not_hidden(context: BrowserContext, server: Server) -> None:
    """A file of Gradio's that does not come: the shape does not stand there for ever over what Gradio says of it."""
    page = context.new_page()
    page.route("**/assets/Blocks-*.js", lambda route: route.abort())
    page.goto(server.url)
    page.wait_for_function("!document.documentElement.dataset.shape")
    assert page.locator("gradio-app").evaluate("(app) => getComputedStyle(app).visibility") == "visible"
    assert page.locator("#studio-header").is_visible()
