"""Runs uvicorn on a socket that is already listening, so that the first request waits rather than fails."""

from __future__ import annotations

import functools
import logging
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

import uvicorn

from studio import secrets
from studio.limited import confine
from studio.web.app import create_app
from studio.web.http.pages import Page
from studio.web.middleware import capacity, connections
from studio.web.services.service import Studio
from studio.web.settings import Settings


class Redacting(logging.Formatter):
    """Log lines without tokens, traces included."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, redacted."""
        return secrets.redact(super().format(record))


def serve(settings: Settings, listening: socket.socket, make_pages: Callable[[Studio], Mapping[str, Page]]) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit code, 1 where the server did not come up."""
    handler = logging.StreamHandler()
    handler.setFormatter(Redacting("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    settings = replace(settings, port=listening.getsockname()[1])  # port 0 asks for any free one
    for name in ("uvicorn.error", "python_multipart"):  # a stranger's bad request is worth no line
        logging.getLogger(name).setLevel(logging.ERROR)
    app = create_app(settings, lambda: make_pages(app.state.studio))
    print(f"The studio is at {settings.url}  (data: {settings.home})", flush=True)
    lacks = confine.missing()
    if lacks:
        print(f"Files that people send are read in processes of their own, but not confined: this system lacks "
              f"{'; '.join(lacks)}.", file=sys.stderr, flush=True)
    proxies = None
    if settings.container:  # a platform's own proxy stands before it, at an address that nobody knows beforehand
        proxies = "*"
    pool = connections.Pool(capacity.limits(settings.container))
    server = uvicorn.Server(uvicorn.Config(
        app, access_log=False, log_config=None, timeout_graceful_shutdown=1, server_header=False, date_header=False,
        http=functools.partial(connections.LimitedProtocol, pool),  # type: ignore[arg-type]  # it is called, no more
        loop="asyncio", ws="none", backlog=connections.BACKLOG, timeout_keep_alive=round(pool.limits.keep_alive),
        proxy_headers=settings.container, forwarded_allow_ips=proxies))
    with suppress(KeyboardInterrupt):  # Ctrl-C: the server has ended in order and says so once more
        server.run(sockets=[listening])
    return int(not server.started)
