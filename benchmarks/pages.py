"""The pages beside a training that runs: `python benchmarks/pages.py viewers|chart|tabs|opening [--seconds 60]`.

viewers: many poll one live run at once. chart: a run of 200,000 steps in Chromium. tabs: three open tabs on a live run.
opening: the first and the second opening of Train; with `--before FOLDER`, in turn with another version of the studio.
Chromium and Playwright come with requirements-dev.txt; STUDIO_CHROMIUM names another browser than /usr/bin/chromium.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
from playwright.sync_api import BrowserContext, Page, sync_playwright
from quick_start import ROOT, free_port, wait_for
from scale import finished_run
from websockets.sync.client import connect

CHROMIUM = os.environ.get("STUDIO_CHROMIUM", "/usr/bin/chromium")
LONG = {"train": {"max_steps": 100_000, "seed": 1}, "sample": {"every_steps": 0}, "checkpoint": {"every_steps": 50_000}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["viewers", "chart", "tabs", "opening"])
    parser.add_argument("--seconds", type=int, default=60, help="of each part of the measurement")
    parser.add_argument("--count", type=int, default=200, help="viewers")
    parser.add_argument("--steps", type=int, default=200_000, help="of the long run")
    parser.add_argument("--turns", type=int, default=12, help="of the tabs, each with a part without them; openings")
    parser.add_argument("--before", type=Path, help="a checkout that is opened in turn with this one")
    parser.add_argument("--windows", action="store_true", help="each tab in a window of its own, so that all are seen")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pages-") as folder:
        home = Path(folder)
        measured = {"viewers": lambda: viewers(home, options.count, options.seconds),
                    "chart": lambda: chart(home, options.steps),
                    "tabs": lambda: tabs(home, options.seconds, options.turns, options.windows),
                    "opening": lambda: opening(home, options.turns, options.before)}
        print(json.dumps(measured[options.what](), indent=1))


@contextmanager
def studio(home: Path, program: Path = ROOT) -> Iterator[tuple[httpx.Client, psutil.Process]]:
    """A server on `home`, ready, and a client of it; its live run is cancelled at the end."""
    port = free_port()
    command = [sys.executable, "app.py", "--port", str(port), "--home", str(home)]
    environment = {**os.environ, "STUDIO_AUTH": "none"}
    with open(home / "server.log", "wb") as log:
        server = subprocess.Popen(command, cwd=program, env=environment, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            wait_for(client, "/readyz", server)
            yield client, psutil.Process(server.pid)
            for run in client.get("/api/runs").json()["items"]:
                if "cancel" in run["actions"]:
                    client.post(f"/api/runs/{run['id']}/cancel")
                    while not (home / "runs" / run["id"] / "exit.json").exists():
                        time.sleep(0.2)
    finally:
        server.terminate()
        server.wait(30)


def live_run(client: httpx.Client, steps: int = 5) -> str:
    """The id of a run that has done its first steps."""
    answer = client.post("/api/runs", json={"name": "Live", "config": LONG})
    answer.raise_for_status()
    run_id = answer.json()["id"]
    while client.get(f"/api/runs/{run_id}").json()["step"] < steps:
        time.sleep(0.5)
    return run_id


def pace(client: httpx.Client, run_id: str, seconds: float) -> float:
    """Mean seconds of the steps done in the next `seconds`."""
    since = client.get(f"/api/runs/{run_id}").json()["seq"]
    time.sleep(seconds)
    news = client.get(f"/api/runs/{run_id}/events", params={"since": since}).json()["events"]
    return statistics.mean(e["seconds"] for e in news if e["kind"] == "step")


# ------------------------------------------------------------------------------------------------------- many viewers


def viewers(home: Path, count: int, seconds: int) -> dict[str, Any]:
    """Latency of polls of `count` viewers who poll as the page does, and what they cost the training and the server."""
    with studio(home) as (client, server):
        run_id = live_run(client)
        alone = pace(client, run_id, seconds)
        waits: list[float] = []
        sizes: list[int] = []
        began = time.monotonic()
        since = client.get(f"/api/runs/{run_id}").json()["seq"]
        asyncio.run(_crowd(client.base_url.port or 80, run_id, count, seconds, waits, sizes))
        took = time.monotonic() - began
        news = client.get(f"/api/runs/{run_id}/events", params={"since": since}).json()["events"]
        watched = statistics.median(e["seconds"] for e in news if e["kind"] == "step")
        memory = server.memory_info().rss
        again = pace(client, run_id, seconds)
    ordered = sorted(waits)
    return {"viewers": count, "polls": len(waits), "polls_per_second": round(len(waits) / took),
            "poll_ms": {f"p{p}": round(1000 * ordered[int(len(ordered) * p / 100) - 1], 1) for p in (50, 95, 99, 100)},
            "largest_answer_bytes": max(sizes), "server_rss_mb": round(memory / 1e6),
            "step_ms": {"alone": round(1000 * alone), "watched": round(1000 * watched),
                        "alone_again": round(1000 * again)}}


async def _crowd(port: int, run_id: str, count: int, seconds: float, waits: list[float], sizes: list[int]) -> None:
    end = time.monotonic() + seconds
    await asyncio.gather(*(_viewer(port, run_id, i / count, end, waits, sizes) for i in range(count)))


async def _viewer(port: int, run_id: str, late: float, end: float, waits: list[float], sizes: list[int]) -> None:
    """Polls a second after each answer, with the ETag of the last one: what `static/run.js` does."""
    await asyncio.sleep(late)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    since, tag = 0, ""
    while time.monotonic() < end:
        asked = time.perf_counter()
        head = f"GET /api/runs/{run_id}/events?since={since} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        writer.write((head + (f"If-None-Match: {tag}\r\n" if tag else "") + "\r\n").encode())
        answer = (await reader.readuntil(b"\r\n\r\n")).decode()
        fields = dict(line.split(": ", 1) for line in answer.lower().split("\r\n")[1:] if ": " in line)
        body = await reader.readexactly(int(fields.get("content-length", 0)))
        waits.append(time.perf_counter() - asked)
        if since:
            sizes.append(len(answer) + len(body))
        tag = fields.get("etag", "").replace("w/", "W/")
        if body:
            found = json.loads(body)
            tag, since = "" if found["events"] else tag, found["next"]
        await asyncio.sleep(1)
    writer.close()


# ---------------------------------------------------------------------------------------------------- in a real browser


@contextmanager
def browser_page() -> Iterator[Page]:
    """An empty page of a Chromium without a window."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        context = found.new_context(viewport={"width": 1440, "height": 900})
        yield context.new_page()
        found.close()


