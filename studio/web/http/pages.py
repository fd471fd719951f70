"""The place where the Gradio pages hang: they take seconds to import, and the server answers before they are there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Protocol

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse
from starlette.routing import Router
from starlette.types import Receive, Scope, Send

from studio.web.http.languages import negotiate_language, plain_page

log = logging.getLogger("studio.web")


class Page(Protocol):
    """The page in one language: an ASGI app, and the router that holds its lifespan."""

    @property
    def router(self) -> Router:
        """What starts and ends with it."""
        ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class Pages:
    """An ASGI app that says "starting" until the real ones have been made, in a thread: one for each language."""

    def __init__(self, make: Callable[[], Mapping[str, Page]] | None):
        self._make = make
        self.apps: Mapping[str, Page] = {}
        self.failed: BaseException | None = None

    @property
    def ready(self) -> bool:
        """Whether the real pages answer (or there are none to come)."""
        return self._make is None or bool(self.apps)

    async def load(self, stack: AsyncExitStack) -> None:
        """Make the pages; `stack` ends their lifespan."""
        if self._make is None:
            return
        try:
            apps = await asyncio.to_thread(self._make)
            for app in apps.values():
                await stack.enter_async_context(app.router.lifespan_context(app))
            self.apps = apps
        except Exception as error:
            self.failed = error
            log.exception("the pages could not be loaded")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        language = negotiate_language(Headers(scope=scope))
        if self.apps:
            await self.apps[language](scope, receive, send)
            return
        headers = {"cache-control": "no-store", "retry-after": "1"}
        if self.failed:
            response = HTMLResponse(plain_page("broken", language), 500, headers)
        else:
            response = HTMLResponse(plain_page("starting", language, "<meta http-equiv=refresh content=1>"), 503,
                                    headers)
        await response(scope, receive, send)
