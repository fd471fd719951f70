"""Who is signed in: sessions that the server keeps, sealed so that only the browser's own cookie opens them.

    <home>/cache/sessions/<name>    JSON {owner, expires, sealed}, one file for each session

A session's secret is in its cookie alone. What it holds, the person's Hub token among it, lies here encrypted under a
key made of that secret, so neither the disk nor the cookie gives the token away, and signing out is the end of the
file. Before somebody has signed in there is only what the sign-in itself has to remember: that goes out in the cookie,
sealed with the home's key, and nothing is kept of it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio import storage
from studio.messages import JsonObject
from studio.web.http.headers import cookie

log = logging.getLogger("studio.web")
COOKIE = "session"
BROWSER = "studio-browser"  # the cookie that tells browsers apart in which nobody has signed in
SIGNED_IN = "oauth_info"  # where huggingface_hub's routes put what the Hub said
LONGEST = 14 * 86400  # seconds, if the Hub's own token holds as long
SIGN_IN_SECONDS = 1800  # for the way to the Hub and back
MOST_OF_A_PERSON = 10  # sessions
MOST = 2000
MOST_ATTEMPTS = 5  # sign-ins that one browser has begun and not ended
MOST_COOKIE = 3800  # bytes: a browser takes no larger one
ATTEMPT = "_state_"  # how authlib names what it remembers of one


@dataclass(frozen=True)
class Session:
    """Somebody who is signed in: their id, when it ends, and what the Hub said."""

    owner: str
    expires: float
    data: JsonObject


class Store:
    """The sessions of a home; safe to be used from several threads."""

    def __init__(self, home: Path):
        self.folder = home / "cache" / "sessions"
        self._lock = threading.Lock()
        self._open: dict[str, Session] = {}  # by name, those that were opened with their secret
        self._known = self._read()  # name -> owner and end, of all, the oldest first

    def open(self, secret: str) -> Session | None:
        """The session of a cookie's secret, None for one that is unknown, ended or signed out."""
        name = _name(secret)
        known = self._known.get(name)
        session = self._open.get(name)
        if known is None or known[1] < time.time():
            return None
        if session is None:
            try:
                sealed = json.loads((self.folder / name).read_bytes())["sealed"]
                session = Session(*known, json.loads(Fernet(_key(secret)).decrypt(sealed)))
            except (OSError, ValueError, KeyError, TypeError, InvalidToken):
                return None
            with self._lock:
                if name in self._known:  # nobody has signed out meanwhile
                    self._open[name] = session
        return session

    def begin(self, owner: str, data: JsonObject, expires: float) -> str:
        """Keep a new session; returns its secret. Of too many the oldest end, first this person's own."""
        secret = secrets.token_urlsafe(32)
        name = _name(secret)
        session = Session(owner, min(expires, time.time() + LONGEST), data)
        storage.make_folder(self.folder)
        sealed = Fernet(_key(secret)).encrypt(json.dumps(data).encode()).decode()
        storage.write_json(self.folder / name, {"owner": owner, "expires": session.expires, "sealed": sealed}, 0o600)
        with self._lock:
            self._known[name] = owner, session.expires
            self._open[name] = session
            surplus = self._surplus(owner)
        for old in surplus:
            self._remove(old)
        return secret

    def _surplus(self, owner: str) -> list[str]:
        """The names of those that are too many: of the owner's, else of all."""
        theirs = [name for name, (whose, _) in self._known.items() if whose == owner]
        if len(theirs) > MOST_OF_A_PERSON:
            return theirs[:-MOST_OF_A_PERSON]
        return list(self._known)[: max(0, len(self._known) - MOST)]

    def end(self, secret: str) -> None:
        """Sign out: from now on the secret opens nothing, after a restart either."""
        self._remove(_name(secret))

    def known(self) -> dict[str, tuple[str, float]]:
        """Whose there are and when each ends, by name."""
        return dict(self._known)

    def sweep(self) -> None:
        """Remove those whose time is up."""
        now = time.time()
        for name, (_, expires) in self.known().items():
            if expires < now:
                self._remove(name)

    def _remove(self, name: str) -> None:
        if name not in self._known:
            return
        storage.remove(self.folder / name)  # first: what the disk refuses was not done, and is tried again
        with self._lock:
            self._known.pop(name, None)
            self._open.pop(name, None)

    def _read(self) -> dict[str, tuple[str, float]]:
        """What lies on the disk, the oldest first."""
        sessions = []
        for path in self.folder.glob("[!.]*"):  # a dot begins what was being written when a kill came
            try:
                record = json.loads(path.read_bytes())
                sessions.append((path.stat().st_mtime, path.name, str(record["owner"]), float(record["expires"])))
            except (OSError, ValueError, KeyError, TypeError):
                log.warning("a session file cannot be read and is passed over: %s", path.name)
        return {name: (owner, expires) for _, name, owner, expires in sorted(sessions)}


