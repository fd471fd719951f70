"""How much may be asked for at once: requests in hand by person and kind, bytes of JSON, and guesses at the token.

Everything here refuses before it waits and before it keeps: 429 where a person has to wait for their own requests, 503
where the whole studio is busy, both with Retry-After.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections import Counter
from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as ASGIMessage

from studio.messages import Message
from studio.web.access import viewer_of
from studio.web.http.errors import Busy, TooMany

log = logging.getLogger("studio.web")
THREADS = 100  # for what the handlers do
FREE_PATHS = ("/static/", "/assets/", "/theme.css", "/healthz", "/readyz")  # answered from memory or a small file
JSON_BYTES, JSON_BYTES_OF_ONE = 64 << 20, 32 << 20


@dataclass(frozen=True)
class ConcurrencyShare:
    """How many requests of one kind may be in hand, of one person (nobody in particular counts as one) and of all."""

    of_one: int
    of_all: int


SHARES = {
    "look": ConcurrencyShare(128, 256),  # a page of pictures asks for all of them at once
    "change": ConcurrencyShare(16, 64),
    "upload": ConcurrencyShare(3, 24),
    "download": ConcurrencyShare(16, 64),  # each holds files open
    "stream": ConcurrencyShare(32, 128),
}


def kind_of(request: Request) -> str:
    """What kind of request this is, a key of SHARES."""
    path = request.url.path
    if path == "/gradio_api/queue/data":
        return "stream"
    if request.method not in ("GET", "HEAD", "OPTIONS"):
        if request.headers.get("content-type", "").startswith("multipart/"):
            return "upload"
        return "change"
    of_a_run = path.startswith("/api/runs/") and ("/files/" in path or path.endswith("/bundle"))
    if of_a_run or path.endswith("/export"):
        return "download"
    return "look"


class Budget:
    """Bytes that all may take together, and one person of them."""

    def __init__(self, of_all: int = JSON_BYTES, of_one: int = JSON_BYTES_OF_ONE):
        self.of_all = of_all
        self.of_one = of_one
        self.taken: Counter[str] = Counter()

    def take(self, who: str, count: int) -> None:
        """Raises TooMany, Busy."""
        if self.taken[who] + count > self.of_one:
            raise TooMany(Message("Your requests hold more data than the studio takes from one person at once."),
                          Message("Wait until they are answered, or send less at a time."))
        if self.taken.total() + count > self.of_all:
            raise Busy(Message("The studio has as many requests in hand as it takes."),
                       Message("Try again in a few seconds."))
        self.taken[who] += count

    def give_back(self, who: str, count: int) -> None:
        """What `take` took."""
        self.taken[who] -= count
        if self.taken[who] <= 0:
            del self.taken[who]


class Reservation:
    """What one request has taken of the budget; given back when it is answered."""

    def __init__(self, budget: Budget, who: str):
        self.budget = budget
        self.who = who
        self.count = 0  # bytes

    def take(self, count: int) -> None:
        """Take some more. Raises TooMany, Busy."""
        self.budget.take(self.who, count)
        self.count += count

    def end(self) -> None:
        """Give all of it back."""
        self.budget.give_back(self.who, self.count)
        self.count = 0


class ConcurrencyLimiter:
    """Stands behind whoever finds out who asks, and counts what is in hand: a change from when its body is there, since
    one that trickles in costs nothing but its connection, anything else from its head on."""

    def __init__(self, app: ASGIApp, *, one_owner: bool):
        self.app = app
        self.one_owner = one_owner
        self.in_hand: Counter[tuple[str, str]] = Counter()  # by person and kind
        self.of_all: Counter[str] = Counter()  # by kind
        self.budget = Budget()
        if one_owner:  # all of it is theirs
            self.budget = Budget(of_one=JSON_BYTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(FREE_PATHS):
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        who = viewer_of(request).id
        kind = kind_of(request)
        request.state.reserved = reserved = Reservation(self.budget, who)
        entered = kind != "change"

        async def received() -> ASGIMessage:
            nonlocal entered
            message = await receive()
            if not entered and not message.get("more_body"):
                self._enter(who, kind)
                entered = True
            return message

        if entered:
            self._enter(who, kind)
        try:
            await self.app(scope, received, send)
        finally:
            reserved.end()
            if entered:
                self._leave(who, kind)

    def _enter(self, who: str, kind: str) -> None:
        share = SHARES[kind]
        if not self.one_owner and self.in_hand[who, kind] >= share.of_one:
            raise TooMany(Message("There are too many requests of yours at once."),
                          Message("Wait until some of them are answered."))
        if self.of_all[kind] >= share.of_all:
            raise Busy(Message("The studio has as many requests in hand as it takes."),
                       Message("Try again in a few seconds."))
        self.in_hand[who, kind] += 1
        self.of_all[kind] += 1

    def _leave(self, who: str, kind: str) -> None:
        self.of_all[kind] -= 1
        self.in_hand[who, kind] -= 1
        if not self.in_hand[who, kind]:
            del self.in_hand[who, kind]


class GuessLimiter:
    """A brake on guessing the token. Who bears it comes in whatever others try: only wrong answers are held up."""

    WINDOW = 60.0  # seconds in which wrong tokens are counted together
    OF_AN_ADDRESS, OF_ALL = 10, 100  # wrong ones that are answered at once
    PAUSE, HELD = 1.0, 32  # how long further ones are held up, and how many at the same time
    ADDRESSES = 10_000

    def __init__(self) -> None:
        self._wrong: Counter[str] = Counter()
        self._until = 0.0
        self._held = 0

    async def wrong(self, request: Request) -> bool:
        """Count a wrong token; True when there have been too many, which costs its sender some time."""
        now = time.monotonic()
        if now > self._until:
            self._wrong.clear()
            self._until = now + self.WINDOW
        network = _network(request)
        if len(self._wrong) < self.ADDRESSES or network in self._wrong:
            self._wrong[network] += 1
        total = self._wrong.total()
        if self._wrong[network] <= self.OF_AN_ADDRESS and total <= self.OF_ALL:
            return False
        if total in (self.OF_AN_ADDRESS + 1, self.OF_ALL + 1):
            log.warning("somebody tries wrong tokens: %s within a minute; further ones are held up", total)
        if self._held < self.HELD:
            self._held += 1
            try:
                await asyncio.sleep(self.PAUSE)
            finally:
                self._held -= 1
        return True


def _network(request: Request) -> str:
    """Where a request comes from: an address, or for IPv6 the network of which one person has all addresses."""
    if request.client is None:
        return ""
    try:
        address = ipaddress.ip_address(request.client.host)
    except ValueError:
        return request.client.host[:64]
    if address.version == 6:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
