"""What stands before every route, Gradio's included: errors, foreign hosts and sites, closed routes, and headers."""

from __future__ import annotations

import ipaddress
import logging
import re
import socket
import uuid
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as ASGIMessage

from studio.messages import Message
from studio.web.access import token_cookie
from studio.web.http.errors import Forbidden, NotFound, explain
from studio.web.http.headers import without_foreign_cookies
from studio.web.http.languages import COOKIE as LANGUAGE
from studio.web.http.languages import negotiate_language
from studio.web.http.translation import told
from studio.web.middleware.redaction import PathRedactor
from studio.web.middleware.sessions import BROWSER, COOKIE
from studio.web.settings import Settings

log = logging.getLogger("studio.web")
OPEN = ("/healthz", "/readyz")
SAFE = ("GET", "HEAD", "OPTIONS")
OURS = (*OPEN, "/docs")
OUR_FOLDERS = ("/api/", "/static/", "/oauth/huggingface/")
# Of Gradio's routes those that our pages ask for, as a browser's network log shows them. All others are closed.
GRADIO = {"/": SAFE, "/config": SAFE, "/theme.css": SAFE, "/gradio_api/queue/join": ("POST",),
          "/gradio_api/queue/data": ("GET",)}
ASSET = re.compile(r"/assets/[\w.-]{1,120}", re.ASCII)
MOST_PATH = 2000  # characters of a path: ours have some hundreds
MOST_HOST = 300
MESSAGES = {"cross": Message("This request came from another site."),
            "host": Message("The studio does not answer under this name.")}


class SecurityMiddleware:
    """The outermost layer. Answers errors that nothing below answered, and sets the security headers."""

    def __init__(self, app: ASGIApp, settings: Settings):
        self.app = app
        self.settings = settings
        self.cookies = frozenset(map(str.encode, (COOKIE, BROWSER, LANGUAGE, token_cookie(settings.port))))
        self.hosts = {"localhost", settings.host.lower(), socket.gethostname().lower(), *settings.hosts}
        self.headers = _headers(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return  # no websocket is spoken here
        request_id = uuid.uuid4().hex[:12]
        started = False
        scope["headers"] = without_foreign_cookies(scope["headers"], self.cookies)
        scope.setdefault("state", {})["request_id"] = request_id

        async def answer(message: ASGIMessage) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    headers.setdefault(name, value)
                headers["x-request-id"] = request_id
            await send(message)

        try:
            self._check(Headers(scope=scope), scope)
            await self.app(scope, receive, answer)
        except Exception as error:
            if started:
                log.exception("request %s broke off", request_id)
                return
            await error_response(error, Request(scope))(scope, receive, answer)

    def _check(self, headers: Headers, scope: Scope) -> None:
        if scope["path"] in OPEN:
            return
        host = headers.get("host", "")
        if not self._known(host):
            raise Forbidden(MESSAGES["host"],
                            Message("Open it under its own address, or name this one in STUDIO_ALLOWED_HOSTS."),
                            code="host")
        if scope["method"] not in SAFE and not self._same_site(headers, host):
            raise Forbidden(MESSAGES["cross"], Message("Use the studio's own page."), code="cross_site")
        enters = self.settings.auth == "token" and scope["method"] == "POST" and scope["path"] == "/"  # with its form
        if not enters and not is_open(scope["method"], scope["path"]):
            raise NotFound(Message("There is nothing here."),
                           Message("A program uses the routes under /api: the README has an example, /docs describes "
                                   "them."))

    def _known(self, host: str) -> bool:
        """Names on the list and plain addresses: a page of another site can point its own name here, never those."""
        name = _name(host[:MOST_HOST])
        try:
            ipaddress.ip_address(name)
            return True
        except ValueError:
            return name in self.hosts

    def _same_site(self, headers: Headers, host: str) -> bool:
        origin = headers.get("origin")
        if origin is None:
            return headers.get("sec-fetch-site", "none") in ("same-origin", "none")
        try:
            place = urlsplit(origin[:MOST_HOST]).netloc.lower()
        except ValueError:
            return False
        return bool(place) and (place == host.lower() or _name(place) in self.settings.hosts)


def is_open(method: str, path: str) -> bool:
    """Whether there may be anything at such an address: it is a route of ours, or one of Gradio's that a page needs."""
    if len(path) > MOST_PATH:
        return False
    if path in OURS or path.startswith(OUR_FOLDERS):
        return True
    return method in GRADIO.get(path, ()) or (method in SAFE and ASSET.fullmatch(path) is not None)


def error_response(error: BaseException, request: Request, hidden: PathRedactor | None = None) -> Response:
    """Any exception as the API's answer, in the language that is asked for; `hidden` where the app is not the API's."""
    status, body = explain(error, request.state.request_id)
    body = told((hidden or request.app.state.studio.hidden).data(body), negotiate_language(request.headers))
    headers = {"cache-control": "no-store"}
    seconds = getattr(error, "retry_after", None)
    if seconds is not None:
        headers["retry-after"] = str(seconds)
    return JSONResponse({"error": body}, status, headers)


def _headers(settings: Settings) -> dict[str, str]:
    frames = ["'self'"]
    if settings.container and settings.public:  # a Space is shown in a page of the Hub
        frames.append("https://huggingface.co")
    frames += settings.frames
    policy = {
        "default-src": "'self'", "script-src": "'self' 'unsafe-inline' 'unsafe-eval'",  # Gradio's page needs both
        "style-src": "'self' 'unsafe-inline'", "img-src": "'self' data: blob:", "font-src": "'self' data:",
        "media-src": "'self' data: blob:", "connect-src": "'self' data: blob:", "worker-src": "'self' blob:",
        "object-src": "'none'", "base-uri": "'self'", "form-action": "'self'", "frame-ancestors": " ".join(frames),
    }
    return {
        "content-security-policy": "; ".join(map(" ".join, policy.items())),
        "x-content-type-options": "nosniff", "referrer-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin", "permissions-policy": "camera=(), microphone=(), geolocation=()",
    }


def _name(host: str) -> str:
    """The name in a Host header, without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    if ":" in host:
        host = host.rpartition(":")[0]
    return host.lower()
