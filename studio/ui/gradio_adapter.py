"""What Gradio must be tamed with before its pages are served, each thing with the version that it was seen in.

More stands in front of it: whose a conversation is and what may be said in it (gate.py), and frames that are asked for
on end, by its loading sign (static/kit/calm.js; 6.31).
"""

from __future__ import annotations

import gradio as gr
from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio.ui import theme
from studio.ui.gate import MOST

QUEUE_PAUSE = 0.05  # seconds, what Gradio itself waits on Windows
MARK = b'<script type="module"'  # where Gradio's page takes up its own scripts


def mount(blocks: gr.Blocks, language: str) -> FastAPI:
    """An app that serves `blocks` at "/", in that language."""
    parent = FastAPI(openapi_url=None)
    parent.add_middleware(FirstScript, script=theme.first())
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
        parent, blocks, path="/", max_file_size="1mb", ssr_mode=False, theme=theme.theme(), head=theme.head(language),
        footer_links=[], run_history=False, enable_monitoring=False, show_error=False)
    return parent


class FirstScript:
    """An ASGI app over a Gradio page that has `script` (HTML) before the first of the page's modules: what `head`
    brings comes too late to be there when those begin (6.31)."""

    def __init__(self, app: ASGIApp, script: str):
        self.app, self.script = app, script.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in ("", "/"):
            await self.app(scope, receive, send)
            return
        start: Message = {}
        body = bytearray()

        async def collect(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            body.extend(message.get("body", b""))
            if not message.get("more_body"):
                whole = bytes(body).replace(MARK, self.script + MARK, 1)
                headers = MutableHeaders(raw=start["headers"])
                if scope["method"] == "HEAD":
                    del headers["content-length"]  # of a page without the script
                else:
                    headers["content-length"] = str(len(whole))
                await send(start)
                await send({**message, "body": whole})

        await self.app(scope, receive, collect)
