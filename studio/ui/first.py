"""Puts a script before Gradio's own into its page: what `head` brings comes too late to be there when that begins."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MARK = b'<script type="module"'  # where Gradio's page takes up its own scripts


class First:
    """An ASGI app over a Gradio page that has `script` (HTML) before the first of the page's modules."""

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