class Sessions:
    """Gives each request its `session`, a dict, as Starlette's own middleware does, and keeps what becomes of it."""

    def __init__(self, app: ASGIApp, store: Store, key: str):
        self.app = app
        self.store = store
        self.seal = Fernet(base64.urlsafe_b64encode(bytes.fromhex(key)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        value = cookie(Headers(scope=scope), COOKIE)
        signed_in = self.store.open(value)
        if signed_in:
            secret = value
            before = dict(signed_in.data)
        else:
            secret = ""
            before = self._attempts(value)
        session = scope["session"] = dict(before)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and session != before:
                line = await run_in_threadpool(self._keep, secret, session)
                MutableHeaders(scope=message).append("set-cookie", line)
            await send(message)

        await self.app(scope, receive, answer)

    def _keep(self, secret: str, session: JsonObject) -> str:
        """Keep a changed session under a new secret; returns the Set-Cookie that tells the browser."""
        attempts = _newest_attempts(session)
        info = session.get(SIGNED_IN)
        if isinstance(info, dict) and info:
            data = {SIGNED_IN: {key: value for key, value in info.items() if key != "id_token"}, **attempts}
            expires = float(info.get("expires_at") or 0)
            fresh = self.store.begin(_owner(info), data, expires)
            self.store.end(secret)  # after that: a disk that takes nothing signs nobody out
            return _line(fresh, max(0, round(expires - time.time())))
        self.store.end(secret)
        while attempts:
            sealed = self.seal.encrypt(json.dumps(attempts).encode()).decode()
            if len(sealed) <= MOST_COOKIE:
                return _line(sealed, SIGN_IN_SECONDS)
            attempts.pop(next(iter(attempts)))
        return _line("", 0)

    def _attempts(self, value: str) -> JsonObject:
        """What the sign-ins under way remember, from their cookie; {} for one that was not sealed here lately."""
        if not value or len(value) > MOST_COOKIE:
            return {}
        try:
            attempts = json.loads(self.seal.decrypt(value, SIGN_IN_SECONDS))
        except (InvalidToken, ValueError):
            return {}
        if not isinstance(attempts, dict) or SIGNED_IN in attempts:
            return {}
        return attempts


def _newest_attempts(session: JsonObject) -> JsonObject:
    attempts = [item for item in session.items() if item[0].startswith(ATTEMPT)]
    return dict(attempts[-MOST_ATTEMPTS:])


def session_secret(home: Path) -> str:
    """The key that seals what a sign-in remembers: random, made once per home, readable by the server alone."""
    storage.make_folder(home / "cache")
    return storage.write_new(home / "cache" / "session.key", secrets.token_hex(32).encode(), 0o600).decode().strip()


def _owner(info: JsonObject) -> str:
    """The account's id in what the Hub said, "" where it said none."""
    person = info.get("userinfo")
    if not isinstance(person, dict):
        return ""
    return str(person.get("sub") or "")


def _name(secret: str) -> str:
    return hashlib.sha256(f"name:{secret}".encode()).hexdigest()


def _key(secret: str) -> bytes:
    return base64.urlsafe_b64encode(hashlib.sha256(f"key:{secret}".encode()).digest())


def _line(value: str, seconds: int) -> str:
    """On a Space the page is in a frame of another site: only such a cookie comes back from there."""
    return f"{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=None; Secure"