def chart(home: Path, steps: int) -> dict[str, Any]:
    """Opening the curve of a very long run, zooming into it, and the bytes of a live update's answer."""
    run = finished_run(home, "Long", steps=steps)
    with studio(home) as (client, _), browser_page() as page:
        page.goto(f"{client.base_url}?view=runs")
        page.locator("#run-list a").first.wait_for()
        client.get(f"/api/runs/{run.id}")  # the file has been read once, as by the list
        opened = []
        for _ in range(3):
            began = time.monotonic()
            page.goto(f"{client.base_url}?view=runs")
            page.locator("#run-list a").first.wait_for()
            listed = time.monotonic()
            page.locator("#run-list a").first.click()
            page.locator("#loss-chart canvas").wait_for()
            page.wait_for_function("document.querySelector('#run-step dd')?.textContent.includes('200,000')"
                                   if steps == 200_000 else "true")
            opened.append((time.monotonic() - listed, listed - began))
        whole = page.locator("#loss-chart").get_attribute("aria-label")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url) if "/series" in request.url else None)
        box = page.locator("#loss-chart canvas").first.bounding_box()
        assert box
        began = time.monotonic()
        x, y = box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 12, y, steps=4)
        with page.expect_response(lambda answer: "/series" in answer.url) as told:
            page.mouse.up()
        detail = told.value.json()
        zoomed = time.monotonic() - began
    return {"steps": steps, "click_to_chart_s": [round(o, 2) for o, _ in opened], "alt": whole,
            "zoom_s": round(zoomed, 2), "zoom_asked": asked[-1].partition("?")[2],
            "zoom_points": len(next(v for v in detail.values() if isinstance(v, list)))}


