"""The start-up token: long enough, hard to guess, never a browser's cookie, and a page to enter it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser

from studio.web import settings

from .conftest import Server, start

TOKEN = "a-token-of-thirty-two-characters"


@pytest.fixture(scope="module", params=[{}, {"STUDIO_CONTAINER": "1"}], ids=["alone", "behind a proxy"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    tmp = tmp_path_factory.mktemp("token")
    running = start(tmp / "home", tmp, STUDIO_AUTH="token", STUDIO_TOKEN=TOKEN, **request.param)
    yield running
    running.stop()


@pytest.mark.parametrize("token", ["a", "123456", "fifteen-letters"])
def test_a_short_token_is_refused_in_words(token: str, tmp_path: Path) -> None:
    with pytest.raises(settings.SettingsError, match="fewer than 16 characters.*longer one, or leave it out"):
        settings.from_environment(home=tmp_path, env={"STUDIO_AUTH": "token", "STUDIO_TOKEN": token})
    longer = settings.from_environment(home=tmp_path, env={"STUDIO_AUTH": "token", "STUDIO_TOKEN": token + "x" * 16})
    assert longer.token == token + "x" * 16
    assert len(settings.from_environment(home=tmp_path, env={"STUDIO_AUTH": "token"}).token) > 30


def test_the_cookie_is_not_the_token(server: Server) -> None:
    came = httpx.get(server.url, params={"token": TOKEN})
    value = came.headers["set-cookie"].partition("=")[2].partition(";")[0]
    assert came.status_code == 303 and TOKEN not in came.headers["set-cookie"]
    name = came.headers["set-cookie"].partition("=")[0]
    assert httpx.get(f"{server.url}/api/runs", headers={"cookie": f"{name}={value}"}).status_code == 200
    assert httpx.get(f"{server.url}/api/runs", headers={"authorization": f"Bearer {value}"}).status_code == 401
    assert httpx.get(f"{server.url}/api/runs", headers={"cookie": f"{name}={TOKEN}"}).status_code == 401
    assert httpx.get(server.url, params={"token": value}).status_code == 401


@pytest.mark.parametrize("language, words", [("en", "This studio asks for its token"),
                                             ("ja", "このスタジオを開くにはトークンが必要です")])
def test_the_page_takes_the_token(server: Server, language: str, words: str) -> None:
    told = {"accept": "text/html", "accept-language": language}
    page = httpx.get(f"{server.url}/?view=runs", headers=told)
    assert page.status_code == 401 and words in page.text and 'name=token' in page.text and "method=post" in page.text
    wrong = httpx.post(f"{server.url}/?view=runs", headers=told, data={"token": "wrong"})
    assert wrong.status_code in (401, 429) and "name=token" in wrong.text and "set-cookie" not in wrong.headers
    right = httpx.post(f"{server.url}/?view=runs", headers=told, data={"token": f" {TOKEN} "})
    assert right.status_code == 303 and right.headers["location"] == "/?view=runs" and "set-cookie" in right.headers
    assert httpx.post(server.url, headers={**told, "origin": "https://evil.example"}, data={"token": TOKEN}
                      ).status_code == 403
    assert httpx.post(server.url, headers=told, data={"token": "a" * 10_000}).status_code == 413
    assert TOKEN not in server.log.read_text()


def test_a_person_enters_it_in_a_browser(server: Server, browser: Browser) -> None:
    page = browser.new_page(color_scheme="dark")
    page.goto(f"{server.url}/docs?x=1")
    assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light dark"
    page.get_by_label("Token").fill("not it")
    page.get_by_role("button", name="Open the studio").click()
    page.get_by_text("not this studio's token").or_(page.get_by_text("Too many wrong tokens")).wait_for()
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Open the studio").click()
    page.wait_for_url(f"{server.url}/docs?x=1")
    page.locator("#swagger-ui").wait_for()
    assert TOKEN not in page.url
    page.close()


def test_guessing_is_slow_and_keeps_nobody_out(server: Server) -> None:
    """From one address and from many; who bears the token or its cookie comes in at once all the while."""
    cookie = httpx.get(server.url, params={"token": TOKEN}).headers["set-cookie"].partition(";")[0]
    statuses: list[int] = []
    done = threading.Event()

    def guess(number: int) -> None:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            for n in range(40):
                if done.is_set():
                    return
                guessed = f"Bearer guess-{number}-{n}"
                sent = {"authorization": guessed, "x-forwarded-for": f"10.{number}.{n}.1"}
                statuses.append(client.get("/api/runs", headers=sent).status_code)

    guessers = [threading.Thread(target=guess, args=(number,)) for number in range(8)]
    began = time.monotonic()
    for one in guessers:
        one.start()
    try:
        for _ in range(20):
            right = httpx.get(f"{server.url}/api/runs", headers={"authorization": f"Bearer {TOKEN}"}, timeout=60)
            known = httpx.get(f"{server.url}/api/runs", headers={"cookie": cookie}, timeout=60)
            link = httpx.get(server.url, params={"token": TOKEN}, timeout=60)
            assert (right.status_code, known.status_code, link.status_code) == (200, 200, 303)
    finally:
        done.set()
        for one in guessers:
            one.join()
    took = time.monotonic() - began
    assert set(statuses) == {401, 429} and statuses.count(429) > 3
    assert statuses.count(401) <= 100  # what is answered at once; the rest waits its second, eight at a time
    assert statuses.count(429) <= 8 * (took + 2), (statuses.count(429), took)
    late = httpx.get(f"{server.url}/api/runs", headers={"authorization": "Bearer wrong", "x-forwarded-for": "10.0.0.1"})
    if late.status_code == 429:
        assert late.json()["error"]["code"] == "too_many" and late.headers["retry-after"]
