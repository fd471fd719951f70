"""What stands before every route, Gradio's included: errors, foreign hosts and sites, headers, and who is asking."""

from __future__ import annotations

import ipaddress
import logging
import re
import socket
import uuid
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio.web.access import Door, TokenDoor
from studio.web.errors import Forbidden, LoginNeeded, NotFound, WebError, explain
from studio.web.languages import plain_page, spoken
from studio.web.messages import told
from studio.web.settings import Settings

log = logging.getLogger("studio.web")
OPEN = ("/healthz", "/readyz")
SAFE = ("GET", "HEAD", "OPTIONS")
# Gradio's own routes that no page of ours uses: analytics, proxying, deep links, run history, development.
CLOSED = re.compile(
    r"/(monitoring|redoc|openapi\.json|svelte|login|logout|pwa_icon|gradio_api/(deep_link|proxy=|runs|run-history"
    r"|token|dev/|stream|call/|run/|api/|info|openapi\.json|custom_component|component_server|process_recording|vibe"
    r"|undo-vibe|profiling|reset|file=https?:))")
# What somebody who has not signed in may send to Gradio: the page's own load events. The handlers ask `may` again.
WITHOUT_LOGIN = re.compile(r"/gradio_api/queue/join/?")
MESSAGES = {"cross": "This request came from another site.", "host": "The studio does not answer under this name."}


class Guard:
    """The outermost layer. Answers errors that nothing below answered, and sets the security headers."""

    def __init__(self, app: ASGIApp, settings: Settings):
        self.app, self.settings = app, settings
        self.hosts = {"localhost", settings.host.lower(), socket.gethostname().lower(), *settings.hosts}
        self.headers = _headers(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return  # no websocket is spoken here
        request_id, started = uuid.uuid4().hex[:12], False
        scope.setdefault("state", {})["request_id"] = request_id

        async def answer(message: Message) -> None:
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
            raise Forbidden(MESSAGES["host"], "Open it under its own address, or name this one in "
                            "STUDIO_ALLOWED_HOSTS.", code="host")
        if scope["method"] not in SAFE and not self._same_site(headers, host):
            raise Forbidden(MESSAGES["cross"], "Use the studio's own page.", code="cross_site")
        if CLOSED.match(scope["path"]):
            raise NotFound("There is nothing here.", "A program uses the routes under /api: the README has an "
                           "example, /docs describes them.")

    def _known(self, host: str) -> bool:
        """Names on the list and plain addresses: a page of another site can point its own name here, never those."""
        name = _name(host)
        try:
            ipaddress.ip_address(name)
            return True
        except ValueError:
            return name in self.hosts

    def _same_site(self, headers: Headers, host: str) -> bool:
        origin = headers.get("origin")
        if origin is not None:
            place = urlsplit(origin).netloc.lower()
            return bool(place) and (place == host.lower() or _name(place) in self.settings.hosts)
        return headers.get("sec-fetch-site", "none") in ("same-origin", "none")


class Entrance:
    """Finds out who asks, lets the start-up link in, and stops those who may not look at all."""

    def __init__(self, app: ASGIApp, door: Door, settings: Settings):
        self.app, self.door, self.settings = app, door, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        response = self._admit(request)
        if response is not None:
            await response(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _admit(self, request: Request) -> Response | None:
        if isinstance(self.door, TokenDoor) and "token" in request.query_params and request.method == "GET":
            return self._enter(request, self.door)
        if request.url.path.startswith("/oauth/"):
            _check_target(request)
        viewer = self.door.viewer(request)
        request.state.viewer = viewer
        if viewer.id:
            return None
        path, method = request.url.path, request.method
        page_event = self.door.open and WITHOUT_LOGIN.fullmatch(path)
        if self.door.open and (method in SAFE or path.startswith("/api/") or page_event):
            return None  # the API's routes ask `may` themselves
        if not self.door.open and "text/html" in request.headers.get("accept", "") and method == "GET":
            return _token_page(request)
        hint = ("Open the link with ?token= that the studio printed when it started." if not self.door.open
                else "Sign in with Hugging Face at the top of the page.")
        raise LoginNeeded("Sign in first.", hint)

    def _enter(self, request: Request, door: TokenDoor) -> Response:
        if not door.right(request.query_params["token"]):
            return _token_page(request)
        rest = [(k, v) for k, v in parse_qsl(request.url.query) if k != "token"]
        path = "/" + request.url.path.lstrip("/\\")  # never //host
        response = RedirectResponse(path + (f"?{urlencode(rest)}" if rest else ""), 303)
        response.set_cookie(door.cookie, door.token, max_age=30 * 86400, httponly=True, samesite="lax",
                            secure=request.headers.get("x-forwarded-proto", request.url.scheme) == "https")
        return response


def _token_page(request: Request) -> Response:
    return HTMLResponse(plain_page("token", spoken(request.headers)), 401)


def error_response(error: BaseException, request: Request) -> Response:
    """Any exception as the API's answer, in the language that is asked for."""
    status, body = explain(error, request.state.request_id)
    return JSONResponse({"error": told(body, spoken(request.headers))}, status, headers={"cache-control": "no-store"})


def _check_target(request: Request) -> None:
    """A sign-in leads back to a page of the studio and nowhere else."""
    for target in request.query_params.getlist("_target_url"):
        plain = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
        if not plain or "\\" in target:
            raise WebError("The address to return to is not on this site.", "Start from the studio's own page.")


def _headers(settings: Settings) -> dict[str, str]:
    frames = "'self' https://huggingface.co https://*.hf.space" if settings.container and settings.public else "'self'"
    policy = {
        "default-src": "'self'", "script-src": "'self' 'unsafe-inline' 'unsafe-eval'",  # Gradio's page needs both
        "style-src": "'self' 'unsafe-inline'", "img-src": "'self' data: blob:", "font-src": "'self' data:",
        "media-src": "'self' data: blob:", "connect-src": "'self' data: blob:", "worker-src": "'self' blob:",
        "object-src": "'none'", "base-uri": "'self'", "form-action": "'self'", "frame-ancestors": frames,
    }
    return {
        "content-security-policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "x-content-type-options": "nosniff", "referrer-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin", "permissions-policy": "camera=(), microphone=(), geolocation=()",
    }


def _name(host: str) -> str:
    """The name in a Host header, without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0].lower() if ":" in host else host.lower()