@contextmanager
def persons_browser() -> Iterator[tuple[psutil.Process, str]]:
    """A Chromium that runs by itself, as a person's does, and the address of its tools."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="profile-") as profile:
        command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
                   "--disable-background-networking", "--disable-component-update", "--window-size=1440,900",
                   f"--user-data-dir={profile}", f"--remote-debugging-port={port}", "about:blank"]
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
                wait_for(client, "/json/version", browser)
            yield psutil.Process(browser.pid), f"http://127.0.0.1:{port}"
        finally:
            browser.terminate()
            browser.wait(30)


def _ask(socket: str, method: str, **values: Any) -> dict[str, Any]:
    """One command to a browser or a page, over its own connection: Playwright would count every page as seen."""
    with connect(socket, max_size=None) as line:
        line.send(json.dumps({"id": 1, "method": method, "params": values}))
        while (answer := json.loads(line.recv(60))).get("id") != 1:
            pass
    if "error" in answer:
        raise RuntimeError(f"{method}: {answer['error']['message']}")
    return answer["result"]


def _pages(tools: str, address: str) -> list[str]:
    """The connections of all tabs at this address."""
    found = httpx.get(f"{tools}/json/list").json()
    return [page["webSocketDebuggerUrl"] for page in found if page["type"] == "page" and page["url"] == address]


def _evaluate(socket: str, script: str) -> Any:
    return _ask(socket, "Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")


def _open(tools: str, address: str, windows: bool) -> int:
    """Opens three tabs on a run and waits for those that are seen to show its chart; how many these are."""
    browser = httpx.get(f"{tools}/json/version").json()["webSocketDebuggerUrl"]
    for _ in range(3):
        _ask(browser, "Target.createTarget", url=address, newWindow=windows)
    until, seen = time.monotonic() + 60, 0
    while time.monotonic() < until:
        states = [_evaluate(page, "document.visibilityState") for page in _pages(tools, address)]
        charts = [_evaluate(page, "!!document.querySelector('#loss-chart canvas')") for page in _pages(tools, address)]
        seen = states.count("visible")
        if len(states) == 3 and seen and sum(charts) >= seen:
            return seen
        time.sleep(0.5)
    raise SystemExit(f"of three tabs {seen} were seen, and their charts did not come")


def _heaps(tools: str, address: str) -> float:
    """Megabytes of live objects in all tabs, after a collection."""
    total = 0.0
    for page in _pages(tools, address):
        _ask(page, "HeapProfiler.collectGarbage")
        total += _ask(page, "Runtime.getHeapUsage")["usedSize"]
    return round(total / 1e6, 1)


def tabs(home: Path, seconds: int, turns: int, windows: bool) -> dict[str, Any]:
    """Memory of three tabs on a live run, and what they take from it: steps with their browser halted and not, in turn.

    Steps differ by more than the tabs take, so it wants many short turns: the ratio comes with its standard error.
    """
    with studio(home) as (client, server), persons_browser() as (browser, tools):
        run_id = live_run(client)
        address = f"{client.base_url}/?run={run_id}"
        seen = _open(tools, address, windows)
        heaps, pairs = [_heaps(tools, address)], []
        for _ in range(turns):
            with halted(browser):
                without = pace(client, run_id, seconds)
            time.sleep(2)  # what they missed has been read
            pairs.append((without, pace(client, run_id, seconds)))
        heaps.append(_heaps(tools, address))
        memory = server.memory_info().rss
    ratios = [watched / without for without, watched in pairs]
    alone, watched = (statistics.mean(each) for each in zip(*pairs, strict=True))
    return {"seen": seen, "step_ms": {"browser_halted": round(1000 * alone), "watched": round(1000 * watched)},
            "ratio": round(statistics.mean(ratios), 3),
            "standard_error": round(statistics.stdev(ratios) / len(ratios) ** 0.5, 3),
            "heap_mb_of_three_tabs_at_first_and_last": heaps, "server_rss_mb": round(memory / 1e6)}


@contextmanager
def halted(browser: psutil.Process) -> Iterator[None]:
    """All the browser's processes stand still."""
    family = [browser, *browser.children(recursive=True)]
    for process in family:
        process.suspend()
    try:
        yield
    finally:
        for process in family:
            process.resume()


