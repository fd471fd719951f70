"""Signing in and out: a session ends when its owner says so, for every copy of its cookie, and gives no token away."""

from __future__ import annotations

import base64
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from studio.web.middleware import sessions

from .conftest import FAKES, Browser, Server, Space, start, until
from .measuring import cookie_of

LOGOUT = "/oauth/huggingface/logout"
PAGE = {"sec-fetch-dest": "document", "sec-fetch-mode": "navigate", "sec-fetch-site": "same-origin",
        "accept": "text/html"}


@pytest.fixture
def provider() -> Iterator[str]:
    """The Hub's sign-in, played."""
    fake = subprocess.Popen([sys.executable, str(FAKES / "oauth.py")], stdout=subprocess.PIPE, text=True)
    assert fake.stdout
    yield f"http://127.0.0.1:{fake.stdout.readline().strip()}"
    fake.terminate()
    fake.wait()


def studio(home: Path, tmp: Path, provider: str, *args: str) -> Server:
    """A Space's studio over a home."""
    return start(home, tmp, *args, SPACE_ID="somebody/studio", OAUTH_CLIENT_ID="studio-client", OAUTH_SCOPES="openid",
                 OAUTH_CLIENT_SECRET="studio-client-secret-of-the-fake-0123456789", OPENID_PROVIDER_URL=provider)


def who(server: Server, cookie: str) -> str:
    """Whose session a cookie is; empty for nobody's."""
    return httpx.get(f"{server.url}/api/session", headers={"cookie": cookie}, timeout=60).json()["name"]


@pytest.mark.parametrize("method, headers", [("POST", {"sec-fetch-site": "same-origin", "sec-fetch-dest": "empty"}),
                                             ("POST", {"accept": "text/html"}), ("GET", {})])
def test_signing_out_ends_every_copy_of_the_cookie(space: Space, method: str, headers: dict[str, str]) -> None:
    cookie, other = cookie_of(space.sign_in("ada")), cookie_of(space.sign_in("ada"))
    assert who(space.server, cookie) == "ada" == who(space.server, other)
    answer = httpx.request(method, space.server.url + LOGOUT, headers={"cookie": cookie, **headers})
    assert answer.status_code in (204, 303, 307) and "session=;" in answer.headers["set-cookie"]
    assert who(space.server, cookie) == "" and who(space.server, other) == "ada"
    denied = httpx.post(space.server.url + "/api/datasets", headers={"cookie": cookie}, json={"name": "x"})
    assert denied.status_code == 401


def test_people_stay_signed_in_over_a_restart_and_those_who_left_stay_out(tmp_path: Path, provider: str) -> None:
    home = tmp_path / "home"
    server = studio(home, tmp_path, provider)
    stays, leaves = (cookie_of(Space(server).sign_in(name)) for name in ("ada", "bob"))
    assert httpx.post(server.url + LOGOUT, headers={"cookie": leaves}).status_code == 204
    server.stop(signal.SIGKILL)
    server = studio(home, tmp_path, provider)
    try:
        assert who(server, stays) == "ada" and who(server, leaves) == ""
    finally:
        server.stop()


def test_the_hubs_token_is_neither_in_the_cookie_nor_on_the_disk(space: Space) -> None:
    cookie = cookie_of(space.sign_in("ada"))
    value = cookie.partition("=")[2]
    for text in (value, *(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode("latin-1")
                          for part in re.findall(r"[\w-]{8,}", value))):
        assert "hf_oauth" not in text and "ada" not in text
    files = [path for path in space.server.home.rglob("*") if path.is_file()]
    assert any(path.parent.name == "sessions" for path in files)
    assert not [path for path in files if b"hf_oauth" in path.read_bytes() or value.encode() in path.read_bytes()]
    assert {path.stat().st_mode & 0o777 for path in files if path.parent.name == "sessions"} == {0o600}


