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
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from gradio.server_messages import EventMessage

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
            await self._make_room(owner)
            self.open[name] = make()
        session = self.open[name]
        self.open.move_to_end(name)
        session.used = time.monotonic()
        await self._forget_silent()
        waiting = sum(theirs.events() for theirs in self.open.values() if theirs.owner == owner)
        if session.events() >= MOST_EVENTS or waiting >= MOST_EVENTS_OF_ALL:
            raise TooMany(Message("There are too many requests of yours at once."),
                          Message("Wait until some of them are answered."))
        return session

    async def _make_room(self, owner: str) -> None:
        """Forget an older session where one more of the owner's, or of all, would be too many. Raises TooMany, Busy."""
        most = self.of_one if owner else MOST_OF_NOBODY
        theirs = [name for name, session in self.open.items() if session.owner == owner]
        if len(theirs) >= most and not await self._forget_one(theirs):
            raise TooMany(Message("Too many of your pages are open."),
                          Message("Close some of them, and load this one again."))
        if len(self.open) >= MOST and not await self._forget_one(list(self.open)):
            raise Busy(Message("The studio has as many pages open as it takes."),
                       Message("Try again in a few seconds."))

    async def _forget_silent(self) -> None:
        """Forget those that hold answers which nobody fetches."""
        limit = time.monotonic() - SILENT_SECONDS
        for name, session in list(self.open.items()):
            if session.used < limit and not session.listeners and session.events():
                await self._forget(name)

    async def _forget_one(self, names: list[str]) -> bool:
        """Forget the first of these that nobody listens to. Returns whether there was one."""
        for name in names:
            if not self.open[name].listeners:
                await self._forget(name)
                return True
        return False

    async def _forget(self, name: str) -> None:
        session = self.open.pop(name, None)
        if session is not None:
            await session.forget()


class Gate:
    """An ASGI app over a Gradio page of one language."""

    def __init__(self, app: FastAPI, gradio: App, studio: Studio, sessions: Sessions):
        self.app = app
        self.router = app.router
        self.studio = studio
        self.sessions = sessions
        self.gradio = gradio
        self.blocks = gradio.get_blocks()
        handlers = self.blocks.config.get("dependencies", [])
        self.handlers = {handler["id"] for handler in handlers if handler["backend_fn"]}
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
        if viewer:
            return viewer, cookie(request.headers, COOKIE)
        return viewer, browser or secrets.token_urlsafe(24)

    def _named(self, owner: tuple[str, str], session_hash: object) -> str:
        """Gradio's name for the owner's session. Raises WebError for what cannot be the page's name for it."""
        if not isinstance(session_hash, str) or not NAME.fullmatch(session_hash):
            raise WebError(Message("The page's session has no name that can be one."), Message("Load the page again."))
        told = "\n".join((*owner, session_hash)).encode()
        return hmac.new(self.key, told, hashlib.sha256).hexdigest()[:32]

    async def _join(self, request: Request, scope: Scope, owner: tuple[str, str], send: Send) -> None:
        """Pass a request for one of the page's handlers on to Gradio. Raises WebError."""
        body = await json_body(request)
        name = self._named(owner, body.get("session_hash"))
        index = body.get("fn_index")
        if type(index) is not int or index not in self.handlers:
            raise NotFound(Message("The page has no such handler."), Message("Load the page again."))
        data = body.get("data")
        event = body.get("event_data")
        if not _is_form(data) or not _is_event(event):
            raise WebError(Message("This is not what the page's form holds."), Message("Load the page again."))
        trigger = body.get("trigger_id")
        if type(trigger) is not int:
            trigger = None
        await self.sessions.enter(name, owner[0], lambda: self._session(name, owner[0]))
        passed_on = json.dumps({"data": data, "event_data": event, "fn_index": index, "session_hash": name,
                                "trigger_id": trigger}).encode()
        headers = [(key, value) for key, value in scope["headers"] if key != b"content-length"]
        headers.append((b"content-length", str(len(passed_on)).encode()))
        await self.app({**scope, "headers": headers, "query_string": b""}, _once(passed_on, request.receive), send)

    async def _listen(self, request: Request, scope: Scope, owner: tuple[str, str], send: Send) -> None:
        """Stream what Gradio says in a session. Raises WebError."""
        name = self._named(owner, _session_hash(scope["query_string"].decode("latin-1")))
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

    async def _next_messages(self, name: str, messages: asyncio.Queue[EventMessage]) -> AsyncIterator[BaseModel]:
        """Gradio's messages, and a heartbeat while there is none, up to the end of the stream."""
        queue = self.blocks._queue
        answered = False
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
        queue = self.blocks._queue
        states = self.gradio.state_holder

        async def forget() -> None:
            await queue.clean_events(session_hash=name)
            for event in queue.pending_event_ids_session.pop(name, ()):
                queue.event_ids_to_events.pop(event, None)
            queue.pending_messages_per_session.pop(name, None)
            states.session_data.pop(name, None)
            states.time_last_used.pop(name, None)

        return Session(owner, forget, lambda: len(queue.pending_event_ids_session.get(name, ())))


def _session_hash(query: str) -> str | None:
    """The page's name for its session, as it stands in the address that it listens at."""
    for part in query.split("&"):
        key, _, value = part.partition("=")
        if key == "session_hash":
            return value
    return None


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


def _is_typed(value: object) -> bool:
    """Whether a field of a form may hold this: a text, a number, a tick, or several of them."""
    return _is_plain(value) or (isinstance(value, list) and len(value) <= MOST_VALUES and all(map(_is_plain, value)))


def _is_form(data: object) -> bool:
    """Whether these are the values of a form's fields."""
    return isinstance(data, list) and len(data) <= MOST_VALUES and all(map(_is_typed, data))


def _is_event(event: object) -> bool:
    """Whether a script may send this beside a form: nothing, or plain values by their names."""
    return event is None or (isinstance(event, dict) and all(map(_is_plain, event.values())))


def _once(body: bytes, otherwise: Receive) -> Receive:
    """A body that is here already; after it, what else the connection says."""
    left = [body]

    async def receive() -> ASGIMessage:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await otherwise()
    return receive


def _with_cookie(send: Send, browser: str, request: Request) -> Send:
    """`send` that gives the browser its name as a cookie."""
    flags = "SameSite=Lax"
    if request.headers.get("x-forwarded-proto", request.url.scheme) == "https":
        flags = "SameSite=None; Secure; Partitioned"  # on a Space the page is in a frame

    async def sending(message: ASGIMessage) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).append("set-cookie", f"{BROWSER}={browser}; Path=/; HttpOnly; {flags}")
        await send(message)
    return sending
