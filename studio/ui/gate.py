"""What stands before Gradio's queue: whose a conversation is, what may be said in it, and how many there are.

Gradio tells whoever names a session what happens in it, keeps some 300 kB for each name that it hears, and takes bodies
of any size and shape. Here a name becomes another one, made of it and of who asks, so that nobody can name somebody
else's; of too many sessions the ones that nobody listens to are forgotten; and only what a form holds is let through.
A stream that breaks off takes nothing with it: Gradio's own would drop every answer of the session, those of the
stream that the page has opened in its place among them.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from fastapi import FastAPI
from gradio.routes import App
from gradio.server_messages import CloseStreamMessage, HeartbeatMessage, ProcessCompletedMessage, UnexpectedErrorMessage
from pydantic import BaseModel
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Message as ASGIMessage
from starlette.types import Receive, Scope, Send

from studio.messages import Message
from studio.web.access import viewer_of
from studio.web.http.bodies import json_body
from studio.web.http.errors import Busy, NotFound, TooMany, WebError
from studio.web.http.headers import cookie
from studio.web.middleware.security import error_response
from studio.web.middleware.sessions import BROWSER, COOKIE
from studio.web.services.service import Studio

JOIN, LISTEN = "/gradio_api/queue/join", "/gradio_api/queue/data"
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
PRIVATE = (b"cookie", b"authorization")  # headers that Gradio has no use for
MOST, MOST_OF_ONE, MOST_OF_NOBODY = 160, 16, 64  # sessions
MOST_EVENTS, MOST_EVENTS_OF_ALL = 16, 128  # that wait to be heard, of one session and of one person
SILENT_SECONDS = 60.0  # after which a session that nobody listens to may go
HEARTBEAT_SECONDS = 15.0
PATIENCE_SECONDS = 3.0  # for which a new stream of a session waits for the end of the one before it
LINGER_SECONDS = 2.0  # for which a stream stays open when all is answered: the page's next question comes in a moment
MOST_VALUES = 400  # in a form


@dataclass
class Session:
    """A page that is open somewhere."""

    owner: str
    forget: Callable[[], Awaitable[None]]
    events: Callable[[], int]  # that wait to be heard
    listeners: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # one of them is told at a time
    used: float = field(default_factory=time.monotonic)


class Sessions:
    """All pages that are open, of every language; the least recently used first."""

    def __init__(self, one_owner: bool):
        self.of_one = MOST if one_owner else MOST_OF_ONE
        self.open: OrderedDict[str, Session] = OrderedDict()

    async def enter(self, name: str, owner: str, make: Callable[[], Session]) -> Session:
        """The session of that name, a new one where there is room. Raises TooMany, Busy."""
        if name not in self.open:
            most = self.of_one if owner else MOST_OF_NOBODY
            theirs = [other for other, one in self.open.items() if one.owner == owner]
            if len(theirs) >= most and not await self._forget_one(theirs):
                raise TooMany(Message("Too many of your pages are open."),
                              Message("Close some of them, and load this one again."))
            if len(self.open) >= MOST and not await self._forget_one(list(self.open)):
                raise Busy(Message("The studio has as many pages open as it takes."),
                           Message("Try again in a few seconds."))
            self.open[name] = make()
        session = self.open[name]
        self.open.move_to_end(name)
        session.used = time.monotonic()
        await self._forget_silent()
        waiting = sum(one.events() for one in self.open.values() if one.owner == owner)
        if session.events() >= MOST_EVENTS or waiting >= MOST_EVENTS_OF_ALL:
            raise TooMany(Message("There are too many requests of yours at once."),
                          Message("Wait until some of them are answered."))
        return session

    async def _forget_silent(self) -> None:
        """Those that hold answers which nobody fetches."""
        limit = time.monotonic() - SILENT_SECONDS
        for name, one in list(self.open.items()):
            if one.used < limit and not one.listeners and one.events():
                await self._forget(name)

    async def _forget_one(self, names: list[str]) -> bool:
        name = next((name for name in names if not self.open[name].listeners), None)
        if name is not None:
            await self._forget(name)
        return name is not None

    async def _forget(self, name: str) -> None:
        if (session := self.open.pop(name, None)) is not None:
            await session.forget()


class Gate:
    """An ASGI app over a Gradio page of one language."""

    def __init__(self, app: FastAPI, gradio: App, studio: Studio, sessions: Sessions):
        self.app, self.router, self.studio, self.sessions = app, app.router, studio, sessions
        self.gradio, self.blocks = gradio, gradio.get_blocks()
        self.handlers = {one["id"] for one in self.blocks.config.get("dependencies", []) if one["backend_fn"]}
        self.key = secrets.token_bytes(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        plain = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] not in PRIVATE]}
        browser = cookie(Headers(scope=scope), BROWSER)
        if not NAME.fullmatch(browser) and self._needs_cookie(request):
            browser = secrets.token_urlsafe(24)
            send = _with_cookie(send, browser, request)
        try:
            if scope["path"] == JOIN:
                await self._join(request, plain, self._owner(request, browser), send)
            elif scope["path"] == LISTEN:
                await self._listen(request, plain, self._owner(request, browser), send)
            else:
                await self.app(plain, receive, send)
        except WebError as error:
            await error_response(error, request, self.studio.hidden)(scope, receive, send)

    def _needs_cookie(self, request: Request) -> bool:
        return self.studio.settings.public and not viewer_of(request).id and request.url.path in ("/", JOIN)

    def _owner(self, request: Request, browser: str) -> tuple[str, str]:
        """Who asks, and in which browser: a session is of both. One without a cookie has none that it could ask for."""
        viewer = viewer_of(request).id
        if not self.studio.settings.public:
            return viewer, ""
        return viewer, cookie(request.headers, COOKIE) if viewer else browser or secrets.token_urlsafe(24)

    def _named(self, owner: tuple[str, str], session_hash: Any) -> str:
        if not isinstance(session_hash, str) or not NAME.fullmatch(session_hash):
            raise WebError(Message("The page's session has no name that can be one."), Message("Load the page again."))
        told = "\n".join((*owner, session_hash)).encode()
        return hmac.new(self.key, told, hashlib.sha256).hexdigest()[:32]

    async def _join(self, request: Request, scope: Scope, owner: tuple[str, str], send: Send) -> None:
        body = await json_body(request)
        name = self._named(owner, body.get("session_hash"))
        index = body.get("fn_index")
        if type(index) is not int or index not in self.handlers:
            raise NotFound(Message("The page has no such handler."), Message("Load the page again."))
        data, event = body.get("data"), body.get("event_data")
        if not (isinstance(data, list) and len(data) <= MOST_VALUES and all(map(_is_typed, data))
                and (event is None or (isinstance(event, dict) and all(map(_is_plain, event.values()))))):
            raise WebError(Message("This is not what the page's form holds."), Message("Load the page again."))
        trigger = body.get("trigger_id")
        await self.sessions.enter(name, owner[0], lambda: self._session(name, owner[0]))
        told = json.dumps({"data": data, "event_data": event, "fn_index": index, "session_hash": name,
                           "trigger_id": trigger if type(trigger) is int else None}).encode()
        headers = [(key, value) for key, value in scope["headers"] if key != b"content-length"]
        headers.append((b"content-length", str(len(told)).encode()))
        await self.app({**scope, "headers": headers, "query_string": b""}, _once(told, request.receive), send)

    async def _listen(self, request: Request, scope: Scope, owner: tuple[str, str], send: Send) -> None:
        query = (part.partition("=") for part in scope["query_string"].decode("latin-1").split("&"))
        name = self._named(owner, next((value for key, _, value in query if key == "session_hash"), None))
        session = self.sessions.open.get(name)
        if session is None:
            raise NotFound(Message("There is no such session of a page."), Message("Load the page again."))
        session.listeners += 1
        try:
            messages = self._messages(name, session.turn)
            await StreamingResponse(messages, media_type="text/event-stream")(scope, request.receive, send)
        finally:
            session.listeners -= 1
            session.used = time.monotonic()

    async def _messages(self, name: str, turn: asyncio.Lock) -> AsyncIterator[str]:
        """What Gradio has to say in a session, as its page reads it, until all that was asked is answered."""
        messages = self.blocks._queue.pending_messages_per_session.get(name)
        while messages is not None:
            try:
                await asyncio.wait_for(turn.acquire(), PATIENCE_SECONDS)
            except TimeoutError:
                messages.put_nowait(CloseStreamMessage())  # who listens there has gone without a word
                continue
            try:
                async for message in self._next_messages(name, messages):
                    yield f"data: {orjson.dumps(message.model_dump(), default=str).decode()}\n\n"
            finally:
                turn.release()
            return

    async def _next_messages(self, name: str, messages: asyncio.Queue[Any]) -> AsyncIterator[BaseModel]:
        queue, answered = self.blocks._queue, False
        while not queue.stopped:
            pending = queue.pending_event_ids_session.get(name, set())
            try:
                idle = answered and not pending
                message = await asyncio.wait_for(messages.get(), LINGER_SECONDS if idle else HEARTBEAT_SECONDS)
            except TimeoutError:
                idle = answered and not queue.pending_event_ids_session.get(name)
                message = CloseStreamMessage() if idle else HeartbeatMessage()
            if isinstance(message, ProcessCompletedMessage):
                pending.discard(message.event_id)
                answered = True
            yield message
            if isinstance(message, CloseStreamMessage):
                return
        yield UnexpectedErrorMessage(message="The studio stops.", session_not_found=True)

    def _session(self, name: str, owner: str) -> Session:
        queue, states = self.blocks._queue, self.gradio.state_holder

        async def forget() -> None:
            await queue.clean_events(session_hash=name)
            for event in queue.pending_event_ids_session.pop(name, ()):
                queue.event_ids_to_events.pop(event, None)
            queue.pending_messages_per_session.pop(name, None)
            states.session_data.pop(name, None)
            states.time_last_used.pop(name, None)

        return Session(owner, forget, lambda: len(queue.pending_event_ids_session.get(name, ())))


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _is_typed(value: Any) -> bool:
    """Whether a field of a form may hold this: a text, a number, a tick, or several of them."""
    return _is_plain(value) or (isinstance(value, list) and len(value) <= MOST_VALUES and all(map(_is_plain, value)))


def _once(body: bytes, otherwise: Receive) -> Receive:
    """A body that is here already; after it, what else the connection says."""
    left = [body]

    async def receive() -> ASGIMessage:
        return {"type": "http.request", "body": left.pop(), "more_body": False} if left else await otherwise()
    return receive


def _with_cookie(send: Send, browser: str, request: Request) -> Send:
    secure = request.headers.get("x-forwarded-proto", request.url.scheme) == "https"
    flags = "SameSite=None; Secure; Partitioned" if secure else "SameSite=Lax"  # on a Space the page is in a frame

    async def sending(message: ASGIMessage) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).append("set-cookie", f"{BROWSER}={browser}; Path=/; HttpOnly; {flags}")
        await send(message)
    return sending