def test_what_a_sign_in_remembers_is_sealed(space: Space) -> None:
    browser = Browser(space.server)
    browser.get("/oauth/huggingface/login")
    value = browser.cookie.partition("=")[2]
    assert browser.cookie.startswith("session=") and b"_state_" not in base64.urlsafe_b64decode(value + "===")
    assert who(space.server, browser.cookie) == ""


@pytest.mark.parametrize("headers", [
    {"sec-fetch-dest": "image", "sec-fetch-site": "same-origin", "sec-fetch-mode": "no-cors"},
    {"sec-fetch-dest": "empty", "sec-fetch-site": "same-origin"}, {"sec-fetch-dest": "script"},
    {"sec-fetch-dest": "style"}, {"sec-fetch-dest": "video"}, {"accept": "image/avif,image/webp,*/*;q=0.8"},
    PAGE, {**PAGE, "sec-fetch-site": "cross-site"}, {**PAGE, "sec-fetch-dest": "iframe"}])
def test_no_address_signs_anybody_out(space: Space, headers: dict[str, str]) -> None:
    """Neither a picture's nor a link's; and no other site's form."""
    cookie = cookie_of(space.sign_in("ada"))
    answer = httpx.get(space.server.url + LOGOUT, headers={"cookie": cookie, **headers})
    assert "set-cookie" not in answer.headers and who(space.server, cookie) == "ada"
    assert answer.status_code in (200, 403)
    if answer.status_code == 200:  # a person is asked
        assert "<form method=post>" in answer.text and "Sign out" in answer.text
    else:
        assert answer.json()["error"]["hint"]
    forged = httpx.post(space.server.url + LOGOUT, headers={"cookie": cookie, "origin": "https://evil.example"})
    assert forged.status_code == 403 and who(space.server, cookie) == "ada"


def test_no_picture_begins_a_sign_in(space: Space) -> None:
    answer = httpx.get(space.server.url + "/oauth/huggingface/login", headers={"sec-fetch-dest": "image"})
    assert answer.status_code == 403 and "set-cookie" not in answer.headers
    assert httpx.get(space.server.url + "/oauth/huggingface/login", headers=PAGE).status_code in (302, 307)
    strange = httpx.get(space.server.url + "/oauth/huggingface/callback", params={"_nb_redirects": "x"})
    assert strange.status_code == 400


@pytest.mark.parametrize("value", ["x", "a" * 43, "../../../etc/passwd", "%00", "=" * 100, "s." + "a" * 3000])
def test_a_made_up_cookie_is_nobody(space: Space, value: str) -> None:
    assert who(space.server, f"session={value}") == ""


def test_sessions_are_few_and_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, later = sessions.Store(tmp_path), time.time() + 1000
    mine = [store.begin("ada", {"oauth_info": {"n": n}}, later) for n in range(sessions.MOST_OF_A_PERSON + 3)]
    assert [bool(store.open(one)) for one in mine] == [False] * 3 + [True] * sessions.MOST_OF_A_PERSON
    monkeypatch.setattr(sessions, "MOST", 20)
    others = [store.begin(f"p{n}", {}, later) for n in range(20)]
    assert len(list(store.folder.iterdir())) == 20 and all(map(store.open, others)) and not store.open(mine[-1])
    short = store.begin("bob", {}, time.time() + 0.2)
    assert store.open(short)
    until(lambda: store.open(short) is None)
    store.sweep()
    again = sessions.Store(tmp_path)
    assert len(list(store.folder.iterdir())) == 19 and again.open(others[-1]) and not again.open(short)
    again.end(others[-1])
    assert not sessions.Store(tmp_path).open(others[-1])


def test_a_damaged_session_is_nobodys(tmp_path: Path) -> None:
    store = sessions.Store(tmp_path)
    secrets = [store.begin("ada", {"oauth_info": {}}, time.time() + 1000) for _ in range(3)]
    paths = sorted(store.folder.iterdir())
    for path, data in zip(paths, (b"", b'{"owner": "ada", "expires": 9e9, "sealed": "x"}', b"[1"), strict=True):
        path.write_bytes(data)
    assert not any(sessions.Store(tmp_path).open(secret) for secret in secrets)
