"""What Gradio must be tamed with before its pages are served, each thing with the version that it was seen in.

More stands in front of it: whose a conversation is and what may be said in it (gate.py), and frames that are asked for
on end, by its loading sign (static/kit/calm.js; 6.31).
"""

from __future__ import annotations

import gzip
import re

import gradio as gr
from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio.ui import frame, gradio_chunks, theme
from studio.ui.gate import MOST
from studio.web.page.serving import FOR_EVER

QUEUE_PAUSE = 0.05  # seconds, what Gradio itself waits on Windows
HEAD, BODY = b'<script type="module"', b"<gradio-app"  # in Gradio's page: its first module, and where it draws
HASHED = re.compile(r"/assets/[\w.-]+-[\w-]{8,}\.\w+", re.ASCII)  # a name that its content gives


def mount(blocks: gr.Blocks, language: str) -> FastAPI:
    """An app that serves `blocks` at "/", in that language."""
    parent = FastAPI(openapi_url=None)
    # 6.31: it lets any site read its answers with a visitor's cookies.
    parent.add_middleware(CORSMiddleware, allow_origins=[])
    # 6.31: its own checks of paths hold for launched pages alone, and a mounted one never is.
    blocks.has_launched = True
    # 6.31: from the first visitor on it looks a thousand times a second for an event: 5 % of a core that trains.
    blocks._queue.sleep_when_free = QUEUE_PAUSE
    blocks._queue.progress_update_sleep_when_free = QUEUE_PAUSE
    # 6.31: it forgets the state of sessions beyond a number of its own; ours are counted in gate.py.
    blocks.state_session_capacity = MOST
    # 6.31: all of these are on by default: rendering by a second program, a footer with its API, a history of calls,
    # a monitoring page, tracebacks for visitors, uploads of any size.
    gr.mount_gradio_app(
        parent, blocks, path="/", max_file_size="1mb", ssr_mode=False, theme=theme.theme(), footer_links=[],
        run_history=False, enable_monitoring=False, show_error=False)
    kinds = {str(component["type"]) for component in blocks.config["components"]}
    # 6.31: what its parameter `head` brings is put into the page by its script, after all that has been loaded.
    parent.add_middleware(Framed, head=frame.head(language) + gradio_chunks.links(kinds), body=frame.body(language))
    parent.add_middleware(Lasting, theme=blocks.theme_hash)
    return parent


class Framed:
    """An ASGI app over a Gradio page with more in it (HTML): `head` before the first of its modules, `body` before the
    place where it draws. The page is sent gzipped, and asked for anew each time."""

    def __init__(self, app: ASGIApp, head: str, body: str):
        self.app, self.head, self.body = app, head.encode(), body.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in ("", "/"):
            await self.app(scope, receive, send)
            return
        start: Message = {}
        page = bytearray()

        async def collect(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            page.extend(message.get("body", b""))
            if not message.get("more_body"):
                headers = MutableHeaders(raw=start["headers"])
                whole = self._sent(bytes(page), headers, "gzip" in Headers(scope=scope).get("accept-encoding", ""))
                if scope["method"] == "HEAD":
                    del headers["content-length"]  # of a page without the frame
                await send(start)
                await send({**message, "body": whole})

        await self.app(scope, receive, collect)

    def _sent(self, page: bytes, headers: MutableHeaders, small: bool) -> bytes:
        """The page as it is sent, with its headers set."""
        page = page.replace(HEAD, self.head + HEAD, 1).replace(BODY, self.body + BODY, 1)
        headers["cache-control"] = "private, no-cache"
        headers.add_vary_header("Accept-Encoding")
        if small and page:
            page = gzip.compress(page, 5)
            headers["content-encoding"] = "gzip"
        headers["content-length"] = str(len(page))
        return page


class Lasting:
    """An ASGI app over Gradio's, whose files under a name of their content may be kept for ever (6.31 says nothing of
    it, so that a browser asks again); `theme` is the hash by which the page asks for its colours."""

    def __init__(self, app: ASGIApp, theme: str):
        self.app, self.theme = app, theme

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._lasts(scope):
            await self.app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in (200, 304):
                MutableHeaders(raw=message["headers"])["cache-control"] = FOR_EVER
            await send(message)

        await self.app(scope, receive, answer)

    def _lasts(self, scope: Scope) -> bool:
        if scope["path"] == "/theme.css":
            return QueryParams(scope["query_string"]).get("v") == self.theme
        return HASHED.fullmatch(scope["path"]) is not None