# ---------------------------------------------------------------------------------------------------- opening a page

GRADIO = ("/assets/", "/gradio_api/", "/theme.css", "/static/js/", "/favicon.ico")  # addresses of its own
USABLE = """(() => {
  const look = () => {
    const start = document.querySelector("#start-training");
    if (start?.checkVisibility({ visibilityProperty: true })) window.usableAt ??= performance.now();
    if (document.querySelector("#notice dl.st-facts")) window.checkedAt ??= performance.now();
    if (!window.usableAt || !window.checkedAt) setTimeout(look, 5);
  };
  look();
})()"""
TIMES = """() => {
  const painted = performance.getEntriesByName("first-contentful-paint")[0].startTime;
  const [page] = performance.getEntriesByType("navigation");
  return { document: page.responseEnd, painted, usable: window.usableAt, checked: window.checkedAt };
}"""


def opening(home: Path, turns: int, before: Path | None) -> dict[str, Any]:
    """What Train asks for, and medians of when it is painted (with anything in it), usable (Start can be pressed) and
    checked, of a browser that was never here (first) and once (second); milliseconds, and the server's CPU time."""
    with ExitStack() as stack:
        servers = {}
        for name, program in {"before": before, "now": ROOT}.items():
            if program:
                (home / name).mkdir()
                servers[name] = stack.enter_context(studio(home / name, program.resolve()))
        browser = stack.enter_context(sync_playwright()).chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        measured: dict[tuple[str, str], list[dict[str, float]]] = {}
        for _ in range(turns):
            for name, (client, server) in servers.items():
                context = browser.new_context(viewport={"width": 1440, "height": 900})
                for visit in ("first", "second"):
                    one = _opened(context, str(client.base_url), server)
                    measured.setdefault((name, visit), []).append(one)
                context.close()
        browser.close()
    medians: dict[str, Any] = {}
    for (name, visit), each in measured.items():
        medians[f"{name}, {visit}"] = {key: round(statistics.median(one[key] for one in each)) for key in each[0]}
    return medians


def _opened(context: BrowserContext, address: str, server: psutil.Process) -> dict[str, float]:
    """One opening, measured."""
    page = context.new_page()
    page.add_init_script(USABLE)
    tools = context.new_cdp_session(page)
    tools.send("Network.enable")
    paths: dict[str, str] = {}
    sizes: dict[str, int] = {}
    tools.on("Network.requestWillBeSent", lambda event: paths.update(
        {event["requestId"]: urlsplit(event["request"]["url"]).path} if event["request"]["url"][:4] == "http" else {}))
    tools.on("Network.loadingFinished", lambda event: sizes.update({event["requestId"]: event["encodedDataLength"]}))
    spent = sum(server.cpu_times()[:2])
    page.goto(address, wait_until="commit")
    page.wait_for_function("window.usableAt && window.checkedAt", timeout=120_000)
    times = page.evaluate(TIMES)
    page.wait_for_load_state("networkidle")
    times["server_cpu"] = 1000 * (sum(server.cpu_times()[:2]) - spent)
    page.close()
    ours = [request for request, path in paths.items() if not path.startswith(GRADIO)]
    return {"requests": len(paths), "our_requests": len(ours), "bytes": sum(sizes.values()),
            "our_bytes": sum(sizes.get(request, 0) for request in ours), **times}


if __name__ == "__main__":
    main()
